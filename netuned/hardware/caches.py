"""Caches: which CPUs share which, as the kernel tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netuned.cpuset import CpuSet
from netuned.hardware.sysfs import Files, numbered, read_cpus, read_int, read_text

Caches = Mapping[str, tuple[CpuSet, ...]]
"""By name (``L1d``, ``L1i``, ``L2``, ``L3``): the online CPUs that share each, by lowest CPU."""

_CPU = "/sys/devices/system/cpu"
_SUFFIX = {"Data": "d", "Instruction": "i"}
_SPARC = {"L1d": "l1_dcache_size", "L1i": "l1_icache_size", "L2": "l2_cache_size"}
"""Linux tells of a sparc64 CPU's caches by their sizes only: each is its own."""


def read_caches(files: Files, online: CpuSet) -> Caches:
    """Read the caches of all online CPUs, each that several share from one of them.

    Source: Documentation/ABI/testing/sysfs-devices-system-cpu (cache), drivers/base/cacheinfo.c.
    """
    of: dict[str, dict[int, CpuSet]] = {}
    left: dict[str, CpuSet] = {}
    names_of: dict[tuple[int, ...], Mapping[int, str]] = {}
    done = CpuSet()
    for cpu in online:
        if cpu in done:
            continue
        directory = f"{_CPU}/cpu{cpu}/cache"
        # CPUs with as many caches have the same ones: a hybrid's kinds differ in their number.
        indexes = tuple(numbered(files, directory, "index"))
        if indexes not in names_of:
            names_of[indexes] = _names(files, directory, indexes)
        alike = online - done
        for index, name in names_of[indexes].items():
            sharers = of.setdefault(name, {})
            if cpu not in sharers:
                free = left.get(name, online)
                shared = _shared(files, f"{directory}/index{index}") & free | CpuSet(1 << cpu)
                sharers.update(dict.fromkeys(shared, shared))
                left[name] = free - shared
            alike &= sharers[cpu]
        if names_of[indexes]:
            done |= alike  # they share all caches with this one, so they have no others
    if not of:
        return _read_sizes(files, online)
    return {name: tuple(dict.fromkeys(of[name].values())) for name in sorted(of)}


def _names(files: Files, directory: str, indexes: Iterable[int]) -> Mapping[int, str]:
    names = {}
    for index in indexes:
        level = read_int(files, f"{directory}/index{index}/level")
        if level > 0:
            kind = read_text(files, f"{directory}/index{index}/type")
            names[index] = f"L{level}{_SUFFIX.get(kind, '')}"
    return names


def _shared(files: Files, directory: str) -> CpuSet:
    shared = read_cpus(files, f"{directory}/shared_cpu_list")
    return shared or read_cpus(files, f"{directory}/shared_cpu_map")


def _read_sizes(files: Files, online: CpuSet) -> Caches:
    alone = tuple(CpuSet(1 << cpu) for cpu in online)
    directory = f"{_CPU}/cpu{online.first}"
    return {name: alone for name, size in _SPARC.items() if files.exists(f"{directory}/{size}")}


def last_level(caches: Caches) -> Mapping[int, tuple[int, CpuSet]]:
    """Each CPU's last-level cache: its level and who shares it."""
    last: dict[int, tuple[int, CpuSet]] = {}
    for name in sorted(caches, key=_level):
        for cpus in caches[name]:
            last.update(dict.fromkeys(cpus, (_level(name), cpus)))
    return last


def _level(name: str) -> int:
    return int(name[1:].rstrip("di"))
