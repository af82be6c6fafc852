"""Pure: which CPU serves which queue, decided once for all cards together.

In this order: no queue outside the card's pool; none on a remote node while the pool has local
CPUs; fewest queues on the busiest core, then thread; evenly over L3 domains; the lowest CPU. All
cards share one count of what each CPU already serves, so several on a node share it evenly. The
same input gives the same layout in whatever order cards are enumerated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netuned.cpuset import CpuSet
from netuned.topology import Topology

ONE_PER_QUEUE = "one-per-queue"
PACK = "pack"
ALL = "all"

Layout = tuple[CpuSet, ...]
"""``layout[n]``: the CPUs that serve queue *n*."""


@dataclass(frozen=True, slots=True)
class Request:
    """One card that wants CPUs: ``place`` orders it among the others (device path, then name)."""

    place: tuple[str, str]
    ifindex: int
    queues: int
    pool: CpuSet
    local: CpuSet
    spread: str = ONE_PER_QUEUE


def place(topology: Topology, requests: Iterable[Request]) -> Mapping[int, Layout]:
    """Lay out every card's queues. Shapes: one Layout per ifindex, ``queues`` long."""
    load = _Load(topology)
    layouts = {}
    for request in sorted(requests, key=lambda request: (request.place, request.ifindex)):
        near = request.pool & request.local or request.pool
        layouts[request.ifindex] = _lay(load, near, request)
    return layouts


def _lay(load: _Load, near: CpuSet, request: Request) -> Layout:
    if request.spread == ALL:
        return (near,) * request.queues
    if request.spread == PACK:
        order = load.packed(near)
        return tuple(CpuSet(1 << order[n % len(order)]) for n in range(request.queues))
    return tuple(CpuSet(1 << load.take(near)) for _ in range(request.queues))


class _Load:
    """How many queues each core, thread and L3 domain serves so far."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._cores: Counter[CpuSet] = Counter()
        self._threads: Counter[int] = Counter()
        self._domains: Counter[CpuSet] = Counter()

    def take(self, cpus: CpuSet) -> int:
        """The CPU that the objective prefers now, counted as serving one queue more."""
        topology = self._topology
        best = min(
            cpus,
            key=lambda cpu: (
                self._cores[topology.core_of(cpu)],
                self._threads[cpu],
                self._domains[topology.l3_of(cpu)],
                cpu,
            ),
        )
        self._cores[topology.core_of(best)] += 1
        self._threads[best] += 1
        self._domains[topology.l3_of(best)] += 1
        return best

    def packed(self, cpus: CpuSet) -> tuple[int, ...]:
        """CPUs so that a prefix covers the fewest L3 domains and cores: siblings side by side."""
        topology = self._topology
        return tuple(
            sorted(cpus, key=lambda c: (topology.l3_of(c).first, topology.core_of(c).first, c))
        )
