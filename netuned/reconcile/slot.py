"""A card's place in the reconcile loop: what is to be looked at, and what the last look gave."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from netuned.errors import NetunedError
from netuned.hardware.nic import Nic
from netuned.plan import Change
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.apply import Outcome, Tries
from netuned.reconcile.card import NOTHING_HELD, Card
from netuned.reconcile.dispute import Dispute, Place
from netuned.reconcile.report import card_state, nic_status
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    PAUSED,
    UNMANAGED,
    Applied,
    NicStatus,
    Status,
)
from netuned.tunables.base import Target
from netuned.values import describe

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told: D-Bus, and the watches that must follow what is wanted."""

    def publish(self, status: Status, /) -> None: ...

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str, /) -> None: ...

    def repaired(
        self, ifindex: int, tunable: str, key: str, value: str, latency_us: int, /
    ) -> None: ...

    def arm(self, nic: Nic, tunables: frozenset[str], /) -> None:
        """Watch the files of these tunables of a card; none: watch nothing of it.

        Called in one thread, which is not the loop's: it is many system calls.
        """


class Slot:
    """One card in the loop: what is to be looked at, and what the last look gave."""

    def __init__(self, card: Card, dispute: Dispute) -> None:
        self.card = card
        self.dispute = dispute
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        self.target: Target | None = None
        self.profile = ""
        self.problem = ""
        self.aimed = False
        self.restore = True
        self.held: Mapping[str, str] = NOTHING_HELD
        """Tunables that are left alone, and why."""
        self.digest: str | None = None
        """Of the profile that was adopted last; None before the first."""
        self.tries: Tries | None = None
        """Told of changes that may have to be rolled back."""
        self.profiles: ProfileSet | None = None
        """Those that were loaded then."""
        self.untried = False
        """Another profile was adopted during a pause, without a trial."""
        self.gone = False
        self.armed: tuple[Nic, frozenset[str]] | None = None
        self.everything = True
        self.scope: set[str] = set()
        self.facts = False
        self.event_at = 0.0
        self.settled = False
        self.pending: tuple[Change, ...] = ()
        self.failures = 0
        self.failed = ""
        self.retry: asyncio.TimerHandle | None = None
        self.last_change: Applied | None = None
        self.last_error = ""
        self.state = UNMANAGED
        self._shown: tuple[tuple[object, ...], NicStatus] | None = None

    @property
    def contended(self) -> tuple[str, ...]:
        """A sentence for each tunable that somebody changes again and again."""
        return self.dispute.sentences(Place(self.card.nic))

    @property
    def dirty(self) -> bool:
        return self.everything or self.facts or bool(self.scope)

    def status(self, *, paused: bool) -> NicStatus:
        """How the card looks to people now; the same object until something changes."""
        key = (
            *(paused, self.task is None, self.state, self.last_error, self.problem, self.profile),
            self.held,
            *(self.settled, self.pending, self.last_change, self.card.version, self.contended),
        )
        if self._shown is None or self._shown[0] != key:
            self._shown = key, self._status(paused)
        return self._shown[1]

    def _status(self, paused: bool) -> NicStatus:
        state, error = self.state, self.last_error
        if self.problem:
            state, error = DEGRADED, self.problem
        elif self.held and not self.profile:
            error = error or "; ".join(sorted(set(self.held.values())))
        elif paused and self.profile:
            state = PAUSED
        elif self.task is not None and self.profile and not self.settled:
            state = APPLYING
        contended = {name: self.dispute.reason(name) for name in self.dispute.contended}
        return nic_status(
            *(self.card, self.profile, state, self.pending, contended),
            *(self.last_change, error, self.failed),
        )

    # What a look gave

    def note(self, outcome: Outcome, event_at: float, listener: Listener) -> None:
        """Remember, log and tell. ``event_at`` is when the event came, on the monotonic clock."""
        cause = self.tell(outcome, event_at, listener)
        nic = self.card.nic
        if outcome.error is not None:
            self._fail(outcome.error, outcome)
            return
        if self.last_error:
            log.info("%s: in force again after %d failures", nic.name, self.failures)
        if outcome.made and cause == "profile":
            log.info("In force: %s has profile %s", nic.name, self.profile)
        enforce = self.target is None or self.target.profile.policy.enforce == "yes"
        if outcome.pending != self.pending and not enforce:
            for change in outcome.pending:
                log.warning("Drift, not repaired (policy.enforce is no): %s", change)
        for change in outcome.pending:
            if change.tunable in self.held and change not in self.pending:
                log.warning("Left alone: %s (it %s)", change, self.held[change.tunable])
        self.failures, self.last_error, self.failed = 0, "", ""
        scope = outcome.scope
        unseen = [c for c in self.pending if scope is not None and c.tunable not in scope]
        self.pending, self.settled = (*unseen, *outcome.pending), True
        self.dispute.follow(Place(nic))
        managed = self.target is not None or self.card.wanted
        self.state = card_state(self.card, self.pending) if managed else UNMANAGED
        if self.dispute.contended:
            self.state = CONTENDED

    def tell(self, outcome: Outcome, event_at: float, listener: Listener) -> str:
        """Log and tell the changes made. Returns their cause."""
        cause = "drift" if self.settled else "profile" if self.target else "restore"
        latency_us = int((time.monotonic() - event_at) * 1e6) if event_at else 0
        # once a minute, and it has been said that it will be
        fought = any(change.tunable in self.dispute.contended for change in outcome.made)
        level = logging.DEBUG if fought else logging.WARNING
        for change in outcome.made:
            self.tell_change(change, cause, latency_us, listener, level)
        return cause

    def tell_change(
        self,
        change: Change,
        cause: str,
        latency_us: int,
        listener: Listener,
        level: int = logging.WARNING,
    ) -> None:
        nic = self.card.nic
        before, after = describe(change.before) or "none", describe(change.after)
        fields = {
            "ifname": nic.name,
            "tunable": change.tunable,
            "queue": change.key,
            "before": before,
            "after": after,
            "cause": cause,
        }
        where = f"{nic.name} {change.tunable} {change.key}".rstrip()
        if cause == "drift":
            log.log(level, "Repaired %s: found %s, put back %s", where, before, after, extra=fields)
            listener.drift(nic.ifindex, change.tunable, change.key, after, before)
            listener.repaired(nic.ifindex, change.tunable, change.key, after, latency_us)
        else:
            log.info("Set %s: %s -> %s", where, before, after, extra=fields)
        self.last_change = Applied(time.time(), change.tunable, change.key, before, after, cause)

    def _fail(self, error: NetunedError, outcome: Outcome) -> None:
        """A card that cannot be brought into force."""
        self.failures += 1
        change = outcome.failed
        self.failed = change.tunable if change else ""
        what = f"{change}: {error}" if change else str(error)
        if what != self.last_error:
            undone = "what came before it was undone, " if outcome.undone else ""
            log.error("%s: %s; %strying again", self.card.nic.name, what, undone)
        self.last_error, self.state, self.settled = what, DEGRADED, False
