"""Other tools' files as profiles: what is brought is right, what is not is named, none is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netuned.cli.main import run
from netuned.errors import NetunedError
from netuned.importing import link, profiles
from netuned.importing.profiles import Imported, bring, reader_of
from netuned.profiles.loader import load
from netuned.profiles.yamlwriting import dump

SCRIPT = """\
#!/bin/sh
ethtool -L eth0 combined 8
sudo /sbin/ethtool -G eth0 rx 4096 \\
    tx 4096
ethtool -X eth0 weight 2 1 1
tc qdisc replace dev eth0 root handle 1: fq flow_limit 1000 nopacing
echo ff > /sys/class/net/eth0/queues/rx-0/rps_cpus
ethtool -K $DEV gso off
ip link set eth0 mtu 9000
echo 3 >/proc/irq/33/smp_affinity
for nic in eth1 eth2; do ethtool -K $nic gro on; done
ethtool -K eth1 gro on sg off tso on
systemctl disable --now irqbalance
"""
LINK = """\
[Match]
OriginalName=eth* !eth9
Driver=igb
[Link]
NamePolicy=kernel
RxBufferSize=4096
GenericReceiveOffload=yes
RxCoalesceSec=50us
ReceivePacketSteeringCPUMask=0-3 8
"""
PERFTUNE = "nic: [eth0]\nmode: sq_split\nnum_rx_queues: 4\narfs: true\ncpu_mask: 0xff\n"
TUNED = """\
[main]
include=throughput-performance
[variables]
app=2-5
[net]
devices=eth0,eth1
ring=rx 512 tx 512
coalesce=adaptive-rx off
channels=combined ${f:exec:nproc}
[scheduler]
isolated_cores=${app}
[disk]
readahead=4096
"""


_TOOLS = re.compile("ethtool|ip|sysctl|tc|irqbalance|/proc/|/sys/")


def of(name: str, text: str) -> Imported:
    return bring(reader_of(name, text)(text))


def left(found: Imported) -> list[int]:
    return [one.line for one in found.left]


def test_a_scripts_plain_lines() -> None:
    found = of("tune.sh", SCRIPT)
    assert found.profiles == {
        "name=eth0": {
            "match": [{"name": "eth0"}],
            "priority": 60,
            "host": {"irqbalance": "stop"},
            "channels": {"combined": 8},
            "rings": {"rx": 4096, "tx": 4096},
            "rss": {"queues": "0-2", "weights": [2, 1, 1]},
            "qdisc": {"kind": "fq", "flow_limit": 1000, "pacing": "no"},
            "rps": {"cpus": "0-7"},
        },
        "name=eth1": {
            "match": [{"name": "eth1"}],
            "priority": 60,
            "offloads": {"gro": "on", "sg": "off"},
            "host": {"irqbalance": "stop"},
        },
        "": {"match": [{"name": "*"}], "host": {"irqbalance": "stop"}},
    }
    assert left(found) == [8, 9, 10, 11, 12]
    assert "tx-scatter-gather" in found.left[-1].why or "sg" in found.left[-1].why


def test_a_link_file() -> None:
    found = of("10-lan.link", LINK)
    (profile,) = found.profiles.values()
    assert profile == {
        "match": [{"name": ["eth*", "!eth9"], "driver": "igb"}],
        "rings": {"rx": 4096},
        "offloads": {"gro": "on"},
        "coalesce": {"rx-usecs": 50},
        "rps": {"cpus": "0-3,8"},
    }
    assert left(found) == [5]


@pytest.mark.parametrize(
    ("match", "entry"),
    [
        ("OriginalName=eth0 \\\n# and\n  eth1", {"name": ["eth0", "eth1"]}),
        ("OriginalName=eth0\nOriginalName=eth1", {"name": ["eth0", "eth1"]}),
        ("OriginalName=eth0\nOriginalName=\nDriver=igb", {"driver": "igb"}),
        ("OriginalName=!eth0 eth1", {"name": ["!eth0", "!eth1"]}),
        ("PermanentMACAddress=00:11:22:33:44:55", {"mac": "00:11:22:33:44:55"}),
        ("MACAddress=00:11:22:33:44:55\nPermanentMACAddress=00:11:22:33:44:56", None),
        ("OriginalName=eth0\nPath=pci-*", None),
        ("OriginalName=eth0\nType=ether\nType=wlan", None),
        ("OriginalName=\\\n", None),
    ],
)
def test_a_link_file_is_for_the_cards_that_systemd_takes(match: str, entry: object) -> None:
    found = of("a.link", f"[Match]\n{match}\n[Link]\nRxBufferSize=\\\n512\n[SR-IOV]\nTrust=yes")
    assert [one["match"] for one in found.profiles.values()] == ([[entry]] if entry else [])
    assert all(one["rings"] == {"rx": 512} for one in found.profiles.values())
    assert "Trust=yes" in [one.text for one in found.left]
    assert ("RxBufferSize=512" in [one.text for one in found.left]) is (entry is None)


def test_a_long_link_file_is_read_at_once() -> None:
    """Were each line's all before it, this would take long."""
    assert not of("a.link", "[Match]\nDriver=a" + "\\\n" * 100_000).profiles
    assert not of("a.link", "[Match]\n" + "Driver=a\n" * 30_000).profiles


@pytest.mark.parametrize("key", link.KEYS)
def test_each_key_of_a_link_file_is_a_profiles(key: str) -> None:
    section, own = link.KEYS[key]
    value = {"offloads": "yes", "rps": "0-3"}.get(section, "yes" if "Adaptive" in key else "9000")
    value += "us" if key.endswith("Sec") else ""
    found = of("a.link", f"[Match]\nDriver=igb\n[Link]\n{key}={value}\n")
    assert not found.left
    said = found.profiles["driver=igb"][section]
    assert isinstance(said, dict)
    assert said.keys() == {own}


def test_a_perftune_file() -> None:
    found = of("perftune.yaml", PERFTUNE)
    assert found.profiles["name=eth0"]["channels"] == {"combined": 4}
    assert found.profiles["name=eth0"]["irq"] == {"cpus": "core:0"}
    assert left(found) == [5]


def test_a_tuned_profile() -> None:
    found = of("tuned.conf", TUNED)
    assert found.profiles["name=eth1"]["rings"] == {"rx": 512, "tx": 512}
    assert found.profiles["name=*"]["irq"] == {"cpus": "online - (2-5)"}
    assert left(found) == [2, 9, 13]


def test_of_what_is_said_twice_the_last_is_in_force() -> None:
    lines = [
        *("ethtool -G eth0 rx 64", "ethtool -G eth0 rx 128"),
        *("tc qdisc add dev eth0 root fq limit 9", "tc qdisc replace dev eth0 root cake rtt 9ms"),
        *("ethtool -X eth0 weight 1 2 3", "ethtool -X eth0 equal 2"),
    ]
    profile = of("a.sh", "\n".join(lines)).profiles["name=eth0"]
    assert profile["rings"] == {"rx": 128}
    assert profile["qdisc"] == {"kind": "cake", "rtt": "9ms"}
    assert profile["rss"] == {"queues": "0-1"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.sh",
            "if [ x ]; then\nethtool -L eth0 combined 4\nelse\nethtool -L eth0 combined 8\nfi",
        ),
        ("a.sh", "cat <<EOF >b\nethtool -G eth0 tx 4096\nEOF\n"),
        ("a.sh", "f() {\nsysctl -w net.core.somaxconn=5\n}\n"),
        ("a.sh", "ethtool -X eth0 equal \xb2"),
        ("a.sh", "ethtool -G eth0 rx --5"),
        ("a.link", "[Match]\nType=wlan\n[Link]\nRxBufferSize=512\n"),
        ("a.link", "[Link]\nRxBufferSize=512\n"),
        ("a.link", "[Match]\nDriver=igb\n[Link]\nRxCoalesceSec=\xb2us\nCombinedChannels=--3\n"),
        ("a.yaml", "mode: 2020-99-99\nnic: 5\ncpu_mask: [a]"),
        ("a.conf", "net.core.somaxconn = --3\nnet.core.rmem_max=" + "9" * 5000),
    ],
)
def test_what_cannot_be_told_is_in_no_profile(name: str, text: str) -> None:
    found = of(name, text)
    settings = [key for profile in found.profiles.values() for key in profile.keys() - {"match"}]
    assert not settings
    assert found.left or "EOF" in text


@pytest.mark.parametrize(
    "line",
    [
        *("ip -n blue link set eth0 txqueuelen 500", "ip -netns link l set eth0 txqueuelen 9"),
        *("ip netns exec blue ethtool -L eth0 combined 2", "ip link set eth0 netns blue qlen 5"),
        *(
            "ip link set group default txqueuelen 5",
            "ip -batch tune",
            "ip link add br0 type bridge",
        ),
        *("ethtool -L eth0", "ethtool eth0", "ethtool --set-ring eth0", "ethtool -X eth0"),
        *("sysctl -p /etc/sysctl.d/net.conf", "sysctl --system", "sysctl -w", "tc -n blue qdisc"),
        *("nsenter -t 5 -n ethtool -L eth0 combined 2", "LANG=C ethtool -L eth0 combined 2"),
        *("timeout 5 ethtool -L eth0 combined 2", "sudo -n sysctl -w net.core.somaxconn=9"),
        *("[ -e x ] && ethtool -L eth0 combined 2", "service irqbalance stop"),
        *("cat x >/proc/sys/net/core/somaxconn", "echo 5 | tee /sys/class/net/eth0/mtu"),
        *("bash <<EOF\nethtool -L eth0 combined 2\nEOF", "ethtool -L eth0 combined 2 'x"),
        *("# so \\\nip addr flush dev eth0", "# <<EOF\nip addr flush dev eth0"),
        *("cat <<< x\nip addr flush dev eth0", "x=$((1 << 4))\nip addr flush dev eth0"),
        *("ethtool \\", "if x; then\nsystemctl stop irqbalance\nfi", "ethtool" + " " * 5000 + "-L"),
    ],
)
def test_no_line_that_may_set_something_vanishes(line: str) -> None:
    found = of("a.sh", f"{line}\n" if line[-1] != "\\" else line)
    assert not found.profiles
    assert any(_TOOLS.search(one.text) for one in found.left)


@pytest.mark.parametrize(
    "line", ["set -e", "modprobe igb", "# ethtool -L", "", "exit 0", "cd /sys/"]
)
def test_a_line_that_sets_nothing_is_not_named(line: str) -> None:
    assert not of("a.sh", line).lines


def test_the_rest_of_a_line_is_named() -> None:
    found = of("a.sh", "ip link set up dev eth0 txqueuelen 500 alias x\n")
    assert found.profiles["name=eth0"]["link"] == {"txqueuelen": 500}
    assert left(found) == [1]


def test_a_long_script_is_read_at_once() -> None:
    """Were each line's all before it, this would take long."""
    for text in ("echo " * 40_000, "echo" + " " * 200_000 + "'>", "ethtool \\\n" * 20_000):
        assert len(of("a.sh", text).left) < 2


@pytest.mark.parametrize("text", ["a: &a [1]\nb: *a", "[" * 3000, "a: [", "5"])
def test_what_is_no_perftune_file_is_refused(text: str) -> None:
    with pytest.raises(NetunedError):
        of("a.yaml", text)


def test_a_mask_is_what_is_written() -> None:
    found = of("a.yaml", "nic: eth0\nirq_cpu_mask: 0x0000000f\narfs: no\n")
    assert found.profiles["name=eth0"]["irq"] == {"cpus": "0-3"}
    assert found.profiles["name=eth0"]["offloads"] == {"ntuple": "off"}


def test_devices_count_for_their_section_wherever_they_stand() -> None:
    text = "[net]\nring=rx 512\ndevices=eth0\n[net.b]\nring=rx 64\n[irq]\naffinity=0-3\n"
    found = of("tuned.conf", "[main]\n" + text)
    assert found.profiles["name=eth0"]["rings"] == {"rx": 512}
    assert found.profiles["name=*"]["rings"] == {"rx": 64}
    assert found.profiles["name=*"]["irq"] == {"cpus": "0-3"}


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        ("eth*,!eth0", [["eth*", "!eth0"]]),
        ("!eth0", ["!eth0"]),
        ("eth0, eth1", ["eth0", "eth1"]),
        ("${own}", ["eth5", "eth6"]),
        ("*", ["*"]),
    ],
)
def test_a_section_of_tuneds_is_for_its_devices(devices: str, names: list[object]) -> None:
    text = f"[net]\nring=rx 512\ndevices={devices}\nenabled=true\n[variables]\nown=eth5 eth6\n"
    found = of("tuned.conf", text)
    assert [one["match"] for one in found.profiles.values()] == [[{"name": n}] for n in names]
    assert all(one["rings"] == {"rx": 512} for one in found.profiles.values())
    assert not found.left


@pytest.mark.parametrize(
    "option",
    [
        *("enabled=false", "enabled=0", "devices_udev_regex=(INTERFACE=eth0)"),
        *("uname_regex=aarch64", "cpuinfo_regex=AMD", "devices=${f:exec:cards}", "devices=${no}"),
    ],
)
@pytest.mark.parametrize("section", ["net", "irq", "sysctl"])
def test_a_section_that_may_not_hold_is_refused_as_a_whole(section: str, option: str) -> None:
    text = f"[{section}]\nring=rx 512\naffinity=0-3\nnet.core.somaxconn=9\n{option}\n"
    found = of("tuned.conf", text)
    assert not found.profiles
    assert left(found) == [2, 3, 4, 5]


@pytest.mark.parametrize("levels", [24, 2000])
def test_variables_that_double_are_not_filled_in(levels: int) -> None:
    doubling = "".join(f"a{n}=${{a{n - 1}}}${{a{n - 1}}}\n" for n in range(1, levels))
    text = f"[variables]\na0=1\n{doubling}[net]\nring=rx ${{a{levels - 1}}}\n"
    found = of("tuned.conf", f"{text}channels=combined ${{a0}}{'${a11}' * 9000}\n")
    assert not found.profiles
    assert [one.why for one in found.left] == ["it is computed where TuneD runs"] * 2


@pytest.mark.parametrize(
    ("section", "brought"), [("type=net", True), ("type=disk", False), ("", False)]
)
def test_a_section_of_tuneds_is_of_its_type(section: str, brought: bool) -> None:
    found = of("tuned.conf", f"[fast]\nring=rx 512\ndevices=eth0\n{section}\n")
    assert bool(found.profiles) is brought
    assert bool(found.left) is not brought


@pytest.mark.parametrize(
    "line", ["net/ipv4/conf/eth0.1/rp_filter=1", "-net.x=1", "net.x=", "net.x"]
)
def test_the_files_of_sysctls_have_one_reader(line: str) -> None:
    found = of("a.conf", f"# so\n{line}\n")
    names = ["net.ipv4.conf.eth0/1.rp_filter"] if "/" in line else ["net.x"]
    sysctls = [yaml.safe_load(dump(one))["host"]["sysctl"] for one in found.profiles.values()]
    assert sysctls == ([dict.fromkeys(names, 1)] if "=1" in line else [])
    assert left(found) == ([] if sysctls else [2])


def test_what_tuned_bounds_is_bounded() -> None:
    text = "[sysctl]\nnet.core.a=>5\nnet.core.b=<5\nnet.core.c=> 6\nnet.core.d=<\n"
    found = of("tuned.conf", text)
    assert found.profiles[""]["host"] == {
        "sysctl": {"net.core.a": ">=5", "net.core.b": "<=5", "net.core.c": ">=6"}
    }
    assert left(found) == [5]


def test_an_affinity_of_some_interrupts_is_none_of_all() -> None:
    assert not of("tuned.conf", "[irq]\naffinity=0-3\ndevices=irq9\n").profiles


STEERED = """\
ethtool -N eth0 rx-flow-hash udp4 sdfn
ethtool -X eth0 weight 2 1 0 0 hfunc toeplitz
ethtool -X eth0 context new start 2 equal 2
ethtool --config-ntuple eth0 flow-type tcp4 src-ip 10.0.0.0 m 0.255.255.255 dst-port 443 action 3
ethtool -U eth0 flow-type ether dst 01:1b:19:00:00:00 proto 0x88f7 vlan 5 m 0xf000 action -1
ethtool -N eth0 flow-type udp6 dst-port 53 context 1
ethtool -X eth0 equal 2
"""


def test_hashing_rules_and_contexts_of_a_script() -> None:
    found = of("a.sh", STEERED)
    assert not found.left
    profile = found.profiles["name=eth0"]
    assert profile["rss"] == {
        "queues": "0-1",
        "fields": {"udp4": ["src", "dst", "sport", "dport"]},
        "function": "toeplitz",
        "contexts": {"c1": {"queues": "2-3"}},
    }
    assert profile["flows"] == [
        {"match": {"proto": "udp6", "dport": 53}, "to": "context c1"},
        {
            "match": {"proto": "ether", "dst": "01:1b:19:00:00:00", "type": 0x88F7, "vlan": 5},
            "to": "drop",
        },
        {"match": {"proto": "tcp4", "src": "10.0.0.0/8", "dport": 443}, "to": "queue 3"},
    ], "the last was put first"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-X eth0 hfunc xor", {"queues": "keep", "function": "xor"}),
        ("-X eth0 xfrm symmetric-xor", {"queues": "keep", "symmetric": "xor"}),
        ("-X eth0 start 3 equal 1", {"queues": [3]}),
        ("-X eth0 start 1 weight 3 1", {"queues": "1-2", "weights": [3, 1]}),
        ("-X eth0 default", {"queues": "all"}),
    ],
)
def test_what_is_said_of_the_hash_leaves_the_table(line: str, said: object) -> None:
    assert of("a.sh", f"ethtool {line}").profiles["name=eth0"]["rss"] == said


RULE = "ethtool -N eth0 flow-type tcp4 dst-port 443 "


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (RULE + "context 1", "context"),
        (RULE + "action 1 vf 2", "vf 2"),
        (RULE + "action -2", "nowhere"),
        (RULE + "context 1 action 1", "nowhere"),
        (RULE + "action 1 user-def 5", "user-def"),
        (RULE + "src-port 1 m 0xff", "src-port"),
        (RULE + "src-ip 10.0.0.0 m 255.0.0.0", "src-ip"),
        (RULE + "vlan 5", "vlan"),
        (RULE + "src-ip 2001:db8::1", "address"),
        ("ethtool -N eth0 flow-type ah4 action 1", "ah4"),
        ("ethtool -N eth0 delete 5", "takes away"),
        ("ethtool -N eth0 rx-flow-hash tcp9 sd", "tcp9"),
        ("ethtool -X eth0 equal 4 start 2", "no line"),
        ("ethtool -X eth0 context new", "context"),
        ("ethtool -X eth0 context new equal 2 hfunc xor", "context"),
        ("ethtool -X eth0 context 1 delete", "takes away"),
    ],
)
def test_a_rule_that_no_profile_says_is_named(line: str, why: str) -> None:
    good = "ethtool -N eth0 flow-type tcp4 action 1"
    found = of("a.sh", f"{good}\n{line}\n{good}")
    assert left(found) == [2]
    assert why in found.left[0].why
    assert (
        found.profiles["name=eth0"]["flows"]
        == [
            {"match": {"proto": "tcp4"}, "to": "queue 1"},
        ]
        * 2
    )


def test_rules_come_in_the_order_in_which_the_card_has_them() -> None:
    said = ("1", "2 loc 9", "3", "4 loc 7", "5 loc 9")
    found = of("a.sh", "\n".join(f"{RULE} action {queue}" for queue in said))
    rules = found.profiles["name=eth0"]["flows"]
    assert not found.left
    assert isinstance(rules, list)
    assert [rule["to"] for rule in rules] == [f"queue {queue}" for queue in (4, 5, 3, 1)]


def test_what_is_deleted_again_is_not_brought_and_its_number_is_free() -> None:
    lines = (
        "ethtool -X eth0 context new start 0 equal 2",
        "ethtool -X eth0 context 1 delete",
        "ethtool -X eth0 context new start 4 equal 4",
        f"{RULE} context 1",
        f"{RULE} action 2 loc 5",
        "ethtool -N eth0 delete 5",
    )
    found = of("a.sh", "\n".join(lines))
    assert left(found) == [2, 6]
    profile = found.profiles["name=eth0"]
    assert profile["rss"] == {"queues": "keep", "contexts": {"c1": {"queues": "4-7"}}}
    assert profile["flows"] == [{"match": {"proto": "tcp4", "dport": 443}, "to": "context c1"}]


@pytest.mark.parametrize("which", ["rps", "xps"])
def test_single_queues_are_brought_only_if_they_are_alike(which: str) -> None:
    queue = f"/sys/class/net/eth0/queues/{which[0] if which == 'rps' else 't'}x-"
    lines = [f"echo {mask} > {queue}{n}/{which}_cpus" for n, mask in enumerate(("3", "3"))]
    assert of("a.sh", "\n".join(lines)).profiles["name=eth0"] == {
        "match": [{"name": "eth0"}],
        which: {"cpus": "0-1"},
    }
    unlike = of("a.sh", "\n".join([*lines, f"echo 4 > {queue}2/{which}_cpus"]))
    assert (left(unlike), unlike.profiles) == ([1, 2, 3], {})
    assert "one set for all queues" in unlike.left[0].why
    again = of("a.sh", "\n".join([*lines, lines[0].replace("3", "c"), lines[1].replace("3", "c")]))
    assert (left(again), again.profiles["name=eth0"][which]) == ([], {"cpus": "2-3"})


@pytest.mark.parametrize("line", ["MASK=$((1<<N))", "true # was << before", "((M = 1<<N))"])
def test_a_shift_begins_no_document(line: str) -> None:
    found = of("a.sh", f"{line}\nethtool -G eth0 rx 4096")
    assert found.profiles["name=eth0"]["rings"] == {"rx": 4096}


def test_a_context_that_is_not_brought_has_its_number_all_the_same() -> None:
    new = "ethtool -X eth0 context new"
    lines = (f"{new} start 4 equal 2 hfunc xor", f"{new} start 6 equal 2", f"{RULE} context 1")
    found = of("a.sh", "\n".join((*lines, f"{RULE} context 2")))
    assert left(found) == [1, 3]
    profile = found.profiles["name=eth0"]
    assert profile["rss"] == {"queues": "keep", "contexts": {"c2": {"queues": "6-7"}}}
    assert profile["flows"] == [{"match": {"proto": "tcp4", "dport": 443}, "to": "context c2"}]


MANY = 400
SLOW = {
    "each is wrong": [f"ethtool -G eth0 x{n} 5" for n in range(MANY)],
    "one key": [f"ethtool -G eth0 rx -{n}" for n in range(MANY)],
    "one, last": [*(f"ethtool -K eth{n} gro on" for n in range(MANY)), "ethtool -G eth0 rx no"],
    "too many": [f"sysctl -w net.core.a{n}=5" for n in range(MANY)],
    "too many, and one key": [
        *(f"sysctl -w net.core.a{n}=5" for n in range(256)),
        *(f"sysctl -w net.core.somaxconn=-{n}" for n in range(MANY - 256)),
    ],
}


@pytest.mark.parametrize("lines", SLOW.values(), ids=SLOW)
def test_mistakes_are_found_without_a_look_for_each_line(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def counting(profile: dict[str, object]) -> object:
        looked.append(len(str(profile)))
        return wrong(profile)

    wrong = profiles._wrong
    monkeypatch.setattr(profiles, "_wrong", counting)
    found = of("a.sh", "\n".join(lines))
    assert sum(looked) < 400_000  # characters; with a look for each line it is a million
    assert left(found)[-1] == len(lines)
    for profile in found.profiles.values():
        assert not load((), dropped={"a.yaml": dump(profile).encode()}).errors


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (["ethtool -G eth0 rx 64", "ethtool -G eth0 rx no", "ethtool -G eth0 tx 64"], [2]),
        (["ethtool -K eth0 sg off", "ethtool -K eth0 tso on", "ethtool -K eth0 gro on"], [2]),
        (["tc qdisc add dev eth0 root foo limit 5", "ethtool -G eth0 rx 64"], [1, 1]),
        (["tc qdisc add dev eth0 root fq rtt 5", "ethtool -X eth0 weight 0 0"], [1, 2]),
        (
            [
                "ethtool -X eth0 equal 4",
                "ethtool -X eth0 xfrm symmetric-xor",
                "ethtool -N eth0 rx-flow-hash udp4 sdf",
            ],
            [3],
        ),
        (["ethtool -G ! rx 64", "ethtool -G ! tx 64", "ethtool -G eth0 tx 64"], [1, 2]),
        (["ethtool -G eth0 rx[ 5", "ethtool -G eth0 '' 5", "ethtool -G eth0 rx.a 5"], [1, 2, 3]),
    ],
)
def test_the_line_that_is_wrong_is_blamed(lines: list[str], wrong: list[int]) -> None:
    assert left(of("a.sh", "\n".join(lines))) == wrong


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "tune.sh"
    script.write_text(SCRIPT)
    assert run(["import", str(script)]) == 0
    shown = capsys.readouterr()
    assert f"# {script}:8: ethtool -K $DEV gso off: it is no plain line" in shown.out
    assert "settings could not be brought" in shown.err
    assert len(list(yaml.safe_load_all(shown.out))) == 3
    assert run(["import", str(script), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"][0]["place"] == f"{script}:8"
    target = tmp_path / "out"
    target.mkdir()
    assert run(["import", str(script), "--out", str(target)]) == 0
    assert sorted(path.name for path in target.iterdir()) == ["eth0.yaml", "eth1.yaml", "host.yaml"]
    assert not load((str(target),), owner=script.stat().st_uid).errors
    script.write_text(f"ethtool -X eth3 hkey {':'.join(['6d'] * 40)}\n")
    assert run(["import", str(script), "--out", str(target)]) == 0
    modes = [(target / f"eth{n}.yaml").stat().st_mode & 0o077 for n in (1, 3)]
    assert (bool(modes[0]), modes[1]) == (True, 0), "the key is for its owner"
    assert run(["import", str(script), "--out", str(target)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert run(["import", str(tmp_path / "none")]) == 1


_WORDS = """
ethtool -K -X eth0 weight rx 4096 tc qdisc dev root fq limit [net] [main] [Link] [Match] ring=
RxChannels= sysctl -w net.core.rmem_max= >1 echo > /proc/irq/3/smp_affinity mode: nic: us ip link
-N flow-type tcp4 udp4 action context new 1 m loc dst-port rx-flow-hash sd hfunc xor delete
set RxCoalesceSec= ReceivePacketSteeringCPUMask= [ ] = : ; # $ \\ ' " \xb2
"""
WORDS = st.sampled_from([*_WORDS.split(), " ", "\n", "\t"])


@pytest.mark.parametrize("name", ["a.sh", "a.link", "tuned.conf", "a.yaml", "a.conf"])
@given(text=st.lists(WORDS, max_size=30).map("".join) | st.lists(WORDS, max_size=30).map(" ".join))
def test_no_text_breaks_it_or_makes_a_wrong_profile(name: str, text: str) -> None:
    try:
        found = of(name, text)
    except NetunedError:
        return
    for profile in found.profiles.values():
        assert not load((), dropped={"a.yaml": dump(profile).encode()}).errors


def test_a_link_file_for_every_ethernet_card_has_a_match() -> None:
    (found,) = of("a.link", "[Match]\nType=ether\n[Link]\nTxBufferSize=max\n").left
    assert "for every Ethernet card" in found.why


def test_a_sysctl_of_tuneds_that_is_empty_sets_nothing() -> None:
    (found,) = of("tuned.conf", "[sysctl]\nnet.core.rmem_max=\n").left
    assert found.why == "it sets nothing"
