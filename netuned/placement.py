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
    """One card that wants CPUs: ``place`` orders it among the others (device path, then name).

    ``fixed`` is where its interrupts are and stay, empty if they are to be placed. A card without
    interrupts (``counts`` false) gets CPUs as any other but takes none from the others.
    """

    place: tuple[str, str]
    ifindex: int
    queues: int
    pool: CpuSet
    local: CpuSet
    spread: str = ONE_PER_QUEUE
    fixed: Layout = ()
    counts: bool = True


def place(topology: Topology, requests: Iterable[Request]) -> Mapping[int, Layout]:
    """Lay out every card's queues. Shapes: one Layout per ifindex, ``queues`` long."""
    load = _Load(topology)
    ordered = sorted(requests, key=lambda request: (request.place, request.ifindex))
    layouts = {request.ifindex: request.fixed for request in ordered if request.fixed}
    for layout in layouts.values():
        load.add(layout)
    for counts in (True, False):
        for request in ordered:
            if not request.fixed and request.counts is counts:
                layouts[request.ifindex] = _lay(load, near(request.pool, request.local), request)
    return layouts


def near(pool: CpuSet, local: CpuSet) -> CpuSet:
    """Of a pool, the CPUs that serve: the card's local ones while there are any."""
    return pool & local or pool


def _lay(load: _Load, cpus: CpuSet, request: Request) -> Layout:
    if request.spread == ALL:
        return (cpus,) * request.queues
    if request.spread == PACK:
        order = load.packed(cpus)
        layout = tuple(CpuSet(1 << order[n % len(order)]) for n in range(request.queues))
        load.add(layout)
        return layout
    return tuple(CpuSet(1 << load.take(cpus)) for _ in range(request.queues))


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
        self._count(best)
        return best

    def add(self, layout: Layout) -> None:
        """Count queues that are placed already; one that may run anywhere burdens no CPU."""
        for cpus in layout:
            if len(cpus) == 1:
                self._count(cpus.first)

    def _count(self, cpu: int) -> None:
        self._cores[self._topology.core_of(cpu)] += 1
        self._threads[cpu] += 1
        self._domains[self._topology.l3_of(cpu)] += 1

    def packed(self, cpus: CpuSet) -> tuple[int, ...]:
        """CPUs so that a prefix covers the fewest L3 domains and cores: siblings side by side."""
        topology = self._topology
        return tuple(
            sorted(cpus, key=lambda c: (topology.l3_of(c).first, topology.core_of(c).first, c))
        )
