"""What netuned did to a setting: counted by tunable, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netuned.cpuset import CpuSet
from netuned.plan import Change
from netuned.reconcile.tally import Tallies, Tally
from netuned.status import SettingStatus

CHANGE = Change("en0", "rps", "rx-0", CpuSet.of([0, 1]), CpuSet(), "off")


def test_a_repair_is_a_write_too() -> None:
    tallies = Tallies()
    tallies.made([CHANGE], "profile")
    last = tallies.made([CHANGE, CHANGE], "drift")
    assert tallies.of("rps") == Tally(3, 2, 0, last)
    assert tallies.made([], "drift") is None
    assert tallies.of("xps") == Tally()


def test_a_change_is_told_as_text_and_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 12.5)
    change = Tallies().made([CHANGE], "drift")
    assert change
    assert (change.at, change.key, change.cause) == (12.5, "rx-0", "drift")
    assert (change.before, change.before_value) == ("0-1", [0, 1])
    assert (change.after, change.after_value) == ("none", [])


def test_a_failure_keeps_the_last_change() -> None:
    tallies = Tallies()
    last = tallies.made([CHANGE], "profile")
    version = tallies.version
    tallies.failed("rps")
    assert tallies.of("rps") == Tally(1, 0, 1, last)
    assert tallies.version > version


def test_a_setting_shows_what_was_done_to_it() -> None:
    tallies = Tallies(lambda: 7.0)
    last = tallies.made([CHANGE], "drift")
    shown = tallies.on(SettingStatus("rps", "in-sync", "none", "none"))
    assert (shown.writes, shown.repairs, shown.failures, shown.last_change) == (1, 1, 0, last)
    other = SettingStatus("xps", "in-sync")
    assert tallies.on(other) == replace(other, since=7.0)
