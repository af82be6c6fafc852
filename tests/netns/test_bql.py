"""Byte queue limits on a real kernel: of an ifb, which counts queued bytes; a veth does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "ifb7"
PROFILE = f"match: [{{kind: ifb, name: {CARD}}}]\nbql: "


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.shell(f"ip link add {CARD} numtxqueues 3 numrxqueues 3 type ifb")
        made.shell(f"ip link set {CARD} up; echo 5000 > {path(1, 'max')}")
        yield made


def path(queue: int, which: str) -> str:
    return f"/sys/class/net/{CARD}/queues/tx-{queue}/byte_queue_limits/limit_{which}"


def shown(lab: Lab, which: str) -> list[int]:
    return [int(lab.shell(f"cat {path(queue, which)}")) for queue in range(3)]


def setting(lab: Lab, card: str = CARD) -> dict[str, Any]:
    (found,) = [s for s in lab.card(card)["settings"] if s["tunable"] == "bql"]
    return dict(found)


NONE = 1879048192


def test_limits_are_set_repaired_at_once_and_put_back_one_by_one(lab: Lab) -> None:
    dropped = lab.profile("edge", PROFILE + "{max: 100K, min: 3000}\n")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert (shown(lab, "max"), shown(lab, "min")) == ([102400] * 3, [3000] * 3)
    assert setting(lab)["found"] == "max 102400 bytes, min 3000 bytes"
    assert setting(lab)["seen"] == "at once"
    writes = lab.status()["manager"]["writes"]
    lab.shell(f"echo 7 > {path(2, 'max')}")
    lab.wait(lambda: shown(lab, "max") == [102400] * 3, "the repair")
    lab.wait_state(CARD, "in-sync")
    assert lab.status()["manager"]["writes"] == writes + 1
    lab.profile("edge", PROFILE + "{min: 3000}\n")
    lab.wait(lambda: shown(lab, "max") == [NONE, 5000, NONE], "what is named no more")
    assert shown(lab, "min") == [3000] * 3
    dropped.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert (shown(lab, "max"), shown(lab, "min")) == ([NONE, 5000, NONE], [0] * 3)


def test_the_kernels_own_is_known(lab: Lab) -> None:
    dropped = lab.profile("edge", PROFILE + "default\n")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert shown(lab, "max") == [NONE] * 3
    assert setting(lab)["wanted"] == "max unlimited, min 0 bytes"
    dropped.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert shown(lab, "max") == [NONE, 5000, NONE]


def test_a_card_that_does_not_count_says_so(lab: Lab) -> None:
    lab.add_pair("lan0", "peer0", queues=2)
    lab.profile("edge", "match: [{kind: veth, name: lan0}]\nbql: {max: 100K}\n")
    lab.start()
    lab.wait_state("lan0", "partial")
    assert setting(lab, "lan0")["reason"] == "the driver veth does not count queued bytes"
