"""One card's looks: when there is one, what it looks at, and what comes of it."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from functools import partial

from netuned.errors import KernelError
from netuned.kernel.once import Once, Shared
from netuned.reconcile.aim import Look
from netuned.reconcile.apply import Rounds, plan_card
from netuned.reconcile.contention import Gate
from netuned.reconcile.context import Context
from netuned.reconcile.slot import HEARD_S, Slot
from netuned.reconcile.writing import Outcome

log = logging.getLogger(__name__)

AWAITED_S = 2.0
"""What was set and does not show yet is looked at again so often."""

CLOSE_S = 1.0
HELD_UP_S = 0.02
"""Turns are one at a time, for each of their many system calls would wake a thread that waits for
the interpreter; but one that takes longer than this waits in a driver, and holds up no other."""
LOST_FIRST_S = 0.01
RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0


class Passes:
    """Looks at cards, one at a time for each, in worker threads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._closing = False
        self._under_way = 0
        self._turning = threading.Lock()
        self._shared = Shared(context.kernel)

    async def close(self, host: Slot) -> None:
        """Begin no more of them, the host's too; those under way get ``CLOSE_S`` to end."""
        self._closing = True
        slots = (host, *self._context.slots.values())
        for slot in slots:
            slot.end_wait()
            slot.dispute.close()
        if passes := [slot.task for slot in slots if slot.task is not None]:
            await asyncio.wait(passes, timeout=CLOSE_S)

    def look(self, slot: Slot, *, facts: bool = False) -> None:
        """Look at all that is wanted of a card, perhaps with its facts read anew."""
        slot.mark(facts=facts)
        self.start(slot)

    def look_now(self, slot: Slot) -> None:
        """Look at everything, whatever is being waited for."""
        slot.end_wait()
        self.look(slot, facts=True)

    def start(self, slot: Slot) -> None:
        """Begin a look if one is due and nothing is against it."""
        if slot.task is None and self._may_look(slot):
            self._under_way += 1
            slot.begin(self._context.work.spawn(self._pass(slot)))

    def _may_look(self, slot: Slot) -> bool:
        """After a failure events wait for the retry: a failed pass raises events of its own."""
        unread, waits = slot.card.nic.unread, slot.retry is not None
        against = slot.gone or self._closing or unread or waits
        return slot.dirty and not against

    async def _pass(self, slot: Slot) -> None:
        """Look at a card until nothing more is marked."""
        try:
            while self._may_look(slot):
                async with slot.lock:
                    await self._look(slot)
        except Exception as error:  # the loop's edge: a bug over one card stops no other
            log.exception("Internal error over %s, leaving it alone", slot.card.nic.label)
            async with slot.lock:
                slot.broke(error)
        finally:
            self._under_way -= 1
            slot.end()
        self._context.loop.publish()

    async def _look(self, slot: Slot) -> None:
        card, look = slot.card, slot.take_look()
        scope, in_worker = look.scope, self._context.work.in_worker
        if look.first and await self._is_put_back(slot, look):
            return
        if look.facts:
            try:
                changed = await in_worker(partial(card.refresh, self._fresh(), another=True))
            except KernelError as error:
                self._lost(slot, error)
                return
            if changed:
                await self._replan(slot)
        if slot.gone or slot.is_another:  # what is wanted was planned for the card before it
            return
        paused = self._context.loop.is_paused(slot)
        repairs = None if paused else slot.set_out()
        if not slot.aimed:
            try:
                await self.aim(slot)
            except KernelError as error:
                self._lost(slot, error)
                return
        nic, tunables = card.nic, card.watchable
        if not slot.gone and slot.watch(nic, tunables):
            await self._context.work.in_line(partial(self._context.listener.arm, nic, tunables))
            scope = None  # no event told what was written before
        if slot.aim.target is None and not card.wanted:
            slot.let_go()
            return
        if paused:
            await self._observe(slot)
        else:
            self._note(slot, await self._transaction(slot, scope, repairs), look)
        if card.nic is not nic:  # restructured by our own writes: what is there now is new
            await self._replan(slot)

    async def _is_put_back(self, slot: Slot, look: Look) -> bool:
        """Put back what somebody set who made the card anew, before all is planned for that card.

        Says whether that was it, and all else of the card was looked at after it.
        """
        card, nic = slot.card, slot.card.nic
        known = slot.settled and slot.aimed and not slot.is_another and slot.recorder is None
        if slot.gone or not known or self._context.loop.is_paused(slot):
            return False
        outcome = await self._transaction(slot, look.first, slot.set_out())
        if outcome.error is None and not outcome.made:
            return False  # it is for the look at everything
        self._note(slot, outcome, look)
        if card.nic != nic:
            await self._replan(slot)
        return outcome.scope is None or outcome.error is not None  # after which it is tried again

    async def _transaction(
        self, slot: Slot, scope: frozenset[str] | None, repairs: Gate | None
    ) -> Outcome:
        rounds = Rounds(slot.card, self._context.baseline, scope, repairs, slot.recorder)
        while not await self._context.work.in_worker(partial(self._turns, rounds, self._fresh())):
            pass
        return rounds.outcome

    async def _observe(self, slot: Slot) -> None:
        """See how a paused card is, and write nothing."""
        try:
            look = partial(plan_card, slot.card, self._fresh())
            _, withheld = await self._context.work.in_worker(look)
        except KernelError as error:
            self._lost(slot, error)
        else:
            slot.observed(withheld)
            slot.look_for_refused(partial(self.look, slot, facts=True))

    def _fresh(self) -> Once:
        """What is asked from now on: of several cards together, of a single one by itself."""
        return self._shared.fresh() if self._under_way > 1 else self._alone()

    def _alone(self) -> Once:
        return Once(self._context.kernel, many=False)

    def _turns(self, rounds: Rounds, asked: Once) -> bool:
        """One turn of a card where others wait for theirs, else all. Says whether that is the end.

        Runs in a worker. Those that wait have each had a turn before this card's next.
        """
        turning = self._turning
        if not turning.acquire(timeout=HELD_UP_S):  # the other's release is of a lock of its own
            turning = threading.Lock()
            turning.acquire()
            self._turning = turning
        try:
            while not (ended := rounds.turn(asked)) and self._under_way == 1:
                asked = self._alone()
        finally:
            turning.release()
        return ended

    async def _replan(self, slot: Slot) -> None:
        slot.aim_anew(settled=not slot.is_another)
        await self._context.loop.replan()

    async def aim(self, slot: Slot) -> None:
        """Tell the card what is wanted of it. Raises: KernelError."""
        aim, baseline = slot.aim, self._context.baseline
        tell = partial(slot.card.aim, aim.target, baseline, restore=aim.restore, held=aim.held)
        slot.told(aim)  # what comes while it is told is for the next time
        try:
            await self._context.work.in_worker(tell)
        except KernelError:
            slot.aim_anew()  # else it would pass for told, and for in sync with nothing wanted
            raise

    def _note(self, slot: Slot, outcome: Outcome, look: Look) -> None:
        """Tell what a look gave, and look again later if it failed."""
        if isinstance(outcome.error, KernelError) and outcome.error.gone:
            slot.tell(outcome.made, event_at=look.event_at)
            self._lost(slot, outcome.error)
            return
        slot.looked(outcome, look.event_at)
        if outcome.believed or outcome.taken:
            asyncio.get_running_loop().call_later(HEARD_S, self._judge, slot, outcome, look)
        stirring = {change.tunable for change in outcome.made} | slot.card.awaited.keys()
        if any(slot.card.tunables[name].stirs for name in stirring):
            self._context.loop.stirred()
        if slot.card.awaited:
            slot.look_again(AWAITED_S, partial(self.look, slot))
        slot.look_for_refused(partial(self.look, slot, facts=True))
        if outcome.error is not None:
            self._retry(slot, RETRY_FIRST_S * 2 ** min(slot.failures - 1, 10))

    def _judge(self, slot: Slot, outcome: Outcome, look: Look) -> None:
        if not slot.gone and slot.judge(outcome, look):
            self.look(slot)

    def _lost(self, slot: Slot, error: KernelError) -> None:
        """Files or the card itself went away: read the facts again, once they are there."""
        slot.lost(error)
        self._retry(slot, LOST_FIRST_S * 4 ** min(slot.failures, 10))
        self._context.loop.rescan()

    def _retry(self, slot: Slot, wait_s: float) -> None:
        wait_s = min(wait_s, RETRY_MOST_S) * random.uniform(0.8, 1.2)
        slot.wait(wait_s, partial(self.look_now, slot))
