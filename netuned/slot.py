"""A card's place in the reconcile loop: what is to be looked at, and what the last look gave."""

from __future__ import annotations

import asyncio

from netuned.apply import Card
from netuned.nic import Nic
from netuned.plan import Change
from netuned.report import nic_status
from netuned.status import APPLYING, DEGRADED, PAUSED, UNMANAGED, Applied, NicStatus
from netuned.tunables.base import Target


class Slot:
    """One card in the loop: what is to be looked at, and what the last look gave."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        self.target: Target | None = None
        self.profile = ""
        self.problem = ""
        self.aimed = False
        self.gone = False
        self.armed: tuple[Nic, frozenset[str]] | None = None
        self.everything = True
        self.scope: set[str] = set()
        self.facts = False
        self.event_at = 0.0
        self.settled = False
        self.pending: tuple[Change, ...] = ()
        self.failures = 0
        self.retry: asyncio.TimerHandle | None = None
        self.last_change: Applied | None = None
        self.last_error = ""
        self.state = UNMANAGED
        self._shown: tuple[tuple[object, ...], NicStatus] | None = None

    @property
    def dirty(self) -> bool:
        return self.everything or self.facts or bool(self.scope)

    def status(self, *, paused: bool) -> NicStatus:
        """How the card looks to people now; the same object until something changes."""
        key = (
            *(paused, self.task is None, self.state, self.last_error, self.problem, self.profile),
            *(self.settled, self.pending, self.last_change, self.card.version),
        )
        if self._shown is None or self._shown[0] != key:
            self._shown = key, self._status(paused)
        return self._shown[1]

    def _status(self, paused: bool) -> NicStatus:
        state, error = self.state, self.last_error
        if self.problem:
            state, error = DEGRADED, self.problem
        elif paused and self.profile:
            state = PAUSED
        elif self.task is not None and self.profile and not self.settled:
            state = APPLYING
        return nic_status(self.card, self.profile, state, self.pending, self.last_change, error)
