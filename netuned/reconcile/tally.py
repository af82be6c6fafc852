"""What netuned did to each setting of a card, or of the host, since the daemon started."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netuned.plan import Change
from netuned.status import Applied, SettingStatus
from netuned.valuejson import typed
from netuned.values import describe

PROFILE, APPLY, RESTORE, ROLLBACK = "profile", "apply", "restore", "rollback"
DRIFT = "drift"
"""The causes of a change. Only what was in force has drifted, and setting it again is a repair;
what somebody asks for by ``apply`` may have been restored, rolled back or refused before."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was done to one tunable, as in ``SettingStatus``."""

    writes: int = 0
    repairs: int = 0
    failures: int = 0
    last_change: Applied | None = None


NONE = Tally()


class Tallies:
    """Counts of writes, repairs and failures by tunable; nothing is forgotten before the card."""

    def __init__(self) -> None:
        self.version = 0
        """Changes whenever a count does."""
        self._of: dict[str, Tally] = {}

    def of(self, tunable: str) -> Tally:
        """What was done to one tunable."""
        return self._of.get(tunable, NONE)

    def on(self, setting: SettingStatus) -> SettingStatus:
        """A setting with what was done to it."""
        tally = self.of(setting.tunable)
        return replace(
            setting,
            writes=tally.writes,
            repairs=tally.repairs,
            failures=tally.failures,
            last_change=tally.last_change,
        )

    def made(self, changes: Sequence[Change], cause: str) -> Applied | None:
        """Count changes that were made and stayed. Returns the last as status shows it."""
        applied = None
        counts = Counter(change.tunable for change in changes)
        for tunable, change in {change.tunable: change for change in changes}.items():
            applied, before, count = self._shown(change, cause), self.of(tunable), counts[tunable]
            repairs = before.repairs + (count if cause == DRIFT else 0)
            self._put(tunable, Tally(before.writes + count, repairs, before.failures, applied))
        return applied

    @staticmethod
    def _shown(change: Change, cause: str) -> Applied:
        return Applied(
            time.time(),
            change.tunable,
            change.key,
            describe(change.before) or "none",
            describe(change.after),
            cause,
            typed(change.before),
            typed(change.after),
        )

    def failed(self, tunable: str) -> None:
        """Count a pass that ended because a write of this tunable failed."""
        before = self.of(tunable)
        self._put(tunable, replace(before, failures=before.failures + 1))

    def _put(self, tunable: str, tally: Tally) -> None:
        self._of[tunable] = tally
        self.version += 1
