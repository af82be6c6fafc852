"""What holds after any fault: of the card, of what is on record, of what is said."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from netuned.reconcile.baseline import Baseline
from netuned.reconcile.loop import Reconciler
from netuned.status import IN_SYNC, UNSUPPORTED, NicStatus
from netuned.tunables import BY_NAME, channels
from netuned.values import ABSENT
from tests.netns.faults.card import Card, State, difference


class Heard(logging.Handler):
    """What was logged, and what must never be: a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.warnings: list[str] = []
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())
        if record.exc_info and record.exc_info[0]:
            self.tracebacks.append(logging.Formatter().format(record))


class Wrong(Exception):
    """A promise that was not kept; the message says which."""


class Promises:
    """What is looked at after a fault; each method raises Wrong."""

    def __init__(self, card: Card, heard: Heard, baseline: Path) -> None:
        self.card = card
        self.heard = heard
        self._baseline = baseline

    def named(self, allowed: Sequence[State]) -> None:
        """What is not as before is as wanted, and the disk says what it was before."""
        before, now = self.card.before, self.card.state()
        saved = self._saved()
        record = saved._of(self.card.nic()).settings
        for setting, value in now.items():
            if value == before.get(setting):
                continue
            (name, key), tunable = setting, BY_NAME[setting[0]]
            fresh = value == tunable.fresh or self.card.made_by_the_kernel(setting, value)
            if setting not in before and fresh:
                continue  # it came with a queue or a root, and is as the kernel makes it
            came_back = fresh and key in record.get(name, {})  # its queue did, and it is still to
            if not came_back and all(value != state.get(setting) for state in allowed):
                raise Wrong(f"{name} {key} is {value}, which nobody names")
            of_it = record.get(name, {})
            if any(of == name and of_it.get(k) is ABSENT for of, k in tunable.needs(key)):
                continue  # a parameter of what was not there goes with it
            if key not in of_it:
                raise Wrong(f"{name} {key} is {value}, and the baseline does not know it")
            kept = of_it[key]
            was = tunable.recorded(self.card.nic(), before[setting]) if setting in before else kept
            if kept != was:
                raise Wrong(f"{name} {key}: the baseline has {kept}, it was {was}")

    def planned(self, loop: Reconciler) -> State:
        """What the rest is planned to be where the channels were refused; else nothing."""
        slot = loop.cards.slots.get(self.card.ifindex)
        if slot is None or channels.NAME not in slot.card.unsupported:
            return {}
        wanted = slot.card.wanted.items()
        return {(name, key): value for name, state in wanted for key, value in state.items()}

    def told(self, loop: Reconciler, right: State) -> None:
        """Who calls a card in sync whose settings are not as they should be, lies."""
        nic = next((nic for nic in loop.status().nics if nic.name == self.card.name), None)
        if self.card.state() == right:
            return
        if nic is not None and nic.state == IN_SYNC:
            raise Wrong(f"called {nic.state}: {difference(self.card.state(), right)}")
        silent = nic and not nic.last_error and not self.heard.warnings and not _excused(nic)
        if nic and silent and nic.state not in ("applying", "unmanaged"):
            raise Wrong(f"{nic.state}, and nothing says why")

    def kept(self, right: State, when: str) -> None:
        found = self.card.state()
        if found != right:
            raise Wrong(f"{when}: {difference(found, right)}")
        if self.heard.tracebacks:
            raise Wrong(self.heard.tracebacks[0])

    def forgotten(self) -> None:
        """What was put back needs no record."""
        saved = self._saved()
        if record := saved.of(self.card.nic()):
            raise Wrong(f"all is as before, and the baseline still has {sorted(record)}")

    def _saved(self) -> Baseline:
        """What is on the disk, of this boot."""
        boot_id = self.card.kernel.files.read_text("/proc/sys/kernel/random/boot_id")
        saved = Baseline(self._baseline, boot_id)
        saved.load()
        return saved


def _excused(nic: NicStatus) -> bool:
    return any(setting.state == UNSUPPORTED for setting in nic.settings)
