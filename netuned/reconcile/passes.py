"""One card's looks: when there is one, what it looks at, and what comes of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from functools import partial
from typing import Protocol

from netuned.errors import KernelError
from netuned.reconcile.apply import Outcome, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.slot import Listener, Slot
from netuned.reconcile.work import Work
from netuned.status import DEGRADED, UNMANAGED

log = logging.getLogger(__name__)

CLOSE_S = 1.0
RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0


class Surroundings(Protocol):
    """What a card's look needs of the loop over all cards."""

    async def replan(self) -> None: ...
    def rescan(self) -> None: ...
    def publish(self) -> None: ...
    def is_paused(self, slot: Slot, /) -> bool: ...


class Passes:
    """Looks at cards, one at a time for each, in worker threads."""

    def __init__(
        self, work: Work, baseline: Baseline, listener: Listener, around: Surroundings
    ) -> None:
        self._work = work
        self._baseline = baseline
        self._listener = listener
        self._around = around
        self._closing = False

    async def close(self, slots: Collection[Slot]) -> None:
        """Begin no more of them; those under way get ``CLOSE_S`` to end."""
        self._closing = True
        for slot in slots:
            self.end_wait(slot)
        if passes := [slot.task for slot in slots if slot.task is not None]:
            await asyncio.wait(passes, timeout=CLOSE_S)

    def mark(self, slot: Slot, *, everything: bool = False, facts: bool = False) -> None:
        """Look at a card's facts, or at all that is wanted of it."""
        slot.everything |= everything
        slot.facts |= facts
        self.start(slot)

    def start(self, slot: Slot) -> None:
        """Begin a look if one is due and nothing is against it."""
        if slot.task is None and self._may_look(slot):
            slot.task = self._work.spawn(self._pass(slot))

    def _may_look(self, slot: Slot) -> bool:
        """After a failure events wait for the retry: a failed pass raises events of its own."""
        held = slot.gone or self._closing or slot.retry is not None or self._around.is_paused(slot)
        return slot.dirty and not held

    def end_wait(self, slot: Slot) -> None:
        """Forget that a retry was to be waited for."""
        if slot.retry is not None:
            slot.retry.cancel()
            slot.retry = None

    async def _pass(self, slot: Slot) -> None:
        """Look at a card until nothing more is marked."""
        try:
            while self._may_look(slot):
                async with slot.lock:
                    await self._look(slot)
        except Exception as error:  # the loop's edge: a bug over one card stops no other
            log.exception("Internal error over %s, leaving it alone", slot.card.nic.name)
            slot.last_error, slot.state = f"internal error: {error!r}; see the log", DEGRADED
            slot.everything = slot.facts = False
            slot.scope.clear()
        finally:
            slot.task = None
            if slot.gone:
                slot.card.close()
        self._around.publish()

    async def _look(self, slot: Slot) -> None:
        card = slot.card
        # After a failure, and while something is put back, only a look at everything tells.
        whole = slot.everything or slot.facts or slot.failures or card.restoring
        scope = None if whole else frozenset(slot.scope)
        facts, event_at = slot.facts, slot.event_at
        slot.everything = slot.facts = False
        slot.scope.clear()
        slot.event_at = 0.0
        if facts:
            try:
                changed = await self._work.in_worker(card.refresh)
            except KernelError as error:
                self._lost(slot, error)
                return
            if changed:
                slot.aimed = False
                await self._around.replan()
        if not slot.aimed:
            try:
                await self.aim(slot)
            except KernelError as error:
                self._lost(slot, error)
                return
        nic, tunables = card.nic, frozenset(card.wanted)
        known = slot.armed is not None and slot.armed[0] is nic and slot.armed[1] == tunables
        if not known and not slot.gone:
            await self._work.in_line(partial(self._listener.arm, nic, tunables))
            slot.armed = nic, tunables
            scope = None  # no event told what was written before
        if not card.wanted:
            slot.pending, slot.last_error, slot.state = (), "", UNMANAGED
            card.close()
            return
        repairs = slot.dispute.gate if slot.settled else None
        outcome = await self._work.in_worker(
            lambda: reconcile_card(card, self._baseline, scope, repairs, slot.tries)
        )
        self._note(slot, outcome, event_at)
        if card.nic is not nic:  # restructured by our own writes: what is there now is new
            slot.aimed = False
            await self._around.replan()

    async def aim(self, slot: Slot) -> None:
        """Tell the card what is wanted of it. Raises: KernelError."""
        target, restore, held = slot.target, slot.restore, slot.held
        aim = partial(slot.card.aim, target, self._baseline, restore=restore, held=held)
        await self._work.in_worker(aim)
        slot.aimed = target is slot.target and restore is slot.restore and held is slot.held

    def _note(self, slot: Slot, outcome: Outcome, event_at: float) -> None:
        """Tell what a look gave, and look again later if it failed."""
        if isinstance(outcome.error, KernelError) and outcome.error.gone:
            slot.tell(outcome, event_at, self._listener)
            self._lost(slot, outcome.error)
            return
        slot.note(outcome, event_at, self._listener)
        if outcome.error is not None:
            self._retry(slot, RETRY_FIRST_S * 2 ** min(slot.failures - 1, 10))

    def _retry(self, slot: Slot, wait_s: float) -> None:
        """Look again later, and at nothing of the card until then but by request."""
        self.end_wait(slot)
        wait_s = min(wait_s, RETRY_MOST_S) * random.uniform(0.8, 1.2)
        slot.retry = asyncio.get_running_loop().call_later(wait_s, self.look_now, slot)

    def look_now(self, slot: Slot) -> None:
        """Look at everything, whatever is being waited for."""
        self.end_wait(slot)
        self.mark(slot, facts=True)

    def _lost(self, slot: Slot, error: KernelError) -> None:
        """Files or the card itself went away: read the facts again, once they are there."""
        slot.failures += 1
        if slot.failures > 1:
            slot.last_error, slot.state = str(error), DEGRADED
        self._retry(slot, 0.01 * 4 ** min(slot.failures, 10))
        self._around.rescan()
