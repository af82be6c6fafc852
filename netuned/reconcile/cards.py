"""The cards in the loop: which are here, what is wanted of each now, which are paused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from netuned.errors import KernelError, NetunedError
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.confirm import digest
from netuned.reconcile.passes import Passes
from netuned.reconcile.pauses import Pauses
from netuned.reconcile.slot import Listener, Slot
from netuned.reconcile.trials import Trials
from netuned.reconcile.work import Work

log = logging.getLogger(__name__)


class Cards:
    """A slot for each card that is here, and the plan they follow."""

    def __init__(
        self,
        work: Work,
        baseline: Baseline,
        passes: Passes,
        trials: Trials,
        pauses: Pauses,
        listener: Listener,
        slot_of: Callable[[Nic], Slot],
    ) -> None:
        self.slots: dict[int, Slot] = {}
        self.desired = Desired({}, {}, (), (), None)
        self._work = work
        self._baseline = baseline
        self._passes = passes
        self._trials = trials
        self._pauses = pauses
        self._rereading: set[int] = set()
        self._listener = listener
        self._slot_of = slot_of

    def adopt(
        self, host: Host, desired: Desired, profiles: ProfileSet, confirm_timeout_s: int
    ) -> None:
        """Follow a new plan: cards that came and went, and a look at each that it changes.

        With ``confirm_timeout_s`` (0: none) other profiles are undone unless confirmed until then.
        """
        self.desired = desired
        if self._pauses.follow(host.nics.values()):
            self._work.spawn(self._pauses.keep())
        if gone := self.slots.keys() - host.nics.keys():
            for ifindex in gone:
                self._drop(ifindex)
            present = list(host.nics.values())
            self._work.spawn(self._work.in_worker(lambda: self._baseline.retire(present)))
        # A profile that cannot be read may be the one a card without any has: leave it as it is.
        restore = not profiles.errors
        problems = {problem.ifname: problem.message for problem in desired.problems}
        profiles_of = {id(target.profile): target.profile for target in desired.targets.values()}
        digests = {number: digest(profile) for number, profile in profiles_of.items()}
        none = digest(None)
        tried: list[Slot] = []
        certain: dict[int, str] = {}
        for ifindex, nic in host.nics.items():
            slot = self.slots.get(ifindex)
            if slot is None:
                slot = self.slots[ifindex] = self._slot_of(nic)
            loaded = desired.profiles.get(ifindex)
            target = desired.targets.get(ifindex)
            problem = problems.get(nic.name, "")
            profile = digests[id(target.profile)] if target else none
            if self._trials.waits_with_other(ifindex, profile):
                slot.restore &= slot.digest is not None
                continue  # until that is confirmed or rolled back
            slot.profile = loaded.profile.name if loaded else ""
            if problem:
                if problem != slot.problem:
                    log.error("%s: %s", nic.name, problem)
                slot.problem = problem  # what was in force stays in force
                continue
            slot.problem = ""
            if confirm_timeout_s and self._must_be_tried(slot, profile, profiles):
                tried.append(slot)
            slot.digest, slot.profiles = profile, profiles
            if target is not None or restore:
                certain[ifindex] = profile
            if slot.tries is None and (held := self._trials.holds.held(nic, profile)) != slot.held:
                slot.held, slot.aimed = held, False
            if target != slot.target:
                slot.target, slot.aimed, slot.settled = target, False, False
                self._passes.end_wait(slot)
            if target is None and slot.restore != restore:
                slot.aimed = False
            slot.restore = restore
            if not slot.aimed:
                self._passes.mark(slot, everything=True)
        if self._pauses.loaded:  # which profile a card had when it was paused is not known
            self._pauses.loaded = False
            for slot in self.slots.values():
                slot.untried = self.is_paused(slot)
        self._trials.holds.follow(host.nics, certain)
        if tried:
            self._trials.conclude_later(self._trials.begin(tried, confirm_timeout_s), tried)

    def _must_be_tried(self, slot: Slot, profile: str, profiles: ProfileSet) -> bool:
        """Whether a card gets another profile because profiles were read anew, not at the start."""
        if slot.digest in (None, profile) or slot.profiles is profiles:
            return False
        slot.untried = self.is_paused(slot)
        return not slot.untried

    def _drop(self, ifindex: int) -> None:
        slot = self.slots.pop(ifindex)
        slot.gone = True
        self._passes.end_wait(slot)
        slot.dispute.close()
        self._work.in_line(partial(self._listener.arm, slot.card.nic, frozenset()))
        if slot.task is None:  # else its worker still reads through these descriptors
            slot.card.close()

    def is_paused(self, slot: Slot) -> bool:
        """Whether the card, all, or one that is tuned through it was paused."""
        if not self._pauses:
            return False
        ifindex = slot.card.nic.ifindex
        above = {i for i, through in self.desired.through.items() if ifindex in through.cards}
        here = (self.slots[i].card.nic for i in (ifindex, *above) if i in self.slots)
        return any(map(self._pauses.has, here))

    @property
    def any_paused(self) -> bool:
        """Whether all cards are paused, or one that has a profile."""
        managed = (slot for slot in self.slots.values() if slot.target is not None)
        return self._pauses.all_cards or any(map(self.is_paused, managed))

    async def reread(self, slot: Slot) -> bool:
        """Read the facts of a card that is not looked at. Says whether they differ."""
        ifindex = slot.card.nic.ifindex
        if ifindex in self._rereading:  # it waits for the card, and sees this event, too
            return False
        self._rereading.add(ifindex)
        async with slot.lock:
            self._rereading.discard(ifindex)
            if slot.gone:
                return False
            try:
                changed = await self._work.in_worker(slot.card.refresh)
            except KernelError as error:
                if not error.gone:
                    log.warning("Cannot read card %s: %s, ignoring", slot.card.nic.name, error)
                return False
        slot.aimed &= not changed
        return changed

    def named(self, ifname: str) -> list[Slot]:
        """A card and those it is tuned through; all for an empty name. Raises: NetunedError."""
        slots = [s for s in self.slots.values() if ifname in ("", s.card.nic.name)]
        for ifindex in [slot.card.nic.ifindex for slot in slots if ifname]:
            below = self.desired.through.get(ifindex)
            slots += [self.slots[card] for card in below.cards] if below else []
        if ifname and not slots:
            raise NetunedError(f"there is no card {ifname} here; `netunedctl status` lists them")
        return slots

    async def until_quiet(self) -> None:
        """Wait until no card is being looked at."""
        while tasks := [slot.task for slot in self.slots.values() if slot.task is not None]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """No looks any more; those under way get a moment to end."""
        for slot in self.slots.values():
            slot.dispute.close()
        await self._passes.close(self.slots.values())
