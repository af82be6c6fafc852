"""The cards in the loop: which are here, what is wanted of each now, which are paused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from netuned.errors import NetunedError
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.aim import Aim
from netuned.reconcile.context import Context
from netuned.reconcile.passes import Passes
from netuned.reconcile.pauses import Pauses
from netuned.reconcile.slot import Slot
from netuned.reconcile.trials import Trials

log = logging.getLogger(__name__)


class Cards:
    """A slot for each card that is here, and the plan they follow."""

    def __init__(
        self,
        context: Context,
        passes: Passes,
        trials: Trials,
        pauses: Pauses,
        slot_of: Callable[[Nic], Slot],
    ) -> None:
        self.slots = context.slots
        self.desired = Desired({}, {}, (), (), None)
        self._context = context
        self._passes = passes
        self._trials = trials
        self._pauses = pauses
        self._slot_of = slot_of
        self._left: list[int] = []
        self._retiring = asyncio.Lock()

    def adopt(
        self, host: Host, desired: Desired, profiles: ProfileSet, confirm_timeout_s: int
    ) -> None:
        """Follow a new plan: cards that came and went, and a look at each that it changes.

        With ``confirm_timeout_s`` (0: none) other profiles are undone unless confirmed until then.
        """
        self.desired = desired
        self._follow(host)
        problems = {problem.ifname: problem.message for problem in desired.problems}
        profiles_of = {id(target.profile): target.profile for target in desired.targets.values()}
        digests = {number: profile.digest() for number, profile in profiles_of.items()}
        on_trial: list[Slot] = []
        certain: dict[int, str] = {}
        for ifindex, nic in host.nics.items():
            slot = self.slots.get(ifindex)
            if nic.unread and not profiles.errors:
                certain[ifindex] = ""
            if slot is not None and slot.card.nic.unread:
                if slot.card.nic is nic:
                    continue
                slot.leave()  # it has other facts now, or all of them
                slot = None
            if slot is None:
                slot = self.slots[ifindex] = self._slot_of(nic)
            elif slot.card.nic.instance != nic.instance:
                continue  # the plan is for another card than the one whose facts are known
            if nic.unread:
                continue
            loaded = desired.profiles.get(ifindex)
            target = desired.targets.get(ifindex)
            slot.follow_policy(loaded.profile if loaded else None)
            aim = Aim(
                target=target,
                profile=loaded.profile.name if loaded else "",
                digest=digests[id(target.profile)] if target else "",
                profiles=profiles,
                # one that cannot be read may be that of a card without any: leave it as it is
                restore=not profiles.errors,
            )
            if self._trials.waits_with_other(slot.card.nic, aim.digest):
                continue  # until that is confirmed or rolled back
            if problem := problems.get(nic.name):
                slot.stay(aim.profile, problem)
                continue
            if confirm_timeout_s and slot.changes_profile(aim):
                paused = self.is_paused(slot)
                slot.note_pause(adopted=paused)
                on_trial += [] if paused else [slot]
            if target is not None or aim.restore:
                certain[ifindex] = aim.digest
            slot.adopt(replace(aim, held=self._trials.holds.held(nic, aim.digest)))
            if not slot.aimed:
                self._passes.look(slot)
        if self._pauses.take_loaded():  # which profile a card had when it was paused is not known
            for slot in self.slots.values():
                slot.note_pause(adopted=self.is_paused(slot))
        self._trials.holds.follow(host.nics.values(), certain)
        if on_trial:
            self._trials.conclude_later(self._trials.begin(on_trial, confirm_timeout_s), on_trial)

    def _follow(self, host: Host) -> None:
        """Cards left, or have other names now."""
        work = self._context.work
        if self._pauses.follow(host.nics.values()):
            work.spawn(self._pauses.save())
        first, gone = not self.slots, [i for i in self.slots if i not in host.nics]
        order = {ifindex: at for at, ifindex in enumerate(self._left)}
        left = [self.slots.pop(i) for i in sorted(gone, key=lambda i: order.get(i, -1))]
        self._left = [ifindex for ifindex in self._left if ifindex in self.slots]
        for slot in left:
            slot.leave()
            if not slot.card.nic.unread:
                work.in_line(partial(self._context.listener.arm, slot.card.nic, frozenset()))
        if left or first:  # others may have left before the daemon began
            here, nics = list(host.nics.values()), [slot.card.nic for slot in left]
            work.spawn(self._retire(partial(self._context.baseline.retire, here, nics)))

    async def _retire(self, retire: Callable[[], None]) -> None:
        async with self._retiring:  # who left first is told first
            await self._context.work.in_worker(retire)

    def note_left(self, ifindex: int) -> None:
        """An event says that a card left; of several at once they come in this order."""
        if ifindex in self.slots:
            self._left.append(ifindex)

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
        managed = (slot for slot in self.slots.values() if slot.aim.target is not None)
        return self._pauses.all_cards or any(map(self.is_paused, managed))

    def named(self, ifname: str) -> list[Slot]:
        """A card and those it is tuned through; all for an empty name. Raises: NetunedError."""
        slots = [s for s in self.slots.values() if ifname in ("", *s.card.nic.names)]
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
