"""The questions netuned asks the kernel of its cards. One that is added here is everywhere.

``Kernel`` asks them, a snapshot records and answers them, and the fuzz targets ask all of
``QUESTIONS``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import messages
from netuned.kernel.contexts import ContextTable
from netuned.kernel.ethtool import NO_OPERATION, Channels, DriverInfo, Ethtool
from netuned.kernel.forms import (
    NUMBERS,
    TABLE,
    WHOLE,
    Form,
    Pool,
    index,
    items,
    mapping,
    record,
    whole,
)
from netuned.kernel.genl import EthtoolNetlink, Numbers
from netuned.kernel.hashing import FLOWS, Hashing
from netuned.kernel.linkinfo import LinkInfo, xdp_programs
from netuned.kernel.linknumbers import LinkNumbers
from netuned.kernel.messages import Message
from netuned.kernel.netdev import DMABUF, IO_URING, XSK, Bound, NetdevNetlink
from netuned.kernel.rtnl import QdiscEntry, Rtnl
from netuned.kernel.rules import RuleTable
from netuned.records import dataclass
from netuned.values import FlowRule, HashKey

A = TypeVar("A")

QueueInterrupts = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Sockets:
    """What a kernel is asked through."""

    ethtool: Ethtool
    ethtool_netlink: EthtoolNetlink
    netdev: NetdevNetlink
    rtnl: Rtnl
    link_numbers: LinkNumbers


@dataclass(frozen=True, slots=True)
class Question(Generic[A]):
    """Something that is asked of a card: how, and what the answer is in a snapshot.

    ``name`` is its key in a snapshot, ``what`` its name in messages. ``ask`` asks for one card;
    None where the kernel only tells of all. ``ask_all`` asks for all cards in one request; None
    where the kernel has no such request. ``absent`` is what one card answers that such a request
    leaves out. All of them raise: UnsupportedError, KernelError.
    """

    name: str
    what: str
    form: Form[A]
    ask: Callable[[Sockets, int], A] | None
    ask_all: Callable[[Sockets], Mapping[int, A]] | None
    absent: Callable[[int], A]

    @property
    def dumps(self) -> bool:
        """Whether one request asks for all cards."""
        return self.ask_all is not None


@dataclass(frozen=True, slots=True)
class Setting(Question[A]):
    """A question whose answer can be set: ``write`` sets some of its numbers in one message."""

    write: Callable[[Sockets, int, Numbers], None]


def unsupported(what: str, why: str = NO_OPERATION) -> Callable[[int], Any]:
    """For cards that have none of it. The function raises: UnsupportedError."""

    def absent(ifindex: int) -> Any:
        raise UnsupportedError(what, why)

    return absent


def _numbers(message: Message, name: str) -> Setting[Numbers]:
    """Settings that are numbers by ethtool's names, as a message of the ethtool family has them."""
    return Setting(
        name,
        name,
        NUMBERS,
        ask=lambda sockets, ifindex: sockets.ethtool_netlink.get(message, name, ifindex),
        ask_all=lambda sockets: sockets.ethtool_netlink.dump(message, name),
        absent=unsupported(name),
        write=lambda sockets, ifindex, values: sockets.ethtool_netlink.set(
            message, name, ifindex, values
        ),
    )


def _all_channels(sockets: Sockets) -> Mapping[int, Channels]:
    told = sockets.ethtool_netlink.dump(messages.CHANNELS, "channels")
    kinds = ("rx", "tx", "other", "combined")
    return {
        ifindex: Channels(
            *(counts.get(kind, 0) for kind in kinds),
            *(counts.get(f"{kind}-max", 0) for kind in kinds),
        )
        for ifindex, counts in told.items()
    }


def _all_xdp(sockets: Sockets) -> Mapping[int, Numbers]:
    programs = xdp_programs(sockets.rtnl.link_messages())
    try:
        zero_copy = sockets.netdev.zero_copy()
    except UnsupportedError:
        zero_copy = {}
    return {
        ifindex: {"program": program}
        | ({"zero-copy": int(zero_copy[ifindex])} if ifindex in zero_copy else {})
        for ifindex, program in programs.items()
    }


def _by_queue(read: Callable[[Any, str], A]) -> Form[Mapping[tuple[str, int], A]]:
    """A value of each queue; ``read`` takes it and what to call it."""

    def write(found: Mapping[tuple[str, int], A], _: Pool) -> dict[str, A]:
        return {f"{kind}-{queue}": value for (kind, queue), value in found.items()}

    def read_all(data: Any, what: str, _: Pool) -> Mapping[tuple[str, int], A]:
        found = {}
        for key, value in mapping(data, what).items():
            kind, _dash, queue = key.rpartition("-")
            if kind not in ("rx", "tx"):
                raise ValueError(f"{what}: {key!r} is not a queue")
            found[kind, index(queue)] = read(value, what)
        return found

    return Form(write, read_all)


def _read_bound(data: Any, what: str) -> str:
    kind, _, number = data.partition(" ") if type(data) is str else ("", "", "")
    if kind not in (XSK, IO_URING, DMABUF) or (kind == DMABUF) is not bool(number):
        raise ValueError(f"{what}: {str(data)[:20]!r} is nothing that is bound to a queue")
    return str(data)


def _write_qdiscs(entries: tuple[QdiscEntry, ...], pool: Pool) -> list[list[Any]]:
    return [[e.kind, e.handle, e.parent, pool.put(e.parameters)] for e in entries]


def _read_qdiscs(data: Any, what: str, pool: Pool) -> tuple[QdiscEntry, ...]:
    return tuple(_read_qdisc(item, what, pool) for item in items(data, what))


def _read_qdisc(data: Any, what: str, pool: Pool) -> QdiscEntry:
    match data:
        case [str(kind), int(handle), int(parent), int(at)] if 0 <= at < len(pool.sets):
            return QdiscEntry(kind, handle, parent, pool.sets[at])
    raise ValueError(f"{what}: {str(data)[:60]!r} is not a qdisc")


def _write_hashing(found: Hashing, _: Pool) -> dict[str, Any]:
    key = [found.key.size, found.key.digest]  # its bytes are nobody's who reads a snapshot
    return {
        "function": found.function,
        "symmetric": found.symmetric,
        "key": key,
        "fields": dict(found.fields),
    }


def _read_hashing(data: Any, what: str, _: Pool) -> Hashing:
    match mapping(data, what):
        case {"function": function, "symmetric": symmetric, "key": [size, str(digest)], **rest}:
            fields = mapping(rest.get("fields"), f"{what}.fields")
            if wrong := fields.keys() - FLOWS.keys():
                raise ValueError(f"{what}.fields: {min(wrong)[:20]!r} is no kind of flow")
            return Hashing(
                whole(function, f"{what}.function"),
                whole(symmetric, f"{what}.symmetric"),
                HashKey(whole(size, f"{what}.key"), digest[:16]),
                {name: whole(bits, f"{what}.fields.{name}") for name, bits in fields.items()},
            )
    raise ValueError(f"{what}: {str(data)[:60]!r} is not how a card hashes")


def _write_rules(found: RuleTable, _: Pool) -> dict[str, Any]:
    rules = {str(at): [r.proto, dict(r.match), r.to] for at, r in found.rules.items()}
    return {"size": found.size, "rules": rules}


def _read_rules(data: Any, what: str, _: Pool) -> RuleTable:
    given = mapping(data, what)
    rules = mapping(given.get("rules"), f"{what}.rules")
    found = {index(at): _read_rule(rule, f"{what}.rules.{at[:20]}") for at, rule in rules.items()}
    return RuleTable(whole(given.get("size"), f"{what}.size"), found)


def _read_rule(data: Any, what: str) -> FlowRule:
    match data:
        case [str(proto), {**match}, str(to)] if all(type(t) is str for t in match.values()):
            return FlowRule(proto, tuple((str(name), str(t)) for name, t in match.items()), to)
    raise ValueError(f"{what}: {str(data)[:60]!r} is not a rule")


def _write_contexts(found: ContextTable, _: Pool) -> dict[str, Any]:
    contexts = {str(number): list(table) for number, table in found.contexts.items()}
    return {"entries": found.entries, "contexts": contexts}


def _read_contexts(data: Any, what: str, pool: Pool) -> ContextTable:
    given = mapping(data, what)
    told = mapping(given.get("contexts"), f"{what}.contexts")
    found = {index(at): TABLE.read(table, f"{what}.contexts", pool) for at, table in told.items()}
    return ContextTable(whole(given.get("entries"), f"{what}.entries"), found)


def _no_link(ifindex: int) -> Any:
    raise KernelError("get", f"link of ifindex {ifindex}", errno.ENODEV)


DRIVER_INFO: Question[DriverInfo] = Question(
    "driver_info",
    "driver information",
    record(DriverInfo),
    ask=lambda sockets, ifindex: sockets.ethtool.driver_info(ifindex),
    ask_all=None,
    absent=unsupported("driver information"),
)

CHANNELS: Setting[Channels] = Setting(
    "channels",
    "channels",
    record(Channels),
    ask=lambda sockets, ifindex: sockets.ethtool.channels(ifindex),
    ask_all=_all_channels,
    absent=unsupported("channels"),
    write=lambda sockets, ifindex, values: sockets.ethtool_netlink.set_channels(ifindex, **values),
)
"""Of one card by the ioctl, which every kernel has. ``rx``, ``tx`` and ``combined`` can be set."""

RSS_TABLE: Question[tuple[int, ...]] = Question(
    "rss_table",
    "rss",
    TABLE,
    ask=lambda sockets, ifindex: sockets.ethtool.rss_table(ifindex),
    ask_all=None,
    absent=unsupported("rss"),
)
"""Not by netlink, which can dump it: see ``Ethtool.rss_table``."""

HASHING: Question[Hashing] = Question(
    "hashing",
    "hashing",
    Form(_write_hashing, _read_hashing),
    ask=lambda sockets, ifindex: sockets.ethtool.hashing(ifindex),
    ask_all=None,
    absent=unsupported("hashing"),
)
"""The RSS hash: see ``Ethtool.hashing``. A snapshot has no key, but its digest."""

RULES: Question[RuleTable] = Question(
    "rules",
    "flow rules",
    Form(_write_rules, _read_rules),
    ask=lambda sockets, ifindex: sockets.ethtool.rules(ifindex),
    ask_all=None,
    absent=unsupported("flow rules"),
)
"""Ntuple filters: no kernel tells of them by netlink, nor of their changes."""

CONTEXTS: Question[ContextTable] = Question(
    "contexts",
    "contexts",
    Form(_write_contexts, _read_contexts),
    ask=lambda sockets, ifindex: sockets.ethtool_netlink.contexts(ifindex),
    ask_all=None,
    absent=unsupported("contexts"),
)
"""RSS contexts. The list of all cards has each driver tell the hash fields of its cards as well."""

RX_RINGS: Question[int] = Question(
    "rx_rings",
    "receive rings",
    WHOLE,
    ask=lambda sockets, ifindex: sockets.ethtool.rx_rings(ifindex),
    ask_all=None,
    absent=unsupported("receive rings"),
)

RINGS = _numbers(messages.RINGS, "rings")
"""Ring sizes in descriptors and what goes with them, in ethtool -G's names.

``rx``, ``tx``, ``rx-mini``, ``rx-jumbo`` and their maxima (``rx-max``, …), ``rx-buf-len`` and
``cqe-size`` (bytes), ``tcp-data-split`` (0 automatic, 1 off, 2 on), ``tx-push`` and ``rx-push``
(0, 1), ``tx-push-buf-len`` and ``hds-thresh`` (bytes) with their maxima (``…-max``). What a card
does not have is not in the answer; but ``tx-push`` and ``rx-push`` always are, even where they
cannot be set. A refused name comes as EOPNOTSUPP, a size above its maximum as EINVAL, both with
``attribute``.

Source: net/ethtool/rings.c.
"""

COALESCE = _numbers(messages.COALESCE, "coalesce")
"""When a card raises an interrupt, in ethtool -C's names; times in microseconds, adaptive 0 or 1.

What is not in the answer the driver does not have: it fails a whole ``set`` with EINVAL, whatever
its value, and is the error's ``attribute``. DIM's profiles are left out.

Source: net/ethtool/coalesce.c.
"""

FEATURES = _numbers(messages.FEATURES, "features")
"""What a card does itself, by the kernel's names: the sum of ``ACTIVE``, ``WANTED`` and
``CHANGEABLE`` (of the module ``features``) of each. It is set to 0 or 1; a feature that cannot be
set stays as it is, and the kernel says yes all the same.

Source: net/ethtool/features.c.
"""

LINK_MODES: Question[Numbers] = Question(
    "link_modes",
    "link modes",
    NUMBERS,
    ask=lambda sockets, ifindex: sockets.ethtool_netlink.get(
        messages.LINK_MODES, "link modes", ifindex
    ),
    ask_all=lambda sockets: sockets.ethtool_netlink.dump(messages.LINK_MODES, "link modes"),
    absent=unsupported("link modes", "failed to retrieve link settings"),  # the kernel's words
)
"""``autoneg`` (0, 1), ``speed`` and ``common``, the fastest of both ends; see ``linkmodes``."""

NAPI_INTERRUPTS: Question[QueueInterrupts] = Question(
    "napi_interrupts",
    "NAPI instances",
    _by_queue(whole),
    ask=lambda sockets, ifindex: sockets.netdev.napi_interrupts(ifindex),
    ask_all=lambda sockets: sockets.netdev.all_napi_interrupts(),
    absent=lambda _: {},
)
"""The interrupt behind each queue, ("rx" or "tx", queue) -> number; empty where none is told."""

BOUND: Question[Bound] = Question(
    "bound",
    "what is bound to queues",
    _by_queue(_read_bound),
    ask=None,
    ask_all=lambda sockets: sockets.netdev.bound(),
    absent=lambda _: {},
)
"""See ``NetdevNetlink.bound``; empty where nothing is, or where the kernel does not tell."""

XDP: Question[Numbers] = Question(
    "xdp",
    "XDP",
    NUMBERS,
    ask=None,
    ask_all=_all_xdp,
    absent=lambda _: {"program": 0},
)
"""``program``: the id of a card's XDP program, 0 without; ``zero-copy``: 1 where its driver lets
AF_XDP do without copies, 0 where it does not, absent before Linux 6.3, which does not tell."""

NAPIS: Setting[Numbers] = Setting(
    "napis",
    "NAPI instances",
    NUMBERS,
    ask=None,
    ask_all=lambda sockets: sockets.netdev.napi_settings(),
    absent=lambda _: {},
    write=lambda sockets, ifindex, values: sockets.netdev.set_napis(ifindex, values),
)
"""What is set of each NAPI instance, as ``NetdevNetlink.napi_settings`` has it; a card that is
down has none."""

QDISCS: Question[tuple[QdiscEntry, ...]] = Question(
    "qdiscs",
    "qdiscs",
    Form(_write_qdiscs, _read_qdiscs, "qdisc_parameters"),
    ask=None,
    ask_all=lambda sockets: sockets.rtnl.qdiscs(),
    absent=lambda _: (),
)
"""A card that was never up has none."""

LINKS: Question[LinkInfo] = Question(
    "links",
    "links",
    record(LinkInfo),
    ask=None,
    ask_all=lambda sockets: sockets.rtnl.links(),
    absent=_no_link,
)

LINK_NUMBERS: Setting[Numbers] = Setting(
    "link_numbers",
    "link settings",
    NUMBERS,
    ask=lambda sockets, ifindex: sockets.link_numbers.get(ifindex),
    ask_all=lambda sockets: sockets.link_numbers.all(),
    absent=_no_link,
    write=lambda sockets, ifindex, values: sockets.link_numbers.set(ifindex, values),
)
"""Sizes in bytes of what GSO and GRO merge, ``gso-max-segs`` and ``txqueuelen``, with their maxima
(``…-max``). What the kernel does not know is not in the answer."""

QUESTIONS: tuple[Question[Any], ...] = (
    *(DRIVER_INFO, CHANNELS, RSS_TABLE, HASHING, CONTEXTS, RULES, RX_RINGS, NAPI_INTERRUPTS),
    *(NAPIS, BOUND, XDP, RINGS, COALESCE, FEATURES, LINK_MODES, QDISCS, LINKS, LINK_NUMBERS),
)
"""All of them."""
