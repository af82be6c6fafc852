"""The RSS indirection table: which receive queue a hash value goes to.

Source: Documentation/networking/scaling.rst, "RSS Configuration"; ethtool(8) -X.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel.netdev import Bound
from netuned.kernel.questions import RSS_TABLE, RX_RINGS
from netuned.text import counted
from netuned.tunables import channels
from netuned.tunables.base import (
    NOT_ASKED,
    Limits,
    Queue,
    Seen,
    Target,
    Tunable,
    View,
    Words,
    Writers,
)
from netuned.values import ChannelCounts, RssTable, State, Value

NAME = "rss"
ENTRIES = "entries"
"""Of the limits: how many the table has; 0 without one."""


def read(view: View) -> State:
    entries = view.ask(RSS_TABLE)
    return view.kept.same(NAME, entries, lambda entries: {"": RssTable(entries)})


def limits(view: View) -> Limits:
    try:
        return {ENTRIES: len(view.ask(RSS_TABLE))}
    except UnsupportedError:
        return {ENTRIES: 0}


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    spec = target.profile.rss
    assert spec is not None
    if not limits[ENTRIES]:
        raise UnsupportedError(NAME, f"the driver {nic.driver} has no indirection table")
    if spec == "default":
        return {"": RssTable((), _reachable(target, nic))}
    assert spec.queues is not None
    return {"": table_of(target, nic, spec.queues, spec.weights, limits[ENTRIES])}


def _reachable(target: Target, nic: Nic) -> int:
    reachable = target.queues(nic).rx_queues
    if nic.rss_queues < nic.rx_queues:  # ixgbe and others reach fewer queues than they open
        reachable = min(reachable, nic.rss_queues)
    return reachable


def table_of(
    target: Target,
    nic: Nic,
    said: str | tuple[int, ...],
    shares: str | tuple[int, ...],
    entries: int,
) -> RssTable:
    """The table that gives queues (or ``all``) these weights (or ``equal`` ones).

    Raises: UnsupportedError.
    """
    reachable = _reachable(target, nic)
    queues = said if isinstance(said, tuple) else tuple(range(reachable))
    beyond = [queue for queue in queues if queue >= reachable]
    if beyond:
        raise UnsupportedError(
            NAME, f"the profile names queue {beyond[0]}, the card reaches queues 0-{reachable - 1}"
        )
    weights = shares if isinstance(shares, tuple) else (1,) * len(queues)
    if len(weights) != len(queues):
        raise UnsupportedError(
            NAME,
            f"the profile gives {counted(len(weights), 'weight')} "
            f"for {counted(len(queues), 'queue')}",
        )
    return RssTable(spread(queues, weights, entries))


@lru_cache(maxsize=64)  # a host's cards are mostly alike, and each is asked in every pass
def spread(queues: tuple[int, ...], weights: tuple[int, ...], entries: int) -> tuple[int, ...]:
    """Deal ``entries`` table slots to ``queues`` in proportion to ``weights``, interleaved.

    Each queue's share is exact but for rounding, and at least one slot where there are enough.
    Equal weights give 0, 1, 2, … repeating, as the kernel's default does.
    """
    shares = _shares(weights, entries)
    credit = [0] * len(queues)
    table = []
    for _ in range(entries):
        for index, share in enumerate(shares):
            credit[index] += share
        best = max(range(len(queues)), key=credit.__getitem__)
        credit[best] -= entries
        table.append(queues[best])
    return tuple(table)


def _shares(weights: Sequence[int], entries: int) -> list[int]:
    """Whole shares that add up to ``entries``: rounded down, the rest by largest remainder."""
    total = sum(weights)
    shares = [max(entries * weight // total, 1) if weight else 0 for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda index: -(entries * weights[index] % total)
    )
    for index in by_remainder[: max(entries - sum(shares), 0)]:
        shares[index] += 1
    while sum(shares) > entries:  # the slots that the least got come from the largest share
        most = max(shares)
        shares[max(index for index, share in enumerate(shares) if share == most)] -= 1
    return shares


def write(view: View, found: State, values: State) -> None:
    value = values[""]
    assert isinstance(value, RssTable)
    ifindex, entries = view.nic.ifindex, value.entries
    if entries and value.even_over == view.ask(RX_RINGS):
        # what is the kernel's own is written as that: a table of somebody's it keeps, and refuses
        # fewer channels as long as that uses them, even when netuned has left
        entries = ()
    view.kernel.ethtool_netlink.set_rss_table(ifindex, entries)


def same(key: str, wanted: State, found: State) -> bool:
    """Equal shares are the same whatever their order (igb fills its table in blocks).

    Nothing tells whether a table is the kernel's own; one even over all queues counts as it.
    """
    asked, has = wanted[key], found[key]
    assert isinstance(asked, RssTable)
    assert isinstance(has, RssTable)
    if not asked.entries:
        return has.even_over == asked.queues
    return asked == has or (len(asked.entries) == len(has.entries) and asked.shares == has.shares)


def within(key: str, wanted: Value, found: Value) -> bool:
    """A driver that keeps fewer entries than it says deals them out by the same shares."""
    assert isinstance(wanted, RssTable)
    assert isinstance(found, RssTable)
    asked, has = Counter(wanted.entries), Counter(found.entries)
    size, kept = len(wanted.entries), len(found.entries)
    return asked.keys() == has.keys() and all(
        abs(has[queue] * size - asked[queue] * kept) <= max(size, kept) for queue in asked
    )


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.rss
    if spec is None or (spec != "default" and spec.queues is None):
        return NOT_ASKED
    if spec == "default":
        return "the kernel's own table"
    assert spec.queues is not None
    queues = "all queues" if spec.queues == "all" else counted(len(spec.queues), "queue")
    return f"{queues}, {'equal shares' if spec.weights == 'equal' else 'weighted'}"


def recorded(nic: Nic, value: Value) -> Value:
    """A table that is even over all queues is the kernel's, not a fixed list.

    So is one of zeros of a card that was never up: some drivers fill it then (igb_setup_mrqc()).
    """
    if not isinstance(value, RssTable):
        return value
    unfilled = not nic.opened and value.even_over == 1
    return RssTable((), nic.rss_queues) if unfilled or value.even_over == nic.rss_queues else value


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """A queue that comes into the table has others' packets come to what is bound to it.

    One that leaves it keeps what rules lead there, and what was hashed there goes elsewhere.
    """
    coming = named(after) - named(before)
    if isinstance(after, RssTable) and not after.entries:  # the driver's own is over all queues
        counts = found.get(channels.NAME, {}).get("")
        opened = counts.rx_queues if isinstance(counts, ChannelCounts) else after.queues
        coming = set(range(opened)) - named(before)
    return ((role, queue) for role, queue in bound if role == RX and queue in coming)


def named(table: Value | None) -> set[int]:
    """The queues that a table has."""
    if not isinstance(table, RssTable):
        return set()
    return set(table.entries or range(table.queues))


def fits(states: Mapping[str, State]) -> bool:
    """The kernel ends no queue that the table names, and takes no table that names others."""
    table = states.get(NAME, {}).get("")
    counts = states.get(channels.NAME, {}).get("")
    if not isinstance(counts, ChannelCounts) or not isinstance(table, RssTable):
        return True
    return max(table.entries, default=0) < counts.rx_queues


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    """A receive queue's part of the table: its entries; of the kernel's table nobody says them."""
    table = state[""]
    assert isinstance(table, RssTable)
    if not table.entries:
        return "", *(("its share", None) if queue < table.queues else ("none", 0))
    count = table.entries.count(queue)
    return "", f"{count or 'none'} of {counted(len(table.entries), 'entry', 'entries')}", count


def captured(seen: Seen) -> Iterator[Words]:
    table = seen.state[""]
    assert isinstance(table, RssTable)
    if recorded(seen.nic, table) != table and not seen.whole:
        return
    said = words_of(table)
    yield said | {"queues": "all"} if table.even_over == seen.nic.rss_queues else said


def words_of(table: RssTable) -> dict[str, object]:
    """What a profile says of queues and weights so that such a table comes of it."""
    shares = dict(sorted(table.shares.items()))
    queues = str(CpuSet.of(shares)) if len(shares) > 1 else list(shares)
    if set(shares.values()) == {1}:
        return {"queues": queues}
    least = math.gcd(*shares.values())
    return {"queues": queues, "weights": [share // least for share in shares.values()]}


RSS = Tunable(
    name=NAME,
    holds=(RssTable,),
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=limits,
    section=lambda profile: getattr(profile.rss, "queues", profile.rss),
    same=same,
    within=within,
    recorded=recorded,
    needs=lambda key: ((channels.NAME, ""),),
    leaves=(channels.NAME,),
    captured=captured,
    fits=fits,
    ground=ground,
    events=frozenset({"rss"}),
    silent=lambda kernel: not kernel.ethtool_netlink.tells_of_rss(),
    writers=Writers(hint="look for `ethtool -X` in scripts and timers"),
    explained=explained,
    receives=True,
)
