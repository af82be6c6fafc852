"""Taking apart what the kernel counts: its texts in /proc, and its answers over netlink.

Source: proc(5); net/core/net-procfs.c, softnet_seq_show(); include/uapi/linux/if_link.h,
struct rtnl_link_stats64; include/uapi/linux/gen_stats.h; net/sched/sch_fq.c, struct tc_fq_qd_stats;
Documentation/netlink/specs/netdev.yaml, qstats.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping, Sequence

from netuned.kernel.netlink import attributes, decoding
from netuned.ondemand import OnDemand
from netuned.records import dataclass
from netuned.regex import regex

Counts = Mapping[str, int]
Queue = tuple[str, int]
"""``rx`` or ``tx``, and its number."""

TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Of a CPU, in hundredths of a second (USER_HZ)."""
SOFTIRQS = {"NET_TX": "net_tx", "NET_RX": "net_rx"}
SOFTNET = {0: "processed", 1: "dropped", 2: "squeezed", 9: "received_rps", 10: "flow_limit"}
SOFTNET_BACKLOG, SOFTNET_CPU = 11, 12
"""Column of what waits there now, and of the CPU (Linux 5.14); before it, lines are in order."""

LINK = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped",
        "tx_dropped", "multicast", "collisions", "rx_length_errors", "rx_over_errors",
        "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors", "rx_missed_errors",
        "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors",
        "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler")  # fmt: skip
"""``ip -s -s link``'s, in the kernel's order."""
_LINK_64 = 1
_IF_STATS = struct.Struct("=BBHII")

QUEUE = {8: "packets", 9: "bytes", 10: "packets", 11: "bytes", 12: "alloc_fail", 13: "hw_drops",
         14: "overruns", 19: "gro_packets", 24: "hw_drops", 33: "stops", 34: "wakes"}  # fmt: skip
_QSTATS_IFINDEX, _QSTATS_TYPE, _QSTATS_ID = 1, 2, 3

_TC = struct.Struct("=BBHiIII")
_TCA_KIND, _TCA_STATS2 = 1, 7
_BASIC, _QUEUE_STATS, _APP, _PACKETS_64 = 1, 3, 4, 8
_BASIC_FORM = struct.Struct("=QI")
_QUEUE_FORM = struct.Struct("=5I")
_FQ_U64 = ("gc_flows", "highprio_packets", "tcp_retrans", "throttled", "flows_plimit",
           "pkts_too_long", "allocation_errors")  # fmt: skip
"""Of ``fq``, the first of its own: 64 bits each."""

_DRIVER_QUEUE = regex(
    r"""(?x)
    (?: (?P<a>[rt]x)_?(?:queue_|-)?(?P<an>\d+)[_.](?P<aw>\w+)       # rx_queue_0_packets, rx0_bytes
      | queue_(?P<bn>\d+)_(?P<b>[rt]x)_(?P<bw>\w+)                  # queue_0_rx_cnt: ena
      | (?P<c>[rt]x)_(?P<cw>\w+)\[(?P<cn>\d+)\]                     # rx_bytes[0]: gve
      | \[(?P<dn>\d+)\]:\s(?P<d>[rt]x)_(?P<dw>\w+)                  # [0]: rx_ucast_packets: bnxt
    )$"""
)
_WHAT = {
    "packets": "packets", "cnt": "packets", "ucast_packets": "packets", "pkts": "packets",
    "bytes": "bytes", "ucast_bytes": "bytes", "drops": "drops", "dropped": "drops",
    "discards": "drops", "xdp_drops": "xdp_drops", "csum_err": "csum_err",
    "alloc_failed": "alloc_fail", "no_skb_alloc": "alloc_fail", "buff_alloc_err": "alloc_fail",
    "out_of_buffer": "overruns", "kicks": "kicks", "restart": "wakes", "stopped": "stops",
    "wake": "wakes", "gro_packets": "gro_packets", "lro_packets": "gro_packets",
}  # fmt: skip
"""Drivers' words of a queue -> ours; what is not here stays with the card."""


def cpu_times(text: str) -> dict[int, dict[str, int]]:
    """/proc/stat: CPU -> ``TIMES``."""
    found = {}
    for line in text.partition("intr ")[0].splitlines():  # that has a number for each interrupt
        name, *numbers = line.split(None, len(TIMES) + 1)
        if name.startswith("cpu") and name != "cpu":
            found[int(name[3:])] = dict(zip(TIMES, map(int, numbers[: len(TIMES)]), strict=False))
    return found


def softirqs(text: str) -> dict[int, dict[str, int]]:
    """/proc/softirqs: CPU -> how often the network's two were raised there."""
    lines = text.splitlines()
    cpus = [int(name[3:]) for name in lines[0].split()] if lines else []
    found: dict[int, dict[str, int]] = {cpu: {} for cpu in cpus}
    for line in lines[1:]:
        name, _, numbers = line.partition(":")
        if kind := SOFTIRQS.get(name.strip()):
            for cpu, number in zip(cpus, numbers.split(), strict=False):
                found[cpu][kind] = int(number)
    return found


def softnet(text: str) -> dict[int, dict[str, int]]:
    """/proc/net/softnet_stat: CPU -> ``SOFTNET`` and its ``backlog``; counters of 32 bits."""
    found = {}
    for order, line in enumerate(text.splitlines()):
        columns = line.split()
        cpu = int(columns[SOFTNET_CPU], 16) if len(columns) > SOFTNET_CPU else order
        found[cpu] = {
            name: int(columns[at], 16) for at, name in SOFTNET.items() if at < len(columns)
        }
        if len(columns) > SOFTNET_BACKLOG:
            found[cpu]["backlog"] = int(columns[SOFTNET_BACKLOG], 16)
    return found


def protocols(text: str) -> dict[str, int]:
    """/proc/net/snmp or netstat: ``TcpRetransSegs``, ``TcpExtListenDrops``, … -> number."""
    found: dict[str, int] = {}
    lines = iter(text.splitlines())
    for names, numbers in zip(lines, lines, strict=False):
        group, _, rest = names.partition(":")
        words = numbers.partition(":")[2].split()
        found |= {group + name: int(n) for name, n in zip(rest.split(), words, strict=False)}
    return found


def links(payloads: Iterable[bytes]) -> dict[int, Counts]:
    """Answers to RTM_GETSTATS: ifindex -> ``LINK``."""
    found: dict[int, Counts] = {}
    for payload in payloads:
        ifindex = _IF_STATS.unpack_from(payload)[3]
        start, end = attributes(payload, _IF_STATS.size)[_LINK_64]
        numbers = struct.unpack_from(f"={(end - start) // 8}Q", payload, start)
        found[ifindex] = dict(zip(LINK, numbers, strict=False))
    return found


def queues(payloads: Iterable[bytes], offset: int) -> dict[int, dict[Queue, Counts]]:
    """Answers to QSTATS_GET, by queue: ifindex -> queue -> ``QUEUE``."""
    found: dict[int, dict[Queue, Counts]] = {}
    for payload in payloads:
        told = {
            number: int.from_bytes(payload[start:end], sys.byteorder)
            for number, (start, end) in attributes(payload, offset).items()
        }
        place = ("tx" if told[_QSTATS_TYPE] else "rx"), told[_QSTATS_ID]
        counts = {QUEUE[number]: value for number, value in told.items() if number in QUEUE}
        found.setdefault(told[_QSTATS_IFINDEX], {})[place] = counts
    return found


def qdiscs(payloads: Iterable[bytes]) -> dict[int, Mapping[tuple[int, int], tuple[str, Counts]]]:
    """Answers to RTM_GETQDISC: ifindex -> (handle, parent) -> kind and what it counts.

    That is taken apart when it is asked for. ``bytes`` and ``packets`` that left it, ``drops``,
    ``requeues``, ``overlimits``; ``qlen`` and ``backlog`` are what waits now; of fq its own,
    ``flows_plimit`` among them.
    """
    told: dict[int, dict[tuple[int, int], bytes]] = {}
    for payload in payloads:
        _, _, _, ifindex, handle, parent, _ = _TC.unpack_from(payload)
        told.setdefault(ifindex, {})[handle, parent] = payload
    shapes: dict[int, _Shape] = {}
    return {ifindex: _apart(of_card, shapes) for ifindex, of_card in told.items()}


def _apart(
    told: Mapping[tuple[int, int], bytes], shapes: dict[int, _Shape]
) -> Mapping[tuple[int, int], tuple[str, Counts]]:
    def qdisc(place: tuple[int, int]) -> tuple[str, Counts]:
        payload = told[place]
        shape = shapes.get(len(payload))
        with decoding("statistics of qdiscs"):
            if shape is None or shape.heads.unpack_from(payload) != shape.known:
                shape = shapes[len(payload)] = _shape(payload)
            kind = payload[shape.kind].partition(b"\0")[0].decode("ascii", "replace")
            return kind, _qdisc(kind, payload, shape.stats)

    return OnDemand(told, qdisc)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where attributes are in an answer, and in all others with the same heads at their places."""

    heads: struct.Struct
    known: tuple[bytes, ...]
    kind: slice
    stats: Mapping[int, tuple[int, int]]


def _shape(payload: bytes) -> _Shape:
    told = attributes(payload, _TC.size)
    start, end = told.get(_TCA_STATS2, (0, 0))
    stats = attributes(payload[:end], start)
    form, at = "=", 0
    for start, _ in sorted((*told.values(), *stats.values())):
        form += f"{start - 4 - at}x4s"
        at = start
    heads = struct.Struct(form)
    return _Shape(heads, heads.unpack_from(payload), slice(*told[_TCA_KIND]), stats)


def _qdisc(kind: str, payload: bytes, told: Mapping[int, tuple[int, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    if _BASIC in told:
        counts["bytes"], counts["packets"] = _BASIC_FORM.unpack_from(payload, told[_BASIC][0])
    if _PACKETS_64 in told:
        counts["packets"] = int.from_bytes(payload[slice(*told[_PACKETS_64])], sys.byteorder)
    if _QUEUE_STATS in told:
        names = ("qlen", "backlog", "drops", "requeues", "overlimits")
        numbers = _QUEUE_FORM.unpack_from(payload, told[_QUEUE_STATS][0])
        counts |= zip(names, numbers, strict=True)
    if kind == "fq" and _APP in told:
        start, end = told[_APP]
        own = struct.unpack_from(f"={min(len(_FQ_U64), (end - start) // 8)}Q", payload, start)
        counts |= zip(_FQ_U64, own, strict=False)
    return counts


@dataclass(frozen=True, slots=True)
class Places:
    """Of a driver's statistics, whose each is: the card's, by name, or a queue's, by what it is."""

    card: tuple[tuple[str, int], ...]
    queues: Mapping[Queue, tuple[tuple[str, int], ...]]


def places(names: Iterable[str], numbers: Iterable[int]) -> Places:
    """Take a driver's names apart, which is worth keeping: a card can have thousands.

    vmxnet3 has a heading for each queue, whose number is its value, and the same names below.
    """
    card: list[tuple[str, int]] = []
    queues: dict[Queue, list[tuple[str, int]]] = {}
    place: Queue | None = None
    for at, (name, number) in enumerate(zip(names, numbers, strict=False)):
        if name.strip() in ("Rx Queue#", "Tx Queue#"):
            place = name.strip()[:2].lower(), number
            continue
        told = _of_queue(name) or (place and _below_heading(name, place))
        if told:
            queues.setdefault(told[0], []).append((told[1], at))
        else:
            card.append((name, at))
    return Places(tuple(card), {queue: tuple(told) for queue, told in sorted(queues.items())})


def of_driver(
    placed: Places, numbers: Sequence[int], *, queues_alone: bool = False
) -> tuple[dict[str, int], Mapping[Queue, dict[str, int]]]:
    """``ethtool -S``: what is the card's, by the driver's names, and what its queues'."""
    card = {} if queues_alone else _summed(placed.card, numbers)
    return card, OnDemand(placed.queues, lambda queue: _summed(placed.queues[queue], numbers))


def _summed(told: tuple[tuple[str, int], ...], numbers: Sequence[int]) -> dict[str, int]:
    """A name that is there more than once is summed."""
    found = {what: numbers[at] for what, at in told}
    if len(found) < len(told):
        found = dict.fromkeys(found, 0)
        for what, at in told:
            found[what] += numbers[at]
    return found


def _of_queue(name: str) -> tuple[Queue, str] | None:
    """The queue that a driver's name is of, and what is counted; None where it is the card's."""
    if match := _DRIVER_QUEUE.match(name):
        kind, number, what = (
            next(text for text in map(match.group, groups) if text)
            for groups in (("a", "b", "c", "d"), ("an", "bn", "cn", "dn"), ("aw", "bw", "cw", "dw"))
        )
        if what in _WHAT:
            return (kind, int(number)), _WHAT[what]
    return None


_VMXNET3 = {"ucast pkts": "packets", "mcast pkts": "packets", "bcast pkts": "packets",
            "ucast bytes": "bytes", "mcast bytes": "bytes", "bcast bytes": "bytes",
            "pkts rx OOB": "overruns", "ring full": "stops"}  # fmt: skip


def _below_heading(name: str, place: Queue) -> tuple[Queue, str] | None:
    if not name.startswith("  "):
        return None
    words = name.strip()
    what = _VMXNET3.get(words) or _VMXNET3.get(words.rsplit(" ", 1)[0])
    return (place, what) if what else None


def per_cpu(content: bytes) -> dict[int, int]:
    """/sys/kernel/irq/N/per_cpu_count: CPU -> how often, of those that had any.

    An interrupt is on a few of a thousand CPUs: the zeros before and after them are skipped whole.
    """
    content = content.rstrip(b"\n")
    some = content.lstrip(b"0,")
    if not some:
        return {}
    first = content.count(b",", 0, len(content) - len(some))
    end = some.find(b",", len(some.rstrip(b"0,")))  # after the last number, whose zeros are its own
    numbers = (some if end < 0 else some[:end]).split(b",")
    return {cpu: int(number) for cpu, number in enumerate(numbers, first) if number != b"0"}
