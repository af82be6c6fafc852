"""The settings that are no single card's: the host's table of flows, and irqbalance."""

from __future__ import annotations

from collections.abc import Callable

from netuned.plan import Plan
from netuned.reconcile.cards import Cards
from netuned.reconcile.hostwide import HostKeeper, Wanted, wanted_of_host
from netuned.reconcile.irqbalance import IrqbalanceKeeper
from netuned.reconcile.slot import Slot
from netuned.reconcile.trials import Trials
from netuned.status import SettingStatus
from netuned.tunables import TUNABLES
from netuned.tunables.rfs import NAME


class Shared:
    """Keeps them as the cards in force ask for."""

    def __init__(
        self,
        table: HostKeeper,
        irqbalance: IrqbalanceKeeper,
        cards: Cards,
        trials: Trials,
        publish: Callable[[], None],
    ) -> None:
        self.restore = True
        """Whether what no card asks for is put back."""
        self._table = table
        self._irqbalance = irqbalance
        self._cards = cards
        self._trials = trials
        self._publish = publish

    @property
    def settings(self) -> tuple[SettingStatus, ...]:
        return self._irqbalance.settings + self._table.settings

    @property
    def contended(self) -> tuple[str, ...]:
        """A sentence if somebody changes the table again and again."""
        return self._table.contended

    @property
    def due(self) -> bool:
        """Whether to look now and then."""
        return bool(self._table.settings) or self._irqbalance.due

    def forget_contention(self) -> None:
        """Somebody asked for all to be set now."""
        self._table.forget_contention()

    async def plan(self) -> Plan:
        """What would be written."""
        return await self._table.plan(self._wanted())

    async def look_at_table(self) -> None:
        """Look at the host's table of flows."""
        await self._table.look(self._wanted())
        self._publish()

    async def look_at_irqbalance(self) -> bool:
        """Look at irqbalance. Says whether it may have moved interrupts meanwhile."""
        nics = [
            slot.card.nic
            for slot in self._cards.slots.values()
            if slot.aim.target is not None
            and any(
                tunable.asked(slot.aim.target.profile) and not self._is_restored(slot, tunable.name)
                for tunable in TUNABLES
                if tunable.writers.irqbalance
            )
        ]
        mode, moved = self._cards.desired.irqbalance, False
        if held := self._held():
            self._irqbalance.hold(mode, nics, held)
        else:
            moved = await self._irqbalance.look(mode, nics)
        self._publish()
        return moved

    def close(self) -> None:
        """Look no more by themselves."""
        self._irqbalance.close()
        self._table.close()

    def _wanted(self) -> Wanted:
        targets = {
            slot.card.nic.name: slot.aim.target
            for slot in self._cards.slots.values()
            if slot.aim.target is not None and not self._is_restored(slot, NAME)
        }
        return wanted_of_host(targets, restore=self.restore, held=self._held())

    def _held(self) -> str:
        """Why they are left alone; empty if they are not.

        They are no card's, and no trial's: they wait until nothing else does.
        """
        if self._cards.any_paused:
            return "left alone while a card is paused"
        return self._trials.waiting()

    def _is_restored(self, slot: Slot, tunable: str) -> bool:
        return self._trials.holds.restored(slot.card.nic, slot.aim.digest, tunable)
