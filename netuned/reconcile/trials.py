"""Trials in the loop: begun, confirmed, rolled back, and what is left alone afterwards.

A trial is on disk before its first write. Its clock goes on in suspend and over a restart of the
daemon; only its id confirms it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from netuned.errors import KernelError, NetunedError
from netuned.hardware.nic import Nic, read_nic
from netuned.kernel import Kernel
from netuned.plan import Change
from netuned.reconcile.apply import NOTHING_HELD, Card
from netuned.reconcile.baseline import Baseline, settled
from netuned.reconcile.confirm import (
    ALL,
    RESTORED,
    Hold,
    Trial,
    Tried,
    held_by,
    now_ns,
    with_writes,
)
from netuned.reconcile.passes import Passes
from netuned.reconcile.putback import PutBack, restore, roll_back
from netuned.reconcile.slot import Listener, Slot
from netuned.reconcile.trialfile import TrialFile, hold_after
from netuned.reconcile.work import Work
from netuned.status import DEGRADED

log = logging.getLogger(__name__)

TICK_S = 1.0
"""The loop's own clock stands still in suspend, so the deadline is looked at so often."""

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0


class Surroundings(Protocol):
    """What trials need of the loop over all cards."""

    async def replan(self) -> None: ...
    def publish(self) -> None: ...
    def slot(self, ifindex: int, /) -> Slot | None: ...


class Trials:
    """All trials and holds of the host."""

    def __init__(
        self,
        kernel: Kernel,
        work: Work,
        file: TrialFile,
        baseline: Baseline,
        passes: Passes,
        listener: Listener,
        around: Surroundings,
    ) -> None:
        self._kernel = kernel
        self._work = work
        self._file = file
        self._baseline = baseline
        self._passes = passes
        self._listener = listener
        self._around = around
        self._deciding = asyncio.Lock()
        self._started = False
        self._over: dict[str, str] = {}
        """Trials that are being or were rolled back, and why that is not done yet."""
        self._begun: dict[int, Trial] = {}
        self._concluding: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Before anything else: roll back what is overdue or was cut short, end what was begun.

        Nobody was told the id of a trial that was cut short, so nobody could confirm it.
        Raises: StateFileError.
        """
        try:
            await self._work.in_worker(self._file.load)
            await self._catch_up()
        finally:
            self._started = True

    async def _catch_up(self) -> None:
        for trial in tuple(self._file.trials.values()):
            if trial.over or not trial.finished or trial.left_s() <= 0:
                await self._end(trial.id, "it was over while netuned did not run")
            else:
                log.warning("To be confirmed: %s", trial)
                self._work.spawn(self._expire(trial.id))
        for hold in self._file.holds:
            if hold.kind == RESTORED and hold.ifindex:
                try:
                    await self._restore(hold.ifindex, hold.tunables)
                except NetunedError as error:
                    log.error("Cannot restore %s: %s", hold.name, error)

    def pending(self) -> str:
        """What waits to be confirmed, for people; empty if nothing does."""
        return "; ".join(
            f"{trial}: {problem}" if (problem := self._over.get(id)) else str(trial)
            for id, trial in self._file.trials.items()
        )

    # What the loop asks for each card

    def waits_with_other(self, ifindex: int, profile: str) -> bool:
        """Whether a card is in a trial of another profile, and so keeps what it has for now.

        Or in the place of one that left while it was in a trial.
        """
        slot = self._around.slot(ifindex)
        trial = self._trial_of(slot.card.nic) if slot else None
        if slot is None or trial is None:
            return False
        tried = trial.cards.get(ifindex)
        return tried is None or not tried.is_of(slot.card.nic) or tried.profile != profile

    def _trial_of(self, nic: Nic) -> Trial | None:
        """The trial that a card, or the one that was in its place, is in."""
        trials = (*self._file.trials.values(), *self._begun.values())
        own = (trial for trial in trials for t in trial.cards.values() if t.is_of(nic))
        place = (trial for trial in trials for t in trial.cards.values() if t.may_be(nic))
        return next(own, None) or next(place, None)

    def _is_of(self, hold: Hold, nic: Nic) -> bool:
        """Whether a hold is of a card, or of one that left and whose place it has."""
        slot = self._around.slot(hold.ifindex)
        left = slot is None or not hold.is_of(slot.card.nic)
        return hold.is_of(nic) or (left and hold.may_be(nic))

    def held(self, nic: Nic, profile: str) -> Mapping[str, str]:
        """The tunables of a card that are left alone, and why."""
        trial = self._file.pending(nic.ifindex)
        if trial is not None and (tried := trial.cards[nic.ifindex]).is_of(nic):
            problem = self._over.get(trial.id) or tried.error
            word = f"waits to be confirmed: `netunedctl confirm {trial.id}`"
            if trial.over or tried.error:
                word = f"being rolled back: {problem}" if problem else "being rolled back"
            elif tried.left is None:
                return NOTHING_HELD
            return dict.fromkeys(held_by(tried), word)
        found: dict[str, str] = {}
        for hold in self._file.holds:
            if self._is_of(hold, nic) and hold.profile == profile:
                found |= dict.fromkeys(hold.tunables, hold.why)
        return found

    def restored(self, nic: Nic, profile: str, tunable: str) -> bool:
        """Whether somebody had this put back to what was before netuned."""
        return any(
            hold.kind == RESTORED and tunable in hold.tunables and hold.profile == profile
            for hold in self._file.holds
            if self._is_of(hold, nic)
        )

    def follow(self, nics: Mapping[int, Nic], profiles: Mapping[int, str]) -> None:
        """Cards came or left, profiles changed (those of ``profiles`` are certain)."""
        for hold in self._file.holds:
            nic = next((nic for nic in nics.values() if hold.is_of(nic)), None)
            if nic is None and hold.ifindex:
                self._spawn(partial(self._file.rebind, hold, 0, 0))
            elif nic is not None and profiles.get(nic.ifindex, hold.profile) != hold.profile:
                self._spawn(partial(self._file.drop, hold))
            elif nic is not None and hold.ifindex != nic.ifindex:
                self._spawn(partial(self._file.rebind, hold, nic.ifindex, nic.instance))

    def _spawn(self, work: partial[None]) -> None:
        async def run() -> None:
            await self._work.in_worker(work)

        self._work.spawn(run())

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
        trial = Trial(secrets.token_hex(3), now_ns() + timeout_s * 10**9, at, cards)
        self._begun |= dict.fromkeys(cards, trial)
        for slot in slots:
            slot.tries = partial(self._record, trial)
            slot.held, slot.untried = NOTHING_HELD, False
            slot.aimed = slot.settled = False
            slot.failures, slot.last_error = 0, ""
            self._passes.end_wait(slot)
        self._work.spawn(self._expire(trial.id, trial.left_s()))
        return trial

    async def announce(self, trial: Trial, slots: Sequence[Slot]) -> None:
        """Keep that a trial begins, so that one that is killed now is not applied as if confirmed.

        Raises: StateFileError; then it did not begin.
        """
        try:
            await self._work.in_worker(partial(self._file.put, trial))
        except NetunedError:
            self._over[trial.id] = ""
            self._ended(trial)
            for slot in slots:
                slot.tries = None
                self._renew(slot)
            raise

    def _record(self, trial: Trial, card: Card, changes: tuple[Change, ...]) -> None:
        """Keep what is about to be written. Runs in a worker. Raises: NetunedError."""
        if trial.id in self._over:
            raise NetunedError(f"{trial.id} was rolled back meanwhile")
        nic = card.nic
        writes = [(change.tunable, change.key, change.after) for change in changes]
        tried = self._file.trials.get(trial.id, trial).cards[nic.ifindex]
        if not tried.written:
            before = {
                name: {key: settled(nic, value) or value for key, value in state.items()}
                for name, state in card.found.items()
                if name in card.wanted
            }
            tried = replace(tried, before=before)
        self._file.add(trial, with_writes(tried, writes))

    def _ended(self, trial: Trial) -> None:
        """Its cards may be in another trial now, if they are not on file in this one."""
        self._begun = {i: t for i, t in self._begun.items() if t is not trial}

    async def conclude(self, trial: Trial, slots: Sequence[Slot]) -> Trial | None:
        """Wait until a trial's looks are done; from then on its settings are held.

        None if it changed nothing. Raises: NetunedError for cards that could not be brought into
        force; these are rolled back, the others wait to be confirmed.
        """
        try:
            concluded = await self._conclude(trial, slots)
        finally:
            self._ended(trial)
        if concluded is None:
            await self._around.replan()
        return concluded

    async def _conclude(self, trial: Trial, slots: Sequence[Slot]) -> Trial | None:
        await _quiet(slots)
        errors = []
        for slot in slots:
            async with slot.lock:
                errors += await self._conclude_card(trial, slot)
        known = self._file.trials.get(trial.id)
        if known is not None and trial.id not in self._over:
            idle = [i for i, tried in known.cards.items() if not tried.written]
            await self._work.in_worker(partial(self._file.end, trial.id, idle, confirmed=True))
        for slot in slots:
            self._renew(slot)
        if errors:
            raise NetunedError("; ".join(errors))
        concluded = self._file.trials.get(trial.id)
        if concluded is None:
            await self._release(slots)
            for slot in slots:
                self._renew(slot)
        else:
            log.warning("To be confirmed: %s", concluded)
        self._around.publish()
        return concluded

    async def _conclude_card(self, trial: Trial, slot: Slot) -> list[str]:
        nic, slot.tries = slot.card.nic, None
        known = self._file.trials.get(trial.id)
        tried = known.cards.get(nic.ifindex) if known else None
        if trial.id in self._over:
            return []
        if slot.failures:
            error = slot.last_error or "it failed"
            self._passes.end_wait(slot)
            slot.failures = 0
            if tried is None:
                tried = _untouched(slot)
                hold = hold_after(trial, replace(tried, error=error))
                await self._keep(partial(self._file.hold, [hold]))
            else:
                failed = replace(tried, error=error)
                change = partial(self._file.change, trial.id, nic.ifindex, lambda _: failed)
                await self._keep(change)
                await self._roll_back_card(trial.id, failed, slot.card, slot)
            return [f"{nic.name}: {error}"]
        if tried is not None:
            found = slot.card.found
            left = {name: found[name] for name in tried.before if name in found}
            work = partial(self._file.change, trial.id, nic.ifindex)
            await self._work.in_worker(partial(work, lambda tried: replace(tried, left=left)))
        return []

    def conclude_later(self, trial: Trial, slots: Sequence[Slot]) -> None:
        """As ``conclude``, beside the rest; ``concluded`` waits for it."""

        async def run() -> None:
            await self.conclude(trial, slots)

        task = self._work.spawn(run())
        self._concluding.add(task)
        task.add_done_callback(self._concluding.discard)

    async def concluded(self) -> None:
        """Wait until trials that were begun have been applied."""
        if self._concluding:
            await asyncio.wait(set(self._concluding))

    # Its end

    async def confirm(self, id: str) -> None:
        """Keep what a trial did. Raises: NetunedError unless it waits for that."""
        async with self._deciding:
            trial = self._file.trials.get(id)
            if trial is None:
                waiting = ", ".join(self._file.trials) or "nothing does"
                raise NetunedError(f"{id} does not wait to be confirmed; waiting: {waiting}")
            if trial.over or trial.left_s() <= 0:
                raise NetunedError(f"too late: {id} is being rolled back")
            if not trial.finished:
                raise NetunedError(f"{id} is still being applied")
            end = partial(self._file.end, id, tuple(trial.cards), confirmed=True)
            await self._work.in_worker(end)
        log.info("Confirmed: %s", trial)
        await self._after(trial)

    async def roll_back(self, id: str = "") -> None:
        """Undo a trial at once; all that wait if none is named. Raises: NetunedError."""
        ids = [id] if id else list(self._file.trials)
        if not ids or ids[0] not in self._file.trials:
            what = f"{id} does not wait" if id else "nothing waits"
            raise NetunedError(f"{what} to be confirmed")
        problems = []
        for each in ids:
            if each in self._over and each in self._file.trials:
                why = f": {self._over[each]}" if self._over[each] else ""
                problems.append(f"{each} is being rolled back, not done yet{why}")
            else:
                problems += await self._end(each, "as asked for")
        if problems:
            raise NetunedError(f"{'; '.join(problems)}; trying again")

    async def _expire(self, id: str, least_s: float = 0.0) -> None:
        """Roll back at the deadline. A trial is in the file from its first write on."""
        end_ns = now_ns() + int(least_s * 1e9)
        while (trial := self._file.trials.get(id)) is not None or now_ns() < end_ns:
            left_s = trial.left_s() if trial else (end_ns - now_ns()) / 1e9
            if trial is not None and left_s <= 0:
                break
            await asyncio.sleep(min(max(left_s, 0.0), TICK_S))
        if trial is not None and not trial.over:
            await self._end(id, "not confirmed in time")

    async def _end(self, id: str, why: str) -> list[str]:
        """Roll a trial back. Returns what could not be; that is tried again by itself."""
        async with self._deciding:
            trial = self._file.trials.get(id)
            if trial is None or id in self._over:
                return []
            self._over[id] = ""
            log.warning("Rolling back %s: %s", trial, why)
            await self._keep(partial(self._file.undo, id))
        self._around.publish()
        problems = await self._roll_back_all(id)
        if problems or self._file.stale:
            self._work.spawn(self._keep_trying(id))
        await self._after(trial)
        return problems

    async def _keep_trying(self, id: str) -> None:
        wait_s = RETRY_FIRST_S
        while (trial := self._file.trials.get(id)) is not None or self._file.stale:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)
            if self._file.stale:
                await self._keep(self._file.save)
            problem = self._over[id]
            if trial and (not await self._roll_back_all(id) or self._over[id] != problem):
                await self._after(trial)

    async def _roll_back_all(self, id: str) -> list[str]:
        trial = self._file.trials.get(id)
        cards = tuple(trial.cards.values()) if trial else ()
        found = await asyncio.gather(*(self._roll_back(id, tried) for tried in cards))
        problems = [problem for each in found for problem in each]
        self._over[id] = "; ".join(problems)
        return problems

    async def _roll_back(self, id: str, tried: Tried) -> list[str]:
        """Put one card back. Returns what could not be put back; whatever it is, it is retried."""
        try:
            return await self._roll_back_one(id, tried)
        except NetunedError as error:
            log.error("Cannot roll back %s: %s, trying again", tried.name, error)
            return [f"{tried.name}: {error}"]
        except Exception as error:  # the loop's edge: a bug over one card keeps no other from it
            log.exception("Internal error in the rollback of %s, trying again", tried.name)
            return [f"{tried.name}: internal error: {error!r}; see the log"]

    async def _roll_back_one(self, id: str, tried: Tried) -> list[str]:
        slot = self._around.slot(tried.ifindex)
        if slot is not None and tried.is_of(slot.card.nic):
            async with slot.lock:
                return await self._roll_back_card(id, tried, slot.card, slot)
        card = await self._card(tried.ifindex)
        if card is not None and not tried.is_of(card.nic):
            card.close()
            card = None
        if card is None:  # it left: nothing is to be put back, nor applied when it comes again
            await self._keep(partial(self._file.end, id, [tried.ifindex], confirmed=False))
            return []
        try:
            return await self._roll_back_card(id, tried, card, None)
        finally:
            card.close()

    async def _roll_back_card(
        self, id: str, tried: Tried, card: Card, slot: Slot | None
    ) -> list[str]:
        """Put one card back; the caller holds its lock. Returns what could not be put back."""

        def keep(decided: Tried) -> None:
            self._file.change(id, tried.ifindex, lambda _: decided)

        if slot is not None:
            slot.tries = None
            slot.aimed = slot.settled = False
            self._passes.end_wait(slot)
            slot.failures = 0
        done = await self._work.in_worker(partial(roll_back, card, self._baseline, tried, keep))
        self._tell(card.nic, slot, done, "rollback")
        for setting in done.foreign:
            log.warning(
                "%s %s: somebody has changed it since, not rolled back", card.nic.name, setting
            )
        if not done.problems:
            await self._keep(partial(self._file.end, id, [tried.ifindex], confirmed=False))
        for problem in done.problems:
            log.error("Cannot roll back %s: %s, trying again", tried.name, problem)
        return done.problems

    async def _keep(self, work: Callable[[], object]) -> None:
        """Write to the file; what has to be undone is undone without it, too."""
        try:
            await self._work.in_worker(work)
        except NetunedError as error:
            log.error("%s, going on", error)

    async def _after(self, trial: Trial) -> None:
        """A trial has ended: look at its cards, and adopt what had to wait for that."""
        if not self._started:  # no profile is loaded yet, and no card is in the loop
            return
        for ifindex in trial.cards:
            if slot := self._around.slot(ifindex):
                self._renew(slot)
        await self._around.replan()
        self._around.publish()

    def _renew(self, slot: Slot) -> None:
        """Aim a card anew and look at it, with what is left alone now."""
        slot.held = self.held(slot.card.nic, slot.digest or "")
        slot.aimed = False
        self._passes.mark(slot, everything=True)

    # Holds

    async def release(self, slots: Collection[Slot]) -> None:
        """Leave nothing of these cards alone any more, but for what waits to be confirmed."""
        await self._release(slots)
        for slot in slots:
            slot.held = self.held(slot.card.nic, slot.digest or "")

    async def _release(self, slots: Collection[Slot]) -> None:
        nics = [slot.card.nic for slot in slots]

        def is_of(hold: Hold) -> bool:
            return any(self._is_of(hold, nic) for nic in nics)

        await self._work.in_worker(partial(self._file.release, is_of))

    async def restore(self, slots: Sequence[Slot], tunable: str) -> None:
        """Put back what was there before netuned, and leave it alone from then on.

        Raises: NetunedError with what could not be put back.
        """
        self.refuse_second(slots)
        names = frozenset([tunable]) if tunable else ALL
        unknown = names - ALL
        if unknown:
            raise NetunedError(
                f"there is no setting {tunable}; there are: {', '.join(sorted(ALL))}"
            )
        cards = [
            slot for slot in slots if slot.target is not None or self._baseline.of(slot.card.nic)
        ]
        holds = [
            Hold(
                *(RESTORED, "", nic.ifindex, nic.name, nic.device, names, slot.digest or ""),
                instance=nic.instance,
            )
            for slot in cards
            for nic in (slot.card.nic,)
        ]
        await self._work.in_worker(partial(self._file.hold, holds))
        found = await asyncio.gather(
            *(self._restore(slot.card.nic.ifindex, names) for slot in cards)
        )
        problems = [problem for problems in found for problem in problems]
        if problems:
            raise NetunedError("; ".join(problems))

    async def _restore(self, ifindex: int, names: frozenset[str]) -> list[str]:
        slot = self._around.slot(ifindex)
        card = slot.card if slot else await self._card(ifindex)
        if card is None:
            return []
        work = partial(restore, card, self._baseline, names)
        if slot is None:
            done = await self._work.in_worker(work)
            card.close()
        else:
            async with slot.lock:
                slot.aimed = slot.settled = False
                done = await self._work.in_worker(work)
            self._renew(slot)
        self._tell(card.nic, slot, done, "restore")
        for problem in done.problems:
            log.error("Cannot restore %s: %s", card.nic.name, problem)
        return [f"{card.nic.name}: {problem}" for problem in done.problems]

    async def _card(self, ifindex: int) -> Card | None:
        """A card that is not in the loop yet; None if it left."""

        def read() -> Card:
            name = self._kernel.card_name(ifindex)
            return Card(self._kernel, read_nic(self._kernel, ifindex, name))

        try:
            return await self._work.in_worker(read)
        except KernelError as error:
            if not error.gone:
                raise
            return None

    def _tell(self, nic: Nic, slot: Slot | None, done: PutBack, cause: str) -> None:
        for change in done.made:
            if slot is not None:
                slot.tell_change(change, cause, 0, self._listener)
            else:
                log.info("Set %s (%s)", change, cause)


def _untouched(slot: Slot) -> Tried:
    """A card in a trial that has done nothing to it yet."""
    nic = slot.card.nic
    profile = slot.digest or ""
    return Tried(nic.ifindex, nic.name, nic.device, profile, {}, {}, instance=nic.instance)


async def _quiet(slots: Sequence[Slot]) -> None:
    """Wait until these cards' looks are done, or have failed."""
    while busy := [slot for slot in slots if _is_busy(slot)]:
        tasks = [slot.task for slot in busy if slot.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        else:  # queues come and go, and it looks again in milliseconds
            await asyncio.sleep(0.01)


def _is_busy(slot: Slot) -> bool:
    waits = slot.retry is not None and slot.state != DEGRADED
    return not slot.gone and (slot.task is not None or waits)
