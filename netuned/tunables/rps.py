"""Receive packet steering: CPUs that take over a queue's protocol work in software.

Source: Documentation/networking/scaling.rst, "RPS Configuration": redundant with a queue per CPU;
with fewer queues, CPUs of the interrupt's own memory domain.
"""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.nic import Nic
from netuned.tunables import masks
from netuned.tunables.base import Target, View
from netuned.values import State, Value

NAME = "rps"
FILE = "rps_cpus"


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
        return dict.fromkeys(keys, target.rps_cpus)
    return {key: _auto(target, queue) for queue, key in enumerate(keys)}


def _auto(target: Target, queue: int) -> CpuSet:
    """CPUs of the interrupt's memory domain that serve no queue; none where queues suffice.

    A CPU is worth using when it is the first thread of a core: its sibling adds no memory
    bandwidth and little throughput for protocol work.
    """
    topology = target.topology
    serving = target.queue_cpus[queue % len(target.queue_cpus)]
    node = topology.node_of(serving.first) if serving else None
    domain = topology.nodes[node] if node is not None else topology.online
    worthwhile = domain & topology.housekeeping & topology.first_threads
    interrupts = CpuSet()
    for cpus in target.queue_cpus:
        interrupts |= cpus
    if len(target.queue_cpus) >= len(worthwhile):
        return CpuSet()
    return worthwhile - interrupts


def write(view: View, found: State, key: str, value: Value) -> None:
    assert isinstance(value, CpuSet)
    masks.write(view, f"/sys/class/net/{view.nic.name}/queues/{key}/{FILE}", value)


def same(wanted: Value, found: Value) -> bool:
    return wanted == found


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.rps
    if spec is None:
        return "as it was before netuned"
    if spec == "default" or spec.cpus == "none":
        return "off"
    if target.rps_cpus is not None:
        return f"the profile's set {spec.cpus}"
    return "auto: the domain's CPUs without a queue" if len(nic.vectors) else "auto"


def disruptive(key: str) -> bool:
    return False


def restructures(key: str) -> bool:
    return False
