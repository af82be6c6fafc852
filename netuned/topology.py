"""Topology: the host's CPUs, cores, caches, packages and NUMA nodes, and which are isolated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netuned.cpuset import CpuSet
from netuned.errors import KernelError

LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20
"""ACPI's distances of a node to itself and to another, where the host tells none."""

HYBRID_RATIO = 0.8
"""A host is hybrid when its slowest CPU has less than this share of the fastest one's capacity."""

_NONE = CpuSet()
_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"


class Files(Protocol):
    """Reads the kernel's files under some root. Each method but ``exists`` raises KernelError."""

    def read(self, path: str) -> bytes: ...
    def listdir(self, path: str) -> list[str]: ...
    def exists(self, path: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Topology:
    """The CPUs of a host.

    ``cores``, ``packages`` and ``l3_domains`` hold online CPUs only, for the kernel shows no
    topology of others; they are ordered by their lowest CPU, packages by the kernel's number. An
    L3 domain is the CPUs that share the last-level cache; without cache information, those of one
    package and node.
    ``nodes`` may hold nodes without CPUs and is empty on a kernel without NUMA. ``capacity`` (1024
    is the fastest CPU) is empty where the kernel tells none; ``atoms`` are the efficiency cores of
    an x86 hybrid.

    Source: Documentation/admin-guide/cputopology.rst;
    Documentation/ABI/testing/sysfs-devices-system-cpu.
    """

    possible: CpuSet
    present: CpuSet
    online: CpuSet
    isolated: CpuSet = _NONE
    nohz_full: CpuSet = _NONE
    cores: tuple[CpuSet, ...] = ()
    packages: tuple[CpuSet, ...] = ()
    l3_domains: tuple[CpuSet, ...] = ()
    nodes: Mapping[int, CpuSet] = field(default_factory=dict)
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    capacity: Mapping[int, int] = field(default_factory=dict)
    atoms: CpuSet = _NONE

    first_threads: CpuSet = field(init=False, repr=False, compare=False)
    """The lowest online CPU of each core."""

    _node: Mapping[int, int] = field(init=False, repr=False, compare=False)
    _core: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)
    _l3: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)
    _package: Mapping[int, CpuSet] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        derived: dict[str, object] = {
            "first_threads": CpuSet.of(core.first for core in self.cores if core),
            "_node": {cpu: node for node, cpus in self.nodes.items() for cpu in cpus},
            "_core": _by_cpu(self.cores),
            "_l3": _by_cpu(self.l3_domains),
            "_package": _by_cpu(self.packages),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def housekeeping(self) -> CpuSet:
        """Online CPUs neither isolated nor tickless; all online ones if that leaves none."""
        return self.online - self.isolated - self.nohz_full or self.online

    @property
    def performance(self) -> CpuSet:
        """The fast CPUs of a hybrid host; all online ones elsewhere."""
        slow = self._slow()
        return self.online - slow if slow else self.online

    @property
    def efficiency(self) -> CpuSet:
        """The slow CPUs of a hybrid host; all online ones elsewhere."""
        return self._slow() or self.online

    def node_of(self, cpu: int) -> int | None:
        """The CPU's NUMA node; None where the kernel tells none."""
        return self._node.get(cpu)

    def core_of(self, cpu: int) -> CpuSet:
        """The CPU and its SMT siblings; empty if it is offline."""
        return self._core.get(cpu, CpuSet())

    def l3_of(self, cpu: int) -> CpuSet:
        """The CPUs that share the CPU's last-level cache; empty if it is offline."""
        return self._l3.get(cpu, CpuSet())

    def package_of(self, cpu: int) -> CpuSet:
        """The CPUs in the CPU's package; empty if it is offline."""
        return self._package.get(cpu, CpuSet())

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
            return CpuSet()
        return (
            CpuSet.of(cpu for cpu, value in self.capacity.items() if 2 * value < low + high)
            & self.online
        )


def read_topology(files: Files) -> Topology:
    """Read the host's topology from sysfs.

    Raises: KernelError if the online CPUs cannot be read; what else is missing stays empty.
    """
    online = _read_online(files)
    present = _read_list(files, f"{_CPU}/present") or online
    cores = _read_groups(files, online, _SIBLINGS)
    packages = _read_groups(files, online, _PACKAGE)
    nodes, distances = _read_nodes(files)
    return Topology(
        possible=_read_list(files, f"{_CPU}/possible") | present | online,
        present=present,
        online=online,
        isolated=_read_list(files, f"{_CPU}/isolated") | _read_list(files, _PARTITIONS),
        nohz_full=_read_list(files, f"{_CPU}/nohz_full"),
        cores=cores,
        packages=_by_number(files, packages),
        l3_domains=_read_llc(files, online, cores, _within(packages, nodes.values())),
        nodes=nodes,
        distances=distances,
        capacity=_read_capacity(files, online),
        atoms=_read_list(files, "/sys/devices/cpu_atom/cpus"),
    )


_SIBLINGS = ("topology/core_cpus_list", "topology/thread_siblings_list", "topology/thread_siblings")
_PACKAGE = ("topology/package_cpus_list", "topology/core_siblings_list", "topology/core_siblings")
_PARTITIONS = "/sys/fs/cgroup/cpuset.cpus.isolated"
"""CPUs that isolated cgroup partitions keep apart (Linux 6.7)."""


def _read_online(files: Files) -> CpuSet:
    if files.exists(f"{_CPU}/online"):
        return CpuSet.parse_list(files.read(f"{_CPU}/online").decode())
    names = (re.fullmatch(r"cpu([0-9]+)", name) for name in files.listdir(_CPU))
    return CpuSet.of(int(name[1]) for name in names if name)


def _read_groups(files: Files, online: CpuSet, names: tuple[str, ...]) -> tuple[CpuSet, ...]:
    """The sets that per-CPU files name, read once per set; a CPU without a file stands alone."""
    groups = []
    left = online
    while left:
        cpu = left.first
        group = _first_list(files, f"{_CPU}/cpu{cpu}", names) & left | CpuSet.of([cpu])
        groups.append(group)
        left -= group
    return tuple(groups)


def _by_number(files: Files, packages: tuple[CpuSet, ...]) -> tuple[CpuSet, ...]:
    """The packages in the order of the kernel's numbers for them."""
    numbers = [
        _read_int(files, f"{_CPU}/cpu{cpus.first}/topology/physical_package_id")
        for cpus in packages
    ]
    return tuple(packages[index] for index in sorted(range(len(packages)), key=numbers.__getitem__))


def _read_llc(
    files: Files, online: CpuSet, cores: tuple[CpuSet, ...], fallback: tuple[CpuSet, ...]
) -> tuple[CpuSet, ...]:
    """The domains of the last-level cache; below L3 only where several cores share it."""
    core_of, fallback_of = _by_cpu(cores), _by_cpu(fallback)
    domains = []
    left = online
    while left:
        cpu = left.first
        level, index = _last_level(files, cpu)
        names = (f"cache/{index}/shared_cpu_list", f"cache/{index}/shared_cpu_map")
        shared = _first_list(files, f"{_CPU}/cpu{cpu}", names) if level else CpuSet()
        if level < 3 and not shared - core_of[cpu]:
            shared = fallback_of[cpu]
        group = shared & left | CpuSet.of([cpu])
        domains.append(group)
        left -= group
    return tuple(domains)


def _within(packages: tuple[CpuSet, ...], nodes: Iterable[CpuSet]) -> tuple[CpuSet, ...]:
    """The packages, each cut into the parts that its NUMA nodes hold."""
    parts = [package & node for package in packages for node in nodes if package & node]
    rest = CpuSet.of(cpu for package in packages for cpu in package)
    for part in parts:
        rest -= part
    return (*parts, *(package & rest for package in packages if package & rest))


def _last_level(files: Files, cpu: int) -> tuple[int, str]:
    """The highest level of a CPU's caches and its directory; 0 if the kernel tells of none."""
    names = _list_names(files, f"{_CPU}/cpu{cpu}/cache", "index")
    levels = (
        (_read_int(files, f"{_CPU}/cpu{cpu}/cache/index{number}/level"), f"index{number}")
        for number in names
    )
    return max(levels, default=(0, ""))


def _read_nodes(files: Files) -> tuple[dict[int, CpuSet], dict[tuple[int, int], int]]:
    numbers = sorted(_list_names(files, _NODE, "node"))
    nodes = {
        node: _first_list(files, f"{_NODE}/node{node}", ("cpulist", "cpumap")) for node in numbers
    }
    distances = {}
    for node in numbers:
        row = _read_text(files, f"{_NODE}/node{node}/distance").split()
        if len(row) == len(numbers):
            distances.update(
                {(node, other): int(value) for other, value in zip(numbers, row, strict=True)}
            )
    return nodes, distances


def _read_capacity(files: Files, online: CpuSet) -> dict[int, int]:
    if not online or not files.exists(f"{_CPU}/cpu{online.first}/cpu_capacity"):
        return {}
    return {
        cpu: value
        for cpu in online
        if (value := _read_int(files, f"{_CPU}/cpu{cpu}/cpu_capacity")) > 0
    }


def _list_names(files: Files, path: str, prefix: str) -> list[int]:
    """The numbers N of the directory's entries ``prefixN``."""
    names = files.listdir(path) if files.exists(path) else []
    found = (re.fullmatch(rf"{prefix}([0-9]+)", name) for name in names)
    return [int(match[1]) for match in found if match]


def _first_list(files: Files, directory: str, names: tuple[str, ...]) -> CpuSet:
    """The first of these files that names a CPU; one that is not called a list holds a mask."""
    for name in names:
        text = _read_text(files, f"{directory}/{name}")
        cpus = CpuSet.parse_list(text) if name.endswith("list") else CpuSet.parse_mask(text or "0")
        if cpus:
            return cpus
    return CpuSet()


def _read_list(files: Files, path: str) -> CpuSet:
    """A cpulist file; ``(null)`` is how kernels up to 6.2 wrote an unset nohz_full mask."""
    text = _read_text(files, path)
    return CpuSet() if text == "(null)" else CpuSet.parse_list(text)


def _read_int(files: Files, path: str) -> int:
    text = _read_text(files, path)
    return int(text) if text.removeprefix("-").isdigit() else -1


def _read_text(files: Files, path: str) -> str:
    """The file's text; empty if it is not there, as with CPUs that leave meanwhile."""
    try:
        return files.read(path).decode().strip()
    except KernelError:
        return ""


def _by_cpu(groups: Iterable[CpuSet]) -> dict[int, CpuSet]:
    return {cpu: group for group in groups for cpu in group}
