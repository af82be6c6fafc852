"""One card at run time: its facts, what is wanted of it, what was last found.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.facts import read_nic, renewed
from netuned.hardware.nic import CLASS_NET, HOST, Nic, forgiven
from netuned.hardware.opening import open_same
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.kernel.once import Once
from netuned.kernel.questions import BOUND
from netuned.plan import Change, Waiting
from netuned.planning.diff import diff
from netuned.planning.zerocopy import why_held
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.verdicts import Verdicts
from netuned.tunables import TUNABLES
from netuned.tunables.base import (
    NOT_ASKED,
    AnyTarget,
    Boot,
    Limits,
    Target,
    Tunable,
    View,
)
from netuned.values import ABSENT, Setting, State, Value

NOTHING_HELD: Mapping[str, str] = {}
NOTHING: State = {}
ONLY_TOLD = "; only told, not done: policy.enforce is no"
NOBODY_ASKS = f"no profile asks for it: {NOT_ASKED}"


class Card:
    """One card at run time: its facts, what is wanted of it, and what was last found."""

    def __init__(self, kernel: Kernel, nic: Nic, tunables: Sequence[Tunable] = TUNABLES) -> None:
        self.kernel = kernel
        self.nic = nic
        self.tunables = {tunable.name: tunable for tunable in tunables}
        self.target: AnyTarget | None = None
        self.denies = False
        """Whether its policy forbids what drops the link."""
        self.wanted: dict[str, State] = {}
        self.restoring: frozenset[Setting] = frozenset()
        """Of what is wanted, what no profile names: it is as it was before netuned."""
        self.held: Mapping[str, str] = {}
        """Tunables that are looked at and left alone, and the sentence that says why."""
        self.found: dict[str, State] = {}
        self.unsupported: dict[str, str] = {}
        self.verdicts = Verdicts()
        self.withheld: tuple[Change, ...] = ()
        """What the policy forbids to write."""
        self.barred: Mapping[Setting, str] = {}
        """What is not written, for its write would remove what could not be put back, or the
        kernel lacks it; and why. Looked at anew in every look; replaced, never changed."""
        self.awaited: Mapping[str, str] = {}
        """Tunables that were set and do not show it yet, and why."""
        self.silent: frozenset[str] = frozenset()
        """Tunables of whose changes this kernel tells nobody, among those that were wanted."""
        self.uncompared = False
        """It was told what is wanted, perhaps not all of that yet, and has not been compared since:
        what it cannot have is not known."""
        self.version = 0
        """Changes whenever anything above does, so that status is made anew only then."""
        self._kept: KeptFiles | None = None
        self._limits: dict[str, Limits] = {}
        self.unrecorded: frozenset[Setting] = frozenset()
        """What is to stay as it was before netuned, and is not on record yet."""
        self.beside: Mapping[str, State] = {}
        """What nobody wants set and the changes that are about to be made take along."""
        self.outplanned = False
        """Whether it was planned for queues that it turned out not to have: the rest waits for
        another plan."""
        self.left: frozenset[Setting] = frozenset()
        """What another program has set and is left to it."""
        self._stood: dict[Setting, Value] = {}
        """Of what would be left to others: its value when none had set it since netuned did."""
        self._recorded: Mapping[str, State] = {}
        self._came: dict[str, frozenset[str]] = {}
        """Of tunables whose keys come and go, those that were found and have not been taken away
        by netuned since."""
        self._forgives = False
        self._clean: dict[str, tuple[State, State]] = {}
        self._again: Callable[[], None] = self.close

    def aim(
        self,
        target: AnyTarget | None,
        baseline: Baseline,
        *,
        restore: bool = True,
        held: Mapping[str, str] = NOTHING_HELD,
    ) -> None:
        """Set what is wanted: the profile's states, else what was there before netuned.

        Without ``restore`` a card without a target is left as it is. Raises: KernelError.
        """
        self._again = partial(self.aim, target, baseline, restore=restore, held=held)
        self._begin(target is not None and target.denies, held)
        recorded = baseline.of(self.nic) if target is not None or restore else {}
        self._recorded = recorded
        self.verdicts.forget_unasked()
        for tunable in self.tunables.values():
            target = self._aim_at(tunable, target, recorded.get(tunable.name, NOTHING))
        self.target = target

    def _begin(self, denies: bool, held: Mapping[str, str]) -> None:
        self.uncompared = True  # before anything of it is other than it was
        self.target, self.denies, self.held, self.outplanned = None, denies, held, False
        self.version += 1
        self.wanted, self.unsupported, self.withheld, self.barred = {}, {}, (), {}
        self.restoring = self.unrecorded = frozenset()

    def _aim_at(
        self, tunable: Tunable, target: AnyTarget | None, recorded: State
    ) -> AnyTarget | None:
        """Set what is wanted of one tunable. Returns the target for those that come after it."""
        name, back = tunable.name, recorded
        state: dict[str, Value] = {}
        asked = target is not None and target.asks(tunable)
        if target is not None and asked:
            try:
                wanted = target.wanted(tunable, self.nic, self._limits_of(tunable))
            except UnsupportedError as error:
                self.unsupported[name] = error.why
                return self._standing(tunable, target, None)
            for key, value in wanted.items():
                if isinstance(value, UnsupportedError):
                    self.verdicts.refuse((name, key), None, value.why)
                elif not isinstance(value, Boot):
                    state[key] = value
                elif key in recorded:
                    state[key] = recorded[key]
                else:
                    self.unrecorded |= {(name, key)}
            target = self._standing(tunable, target, state)
            back = {
                key: value
                for key, value in recorded.items()
                if tunable.by_key and key not in wanted and not tunable.waits(key, recorded, state)
            }
        self.verdicts.forget_others(name, state, recorded)
        if not asked and not recorded:
            return target
        if tunable.silent(self.kernel):
            self.silent |= {name}
        self.restoring |= {(name, key) for key in back}
        self.wanted[name] = {
            key: value
            for key, value in {**state, **back}.items()
            if not self.verdicts.refuses((name, key), value)
        }
        return target

    def _limits_of(self, tunable: Tunable) -> Limits:
        """Most are read once until the facts are. Raises: UnsupportedError, KernelError."""
        if tunable.limits_change or tunable.name not in self._limits:
            self._limits[tunable.name] = tunable.limits(self.view())
        return self._limits[tunable.name]

    def _standing(self, tunable: Tunable, target: AnyTarget, state: State | None) -> AnyTarget:
        """The target for the rest, where this comes out as another value than wanted.

        ``state`` is what is wanted; None: nothing that can be had.
        """
        if tunable.stands is None or not isinstance(target, Target):
            return target
        if state is None:
            return tunable.stands(target, self.nic, None)
        for key, value in state.items():
            at = tunable.name, key
            if tunable.name in self.held or self.verdicts.refuses(at, value):
                return tunable.stands(target, self.nic, None)
            if (made := self.verdicts.made_of(at, value)) != value:
                return tunable.stands(target, self.nic, made)
        return target

    def aim_back(self, states: Mapping[str, State], *, denies: bool) -> None:
        """Want these states of these tunables and nothing else; ``denies`` is the profile's policy.

        What the card has refused is left out, see ``verdicts``.
        """
        self._again = partial(self.aim_back, states, denies=denies)
        self._begin(denies, NOTHING_HELD)
        self.wanted = {
            name: {k: v for k, v in state.items() if not self.verdicts.refuses((name, k), v)}
            for name, state in states.items()
        }
        self.restoring = frozenset((n, key) for n, state in states.items() for key in state)

    def aim_again(self) -> None:
        """Want the same of the card as it is now, after a structural change."""
        self._again()

    def refresh(self, asked: Once | None = None, *, another: bool = False) -> bool:
        """Read the facts anew after a structural change. Says whether they differ.

        If ``another`` card has the ifindex by now, it takes this one's place, to be aimed anew.
        Raises: KernelError; ``gone`` when the card left, and else when another has its ifindex.
        """
        self.close()
        self._clean.clear()
        self._limits.clear()
        self.version += 1
        before = self.nic
        if before is HOST:
            return False
        name = self.kernel.card_name(before.ifindex)
        now = read_nic(self.kernel, before.ifindex, name, asked)
        if before.instance != now.instance:
            if not another:
                raise KernelError("read", f"{CLASS_NET}/{name}", errno.ENODEV)
            self.nic, self.verdicts, self.found = now, Verdicts(), {}
            self._came.clear()
            return True
        self.nic = renewed(self.kernel, forgiven(before) if self._forgives else before, now)
        self._forgives = False
        facts = {name: tunable.facts for name, tunable in self.tunables.items()}
        self.verdicts.forget_refusals(lambda at: facts[at[0]](before) != facts[at[0]](self.nic))
        return before != self.nic

    def forgive(self) -> None:
        """Have the next ``refresh`` forget what was refused for now: it is planned again then."""
        self._forgives = True

    def observe(self, scope: frozenset[str] | None, asked: Once | None = None) -> set[str]:
        """Read the wanted tunables (of ``scope``, if given) and say which are not known clean.

        Raises: KernelError.
        """
        view = self.view(asked)
        doubtful = set()
        for name, wanted in self.wanted.items():
            if scope is not None and name not in scope:
                continue
            try:
                state = self.tunables[name].read(view)
            except UnsupportedError as error:
                if self.unsupported.get(name) != error.why:
                    self.version += 1
                self.unsupported[name] = error.why
                self.found.pop(name, None)
                continue
            if self.unsupported.pop(name, None) or self.found.get(name) is not state:
                self.version += 1
            if self.tunables[name].fresh is ABSENT:
                gone = {k for k, value in wanted.items() if value is ABSENT and k not in state}
                came = self._came.get(name, frozenset()) | (wanted.keys() & state.keys())
                self._came[name] = came - gone
            clean = self._clean.get(name)
            if clean is None or clean[0] is not wanted or clean[1] is not state:
                doubtful.add(name)
            self.found[name] = state
        return doubtful

    def differences(self, names: Collection[str], asked: Once | None = None) -> tuple[Change, ...]:
        """Pending changes among ``names``; without any, these are remembered as clean.

        Those in whose way something is are left out: see ``barred``. Writes nothing, and knows no
        policy: see ``withhold``. Raises: KernelError.
        """
        changes, wanted = self._compare(names)
        free = self._bar(changes, wanted, asked)
        if self.uncompared:
            self.version += 1
            self.uncompared = False
        return free

    def due(
        self, names: Collection[str], known: Collection[Change], asked: Once
    ) -> tuple[Change, ...]:
        """Pending changes among ``names`` for which a look is due: any that are not ``known``.

        What is in their way is left for that look to ask, but for those that something was in the
        way of. Raises: KernelError.
        """
        if not names:
            return ()
        changes, wanted = self._compare(names)
        barred = tuple(c for c in changes if (c.tunable, c.key) in self.barred)
        return tuple(c for c in changes if c not in barred and c not in known) or tuple(
            c for c in self._bar(barred, wanted, asked) if c not in known
        )

    def _compare(self, names: Collection[str]) -> tuple[tuple[Change, ...], dict[str, State]]:
        """Pending changes among ``names``, and what is wanted of these."""
        wanted = {name: self.wanted[name] for name in names if name in self.found}
        restoring = {name for name, _ in self.restoring}
        for name in restoring & wanted.keys():
            wanted[name] = self.restorable(name, wanted[name], self.found[name])
        tunables = tuple(self.tunables.values())
        changes = diff(self.nic.name, wanted, self.found, self.why, tunables)
        changes = self._await(self.verdicts.without_accepted(changes), wanted)
        self._stand(changes, wanted)
        differing = {change.tunable for change in changes}
        for name in wanted.keys() - differing - restoring - self.awaited.keys():
            self._clean[name] = (self.wanted[name], self.found[name])
        return changes, wanted

    def _stand(self, changes: Iterable[Change], wanted: Mapping[str, State]) -> None:
        """Of what would be left to others, remember what is in force: it is not theirs."""
        differing = {(change.tunable, change.key) for change in changes}
        for name, state in wanted.items():
            if (gives_way := self.tunables[name].gives_way) is None:
                continue
            found = self.found[name]
            own = {(name, key) for key, value in state.items() if key in found and gives_way(value)}
            in_force = own - differing
            self._stood |= {at: found[at[1]] for at in in_force}
            self.left -= in_force

    def _leave(self, change: Change) -> str:
        """Why a setting is left to another program; empty if it is not.

        Another has set it where it is neither as it was in force, nor as it was found before that.
        """
        at, gives_way = (change.tunable, change.key), self.tunables[change.tunable].gives_way
        if gives_way is None or change.before is None:
            return ""
        if at not in self.restoring:
            last = self._stood.setdefault(
                at, self._recorded.get(at[0], NOTHING).get(at[1], change.before)
            )
            theirs = gives_way(change.after) and change.before != last
            self.left = self.left | {at} if theirs else self.left - {at}
        return f"another program has set it to {change.before}" if at in self.left else ""

    def is_as_wanted(self, name: str, wanted: State, found: State) -> bool:
        """Whether these states of a tunable are one for this card; policies make no difference.

        Touches nothing, so that the loop's thread may ask while a worker has the card.
        """
        clean = self._clean.get(name)
        if clean is not None and clean[0] is wanted and clean[1] is found:
            return True
        wanted, barred = self.restorable(name, wanted, found), self.barred
        tunables = (self.tunables[name],)
        changes = diff("", {name: wanted}, {name: found}, lambda name, key: "", tunables)
        return all(
            (name, change.key) in barred for change in self.verdicts.without_accepted(changes)
        )

    def _bar(
        self, changes: tuple[Change, ...], looked_at: Collection[str], asked: Once | None
    ) -> tuple[Change, ...]:
        """Those in whose way nothing is; nor in that of what they need. Raises: KernelError."""
        barred = {at: why for at, why in self.barred.items() if at[0] not in looked_at}
        for name in dict.fromkeys(change.tunable for change in changes):
            values = {change.key: change.after for change in changes if change.tunable == name}
            obstacles = self.tunables[name].obstacles(self.view(asked), self.found[name], values)
            barred |= {(name, key): why for key, why in obstacles.items()}
        barred |= {(c.tunable, c.key): why for c in changes if (why := self._leave(c))}
        free = [change for change in changes if (change.tunable, change.key) not in barred]
        barred |= self._holding(free, asked)
        barred |= self._resting(changes, barred)
        for change in changes:  # in the order in which one needs another
            at, needs = (change.tunable, change.key), self.tunables[change.tunable].needs
            for above in needs(change.key):
                if above in barred and above[0] == change.tunable:
                    barred.setdefault(at, barred[above])
        if barred != self.barred:
            self.barred = barred
            self.version += 1
        return tuple(change for change in changes if (change.tunable, change.key) not in barred)

    def _holding(self, changes: Iterable[Change], asked: Once | None) -> dict[Setting, Waiting]:
        """What would take from a queue what something that is bound to it needs, and who that is.

        Where the rest is to be planned for what stays so, it is given up until it is tried again.
        Raises: KernelError.
        """
        risky = [
            (c, ground)
            for c in changes
            if (ground := self.tunables[c.tunable].ground) and not (c.disruptive and self.denies)
        ]
        try:
            bound = self.view(asked).ask(BOUND) if risky else {}
        except UnsupportedError:  # the kernel refuses what it knows by itself
            bound = {}
        held: dict[tuple[str, str], set[tuple[str, int]]] = {}
        """By tunable and place: what is under one number is changed together, or not."""
        for change, ground in risky if bound else ():
            if queues := {*ground(change.key, change.before, change.after, bound, self.found)}:
                held.setdefault(self._place(change.tunable, change.key), set()).update(queues)
        if not held:
            return {}
        numbers = {number for queues in held.values() for _, number in queues}
        holders = self.kernel.netdev.holders(self.nic.ifindex, numbers)
        found = {}
        for change, _ in risky:
            tunable, at = self.tunables[change.tunable], (change.tunable, change.key)
            if by := held.get(self._place(*at)):
                why = found[at] = Waiting(why_held(sorted(by), bound, holders))
                if tunable.stands and at not in self.restoring:
                    self.give_up(change, why)
        return found

    def _resting(
        self, changes: Iterable[Change], barred: Mapping[Setting, str]
    ) -> dict[Setting, str]:
        """What rests on something else (a rule on its context) is not set before that is as wanted;
        and that does not go as long as something rests on it that stays.
        """
        free = [change for change in changes if (change.tunable, change.key) not in barred]
        if not any(c.after is ABSENT or self._rests_on(c) is not None for c in free):
            return {}
        places = {(c.tunable, c.key): self._place(c.tunable, c.key) for c in changes}
        why = {place: barred[at] for at, place in places.items() if at in barred}
        coming = {places[c.tunable, c.key] for c in free if c.after is not ABSENT}
        there = {self._place(name, key) for name, state in self.found.items() for key in state}
        resting = {
            self.tunables[name].rests_on(value)
            for name, wanted in self.wanted.items()
            for key, value in wanted.items()
            if self.found.get(name, NOTHING).get(key) == value
        }
        refused = {self._place(*at): said for at, (_, said) in self.verdicts.refused.items()}
        found = {}
        for change in free:
            at = change.tunable, change.key
            rests, own = self._rests_on(change), places[at]
            if rests is not None and (rests in why or rests not in coming | there):
                found[at] = why.get(rests) or f"{rests[0]} {rests[1]} is not there"
            elif change.after is ABSENT and own in resting - coming:
                found[at] = why.get(own) or refused.get(own) or "what is set rests on it"
        return found

    def _rests_on(self, change: Change) -> tuple[str, str] | None:
        return self.tunables[change.tunable].rests_on(change.after)

    def _place(self, name: str, key: str) -> tuple[str, str]:
        return name, self.tunables[name].place(key)

    def _await(self, changes: tuple[Change, ...], looked_at: Collection[str]) -> tuple[Change, ...]:
        """Those that are to be made: the others were, and only do not show yet."""
        awaited = {name: why for name, why in self.awaited.items() if name not in looked_at}
        left = []
        for change in changes:
            name, key = change.tunable, change.key
            why = self.tunables[name].awaited(key, {key: change.after}, self.found[name])
            if why:
                awaited[name] = why
            else:
                left.append(change)
        if awaited != self.awaited:
            self.awaited = awaited
            self.version += 1
        return tuple(left)

    def restorable(self, name: str, state: State, found: State) -> State:
        """Of a state that is put back, what exists now, or can be made: queues may have gone."""
        tunable = self.tunables[name]
        if tunable.fresh is ABSENT:
            return state
        return {
            key: value
            for key, value in state.items()
            if key in found or (name, key) not in self.restoring or tunable.makes(key, found)
        }

    def withhold(self, changes: Iterable[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        """The one place between what differs and what is written: what may be, and what may not.

        What is put back has to fit what is put back with it, and is withheld together with that.
        """
        changes = tuple(changes)
        if not self.denies:
            return changes, ()
        withheld = {(c.tunable, c.key) for c in changes if c.disruptive}
        for change in changes:  # in the order in which one needs another
            needs = self.restoring.intersection(self.tunables[change.tunable].needs(change.key))
            at = change.tunable, change.key
            if at in self.restoring and withheld & needs:
                withheld.add(at)
        forbidden = tuple(c for c in changes if (c.tunable, c.key) in withheld)
        return tuple(c for c in changes if (c.tunable, c.key) not in withheld), forbidden

    def note_withheld(self, withheld: tuple[Change, ...], scope: frozenset[str] | None) -> None:
        """Remember, for status, what the policy forbids; ``scope`` is what was looked at."""
        unseen = (c for c in self.withheld if scope is not None and c.tunable not in scope)
        if (known := (*unseen, *withheld)) != self.withheld:
            self.withheld = known
            self.version += 1

    def give_up(self, change: Change, why: str) -> None:
        """Take one setting out of what is wanted: the card or the kernel does not let it be set."""
        self.version += 1
        name, key = change.tunable, change.key
        nic = self.tunables[name].learn(self.kernel, self.nic, key, change.after, why)
        if nic is not self.nic:
            self.nic, self.outplanned = nic, self.tunables[name].stands is not None
        else:
            self.verdicts.refuse((name, key), change.after, why)
        left = {other: kept for other, kept in self.wanted[name].items() if other != key}
        self.wanted[name] = left
        if not left:
            named = key and self.tunables[name].by_key and key not in why
            self.unsupported[name] = type(why)(f"{key}: {why}") if named else why

    def accept(self, change: Change) -> bool:
        """Take what was read back for what the kernel makes of the value, if it can be that."""
        tunable, before = self.tunables[change.tunable], change.before
        if before is None or not tunable.within(change.key, change.after, before):
            return False
        if self.takes(change):
            return False  # the kernel does not make this of it: somebody else does
        self.verdicts.accept((change.tunable, change.key), change.after, before)
        return True

    def came_out(self, *, disruptive: bool) -> frozenset[Setting]:
        """What was written, is not left alone, and came out otherwise than wanted.

        What drops the link only if ``disruptive``.
        """
        return frozenset(
            (name, key)
            for (name, key), (wanted, found) in self.verdicts.accepted.items()
            if name not in self.held
            and (disruptive or not self.tunables[name].disruptive(key, found, wanted))
        )

    def takes(self, change: Change) -> bool:
        """Whether a value is, right after its write, as it was written. Raises: KernelError.

        What drops the link is not written for that; nothing is known of it then.
        """
        if change.disruptive:
            return False
        tunable, view = self.tunables[change.tunable], self.view()
        wanted = {change.key: change.after}
        tunable.write(view, self.found[change.tunable], wanted)
        found = tunable.read(view)
        return change.key in found and tunable.same(change.key, wanted, found)

    def settle(self, gone: frozenset[Setting]) -> None:
        """What was put back, or is not there to be, is wanted no more."""
        self.restoring -= gone
        self.left -= gone
        self._stood = {at: value for at, value in self._stood.items() if at not in gone}
        for name in {name for name, _ in gone}:
            left = {key: v for key, v in self.wanted[name].items() if (name, key) not in gone}
            self.wanted[name] = left
            if not left and not self.is_asked(name):  # else what is refused of it is to be told
                del self.wanted[name]
                self.found.pop(name, None)

    def is_asked(self, name: str) -> bool:
        """Whether the profile in force sets a tunable."""
        return self.target is not None and self.target.asks(self.tunables[name])

    def why(self, name: str, key: str) -> str:
        if self.target is None or (name, key) in self.restoring:
            why = NOBODY_ASKS
        else:
            why = self.target.why(self.tunables[name], self.nic, key)
        return why if self.target is None or self.target.enforces else f"{why}{ONLY_TOLD}"

    def view(self, asked: Once | None = None) -> View:
        """The card as tunables look at it; ``asked`` has the answers of a pass, none as yet.

        Raises: KernelError; ``gone`` when the card left.
        """
        kept = self._kept
        if kept is None:
            kept = self._kept = KeptFiles(open_same(self.kernel, self.nic))
        asked = asked or Once(self.kernel, many=False)
        return View(self.kernel, self.nic, kept, asked, self._keys, self._own)

    def _keys(self, name: str) -> Collection[str]:
        """The keys of a tunable that are wanted, or to stay as they were before netuned."""
        unrecorded = [key for other, key in self.unrecorded if other == name]
        return (*self.wanted.get(name, ()), *unrecorded)

    def know(self, baseline: Baseline) -> None:
        """Have what the baseline has of the card by now tell what of it is netuned's own."""
        self._recorded = baseline.of(self.nic)

    def _own(self, name: str, found: State) -> Collection[str]:
        """Of keys that come and go, those that netuned made, by its record and what was found."""
        recorded = self._recorded.get(name, NOTHING)
        there = found.keys() | self._came.get(name, frozenset())
        return {key for key in there if recorded.get(key) is ABSENT}

    @property
    def waiting(self) -> frozenset[Setting]:
        """What is not written as long as something that is bound to a queue needs it as it is."""
        return frozenset(at for at, why in self.barred.items() if isinstance(why, Waiting))

    @property
    def misplaced(self) -> frozenset[Setting]:
        """What is not written, and for which another place may be found: see ``aim_again``."""
        barred = self.barred.keys() - self.waiting
        return frozenset(at for at in barred if self.tunables[at[0]].limits_change)

    @property
    def watchable(self) -> frozenset[str]:
        """What is to be watched of all that is wanted, as tunables mark it."""
        return frozenset(
            mark for name, state in self.wanted.items() for mark in self.tunables[name].marks(state)
        )

    def close(self) -> None:
        """Close the card's directory and files; the next look opens them anew."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
