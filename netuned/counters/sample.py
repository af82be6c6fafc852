"""Sample: what a host has counted at a moment; between two of them lies what happened.

Pure, but for nothing: ``take`` makes samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from netuned.cpuset import MAX_CPU
from netuned.hardware.vectors import RX, TX
from netuned.kernel import counts
from netuned.kernel.counts import Counts, Queue
from netuned.ondemand import OnDemand
from netuned.records import dataclass

K = TypeVar("K")

GAUGES = frozenset({"backlog", "qlen", "conntrack", "conntrack_max", "memory"})
"""What is as it is now; all else grows."""

WORD = 1 << 32
"""Counters of the kernel's that have 32 bits begin anew there."""
NARROW = frozenset(counts.SOFTNET.values()) | {"drops", "requeues", "overlimits"}

USER_HZ = 100
"""``counts.TIMES`` in a second, on all that Linux runs on (include/asm-generic/param.h)."""

NONE: Counts = {}


@dataclass(frozen=True, slots=True)
class CardSample:
    """One card's: ``totals`` as ``counts.LINK``, ``driver`` by the driver's own names.

    ``rx`` and ``tx`` by queue, as far as somebody counts by queue (``packets``, ``bytes``,
    ``drops``, …). ``qdiscs`` by place (``root``, ``tx-3``) and with the kind in ``kinds``.
    ``interrupts``: number -> CPU -> how many.
    """

    name: str
    totals: Counts = field(default_factory=dict)
    driver: Counts = field(default_factory=dict)
    rx: Mapping[int, Counts] = field(default_factory=dict)
    tx: Mapping[int, Counts] = field(default_factory=dict)
    qdiscs: Mapping[str, Counts] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    interrupts: Mapping[int, Mapping[int, int]] = field(default_factory=dict)

    def queues(self, role: str) -> Mapping[int, Counts]:
        """``rx`` or ``tx``; of a card whose driver counts none of ``tx``, its qdiscs'."""
        if role == RX or self.tx:
            return self.rx if role == RX else self.tx
        leaves = {p: c for p, c in self.qdiscs.items() if p.startswith(f"{TX}-")}
        return {int(place.removeprefix(f"{TX}-")): counts for place, counts in leaves.items()}


@dataclass(frozen=True, slots=True)
class Sample:
    """One host's, or what happened ``between`` two of them.

    ``at`` is seconds of a clock that only runs forward, ``seconds`` the time between the two that
    this is the difference of, 0 of a sample itself. ``cpus`` have ``counts.TIMES`` in 1/100 s,
    ``SOFTNET``, ``SOFTIRQS`` and ``ksoftirqd``, which is nanoseconds that its thread ran.
    ``host`` are /proc/net/snmp's and netstat's, and ``conntrack``. ``missing`` is what could not
    be read, and why.
    """

    at: float
    cpus: Mapping[int, Counts] = field(default_factory=dict)
    cards: Mapping[int, CardSample] = field(default_factory=dict)
    host: Counts = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def rate(self, number: float) -> float:
        """A number of what happened, per second."""
        return number / self.seconds if self.seconds else 0.0

    def share(self, cpu: int, *kinds: str) -> float:
        """Of a CPU's time between, how much was of these kinds: 0.0 to 1.0."""
        times = self.cpus.get(cpu, NONE)
        return min(self.rate(sum(times.get(kind, 0) for kind in kinds) / USER_HZ), 1.0)


def between(before: Sample, after: Sample) -> Sample:
    """What happened from one to the other; of a card or queue that came meanwhile, all it counts.

    A counter that is smaller than before was begun anew, or is one of 32 bits. What each CPU,
    queue, qdisc and interrupt has is taken apart when it is asked for.
    """
    cards = {i: _card(before.cards.get(i), card) for i, card in after.cards.items()}
    return Sample(
        after.at,
        _each(before.cpus, after.cpus),
        cards,
        _counts(before.host, after.host),
        {**before.missing, **after.missing},
        max(after.at - before.at, 0.0),
    )


def _card(before: CardSample | None, after: CardSample) -> CardSample:
    before = before or CardSample(after.name)
    return CardSample(
        after.name,
        _counts(before.totals, after.totals),
        _counts(before.driver, after.driver),
        _each(before.rx, after.rx),
        _each(before.tx, after.tx),
        _each(before.qdiscs, after.qdiscs),
        after.kinds,
        _each(before.interrupts, after.interrupts),
    )


def _each(
    before: Mapping[Any, Mapping[K, int]], after: Mapping[Any, Mapping[K, int]]
) -> Mapping[Any, Mapping[K, int]]:
    return OnDemand(after, lambda place: _counts(before.get(place, {}), after[place]))


def _counts(before: Mapping[K, int], after: Mapping[K, int]) -> dict[K, int]:
    found = {}
    for name, number in after.items():
        earlier = before.get(name, 0)
        plain = number >= earlier and name not in GAUGES  # so are nearly all, by the thousand
        found[name] = number - earlier if plain else _grown(name, earlier, number)
    return found


def _grown(name: object, before: int, after: int) -> int:
    if name in GAUGES or after < before:
        wrapped = name in NARROW and before < WORD and name not in GAUGES
        return after - before + WORD if wrapped and before - after > WORD // 2 else after
    return after - before


def total(counts: Iterable[Counts], name: str) -> int:
    """The sum of a number over queues, CPUs or qdiscs."""
    return sum(count.get(name, 0) for count in counts)


def dropped_of(counts: Counts) -> int:
    """What a queue or qdisc lost; -1 where nobody counts.

    The largest: it is one loss under three names where a driver counts for ethtool and for netlink.
    """
    return max(counts.get("drops", -1), counts.get("hw_drops", -1), counts.get("overruns", -1))


def interrupts_by_cpu(card: CardSample, irqs: Iterable[int] | None = None) -> dict[int, int]:
    """CPU -> interrupts of a card, of all of them or of those numbers; those that had some."""
    found: dict[int, int] = {}
    for irq in card.interrupts if irqs is None else irqs:
        for cpu, number in card.interrupts.get(irq, {}).items():
            if number:
                found[cpu] = found.get(cpu, 0) + number
    return found


def by_queue(counts: Mapping[Queue, Counts], role: str) -> Mapping[int, Counts]:
    """Those of one direction."""
    queues = {number: (kind, number) for kind, number in counts if kind == role}
    return OnDemand(queues, lambda number: counts[queues[number]])


def to_json(sample: Sample) -> dict[str, Any]:
    """The documented form; numbers as keys become text."""
    return _plain(sample)  # type: ignore[no-any-return]  # of a dataclass it is a mapping


def _plain(value: Any) -> Any:
    if isinstance(value, Sample | CardSample):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def from_json(data: Any) -> Sample:
    """Raises: ValueError for what is not as ``to_json`` makes it."""
    whole = _mapping(data)
    cards = {
        _number(i): CardSample(
            _text(card["name"]),
            _numbers(card["totals"]),
            _numbers(card["driver"]),
            _keyed(card["rx"], _numbers),
            _keyed(card["tx"], _numbers),
            {_place(at): _numbers(counts) for at, counts in _mapping(card["qdiscs"]).items()},
            {place: _text(kind) for place, kind in _mapping(card["kinds"]).items()},
            {_number(irq): _keyed(by_cpu, _whole)
             for irq, by_cpu in _mapping(card["interrupts"]).items()},
        )
        for i, card in _mapping(whole["cards"]).items()
    }  # fmt: skip
    at, seconds = whole["at"], whole["seconds"]
    if not all(isinstance(time, int | float) and 0 <= time < 1e12 for time in (at, seconds)):
        raise ValueError("at and seconds are no times")
    missing = {what: _text(why) for what, why in _mapping(whole["missing"]).items()}
    cpus = _keyed(whole["cpus"], _numbers)
    host = {name: _signed(number) for name, number in _mapping(whole["host"]).items()}
    return Sample(float(at), cpus, cards, host, missing, float(seconds))


def _mapping(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{str(data)[:20]!r} is no mapping")
    return data


def _keyed(data: Any, read: Callable[[Any], Any]) -> dict[int, Any]:
    """By CPU or queue."""
    return {_number(key, MAX_CPU): read(value) for key, value in _mapping(data).items()}


def _numbers(data: Any) -> dict[str, int]:
    return {name: _whole(number) for name, number in _mapping(data).items()}


def _number(text: str, beyond: int = WORD) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) < beyond):
        raise ValueError(f"{text[:20]!r} is no number")
    return int(text)


def _place(text: str) -> str:
    if text != "root":
        _number(text.removeprefix(f"{TX}-"), MAX_CPU)
    return text


def _whole(data: Any) -> int:
    if _signed(data) < 0:
        raise ValueError(f"{data} is no count")
    return int(data)


def _signed(data: Any) -> int:
    """Of protocols some are settings: ``TcpMaxConn`` is -1."""
    if type(data) is not int or not -WORD < data < WORD * WORD:
        raise ValueError(f"{str(data)[:20]!r} is no count")
    return data


def _text(data: Any) -> str:
    if not isinstance(data, str) or len(data) > 4096:
        raise ValueError(f"{str(data)[:20]!r} is no text")
    return data
