"""Snapshots of a namespace's cards: what a plan made of them says, and what is not in them."""

from __future__ import annotations

import json
import lzma
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.errors import NetunedError, UnsupportedError
from netuned.hardware.host import Host, read_host
from netuned.kernel import Kernel
from netuned.kernel.questions import COALESCE, RINGS, A, Question
from netuned.profiles import loader
from netuned.snapshots import offline, snapshot
from tests.netns.conftest import Namespace
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

MAC = "5e:a1:de:ad:be:ef"
HOST_NAME = "kneipe-17"
PENDING = """\
match:
  - {kind: veth, name: "lan*"}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 200}
policy: {enforce: no}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        made.add_pair("lan1", "peer1", queues=2)
        made.shell("ethtool -L lan0 rx 2 tx 2; tc qdisc replace dev lan1 root pfifo limit 7")
        yield made


def snapshot_of(lab: Lab, *words: str) -> str:
    """Take one inside the namespace."""
    path = str(lab.directory / "host.tar.xz")
    lab.ctl("snapshot", path, "--force", *words, inside=True)
    return path


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_plan_from_a_snapshot_is_the_hosts(lab: Lab, words: tuple[str, ...]) -> None:
    lab.profile("edge", PENDING)
    lab.start()
    lab.wait_state("lan0", "drifted")
    path = snapshot_of(lab)
    before = lab.ctl("plan", *words, "--exit-code", check=False)
    after = lab.ctl(
        *("plan", "--snapshot", path, "--profiles", str(lab.profiles), *words, "--exit-code"),
        check=False,
    )
    assert "lan0" in before.stdout
    assert (after.stdout, after.returncode) == (before.stdout, before.returncode)
    assert after.returncode == 3


def test_a_snapshot_reads_as_the_host(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0", 4)
    netns.veth("v1", 2, up=False)
    netns.sh("ip link add br0 type bridge && ip link set v0 master br0")
    netns.sh("ip link property add dev v0 altname wan0 altname lan0")
    path = str(tmp_path / "host.tar")
    for macs in (False, True):
        snapshot.write(snapshot.take(Kernel(), macs=macs), path, force=True)
        taken = snapshot.read(path)
        live = read_host(Kernel())
        assert read_host(taken.kernel) == (live if macs else without_macs(live))
        assert taken.kernel.rtnl.qdiscs() == Kernel().rtnl.qdiscs()


def test_what_ethtool_says_of_a_card_is_in_it(netns: Namespace, tmp_path: Path) -> None:
    """A tap has rx-frames and no rings, a veth neither."""
    netns.veth("v0", 2)
    netns.sh("ip tuntap add tap9 mode tap && ethtool -C tap9 rx-frames 5")
    path = str(tmp_path / "host.tar")
    snapshot.write(snapshot.take(Kernel()), path, force=True)
    taken = snapshot.read(path).kernel
    ifindex = socket.if_nametoindex("tap9")
    assert taken.get(COALESCE, ifindex) == {"rx-frames": 5}
    for question in (RINGS, COALESCE):
        for card in Kernel().rtnl.links():
            assert answer(taken, question, card) == answer(Kernel(), question, card)


def answer(kernel: Kernel, question: Question[A], ifindex: int) -> A | str:
    """What a kernel says of a card, or why it says nothing."""
    try:
        return kernel.get(question, ifindex)
    except UnsupportedError as error:
        return str(error)


def without_macs(host: Host) -> Host:
    return replace(host, nics={i: replace(nic, mac="") for i, nic in host.nics.items()})


def test_no_mac_is_in_it_unless_asked(netns: Namespace, tmp_path: Path) -> None:
    bare = MAC.replace(":", "")
    netns.veth("v0", 2)
    netns.sh(f"ip link set v0 address {MAC}")
    netns.sh(f"ip link set v0p down; ip link set v0p name enx{bare}; ip link set enx{bare} up")
    netns.sh(f"ip address add 192.0.2.77/24 dev v0; ip link set v0 alias secret-{bare}")
    netns.sh(f"ip link add br0 address {MAC} type bridge && ip link set v0 master br0")
    netns.sh("ip link property add dev br0 altname wan5ea1deadbef0")  # of a card that left
    forms = ["5ea1deadbef0", MAC, MAC.upper(), bare, MAC.replace(":", "-")]
    others = ["192.0.2.77", HOST_NAME, *addresses()]
    path = tmp_path / "host.tar"
    netns.sh(
        f"unshare --uts sh -ec 'echo {HOST_NAME} > /proc/sys/kernel/hostname; "
        f"{sys.executable} -m netuned.cli snapshot {path}'"
    )
    content = path.read_bytes()
    assert [form for form in (*forms, *others) if form.encode() in content] == []
    names = [nic.name for nic in read_host(snapshot.read(str(path)).kernel).nics.values()]
    assert {"v0", "br0"} < set(names)
    assert [name for name in names if name.startswith("enx000000")]
    snapshot.write(snapshot.take(Kernel(), macs=True), str(path), force=True)
    assert MAC.encode() in path.read_bytes()
    assert b"secret" not in path.read_bytes()


def addresses() -> list[str]:
    """Of all cards here."""
    found = json.loads(subprocess.check_output(["ip", "-j", "link"]))
    return [link["address"] for link in found if link["address"].strip("0:")]


def test_profiles_and_their_mistakes_come_along(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0", 2)
    directory = tmp_path / "profiles.d"
    directory.mkdir()
    (directory / "edge.yaml").write_text("match: {kind: veth, name: v0}\nrps: {cpus: 0}\n")
    (directory / "bad.yaml").write_text("nmae: x\n")
    (directory / "open.yaml").write_text("rps: {cpus: 0}\n")
    (directory / "open.yaml").chmod(0o666)
    (directory / "gone.yaml").symlink_to("/nonexistent")
    (directory / "masked.yaml").symlink_to("/dev/null")
    for path in (tmp_path, directory):
        path.chmod(0o755)
    where = (str(directory),)
    archive = str(tmp_path / "host.tar")
    snapshot.write(snapshot.take(Kernel(), where), archive)
    taken = snapshot.read(archive)
    profiles = loader.load(where, recorded=snapshot.recorded_profiles(taken, where))
    live = loader.load(where)
    assert len(live.errors) == 3
    assert profiles == live
    plan = offline.plan(taken.kernel, profiles)
    assert plan == offline.plan(Kernel(), live)
    assert [(change.ifname, change.tunable, change.key) for change in plan.changes] == [
        ("v0", "rps", "rx-0"),
        ("v0", "rps", "rx-1"),
    ]


def test_a_match_by_mac_is_told_to_be_impossible(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0", 2)
    (tmp_path / "edge.yaml").write_text(f'match: {{kind: veth, mac: "{MAC}"}}\nrps: {{cpus: 0}}\n')
    netns.sh(f"ip link set v0 address {MAC}")
    archive = str(tmp_path / "host.tar")
    for macs in (False, True):
        snapshot.write(snapshot.take(Kernel(), macs=macs), archive, force=True)
        plan = offline.plan(*offline.load(archive, [str(tmp_path)]))
        assert bool(plan.changes) == macs
        assert [problem.message for problem in plan.problems] == (
            []
            if macs
            else [
                "profile edge matches by MAC address, which this snapshot does not have; "
                "take it with --macs"
            ]
        )


def test_who_may_not_read_all_is_told_what(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0", 2)
    netns.sh("chmod 600 /sys/class/net/v0/queues/rx-0/rps_cpus")
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    archive = tmp_path / "host.tar.xz"
    script = (
        "import locale, os, sys\n"
        "from netuned.cli.main import run\n"
        "import netuned.cli.parser, netuned.cli.snapshot\n"
        "import netuned.profiles.keyless, netuned.snapshots.snapshot, netuned.snapshots.offline\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(run(['snapshot', sys.argv[1], '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(archive)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    unreadable = {item["path"]: item["why"] for item in json.loads(done.stdout)["unreadable"]}
    assert unreadable == {"/sys/devices/virtual/net/v0/queues/rx-0/rps_cpus": "Permission denied"}
    taken = snapshot.read(str(archive))
    assert without_macs(read_host(Kernel())) == read_host(taken.kernel)
    assert archive.stat().st_mode & 0o777 == 0o600


def test_an_archive_is_plain_or_packed_and_never_half(netns: Namespace, tmp_path: Path) -> None:
    taken = snapshot.take(Kernel())
    plain, packed = tmp_path / "a.tar", tmp_path / "a.tar.xz"
    for path in (plain, packed):
        snapshot.write(taken, str(path))
        with pytest.raises(NetunedError, match="is there already; --force replaces it"):
            snapshot.write(taken, str(path))
    assert lzma.decompress(packed.read_bytes()) == plain.read_bytes()
    with tarfile.open(packed) as archive:
        assert archive.getnames()[:2] == ["snapshot.json", "answers.json"]
        assert "proc/interrupts" in archive.getnames()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.tar.xz"]
    with pytest.raises(NetunedError, match="cannot be written: No such file"):
        snapshot.write(taken, str(tmp_path / "none" / "a.tar"))
