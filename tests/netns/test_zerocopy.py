"""An AF_XDP socket on a queue: the kernel tells of it, ``explain`` too, and the queue stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab
from tests.netns.test_partial import one_line, xdp_socket

pytestmark = pytest.mark.netns

PROFILE = "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0-1}\n"
FEW = f"{PROFILE}channels: {{rx: 2, tx: 2}}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=8)
        made.run("ethtool", "-L", "lan0", "rx", "4", "tx", "4")
        yield made


def explained(lab: Lab, *words: str) -> str:
    return lab.ctl("explain", "lan0", "3", *words, inside=True).stdout


def queues(lab: Lab) -> int:
    return lab.shell("ls /sys/class/net/lan0/queues").count("rx-")


def setting(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in lab.card("lan0")["settings"] if s["tunable"] == name)
    return found


def test_a_socket_keeps_its_channel_and_is_named(lab: Lab) -> None:
    """By the daemon, by ``plan`` and ``explain`` without it, and in a snapshot."""
    lab.profile("edge", PROFILE)
    where = ("--profiles", str(lab.profiles))
    with xdp_socket(lab):
        taken = lab.profiles.parent / "taken.tar"
        lab.ctl("snapshot", str(taken), inside=True)
        for source in ((), ("--snapshot", str(taken))):
            assert "AF_XDP is bound to the queue." in one_line(explained(lab, *where, *source))
            found = json.loads(explained(lab, "--json", *where, *source))["zero_copy"]
            met = {condition["name"]: condition["met"] for condition in found["conditions"]}
            assert (found["bound"], found["ready"]) == ("AF_XDP", [])
            assert (met["open queues"], met["nothing else bound"]) == (True, False)
            assert met["AF_XDP without copies"] is False, "veth copies"
        lab.profile("edge", FEW)
        planned = one_line(lab.ctl("plan", *where, inside=True).stdout)
        assert "AF_XDP holds queue 3" in planned
        assert "rps rx 0-3" in planned
        lab.start()
        lab.wait_state("lan0", "partial")
        assert (setting(lab, "channels")["state"], queues(lab)) == ("waiting", 4)
        assert lab.ctl("status", "--exit-code", check=False).returncode == 3
        lab.profile("edge", PROFILE)
        lab.ctl("reload")
        lab.wait_state("lan0", "in-sync")
    assert "AF_XDP is bound" not in one_line(explained(lab, *where))


def test_what_is_rolled_back_waits_for_a_socket(lab: Lab) -> None:
    """A profile opened the channel, and a socket came to use it: it stays as long as that."""
    lab.run("ethtool", "-L", "lan0", "rx", "2", "tx", "2")
    lab.profile("edge", f"{PROFILE}channels: {{rx: 4, tx: 4}}\n")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with xdp_socket(lab):
        lab.profile("edge", PROFILE)
        lab.wait_state("lan0", "partial")
        assert queues(lab) == 4
        assert "AF_XDP holds queue 3" in setting(lab, "channels")["reason"]
        failed = lab.ctl("restore", check=False)
        assert failed.returncode == 1
        assert "AF_XDP holds queue 3" in one_line(failed.stdout + failed.stderr)
        assert queues(lab) == 4
    # the kernel lets go of a socket's queue a moment after the socket
    lab.wait(lambda: not lab.ctl("restore", check=False).returncode, "the restore")
    assert queues(lab) == 2
