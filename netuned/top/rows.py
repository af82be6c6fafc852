"""Rows: what each card, queue and CPU did between two samples, to be sorted and filtered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

from netuned.counters.sample import NONE, Sample, dropped_of, interrupts_by_cpu
from netuned.cpuset import CpuSet
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.hardware.vectors import TX
from netuned.kernel.counts import Counts
from netuned.ondemand import OnDemand
from netuned.records import dataclass
from netuned.text import escape

CARD, QUEUE, CPU = "card", "queue", "cpu"

NAME = "name"
"""To sort by it is the order of cards, queues and CPUs."""

Key = tuple[int, int]
"""Of a row: a card (ifindex, -1), a queue (ifindex, number) or a CPU (-1, number)."""
_Place = tuple[str, int, CpuSet]
"""An interrupt: what it serves, its number, its affinity."""
_NO_CPUS = CpuSet()
_NOWHERE = -1, _NO_CPUS
_CARD_DROPS = ("rx_dropped", "rx_missed_errors", "tx_dropped")

Readers = Mapping[int, tuple[str, ...]]
"""As ``kernel.readers.Readers.look`` tells."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a view: ``percent`` of a CPU's time, else a number; ``now`` as it is, else per second."""

    name: str
    title: str
    percent: bool = False
    now: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A table: its columns of numbers, then of words; ``busiest`` sorts it, and draws its past."""

    name: str
    title: str
    columns: tuple[Column, ...]
    words: tuple[str, ...]
    busiest: str


_LINK = (
    Column("rx_packets", "RX PKT"),
    Column("rx_bytes", "RX B"),
    Column("tx_packets", "TX PKT"),
    Column("tx_bytes", "TX B"),
    Column("interrupts", "IRQ"),
    Column("softirq", "SOFT%", percent=True),
    Column("drops", "DROP"),
    Column("backlog", "QLEN", now=True),
)
_CPU = (
    Column("packets", "PKT"),
    Column("bytes", "B"),
    Column("interrupts", "IRQ"),
    Column("softirq", "SOFT%", percent=True),
    Column("busy", "BUSY%", percent=True),
    Column("ksoftirqd", "KSOFT%", percent=True),
    Column("drops", "DROP"),
    Column("squeezed", "SQUEEZ"),
    Column("received_rps", "RPS"),
    Column("backlog", "BACKLG", now=True),
)
VIEWS = {
    CARD: View(CARD, "CARD", _LINK, ("cpus", "processes"), "rx_packets"),
    QUEUE: View(QUEUE, "QUEUE", _LINK, ("cpus", "processes"), "rx_packets"),
    CPU: View(CPU, "CPU", _CPU, ("queues", "processes"), "softirq"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A card, a queue or a CPU, by its ``key``.

    ``numbers`` are by column: per second, percent, or as it is now; what nobody counts is not in
    them. ``cpus`` took its interrupts, or may take them where none came. ``cpu`` is that which took
    most, -1 where that is not known; ``node`` and ``l3`` are its, a card's ``node`` its own.
    ``label`` is ``eth0``, ``eth0 3`` or ``3``, safe to be shown.
    """

    key: Key
    card: str
    label: str
    cpu: int
    cpus: CpuSet
    node: int
    l3: CpuSet
    numbers: Mapping[str, float]
    processes: tuple[str, ...] = ()
    queues: str = ""

    def words(self, name: str) -> str:
        """What a column of words has."""
        if name == "processes":
            return ", ".join(self.processes)
        return self.queues if name == "queues" else str(self.cpus)


@dataclass(frozen=True, slots=True)
class Frame:
    """One refresh: rows by view and key, of the ``seconds`` before; ``missing`` as in the sample.

    ``loads`` are what each row has in the column ``busiest`` of its view, where it has any, and
    ``widest`` is how long the longest label of a view can be: for both no row has to be made.
    ``places`` are node and L3 of each CPU.
    """

    seconds: float
    rows: Mapping[str, Mapping[Key, Row]]
    loads: Mapping[str, Mapping[Key, float]]
    widest: Mapping[str, int]
    places: Mapping[int, tuple[int, CpuSet]]
    missing: Mapping[str, str]


EMPTY = Frame(0.0, dict.fromkeys(VIEWS, MappingProxyType({})), {}, dict.fromkeys(VIEWS, 0), {}, {})


class Known:
    """What is as it was at the refresh before: which rows there are, and where they are."""

    def __init__(self, topology: Topology, nics: Mapping[int, Nic]) -> None:
        self.nics = nics
        self.names = {ifindex: escape(nic.name) for ifindex, nic in nics.items()}
        self.queues = {i: range(max(nic.rx_queues, nic.tx_queues)) for i, nic in nics.items()}
        self.rows = {
            CARD: dict.fromkeys((i, -1) for i in nics),
            QUEUE: dict.fromkeys((i, queue) for i in nics for queue in self.queues[i]),
        }
        self.vectors = {i: _by_queue(nic) for i, nic in nics.items()}
        nodes = {cpu: topology.node_of(cpu) for cpu in topology.online}
        self.places = {
            cpu: (-1 if node is None else node, topology.l3_of(cpu)) for cpu, node in nodes.items()
        }
        self.widest = {
            CARD: max((len(name) for name in self.names.values()), default=0),
            QUEUE: max((len(f"{self.names[i]} {len(self.queues[i])}") for i in nics), default=0),
            CPU: len(str(max(topology.online, default=0))),
        }


def frame(happened: Sample, known: Known, readers: Readers) -> Frame:
    """The rows of what happened between two samples (``counters.sample.between``)."""
    about = _About(happened, known, readers)
    cards, per_second = happened.cards, about.per_second
    cpus = {(-1, cpu): percent for cpu, percent in about.softirq.items()}
    rows = {
        CARD: OnDemand(known.rows[CARD], about.card),
        QUEUE: OnDemand(known.rows[QUEUE], about.queue),
        CPU: OnDemand(cpus, about.cpu),
    }
    loads = {
        CARD: {(i, -1): card.totals["rx_packets"] * per_second
               for i, card in cards.items() if "rx_packets" in card.totals},
        QUEUE: {(i, queue): counts["packets"] * per_second for i, card in cards.items()
                for queue, counts in card.rx.items() if "packets" in counts},
        CPU: cpus,
    }  # fmt: skip
    return Frame(happened.seconds, rows, loads, known.widest, known.places, happened.missing)


class _About:
    """What happened, and rows of it."""

    def __init__(self, happened: Sample, known: Known, readers: Readers) -> None:
        self.happened = happened
        self._known = known
        self._readers = readers
        self.per_second = 1 / happened.seconds if happened.seconds else 0.0
        self.softirq = {cpu: 100 * happened.share(cpu, "softirq") for cpu in happened.cpus}

    def card(self, key: Key) -> Row:
        ifindex, _ = key
        card, nic = self.happened.cards[ifindex], self._known.nics[ifindex]
        numbers: dict[str, float] = {}
        for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
            self._rate(card.totals, name, numbers)
        root = card.qdiscs.get("root", NONE)
        drops = sum(card.totals.get(name, 0) for name in _CARD_DROPS) + root.get("drops", 0)
        if card.totals or root:
            numbers["drops"] = drops * self.per_second
        if "qlen" in root:
            numbers["backlog"] = root["qlen"]
        by_cpu = interrupts_by_cpu(card)
        if card.interrupts:
            numbers["interrupts"] = sum(by_cpu.values()) * self.per_second
        if by_cpu:
            numbers["softirq"] = max(self.softirq.get(cpu, 0.0) for cpu in by_cpu)
        processes = tuple(dict.fromkeys(p for cpu in by_cpu for p in self._readers.get(cpu, ())))
        cpu = max(by_cpu, key=by_cpu.__getitem__) if by_cpu else -1
        return Row(
            key, nic.name, self._known.names[ifindex], cpu, CpuSet.of(by_cpu), nic.numa_node,
            self._known.places.get(cpu, _NOWHERE)[1], numbers, processes,
        )  # fmt: skip

    def queue(self, key: Key) -> Row:
        """Of the receive and the transmit queue of a number together, as most cards serve them."""
        ifindex, number = key
        card = self.happened.cards[ifindex]
        numbers: dict[str, float] = {}
        rx = card.rx.get(number, NONE)
        leaf = card.qdiscs.get(f"{TX}-{number}", NONE)
        tx = card.tx.get(number, NONE) if card.tx else leaf
        self._rate(rx, "packets", numbers, "rx_packets")
        self._rate(rx, "bytes", numbers, "rx_bytes")
        self._rate(tx, "packets", numbers, "tx_packets")
        self._rate(tx, "bytes", numbers, "tx_bytes")
        lost = [dropped_of(counts) for counts in ((rx, leaf) if tx is leaf else (rx, tx, leaf))]
        if max(lost) >= 0:
            numbers["drops"] = sum([n for n in lost if n > 0]) * self.per_second
        if "qlen" in leaf:
            numbers["backlog"] = leaf["qlen"]
        cpu, cpus = self._taken(key, numbers)
        return self._row(
            key, (card.name, f"{self._known.names[ifindex]} {number}"), (cpu, cpus), numbers
        )

    def cpu(self, key: Key) -> Row:
        _, cpu = key
        counts = self.happened.cpus[cpu]
        numbers: dict[str, float] = {}
        self._rate(counts, "processed", numbers, "packets")
        self._rate(counts, "squeezed", numbers)
        self._rate(counts, "received_rps", numbers)
        if "dropped" in counts:
            lost = counts["dropped"] + counts.get("flow_limit", 0)
            numbers["drops"] = lost * self.per_second
        if "backlog" in counts:
            numbers["backlog"] = counts["backlog"]
        if "ksoftirqd" in counts:
            numbers["ksoftirqd"] = min(counts["ksoftirqd"] * self.per_second / 1e7, 100.0)
        if "idle" in counts:
            numbers["busy"] = 100 * (1 - self.happened.share(cpu, "idle", "iowait"))
        if self._interrupts is not None:
            numbers["interrupts"] = self._interrupts.get(cpu, 0) * self.per_second
        queues, moved = self._served.get(cpu, ("", None))
        if moved is not None:
            numbers["bytes"] = moved
        row = self._row(key, ("", str(cpu)), (cpu, CpuSet(1 << cpu)), numbers)
        return replace(row, queues=queues) if queues else row

    @cached_property
    def _interrupts(self) -> Mapping[int, int] | None:
        """By CPU, of all cards; None where no card has any."""
        found: dict[int, int] = {}
        for card in self.happened.cards.values():
            for cpu, number in interrupts_by_cpu(card).items():
                found[cpu] = found.get(cpu, 0) + number
        some = any(card.interrupts for card in self.happened.cards.values())
        return found if some else None

    @cached_property
    def _served(self) -> Mapping[int, tuple[str, float | None]]:
        """By CPU the queues that it serves, ``eth0 0,4-7; eth1 2``, and their bytes, if counted."""
        queues: dict[int, dict[str, list[int]]] = {}
        moved: dict[int, float] = {}
        for ifindex, numbers in self._known.queues.items():
            card = self.happened.cards[ifindex]
            for number in numbers:
                cpu, _ = self._taken((ifindex, number), {})
                if cpu < 0:
                    continue
                queues.setdefault(cpu, {}).setdefault(self._known.names[ifindex], []).append(number)
                leaf = card.qdiscs.get(f"{TX}-{number}", NONE)
                sent = card.tx.get(number, NONE) if card.tx else leaf
                for counts in (card.rx.get(number, NONE), sent):
                    if "bytes" in counts:
                        moved[cpu] = moved.get(cpu, 0.0) + counts["bytes"] * self.per_second
        return {
            cpu: (
                "; ".join(f"{name} {CpuSet.of(own)}" for name, own in cards.items()),
                moved.get(cpu),
            )
            for cpu, cards in queues.items()
        }

    def _taken(self, key: Key, numbers: dict[str, float]) -> tuple[int, CpuSet]:
        """Which CPU took most of a queue's interrupts, those of receiving first; which took any."""
        ifindex, number = key
        interrupts = self.happened.cards[ifindex].interrupts
        may = 0
        received: Mapping[int, int] | None = None
        sent: Mapping[int, int] | None = None
        for role, irq, affinity in self._known.vectors[ifindex].get(number, ()):
            if irq not in interrupts:
                continue
            may |= affinity.bits
            if role == TX:
                sent = _added(sent, interrupts[irq])
            else:
                received = _added(received, interrupts[irq])
        if received is None and sent is None:
            return -1, _NO_CPUS
        received, sent = received or {}, sent or {}
        total = sum(received.values()) + sum(sent.values())
        numbers["interrupts"] = total * self.per_second
        if not total:
            cpus = CpuSet(may)
            return (cpus.first if len(cpus) == 1 else -1), cpus
        most = received if any(received.values()) else sent
        took = CpuSet.of(cpu for by in (received, sent) for cpu, n in by.items() if n)
        return max(most, key=most.__getitem__), took

    def _rate(self, counts: Counts, name: str, numbers: dict[str, float], column: str = "") -> None:
        if name in counts:
            numbers[column or name] = counts[name] * self.per_second

    def _row(
        self, key: Key, card: tuple[str, str], at: tuple[int, CpuSet], numbers: dict[str, float]
    ) -> Row:
        if at[0] in self.softirq:
            numbers["softirq"] = self.softirq[at[0]]
        node, l3 = self._known.places.get(at[0], _NOWHERE)
        return Row(key, *card, *at, node, l3, numbers, self._readers.get(at[0], ()))


def _by_queue(nic: Nic) -> Mapping[int, Sequence[_Place]]:
    found: dict[int, list[_Place]] = {}
    for at, vector in enumerate(nic.vectors):
        affinity = nic.affinity[at] if at < len(nic.affinity) else _NO_CPUS
        found.setdefault(vector.queue, []).append((vector.role, vector.irq, affinity))
    return found


def _added(before: Mapping[int, int] | None, counted: Mapping[int, int]) -> Mapping[int, int]:
    if not before:
        return counted
    return {cpu: before.get(cpu, 0) + counted.get(cpu, 0) for cpu in before.keys() | counted.keys()}


def arranged(
    view: View, found: Frame, sort: str = "", needle: str = "", *, inverted: bool = False
) -> list[Key]:
    """Rows that have a text in their name, CPUs, queues or processes, sorted by a column: keys.

    The largest come first, and what has no number last, unless ``inverted``. By ``NAME`` they stay
    in order; ``sort`` is ``view.busiest`` where it is empty.
    """
    sort = sort or view.busiest
    needle = needle.lower()
    rows, loads = found.rows[view.name], found.loads.get(view.name, {})
    keys = [key for key in rows if not needle or needle in _text(view, rows[key])]
    if sort == NAME:
        return keys[::-1] if inverted else keys
    if sort == view.busiest:
        return sorted(keys, key=lambda key: loads.get(key, -1.0), reverse=not inverted)
    return sorted(keys, key=lambda key: rows[key].numbers.get(sort, -1.0), reverse=not inverted)


def _text(view: View, row: Row) -> str:
    return " ".join((row.label, *map(row.words, view.words))).lower()
