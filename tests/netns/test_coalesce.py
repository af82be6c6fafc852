"""Coalescing on a real kernel: a tap, which has rx-frames and nothing else of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

PROFILE = "match: [{kind: tun, name: tap0}]\ncoalesce: {%s}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.shell("ip tuntap add tap0 mode tap && ip link set tap0 up")
        yield made


def frames(lab: Lab) -> int:
    shown = lab.shell("ethtool -c tap0")
    (line,) = [line for line in shown.splitlines() if line.startswith("rx-frames:")]
    return int(line.split(":")[1])


def coalesce(lab: Lab) -> dict[str, Any]:
    (setting,) = [s for s in lab.card("tap0")["settings"] if s["tunable"] == "coalesce"]
    found: dict[str, Any] = setting
    return found


def test_what_it_has_is_set_repaired_and_put_back(lab: Lab) -> None:
    lab.shell("ethtool -C tap0 rx-frames 5")
    path = lab.profile("edge", PROFILE % "rx-frames: 16")
    lab.start()
    lab.wait_state("tap0", "in-sync")
    assert frames(lab) == 16
    writes = lab.status()["manager"]["writes"]
    lab.shell("ethtool -C tap0 rx-frames 9")
    lab.wait(lambda: frames(lab) == 16, "the repair")
    lab.wait(lambda: lab.status()["manager"]["writes"] > writes, "the write in status")
    assert lab.status()["manager"]["writes"] == writes + 1
    path.unlink()
    lab.wait_state("tap0", "unmanaged")
    assert frames(lab) == 5


def test_what_it_does_not_have_is_named_and_the_rest_set(lab: Lab) -> None:
    lab.profile("edge", PROFILE % "rx-frames: 16, rx-usecs: 50, adaptive-rx: on")
    lab.start()
    lab.wait(lambda: frames(lab) == 16, "what it has")
    lab.wait(lambda: coalesce(lab)["state"] == "unsupported", "the state")
    assert "2 of 3 cannot be set: adaptive-rx, rx-usecs: the driver tun does not have it" in str(
        coalesce(lab)["reason"]
    )
    plan = json.loads(lab.ctl("plan", "--json").stdout)
    assert plan["changes"] == []
    (lack,) = plan["unsupported"]
    assert (lack["ifname"], lack["tunable"]) == ("tap0", "coalesce")
    assert lack["why"] == coalesce(lab)["reason"]


def test_a_card_without_it_says_so(lab: Lab) -> None:
    lab.add_pair("lan0", "peer0", queues=1)
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\ncoalesce: {rx-usecs: 3}\n")
    lab.start()
    lab.wait(lambda: bool(lab.card("lan0")["settings"]), "its settings")
    (setting,) = lab.card("lan0")["settings"]
    assert setting["state"] == "unsupported"
