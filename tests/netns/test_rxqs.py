"""Sending by receive queues, on a real kernel: of a veth, which has both maps of each queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "lan0"
MATCH = f"match: [{{kind: veth, name: {CARD}}}]\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair(CARD, "peer0", queues=4)
        made.shell(f"echo 3 > /sys/class/net/{CARD}/queues/tx-0/xps_rxqs")
        yield made


def shown(lab: Lab, file: str = "xps_rxqs") -> list[int]:
    names = lab.shell(f"ls /sys/class/net/{CARD}/queues").split()
    masks = (lab.attribute(CARD, name, file) for name in names if name.startswith("tx-"))
    return [int(mask, 16) for mask in masks]


BEFORE = [3, 0, 0, 0]


def test_queues_are_paired_repaired_and_put_back(lab: Lab) -> None:
    path = lab.profile("edge", MATCH + "xps: {by: rxqs}\n")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert shown(lab) == [1, 2, 4, 8]
    assert any(shown(lab, "xps_cpus")), "for what is sent unasked"
    settings = {s["tunable"]: s for s in lab.card(CARD)["settings"]}
    assert settings["rxqs"]["seen"] == "at once"
    lab.shell(f"echo 0 > /sys/class/net/{CARD}/queues/tx-2/xps_rxqs")
    lab.wait(lambda: shown(lab) == [1, 2, 4, 8], "the repair")
    lab.wait_state(CARD, "in-sync")
    lab.profile("edge", MATCH + "xps: {by: cpus}\n")
    lab.wait(lambda: shown(lab) == BEFORE, "what is asked for no more")
    lab.wait_state(CARD, "in-sync")
    assert any(shown(lab, "xps_cpus"))
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert shown(lab) == BEFORE
    assert not any(shown(lab, "xps_cpus"))


def test_queues_that_end_take_it_along_and_it_comes_back(lab: Lab) -> None:
    """The kernel forgets the maps of queues that are closed, whoever set them."""
    lab.shell(f"echo 5 > /sys/class/net/{CARD}/queues/tx-3/xps_rxqs")
    path = lab.profile("edge", MATCH + "channels: {rx: 4, tx: 2}\nxps: {by: rxqs, cpus: none}\n")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert shown(lab) == [5, 10], "in turn"
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert shown(lab) == [3, 0, 0, 5]


def test_nobodys_comes_back_with_its_queue(lab: Lab) -> None:
    lab.shell(f"echo 9 > /sys/class/net/{CARD}/queues/tx-3/xps_rxqs")
    path = lab.profile("edge", MATCH + "channels: {rx: 2, tx: 2}\n")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert shown(lab) == [3, 0]
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert shown(lab) == [3, 0, 0, 9]
