"""One card's transaction: observe, compare, write, read back; undo in reverse when a write fails.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace

from netuned.errors import KernelError, NetunedError, UnsupportedError, VerifyError
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.contention import Gate
from netuned.tunables.base import CARD, NOTHING, OWN
from netuned.values import ABSENT, Setting, Value

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Writes of one setting in one pass before its read-back is called wrong."""

ROUNDS = 12
"""Observations in one pass; channels, root qdisc, leaves, parameters and their read-backs 7."""


@dataclass(slots=True)
class Outcome:
    """What a pass did: changes made, those left (``enforce: no``, contended), and the error.

    ``scope`` is what it looked at in the end; None: everything.
    """

    scope: frozenset[str] | None = None
    made: list[Change] = field(default_factory=list)
    pending: tuple[Change, ...] = ()
    withheld: tuple[Change, ...] = ()
    """What the policy forbids."""
    failed: Change | None = None
    error: NetunedError | None = None
    undone: bool = False
    """Whether changes were made before the error, and put back."""
    settled: bool = False
    """Whether the card is as wanted, and an error came only after that."""
    trail: list[Change] = field(default_factory=list)
    """What undoing goes back over: changes made, each after those whose settings it took away."""


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How often a setting was written in a pass; what was there before the first and last time."""

    times: int
    before: Value | None
    last: Value | None = None


Recorder = Callable[[Card, tuple[Change, ...]], None]
"""Told of changes before they are written; runs in the worker."""


def sweep(kernel: Kernel, cards: Iterable[Card]) -> list[Card]:
    """Look at all cards, asked together; those that differ, or cannot be read."""
    asked = Once(kernel)
    differing = []
    for card in cards:
        try:
            changes = card.differences(card.observe(None, asked))
            if set(changes) - set(card.withheld):
                differing.append(card)
        except KernelError:
            differing.append(card)
    return differing


def plan_card(card: Card, asked: Once) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """What a pass would write now and what it would withhold. Raises: KernelError."""
    card.observe(None, asked)
    return card.withhold(card.differences(card.wanted.keys()))


def reconcile_card(
    card: Card,
    baseline: Baseline,
    recorder: Recorder | None = None,
    *,
    undo: bool = True,
) -> Outcome:
    """Bring one card to all that is wanted of it, in one transaction by itself; see ``Rounds``."""
    rounds = Rounds(card, baseline, recorder=recorder, undo=undo)
    while not rounds.turn(Once(card.kernel, many=False)):
        pass
    return rounds.outcome


class Rounds:
    """One card's transaction, turn by turn, so that those of many cards share what each asks.

    Between turns other cards have theirs: what all of them found is then saved in one write, and
    what all of them wrote is read back from one dump.

    ``scope`` limits the look to these tunables, as long as none restructures the card. With
    ``repairs`` all was in force before: what differs was changed by somebody, and what is
    changed too often is left for later. ``recorder`` is told each round's changes before they are
    written, and refuses them by raising. Without ``undo`` what was written stays if a write fails.
    """

    def __init__(
        self,
        card: Card,
        baseline: Baseline,
        scope: frozenset[str] | None = None,
        repairs: Gate | None = None,
        recorder: Recorder | None = None,
        *,
        undo: bool = True,
    ) -> None:
        self.outcome = Outcome(scope)
        self._card = card
        self._undoes = undo
        self._turns = _reconcile(card, baseline, repairs, recorder, self.outcome)
        next(self._turns)

    def turn(self, asked: Once) -> bool:
        """Go on, with answers that are asked from now on. Says whether that was the end."""
        try:
            self._turns.send(asked)
        except StopIteration:
            return True
        except NetunedError as error:
            self.outcome.error = error
            gone = isinstance(error, KernelError) and error.gone
            if self._undoes and not (gone or self.outcome.settled):
                _undo(self._card, self.outcome)
                if self.outcome.trail:
                    _see_undone(self._card)
            return True
        return False


def _see_undone(card: Card) -> None:
    """Have status show what there is after an undo; nothing, where that cannot be read."""
    try:
        card.note_withheld(plan_card(card, Once(card.kernel, many=False))[1], None)
    except KernelError:
        card.found = {}
        card.version += 1


def _reconcile(
    card: Card,
    baseline: Baseline,
    repairs: Gate | None,
    recorder: Recorder | None,
    outcome: Outcome,
) -> Generator[None, Once, None]:
    """A transaction; each turn begins with answers that are asked from then on."""
    enforce = card.target is None or card.target.enforces
    attempts: dict[Setting, _Attempts] = {}
    expected = False
    for _ in range(ROUNDS):
        asked = yield
        found = card.differences(card.observe(outcome.scope, asked))
        changes, outcome.withheld = card.withhold(found)
        card.note_withheld(outcome.withheld, outcome.scope)
        if not enforce:
            outcome.pending = changes
            return
        if _irreplaceable(card, baseline):
            continue
        alone = tuple(change for change in changes if change.tunable in card.held)
        changes = tuple(change for change in changes if change.tunable not in card.held)
        if entry := baseline.enter(card.nic, *card.to_record(changes, outcome.scope)):
            yield
            baseline.save(entry)
        if card.expects_record and not expected:
            expected = True
            card.aim_again()
            continue
        outcome.pending = (*alone, *(repairs.held(changes) if repairs else ()))
        changes = tuple(change for change in changes if change not in outcome.pending)
        if not changes:
            # While it may be rolled back, what was there before netuned is still needed.
            if outcome.scope is None and not (outcome.pending or card.awaited or recorder):
                outcome.settled = True
                _settle(card, baseline)
            return
        if repairs is None and _accept(card, baseline, changes, attempts, outcome):
            card.aim_again()  # fewer channels than wanted have fewer queues
            continue
        if recorder:
            recorder(card, changes)
        known = len(outcome.made)
        stale = _write(card, changes, asked, repairs, outcome)
        _count(card, changes, outcome.made[known:], attempts)
        if stale == CARD:
            outcome.scope = None
            card.refresh()
            card.aim_again()
    if repairs:  # somebody is as quick: what is left differs again, and the next look sees it
        outcome.pending += changes
        return
    raise VerifyError("the card", "a settled state", "new differences in every round")


def _accept(
    card: Card,
    baseline: Baseline,
    changes: tuple[Change, ...],
    attempts: dict[Setting, _Attempts],
    outcome: Outcome,
) -> bool:
    """Before settings are written again: say whether some are taken as they were read back.

    The second try tells what the kernel makes of a value from what somebody wrote meanwhile; one
    that drops the link is not made twice for that. What a driver takes without an error, and
    without effect, is given up: what shows is then as it was before netuned, or is to go back.
    Else an earlier daemon may have made it of the same value. Given up is also what a driver makes
    something else of each time. Raises: VerifyError.
    """
    taken, recorded = False, baseline.of(card.nic)
    pending = {(change.tunable, change.key) for change in changes}
    for change in changes:
        at, tunable = (change.tunable, change.key), card.tunables[change.tunable]
        had = attempts.get(at, _Attempts(0, change.before))
        unchanged = tunable.by_key and had.times and change.before == had.before is not None
        was = recorded.get(change.tunable, {}).get(change.key)
        ignored = unchanged and (at in card.restoring or change.before == was)
        if had.times >= (1 if change.disruptive else 2) and not ignored and card.accept(change):
            taken = True
            continue
        if pending.intersection(tunable.needs(change.key)):
            continue  # what it needs is written before it
        if unchanged:
            if had.times >= (1 if change.disruptive else ATTEMPTS):
                card.give_up(change, f"the driver takes it and keeps {change.before}")
                taken = True
        elif tunable.by_key and had.times >= ATTEMPTS and change.before == had.last:
            card.give_up(change, f"the driver makes {change.before} of {change.after}")
            taken = True
        elif had.times >= ATTEMPTS:
            outcome.failed = change
            setting = f"{change.tunable} {change.key}".rstrip()
            raise VerifyError(setting, str(change.after), str(change.before))
    return taken


def _count(
    card: Card,
    changes: Iterable[Change],
    made: Iterable[Change],
    attempts: dict[Setting, _Attempts],
) -> None:
    """Count the writes that were made; what a change of what it needs may undo was no try."""
    pending = {(change.tunable, change.key) for change in changes}
    for change in made:
        at = change.tunable, change.key
        if not pending.intersection(card.tunables[change.tunable].needs(change.key)):
            had = attempts.get(at, _Attempts(0, change.before))
            attempts[at] = _Attempts(had.times + 1, had.before, change.before)


def _groups(card: Card, changes: Iterable[Change]) -> list[list[Change]]:
    """Changes that go in one request together, each group at the place of its first."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        group = card.tunables[change.tunable].group(change.key)
        groups.setdefault((change.tunable, group), []).append(change)
    return list(groups.values())


def _write(
    card: Card,
    changes: tuple[Change, ...],
    asked: Once,
    repairs: Gate | None,
    outcome: Outcome,
) -> str:
    """Write changes in order; returns what that made stale. All of the card ends the round.

    What needs a setting that was just made is left for the next round, which sees what it became.
    """
    renewed: set[Setting] = set()
    for group in _groups(card, changes):
        tunable = card.tunables[group[0].tunable]
        group = [change for change in group if not renewed.intersection(tunable.needs(change.key))]
        for change in group if repairs else ():
            assert repairs
            repairs.repaired(change)  # one that fails, for somebody was quicker, counts too
        made = _write_group(card, group, asked, outcome)
        stale = {tunable.stale(change.key) for change in group}
        if CARD in stale:  # also where it was refused: the rest was planned for what is to come
            return CARD
        if OWN in stale:
            renewed.update((change.tunable, change.key) for change in made)
    return OWN if renewed else NOTHING


def _write_group(card: Card, group: list[Change], asked: Once, outcome: Outcome) -> list[Change]:
    """Write settings in one request, without those that the card turns out not to have.

    Returns what was written, which ``outcome`` has then, too. Raises: KernelError;
    ``outcome.failed`` is then what it is of.
    """
    while group:
        tunable = card.tunables[group[0].tunable]
        values = {change.key: change.after for change in group}
        try:
            tunable.write(card.view(asked), card.found[tunable.name], values)
        except (UnsupportedError, KernelError) as error:
            if isinstance(error, UnsupportedError):
                named, why = group[:1] if len(group) == 1 else [], error.why
            else:
                at = error.attribute  # empty where it named none, as is the key of some tunables
                named = [change for change in group if at and change.key == at]
                if error.errno == errno.EOPNOTSUPP and len(group) == 1:
                    named = group
                why = error.extack or "refused"
            if not named:
                outcome.trail += group  # a driver may have done a part of it
                if len(group) > 1:  # which of them it is, a try of each will tell
                    alone = ([change] for change in group)
                    return [m for one in alone for m in _write_group(card, one, asked, outcome)]
                outcome.failed = group[0]
                raise
            for change in named:
                card.give_up(change, why)
            group = [change for change in group if change not in named]
        else:
            for change in group:
                outcome.trail += _taken_along(card, change)
                outcome.trail.append(change)
                outcome.made.append(change)
            return group
    return []


def _taken_along(card: Card, change: Change) -> list[Change]:
    """The settings that a change takes away, as changes whose undoing brings them back."""
    found = card.found[change.tunable]
    return [
        Change(change.ifname, change.tunable, key, found[key], found[key], "")
        for key in card.tunables[change.tunable].loses(found, change.key)
    ]


def _irreplaceable(card: Card, baseline: Baseline) -> bool:
    """Give up tunables whose state before netuned could not be put back. Says if there were any."""
    given_up = False
    for name in card.wanted.keys() & card.found.keys() - card.held.keys():
        why = card.tunables[name].irreplaceable(card.found[name])
        if not why or name in baseline.of(card.nic):
            continue
        for key, value in tuple(card.wanted[name].items()):
            given_up = True
            card.give_up(Change(card.nic.name, name, key, None, value, ""), why)
    return given_up


def _settle(card: Card, baseline: Baseline) -> None:
    """After a clean look at everything: what was restored needs no record any more.

    Raises: StateFileError.
    """
    if not card.restoring:
        return
    withheld = {(change.tunable, change.key) for change in card.withheld}
    done = {
        (name, key)
        for name, key in card.restoring - withheld
        if name not in card.held and not withheld.intersection(card.tunables[name].needs(key))
    }
    recorded = baseline.of(card.nic)
    missed = {
        (name, key): why
        for (name, key), (value, why) in card.refused.items()
        if (name, key) in done and recorded.get(name, {}).get(key) == value
    }
    missed |= {at: card.unsupported.get(at[0], "") for at in done if at[0] not in card.found}
    for name, why in {name: why for (name, _), why in missed.items()}.items():
        log.warning("Cannot put back %s %s: %s, keeping its record", card.nic.label, name, why)
    # A parameter of what is not attached now is needed once that is again.
    dormant = {
        (name, key)
        for name, key in done - missed.keys()
        if key not in card.found[name]
        and card.is_asked(name)
        and recorded.get(name, {}).get(key) is not ABSENT
    }
    baseline.forget(card.nic, done - missed.keys() - dormant)
    card.settle(frozenset(done))


def _undo(card: Card, outcome: Outcome) -> None:
    """Put back what this pass wrote, the last first. A failure here is logged; the rest goes on."""
    outcome.undone = bool(outcome.made)
    backwards = [
        replace(
            c,
            before=c.after,
            after=c.before,
            disruptive=card.tunables[c.tunable].disruptive(c.key, c.after, c.before),
        )
        for c in reversed(outcome.trail)
        if c.before is not None
    ]
    allowed, withheld = card.withhold(backwards)
    for change in withheld:
        log.error("Cannot undo %s: the policy forbids it, going on", change)
    for group in _groups(card, allowed):
        tunable = card.tunables[group[0].tunable]
        try:
            view = card.view()
            found = tunable.read(view)
            values = {change.key: change.after for change in group}
            there = {
                key: value
                for key, value in values.items()
                if (key in found and not tunable.same(key, values, found))
                or (key not in found and tunable.fresh is ABSENT and value is not ABSENT)
            }
            if there:
                tunable.write(view, found, there)
            if any(tunable.stale(key) == CARD for key in there):
                card.refresh()
        except NetunedError as error:
            for change in group:
                log.error("Cannot undo %s: %s, going on", _forwards(change), error)
    outcome.made.clear()


def _forwards(change: Change) -> Change:
    return replace(change, before=change.after, after=change.before or change.after)
