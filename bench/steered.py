"""Tables of several makers on the same simulated traffic, and how long packets wait behind each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.optimize import Bounds as Between
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from bench.steering import Bounds, Memory, after, decide
from bench.traces import STEP_S, Trace

DECIDED = 5
"""In every how many steps a table may change: half a second."""
PACKET_US = 1.0
"""What a packet costs its CPU."""
RING = 1024
Table = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one trace: delays of packets in a queue, in µs; busiest queue over the mean, on average.

    ``dropped`` is a share of all packets, ``moves`` entries a minute, ``reordered`` flows a minute
    of which packets waited in the old queue when their entry moved. ``returns`` counts entries
    that came back within a minute to where they had been.
    """

    p95_us: float
    imbalance: float
    dropped: float
    moves: float
    reordered: float
    returns: int
    table: Table


Maker = Callable[[int, Table, Any, Any], Table]
"""Step, table in force, loads of queues and of entries in the last interval → the next table."""


def equal(entries: int, queues: int) -> Table:
    """The kernel's default."""
    return tuple(entry % queues for entry in range(entries))


def static() -> Maker:
    """Nothing moves."""

    def make(step: int, table: Table, queues: Any, entries: Any) -> Table:
        return table

    return make


def steered(bounds: Bounds | None = None) -> Maker:
    """By ``steering``, which sees the queues' loads alone."""
    memory = Memory()

    def make(step: int, table: Table, queues: Any, entries: Any) -> Table:
        nonlocal memory
        seen = numpy.minimum(queues, 1.0).tolist()
        memory, moves = decide(memory, step * STEP_S, table, seen, bounds or Bounds())
        return after(table, moves)

    return make


THRESHOLD = 0.05


def by_entry() -> Maker:
    """After RSS++: it counts every entry's packets, and evens out what is off the mean."""

    def make(step: int, table: Table, queues: Any, entries: Any) -> Table:
        loads, mean, whole = numpy.array(queues), float(numpy.mean(queues)), list(table)
        for source in numpy.argsort(-loads):
            own = [entry for entry in range(len(whole)) if whole[entry] == source]
            for entry in sorted(own, key=lambda entry: -entries[entry]):
                target = int(numpy.argmin(loads))
                load = entries[entry]
                fits = loads[target] + load <= mean + THRESHOLD
                if loads[source] - mean > THRESHOLD and fits and load > THRESHOLD / 20:
                    loads[source] -= load
                    loads[target] += load
                    whole[entry] = target
        return tuple(whole)

    return make


def simulate(trace: Trace, maker: Maker, warm_s: float = 0.0) -> Outcome:
    """Each queue is a server of its own, M/D/1 in each step; what its ring cannot hold is lost.

    What is before ``warm_s`` is not counted, but for moves and returns.
    """
    traffic = trace.traffic
    table = equal(traffic.entries, traffic.queues)
    began: dict[int, tuple[int, int]] = {}
    delays, packets, imbalances = [], [], []
    offered = lost = reordered = 0.0
    moves = returns = 0
    steps = len(trace.loads)
    for step in range(steps):
        loads = numpy.bincount(table, trace.loads[step], minlength=traffic.queues)
        rho = numpy.minimum(loads, 1 - 1 / (2 * RING))
        waits = numpy.minimum(rho / (2 * (1 - rho)), RING) * PACKET_US
        if step * STEP_S >= warm_s:
            delays.append(waits + PACKET_US)
            packets.append(numpy.minimum(loads, 1.0))
            imbalances.append(loads.max() / loads.mean())
            offered += float(loads.sum())
            lost += float(numpy.maximum(loads - 1, 0).sum())
        if (step + 1) % DECIDED:
            continue
        recent = trace.loads[step + 1 - DECIDED : step + 1].mean(axis=0)
        old = table
        queues = numpy.bincount(table, recent, minlength=traffic.queues)
        table = maker(step, table, queues, recent)
        for entry in (entry for entry in range(len(table)) if table[entry] != old[entry]):
            moves += 1
            source, at = began.get(entry, (-1, 0))
            returns += source == table[entry] and (step - at) * STEP_S < 60
            began[entry] = (old[entry], step)
            rates = trace.rates[trace.entries[step] == entry] / PACKET_US * trace.waves[step]
            reordered += float((1 - numpy.exp(-rates * waits[old[entry]])).sum())
    minutes = steps * STEP_S / 60
    return Outcome(
        _p95(numpy.concatenate(delays), numpy.concatenate(packets)),
        float(numpy.mean(imbalances)),
        lost / offered,
        moves / minutes,
        reordered / minutes,
        returns,
        table,
    )


def _p95(values: Any, weights: Any) -> float:
    order = numpy.argsort(values)
    shares = numpy.cumsum(weights[order])
    return float(values[order][numpy.searchsorted(shares, 0.95 * shares[-1])])


def optimum(loads: Sequence[float], queues: int) -> float:
    """The least that the busiest queue can have, whatever the table, by integer programming."""
    count = len(loads)
    entry, queue = numpy.divmod(numpy.arange(count * queues), queues)
    one = numpy.arange(count * queues)
    placed = coo_array((numpy.ones(len(one)), (entry, one)), (count, count * queues + 1))
    filled = coo_array(
        (
            numpy.concatenate([numpy.asarray(loads)[entry], -numpy.ones(queues)]),
            (
                numpy.concatenate([queue, numpy.arange(queues)]),
                numpy.concatenate([one, numpy.full(queues, count * queues)]),
            ),
        ),
        (queues, count * queues + 1),
    )
    cost = numpy.zeros(count * queues + 1)
    cost[-1] = 1
    integral = numpy.ones(count * queues + 1)
    integral[-1] = 0
    upper = numpy.ones(count * queues + 1)
    upper[-1] = numpy.inf
    solved = milp(
        cost,
        constraints=[LinearConstraint(placed, 1, 1), LinearConstraint(filled, ub=0)],
        integrality=integral,
        bounds=Between(0, upper),
        options={"time_limit": 20, "mip_rel_gap": 0.01},
    )
    return float(solved.fun)
