"""The host in the loop: a slot like a card's, whose target is what the cards in force ask for.

What is no single card's waits until no trial does, and while a card is paused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from netuned.hardware.nic import HOST, Nic
from netuned.kernel import Kernel
from netuned.planning.planner import Desired
from netuned.reconcile.aim import Aim
from netuned.reconcile.baseline import Baseline
from netuned.tunables import HOST_TUNABLES, TUNABLES, irqbalance, rfs
from netuned.tunables.base import HostTarget, Target, Tunable, Wanted

if TYPE_CHECKING:  # netunedctl takes the first half of this module, and has no loop
    from netuned.reconcile.cards import Cards
    from netuned.reconcile.context import Context
    from netuned.reconcile.passes import Passes
    from netuned.reconcile.slot import Slot
    from netuned.reconcile.trials import Trials

PROFILE = "host"
"""What its aim is called: many profiles make it."""


def host_target(
    targets: Mapping[str, Target],
    mode: str | None,
    placed: Iterable[Nic],
    counting: Iterable[Target] | None = None,
) -> tuple[HostTarget | None, frozenset[str]]:
    """What cards in force (by name) make of the host; None where they ask nothing of it.

    ``mode`` is what profiles say of irqbalance, ``placed`` the cards whose interrupts they place,
    ``counting`` those whose profiles' other settings of the host count, if not all do.
    Returns also what is asked for by cards only whose policy is not to enforce: such count while no
    other asks.
    """
    values: dict[str, Wanted] = {}
    reasons: dict[str, Mapping[str, str]] = {}
    conflicts: tuple[str, ...] = ()
    asked = targets.values() if counting is None else counting
    profiles = {
        (card.enforces, -card.profile.priority, card.profile.name): card.profile for card in asked
    }
    observed: set[str] = set()
    for enforces in (True, False):
        asking = {
            name: size
            for name, target in targets.items()
            if target.enforces is enforces and (size := rfs.host_table(target.profile)) != rfs.OFF
        }
        if asking and rfs.NAME not in values:
            name, size = min(asking.items(), key=lambda item: (-item[1].entries, item[0]))
            values[rfs.NAME] = {"": size}
            reasons[rfs.NAME] = {"": f"the largest that a card asks for: {name}"}
            observed |= set() if enforces else {rfs.NAME}
        in_order = [profiles[key] for key in sorted(profiles) if key[0] is enforces]
        for tunable in HOST_TUNABLES:
            if tunable.gathered is None or tunable.name in values:
                continue
            if (found := tunable.gathered(in_order)) is not None:
                values |= found.values
                reasons |= found.reasons
                conflicts += found.conflicts
                observed |= set() if enforces else {tunable.name}
    if mode:
        values[irqbalance.NAME] = {"": irqbalance.exclusion_of(mode, placed)}
        reasons[irqbalance.NAME] = {"": f"host.irqbalance: {mode}"}
    return (HostTarget(values, reasons, conflicts) if values else None), frozenset(observed)


def is_left_over(kernel: Kernel, baseline: Baseline) -> bool:
    """Whether an earlier netuned told irqbalance something that is not on record."""
    return kernel.irqbalance.is_told() and irqbalance.NAME not in baseline.of(HOST)


def mode_of(desired: Desired, *, left_over: bool) -> str | None:
    """What irqbalance is to be told: what the profiles say, else to forget what is left over."""
    return irqbalance.LEAVE if desired.irqbalance is None and left_over else desired.irqbalance


class HostPart:
    """Keeps the host as the cards in force ask for."""

    def __init__(
        self, slot: Slot, context: Context, passes: Passes, cards: Cards, trials: Trials
    ) -> None:
        self.slot = slot
        self._context = context
        self._passes = passes
        self._cards = cards
        self._trials = trials
        self._left_over = False

    async def start(self) -> None:
        """What an earlier process did may not be on record. Raises: nothing."""
        kernel, baseline = self._context.kernel, self._context.baseline
        in_worker = self._context.work.in_worker
        self._left_over = await in_worker(lambda: is_left_over(kernel, baseline))

    def follow(self, *, restore: bool) -> None:
        """Cards, profiles, trials or pauses may have changed: look at the host if that tells it.

        ``restore``: whether what nobody asks for is put back.
        """
        slots = self._cards.slots.values()
        in_force = [
            (slot, slot.aim.target) for slot in slots if isinstance(slot.aim.target, Target)
        ]
        targets = {
            slot.card.nic.name: target
            for slot, target in in_force
            if not self._is_restored(slot, rfs.NAME)
        }
        counting = [
            target
            for slot, target in in_force
            if not all(self._is_restored(slot, tunable.name) for tunable in TUNABLES)
        ]
        placing = [tunable for tunable in TUNABLES if tunable.writers.irqbalance]
        placed = [slot.card.nic for slot in slots if any(self._keeps(slot, t) for t in placing)]
        mode = mode_of(self._cards.desired, left_over=self._left_over and restore)
        target, observed = host_target(targets, mode, placed, counting)
        why = self._why_held()
        held = dict.fromkeys([tunable.name for tunable in HOST_TUNABLES], why) if why else {}
        held |= dict.fromkeys(observed - held.keys(), "is only told: policy.enforce is no")
        self.slot.adopt(Aim(target=target, profile=PROFILE, restore=restore, held=held))
        if not self.slot.aimed:
            self._passes.look(self.slot)

    @property
    def target(self) -> HostTarget | None:
        """What the host is to be; None where nobody asks anything of it."""
        target = self.slot.aim.target
        return target if isinstance(target, HostTarget) else None

    def _keeps(self, slot: Slot, tunable: Tunable) -> bool:
        target = slot.aim.target
        asked = target is not None and target.asks(tunable)
        return asked and not self._is_restored(slot, tunable.name)

    def _is_restored(self, slot: Slot, tunable: str) -> bool:
        return self._trials.holds.restored(slot.card.nic, slot.aim.digest, tunable)

    def _why_held(self) -> str:
        """Why it is left alone; empty if it is not: it is in no trial, and waits for all."""
        if self._cards.any_paused:
            return "left alone while a card is paused"
        return self._trials.waiting()
