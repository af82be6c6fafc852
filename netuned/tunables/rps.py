"""Receive packet steering: CPUs that take over a queue's protocol work in software.

Source: Documentation/networking/scaling.rst, "RPS Configuration": redundant with a queue per CPU;
with fewer queues, CPUs of the interrupt's own memory domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.placement.place import PACK
from netuned.tunables import masks
from netuned.tunables.base import NOT_ASKED, Limits, Target, Tunable, View, Writers
from netuned.tunables.rfs import receiving as receiving_queues
from netuned.values import State

NAME = "rps"
FILE = "rps_cpus"
MANY_CORES = 16
"""Where more receive, they seldom saturate, and RPS would cost an inter-processor interrupt and a
cold cache, often another L3 domain's, for nearly every packet."""


def read(view: View) -> State:
    return masks.read(view, *masks.queue_files("rx", view.nic.rx_queues, FILE))


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    spec = target.profile.rps
    assert spec is not None
    count = target.queues(nic).rx_queues
    keys, _ = masks.queue_files("rx", count, FILE)
    if spec == "default" or spec.cpus == "none":
        return dict.fromkeys(keys, CpuSet())
    if target.rps_cpus is not None:
        # The kernel takes isolated CPUs out of every mask (rps_cpumask_housekeeping(), 5.9).
        cpus = target.rps_cpus - target.topology.isolated - target.topology.nohz_full
        if not cpus:
            raise UnsupportedError(NAME, f"all CPUs of {spec.cpus!r} are isolated")
        return dict.fromkeys(keys, cpus)
    return dict(zip(keys, _auto(target, nic, count), strict=True))


def _auto(target: Target, nic: Nic, count: int) -> Iterator[CpuSet]:
    """Per receive queue, the cores of its interrupt's memory domain that help it.

    RPS takes all of the protocol work away from the core that takes the interrupt, so there have to
    be at least as many of them as cores that receive: those without a queue, else all share the
    work. It is off without an idle core, where many cores receive already, and where interrupts
    are packed to leave the machine to the application.
    """
    irq = target.profile.irq
    packed = irq is not None and irq != "default" and irq.spread == PACK
    served = [target.queue_cpus[queue % len(target.queue_cpus)] for queue in range(count)]
    nodes = [target.topology.node_of(cpus.first) if nic.device else None for cpus in served]
    receiving = [queue for queue in sorted(receiving_queues(target, nic)) if queue < count]
    off = packed or _cores(target, [served[queue] for queue in receiving]) > MANY_CORES
    masks_of: dict[int | None, CpuSet] = {}
    for node in nodes:
        if node not in masks_of:
            domain = CpuSet(-1) if node is None else target.topology.nodes[node]
            useful, idle = target.steering.useful & domain, target.steering.idle & domain
            here = _cores(target, [served[queue] for queue in receiving if nodes[queue] == node])
            if len(idle) < here:
                idle = useful if idle and len(useful) > here else CpuSet()
            masks_of[node] = CpuSet() if off else idle
        yield masks_of[node]


def _cores(target: Target, served: Sequence[CpuSet]) -> int:
    """How many cores take the interrupts of queues; one that may run anywhere keeps one busy."""
    cores = {target.places.core[cpu] for cpus in served for cpu in cpus}
    return min(len(cores), len(served))


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        masks.write(view, masks.path(key, FILE), value)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.rps
    if spec is None:
        return NOT_ASKED
    if spec == "default" or spec.cpus == "none":
        return "off"
    if target.rps_cpus is not None:
        return f"the profile's set {spec.cpus}"
    return "auto: cores of the memory domain, where few of them receive"


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    return masks.explained(state, f"rx-{queue}")


RPS = Tunable(
    name=NAME,
    holds=(CpuSet,),
    accepts=masks.queue_key(masks.RX),
    read=read,
    write=write,
    desired=desired,
    why=why,
    fresh=CpuSet(),
    ends_with=masks.ends_with,
    within=masks.within,
    captured=masks.captured,
    watched=masks.watched(masks.RX, FILE),
    writers=Writers(files=masks.ending(FILE), link={"ReceivePacketSteeringCPUMask": "cpus"}),
    column=NAME,
    queues=masks.queues,
    explained=explained,
)
