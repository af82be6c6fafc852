"""The options of each qdisc kind: tc's names, the kernel's attributes, what it makes of values.

Canonical units: times in microseconds (``timer_slack`` in nanoseconds), rates in bytes per second,
flags 0 or 1, sizes as they are, ``buckets`` their number. ``OFF`` is "no limit" or "disabled".

Source: include/uapi/linux/pkt_sched.h; net/sched/sch_fq.c, sch_fq_codel.c, sch_cake.c, sch_fifo.c.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from netuned.errors import UnsupportedError
from netuned.kernel.netlink import ATTRIBUTE, attributes
from netuned.kernel.rtmessages import attribute_class
from netuned.records import dataclass

OFF = 0xFFFFFFFF
"""``maxrate`` of fq: unlimited; ``ce_threshold`` of fq and fq_codel: disabled."""

_CODEL_OFF = 2199023255
"""What becomes CODEL_DISABLED_THRESHOLD (INT_MAX units of 1,024 ns) when fq_codel converts it."""

_MOST_BUCKETS_LOG = 31

_CLOCK_MONOTONIC_COARSE = 6


def _as_is(value: int) -> int:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its attribute, and the ways between the canonical value and the kernel's.

    ``keeps`` is what the kernel shows after it was given a value; ``absent`` the meaning of a
    missing attribute, -1 for none. A ``presence`` attribute is sent or not, whatever its content.
    """

    name: str
    number: int
    type: str = "uint32"
    write: Callable[[int], int] = _as_is
    read: Callable[[int], int] = _as_is
    keeps: Callable[[int], int] = _as_is
    absent: int = -1
    presence: bool = False
    creation_only: bool = False


def _codel_keeps(us: int) -> int:
    """fq_codel counts time in units of 1,024 ns and rounds down, twice: up to 2 µs are lost."""
    return (us * 1000 >> 10 << 10) // 1000


def _codel_write(us: int) -> int:
    """The value to send so that exactly ``us`` is shown, where there is one."""
    return next((sent for sent in (us, us + 1, us + 2) if _codel_keeps(sent) == us), us)


def _codel_threshold_write(us: int) -> int:
    return _CODEL_OFF if us == OFF else _codel_write(us)


def _codel_threshold_keeps(us: int) -> int:
    return OFF if us == OFF else _codel_keeps(us)


def _log2_up(count: int) -> int:
    """fq takes 2 buckets or more."""
    return max(count - 1, 1).bit_length()


def _power(log: int) -> int:
    """fq takes 2^18 buckets at most; a larger number is none."""
    if log > _MOST_BUCKETS_LOG:
        raise ValueError(f"2^{log} buckets are too many")
    return 1 << log


def _jiffies_keep(us: int) -> int:
    """Times kept in jiffies are rounded up to one; the coarse clocks tick once a jiffy."""
    hz = round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
    return -(-us * hz // 10**6) * 10**6 // hz


def _parameters(*rows: Parameter) -> dict[str, Parameter]:
    return {row.name: row for row in rows}


PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "fq": _parameters(
        Parameter("limit", 1),
        Parameter("flow_limit", 2),
        Parameter("quantum", 3),
        Parameter("initial_quantum", 4),
        Parameter("pacing", 5),
        Parameter("maxrate", 7),
        Parameter("buckets", 8, write=_log2_up, read=_power,
                  keeps=lambda count: 1 << _log2_up(count)),
        Parameter("refill_delay", 9, keeps=_jiffies_keep),
        Parameter("orphan_mask", 10),
        Parameter("low_rate_threshold", 11),
        Parameter("ce_threshold", 12),
        Parameter("timer_slack", 13),
        Parameter("horizon", 14),
        Parameter("horizon_drop", 15, "uint8"),
        Parameter("offload_horizon", 18),
    ),
    "fq_codel": _parameters(
        Parameter("target", 1, write=_codel_write, keeps=_codel_keeps),
        Parameter("limit", 2),
        Parameter("interval", 3, write=_codel_write, keeps=_codel_keeps),
        Parameter("ecn", 4),
        Parameter("flows", 5, creation_only=True),
        Parameter("quantum", 6, keeps=lambda size: max(size, 256)),
        Parameter("ce_threshold", 7, write=_codel_threshold_write, keeps=_codel_threshold_keeps,
                  absent=OFF),
        Parameter("drop_batch", 8, keeps=lambda count: max(count, 1)),
        Parameter("memory_limit", 9, keeps=lambda size: min(size, 1 << 31)),
        Parameter("ce_threshold_selector", 10, "uint8"),
        Parameter("ce_threshold_mask", 11, "uint8"),
    ),
    "cake": _parameters(
        Parameter("bandwidth", 2, "uint64"),
        Parameter("diffserv_mode", 3),
        Parameter("atm", 4),
        Parameter("flow_mode", 5),
        Parameter("overhead", 6, "int32"),
        Parameter("rtt", 7, keeps=lambda us: max(us, 1)),
        Parameter("target", 8, keeps=lambda us: max(us, 1)),
        Parameter("autorate", 9),
        Parameter("memlimit", 10),
        Parameter("nat", 11),
        Parameter("raw", 12, read=lambda _: 1, absent=0, presence=True),
        Parameter("wash", 13),
        Parameter("mpu", 14),
        Parameter("ingress", 15),
        Parameter("ack_filter", 16),
        Parameter("split_gso", 17),
        Parameter("fwmark", 18),
    ),
    "pfifo": _parameters(Parameter("limit", 0)),
    "bfifo": _parameters(Parameter("limit", 0)),
    "mq": {},
    "pfifo_fast": {},
    "noqueue": {},
}  # fmt: skip
"""Kind -> parameter name -> how it travels. fq's priomap and weights are never written."""

_FOREIGN = {
    "fq": {
        16: struct.pack("=i16B", 3, 1, 2, 2, 2, 1, 2, 0, 0, *[1] * 8),
        17: struct.pack("=3i", 589824, 196608, 65536),
    }
}
"""Of options that netuned does not write what the kernel gives: fq_init(), Linux 6.7."""

_FIFO = ("pfifo", "bfifo")
_RANGES = {
    "uint8": (0, (1 << 8) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
}

_FORMATS = {
    "uint8": struct.Struct("=B"),
    "uint32": struct.Struct("=I"),
    "uint64": struct.Struct("=Q"),
    "int32": struct.Struct("=i"),
}


def _options_class(kind: str) -> Any:
    if kind in _FIFO:
        return attribute_class("fifo_options", fields=(("limit", "I"),))
    table = PARAMETERS[kind].values()
    return attribute_class(f"{kind}_options", *((row.number, row.name, row.type) for row in table))


OPTIONS_CLASSES = {kind: _options_class(kind) for kind, table in PARAMETERS.items() if table}
"""The pyroute2 class of each kind's TCA_OPTIONS, of the kinds that have some: to send them."""


@lru_cache(maxsize=1024)
def decode_options(kind: str, attribute: bytes) -> Mapping[str, int]:
    """The parameters in a TCA_OPTIONS attribute (with its header); none for an unknown kind.

    Queues mostly have equal options, which then are one object. pyroute2 0.9.7 takes ten times as
    long, and of options that are cut off it gives bytes, or logs a traceback, or does not end.

    Raises: ValueError, struct.error for options that are cut off; see ``netlink.decoding``.
    """
    table = PARAMETERS.get(kind)
    if not table or not attribute:
        return {}
    if kind in _FIFO:
        return {"limit": _FORMATS["uint32"].unpack_from(attribute, ATTRIBUTE.size)[0]}
    found = {row.name: row.absent for row in table.values() if row.absent >= 0}
    there = attributes(attribute, ATTRIBUTE.size, whole=True)
    for row in table.values():
        if row.number in there:
            start, end = there[row.number]
            sent = 0 if row.presence else _FORMATS[row.type].unpack_from(attribute[start:end])[0]
            found[row.name] = row.read(sent)
    return found


@lru_cache(maxsize=1024)
def has_foreign_options(kind: str, attribute: bytes) -> bool:
    """Whether a TCA_OPTIONS attribute has what no new qdisc has and netuned does not write."""
    own = _FOREIGN.get(kind)
    if not own or not attribute:
        return False
    there = attributes(attribute, ATTRIBUTE.size, whole=True)
    found = {number: attribute[slice(*there[number])] for number in own.keys() & there.keys()}
    return any(content != own[number] for number, content in found.items())


def encode_options(kind: str, parameters: Mapping[str, int]) -> Any:
    """The content of TCA_OPTIONS as pyroute2 takes it.

    Raises: UnsupportedError for a parameter that this kind does not have, or a value that does not
    fit into its attribute.
    """
    table = PARAMETERS.get(kind, {})
    content = {}
    for name, value in parameters.items():
        if name not in table:
            raise UnsupportedError(f"qdisc {kind}", f"it has no parameter {name}")
        row = table[name]
        low, high = _RANGES[row.type]
        if not low <= value <= high:
            raise UnsupportedError(f"qdisc {kind}", f"{name} {value} is not from {low} to {high}")
        if value or not row.presence:
            content[name] = row.write(value)
    return content if kind in _FIFO else {"attrs": list(content.items())}


def same_parameter(kind: str, name: str, wanted: int, found: int) -> bool:
    """Whether ``found`` is ``wanted``, or what the kernel makes of it (rounding, limits)."""
    row = PARAMETERS.get(kind, {}).get(name)
    return found == wanted or (row is not None and found == row.keeps(wanted))
