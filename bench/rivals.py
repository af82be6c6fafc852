"""How others lay out a card's queues, by their documented rules; docs/benchmarks.md cites them.

Each has a ``scope``, the CPUs it takes for each card, and a ``rule``, which of them it gives to
the card's queues in turn. No rival looks at what other cards have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import NamedTuple, TypeVar

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.topology import Topology
from netuned.placement.objective import Layout
from netuned.placement.place import Request

Scope = Callable[[Topology, Sequence[Request]], list[Request]]
Rule = Callable[[Topology, CpuSet, int], Iterable[int]]
T = TypeVar("T")

CORES_PER_IRQ_CORE = 16
"""perftune's default --irq-core-auto-detection-ratio."""


class Rival(NamedTuple):
    name: str
    scope: Scope
    rule: Rule

    def layouts(self, topology: Topology, scoped: Sequence[Request]) -> list[Layout]:
        """A layout for each card, of the CPUs in its scope. Raises: UnsupportedError."""
        layouts = []
        for request in scoped:
            near = topology.nearest(request.pool, request.node)
            cpus = self.rule(topology, near, request.queues)
            layouts.append(tuple(CpuSet(1 << cpu) for cpu in cpus))
        return layouts


# Rules


def distrib(topology: Topology, cpus: CpuSet, queues: int) -> list[int]:
    """``hwloc-distrib N --single --restrict cpus``."""
    return [group.first for group in distributed(topology, cpus, queues)]


def distributed(topology: Topology, cpus: CpuSet, number: int) -> list[CpuSet]:
    """Give each object of the tree a part of ``number`` in proportion to its CPUs, rounded up.

    Source: hwloc 3b37b024, include/hwloc/helper.h, hwloc_distrib().
    """
    threads = tuple(CpuSet(1 << cpu) for cpu in cpus)
    levels = [
        *(topology.packages, tuple(topology.nodes.values()), topology.dies, topology.l3_domains),
        *(topology.clusters, topology.l2_domains, topology.cores, threads),
    ]
    found: list[CpuSet] = []

    def share(groups: Sequence[CpuSet], below: int, number: int) -> None:
        total = sum(map(len, groups))
        weight = 0
        for group in groups:
            before, weight = weight, weight + len(group)
            chunk = -(-weight * number // total) + (-before * number // total)
            if chunk > 1 and below < len(levels):
                share(_parts(group, levels[below]), below + 1, chunk)
            elif chunk:
                found.extend([group] * chunk)
            else:  # those left without a part go with the one before
                found[-1] |= group

    share([cpus], 0, number)
    return found


def _parts(group: CpuSet, level: Iterable[CpuSet]) -> list[CpuSet]:
    """What a level of the tree makes of a group; the group itself where it says nothing."""
    parts = [part & group for part in level if part & group]
    return sorted(parts, key=lambda part: part.first) or [group]


def in_turn(topology: Topology, cpus: CpuSet, queues: int) -> Iterator[int]:
    """The CPUs by number, again from the first when all have one.

    Source: mlnx-tools 8fbfd9cf, sbin/set_irq_affinity_bynode.sh and set_irq_affinity_cpulist.sh.
    """
    return islice(cycle(cpus), queues)


def spread(topology: Topology, cpus: CpuSet, queues: int) -> Iterator[int]:
    """The first threads of the L3 domains in turn, far ones after each other; no second threads.

    Source: systemd 866ee368, src/udev/net/link-config.c, select_spread_cpus().
    Raises: UnsupportedError where there is no first thread.
    """
    firsts = [
        _equidistant([core.first for core in topology.cores if core.first in domain & cpus])
        for domain in topology.l3_domains
    ]
    order = _equidistant([domain for domain in firsts if domain])
    rounds = range(max(map(len, order), default=0))
    once = [domain[turn] for turn in rounds for domain in order if turn < len(domain)]
    if not once:
        raise UnsupportedError("systemd", "no first thread of a core is among the CPUs")
    return islice(cycle(once), queues)


def _equidistant(items: Sequence[T]) -> list[T]:
    """Reordered so that any first few are far apart: both halves so reordered, then interleaved."""
    if len(items) <= 1:
        return list(items)
    middle = (len(items) + 1) // 2
    left, right = _equidistant(items[:middle]), _equidistant(items[middle:])
    return [half[turn] for turn in range(middle) for half in (left, right) if turn < len(half)]


# Scopes


def permitted(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """The CPUs the profile permits, on the card's node."""
    return list(requests)


def everywhere(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """All online CPUs of the host, wherever the card is."""
    return [replace(request, pool=topology.online, node=-1) for request in requests]


def local_list(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """The online CPUs of the card's node, isolated or not; two cards on one have a half each."""
    locals_ = [topology.nearest(topology.online, request.node) for request in requests]
    sharing = Counter(locals_)
    seen: Counter[CpuSet] = Counter()
    scoped = []
    for request, cpus in zip(requests, locals_, strict=True):
        start, stop = 0, len(cpus)
        if sharing[cpus] == 2 and len(cpus) > 1:  # the script's form for two interfaces
            half = len(cpus) // 2
            start, stop = seen[cpus] * half, (seen[cpus] + 1) * half
        seen[cpus] += 1
        scoped.append(replace(request, pool=CpuSet.of(list(cpus)[start:stop]), node=-1))
    return scoped


def perftune_mq(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """``--mode mq --cpu-mask``: all permitted CPUs, wherever the card is."""
    return _masked(requests, lambda pool: pool)


def perftune_sq_split(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """``--mode sq_split``: the first core's threads, the rest is for the application.

    Raises: UnsupportedError where either is nothing.
    """

    def mask(pool: CpuSet) -> CpuSet:
        core = topology.cores[0] & pool
        if not core or core == pool:
            raise UnsupportedError("perftune", "zero mask for interrupts or for the application")
        return core

    return _masked(requests, mask)


def perftune_auto(topology: Topology, requests: Sequence[Request]) -> list[Request]:
    """Without a mode: all of up to 4 CPUs, one of up to 4 cores, a core of each 16.

    Source: seastar 525fcc86, scripts/perftune.py, auto_detect_irq_mask().
    Raises: UnsupportedError where nodes differ.
    """

    def mask(pool: CpuSet) -> CpuSet:
        cores = [core & pool for core in topology.cores if core & pool]
        if len(pool) <= 4:
            return pool
        if len(cores) <= 4:
            return CpuSet(1 << pool.first)
        if len(cores) <= CORES_PER_IRQ_CORE:
            return cores[0]
        chosen = CpuSet()
        for node in nodes(pool):
            own = [core for core in cores if core & node]
            for core in own[: -(-len(own) // CORES_PER_IRQ_CORE)]:
                chosen |= core
        return chosen

    def nodes(pool: CpuSet) -> list[CpuSet]:
        return [cpus & pool for cpus in topology.nodes.values() if cpus & pool] or [pool]

    for request in requests:
        sizes = {
            (len(node), sum(bool(core & node) for core in topology.cores))
            for node in nodes(request.pool)
        }
        if len(sizes) > 1:
            raise UnsupportedError("perftune", "NUMA nodes differ, irq_cpu_mask must be given")
    return _masked(requests, mask)


def _masked(requests: Sequence[Request], mask: Callable[[CpuSet], CpuSet]) -> list[Request]:
    return [replace(request, pool=mask(request.pool), node=-1) for request in requests]


RIVALS = (
    Rival("hwloc-distrib", permitted, distrib),
    Rival("round-robin, local list", local_list, in_turn),
    Rival("perftune, auto", perftune_auto, distrib),
    Rival("perftune, mq", perftune_mq, distrib),
    Rival("perftune, sq_split", perftune_sq_split, distrib),
    Rival("systemd spread", everywhere, spread),
    Rival("systemd spread, filtered", permitted, spread),
)
