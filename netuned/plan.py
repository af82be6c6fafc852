"""Change and Plan: what would be written, from what, to what, why, whether it drops the link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.records import dataclass
from netuned.regex import regex
from netuned.values import Value, describe

MOST = 3
"""Sentences on one tunable of a card; more say the same."""

_QUEUE = regex(r"([a-z]+)-([0-9]+)((?: .*)?)")

WHY_WITHHELD = "policy.disruptive is deny, and it drops the link"
"""Why a change is withheld: nothing else withholds one."""


class Waiting(str):
    """Why a setting stays as it is for now: something needs it so, and once that goes it is set."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``key`` names the queue (``rx-3``, ``root``) or is empty for the whole card.

    ``ifname`` is empty for a setting of the host. ``before`` is None where there is none yet (a
    queue that a channel change will bring), ABSENT where there is none and may be one.
    """

    ifname: str
    tunable: str
    key: str
    before: Value | None
    after: Value
    why: str
    disruptive: bool = False

    def __str__(self) -> str:
        setting = f"{self.tunable} {self.key}".rstrip()
        before = "(to come)" if self.before is None else describe(self.before)
        return f"{self.ifname or 'host'} {setting}: {before} -> {describe(self.after)}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a card cannot be planned or brought into force: its name and a sentence."""

    ifname: str
    message: str


class Lack(NamedTuple):
    """A setting that a card, or the host (an empty name), cannot have or not in full, and why."""

    ifname: str
    tunable: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All pending changes in the order they would be made, and what stands in the way.

    ``withheld`` are changes that the policy of their profile forbids, ``unsupported`` what no write
    would bring about; over D-Bus status has these.
    """

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...] = ()
    withheld: tuple[Change, ...] = ()
    unsupported: tuple[Lack, ...] = ()


def merged(changes: Iterable[Change]) -> Iterator[Change]:
    """Changes for people: those of a tunable that differ in nothing but the queue are one.

    Its key is ``rx 0-7`` then, and its place that of the first.
    """
    for _, run in groupby(changes, key=lambda change: (change.ifname, change.tunable)):
        alike: dict[tuple[object, ...], list[Change]] = {}
        for change in run:
            apart = (change.before, change.after, change.why, change.disruptive)
            alike.setdefault((*_without_queue(change.key), *apart), []).append(change)
        for each in alike.values():
            (key,) = merged_keys(change.key for change in each)
            yield replace(each[0], key=key)


def in_short(changes: Iterable[Change]) -> Iterator[str]:
    """What changes are, ``merged``; of a tunable that has more than ``MOST`` only where."""
    for _, run in groupby(changes, key=lambda change: (change.ifname, change.tunable)):
        of_one = tuple(run)
        shown = tuple(merged(of_one))
        if len(shown) <= MOST:
            yield from map(str, shown)
        else:
            keys = ", ".join(merged_keys(change.key for change in of_one))
            yield f"{shown[0].ifname or 'host'} {shown[0].tunable} {keys}"


def merged_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """``rx-0``, ``rx-1`` and ``root`` as ``rx 0-1`` and ``root``."""
    alike: dict[tuple[str, bool, str], list[str]] = {}
    for key in keys:
        alike.setdefault(_without_queue(key), []).append(key)
    return tuple(
        each[0] if len(each) == 1 else f"{kind} {CpuSet.of(map(_queue, each))}{rest}"
        for (kind, _, rest), each in alike.items()
    )


def _without_queue(key: str) -> tuple[str, bool, str]:
    """``tx-3 fq limit`` as ``tx``, whether it is a queue's, and `` fq limit``."""
    queue = _QUEUE.fullmatch(key)
    return (queue[1], True, queue[3]) if queue else (key, False, "")


def _queue(key: str) -> int:
    queue = _QUEUE.fullmatch(key)
    return int(queue[2]) if queue else 0
