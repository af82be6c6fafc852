"""What was there before a card's changes: what goes on record, and what they take along.

Everything here blocks and runs in a worker thread, one at a time per card.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from netuned.errors import UnsupportedError
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.reconcile.card import Card
from netuned.tunables.base import Queue
from netuned.values import ABSENT, State


def look_beside(card: Card, changes: Iterable[Change], asked: Once | None = None) -> None:
    """Read what changes take along though nobody wants it set. Raises: KernelError.

    Queues that are to go again came by netuned, and what is as it comes needs no reading.
    """
    beside: dict[str, State] = {}
    card.beside = beside
    made = (c for c in changes if (c.tunable, c.key) not in card.restoring)
    ends = (card.tunables[c.tunable].closes(c.before, c.after) for c in made)
    if queues := frozenset[Queue]().union(*ends):
        sets = {
            name
            for name, state in card.wanted.items()
            if name not in card.held and any((name, key) not in card.restoring for key in state)
        }
        for name, tunable in card.tunables.items():
            if name in sets or tunable.ends_with is None:
                continue
            try:
                state = _of_queues(card, name, tunable.read(card.view(asked)), queues)
            except UnsupportedError:
                continue
            if lost := {k: value for k, value in state.items() if value != tunable.fresh}:
                beside[name] = lost


def _of_queues(card: Card, name: str, state: State, queues: Collection[Queue]) -> State:
    ends_with = card.tunables[name].ends_with
    return {key: v for key, v in state.items() if ends_with and ends_with(key) in queues}


def taken_along(card: Card, change: Change) -> Iterator[tuple[str, State]]:
    """By tunable the settings whose values a change takes away, whoever set them."""
    found, tunable = {**card.beside, **card.found}, card.tunables[change.tunable]
    state = found[tunable.name]
    yield tunable.name, {key: state[key] for key in tunable.loses(state, change.key)}
    if queues := tunable.closes(change.before, change.after):
        for name, state in found.items():
            yield name, _of_queues(card, name, state, queues)


def to_record(
    card: Card, changes: Iterable[Change], scope: frozenset[str] | None = None
) -> tuple[dict[str, State], dict[str, State]]:
    """What is on record before netuned writes: what was found, and what is wanted of it.

    Of ``scope`` alone, if given: of the rest nothing is known that was not at an earlier look.

    All that a profile names, not only what is about to be written: what somebody else changes
    later, and netuned then repairs, was never the state before netuned. With it what these
    changes take along. What is withheld, or barred, was never netuned's.
    """
    withheld = {(c.tunable, c.key) for c in card.withheld} | card.barred.keys()
    lost: dict[str, set[str]] = {}
    changes = tuple(changes)
    changed = {(change.tunable, change.key) for change in changes}
    found: dict[str, State] = dict(card.beside)
    for change in changes:
        for name, taken in taken_along(card, change):
            lost.setdefault(name, set()).update(taken)
            if card.tunables[change.tunable].outlasts(change.key):  # made anew in steps
                found[name] = {**found.get(name, {}), **taken}
    wanted: dict[str, State] = {}
    for name, state in card.wanted.items():
        if name in card.held or name not in card.found:
            continue
        if scope is not None and name not in scope:
            continue
        allows = card.tunables[name].allows
        own = {
            key: value
            for key, value in state.items()
            if (name, key) not in card.restoring and ((name, key) in changed or not allows(value))
        }
        boot = {key for other, key in card.unrecorded if other == name}
        if not own and not boot:
            continue
        if not card.tunables[name].by_key:  # queues that end take theirs with them
            lost.setdefault(name, set()).update(card.found[name])
        keys = (own.keys() | lost.get(name, set()) | boot) - {
            key for other, key in withheld if other == name
        }
        found[name] = {key: v for key, v in card.found[name].items() if key in keys}
        wanted[name] = {key: value for key, value in own.items() if key in keys}
    return found, wanted


def found_before(card: Card) -> dict[str, State]:
    """What a rollback goes back to: what was found of all that is wanted, absent rules too.

    Of keys that come and go, by whomever, those that are wanted alone.
    """
    before: dict[str, State] = dict(card.beside)
    for name in card.wanted.keys() & card.found.keys():
        tunable, found = card.tunables[name], card.found[name]
        missing: Iterable[str] = ()
        if tunable.fresh is ABSENT:
            missing = card.wanted[name].keys() - found.keys()
            found = {key: found[key] for key in found.keys() & card.wanted[name].keys()}
        state = {key: tunable.recorded(card.nic, value) for key, value in found.items()}
        before[name] = {**state, **dict.fromkeys(missing, ABSENT)}
    return before
