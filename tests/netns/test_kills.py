"""SIGKILL before or after any write, of the kernel or the disk: the next start puts it right.

``python -m tests.netns.faults`` kills at all of them; here at every eleventh.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.conftest import Namespace
from tests.netns.faults.card import CARD, OTHER, QUEUES, TAP, Shaped, Tap
from tests.netns.faults.names import change_and_kill
from tests.netns.faults.runs import kill

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("own_qdiscs", [False, True], ids=["default qdiscs", "own qdiscs"])
def test_a_start_after_a_kill_converges_or_restores(
    netns: Namespace, tmp_path: Path, own_qdiscs: bool
) -> None:
    netns.veth(CARD, QUEUES)
    figures = kill(tmp_path, own_qdiscs=own_qdiscs, stride=11)
    print(figures)
    assert not figures.failed
    assert figures.kills > 10


@pytest.mark.parametrize("by", ["mac", "name"])
def test_so_does_one_after_names_have_changed(netns: Namespace, tmp_path: Path, by: str) -> None:
    for card in (CARD, OTHER):
        netns.veth(card, QUEUES)
    figures = change_and_kill(tmp_path, by, stride=29)
    print(figures)
    assert not figures.failed
    assert figures.kills > 5


def test_a_shaper_and_queues_that_end_too(netns: Namespace, tmp_path: Path) -> None:
    netns.veth(CARD, QUEUES)
    figures = kill(tmp_path, stride=11, card=Shaped)
    print(figures)
    assert not figures.failed
    assert figures.kills > 5


def test_coalescing_and_links_too(netns: Namespace, tmp_path: Path) -> None:
    netns.sh(f"ip tuntap add {TAP} mode tap")
    figures = kill(tmp_path, stride=3, card=Tap)
    print(figures)
    assert not figures.failed
    assert figures.kills > 10
