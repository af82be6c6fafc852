"""``netunedctl capture`` of cards that somebody set by hand: a plan of it has nothing to do."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
import yaml

from netuned.kernel.netdev import NetdevNetlink
from tests.netns.lab import Lab
from tests.netns.test_napi import inside

pytestmark = pytest.mark.netns

CARD = "lan0"
LIMITS = "byte_queue_limits"
QUEUES = f"/sys/class/net/{CARD}/queues"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair(CARD, "peer0", queues=4)
        yield made


def ctl(lab: Lab, *words: str) -> str:
    return lab.ctl(*words, inside=True).stdout


def captured(lab: Lab, *words: str, card: str = CARD) -> tuple[dict[str, object], list[str]]:
    """The profile, and what no profile can say; and that nothing is to be done for it."""
    text = ctl(lab, "capture", card, *words)
    shown = json.loads(ctl(lab, "capture", card, *words, "--json"))
    assert yaml.safe_load(text).keys() == shown["profile"].keys()
    file = lab.profile("captured", text)
    plan = json.loads(ctl(lab, "plan", "--json", "--profiles", str(lab.profiles)))
    assert not [change for change in plan["changes"] if change["ifname"]]
    assert (plan["unsupported"], plan["withheld"]) == ([], [])
    file.unlink()
    (match,) = shown["profile"].pop("match")
    assert match == {"kind": "veth" if card == CARD else "ifb", "name": card}
    left = [f"{left['tunable']} {left['key']}".rstrip() for left in shown["left_out"]]
    return shown["profile"], left


def test_of_a_card_that_nobody_set_it_says_how_it_comes(lab: Lab) -> None:
    """Without GRO and with all channels, unlike others."""
    said, left = captured(lab)
    assert (said.keys() - {"offloads"}, left) == ({"channels"}, [])
    whole, left = captured(lab, "--all")
    assert not left
    assert (whole["rps"], whole["qdisc"]) == ({"cpus": "none"}, "default")


def test_what_somebody_set_is_said_in_a_profiles_words(lab: Lab) -> None:
    lab.shell(
        f"""ethtool -L {CARD} rx 2 tx 2
        ethtool -K {CARD} tso off rx-gro-list on
        for queue in {QUEUES}/rx-*; do echo 1 >$queue/rps_cpus; done
        tc qdisc replace dev {CARD} root handle 1: mq
        for n in 1 2; do tc qdisc replace dev {CARD} parent 1:$n bfifo limit 9000; done"""
    )
    said, left = captured(lab)
    assert not left
    offloads = said.pop("offloads")
    assert isinstance(offloads, dict)
    assert (offloads["rx-gro-list"], offloads["tx-tcp-segmentation"]) == ("on", "off")
    assert said == {
        "channels": {"rx": 2, "tx": 2},
        "rps": {"cpus": "0"},
        "qdisc": {"kind": "bfifo", "limit": 9000},
    }


def test_what_no_profile_can_say_is_named_and_left_out(lab: Lab) -> None:
    lab.shell(
        f"""echo 1 >{QUEUES}/rx-0/rps_cpus
        tc qdisc replace dev {CARD} root pfifo limit 7"""
    )
    said, left = captured(lab)
    assert (said.keys() - {"offloads"}, left) == ({"channels"}, ["rps", "qdisc"])


def test_maps_of_receive_queues_and_how_queues_poll(lab: Lab) -> None:
    """Instances one by one and their threads are set as ``napi-set`` and taskset do."""
    lab.shell(
        f"""ethtool -K {CARD} gro on
        for n in 0 1 2 3; do printf %x $((1 << n)) >{QUEUES}/tx-$n/xps_rxqs; done
        echo 2 >/sys/class/net/{CARD}/napi_defer_hard_irqs
        echo 20000 >/sys/class/net/{CARD}/gro_flush_timeout
        echo 1 >/sys/class/net/{CARD}/threaded"""
    )
    ifindex = int(lab.shell(f"cat /sys/class/net/{CARD}/ifindex"))
    wanted: dict[str, object] = {
        "defer-hard-irqs": 2,
        "gro-flush-timeout": "20us",
        "threaded": "on",
    }
    if NetdevNetlink().sets_napis():  # since Linux 6.13
        single = {"rx-2 defer-hard-irqs": 7, "rx-2 irq-suspend-timeout": 3_000_000}
        threads = {f"rx-{queue} threads": 1 for queue in range(4)}
        inside(lab, lambda netdev: netdev.set_napis(ifindex, single | threads))
        other = {"defer-hard-irqs": 7, "irq-suspend-timeout": "3ms"}
        wanted |= {"threads": "0", "queues": {"2": other}}
    for words in ((), ("--all",)):
        said, left = captured(lab, *words)
        assert not left
        assert said["xps"] == {"by": "rxqs", "cpus": "none"}
        napi = said["napi"]
        assert isinstance(napi, dict)
        assert wanted.items() <= napi.items()


def test_byte_queue_limits(lab: Lab) -> None:
    card = "ifb7"
    lab.shell(
        f"""ip link add {card} numtxqueues 2 numrxqueues 2 type ifb; ip link set {card} up
        for n in 0 1; do echo 60000 >/sys/class/net/{card}/queues/tx-$n/{LIMITS}/limit_max; done"""
    )
    said, left = captured(lab, card=card)
    assert (said["bql"], left) == ({"max": 60000}, [])
    lab.shell(f"echo 5000 >/sys/class/net/{card}/queues/tx-1/{LIMITS}/limit_max")
    whole, left = captured(lab, "--all", card=card)
    assert (whole["bql"], left) == ({"min": "default"}, ["bql max"])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_it_is_set_to_there_is_nothing_to_do(lab: Lab, seed: int) -> None:
    choice = random.Random(seed)
    rx, tx = choice.randint(1, 4), choice.randint(1, 4)
    lines = [f"ethtool -L {CARD} rx {rx} tx {tx}"]
    for number in range(4):
        for kind, count, file in (("rx", rx, "rps_cpus"), ("tx", tx, "xps_cpus")):
            if number < count and count > 1 and choice.random() < 0.4:
                lines.append(f"echo {choice.randint(0, 3)} >{QUEUES}/{kind}-{number}/{file}")
    for feature in ("tso", "gro", "sg", "rx-gro-list", "tx-udp-segmentation"):
        if choice.random() < 0.5:
            lines.append(f"ethtool -K {CARD} {feature} {choice.choice(('on', 'off'))} || true")
    if choice.random() < 0.5:
        lines.append(f"echo {choice.randint(0, 9)} >/sys/class/net/{CARD}/napi_defer_hard_irqs")
        for number in range(tx) if rx == tx > 1 else ():
            lines.append(f"printf %x {1 << number} >{QUEUES}/tx-{number}/xps_rxqs")
    kind = choice.choice(("pfifo limit 9", "bfifo limit 4000", "pfifo_fast"))
    if choice.random() < 0.4:
        lines.append(f"tc qdisc replace dev {CARD} root {kind}")
    elif tx > 1:
        lines.append(f"tc qdisc replace dev {CARD} root handle 9: mq")
        lines += [f"tc qdisc replace dev {CARD} parent 9:{queue + 1} {kind}" for queue in range(tx)]
    lab.shell("\n".join(lines))
    captured(lab)
    captured(lab, "--all")
