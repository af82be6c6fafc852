"""The objective: what makes one placement better than another, term by term.

docs/placement.md gives the reasons. The terms are compared in the order of :class:`Score`: a later
one decides only between placements that all earlier ones find equally good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.hardware.topology import Topology

BOOT_CORE = 0
"""The core of CPU 0, by its lowest CPU: timers, interrupts and work nobody places run there."""

Layout = tuple[CpuSet, ...]
"""``layout[n]``: the CPUs that serve queue *n*."""


class Card(NamedTuple):
    """What the objective knows of one card.

    ``pool`` are the CPUs that may serve it, ``near`` those of them nearest to its NUMA node. Cards
    of one ``group`` are of one bond. ``homes[n]`` is where queue *n* was before, -1 where unknown.
    ``kept`` are the queues that the RSS table leaves out.
    """

    pool: CpuSet
    near: CpuSet
    group: str = ""
    homes: tuple[int, ...] = ()
    kept: frozenset[int] = frozenset()


class Score(NamedTuple):
    """The terms, each the smaller the better; a queue that may run on several CPUs loads none.

    The three loads are sums of squares: of two placements with as many queues the one whose
    busiest core (then the next busiest, …) has fewer has the smaller sum. Source: Harvey, Ladner,
    Lovász, Tamir, "Semi-matchings for bipartite graphs and load balancing", 2006.
    """

    excluded: int
    """Queues that may run on a CPU outside their pool."""
    remote: int
    """Queues on a NUMA node farther from the card than its pool makes necessary."""
    disturbed: int
    """Queues on the core of one that is kept out of the RSS table."""
    cores: int
    threads: int
    domains: int
    """L3 domains; one that spans NUMA nodes counts once for each."""
    unaligned: int
    """Summed over a bond's queue numbers: the CPUs that serve it, less one."""
    transmit: int
    """Summed over cards and CPUs: how far the nearest queue is. 0 the same CPU, 1 its core, 2 its
    L3 domain, 3 its node, 4 elsewhere."""
    moved: int
    """Queues that are not at home."""
    boot: int
    """Queues on the core of CPU 0."""


def score(places: Places, placed: Sequence[tuple[Card, Layout]]) -> Score:
    """Judge a placement of all cards."""
    single = [cpus.first for _, layout in placed for cpus in layout if len(cpus) == 1]
    return Score(
        excluded=sum(bool(cpus - card.pool) for card, layout in placed for cpus in layout),
        remote=sum(bool(cpus - card.near) for card, layout in placed for cpus in layout),
        disturbed=_disturbed(places, placed),
        cores=_squares(places.core[cpu] for cpu in single),
        threads=_squares(single),
        domains=_squares(places.domain[cpu] for cpu in single),
        unaligned=sum(_unaligned(placed)),
        transmit=sum(_transmit(places, layout) for _, layout in placed),
        moved=sum(
            home >= 0 and CpuSet(1 << home) != cpus
            for card, layout in placed
            for home, cpus in zip(card.homes, layout, strict=False)
        ),
        boot=sum(places.core[cpu] == BOOT_CORE for cpu in single),
    )


class Places:
    """Where each online CPU is: lists by CPU number of the core, L3 domain and node it is in.

    A core, a domain and a node is known by its lowest CPU; each lies within the next. ``size``
    are the CPUs of each: ``size[level][lowest]`` with level 0 the CPU itself, then core, domain,
    node.
    """

    def __init__(self, topology: Topology) -> None:
        online = topology.online
        length = online.bits.bit_length()
        self.core = [-1] * length
        self.domain = [-1] * length
        self.node = [-1] * length
        nodes = [cpus & online for cpus in topology.nodes.values() if cpus & online]
        rest = online
        for cpus in nodes:
            rest -= cpus
        for cpus in (*nodes, rest):
            for cpu in cpus:
                self.node[cpu] = cpus.first
        for groups, lowest in ((topology.cores, self.core), (topology.l3_domains, self.domain)):
            for group in groups:
                parts: dict[int, int] = {}
                for cpu in group & online:
                    lowest[cpu] = parts.setdefault(self.node[cpu], cpu)
        for cpu in online:  # where the kernel tells nothing
            self.core[cpu] = cpu if self.core[cpu] < 0 else self.core[cpu]
            self.domain[cpu] = self.core[cpu] if self.domain[cpu] < 0 else self.domain[cpu]
        own = list(range(length))
        self.levels = (own, self.core, self.domain, self.node)
        self.size = tuple(Counter(level[cpu] for cpu in online) for level in self.levels)
        self.threads: dict[int, list[int]] = {}
        """The CPUs of each core."""
        for cpu in online:
            self.threads.setdefault(self.core[cpu], []).append(cpu)
        self.alone = {cpu: CpuSet(1 << cpu) for cpu in online}
        """The set of each CPU by itself."""
        self._by_domain: dict[CpuSet, dict[int, list[int]]] = {}
        self.order = sorted(
            online, key=lambda cpu: (self.node[cpu], self.domain[cpu], self.core[cpu], cpu)
        )
        """CPUs so that neighbours in the machine are next to each other."""
        self._in_order: dict[CpuSet, tuple[int, ...]] = {}
        self.online = online

    @cached_property
    def rank(self) -> Mapping[int, int]:
        """Of each CPU its place in ``order``."""
        return {cpu: at for at, cpu in enumerate(self.order)}

    @cached_property
    def members(self) -> tuple[Mapping[int, Sequence[int]], ...]:
        """The CPUs of each part of the machine, in ``order``: ``members[level][lowest]``."""
        found: tuple[dict[int, list[int]], ...] = tuple({} for _ in self.levels)
        for cpu in self.order:
            for level, parts in zip(self.levels, found, strict=True):
                parts.setdefault(level[cpu], []).append(cpu)
        return found

    def in_order(self, cpus: CpuSet) -> tuple[int, ...]:
        """The CPUs of a set that are online, in ``order``; most cards ask of the same few sets."""
        if cpus not in self._in_order:
            self._in_order[cpus] = tuple(cpu for cpu in self.order if cpu in cpus)
        return self._in_order[cpus]

    def by_domain(self, cpus: CpuSet) -> Mapping[int, Sequence[int]]:
        """The CPUs of a set in each L3 domain; most cards ask of the same few sets."""
        if cpus not in self._by_domain:
            found = self._by_domain[cpus] = {}
            for cpu in cpus:
                found.setdefault(self.domain[cpu], []).append(cpu)
        return self._by_domain[cpus]


def _squares(places: Iterable[int]) -> int:
    return sum(count * count for count in Counter(places).values())


def _disturbed(places: Places, placed: Sequence[tuple[Card, Layout]]) -> int:
    kept = Counter(
        places.core[layout[queue].first]
        for card, layout in placed
        for queue in sorted(card.kept)
        if queue < len(layout) and len(layout[queue]) == 1
    )
    everyone = Counter(
        places.core[cpus.first] for _, layout in placed for cpus in layout if len(cpus) == 1
    )
    return sum(everyone[core] - 1 for core in kept)


def _unaligned(placed: Sequence[tuple[Card, Layout]]) -> Iterator[int]:
    bonds: dict[str, list[Layout]] = {}
    for card, layout in placed:
        if card.group:
            bonds.setdefault(card.group, []).append(layout)
    for layouts in bonds.values():
        for queue in range(max(map(len, layouts))):
            yield len({layout[queue] for layout in layouts if queue < len(layout)}) - 1


def _transmit(places: Places, layout: Layout) -> int:
    """A CPU is as far away as there are levels (itself, core, domain, node) without a queue."""
    served = CpuSet()
    for cpus in layout:
        served |= cpus
    missing = 0
    for level, sizes in zip(places.levels, places.size, strict=True):
        missing += len(places.online) - sum(sizes[at] for at in {level[cpu] for cpu in served})
    return missing
