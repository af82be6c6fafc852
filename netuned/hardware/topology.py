"""Topology: the host's CPUs, cores, caches, packages and NUMA nodes, and which are isolated."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import field

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.hardware.caches import Caches, last_level, read_caches
from netuned.hardware.isolation import Isolation, read_isolation
from netuned.hardware.sysfs import Files, numbered, read_cpus, read_int, read_text
from netuned.records import dataclass

LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20
"""ACPI's distances of a node to itself and to another, where the host tells none."""

HYBRID_RATIO = 0.8
"""A host is hybrid when its slowest CPU has less than this share of the fastest one's capacity."""

_NONE = CpuSet()
_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"


@dataclass(frozen=True, slots=True)
class Topology:
    """The CPUs of a host.

    ``cores``, ``packages``, ``dies``, ``clusters``, ``l2_domains``, ``l3_domains`` and ``caches``
    hold online CPUs only, for the kernel shows no topology of others; they are ordered by their
    lowest CPU, packages by the kernel's number. Of these, ``cores``, ``packages`` and
    ``l3_domains`` have every online CPU: one of which the kernel tells nothing stands alone. The
    others are empty where it tells nothing (``dies`` since Linux 5.2, ``clusters`` since 5.16; on a
    machine without clusters these are the cores). An L3 domain is the CPUs that share the
    last-level cache; without cache information, those of one package and node.
    ``nodes`` may hold nodes without CPUs and is empty on a kernel without NUMA. ``capacity`` (1024
    is the fastest CPU) is empty where the kernel tells none; ``atoms`` are the efficiency cores of
    an x86 hybrid. ``allowed`` is what systemd leaves to the daemon, empty where it leaves all.

    Source: Documentation/admin-guide/cputopology.rst;
    Documentation/ABI/testing/sysfs-devices-system-cpu.
    """

    possible: CpuSet
    present: CpuSet
    online: CpuSet
    isolated: CpuSet = _NONE
    nohz_full: CpuSet = _NONE
    allowed: CpuSet = _NONE
    cores: tuple[CpuSet, ...] = ()
    packages: tuple[CpuSet, ...] = ()
    dies: tuple[CpuSet, ...] = ()
    clusters: tuple[CpuSet, ...] = ()
    l2_domains: tuple[CpuSet, ...] = ()
    l3_domains: tuple[CpuSet, ...] = ()
    caches: Caches = field(default_factory=dict)
    nodes: Mapping[int, CpuSet] = field(default_factory=dict)
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    capacity: Mapping[int, int] = field(default_factory=dict)
    atoms: CpuSet = _NONE

    first_threads: CpuSet = field(init=False, repr=False, compare=False)
    """The lowest online CPU of each core."""

    housekeeping: CpuSet = field(init=False, repr=False, compare=False)
    """Online CPUs neither isolated nor tickless, of those allowed. Never empty: where none of
    them is allowed all of them count, and where there are none, the others."""

    performance: CpuSet = field(init=False, repr=False, compare=False)
    """The fast CPUs of a hybrid host; all online ones elsewhere."""

    efficiency: CpuSet = field(init=False, repr=False, compare=False)
    """The slow CPUs of a hybrid host; all online ones elsewhere."""

    _node: Mapping[int, int] = field(init=False, repr=False, compare=False)
    _core: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)
    _l3: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)
    _package: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        slow = self._slow()
        free = self.online - self.isolated - self.nohz_full or self.online
        derived: dict[str, object] = {
            "first_threads": CpuSet.of(core.first for core in self.cores if core),
            "housekeeping": free & self.allowed or free,
            "performance": self.online - slow if slow else self.online,
            "efficiency": slow or self.online,
            "_node": {cpu: node for node, cpus in self.nodes.items() for cpu in cpus},
            "_core": _by_cpu(self.cores),
            "_l3": _by_cpu(self.l3_domains),
            "_package": _by_cpu(self.packages),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def isolation(self) -> Isolation:
        """What was told of isolation, to compare with what is told now."""
        return Isolation(self.isolated, self.nohz_full, self.allowed)

    def node_of(self, cpu: int) -> int | None:
        """The CPU's NUMA node; None where the kernel tells none."""
        return self._node.get(cpu)

    def core_of(self, cpu: int) -> CpuSet:
        """The CPU and its SMT siblings; empty if it is offline."""
        return self._core.get(cpu, _NONE)

    def l3_of(self, cpu: int) -> CpuSet:
        """The CPUs that share the CPU's last-level cache; empty if it is offline."""
        return self._l3.get(cpu, _NONE)

    def package_of(self, cpu: int) -> CpuSet:
        """The CPUs in the CPU's package; empty if it is offline."""
        return self._package.get(cpu, _NONE)

    def distance(self, a: int, b: int) -> int:
        """The distance between two NUMA nodes: 10 is the node itself."""
        return self.distances.get((a, b), LOCAL_DISTANCE if a == b else REMOTE_DISTANCE)

    def nearest(self, pool: CpuSet, node: int) -> CpuSet:
        """Of a pool, the CPUs at the least NUMA distance from a node; those of no node come last.

        The whole pool for a node below 0 (none) and where the host has no nodes.
        """
        by_distance: dict[int, CpuSet] = {}
        for other, cpus in self.nodes.items() if node >= 0 else ():
            distance = LOCAL_DISTANCE - 1 if other == node else self.distance(node, other)
            by_distance[distance] = by_distance.get(distance, _NONE) | cpus
        for distance in sorted(by_distance):
            if found := by_distance[distance] & pool:
                return found
        return pool

    def _slow(self) -> CpuSet:
        """The slow CPUs of a hybrid host: those nearer to the slowest than to the fastest."""
        if self.atoms & self.online and self.online - self.atoms:
            return self.atoms & self.online
        low, high = min(self.capacity.values(), default=0), max(self.capacity.values(), default=0)
        if low >= high * HYBRID_RATIO:
            return _NONE
        return (
            CpuSet.of(cpu for cpu, value in self.capacity.items() if 2 * value < low + high)
            & self.online
        )


def read_possible(files: Files) -> CpuSet:
    """The CPUs that there are or can come to be. Raises: KernelError as ``read_topology`` does."""
    there = read_cpus(files, f"{_CPU}/present") | _read_online(files)
    return read_cpus(files, f"{_CPU}/possible") | there


def read_topology(files: Files) -> Topology:
    """Read the host's topology from sysfs.

    Raises: KernelError if the online CPUs cannot be read; what else is missing stays empty.
    """
    online = _read_online(files)
    present = read_cpus(files, f"{_CPU}/present") | online
    cores = _read_groups(files, online, _SIBLINGS) or _alone(online)
    packages = _read_groups(files, online, _PACKAGE) or _alone(online)
    nodes, distances = _read_nodes(files)
    caches = read_caches(files, online)
    isolation = read_isolation(files)
    return Topology(
        possible=read_cpus(files, f"{_CPU}/possible") | present,
        present=present,
        online=online,
        isolated=isolation.isolated,
        nohz_full=isolation.nohz_full,
        allowed=isolation.allowed,
        cores=cores,
        packages=_by_number(files, packages),
        dies=_read_groups(files, online, _DIE),
        clusters=_read_groups(files, online, _CLUSTER),
        l2_domains=caches.get("L2", ()),
        l3_domains=_llc(caches, online, cores, _within(packages, nodes.values())),
        caches=caches,
        nodes=nodes,
        distances=distances,
        capacity=_read_capacity(files, cores),
        atoms=read_cpus(files, _ATOM) | read_cpus(files, _LOW_POWER),
    )


_SIBLINGS = ("core_cpus_list", "thread_siblings_list", "thread_siblings")
_PACKAGE = ("package_cpus_list", "core_siblings_list", "core_siblings")
_DIE = ("die_cpus_list", "die_cpus")
_CLUSTER = ("cluster_cpus_list", "cluster_cpus")

_ATOM = "/sys/devices/cpu_atom/cpus"
_LOW_POWER = "/sys/devices/cpu_lowpower/cpus"
"""Not ``acpi_cppc/highest_perf``: it ranks like cores by their best frequency, so that a host of
one kind looks hybrid, and reading it can take a transaction with the firmware for each CPU."""


def _read_online(files: Files) -> CpuSet:
    """The online CPUs, where need be those whose own file does not say otherwise."""
    if online := read_cpus(files, f"{_CPU}/online"):
        return online
    files.listdir(_CPU)  # raises what is wrong
    numbers = numbered(files, _CPU, "cpu")
    online = CpuSet.of(n for n in numbers if read_text(files, f"{_CPU}/cpu{n}/online") != "0")
    if not online:
        raise KernelError("read", f"{_CPU}/online", errno.ENODATA)
    return online


def _read_groups(files: Files, online: CpuSet, names: tuple[str, ...]) -> tuple[CpuSet, ...]:
    """The sets that per-CPU files name, read once per set; a CPU without a file stands alone.

    None at all where the first CPU has no such file.
    """
    first = f"{_CPU}/cpu{online.first}/topology"
    name = next((name for name in names if read_cpus(files, f"{first}/{name}")), "")
    groups = []
    left = online if name else _NONE
    while left:
        cpu = left.first
        told = read_cpus(files, f"{_CPU}/cpu{cpu}/topology/{name}")
        groups.append(told & left | CpuSet(1 << cpu))
        left -= groups[-1]
    return tuple(groups)


def _alone(cpus: CpuSet) -> tuple[CpuSet, ...]:
    return tuple(CpuSet(1 << cpu) for cpu in cpus)


def _by_number(files: Files, packages: tuple[CpuSet, ...]) -> tuple[CpuSet, ...]:
    """The packages in the order of the kernel's numbers for them."""
    numbers = {
        cpus: read_int(files, f"{_CPU}/cpu{cpus.first}/topology/physical_package_id")
        for cpus in packages
    }
    return tuple(sorted(packages, key=numbers.__getitem__))


def _llc(
    caches: Caches, online: CpuSet, cores: tuple[CpuSet, ...], fallback: tuple[CpuSet, ...]
) -> tuple[CpuSet, ...]:
    """The domains of the last-level cache; below L3 only where several cores share it."""
    core_of, fallback_of, last = _by_cpu(cores), _by_cpu(fallback), last_level(caches)
    domains = []
    left = online
    while left:
        cpu = left.first
        level, shared = last.get(cpu, (0, _NONE))
        if level < 3 and not shared - core_of[cpu]:
            shared = fallback_of[cpu]
        domains.append(shared & left | CpuSet(1 << cpu))
        left -= domains[-1]
    return tuple(domains)


def _within(packages: tuple[CpuSet, ...], nodes: Iterable[CpuSet]) -> tuple[CpuSet, ...]:
    """The packages, each cut into the parts that its NUMA nodes hold."""
    parts = [package & node for package in packages for node in nodes if package & node]
    rest = CpuSet.of(cpu for package in packages for cpu in package)
    for part in parts:
        rest -= part
    return (*parts, *(package & rest for package in packages if package & rest))


def _read_nodes(files: Files) -> tuple[dict[int, CpuSet], dict[tuple[int, int], int]]:
    numbers = numbered(files, _NODE, "node")
    nodes = {
        node: read_cpus(files, f"{_NODE}/node{node}/cpulist")
        or read_cpus(files, f"{_NODE}/node{node}/cpumap")
        for node in numbers
    }
    distances = {}
    for node in numbers:
        row = read_text(files, f"{_NODE}/node{node}/distance").split()
        if len(row) == len(numbers) and all(value.isdecimal() for value in row):
            distances.update(
                {(node, other): int(value) for other, value in zip(numbers, row, strict=True)}
            )
    return nodes, distances


def _read_capacity(files: Files, cores: tuple[CpuSet, ...]) -> dict[int, int]:
    """One read a core: its threads are as fast as each other."""
    if not files.exists(f"{_CPU}/cpu{cores[0].first}/cpu_capacity"):
        return {}
    capacity = {}
    for core in cores:
        if (value := read_int(files, f"{_CPU}/cpu{core.first}/cpu_capacity")) > 0:
            capacity.update(dict.fromkeys(core, value))
    return capacity


def _by_cpu(groups: Iterable[CpuSet]) -> dict[int, CpuSet]:
    return {cpu: group for group in groups for cpu in group}
