"""systemd hears that all is well while no worker hangs; a driver may take its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netuned import watchdog
from netuned.reconcile.work import Work
from netuned.watchdog import DOUBLED_MOST, HUNG_S, NAME, Watchdog


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What systemd was told."""
    fields: list[dict[str, object]] = []
    monkeypatch.setattr(watchdog, "notify", lambda **told: fields.append(told))
    return fields


def busy(work: Work, then: Callable[[], None]) -> None:
    """Call while a worker is at something that does not come back before that."""
    release, begun = threading.Event(), threading.Event()

    def never() -> None:
        begun.set()
        release.wait()

    async def check() -> None:
        task = asyncio.ensure_future(work.in_worker(never))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        then()
        release.set()
        await task

    asyncio.run(check())


def test_a_worker_that_hangs_is_seen_and_one_that_takes_long_is_not(
    tmp_path: Path, told: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    work = Work()
    dog = Watchdog(work, tmp_path)
    now = time.monotonic()

    def check() -> None:
        dog.beat()
        monkeypatch.setattr(time, "monotonic", lambda: now + HUNG_S - 1)
        dog.beat()
        assert told == [{"WATCHDOG": 1}] * 2
        monkeypatch.setattr(time, "monotonic", lambda: now + HUNG_S + 60)
        dog.beat()
        dog.beat()
        assert len(told) == 2
        monkeypatch.undo()

    busy(work, check)
    (said,) = caplog.messages
    assert said.startswith("busy.<locals>.never has not come back for 6")
    assert Watchdog(work, tmp_path).patience_s == 2 * HUNG_S
    work.close()


def test_what_waits_for_a_worker_does_not_hang() -> None:
    work = Work()

    async def check() -> None:
        assert work.longest() == ("", 0.0)
        await asyncio.gather(*(work.in_worker(lambda: time.sleep(0.001)) for _ in range(20)))
        await work.in_line(lambda: None)
        assert work.longest() == ("", 0.0)

    asyncio.run(check())
    work.close()


@pytest.mark.parametrize(
    ("kept", "doubled"),
    [("", 0), ("x", 0), ("-1", 0), ("3\n", 3), ("99", DOUBLED_MOST), ("\0", 0)],
)
def test_patience_grows_and_has_an_end(tmp_path: Path, kept: str, doubled: int) -> None:
    (tmp_path / NAME).write_text(kept)
    assert Watchdog(Work(), tmp_path).patience_s == HUNG_S * 2**doubled
