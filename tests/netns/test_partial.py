"""A card that cannot have a part of its profile is ``partial``: everywhere, and with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

REST = "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0-1}\n"
NOT_ALL = "Nothing would be changed, and not all is as the profiles say."

XSK = """
import ctypes, mmap, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
umem = mmap.mmap(-1, 64 * 4096)
xsk = socket.socket(44, socket.SOCK_RAW)
at = ctypes.addressof(ctypes.c_char.from_buffer(umem))
xsk.setsockopt(283, 4, struct.pack("<QQIIII", at, 64 * 4096, 4096, 0, 0, 0))
for ring in (5, 6, 2, 3):
    xsk.setsockopt(283, ring, struct.pack("<i", 64))
where = struct.pack("<HHIII", 44, 2, socket.if_nametoindex("lan0"), 3, 0)
if libc.bind(xsk.fileno(), where, len(where)):
    raise OSError(ctypes.get_errno(), "bind")
print("bound", flush=True)
sys.stdin.read()
"""
"""Holds an AF_XDP socket on queue 3, in copy mode, until its input ends."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=8)
        made.run("ethtool", "-L", "lan0", "rx", "4", "tx", "4")
        yield made


@contextmanager
def xdp_socket(lab: Lab) -> Iterator[None]:
    words = lab.command(sys.executable, "-c", XSK)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"bound\n"
        yield
        holder.stdin.close()


def masks(lab: Lab) -> list[str]:
    return [lab.attribute("lan0", f"rx-{queue}", "rps_cpus") for queue in range(4)]


def one_line(text: str) -> str:
    return " ".join(text.split())


def is_partial(lab: Lab, tunable: str, why: str) -> None:
    """That every way of looking says so, and all else is in force for the queues there are."""
    lab.wait_state("lan0", "partial")
    settings = {entry["tunable"]: entry for entry in lab.card("lan0")["settings"]}
    assert settings[tunable]["state"] == "unsupported"
    assert why in settings[tunable]["reason"]
    assert settings["rps"]["state"] == "in-sync"
    assert masks(lab) == ["3"] * 4
    overview = lab.ctl("status", "--exit-code", check=False)
    assert overview.returncode == 3
    line = next(line for line in overview.stdout.splitlines() if line.startswith("lan0 "))
    assert line.split()[3] == "partial"
    assert why in one_line(overview.stdout)
    assert lab.ctl("status", "lan0", "--exit-code", check=False).returncode == 3
    for words in (("plan",), ("plan", "lan0"), ("apply",)):
        said = one_line(lab.ctl(*words).stdout)
        assert said.startswith(NOT_ALL)
        assert why in said
    assert lab.ctl("plan", "--exit-code", check=False).returncode == 3
    planned = json.loads(lab.ctl("plan", "--json").stdout)
    assert [lack["tunable"] for lack in planned["unsupported"]] == [tunable]
    offline = lab.ctl(
        *("plan", "--exit-code", "--profiles", str(lab.profiles)), check=False, inside=True
    )
    assert offline.returncode == 3
    assert one_line(offline.stdout).startswith(NOT_ALL)
    assert why in one_line(offline.stdout)
    (logged,) = (line for line in lab.logged().splitlines() if "Cannot be had" in line)
    assert f"lan0 {tunable}: " in logged
    assert why in logged


@pytest.mark.parametrize(
    ("says", "tunable", "why"),
    [
        ("channels: {combined: 9}\n", "channels", "9 is more than the card's maximum of 8"),
        ("rss: {queues: 0-9}\n", "rss", "no indirection table"),
        ("coalesce: {rx-usecs: 3}\n", "coalesce", "no such operation"),
        ("irq: {spread: pack}\n", "irq", "has none of its own"),
    ],
)
def test_what_cannot_be_had_is_said_everywhere(lab: Lab, says: str, tunable: str, why: str) -> None:
    lab.profile("edge", REST + says)
    lab.start()
    is_partial(lab, tunable, why)


def test_channels_that_a_socket_keeps_are_tried_again(lab: Lab) -> None:
    """The rest is for the queues that there are; once the socket is gone it is for the others."""
    with xdp_socket(lab):
        lab.start()
        lab.ctl("pause")
        lab.profile("edge", REST + "channels: {combined: 2}\nqdisc: {kind: pfifo, limit: 9}\n")
        lab.ctl("reload")
        applied, lacking = lab.ctl("apply", "--confirm", "60s").stdout.split("Cannot be had")
        assert "lan0  rps rx 0-3" in applied
        assert "channels" not in applied, "what was refused was not done"
        assert "lan0 channels: " in lacking
        lab.ctl("confirm", lacking.split()[-1])
        lab.wait_state("lan0", "partial")
        settings = {entry["tunable"]: entry for entry in lab.card("lan0")["settings"]}
        assert settings["channels"]["state"] == "waiting"
        assert settings["channels"]["reason"].startswith("AF_XDP holds queue 3")
        assert settings["rps"]["state"] == settings["qdisc"]["state"] == "in-sync"
        assert masks(lab) == ["3"] * 4
        assert lab.shell("tc qdisc show dev lan0").count("limit 9p") == 4
        assert lab.ctl("status", "--exit-code", check=False).returncode == 3
        assert one_line(lab.ctl("apply").stdout).startswith(NOT_ALL)
        lab.wait_state("lan0", "partial")
    lab.ctl("apply")
    lab.wait_state("lan0", "in-sync")
    assert lab.shell("ls /sys/class/net/lan0/queues").split() == ["rx-0", "rx-1", "tx-0", "tx-1"]
    assert lab.shell("tc qdisc show dev lan0").count("limit 9p") == 2


def test_a_plan_promises_only_what_is_done(lab: Lab) -> None:
    """With and without the daemon the same, and of what is only told that it is."""
    lab.shell("tc qdisc add dev lan0 root handle 1: htb default 1")
    lab.profile("edge", REST + "qdisc: {kind: pfifo, limit: 9}\npolicy: {enforce: no}\n")
    lab.start()
    lab.wait_state("lan0", "drifted")
    told = json.loads(lab.ctl("plan", "--json").stdout)
    words = ("plan", "--json", "--profiles", str(lab.profiles))
    assert json.loads(lab.ctl(*words, inside=True).stdout) == told
    assert {change["tunable"] for change in told["changes"]} == {"rps"}
    assert all("only told, not done" in change["why"] for change in told["changes"])
    (lack,) = told["unsupported"]
    assert "htb at root could not be put back" in lack["why"]
    assert masks(lab) == ["0"] * 4
    lab.profile("edge", REST + "qdisc: {kind: pfifo, limit: 9}\n")
    lab.wait_state("lan0", "partial")
    assert masks(lab) == ["3"] * 4
    assert "htb" in lab.shell("tc qdisc show dev lan0 root")
