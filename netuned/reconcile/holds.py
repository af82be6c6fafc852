"""What the loop leaves alone: what waits to be confirmed, was rolled back, or was restored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from netuned.errors import KernelError, NetunedError
from netuned.hardware.nic import Nic, read_nic
from netuned.kernel import Kernel
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import NOTHING_HELD, Card
from netuned.reconcile.confirm import ALL, RESTORED, ROLLED_BACK, Hold, held_by
from netuned.reconcile.passes import Passes
from netuned.reconcile.putback import PutBack, restore
from netuned.reconcile.slot import Listener, Slot
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.work import Work

log = logging.getLogger(__name__)


class Surroundings(Protocol):
    """What trials and holds need of the loop over all cards."""

    async def replan(self) -> None: ...
    def publish(self) -> None: ...
    def slot(self, ifindex: int, /) -> Slot | None: ...
    def slots(self) -> Iterable[Slot]: ...


class Holds:
    """All holds of the host.

    ``over`` has the trials that are being or were rolled back, and why that is not done yet.
    """

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
        self.over: dict[str, str] = {}
        self._kernel = kernel
        self._work = work
        self._file = file
        self._baseline = baseline
        self._passes = passes
        self._listener = listener
        self._around = around

    def held(self, nic: Nic, profile: str) -> Mapping[str, str]:
        """The tunables of a card that are left alone, and why."""
        if pending := self._file.pending(nic):
            trial, tried = pending
            problem = self.over.get(trial.id) or tried.error
            word = f"waits to be confirmed: `netunedctl confirm {trial.id}`"
            if trial.over or tried.error:
                word = f"being rolled back: {problem}" if problem else "being rolled back"
            elif tried.left is None:
                return NOTHING_HELD
            return dict.fromkeys(held_by(tried), word)
        found: dict[str, str] = {}
        for hold in self._file.holds:
            if self._is_of(hold, nic) and hold.profile == profile:
                found |= {name: hold.why(name) for name in hold.tunables}
        return found

    def restored(self, nic: Nic, profile: str, tunable: str) -> bool:
        """Whether somebody had this put back to what was before netuned."""
        return any(
            hold.kind == RESTORED and tunable in hold.tunables and hold.profile == profile
            for hold in self._file.holds
            if self._is_of(hold, nic)
        )

    def rolled_back(self) -> list[str]:
        """The cards that are here and whose profile was rolled back."""
        names = set()
        for hold in self._file.holds:
            slot = self._around.slot(hold.ifindex) if hold.kind == ROLLED_BACK else None
            if slot and hold.profile == slot.digest and self._is_of(hold, slot.card.nic):
                names.add(slot.card.nic.name)
        return sorted(names)

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

    def _is_of(self, hold: Hold, nic: Nic) -> bool:
        """Whether a hold is of a card, or of one that left and whose place it has."""
        slot = self._around.slot(hold.ifindex)
        left = slot is None or not hold.is_of(slot.card.nic)
        return hold.is_of(nic) or (left and hold.may_be(nic))

    def _spawn(self, work: partial[None]) -> None:
        async def run() -> None:
            await self._work.in_worker(work)

        self._work.spawn(run())

    async def catch_up(self) -> None:
        """At the start, finish what was to be restored when the daemon ended."""
        for hold in self._file.holds:
            if hold.kind == RESTORED and hold.ifindex:
                try:
                    await self._restore(hold.ifindex, hold.tunables)
                except NetunedError as error:
                    log.error("Cannot restore %s: %s", hold.name, error)

    async def release(self, slots: Collection[Slot]) -> None:
        """Leave nothing of these cards alone any more, but for what waits to be confirmed."""
        await self.drop(slots)
        for slot in slots:
            slot.held = self.held(slot.card.nic, slot.digest or "")

    async def drop(self, slots: Collection[Slot]) -> None:
        """As ``release``, for the next look to find."""
        nics = [slot.card.nic for slot in slots]

        def is_of(hold: Hold) -> bool:
            return any(self._is_of(hold, nic) for nic in nics)

        await self._work.in_worker(partial(self._file.release, is_of))

    async def restore(self, slots: Sequence[Slot], tunable: str) -> None:
        """Put back what was there before netuned, and leave it alone from then on.

        Raises: NetunedError with what could not be put back.
        """
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
        await self._work.in_worker(partial(self._file.hold, holds, anyway=False))
        found = await asyncio.gather(
            *(self._restore(slot.card.nic.ifindex, names) for slot in cards)
        )
        problems = [problem for problems in found for problem in problems]
        if self._baseline.lost:
            problems.append(self._baseline.lost)
        if problems:
            raise NetunedError("; ".join(problems))

    async def _restore(self, ifindex: int, names: frozenset[str]) -> list[str]:
        slot = self._around.slot(ifindex)
        card = slot.card if slot else await self.card(ifindex)
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
            self.renew(slot)
        self.tell(card.nic, slot, done, "restore")
        for problem in done.problems:
            log.error("Cannot restore %s: %s", card.nic.name, problem)
        return [f"{card.nic.name}: {problem}" for problem in done.problems]

    async def card(self, ifindex: int) -> Card | None:
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

    def tell(self, nic: Nic, slot: Slot | None, done: PutBack, cause: str) -> None:
        """Log what was put back, and tell who listens."""
        for change in done.made:
            if slot is not None:
                slot.tell_change(change, cause, 0, self._listener)
            else:
                log.info("Set %s (%s)", change, cause)

    def renew(self, slot: Slot) -> None:
        """Aim a card anew and look at it, with what is left alone now."""
        slot.held = self.held(slot.card.nic, slot.digest or "")
        slot.aimed = False
        self._passes.mark(slot, everything=True)
