"""One card's transaction: observe, compare, write, read back; undo in reverse when a write fails.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable

from netuned.errors import KernelError, NetunedError, VerifyError
from netuned.hardware.nic import HOST
from netuned.hardware.opening import check_here
from netuned.history import FAILURE
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.before import look_beside, to_record
from netuned.reconcile.card import Card
from netuned.reconcile.contention import Gate
from netuned.reconcile.writing import Outcome, undo, write
from netuned.records import dataclass
from netuned.tunables.base import CARD
from netuned.values import ABSENT, Setting, Value

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Writes of one setting in one pass before its read-back is called wrong."""

ROUNDS = 12
"""Observations in one pass; channels, root qdisc, leaves, parameters and their read-backs 7."""


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How often a setting was written in a pass; what was there before the first and last time."""

    times: int
    before: Value | None
    last: Value | None = None


Recorder = Callable[[Card, tuple[Change, ...]], None]
"""Told of changes before they are written; runs in the worker."""


def sweep(
    kernel: Kernel,
    cards: Collection[Card],
    scope: frozenset[str] | None = None,
    known: Collection[Change] = (),
    asked: Once | None = None,
) -> dict[Card, Exception | None]:
    """Look at all cards, of ``scope`` if given, asked together; ``asked`` has the answers.

    Returns those of which something differs that is not ``known``, or that cannot be read; with
    the error of a bug that showed, which is logged and stops no other card.
    """
    asked = asked or Once(kernel, many=len(cards) > 1)
    differing: dict[Card, Exception | None] = {}
    for card in cards:
        try:
            if card.due(card.observe(scope, asked), {*card.withheld, *known}, asked):
                differing[card] = None
        except NetunedError:
            differing[card] = None
        except Exception as error:  # as in a look: what differs of others is not left for it
            log.exception("Internal error over %s, leaving it alone", card.nic.label)
            differing[card] = error
    return differing


def plan_card(card: Card, asked: Once) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """What a pass would write now and what it would withhold. Raises: KernelError."""
    card.observe(None, asked)
    changes = card.differences(card.wanted.keys(), asked)
    if card.misplaced:
        card.aim_again()
        card.observe(None, asked)
        changes = card.differences(card.wanted.keys(), asked)
    return card.withhold(changes)


def reconcile_card(
    card: Card,
    baseline: Baseline,
    recorder: Recorder | None = None,
    *,
    undoes: bool = True,
) -> Outcome:
    """Bring one card to all that is wanted of it, in one transaction by itself; see ``Rounds``."""
    rounds = Rounds(card, baseline, recorder=recorder, undoes=undoes)
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
    written, and refuses them by raising. Without ``undoes`` what was written stays if one fails.
    """

    def __init__(
        self,
        card: Card,
        baseline: Baseline,
        scope: frozenset[str] | None = None,
        repairs: Gate | None = None,
        recorder: Recorder | None = None,
        *,
        undoes: bool = True,
    ) -> None:
        self.outcome = Outcome(scope)
        self._card = card
        # the host's settings have nothing to do with each other
        self._undoes = undoes and card.nic is not HOST
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
            gone = (isinstance(error, KernelError) and error.gone) or _has_left(self._card)
            if self._undoes and not (gone or self.outcome.settled):
                undo(self._card, self.outcome)
                if self.outcome.trail:
                    _see_undone(self._card)
            elif (failed := self.outcome.failed) is not None:  # written, perhaps, to no effect
                at = failed.tunable, failed.key
                made = self.outcome.made
                made[:] = [change for change in made if (change.tunable, change.key) != at]
            return True
        return False


def _has_left(card: Card) -> bool:
    """Whether it is gone, or another card has its ifindex: what was written is not to be undone."""
    try:
        check_here(card.kernel, card.nic)
    except KernelError as error:
        return error.gone
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
    moved: frozenset[Setting] = frozenset()
    rounds = 0
    while (rounds := rounds + 1) <= ROUNDS + len(outcome.unrestored):
        asked = yield
        found = card.differences(card.observe(outcome.scope, asked), asked)
        if card.outplanned:
            return
        check_here(card.kernel, card.nic)
        if misplaced := card.misplaced - moved:
            moved |= misplaced
            made = outcome.made  # a write that found its place taken wrote nothing
            made[:] = [c for c in made if (c.tunable, c.key) not in misplaced]
            card.aim_again()
            continue
        changes, outcome.withheld = card.withhold(_without_unrestored(card, found, outcome))
        card.note_withheld(outcome.withheld, outcome.scope)
        if not enforce:
            outcome.pending = changes
            return
        alone = tuple(change for change in changes if change.tunable in card.held)
        changes = tuple(change for change in changes if change.tunable not in card.held)
        look_beside(card, changes, asked)
        if entry := baseline.enter(card.nic, *to_record(card, changes, outcome.scope)):
            try:
                yield
            except GeneratorExit:  # dropped: another card's save is not to put it on record
                entry.withdrawn = True
                raise
            baseline.save(entry)
            card.know(baseline)
        if card.unrecorded and not expected:
            expected = True
            card.aim_again()
            continue
        outcome.pending = (*alone, *(repairs.held(changes) if repairs else ()))
        changes = tuple(change for change in changes if change not in outcome.pending)
        if not changes:
            # While it may be rolled back, what was there before netuned is still needed.
            if outcome.scope is None and not (outcome.pending or card.awaited or recorder):
                outcome.settled = True
                _settle(card, baseline, outcome)
            if outcome.unrestored:
                outcome.settled = True
                outcome.failed, error = outcome.unrestored[0]
                raise error
            return
        known = len(outcome.made)
        try:
            judged = tuple(c for c in changes if repairs is None or _is_short(card, c))
            if _accept(card, baseline, judged, attempts, outcome):
                card.aim_again()  # fewer channels than wanted have fewer queues
                continue
            if recorder:
                recorder(card, changes)
            check_here(card.kernel, card.nic)  # to save what was found took a while
            stale = write(card, changes, asked, repairs, outcome)
        except NetunedError as error:
            stale = _go_on_without(card, error, outcome)
        if card.outplanned:
            return
        _count(card, changes, outcome.made[known:], attempts)
        if stale == CARD:
            outcome.scope = None
            card.refresh()
            card.aim_again()
    if repairs:  # somebody is as quick: what is left differs again, and the next look sees it
        outcome.pending += changes
        return
    raise VerifyError("the card", "a settled state", "new differences in every round")


def _go_on_without(card: Card, error: NetunedError, outcome: Outcome) -> str:
    """Leave a setting as it is that could not be put back, for that keeps no other from it.

    Returns what the try made stale. Raises: the error, where it is of anything else.
    """
    change = outcome.failed
    gone = isinstance(error, KernelError) and error.gone
    if change is None or gone or (change.tunable, change.key) not in card.restoring:
        raise error
    outcome.failed = None
    outcome.unrestored.append((change, error))
    return card.tunables[change.tunable].stale(change.key)


def _unrestored(card: Card, changes: Iterable[Setting], outcome: Outcome) -> set[Setting]:
    """Of settings, those that could not be put back in this pass, and those that need one."""
    failed = {(change.tunable, change.key) for change, _ in outcome.unrestored}
    return {
        at
        for at in changes
        if at in failed or failed.intersection(card.tunables[at[0]].needs(at[1]))
    }


def _without_unrestored(
    card: Card, changes: tuple[Change, ...], outcome: Outcome
) -> tuple[Change, ...]:
    left_out = _unrestored(card, ((c.tunable, c.key) for c in changes), outcome)
    return tuple(c for c in changes if (c.tunable, c.key) not in left_out)


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
        ignored = ignored and not _is_short(card, change)
        if had.times >= (1 if change.disruptive else 2) and not ignored and card.accept(change):
            (outcome.believed if change.disruptive else outcome.taken).add(change.tunable)
            taken = True
            continue
        if pending.intersection(tunable.needs(change.key)):
            continue  # what it needs is written before it
        if had.times < (1 if unchanged and change.disruptive else ATTEMPTS):
            continue
        alike = unchanged or (tunable.by_key and change.before == had.last)
        if alike and not card.takes(change):  # else somebody else writes it each time
            of = "" if unchanged else f" of {change.after}"
            does = "takes it and keeps" if unchanged else "makes"
            maker = "kernel" if card.nic is HOST else "driver"
            card.give_up(change, f"the {maker} {does} {change.before}{of}")
            (outcome.believed if change.disruptive else outcome.taken).add(change.tunable)
            taken = True
        else:
            outcome.failed = change
            setting = f"{change.tunable} {change.key}".rstrip()
            raise VerifyError(setting, str(change.after), str(change.before))
    return taken


def _is_short(card: Card, change: Change) -> bool:
    """Whether a value that was read back would be less than was wanted, and all that can be had."""
    before, short = change.before, card.tunables[change.tunable].short
    return before is not None and bool(short(change.key, change.after, before))


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


def _settle(card: Card, baseline: Baseline, outcome: Outcome) -> None:
    """After a clean look at everything: what was restored needs no record any more.

    Raises: StateFileError.
    """
    if not card.restoring:
        return
    withheld = {(change.tunable, change.key) for change in card.withheld} | card.waiting
    done = {
        (name, key)
        for name, key in card.restoring - withheld - _unrestored(card, card.restoring, outcome)
        if name not in card.held and not withheld.intersection(card.tunables[name].needs(key))
    }
    recorded = baseline.of(card.nic)
    missed = {
        (name, key): why
        for (name, key), (value, why) in card.verdicts.refused.items()
        if (name, key) in done and recorded.get(name, {}).get(key) == value
    }
    missed |= {at: card.unsupported.get(at[0], "") for at in done if at[0] not in card.found}
    missed |= {
        at: why
        for at, pair in card.verdicts.accepted.items()
        if at in done and (why := card.tunables[at[0]].short(at[1], *pair))
    }
    missed |= {at: why for at, why in card.barred.items() if at in done - card.left}
    for name, why in {name: why for (name, _), why in missed.items()}.items():
        fields = {"kind": FAILURE, "ifname": card.nic.name, "tunable": name, "cause": why}
        label = card.nic.label
        log.warning("Cannot put back %s %s: %s, keeping its record", label, name, why, extra=fields)
    # A parameter of what is not attached now is needed once that is again, and what was a queue's
    # once that is open again: it is, when what ended it is put back. So is what the kernel made for
    # the queues that are open.
    structure = any(
        card.tunables[name].stale(key) == CARD and (name, key) not in done
        for name, state in recorded.items()
        for key in state
    )
    dormant = {
        (name, key)
        for name, key in done - missed.keys()
        if recorded.get(name, {}).get(key) is not ABSENT
        and (
            (structure and card.tunables[name].outlasts(key))
            if key in card.found[name]
            else (card.is_asked(name) or (structure and card.tunables[name].ends_with))
        )
    }
    baseline.forget(card.nic, done - missed.keys() - dormant)
    card.settle(frozenset(done))
