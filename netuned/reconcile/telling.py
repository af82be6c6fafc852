"""Telling how everything is: what comes together is told together, and only what has changed."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import time
from collections.abc import Callable

from netuned import __version__
from netuned.reconcile.cards import Cards
from netuned.reconcile.listener import Listener
from netuned.reconcile.report import with_uppers
from netuned.reconcile.slot import Slot
from netuned.reconcile.work import Work
from netuned.status import STARTING, ManagerStatus, NicStatus, Status

GATHER_S = 0.005
"""What comes within this is told together: a card that comes into force changes several times."""

START_GATHER_S = 0.1
"""At the start so long: who wants to know waits for its end, which most often comes sooner."""

REST_TIMES, REST_MOST_S = 4, 0.5
"""So many times as long as telling took, and so long at most, nothing more is told."""

START_REST_S = 2.0
"""At the start so long: while 200 cards come into force each would be told of four times."""

SLICE_S = 0.005
"""The status of many cards is made for this long before the loop gets a turn."""


class Telling:
    """The newest status, and its way to who listens."""

    def __init__(
        self,
        work: Work,
        cards: Cards,
        manager: Callable[[tuple[NicStatus, ...]], ManagerStatus],
        listener: Listener,
        *,
        deaf: Callable[[], bool],
        starting: Callable[[], bool],
    ) -> None:
        """``manager`` makes the host's status of all cards'; ``deaf`` is as for ``Slot.status``.

        ``starting``: not all cards were looked at yet.
        """
        self.status = Status(ManagerStatus(__version__, STARTING))
        self._work = work
        self._cards = cards
        self._manager = manager
        self._listener = listener
        self._deaf = deaf
        self._starting = starting
        self._untold = False
        self._task: asyncio.Task[None] | None = None
        self._awaited = asyncio.Event()
        """Somebody waits for all to be told, so no rest is to be taken."""

    def publish(self) -> None:
        """Tell how everything is, if that has changed."""
        self._untold = True
        if self._task is None:
            self._task = self._work.spawn(self._tell())

    async def told(self) -> None:
        """Wait until all has been told."""
        if self._task is not None:
            self._awaited.set()
            await asyncio.wait({self._task})

    async def _tell(self) -> None:
        try:
            while self._untold:
                await self._rest(START_GATHER_S if self._starting() else GATHER_S)
                self._untold = False
                begun = time.monotonic()
                until = time.monotonic() + SLICE_S
                shown: list[tuple[Slot, NicStatus]] = []
                for slot in tuple(self._cards.slots.values()):
                    # kept until the card changes; what changes from here on is told next time
                    shown.append((slot, self._status_of(slot)))
                    if time.monotonic() > until:
                        await asyncio.sleep(0)
                        until = time.monotonic() + SLICE_S
                self._tell_now(tuple(status for slot, status in shown if not slot.gone))
                rest_s = min(REST_TIMES * (time.monotonic() - begun), REST_MOST_S)
                await self._rest(START_REST_S if self._starting() else rest_s)
        finally:
            self._awaited.clear()
            self._task = None

    async def _rest(self, rest_s: float) -> None:
        """Let what changes meanwhile come together, unless somebody waits for it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awaited.wait(), rest_s)

    def _status_of(self, slot: Slot) -> NicStatus:
        return slot.status(paused=self._cards.is_paused(slot), deaf=self._deaf())

    def _tell_now(self, cards: tuple[NicStatus, ...]) -> None:
        nics = with_uppers(cards, self._cards.desired.through)
        status, before = Status(self._manager(nics), nics), self.status
        # A card's status is the same object until it changes; to compare all values takes longer
        # than to find in slices, later, which of them differ.
        same = len(nics) == len(before.nics) and all(map(operator.is_, nics, before.nics))
        if not same or status.manager != before.manager:
            self.status = status
            self._listener.publish(status)
