"""How many channels a card has open.

Source: ethtool(8) -L; Documentation/networking/ethtool-netlink.rst, CHANNELS_SET.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX, TX
from netuned.kernel import Kernel, questions
from netuned.tunables.base import (
    CARD,
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
from netuned.values import ChannelCounts, State, Value

NAME = "channels"
REFUSALS = (errno.EBUSY, errno.EPERM, errno.ENOSPC, errno.ERANGE)


def read(view: View) -> State:
    found = view.ask(questions.CHANNELS)
    counts = ChannelCounts(found.rx, found.tx, found.combined)
    return view.kept.same(NAME, counts, lambda counts: {"": counts})


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    if target.no_channels:
        raise UnsupportedError(NAME, target.no_channels)
    wanted = target.withheld or target.channels
    if wanted is None:
        raise UnsupportedError(NAME, f"the driver {nic.driver} has a fixed number of queues")
    if why := nic.why_not(wanted):
        raise UnsupportedError(NAME, why)
    return {"": wanted}


def write(view: View, found: State, values: State) -> None:
    value, before = values[""], found.get("")
    assert isinstance(value, ChannelCounts)

    def changed(name: str) -> int | None:
        wanted: int = getattr(value, name)
        return wanted if getattr(before, name, None) != wanted else None

    counts = {name: changed(name) for name in ("rx", "tx", "combined")}
    sent = {name: count for name, count in counts.items() if count is not None}
    view.kernel.set(questions.CHANNELS, view.nic.ifindex, sent)


def declines(error: KernelError) -> bool:
    """EINVAL is of these counts, now: an AF_XDP socket, a table or a rule uses a queue that goes.

    EBUSY without a word is most often a driver that resets the card, and over the next moment.
    """
    return error.errno == errno.EINVAL or (bool(error.extack) and error.errno in REFUSALS)


def within(key: str, wanted: Value, found: Value) -> bool:
    """Drivers that open a power of two, or as many as they get interrupts for, round down."""
    assert isinstance(wanted, ChannelCounts)
    assert isinstance(found, ChannelCounts)
    pairs = ((found.rx, wanted.rx), (found.tx, wanted.tx), (found.combined, wanted.combined))
    return all(has <= asked < 2 * has or has == asked == 0 for has, asked in pairs)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.channels
    if spec is None:
        return NOT_ASKED
    counts = (spec.combined, spec.rx, spec.tx)
    if "auto" in counts:
        most = nic.channels.combined_max or nic.channels.rx_max if nic.channels else 0
        return f"auto: one per CPU of {target.pool}, the card has at most {most}"
    return "max: all that the card has" if "max" in counts else "the profile's number"


def shrinks(wanted: State, found: State) -> bool:
    """Whether receive queues end: the kernel ends none that the RSS table still names."""
    after, before = wanted.get(""), found.get("")
    return (
        isinstance(after, ChannelCounts)
        and isinstance(before, ChannelCounts)
        and after.rx_queues < before.rx_queues
    )


def closes(before: Value | None, after: Value) -> frozenset[Queue]:
    """What is set of these queues (masks, tables of flows, affinities) is gone when they end."""
    assert isinstance(after, ChannelCounts)
    if not isinstance(before, ChannelCounts):
        return frozenset()
    receive = ((RX, queue) for queue in range(after.rx_queues, before.rx_queues))
    transmit = ((TX, queue) for queue in range(after.tx_queues, before.tx_queues))
    return frozenset([*receive, *transmit])


def learn(kernel: Kernel, nic: Nic, key: str, value: Value, why: str) -> Nic:
    """That these counts were refused is a fact of the card, to plan with until they are tried."""
    assert isinstance(value, ChannelCounts)
    return replace(nic, kept=why, refused=value)


def stands(target: Target, nic: Nic, value: Value | None) -> Target:
    """The rest is for the queues that there are."""
    assert value is None or isinstance(value, ChannelCounts)
    return replace(target, channels=value or nic.open_counts)


def captured(seen: Seen) -> Iterator[Words]:
    """As many as are open, where a driver would not open one for each CPU by itself."""
    found, has = seen.state[""], seen.nic.channels
    assert isinstance(found, ChannelCounts)
    counts = {key: getattr(found, key) for key in ("rx", "tx", "combined")}
    said = {key: count for key, count in counts.items() if count}
    usual = has is not None and said == {"combined": min(has.combined_max, seen.cpus)}
    if said and (seen.whole or not usual):
        yield said


CHANNELS = Tunable(
    name=NAME,
    holds=(ChannelCounts,),
    read=read,
    write=write,
    desired=desired,
    why=why,
    learn=learn,
    within=within,
    declines=declines,
    disruptive=lambda key, before, after: True,
    stale=lambda key: CARD,
    yields=shrinks,
    closes=closes,
    ground=lambda key, before, after, bound, found: bound.keys() & closes(before, after),
    stands=stands,
    captured=captured,
    events=frozenset({"channels"}),
    writers=Writers(
        hint="look for `ethtool -L` in scripts and timers",
        link={"RxChannels": "rx", "TxChannels": "tx", "CombinedChannels": "combined"},
        tuned=frozenset({"net.channels"}),
        network_manager=("ethtool.channels-*",),
        google=True,
    ),
)
