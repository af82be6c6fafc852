"""Receive flow steering: packets go to the CPU on which the application reads their flow.

A flow's CPU stands in the host's table, which all cards share (:mod:`netuned.tunables.flows`).
Each receive queue has a table of its own beside it, set here, so that packets are not reordered
when the application moves. Without the host's table those of the queues do nothing, and without
those the host's steers nothing. A queue's table goes with its queue when channels change; a change
of the RSS table leaves it alone.

Source: Documentation/networking/scaling.rst, "RFS Configuration".
"""

from __future__ import annotations

from collections.abc import Iterator

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.profiles.profile import Profile
from netuned.profiles.rss import ContextSpec, RssSpec
from netuned.tunables import masks
from netuned.tunables.base import (
    NO_LIMITS,
    NOT_ASKED,
    Limits,
    Seen,
    Target,
    Tunable,
    View,
    Words,
    Writers,
)
from netuned.values import FlowTable, State, Value

NAME = "rfs"
FILE = "rps_flow_cnt"
HOST_FILE = "/proc/sys/net/core/rps_sock_flow_entries"

AUTO_FLOWS = 32768
"""The kernel document's value for a moderately busy server."""

OFF = FlowTable(0)


def limits(view: View) -> Limits:
    """None, where there is what makes them useful. Raises: UnsupportedError."""
    if not view.kernel.files.exists(HOST_FILE):
        raise UnsupportedError(
            NAME,
            "the host's table of flows (net.core.rps_sock_flow_entries) is not here: Linux has it "
            "in the first network namespace only, and the queues' do nothing without it",
        )
    return NO_LIMITS


def read(view: View) -> State:
    keys, paths = masks.queue_files("rx", view.nic.rx_queues, FILE)
    return masks.read(view, keys, paths, parse)


def parse(content: bytes) -> FlowTable:
    """The number in a file of a flow table. Raises: KernelError when it is none."""
    return FlowTable(masks.number(content, "flow table"))


def host_table(profile: Profile) -> FlowTable:
    """What a profile asks of the host's table; empty where it asks for nothing."""
    spec = profile.rfs
    if spec is None or spec == "default" or spec.entries == "none":
        return OFF
    return FlowTable.holding(AUTO_FLOWS if spec.entries == "auto" else spec.entries)


def within(key: str, wanted: Value, found: Value) -> bool:
    """Tables are rounded up to a power of two."""
    assert isinstance(wanted, FlowTable)
    assert isinstance(found, FlowTable)
    return found == FlowTable.holding(wanted.entries)


def receiving(target: Target, nic: Nic) -> frozenset[int]:
    """The receive queues that hashing spreads packets over, in RSS contexts as well."""
    count = target.queues(nic).rx_queues
    if nic.rss_queues < nic.rx_queues:  # ixgbe and others reach fewer queues than they open
        count = min(count, nic.rss_queues)
    spec = target.profile.rss
    if spec is None or spec == "default" or spec.queues is None:
        return frozenset(range(count))
    tables: tuple[RssSpec | ContextSpec, ...] = (spec, *spec.contexts.values())
    reached: set[int] = set()
    for table in tables:
        queues = table.queues if isinstance(table.queues, tuple) else tuple(range(count))
        weights = (1,) * len(queues) if table.weights == "equal" else table.weights
        weighted = zip(queues, weights, strict=False)  # where they do not fit, it is unsupported
        reached |= {queue for queue, weight in weighted if weight and queue < count}
    return frozenset(reached)


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    """The host's flows, shared out over the queues that receive; none for the others."""
    keys, _ = masks.queue_files("rx", target.queues(nic).rx_queues, FILE)
    flows = host_table(target.profile).entries
    sharing = receiving(target, nic)
    each = FlowTable.holding(-(-flows // max(len(sharing), 1)))
    return {key: each if queue in sharing else OFF for queue, key in enumerate(keys)}


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        assert isinstance(value, FlowTable)
        view.files.write(masks.path(key, FILE), str(value.entries).encode())


def why(target: Target, nic: Nic, key: str) -> str:
    host, sharing = host_table(target.profile), receiving(target, nic)
    if host == OFF:
        return "off" if target.profile.rfs else NOT_ASKED
    if int(key.removeprefix("rx-")) not in sharing:
        return "no packets come here by hash"
    return f"{host} of the host over {len(sharing)} receiving queues"


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    return masks.explained(state, f"rx-{queue}")


def captured(seen: Seen) -> Iterator[Words]:
    flows = sum(table.entries for table in seen.state.values() if isinstance(table, FlowTable))
    if flows:
        yield {"entries": "auto"}
        yield {"entries": flows}
    elif seen.whole:
        yield {"entries": "none"}


RFS = Tunable(
    name=NAME,
    holds=(FlowTable,),
    accepts=masks.queue_key(masks.RX),
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=limits,
    fresh=OFF,
    ends_with=masks.ends_with,
    within=within,
    captured=captured,
    watched=masks.watched(masks.RX, FILE),
    writers=Writers(
        files=masks.ending(FILE),
        tuned=frozenset({"sysctl.net.core.rps_sock_flow_entries"}),
        bpftune=True,
    ),
    explained=explained,
)
