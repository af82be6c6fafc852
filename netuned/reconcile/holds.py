"""What the loop leaves alone: what waits to be confirmed, was rolled back, or was restored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from netuned.errors import NetunedError
from netuned.hardware.nic import Nic
from netuned.history import FAILURE
from netuned.reconcile.card import NOTHING_HELD
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import ALL, RESTORED, ROLLED_BACK, Hold
from netuned.reconcile.context import Context
from netuned.reconcile.passes import Passes
from netuned.reconcile.putback import restore
from netuned.reconcile.slot import Slot
from netuned.reconcile.tally import RESTORE
from netuned.reconcile.trialfile import TrialFile
from netuned.text import no_such

log = logging.getLogger(__name__)


class Holds:
    """All holds of the host."""

    def __init__(self, context: Context, file: TrialFile, passes: Passes) -> None:
        self._context = context
        self._file = file
        self._passes = passes

    def held(self, nic: Nic, profile: str) -> Mapping[str, str]:
        """The tunables of a card that are left alone, and why."""
        if pending := self._file.pending(nic):
            trial, tried = pending
            problem = trial.problem or tried.error
            word = f"waits to be confirmed: `netunedctl confirm {trial.id}`"
            if trial.over or tried.error:
                word = f"being rolled back: {problem}" if problem else "being rolled back"
            elif tried.left is None:
                return NOTHING_HELD
            return dict.fromkeys(tried.tunables, word)
        found: dict[str, str] = {}
        for hold in self._of(nic, profile):
            found |= {name: hold.why(name) for name in hold.tunables}
        return found

    def restored(self, nic: Nic, profile: str, tunable: str) -> bool:
        """Whether somebody had this put back to what was before netuned."""
        holds = self._of(nic, profile)
        return any(hold.kind == RESTORED and tunable in hold.tunables for hold in holds)

    def _of(self, nic: Nic, profile: str) -> list[Hold]:
        return [h for h in self._file.holds if h.profile == profile and self._is_of(h, nic)]

    def _is_of(self, hold: Hold, nic: Nic) -> bool:
        """Whether a hold is of a card, or of one that left and whose place it has."""
        if hold.card.is_of(nic):
            return True
        slot = self._context.slots.get(hold.card.ifindex)
        left = slot is None or not hold.card.is_of(slot.card.nic)
        return left and hold.card.may_be(nic)

    def rolled_back(self) -> list[str]:
        """The cards that are here and whose profile was rolled back."""
        names = {
            slot.card.nic.name
            for hold in self._file.holds
            if hold.kind == ROLLED_BACK
            and (slot := self._context.slots.get(hold.card.ifindex))
            and hold.profile == slot.aim.digest
            and self._is_of(hold, slot.card.nic)
        }
        return sorted(names)

    def follow(self, nics: Iterable[Nic], profiles: Mapping[int, str]) -> None:
        """Cards came or left, profiles changed (those of ``profiles`` are certain)."""
        nics = list(nics)
        for hold in self._file.holds:
            nic = next((nic for nic in nics if hold.card.is_of(nic)), None)
            if nic is None and hold.card.ifindex:
                self._spawn(partial(self._file.rebind, hold, hold.card.left()))
            elif nic is not None and profiles.get(nic.ifindex, hold.profile) != hold.profile:
                self._spawn(partial(self._file.release, hold.__eq__))
            elif nic is not None and hold.card.ifindex != nic.ifindex:
                self._spawn(partial(self._file.rebind, hold, CardId.of(nic)))

    def _spawn(self, work: Callable[[], None]) -> None:
        self._context.work.spawn(self._context.work.in_worker(work))

    def hold_again(self, slot: Slot) -> None:
        """Tell a card what is left alone of it now."""
        slot.hold(self.held(slot.card.nic, slot.aim.digest))

    def renew(self, slot: Slot) -> None:
        """Aim a card anew and look at it, with what is left alone now."""
        self.hold_again(slot)
        slot.aim_anew()
        self._passes.look(slot)

    async def release(self, slots: Collection[Slot]) -> None:
        """Leave nothing of these cards alone any more, but for what waits to be confirmed.

        The cards are told by ``hold_again`` or ``renew``.
        """
        nics = [slot.card.nic for slot in slots]
        await self._context.work.in_worker(
            lambda: self._file.release(lambda hold: any(self._is_of(hold, nic) for nic in nics))
        )

    # Restoring

    async def catch_up(self) -> None:
        """At the start, finish what was to be restored when the daemon ended."""
        for hold in self._file.holds:
            if hold.kind == RESTORED and hold.card.ifindex:
                try:
                    await self._put_back(hold.card.ifindex, hold.tunables)
                except NetunedError as error:
                    name = hold.card.name
                    log.error("Cannot restore %s: %s", name, error, extra=_failure(name, error))

    async def restore(self, slots: Sequence[Slot], tunable: str) -> None:
        """Put back what was there before netuned, and leave it alone from then on.

        Raises: NetunedError with what could not be put back.
        """
        names = frozenset([tunable]) if tunable else ALL
        if names - ALL:
            raise NetunedError(no_such("setting", tunable, sorted(ALL)))
        baseline = self._context.baseline
        cards = [slot for slot in slots if slot.aim.target or baseline.of(slot.card.nic)]
        ids = {CardId.of(slot.card.nic): slot.aim.digest for slot in cards}
        holds = [Hold(RESTORED, "", card, names, profile) for card, profile in ids.items()]
        await self._context.work.in_worker(partial(self._file.hold, holds, anyway=False))
        work = [self._put_back(slot.card.nic.ifindex, names) for slot in cards]
        problems = [problem for each in await asyncio.gather(*work) for problem in each]
        if baseline.lost:
            problems.append(baseline.lost)
        if problems:
            raise NetunedError("; ".join(problems))

    async def _put_back(self, ifindex: int, names: frozenset[str]) -> list[str]:
        """Restore one card. Returns what could not be put back."""
        slot = self._context.slots.get(ifindex)
        if slot is None:
            return []
        async with slot.lock:
            slot.aim_anew(settled=False)
            work = partial(restore, slot.card, self._context.baseline, names, denies=slot.denies)
            done = await self._context.work.in_worker(work)
        self.renew(slot)
        slot.tell(done.made, RESTORE)
        name = slot.card.nic.name
        for problem in done.problems:
            log.error("Cannot restore %s: %s", name, problem, extra=_failure(name, problem))
        return [f"{name}: {problem}" for problem in done.problems]


def _failure(name: str, why: object) -> dict[str, str]:
    """What the journal has of a restore that failed beside the text."""
    return {"kind": FAILURE, "ifname": name, "cause": f"{RESTORE}: {why}"}
