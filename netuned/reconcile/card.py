"""One card at run time: its facts, what is wanted of it, what was last found.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic, read_nic, with_managed
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.plan import Change
from netuned.planning.diff import diff
from netuned.reconcile.baseline import Baseline
from netuned.tunables import BY_NAME, TUNABLES, channels, irq, qdisc
from netuned.tunables.base import Qdiscs, Target, Tunable, View
from netuned.values import ChannelCounts, Qdisc, State, Value

NOTHING_HELD: Mapping[str, str] = {}


class Card:
    """One card at run time: its facts, what is wanted of it, and what was last found."""

    def __init__(self, kernel: Kernel, nic: Nic) -> None:
        self.kernel = kernel
        self.nic = nic
        self.target: Target | None = None
        self.wanted: dict[str, State] = {}
        self.restoring: set[str] = set()
        self.held: Mapping[str, str] = {}
        """Tunables that are looked at and left alone, and the sentence that says why."""
        self.found: dict[str, State] = {}
        self.unsupported: dict[str, str] = {}
        self.refused: dict[tuple[str, str], tuple[Value, str]] = {}
        """(tunable, key) -> the value that could not be set, and why.

        Replaced, never changed: the loop's thread reads it while a worker gives a setting up.
        """
        self.accepted: dict[tuple[str, str], tuple[Value, Value]] = {}
        """(tunable, key) -> a value that was written, and what the kernel makes of it."""
        self.remade: set[str] = set()
        """Qdiscs that were put up anew in this pass, without parameters nobody names any more."""
        self.version = 0
        """Changes whenever anything above does, so that status is made anew only then."""
        self._kept = KeptFiles(kernel.files)
        self._clean: dict[str, tuple[State, State]] = {}
        self._again: Callable[[], None] = self.close

    def aim(
        self,
        target: Target | None,
        baseline: Baseline,
        *,
        restore: bool = True,
        held: Mapping[str, str] = NOTHING_HELD,
    ) -> None:
        """Set what is wanted: the profile's states, else what was there before netuned.

        Without ``restore`` a card without a target is left as it is.
        """
        self._again = partial(self.aim, target, baseline, restore=restore, held=held)
        whole = target = target and self._attainable(target)
        if target is not None and "channels" in held:  # the rest is for those that are there
            target = replace(target, channels=self.nic.counts)
        self.target, self.held = target, held
        self.version += 1
        self.wanted, self.unsupported, self.restoring = {}, {}, set()
        recorded = baseline.of(self.nic) if target is not None or restore else {}
        for tunable in TUNABLES:
            name = tunable.NAME
            try:
                aim = whole if name == "channels" else target
                state = tunable.desired(aim, self.nic) if aim else None
            except UnsupportedError as error:
                self.unsupported[name] = error.why
                continue
            if state is None and name in recorded:
                if self._may_not(tunable):
                    self.unsupported[name] = "policy.disruptive is deny: not put back"
                    continue
                state = recorded[name]
                self.restoring.add(name)
            elif state is not None and name == qdisc.NAME:
                set_before = baseline.parameters(self.nic)
                left = {key: names for key, names in set_before.items() if key not in self.remade}
                state = qdisc.without(state, left, recorded.get(name, {}))
            if state is not None:
                self.wanted[name] = {
                    key: value
                    for key, value in state.items()
                    if self.refused.get((name, key), (None,))[0] != value
                }

    def aim_back(self, states: Mapping[str, State]) -> None:
        """Want these states of these tunables and nothing else, whatever the profile says."""
        self._again = partial(self.aim_back, states)
        self.target, self.held = None, NOTHING_HELD
        self.version += 1
        self.wanted = {name: dict(state) for name, state in states.items()}
        self.unsupported, self.restoring = {}, set(states)

    def aim_again(self) -> None:
        """Want the same of the card as it is now, after a structural change."""
        self._again()

    def _attainable(self, target: Target) -> Target:
        """With channels as the card makes them of those wanted, or has if no others can be set."""
        refused = self.refused.get((channels.NAME, ""))
        accepted = self.accepted.get((channels.NAME, ""))
        if accepted is not None and target.channels == accepted[0]:
            assert isinstance(accepted[1], ChannelCounts)
            return replace(target, channels=accepted[1])
        deny = target.profile.policy.disruptive == "deny"
        if target.channels and (deny or (refused is not None and target.channels == refused[0])):
            return replace(target, channels=self.nic.counts)
        return target

    def _may_not(self, tunable: Tunable) -> bool:
        """Whether the profile's policy forbids to write it."""
        deny = self.target is not None and self.target.profile.policy.disruptive == "deny"
        return deny and tunable.disruptive("")

    def refresh(self) -> bool:
        """Read the facts anew after a structural change. Says whether they differ.

        Raises: KernelError; ``gone`` when the card left.
        """
        self._kept.close()
        self._clean.clear()
        self.version += 1
        before = self.nic
        name = self.kernel.card_name(before.ifindex)
        now = read_nic(self.kernel, before.ifindex, name)
        if not now.speed_mbps:  # unknown while the link is down; a profile must not let go then
            now = replace(now, speed_mbps=before.speed_mbps)
        self.nic = now
        if before.vectors == self.nic.vectors:
            self.nic = with_managed(self.kernel, self.nic, before.managed)
        else:
            self.refused = {at: why for at, why in self.refused.items() if at[0] != "irq"}
        return before != self.nic or before.instance != self.nic.instance

    def observe(self, scope: frozenset[str] | None, qdiscs: Callable[[], Qdiscs]) -> set[str]:
        """Read the wanted tunables (of ``scope``, if given) and say which are not known clean.

        Raises: KernelError.
        """
        view = self.view(qdiscs)
        doubtful = set()
        for name, wanted in self.wanted.items():
            if scope is not None and name not in scope:
                continue
            try:
                state = BY_NAME[name].read(view)
            except UnsupportedError as error:
                if self.unsupported.get(name) != error.why:
                    self.version += 1
                self.unsupported[name] = error.why
                self.found.pop(name, None)
                continue
            if self.unsupported.pop(name, None) or self.found.get(name) is not state:
                self.version += 1
            clean = self._clean.get(name)
            if clean is None or clean[0] is not wanted or clean[1] is not state:
                doubtful.add(name)
            self.found[name] = state
        return doubtful

    def differences(self, names: set[str]) -> tuple[Change, ...]:
        """Pending changes among ``names``; without any, these are remembered as clean."""
        wanted = {name: self.wanted[name] for name in names if name in self.found}
        if self.restoring:
            wanted = {name: self._restorable(name, state) for name, state in wanted.items()}
        changes = tuple(
            change
            for change in diff(self.nic.name, wanted, self.found, self.why)
            if self.accepted.get((change.tunable, change.key)) != (change.after, change.before)
        )
        differing = {change.tunable for change in changes}
        for name in wanted.keys() - differing - self.restoring:
            self._clean[name] = (self.wanted[name], self.found[name])
        return changes

    def _restorable(self, name: str, state: State) -> State:
        """Of a recorded state, what exists now: queues may have gone since."""
        if name not in self.restoring:
            return state
        return {key: value for key, value in state.items() if key in self.found[name]}

    def give_up(self, name: str, key: str, value: Value, why: str) -> None:
        """Take one setting out of what is wanted: the card or the kernel does not let it be set."""
        self.version += 1
        if why == irq.KERNEL_MANAGED:  # a fact of the card from now on, to plan with
            number = {vector.irq for vector in self.nic.vectors if vector.key == key}
            self.nic = with_managed(self.kernel, self.nic, number)
        else:
            self.refused = {**self.refused, (name, key): (value, why)}
        left = {other: kept for other, kept in self.wanted[name].items() if other != key}
        self.wanted[name] = left
        if not left:
            self.unsupported[name] = why

    def accept(self, change: Change) -> bool:
        """Take what was read back for what the kernel makes of the value, if it can be that."""
        if change.before is None or not BY_NAME[change.tunable].within(change.after, change.before):
            return False
        if isinstance(change.after, CpuSet) and self._takes(change):
            return False  # the kernel does not make this of it: somebody else does
        self.accepted[change.tunable, change.key] = (change.after, change.before)
        return True

    def _takes(self, change: Change) -> bool:
        """Whether a mask is, right after its write, as it was written. Raises: KernelError."""
        tunable, view = BY_NAME[change.tunable], self.view(self.kernel.rtnl.qdiscs)
        tunable.write(view, self.found[change.tunable], change.key, change.after)
        return tunable.read(view)[change.key] == change.after

    def note_written(self, change: Change) -> None:
        """A qdisc that was put up anew need not be again."""
        if isinstance(change.after, Qdisc) and change.after.anew:
            self.remade.add(change.key)
            now = replace(change.after, anew=False)
            self.wanted[qdisc.NAME] = {**self.wanted[qdisc.NAME], change.key: now}

    def managed_states(self) -> Mapping[str, State]:
        """What was found of the tunables that a profile names and netuned may write now."""
        without = self.restoring | self.held.keys()
        return {
            name: state
            for name, state in self.found.items()
            if name not in without and not self._may_not(BY_NAME[name])
        }

    def why(self, name: str, key: str) -> str:
        if self.target is None or name in self.restoring:
            return "no profile asks for it: as it was before netuned"
        return BY_NAME[name].why(self.target, self.nic, key)

    def view(self, qdiscs: Callable[[], Qdiscs]) -> View:
        return View(self.kernel, self.nic, self._kept, qdiscs)

    def close(self) -> None:
        self._kept.close()
