"""What netuned did to each setting of a card, or of the host, since the daemon started."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from netuned.plan import Change
from netuned.status import Applied, SettingStatus
from netuned.valuejson import typed
from netuned.values import describe

PROFILE, RESTORE, DRIFT = "profile", "restore", "drift"
"""The causes of a change: what a profile says, nothing says it any more, or a repair."""


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

    def made(self, change: Change, cause: str) -> Applied:
        """Count a change that was made and stayed. Returns it as status shows it."""
        applied = Applied(
            time.time(),
            change.tunable,
            change.key,
            describe(change.before) or "none",
            describe(change.after),
            cause,
            typed(change.before),
            typed(change.after),
        )
        before = self.of(change.tunable)
        repairs = before.repairs + (cause == DRIFT)
        tally = Tally(before.writes + 1, repairs, before.failures, applied)
        self._put(change.tunable, tally)
        return applied

    def failed(self, tunable: str) -> None:
        """Count a pass that ended because a write of this tunable failed."""
        before = self.of(tunable)
        self._put(tunable, replace(before, failures=before.failures + 1))

    def _put(self, tunable: str, tally: Tally) -> None:
        self._of[tunable] = tally
        self.version += 1
