"""A host's files in a directory, and a daemon's view of its settings that can be restarted."""

from __future__ import annotations

from pathlib import Path

from netuned.hardware.nic import HOST
from netuned.kernel import Kernel
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.contention import LIMITS, Budget, Gate
from netuned.reconcile.writing import Outcome
from netuned.tunables import HOST_TUNABLES
from netuned.tunables.base import Tunable


class Host:
    """What profiles want of one of the host's tunables, and what there is."""

    def __init__(self, root: Path, tunable: Tunable) -> None:
        self.root = root
        self.tunable = tunable
        (root / "proc").mkdir(exist_ok=True)
        self.restart()

    def put(self, path: str, text: str) -> None:
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def get(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text().strip()

    def restart(self) -> None:
        """A daemon that knows nothing but what is on disk."""
        self.kernel = Kernel(str(self.root))
        self.card = Card(self.kernel, HOST, HOST_TUNABLES)
        self.baseline = Baseline(self.root / "baseline.json", "boot")
        self.baseline.load()

    def look(self, *profiles: Profile) -> Outcome:
        assert self.tunable.gathered is not None
        self.card.aim(self.tunable.gathered(profiles), self.baseline)
        return reconcile_card(self.card, self.baseline)

    def made(self, *profiles: Profile) -> list[str]:
        outcome = self.look(*profiles)
        assert outcome.error is None
        return [str(change) for change in outcome.made]

    def gate(self) -> Gate:
        """What counts repairs, at a moment that does not pass."""
        return Gate(Budget(LIMITS), lambda: 1.0)
