"""Receive packet steering: CPUs that take over a queue's protocol work in software.

Source: Documentation/networking/scaling.rst, "RPS Configuration": redundant with a queue per CPU;
with fewer queues, CPUs of the interrupt's own memory domain.
"""

from __future__ import annotations

from collections.abc import Iterator

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.nic import Nic
from netuned.placement import PACK
from netuned.tunables import masks
from netuned.tunables.base import Target, View, always_replaceable, equal, never
from netuned.tunables.rfs import receiving as receiving_queues
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
        cpus = target.rps_cpus - target.topology.isolated - target.topology.nohz_full
        if not cpus:
            raise UnsupportedError("rps", f"all CPUs of {spec.cpus!r} are isolated")
        return dict.fromkeys(keys, cpus)
    return dict(zip(keys, _auto(target, nic, count), strict=True))


def _auto(target: Target, nic: Nic, count: int) -> Iterator[CpuSet]:
    """Per receive queue, the cores of its interrupt's memory domain that serve no queue.

    RPS takes all of it away from the interrupt's CPU, so where fewer cores are idle than queues
    receive, all of them share it; where none is idle, RPS is off. Where interrupts are packed, the
    rest of the machine is the application's.
    """
    irq = target.profile.irq
    receiving = len(receiving_queues(target, nic))
    packed = irq is not None and irq != "default" and irq.spread == PACK
    masks_of: dict[int | None, CpuSet] = {}
    for queue in range(count):
        cpus = target.queue_cpus[queue % len(target.queue_cpus)]
        node = target.topology.node_of(cpus.first) if nic.device else None
        if node not in masks_of:
            domain = CpuSet(-1) if node is None else target.topology.nodes[node]
            useful, idle = target.steering.useful & domain, target.steering.idle & domain
            if packed or not idle or receiving >= len(useful):
                masks_of[node] = CpuSet()
            else:
                masks_of[node] = idle if len(idle) >= receiving else useful
        yield masks_of[node]


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
