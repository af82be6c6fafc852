"""The values a setting can have: what tunables read, compare, write and show.

``str()`` is the form for people, plans and logs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import field

from netuned.cpuset import CpuSet
from netuned.records import dataclass


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """How many channels a card has open; ``combined`` ones count for both directions."""

    rx: int
    tx: int
    combined: int

    @property
    def rx_queues(self) -> int:
        return self.rx + self.combined

    @property
    def tx_queues(self) -> int:
        return self.tx + self.combined

    def __str__(self) -> str:
        parts = ((self.combined, "combined"), (self.rx, "rx"), (self.tx, "tx"))
        return " + ".join(f"{count} {kind}" for count, kind in parts if count) or "none"


@dataclass(frozen=True, slots=True)
class RssTable:
    """An RSS indirection table: entry *i* is the receive queue of hash values with index *i*."""

    entries: tuple[int, ...]
    """Empty: what the kernel chooses by itself, over ``queues`` queues."""
    queues: int = 0

    @property
    def shares(self) -> dict[int, int]:
        """Entries per queue; 1 for each where they are level, give or take one entry."""
        counts = Counter(self.entries)
        return dict.fromkeys(counts, 1) if counts and _level(counts) else dict(counts)

    @property
    def even_over(self) -> int:
        """How many queues, from 0 on, have equal shares, give or take one entry; 0 if uneven."""
        shares = self.shares
        even = set(shares) == set(range(len(shares))) and set(shares.values()) == {1}
        return len(shares) if even else 0

    def __str__(self) -> str:
        """``128 entries over 0-7`` when spread evenly, else ``… over 0*96 1*32``."""
        if not self.entries:
            return "kernel default"
        counts = Counter(self.entries)
        if _level(counts):
            spread = str(CpuSet.of(counts))
        else:
            spread = " ".join(f"{queue}*{count}" for queue, count in sorted(counts.items()))
        return f"{len(self.entries)} entries over {spread}"


@dataclass(frozen=True, slots=True)
class Qdisc:
    """The kind of a queueing discipline; its parameters are settings of their own.

    ``default`` marks the one the kernel attached by itself (handle 0), whatever its kind.
    ``handle`` is where the kernel put it; two qdiscs that differ only there are equal.
    """

    kind: str
    default: bool = False
    handle: int = field(default=0, compare=False)

    def __str__(self) -> str:
        if self.default:
            return f"{self.kind} (kernel default)" if self.kind else "kernel default"
        return self.kind


@dataclass(frozen=True, slots=True)
class FlowTable:
    """How many flows a table of receive flow steering holds: a power of two; 0 is no table."""

    entries: int

    @classmethod
    def holding(cls, flows: int) -> FlowTable:
        """The table the kernel makes for this many flows: it rounds up to a power of two."""
        return cls(1 << (flows - 1).bit_length() if flows else 0)

    def __str__(self) -> str:
        if not self.entries:
            return "none"
        return f"{self.entries} flow{'s' if self.entries > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the kernel's own unit; ``unit`` is how people are told of it."""

    value: int
    unit: str = field(default="", compare=False)
    text: str = field(default="", compare=False)
    """What people write for it where that is no number: ``off``, ``10gbit``."""

    def __str__(self) -> str:
        return self.text or f"{self.value} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Word:
    """One of the kernel's words, as ``on``, ``off`` or ``auto``."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class HashKey:
    """A key of the RSS hash, told to people by its size and the beginning of its digest alone.

    Who has it can send what all lands on one queue. ``digest`` is the beginning of its SHA-256,
    by which keys are equal; ``secret`` its bytes, none of a key in a snapshot.
    """

    size: int
    digest: str
    secret: bytes = field(default=b"", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.size} bytes ({self.digest[:8]})"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """What a sysctl holds, with single spaces, or what of it is wanted.

    ``bound`` is ``>=`` or ``<=`` where each of its numbers is to be at least, or at most, that.
    ``yields``: it is left to another program that sets it.
    """

    text: str
    bound: str = ""
    yields: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """The whole numbers that it holds; none where it holds anything else."""
        words = self.text.split()
        plain = all(len(word) < 20 and re.fullmatch("-?[0-9]+", word) for word in words)
        return tuple(map(int, words)) if plain else ()

    def __str__(self) -> str:
        return f"{self.bound}{self.text}"


_FIELDS = " src dst sport dport type vlan form "


@dataclass(frozen=True, slots=True)
class FlowRule:
    """What becomes of packets: those of ``proto`` whose fields are as in ``match`` go ``to`` there.

    ``match`` has names and texts (``("dport", "443")``, ``("src", "10.0.0.0/8")``), in one order
    wherever they come from: a profile, the kernel, a file. ``to`` is ``queue 3`` or ``drop``;
    of others' rules also ``context 1``, ``vf 0 queue 3``, ``wake``. One whose fields netuned has
    no words for has a ``form``.
    """

    proto: str
    match: tuple[tuple[str, str], ...]
    to: str

    def __post_init__(self) -> None:
        ordered = sorted(self.match, key=lambda said: (_FIELDS.find(f" {said[0]} "), said))
        object.__setattr__(self, "match", tuple(ordered))

    def __str__(self) -> str:
        words = [self.proto, *(f"{name} {text}" for name, text in self.match)]
        return " ".join((*words, "dropped" if self.to == "drop" else f"to {self.to}"))


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is wanted of irqbalance: ``leave`` it alone, ``stop`` it, or have it ``exclude`` cards.

    ``devices`` are the sysfs paths of the cards' devices, ``interrupts`` their numbers.
    """

    mode: str
    devices: frozenset[str] = frozenset()
    interrupts: frozenset[int] = frozenset()

    def __str__(self) -> str:
        if self.mode != "exclude":
            return self.mode
        numbers = CpuSet.of(self.interrupts)
        return f"exclude {numbers}" if numbers else "exclude (no interrupts)"


@dataclass(frozen=True, slots=True)
class Balancer:
    """How irqbalance is found: told what (as ``Exclusion`` has it), and doing what about it.

    ``balanced`` are the interrupts that it places. ``waiting``: what it was told shows after its
    next round only, or once it runs again.
    """

    told: Exclusion
    running: bool
    asks_policy: bool = False
    balanced: frozenset[int] = frozenset()
    waiting: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        if not self.running:
            return "being started or stopped" if self.waiting else "not running"
        if self.told.mode != "exclude":
            return "running"
        ours = CpuSet.of(self.balanced & self.told.interrupts)
        return f"running, balances {ours}" if ours else "running, leaves them alone"


@dataclass(frozen=True, slots=True)
class Absent:
    """What is not there: a rule that must go, or has not been made."""

    def __str__(self) -> str:
        return "none"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Told:
    """A value that another process told of: its text, and its form for programs."""

    text: str
    data: object = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.text


def _level(counts: Counter[int]) -> bool:
    return max(counts.values()) - min(counts.values()) <= 1


def describe(value: object) -> str:
    """A value for people: ``none`` for an empty set, empty text for what does not exist."""
    return "" if value is None else str(value) or "none"


Value = (
    CpuSet
    | ChannelCounts
    | RssTable
    | FlowTable
    | Qdisc
    | Number
    | Word
    | HashKey
    | Sysctl
    | FlowRule
    | Exclusion
    | Balancer
    | Absent
)
"""What a setting can hold."""

State = Mapping[str, Value]
"""One tunable of one card: key (``rx-3``, ``root``, or empty for the whole card) -> value."""

Setting = tuple[str, str]
"""One setting of a card: tunable and key."""
