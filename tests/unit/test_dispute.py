"""Who is named as the one who changes a setting: nobody is, rather than somebody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from netuned.kernel.writers import Glimpse, Writer
from netuned.reconcile import dispute
from netuned.reconcile.contention import LIMITS
from netuned.reconcile.dispute import GLIMPSE_S, LATE_S, Dispute, Search
from netuned.reconcile.work import Work
from tests.unit.daemon import Daemon, on


class Clock:
    """Seconds that go by when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(dispute, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.fixture
def quarrel(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Dispute:
    """Of the processes 7 and 8 alone there is still something to see."""
    alive = {7: Glimpse(7, "tuner"), 8: Glimpse(8, "script")}
    monkeypatch.setattr(dispute, "glimpse", alive.get)
    return Dispute(LIMITS, Search(Work()), lambda: None, lambda: None)


@pytest.mark.parametrize("other", [8, 9], ids=["runs", "has ended"])
@pytest.mark.parametrize("after_s", [GLIMPSE_S / 2, GLIMPSE_S * 1.2], ids=["soon", "later"])
def test_nobody_is_named_in_place_of_another(
    quarrel: Dispute, clock: Clock, other: int, after_s: float
) -> None:
    quarrel.heard("qdisc", 7)
    assert quarrel.sender("qdisc") == "tuner (pid 7)"
    clock.now += after_s
    quarrel.heard("qdisc", other)
    assert quarrel.sender("qdisc") == ""
    clock.now += GLIMPSE_S * 1.2
    quarrel.heard("qdisc", 7)
    assert quarrel.sender("qdisc") == "", "the other may have made the repair necessary"
    clock.now += LATE_S * 1.1
    assert quarrel.sender("qdisc") == ""
    quarrel.heard("qdisc", 7)
    assert quarrel.sender("qdisc") == "tuner (pid 7)"


def test_who_was_found_earlier_is_not_named_for_what_comes_much_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0])
    searches = []

    async def find(*_: object) -> Writer | None:
        searches.append(late[0])
        late[0] += 1  # the writer came a while after the repair
        return Writer(4242, "script") if len(searches) == 1 else None

    async def scenario(daemon: Daemon) -> None:
        monkeypatch.setattr(dispute, "time", clock)
        monkeypatch.setattr(Search, "writer", find)
        for _ in range(LIMITS.suspect):
            await repair(daemon)
        while not searches:
            await asyncio.sleep(0.01)
        await repair(daemon)
        assert "script (pid 4242)" in caplog.messages[-1]
        late[0] = 3000
        await repair(daemon)
        assert "Repaired" in caplog.messages[-1]
        assert "script" not in caplog.messages[-1]
        for _ in range(50):  # an hour in which nothing is changed
            late[0] += 60
            daemon.loop.touch(2, "irq")
            await daemon.loop.until_quiet()
        assert len(searches) <= 2

    on(tmp_path, scenario)


async def repair(daemon: Daemon) -> None:
    daemon.disturb()
    daemon.loop.touch(2, "xps")
    await daemon.loop.until_quiet()
