"""What people ask of the loop, over D-Bus."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from netuned.errors import KernelError, NetunedError, StateFileError
from netuned.kernel.once import Once
from netuned.plan import Change, Plan, Problem
from netuned.reconcile.apply import plan_card
from netuned.reconcile.confirm import ALL
from netuned.reconcile.loop import Reconciler
from netuned.reconcile.slot import Slot
from netuned.status import Status

log = logging.getLogger(__name__)

ALL_PAUSED = "all cards are paused; `netunedctl resume` without a name ends that"

RESTORED_IN_PART = (
    "{0} may have another profile since it was paused, and a part of it was restored: `netunedctl "
    "apply --confirm TIME {0}` tries the profile whole, `netunedctl restore {0}` restores the rest"
)


class Requests:
    """Everything that D-Bus has methods for; an empty ``ifname`` is all cards."""

    def __init__(self, loop: Reconciler) -> None:
        self._loop = loop
        self._cards = loop.cards
        self._passes = loop.passes
        self._trials = loop.trials
        self._pauses = loop.pauses

    def status(self) -> Status:
        return self._loop.status()

    async def _named(self, ifname: str) -> list[Slot]:
        """As ``Cards.named``, once it is known which cards there are. Raises: NetunedError."""
        await self._loop.known()
        return self._cards.named(ifname)

    async def reload(self) -> None:
        """Read all profiles again and bring what changed into force."""
        await self._loop.reload()

    async def reconcile(self, ifname: str) -> None:
        """Look at one card (or all) whole, now, and wait until that pass is done.

        What was rolled back or restored is no longer left alone.
        """
        slots = await self._named(ifname)
        await self._trials.holds.release(slots)
        for slot in slots:
            self._trials.holds.hold_again(slot)
            slot.ask_again()
            self._passes.look_now(slot)
        await self._loop.until_quiet()
        if not ifname:
            self._loop.host.slot.ask_again()
        await self._look_at_host()

    async def _look_at_host(self) -> None:
        """What was asked for may have changed what cards ask of the host."""
        self._loop.follow_host()
        self._passes.look_now(self._loop.host.slot)
        await self._loop.until_quiet()

    async def plan(self) -> Plan:
        """What would be written now, without writing."""
        changes: list[Change] = []
        withheld: list[Change] = []
        await self._loop.known()
        problems = list(self._cards.desired.problems)
        if self._loop.unread:
            problems.append(Problem("", self._loop.unread))
        for slot in (self._loop.host.slot, *self._cards.slots.values()):
            if slot.aim.target is None and not slot.card.wanted:
                continue
            async with slot.lock:
                card = slot.card
                try:
                    if not slot.aimed:  # a paused card is planned, too
                        await self._passes.aim(slot)
                    work = partial(plan_card, card, Once(card.kernel, many=False))
                    allowed, forbidden = await self._loop.work.in_worker(work)
                    changes += allowed
                    withheld += forbidden
                except KernelError as error:
                    if not slot.gone:
                        problems.append(Problem(card.nic.name, str(error)))
            slot.worked()
        self._loop.publish()  # what cards cannot have may have shown, and status has it
        await self._loop.told()
        return Plan(tuple(changes), tuple(problems), tuple(withheld))

    async def pause(self, ifname: str) -> None:
        """Make no changes to a card, or to any, until resumed. Waits for a pass under way."""
        slots = await self._named(ifname)
        self._pauses.begin(slots[0].card.nic if ifname else None)
        self._loop.follow_host()
        for slot in (self._loop.host.slot, *slots):
            async with slot.lock:
                pass
        self._loop.publish()
        await self._loop.told()
        await self._pauses.save()

    async def resume(self, ifname: str) -> None:
        """End a pause and look at what happened meanwhile."""
        slots = await self._named(ifname)
        if ifname and self._pauses.all_cards:
            raise NetunedError(ALL_PAUSED)
        timeout_s = self._loop.loading.settings.confirm_timeout_s
        on_trial = self._changed_in_pause(slots) if timeout_s else []
        self._pauses.end(slots[0].card.nic if ifname else None)
        if on_trial:
            self._trials.conclude_later(self._trials.begin(on_trial, timeout_s), on_trial)
        for slot in slots:
            self._passes.look_now(slot)
        await self._look_at_host()
        await self._pauses.save()

    def _changed_in_pause(self, slots: Iterable[Slot]) -> list[Slot]:
        """Those whose end of a pause is a trial.

        A trial is of all that a profile says, so none begins where some of that was restored.
        Raises: NetunedError where only a part was: the rest may be in force by a trial alone.
        """
        changed = [slot for slot in slots if slot.adopted_in_pause]
        for slot in changed:
            nic, held = slot.card.nic, slot.aim.held
            restored = any(self._trials.holds.restored(nic, slot.aim.digest, name) for name in held)
            if restored and not held.keys() >= ALL:
                raise NetunedError(RESTORED_IN_PART.format(nic.name))
        return [slot for slot in changed if not slot.aim.held]

    async def begin_trial(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        """As ``reconcile``, undone after ``timeout_s`` unless confirmed; a pause of these ends.

        Returns the id and until when; both are empty if nothing was to be changed.
        """
        slots = await self._named(ifname)
        if ifname and self._pauses.all_cards:
            raise NetunedError(ALL_PAUSED)
        self._trials.refuse_second(slots)
        nic = slots[0].card.nic if ifname else None
        slots = [slot for slot in slots if slot.aim.target is not None or slot.card.wanted]
        if not slots:  # no profile is theirs, and nothing is to be put back
            return "", ""
        trial = self._trials.begin(slots, timeout_s)
        await self._trials.announce(trial, slots)
        self._pauses.end(nic)
        try:
            await self._pauses.save()
        except StateFileError as error:  # the trial has begun
            log.error("%s, going on", error)
        for slot in slots:
            slot.ask_again()
            self._passes.look_now(slot)
        concluded = await self._trials.conclude(trial, slots)
        await self._look_at_host()
        return (concluded.id, concluded.until) if concluded else ("", "")

    async def confirm(self, id: str) -> None:
        """What a trial did stays."""
        await self._loop.known()
        await self._trials.confirm(id)
        await self._loop.told()

    async def roll_back(self, id: str) -> None:
        """Undo a trial at once; all that wait if none is named."""
        await self._loop.known()
        await self._trials.roll_back(id)
        await self._loop.until_quiet()

    async def restore(self, ifname: str, tunable: str) -> None:
        """Put back what was there before netuned, and leave it alone from then on."""
        slots = await self._named(ifname)
        self._trials.refuse_second(slots)
        await self._trials.holds.restore(slots, tunable)
        await self._loop.until_quiet()
        await self._look_at_host()
