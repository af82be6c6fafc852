"""Pure: what must change on one card, and in which order.

Order is that of the tunables but for two cases that depend on values: where a change ends what
others still name (channels that shrink end queues, a context goes), those leave it first; and one
that another needs (header split the card's own GRO, flow rules ntuple filters) is made before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netuned.plan import Change
from netuned.tunables import TUNABLES, Tunable
from netuned.values import ABSENT, State

NOTHING: State = {}


def diff(
    ifname: str,
    wanted: Mapping[str, State],
    found: Mapping[str, State],
    why: Callable[[str, str], str],
    tunables: Sequence[Tunable] = TUNABLES,
) -> tuple[Change, ...]:
    """The changes that turn ``found`` into ``wanted``; both are tunable -> State.

    A tunable that is absent from ``wanted`` or ``found`` is not compared.
    """
    changes: list[Change] = []
    for tunable in _ordered(tunables, wanted, found):
        state, has = wanted.get(tunable.name), found.get(tunable.name)
        if state is None or has is None or state is has:
            continue
        instead = tunable.instead(state, has)
        for key, value in state.items():
            before = has.get(key)
            if before is None:
                if value == tunable.fresh:
                    continue  # as it comes: an empty mask of a new queue, a rule that is not there
                before = instead.get(key, ABSENT if tunable.fresh is ABSENT else None)
            elif before is value or tunable.same(key, state, has):
                continue
            disruptive = tunable.disruptive(key, before, value)
            reason = why(tunable.name, key)
            changes.append(Change(ifname, tunable.name, key, before, value, reason, disruptive))
    return tuple(changes)


def _ordered(
    tunables: Sequence[Tunable], wanted: Mapping[str, State], found: Mapping[str, State]
) -> Sequence[Tunable]:
    changing = [
        (tunable, wanted[tunable.name], found.get(tunable.name, NOTHING))
        for tunable in tunables
        if tunable.name in wanted
    ]
    order = list(tunables)
    for tunable, state, has in changing:
        if tunable.yields(state, has):
            leaving = [other for other in order if tunable.name in other.leaves]
            order = [other for other in order if tunable.name not in other.leaves]
            at = [one is tunable for one in order].index(True)
            order[at:at] = leaving
    for tunable, state, has in changing:
        if others := tunable.precedes(state, has):
            at = [one is tunable or one.name in others for one in order].index(True)
            order = [one for one in order if one is not tunable]
            order.insert(at, tunable)
    return order
