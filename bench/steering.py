"""A table that follows the load: a few entries go from the busiest queue to the idlest.

Not in netuned: ``docs/effect.md`` has what it brings, and why that is too little.
Pure, and of what cards count: each queue's load, never an entry's. An entry that was never moved is
taken to have an equal part of its queue's load; one that was, what its new queue rose by.

Source: Barbette et al., "RSS++: load and state-aware receive side scaling", CoNEXT 2019, which
counts packets by entry in software and so knows what it moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a table is changed, and how often. Loads are shares of a CPU's time, 0 to 1."""

    busy: float = 0.5
    """What the busiest queue must have before anything moves: below, packets hardly wait."""
    quiet: float = 0.1
    """With less on the busiest queue, for ``quiet_s``, the table goes back to equal shares."""
    quiet_s: float = 30.0
    begin: float = 1.2
    """The busiest queue's load over the mean, to begin with moves …"""
    end: float = 1.1
    """… and to end."""
    least_gain: float = 0.02
    """A move that lowers the busiest queue by less is not made, nor one by less than noise."""
    at_once: int = 4
    a_minute: int = 60
    rest_s: float = 10.0
    """How long an entry stays where it was moved to."""
    kept_s: float = 120.0
    """How long it is believed what an entry's load was."""
    off_s: float = 600.0
    """How long nothing moves after moves have not helped."""


@dataclass(frozen=True, slots=True)
class Move:
    """An entry's way from one queue to another; ``load`` is what it is believed to take along.

    ``before`` is the load of the queue it leaves, ``after`` that of the busier of both afterwards;
    ``back`` says that it is for equal shares, because all is quiet.
    """

    entry: int
    source: int
    target: int
    load: float = 0.0
    before: float = 0.0
    after: float = 0.0
    back: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """An entry's load as it was measured ``at_s``, when it moved."""

    load: float
    at_s: float


WATCHING, STEERING, RETURNING = "watching", "steering", "returning"


SPAN = 120
WATCHED, TRIED = 20, 120
"""Intervals under equal shares before the first move; and since then, before it is judged."""
WORTH = 0.9
"""More than this of the excess left by then, and moving is not worth it."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of what the last intervals had, and of how many there were."""

    value: float = 0.0
    count: int = 0

    def with_another(self, value: float) -> Mean:
        """Of the first ``SPAN`` all count the same, later ones decay."""
        count = self.count + 1
        return Mean(self.value + (value - self.value) / min(count, SPAN), count)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known from earlier decisions; empty at first, and after anything else moved entries.

    ``loads`` and ``noise`` are by queue: the load smoothed, and the mean of what single intervals
    differ from it. ``moved`` has the times of the last minute's moves. ``even`` and ``steered``
    are by how much the busiest queue exceeds the mean, under equal shares and since the first move.
    """

    loads: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()
    known: Mapping[int, Known] = field(default_factory=dict)
    pending: tuple[Move, ...] = ()
    moved: tuple[float, ...] = ()
    phase: str = WATCHING
    is_moving: bool = False
    even: Mean = Mean()
    steered: Mean = Mean()
    quiet_since_s: float | None = None
    off_until_s: float = 0.0


SMOOTHED = 0.2
NOISE_SMOOTHED = 0.1
NOISES = 1.5
"""How many times the noise of both queues a gain must be."""


def decide(
    memory: Memory, now_s: float, table: Sequence[int], loads: Sequence[float], bounds: Bounds
) -> tuple[Memory, tuple[Move, ...]]:
    """What is known after an interval in which ``table`` was in force, and what moves now.

    ``table`` has a queue for each entry; ``loads``, by queue, are of the last interval: the share
    of its CPU's time that receiving took, at most 1. The caller makes all of the moves, or forgets
    the memory.
    """
    known = _judged(_learnt(memory, now_s, loads, bounds), now_s, loads, bounds)
    left = min(bounds.at_once, bounds.a_minute - len(known.moved))
    moves: tuple[Move, ...] = ()
    if known.phase == RETURNING:
        moves = tuple(_back(table, len(loads), left))
        if left > 0 and not moves:
            known = replace(known, phase=WATCHING, known={}, even=Mean(), steered=Mean())
    elif known.is_moving:
        moves = tuple(_towards_even(known, now_s, table, left, bounds))
        if moves and known.phase == WATCHING:
            known = replace(known, phase=STEERING)
    return replace(known, pending=moves, moved=known.moved + (now_s,) * len(moves)), moves


def _judged(memory: Memory, now_s: float, loads: Sequence[float], bounds: Bounds) -> Memory:
    """Whether there is reason to move anything, and whether moving has helped until now."""
    busiest, mean = max(memory.loads), sum(memory.loads) / len(memory.loads)
    phase, even, steered = memory.phase, memory.even, memory.steered
    off_until, quiet_since = memory.off_until_s, memory.quiet_since_s
    if busiest >= bounds.quiet:
        quiet_since = None
    elif quiet_since is None:
        quiet_since = now_s
    excess = max(loads) * len(loads) / (sum(loads) or 1.0) - 1
    if phase == WATCHING and busiest >= bounds.busy:
        even = even.with_another(excess)
    elif phase == STEERING and busiest >= bounds.quiet:  # that it is not busy may be its merit
        steered = steered.with_another(excess)
    if phase == STEERING:
        if steered.count >= TRIED and steered.value > WORTH * even.value:
            phase, off_until = RETURNING, now_s + bounds.off_s
        elif quiet_since is not None and now_s - quiet_since >= bounds.quiet_s:
            phase = RETURNING
    threshold = mean * (bounds.end if memory.is_moving else bounds.begin)
    return replace(
        memory,
        phase=phase,
        even=even,
        steered=steered,
        is_moving=busiest >= bounds.busy
        and busiest >= threshold
        and (phase == STEERING or (even.count >= WATCHED and now_s >= off_until)),
        quiet_since_s=quiet_since,
        off_until_s=off_until,
    )


def _learnt(memory: Memory, now_s: float, loads: Sequence[float], bounds: Bounds) -> Memory:
    if len(memory.loads) != len(loads):
        return Memory(tuple(loads), (0.0,) * len(loads))
    touched = {queue for move in memory.pending for queue in (move.source, move.target)}
    swell = sum(loads) / (sum(memory.loads) or 1.0)  # what all have in common is not noise
    smooth, noise = list(loads), list(memory.noise)
    for queue, (load, before) in enumerate(zip(loads, memory.loads, strict=True)):
        if queue not in touched:
            off = load - before * swell
            smooth[queue] = load - (1 - SMOOTHED) * off
            noise[queue] += NOISE_SMOOTHED * (abs(off) - noise[queue])
    known = dict(memory.known)
    if any(now_s - each.at_s > bounds.kept_s for each in known.values()):
        known = {e: each for e, each in known.items() if now_s - each.at_s <= bounds.kept_s}
    for move in memory.pending:
        if move.back:
            known.pop(move.entry, None)
            continue
        rise = loads[move.target] - memory.loads[move.target] * swell
        surprise = (rise - move.load) ** 2
        doubt = 2 * noise[move.target] ** 2
        believed = move.load + (rise - move.load) * surprise / ((surprise + doubt) or 1.0)
        known[move.entry] = Known(min(max(believed, 0.0), 1.0), now_s)
    return replace(
        memory,
        loads=tuple(smooth),
        noise=tuple(noise),
        known=known,
        moved=tuple(at for at in memory.moved if now_s - at < 60),
    )


def _towards_even(
    memory: Memory, now_s: float, table: Sequence[int], most: int, bounds: Bounds
) -> Iterator[Move]:
    """Moves, each to another queue so that what it brings there can be told."""
    loads = list(memory.loads)
    targets = set(range(len(loads)))
    gone = set[int]()
    for _ in range(most):
        source = loads.index(max(loads))
        targets.discard(source)
        if not targets:
            return
        target = min(targets, key=loads.__getitem__)
        least = max(bounds.least_gain, NOISES * max(memory.noise[source], memory.noise[target]))
        gap = loads[source] - loads[target]
        own = [entry for entry in _entries(table, source) if entry not in gone]
        fitting = [
            (load, entry)
            for entry, load in _loads_of(own, loads[source], memory.known)
            if least <= load <= gap - least and not _rests(memory.known, entry, now_s, bounds)
        ]
        if len(own) < 2 or not fitting:
            return
        # the most that leaves the source the busier, else what overshoots least
        half = gap / 2
        load, entry = min(fitting, key=lambda each: abs(each[0] - half))
        before = loads[source]
        loads[source] -= load
        loads[target] += load
        targets.discard(target)
        gone.add(entry)
        yield Move(entry, source, target, load, before, max(loads[source], loads[target]))


def _entries(table: Sequence[int], queue: int) -> Iterator[int]:
    """A queue's entries; the search is the sequence's own, which is three times as fast."""
    entry = -1
    for _ in range(table.count(queue)):
        entry = table.index(queue, entry + 1)
        yield entry


def _rests(known: Mapping[int, Known], entry: int, now_s: float, bounds: Bounds) -> bool:
    each = known.get(entry)
    return each is not None and now_s - each.at_s < bounds.rest_s


def _loads_of(
    own: Sequence[int], load: float, known: Mapping[int, Known]
) -> Iterator[tuple[int, float]]:
    """A queue's entries, each with its part of the queue's load."""
    told = sum(known[entry].load for entry in own if entry in known)
    others = sum(entry not in known for entry in own)
    scale = 1.0 if told <= load else load / told
    if others == 0 and told > 0:
        scale = load / told
    rest = max(load - told, 0.0) / (others or 1)
    for entry in own:
        yield entry, known[entry].load * scale if entry in known else rest


def _back(table: Sequence[int], queues: int, most: int) -> Iterator[Move]:
    """The fewest moves towards equal shares."""
    counts = Counter(dict.fromkeys(range(queues), 0) | Counter(table))
    whole = list(table)
    for _ in range(most):
        source, target = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[source] - counts[target] < 2:
            return
        entry = whole.index(source)
        whole[entry] = target
        counts[source] -= 1
        counts[target] += 1
        yield Move(entry, source, target, back=True)


def after(table: Sequence[int], moves: Sequence[Move]) -> tuple[int, ...]:
    """The table with the moves made."""
    whole = list(table)
    for move in moves:
        whole[move.entry] = move.target
    return tuple(whole)
