"""Trials in the loop: begun, confirmed, rolled back, and what is left alone afterwards.

A trial is on disk before its first write. Its clock goes on in suspend and over a restart of the
daemon; only its id confirms it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from netuned.errors import NetunedError
from netuned.hardware.nic import Nic
from netuned.plan import Change
from netuned.reconcile.before import found_before
from netuned.reconcile.card import Card
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import Trial, Tried, now_ns
from netuned.reconcile.context import Context
from netuned.reconcile.holds import Holds
from netuned.reconcile.passes import Passes
from netuned.reconcile.rollback import Rollbacks
from netuned.reconcile.slot import Slot
from netuned.reconcile.trialfile import TrialFile
from netuned.status import DEGRADED
from netuned.text import did_you_mean

log = logging.getLogger(__name__)

ANEW = "try it anew with `netunedctl apply --confirm`"
BECAME = "`netunedctl history` tells how trials ended"


class Trials:
    """All trials of the host, and with ``holds`` what is left alone because of them."""

    def __init__(self, context: Context, file: TrialFile, passes: Passes) -> None:
        self.holds = Holds(context, file, passes)
        self._rollbacks = Rollbacks(context, file, self.holds)
        self._context = context
        self._work = context.work
        self._file = file
        self._begun: dict[int, Trial] = {}
        self._waiting = False
        """Whether what an earlier process left is still to be gone on with."""
        self._concluding: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Before anything else: what was tried before, and leave it alone until ``catch_up``.

        Raises: StateFileError.
        """
        await self._work.in_worker(self._file.load)
        self._waiting = True
        for trial in tuple(self._file.trials.values()):
            if trial.over or not trial.finished or trial.left_s() <= 0:
                over = partial(self._file.revise, trial.id, lambda t: replace(t, over=True))
                await self._work.attempt(over)

    def catch_up(self) -> None:
        """After the first plan, which tells each card's policy; ``concluded`` waits for it.

        Roll back what is overdue or was cut short, for nobody was told its id and could confirm
        it, and finish what was to be restored.
        """
        if self._waiting:
            self._waiting = False
            self._beside(self._catch_up())

    async def _catch_up(self) -> None:
        for trial in tuple(self._file.trials.values()):
            if trial.over:
                await self._rollbacks.end(trial.id, "it was over while netuned did not run")
            else:
                waits = trial.entry(f"{trial.id} waits to be confirmed")
                log.warning("To be confirmed: %s", trial, extra=waits)
                self._work.spawn(self._rollbacks.expire(trial.id))
        await self.holds.catch_up()

    def pending(self) -> str:
        """What waits to be confirmed, for people; empty if nothing does."""
        return "; ".join(map(str, self._file.trials.values()))

    def waiting(self) -> str:
        """Why what is not any one card's is left alone; empty where no change is unconfirmed."""
        if self._file.trials or self._begun:
            return "left alone until what waits is confirmed"
        if rolled_back := self.holds.rolled_back():
            again = "`netunedctl apply` brings it into force"
            return f"left alone, for changes of {', '.join(rolled_back)} were rolled back; {again}"
        return ""

    def waits_with_other(self, nic: Nic, profile: str) -> bool:
        """Whether a card is in a trial of another profile, and so keeps what it has for now.

        Or in the place of one that left while it was in a trial.
        """
        trial = self._trial_of(nic)
        if trial is None:
            return False
        tried = trial.cards.get(nic.ifindex)
        return tried is None or not tried.card.is_of(nic) or tried.profile != profile

    def _trial_of(self, nic: Nic) -> Trial | None:
        """The trial that a card, or the one that was in its place, is in."""
        trials = (*self._file.trials.values(), *self._begun.values())
        cards = [(trial, tried.card) for trial in trials for tried in trial.cards.values()]
        own = (trial for trial, card in cards if card.is_of(nic))
        place = (trial for trial, card in cards if card.may_be(nic))
        return next(own, None) or next(place, None)

    # A trial

    def refuse_second(self, slots: Collection[Slot]) -> None:
        """Raises: NetunedError if one of these cards is in a trial already."""
        for slot in slots:
            trial = self._trial_of(slot.card.nic)
            if trial is not None:
                raise NetunedError(
                    f"{slot.card.nic.name} already waits to be confirmed ({trial}); first "
                    f"`netunedctl confirm {trial.id}` or `netunedctl rollback {trial.id}`"
                )

    def begin(self, slots: Sequence[Slot], timeout_s: int) -> Trial:
        """Have the next looks at these cards be a trial; ``conclude`` it when they are done."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + timeout_s))
        cards = {slot.card.nic.ifindex: _untouched(slot) for slot in slots}
        trial = Trial(os.urandom(3).hex(), now_ns() + timeout_s * 10**9, at, cards)
        self._begun |= dict.fromkeys(cards, trial)
        for slot in slots:
            slot.begin_trial(partial(self._record, trial))
        self._work.spawn(self._rollbacks.expire(trial.id, trial.left_s()))
        return trial

    async def announce(self, trial: Trial, slots: Sequence[Slot]) -> None:
        """Write that a trial begins: one that is killed now must not be applied as if confirmed.

        Raises: StateFileError; then it did not begin.
        """
        try:
            await self._work.in_worker(partial(self._file.add, trial))
        except NetunedError:
            self._ended(trial)
            for slot in slots:
                slot.end_trial()
                self.holds.renew(slot)
            raise

    def _record(self, trial: Trial, card: Card, changes: tuple[Change, ...]) -> None:
        """Write down what is about to be written. Runs in a worker. Raises: NetunedError."""
        nic = card.nic
        if self._rollbacks.has(trial.id) or self._begun.get(nic.ifindex) is not trial:
            raise NetunedError(_meanwhile(trial))
        if trial.left_s() <= 0:
            raise NetunedError(
                f"the time to confirm {trial.id} was over before it was applied; try a longer one"
            )
        tried = self._file.trials.get(trial.id, trial).cards[nic.ifindex]
        before = {**card.beside, **tried.before} if tried.written else found_before(card)
        tried = replace(tried, before=before)
        self._file.add(trial, tried.with_writes(changes))

    def _ended(self, trial: Trial) -> None:
        """Its cards may be in another trial now, if they are not on file in this one."""
        self._begun = {i: t for i, t in self._begun.items() if t is not trial}

    async def conclude(self, trial: Trial, slots: Sequence[Slot]) -> Trial | None:
        """Wait until a trial's looks are done; from then on its settings are held.

        None if it changed nothing. Raises: NetunedError for cards that could not be brought into
        force; these are rolled back, the others wait to be confirmed.
        """
        try:
            return await self._conclude(trial, slots)
        finally:
            self._ended(trial)
            await self._context.loop.replan()  # what came meanwhile had to wait

    async def _conclude(self, trial: Trial, slots: Sequence[Slot]) -> Trial | None:
        await _quiet(slots)
        errors = []
        for slot in slots:
            if error := await self._conclude_card(trial, slot):
                errors.append(f"{slot.card.nic.name}: {error}")
        known, over = self._file.trials.get(trial.id), self._rollbacks.has(trial.id)
        if known is not None and not over:
            idle = [i for i, tried in known.cards.items() if not tried.written]
            await self._work.attempt(partial(self._file.end, trial.id, idle, confirmed=True))
        for slot in slots:
            self.holds.renew(slot)
        concluded = self._file.trials.get(trial.id)
        if over:
            errors = errors or [_meanwhile(trial)]
        elif concluded is not None:
            waits = concluded.entry(f"{trial.id} waits to be confirmed")
            log.warning("To be confirmed: %s", concluded, extra=waits)
            self._work.spawn(self._rollbacks.expire(trial.id))
            if errors:
                errors.append(f"the other cards wait: `netunedctl confirm {trial.id}`")
        elif not errors:
            await self.holds.release(slots)
            for slot in slots:
                self.holds.renew(slot)
        self._context.loop.publish()
        if errors:
            raise NetunedError("; ".join(errors))
        return concluded

    async def _conclude_card(self, trial: Trial, slot: Slot) -> str:
        """What one card is left as; one that failed is rolled back. Returns why it failed."""
        async with slot.lock:
            nic, error = slot.card.nic, slot.end_trial()
            known = self._file.trials.get(trial.id)
            tried = known.cards.get(nic.ifindex) if known else None
            if over := self._rollbacks.has(trial.id):
                error = ""
            if over or tried is None:
                if over or error:
                    await self._leave_alone(trial, slot, error)
                return error
            if not error:
                found = slot.card.found
                left = {name: found[name] for name in tried.before if name in found}
                done = replace(tried, left=left)
                revise = partial(self._file.revise, trial.id, lambda t: t.with_card(done))
                await self._work.attempt(revise)
                return ""
            apart = os.urandom(3).hex()
            await self._work.attempt(
                partial(self._file.split_off, trial.id, nic.ifindex, apart, error)
            )
            self.holds.hold_again(slot)
        await self._rollbacks.end(apart, "it failed")
        return error

    async def _leave_alone(self, trial: Trial, slot: Slot, error: str) -> None:
        """A card that never came into its trial is not brought into force after it either."""
        if not self._file.knows(trial.id, slot.card.nic):
            hold = trial.hold(replace(_untouched(slot), error=error))
            await self._work.attempt(partial(self._file.hold, [hold]))
        self.holds.hold_again(slot)

    def conclude_later(self, trial: Trial, slots: Sequence[Slot]) -> None:
        """As ``conclude``, beside the rest; ``concluded`` waits for it."""
        self._beside(self.conclude(trial, slots))

    def _beside(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._work.spawn(work)
        self._concluding.add(task)
        task.add_done_callback(self._concluding.discard)

    async def concluded(self) -> None:
        """Wait until trials that were begun have been applied, or overdue ones rolled back."""
        if self._concluding:
            await asyncio.wait(set(self._concluding))

    # Its end

    async def confirm(self, id: str) -> None:
        """What a trial did stays. Raises: NetunedError unless it waits for that."""
        async with self._rollbacks.deciding:
            trial = self._file.trials.get(id)
            if trial is None:
                raise NetunedError(self._unknown(id))
            if trial.over or trial.left_s() <= 0:
                raise NetunedError(f"too late: {id} is being rolled back; {ANEW}")
            if not trial.finished:
                raise NetunedError(f"{id} is still being applied; ask again")
            end = partial(self._file.end, id, tuple(trial.cards), confirmed=True)
            await self._work.in_worker(end)
        log.info("Confirmed: %s", trial, extra=trial.entry(f"{id} is confirmed"))
        await self._rollbacks.after(trial)

    async def roll_back(self, id: str = "") -> None:
        """Undo a trial at once; all that wait if none is named. Raises: NetunedError."""
        ids = [id] if id else list(self._file.trials)
        if not ids or ids[0] not in self._file.trials:
            raise NetunedError(
                self._unknown(id) if id else f"nothing waits to be confirmed: {BECAME}"
            )
        problems, again = [], ""
        for each in ids:
            trial = self._file.trials.get(each)
            if trial and self._rollbacks.has(each):
                why = f": {trial.problem}" if trial.problem else ""
                problems.append(f"{each} is being rolled back, not done yet{why}")
            else:
                problems += await self._rollbacks.end(each, "as asked for")
            if not self._rollbacks.has(each):  # it was confirmed meanwhile
                problems.append(self._unknown(each))
            again = "; trying again" if each in self._file.trials else again
        if problems:
            raise NetunedError("; ".join(problems) + again)

    def _unknown(self, id: str) -> str:
        """That nothing of this ID waits to be confirmed, and what does."""
        hint = did_you_mean(id, self._file.trials)
        others = ", ".join(self._file.trials)
        waiting = f"waiting: {others}" if others else f"nothing does: {BECAME}"
        return f"{id} does not wait to be confirmed; {f'{hint} ' if hint else ''}{waiting}"


def _meanwhile(trial: Trial) -> str:
    return f"{trial.id} was rolled back meanwhile; {ANEW}"


def _untouched(slot: Slot) -> Tried:
    """A card in a trial that has done nothing to it yet."""
    return Tried(CardId.of(slot.card.nic), slot.aim.digest)


async def _quiet(slots: Sequence[Slot]) -> None:
    """Wait until these cards' looks are done, or have failed."""
    while busy := [
        slot
        for slot in slots
        if not slot.gone and (slot.task or (slot.retry and slot.state != DEGRADED))
    ]:
        tasks = [slot.task for slot in busy if slot.task is not None]
        # without one queues come and go, and it looks again in milliseconds
        await (asyncio.wait(tasks) if tasks else asyncio.sleep(0.01))
