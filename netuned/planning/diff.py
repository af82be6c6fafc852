"""Pure: what must change on one card, and in which order.

Order is that of ``TUNABLES`` but for one case that depends on values: when channels shrink, the
RSS table leaves the dying queues first, because the kernel refuses to end a queue it still names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netuned.cpuset import CpuSet
from netuned.plan import Change
from netuned.tunables import TUNABLES
from netuned.values import ChannelCounts, FlowTable, State


def diff(
    ifname: str,
    wanted: Mapping[str, State],
    found: Mapping[str, State],
    why: Callable[[str, str], str],
) -> tuple[Change, ...]:
    """The changes that turn ``found`` into ``wanted``; both are tunable -> State.

    A tunable that is absent from ``wanted`` or ``found`` is not compared.
    """
    names = [tunable.NAME for tunable in TUNABLES]
    if _shrinks(wanted, found):
        names.remove("rss")
        names.insert(0, "rss")
    order = {name: index for index, name in enumerate(names)}
    changes: list[Change] = []
    for tunable in sorted(TUNABLES, key=lambda tunable: order[tunable.NAME]):
        state, has = wanted.get(tunable.NAME), found.get(tunable.NAME)
        if state is None or has is None or state is has:
            continue
        for key, value in state.items():
            before = has.get(key)
            if before is not None and (before is value or tunable.same(key, state, has)):
                continue
            if before is None and value in (CpuSet(), FlowTable(0)):
                continue  # a queue to come starts with an empty mask and table
            reason = why(tunable.NAME, key)
            changes.append(
                Change(ifname, tunable.NAME, key, before, value, reason, tunable.disruptive(key))
            )
    return tuple(changes)


def _shrinks(wanted: Mapping[str, State], found: Mapping[str, State]) -> bool:
    after = wanted.get("channels", {}).get("")
    before = found.get("channels", {}).get("")
    return (
        isinstance(after, ChannelCounts)
        and isinstance(before, ChannelCounts)
        and after.rx_queues < before.rx_queues
    )
