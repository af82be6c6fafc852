"""Rollbacks in the loop: at the deadline or when asked for, tried again until they are done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from netuned.errors import NetunedError
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.confirm import Trial, Tried, now_ns
from netuned.reconcile.holds import Holds, Surroundings
from netuned.reconcile.passes import Passes
from netuned.reconcile.putback import roll_back
from netuned.reconcile.slot import Slot
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.work import Work

log = logging.getLogger(__name__)

TICK_S = 1.0
"""The loop's own clock stands still in suspend, so the deadline is looked at so often."""

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0


class Rollbacks:
    """Ends trials that were not confirmed."""

    def __init__(
        self,
        work: Work,
        file: TrialFile,
        baseline: Baseline,
        passes: Passes,
        holds: Holds,
        around: Surroundings,
    ) -> None:
        self.deciding = asyncio.Lock()
        """Held while it is decided whether a trial is confirmed or rolled back."""
        self.started = False
        """Before that no profile is loaded, and no card is in the loop."""
        self._work = work
        self._file = file
        self._baseline = baseline
        self._passes = passes
        self._holds = holds
        self._around = around

    async def expire(self, id: str, least_s: float = 0.0) -> None:
        """Roll back at the deadline. A trial is in the file from its first write on."""
        end_ns = now_ns() + int(least_s * 1e9)
        while (trial := self._file.trials.get(id)) is not None or now_ns() < end_ns:
            left_s = trial.left_s() if trial else (end_ns - now_ns()) / 1e9
            if trial is not None and left_s <= 0:
                break
            await asyncio.sleep(min(max(left_s, 0.0), TICK_S))
        if trial is not None and not trial.over:
            await self.end(id, "not confirmed in time")

    async def end(self, id: str, why: str) -> list[str]:
        """Roll a trial back. Returns what could not be; that is tried again by itself."""
        async with self.deciding:
            trial = self._file.trials.get(id)
            if trial is None or id in self._holds.over:
                return []
            self._holds.over[id] = ""
            log.warning("Rolling back %s: %s", trial, why)
            await self.keep(partial(self._file.undo, id))
        self._around.publish()
        problems = await self._roll_back_all(id)
        if problems or self._file.stale:
            self._work.spawn(self._keep_trying(id))
        await self.after(trial)
        return problems

    async def _keep_trying(self, id: str) -> None:
        wait_s = RETRY_FIRST_S
        while (trial := self._file.trials.get(id)) is not None or self._file.stale:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)
            if self._file.stale:
                await self.keep(self._file.save)
            problem = self._holds.over[id]
            if trial and (not await self._roll_back_all(id) or self._holds.over[id] != problem):
                await self.after(trial)

    async def _roll_back_all(self, id: str) -> list[str]:
        trial = self._file.trials.get(id)
        cards = tuple(trial.cards.values()) if trial else ()
        found = await asyncio.gather(*(self._roll_back(id, tried) for tried in cards))
        problems = [problem for each in found for problem in each]
        self._holds.over[id] = "; ".join(problems)
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
        here = (slot for slot in self._around.slots() if tried.is_of(slot.card.nic))
        if slot := next(here, None):  # also under another number, after a way through a namespace
            async with slot.lock:
                return await self.roll_back_card(id, tried, slot.card, slot)
        card = await self._holds.card(tried.ifindex)
        if card is not None and not tried.is_of(card.nic):
            card.close()
            card = None
        if card is None:  # it left: nothing is to be put back, nor applied when it comes again
            await self.keep(partial(self._file.end, id, [tried.ifindex], confirmed=False))
            return []
        try:
            return await self.roll_back_card(id, tried, card, None)
        finally:
            card.close()

    async def roll_back_card(
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
        self._holds.tell(card.nic, slot, done, "rollback")
        for name, key in done.foreign:
            setting = f"{card.nic.name} {name} {key}".rstrip()
            log.warning("%s: somebody has changed it since, not rolled back", setting)
        if not done.problems:
            await self.keep(partial(self._file.end, id, [tried.ifindex], confirmed=False))
        for problem in done.problems:
            log.error("Cannot roll back %s: %s, trying again", tried.name, problem)
        if slot is not None:  # what this wrote raises events, looked at once the lock is free
            slot.held = self._holds.held(card.nic, slot.digest or "")
        return done.problems

    async def keep(self, work: Callable[[], object]) -> None:
        """Write to the file; what has to be undone is undone without it, too."""
        try:
            await self._work.in_worker(work)
        except NetunedError as error:
            log.error("%s, going on", error)

    async def after(self, trial: Trial) -> None:
        """A trial has ended: look at its cards, and adopt what had to wait for that."""
        if not self.started:
            return
        for ifindex in trial.cards:
            if slot := self._around.slot(ifindex):
                self._holds.renew(slot)
        await self._around.replan()
        self._around.publish()
