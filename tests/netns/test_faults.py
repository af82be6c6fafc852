"""Every call of the kernel and the disk fails once, as a profile comes and as it goes.

``python -m tests.netns.faults`` makes all of them fail with every error; here some do.
"""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from netuned import daemon
from netuned.errors import KernelError
from tests.netns.conftest import Namespace
from tests.netns.faults.card import CARD, IFB, OTHER, QUEUES, TAP, Ifb, Polled, Shaped, Tap
from tests.netns.faults.names import change_names
from tests.netns.faults.runs import inject, meddle

pytestmark = pytest.mark.netns

STRIDE = 19
"""Prime to the number of errors of a call, so that each of them has its turn."""


@pytest.mark.parametrize("own_qdiscs", [False, True], ids=["default qdiscs", "own qdiscs"])
def test_one_failing_call_neither_confuses_nor_leaves_anything_behind(
    netns: Namespace, tmp_path: Path, own_qdiscs: bool
) -> None:
    netns.veth(CARD, QUEUES)
    figures = inject(tmp_path, own_qdiscs=own_qdiscs, stride=STRIDE, offset=own_qdiscs)
    print(figures)
    assert not figures.failed
    assert figures.faults > 50


def test_nor_does_one_around_a_shaper_and_queues_that_end(netns: Namespace, tmp_path: Path) -> None:
    netns.veth(CARD, QUEUES)
    figures = inject(tmp_path, stride=3 * STRIDE, card=Shaped)
    print(figures)
    assert not figures.failed
    assert figures.faults > 15


def test_nor_does_one_around_coalescing_and_links(netns: Namespace, tmp_path: Path) -> None:
    netns.sh(f"ip tuntap add {TAP} mode tap")
    figures = inject(tmp_path, stride=7, card=Tap)
    print(figures)
    assert not figures.failed
    assert figures.faults > 50


def test_nor_does_one_around_byte_queue_limits(netns: Namespace, tmp_path: Path) -> None:
    netns.sh(f"ip link add {IFB} numtxqueues 2 type ifb")
    figures = inject(tmp_path, stride=11, card=Ifb)
    print(figures)
    assert not figures.failed
    assert figures.faults > 20


def test_nor_does_one_around_napi(netns: Namespace, tmp_path: Path) -> None:
    netns.veth(CARD, QUEUES)
    figures = inject(tmp_path, stride=2 * STRIDE, card=Polled)
    print(figures)
    assert not figures.failed
    assert figures.faults > 15


@pytest.mark.parametrize("own_qdiscs", [False, True], ids=["default qdiscs", "own qdiscs"])
def test_who_sets_everything_right_after_a_write_is_repaired(
    netns: Namespace, tmp_path: Path, own_qdiscs: bool
) -> None:
    """And what was there before netuned came comes back when the profile goes."""
    netns.veth(CARD, QUEUES)
    figures = meddle(tmp_path, own_qdiscs=own_qdiscs)
    print(figures)
    assert not figures.failed
    assert figures.meddled >= 10


@pytest.mark.parametrize("by", ["mac", "name"])
def test_names_that_change_at_a_call_mix_up_no_cards(
    netns: Namespace, tmp_path: Path, by: str
) -> None:
    for card in (CARD, OTHER):
        netns.veth(card, QUEUES)
    figures = change_names(tmp_path, by, stride=41, offset=by == "name")
    print(figures)
    assert not figures.failed
    assert figures.renames > 10


def test_a_start_that_cannot_read_the_host_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def work(name: str) -> None:
        tried.append(name)
        if len(tried) < 3:
            raise KernelError("read", "/sys/devices/system/cpu/online", errno.EIO)

    started = object.__new__(daemon.Daemon)
    loop = SimpleNamespace(start=lambda: work("start"))
    monkeypatch.setattr(daemon, "START_AGAIN_S", 0.0)
    monkeypatch.setattr(started, "_reconciler", loop, raising=False)
    asyncio.run(started._first_pass())
    assert tried == ["start"] * 3
