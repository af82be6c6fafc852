"""Groups of hosts that fare alike, the worst first, each with one of them as its example."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Generic, TypeVar

from netuned.cpuset import CpuSet
from netuned.records import dataclass
from netuned.regex import regex
from netuned.text import counted

T = TypeVar("T")

_NUMBERED = regex(r"(.*?)([0-9]{1,4})([^0-9]*)")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """One host. Those of the same ``group`` fare alike; ``rank`` is 0 for the worst.

    ``exactly`` is the same for those of a group that have nothing but their names apart.
    """

    host: str
    rank: int
    group: bytes
    exactly: bytes
    shown: T


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that tells nothing of a host, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Group(Generic[T]):
    """Hosts that fare alike, in the order they came; ``example`` is the first of them."""

    example: Seen[T]
    hosts: list[str] = field(default_factory=list)
    alike: bool = True
    """Whether all are exactly as the first."""

    def add(self, seen: Seen[T]) -> None:
        self.hosts.append(seen.host)
        self.alike = self.alike and seen.exactly == self.example.exactly


def grouped(found: Iterable[Seen[T] | Unread]) -> tuple[list[Group[T]], list[Unread]]:
    """The groups, the worst first and of those the largest, and the files that tell nothing.

    Of each host no more is kept than its name; of each group what its first is shown with.
    """
    groups: dict[bytes, Group[T]] = {}
    unread = []
    for each in found:
        if isinstance(each, Unread):
            unread.append(each)
        else:
            groups.setdefault(each.group, Group(each)).add(each)
    return sorted(
        groups.values(), key=lambda group: (group.example.rank, -len(group.hosts))
    ), unread


def counts(groups: Iterable[Group[T]], unread: Sequence[Unread], kinds: Sequence[str]) -> str:
    """How many hosts there are of which of ``kinds``, in a sentence."""
    how: Counter[str] = Counter()
    for group in groups:
        how[kinds[group.example.rank]] += len(group.hosts)
    parts = [f"{number} {kind}" for kind, number in how.items()]
    parts += [f"{len(unread)} cannot be read"] if unread else []
    return f"{counted(how.total() + len(unread), 'host')}: {', '.join(parts)}."


def digest(data: object) -> bytes:
    """What tells data apart, of which the representation is nothing but what it holds."""
    return hashlib.blake2b(repr(data).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def folded(hosts: Iterable[str]) -> str:
    """Names of hosts in short, as pdsh has them: ``web[01-40,42]``."""
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for host in hosts:
        match = _NUMBERED.fullmatch(host)
        before, number, after = match.groups() if match else (host, "", "")
        alike.setdefault((before, after, bool(number)), []).append(number)
    return ", ".join(
        _folded(before, after, each)
        for (before, after, _), numbers in alike.items()
        for each in _by_width(numbers)
    )


def _by_width(numbers: list[str]) -> Iterable[list[str]]:
    """As they are, or where some begin with a 0, those of each length."""
    if not any(number.startswith("0") for number in numbers):
        return [numbers]
    widths = dict.fromkeys(map(len, numbers))
    return [[number for number in numbers if len(number) == width] for width in widths]


def _folded(before: str, after: str, numbers: list[str]) -> str:
    if len(numbers) == 1 or not numbers[0]:
        return f"{before}{numbers[0]}{after}"
    width = len(numbers[0]) if min(numbers).startswith("0") else 0
    spans = str(CpuSet.of(map(int, numbers)))
    return f"{before}[{re.sub('[0-9]+', lambda found: found[0].zfill(width), spans)}]{after}"
