"""Pure: what must change on one card, and in which order.

Order is that of the tunables but for one case that depends on values: where a change ends what
others still name (channels that shrink end queues, a context goes), those leave it first.
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
    ordered = list(tunables)
    for tunable in tunables:
        name = tunable.name
        if tunable.yields(wanted.get(name, NOTHING), found.get(name, NOTHING)):
            leaving = [other for other in ordered if name in other.leaves]
            ordered = [other for other in ordered if name not in other.leaves]
            at = ordered.index(tunable)
            ordered[at:at] = leaving
    return ordered
