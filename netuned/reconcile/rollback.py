"""Rollbacks in the loop: at the deadline or when asked for, tried again until they are done."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from netuned.errors import NetunedError
from netuned.history import FAILURE, LEFT
from netuned.plan import merged_keys
from netuned.reconcile.confirm import Trial, Tried, now_ns
from netuned.reconcile.context import Context
from netuned.reconcile.holds import Holds
from netuned.reconcile.passes import RETRY_FIRST_S, RETRY_MOST_S
from netuned.reconcile.putback import roll_back
from netuned.reconcile.slot import Slot
from netuned.reconcile.tally import ROLLBACK
from netuned.reconcile.trialfile import TrialFile

log = logging.getLogger(__name__)

TICK_S = 1.0
"""The loop's own clock stands still in suspend, so the deadline is looked at so often."""


class Rollbacks:
    """Ends trials that were not confirmed."""

    def __init__(self, context: Context, file: TrialFile, holds: Holds) -> None:
        self.deciding = asyncio.Lock()
        """Held while it is decided whether a trial is confirmed or rolled back."""
        self._context = context
        self._file = file
        self._holds = holds
        self._begun: set[str] = set()

    def has(self, id: str) -> bool:
        """Whether a trial is being, or was, rolled back by this process."""
        return id in self._begun

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
            if trial is None or id in self._begun:
                return []
            self._begun.add(id)
            fields = trial.entry(f"{id} is rolled back: {why}")
            log.warning("Rolling back %s: %s", trial.of_cards, why, extra=fields)
            over = partial(self._file.revise, id, lambda trial: replace(trial, over=True))
            await self._context.work.attempt(over)
        self._context.loop.publish()
        problems = await self._roll_back_all(id)
        if problems or self._file.stale:
            self._context.work.spawn(self._try_again(id))
        await self.after(trial)
        return problems

    async def _try_again(self, id: str) -> None:
        wait_s = RETRY_FIRST_S
        while (trial := self._file.trials.get(id)) is not None or self._file.stale:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)
            if self._file.stale:
                await self._context.work.attempt(self._file.save)
            problems = await self._roll_back_all(id)
            if trial and (not problems or "; ".join(problems) != trial.problem):
                await self.after(trial)

    async def _roll_back_all(self, id: str) -> list[str]:
        trial = self._file.trials.get(id)
        cards = tuple(trial.cards.values()) if trial else ()
        found = await asyncio.gather(*(self._roll_back(id, tried) for tried in cards))
        problems = [problem for each in found for problem in each]
        note = partial(self._file.note_problem, id, "; ".join(problems))
        await self._context.work.in_worker(note)
        return problems

    async def _roll_back(self, id: str, tried: Tried) -> list[str]:
        """Put one card back. Returns what could not be put back; whatever it is, it is retried."""
        name = tried.card.name
        try:
            return await self._roll_back_one(id, tried)
        except NetunedError as error:
            fields = {"kind": FAILURE, "ifname": name, "cause": f"{ROLLBACK}: {error}"}
            log.error("Cannot roll back %s: %s, trying again", name, error, extra=fields)
            return [f"{name}: {error}"]
        except Exception as error:  # the loop's edge: a bug over one card keeps no other from it
            log.exception("Internal error in the rollback of %s, trying again", name)
            return [f"{name}: internal error: {error!r}; see the log"]

    async def _roll_back_one(self, id: str, tried: Tried) -> list[str]:
        slots = self._context.slots.values()
        here = (slot for slot in slots if tried.card.is_of(slot.card.nic))
        if slot := next(here, None):  # also under another number, after a way through a namespace
            async with slot.lock:
                slot.end_trial()
                slot.aim_anew(settled=False)
                problems = await self._roll_back_card(id, tried, slot)
                # what this wrote raises events, looked at once the lock is free
                self._holds.hold_again(slot)
                return problems
        nic = await self._context.read_nic(tried.card.ifindex)
        if nic is not None and tried.card.is_of(nic):  # its policy comes with the next plan
            return [f"{nic.name}: it has just come, and is not looked at yet"]
        # it left: nothing is to be put back, nor applied when it comes again
        await self._ended(id, tried)
        return []

    async def _roll_back_card(self, id: str, tried: Tried, slot: Slot) -> list[str]:
        def decide(decided: Tried) -> None:
            self._file.revise(id, lambda trial: trial.with_card(decided))

        card, baseline = slot.card, self._context.baseline
        work = partial(roll_back, card, baseline, tried, decide, denies=slot.denies)
        done = await self._context.work.in_worker(work)
        slot.tell(done.made, ROLLBACK)
        why = "somebody has changed it since, not rolled back"
        for name in dict.fromkeys(name for name, _ in done.foreign):
            for key in merged_keys(key for tunable, key in done.foreign if tunable == name):
                setting = f"{card.nic.name} {name} {key}".rstrip()
                place = {"kind": LEFT, "ifname": card.nic.name, "tunable": name, "queue": key}
                log.warning("%s: %s", setting, why, extra={**place, "cause": why})
        next_step = "keeping its record" if done.final else "trying again"
        for problem in done.problems:
            ifname = tried.card.name
            fields = {"kind": FAILURE, "ifname": ifname, "cause": f"{ROLLBACK}: {problem}"}
            log.error("Cannot roll back %s: %s, %s", ifname, problem, next_step, extra=fields)
        if done.final or not done.problems:
            await self._ended(id, tried)
        return done.problems

    async def _ended(self, id: str, tried: Tried) -> None:
        end = partial(self._file.end, id, [tried.card.ifindex], confirmed=False)
        await self._context.work.attempt(end)

    async def after(self, trial: Trial) -> None:
        """A trial has ended: look at its cards, and adopt what had to wait for that."""
        for ifindex in trial.cards:
            if slot := self._context.slots.get(ifindex):
                self._holds.renew(slot)
        await self._context.loop.replan()
        self._context.loop.publish()
