"""A card's place in the loop: what is marked, what was told, how it waits, how it looks."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netuned.errors import KernelError, StateFileError
from netuned.reconcile.aim import Look
from netuned.reconcile.card import Card
from netuned.reconcile.passes import RETRY_MOST_S
from netuned.reconcile.writing import Outcome
from tests.unit.parts import Parts, on, profile

GONE = KernelError("read", "en0", 19)


def test_a_look_takes_all_that_is_marked(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot = parts.slot()
        assert not slot.dirty
        slot.mark("xps", event_at=5.0)
        slot.mark("irq", event_at=6.0)
        assert slot.take_look() == Look(frozenset({"irq", "xps"}), facts=False, event_at=5.0)
        assert not slot.dirty
        slot.mark("xps")
        slot.mark(facts=True)
        slot.mark()
        slot.mark("irq")
        assert slot.take_look() == Look(None, facts=True, event_at=0.0)
        slot.mark_first("channels", 7.0)
        first = frozenset({"channels"})
        assert slot.take_look() == Look(None, facts=True, event_at=7.0, first=first)
        assert slot.take_look().first == frozenset()
        slot.lost(GONE)
        slot.mark("xps")
        assert slot.take_look().scope is None

    on(tmp_path, scenario)


def test_a_card_is_told_again_only_what_has_changed(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot = parts.slot()
        aim = slot.aim
        assert slot.aimed
        await parts.plan("match: [{name: other}]\n", "other")
        assert slot.aim.profiles is parts.profile_set
        assert slot.aim.target is aim.target
        assert slot.aimed
        slot.adopt(replace(slot.aim, restore=False))
        assert slot.aimed  # a card with a target is not put back
        slot.hold({"xps": "left alone"})
        assert not slot.aimed
        slot.hold({})
        assert slot.aimed
        slot.adopt(replace(slot.aim, target=None))
        assert (slot.aimed, slot.settled) == (False, False)
        slot.adopt(aim)
        assert slot.aimed
        slot.aim_anew()
        assert not slot.aimed

    on(tmp_path, scenario)


def test_a_trial_decides_what_is_left_alone_until_it_ends(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot = parts.slot()
        slot.hold({"xps": "rolled back"})
        slot.begin_trial(lambda *_: None)
        assert (slot.aim.held, slot.settled, slot.aimed) == ({}, False, False)
        slot.adopt(replace(slot.aim, held={"irq": "not now"}))
        assert slot.aim.held == {}
        assert slot.end_trial() == ""
        slot.adopt(replace(slot.aim, held={"irq": "now"}))
        assert slot.aim.held == {"irq": "now"}
        slot.begin_trial(lambda *_: None)
        slot.looked(Outcome(error=StateFileError("full")), 0.0)
        slot.wait(60, lambda: None)
        assert slot.end_trial() == "full"
        assert (slot.retry, slot.failures) == (None, 0)

    on(tmp_path, scenario)


@pytest.mark.parametrize(
    ("happen", "state", "error"),
    [
        (lambda parts: None, "in-sync", ""),
        (lambda parts: parts.slot().lost(GONE), "in-sync", ""),
        (lambda parts: [parts.slot().lost(GONE) for _ in range(2)], "degraded", str(GONE)),
        (lambda parts: parts.slot().broke(KeyError(5)), "degraded", "internal error: KeyError(5)"),
        (lambda parts: parts.slot().stay("edge", "no CPUs"), "degraded", "no CPUs"),
        (lambda parts: parts.pauses.begin(None), "paused", ""),
        (lambda parts: parts.slot().let_go(), "unmanaged", ""),
    ],
)
def test_what_happened_shows(
    tmp_path: Path, happen: Callable[[Parts], object], state: str, error: str
) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        before = parts.shown()
        happen(parts)
        shown = parts.shown()
        assert (shown.state, shown.last_error.partition(";")[0]) == (state, error)
        assert parts.shown() is shown
        assert (shown is before) is (state == "in-sync")

    on(tmp_path, scenario)


def test_a_card_that_could_not_be_told_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Card.aim
    failed: list[Card] = []

    def aim(card: Card, *given: Any, **more: Any) -> None:
        if card.nic.name == "en0" and not failed:
            failed.append(card)
            raise KernelError("get", "rings of ifindex 2", errno.EPERM)
        real(card, *given, **more)

    monkeypatch.setattr(Card, "aim", aim)

    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        await parts.until(lambda: bool(failed) and parts.shown().state == "in-sync")
        assert parts.slot().card.wanted

    on(tmp_path, scenario)


def test_a_card_that_left_is_closed_once_its_look_is_over(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot, closed = parts.slot(), 0

        def close() -> None:
            nonlocal closed
            closed += 1

        slot.card.close = close  # type: ignore[method-assign]  # to see that it is called
        slot.begin(asyncio.ensure_future(asyncio.sleep(0)))
        slot.wait(60, lambda: None)
        slot.leave()
        assert (slot.gone, slot.retry, closed) == (True, None, 0)
        slot.end()
        assert closed == 1

    on(tmp_path, scenario)


def test_retries_wait_twice_as_long_each_time_and_never_all_at_once(tmp_path: Path) -> None:
    waits: dict[int, list[float]] = {}

    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        loop = asyncio.get_running_loop()
        for _ in range(20):
            slot = parts.slot_of(parts.slot().card.nic)
            look = slot.take_look()
            for failures in range(1, 51):
                parts.passes._note(slot, Outcome(error=StateFileError("no")), look)
                assert slot.retry is not None
                waits.setdefault(failures, []).append(slot.retry.when() - loop.time())
            slot.end_wait()

    on(tmp_path, scenario)
    for failures, nominal in ((1, 1), (2, 2), (3, 4), (7, RETRY_MOST_S), (50, RETRY_MOST_S)):
        seen = waits[failures]
        assert all(0.79 * nominal <= wait <= 1.21 * nominal for wait in seen)
        assert len(set(seen)) > 15


def test_a_profile_that_goes_while_drift_is_repaired_is_no_drift(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The repair under way says nothing of what is wanted when it ends."""
    caplog.set_level("INFO")

    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot = parts.slot()
        parts.kernel.files.write("/sys/class/net/en0/queues/tx-1/xps_cpus", b"f")
        slot.set_out()
        parts.remove("edge")
        await parts.replan()
        slot.looked(Outcome(), 0.0)
        assert not slot.settled
        caplog.clear()
        await parts.quiet()
        assert slot.settled
        assert "Set en0 xps tx-1" in caplog.text
        assert "Repaired" not in caplog.text

    on(tmp_path, scenario)
