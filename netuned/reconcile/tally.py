"""What netuned did to each setting of a card, or of the host, since the daemon started."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from netuned.plan import Change
from netuned.records import dataclass
from netuned.status import APPLYING, STARTING, Applied, SettingStatus
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
    """Counts of writes, repairs and failures by tunable; nothing is forgotten before the card.

    Also since when the card and each tunable are in their states. ``clock`` is in seconds since the
    epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since: dict[str, tuple[str, float]] = {}
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
            since=self.since(setting.tunable, setting.state),
        )

    def since(self, tunable: str, state: str) -> float:
        """Since when a tunable, or the card ("") is in this state, which is how it looks now.

        0 of a state on the way to another. One that it comes back to from there has not ended.
        """
        if state in (APPLYING, STARTING):
            return 0.0
        if (known := self._since.get(tunable)) is None or known[0] != state:
            known = self._since[tunable] = state, self._clock()
        return known[1]

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
