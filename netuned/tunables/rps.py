"""Receive packet steering: CPUs that take over a queue's protocol work in software.

Source: Documentation/networking/scaling.rst, "RPS Configuration": redundant with a queue per CPU;
with fewer queues, CPUs of the interrupt's own memory domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.nic import Nic
from netuned.topology import Topology
from netuned.tunables import masks
from netuned.tunables.base import Target, View, always_replaceable, equal, never
from netuned.values import State, Value

NAME = "rps"
FILE = "rps_cpus"
same = equal
disruptive = never
restructures = never
irreplaceable = always_replaceable


def read(view: View) -> State:
    return masks.read(view, *masks.queue_files(view.nic.name, "rx", view.nic.rx_queues, FILE))


def desired(target: Target, nic: Nic) -> State | None:
    spec = target.profile.rps
    if spec is None:
        return None
    count = target.queues(nic).rx_queues
    keys, _ = masks.queue_files(nic.name, "rx", count, FILE)
    if spec == "default" or spec.cpus == "none":
        return dict.fromkeys(keys, CpuSet())
    if target.rps_cpus is not None:
        # The kernel takes isolated CPUs out of every mask (rps_cpumask_housekeeping(), 5.9).
        cpus = target.rps_cpus & target.topology.housekeeping
        if not cpus:
            raise UnsupportedError("rps", f"all CPUs of {spec.cpus!r} are isolated")
        return dict.fromkeys(keys, cpus)
    serving = [target.queue_cpus[queue % len(target.queue_cpus)] for queue in range(count)]
    rss = target.profile.rss
    named = rss.queues if rss and rss != "default" and rss.queues != "all" else range(count)
    receiving = [queue for queue in named if queue < count]
    return dict(zip(keys, _auto(target.topology, nic, serving, receiving), strict=True))


def _auto(
    topology: Topology, nic: Nic, serving: Sequence[CpuSet], receiving: Sequence[int]
) -> Iterator[CpuSet]:
    """Per receive queue, the cores of its interrupt's memory domain that have no queue.

    A CPU is worth using when it is the first of a core that is not isolated: its sibling adds no
    memory bandwidth and little throughput for protocol work. RPS takes all of it away from the
    interrupt's CPU, so where fewer cores are idle than queues receive, all of them share it; and
    where as many queues receive as there are cores, RPS is off.
    """
    usable = (core & topology.housekeeping for core in topology.cores)
    worthwhile = CpuSet.of(core.first for core in usable if core)
    # what may run anywhere keeps no CPU busy, nor does a card without interrupts
    tight = (serving[queue] for queue in receiving if nic.device)
    busy = CpuSet.of(cpus.first for cpus in tight if len(cpus) == 1)
    busy_cores = CpuSet.of(cpu for cpu in worthwhile if topology.core_of(cpu) & busy)
    for cpus in serving:
        node = topology.node_of(cpus.first) if nic.device else None
        domain = worthwhile if node is None else worthwhile & topology.nodes[node]
        if len(receiving) >= len(domain):
            yield CpuSet()
        else:
            idle = domain - busy_cores
            yield idle if len(idle) >= len(receiving) else domain


def write(view: View, found: State, key: str, value: Value) -> None:
    masks.write_queue(view, key, FILE, value)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.rps
    if spec is None:
        return "as it was before netuned"
    if spec == "default" or spec.cpus == "none":
        return "off"
    if target.rps_cpus is not None:
        return f"the profile's set {spec.cpus}"
    return "auto: cores of the memory domain, where more of them than queues are worth using"
