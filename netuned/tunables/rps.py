"""Receive packet steering: CPUs that take over a queue's protocol work in software.

Source: Documentation/networking/scaling.rst, "RPS Configuration": redundant with a queue per CPU;
with fewer queues, CPUs of the interrupt's own memory domain.
"""

from __future__ import annotations

from collections.abc import Iterator

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
FEW_QUEUES = 16
"""Cards with more receive queues seldom saturate their cores; a sibling is then not worth it."""


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
    """Per receive queue, the CPUs of its interrupt's memory domain that help it.

    RPS takes all of it away from the interrupt's CPU, so there have to be at least as many of them
    as queues receive: the cores without a queue; on a card that has few queues to give and gives
    them all, siblings too; else all cores share the work. Without a core that is idle, or where
    interrupts are packed to leave the machine to the application, RPS is off.
    """
    irq = target.profile.irq
    packed = irq is not None and irq != "default" and irq.spread == PACK
    receiving = len(receiving_queues(target, nic))
    limited = nic.device and _most_queues(nic) <= receiving <= FEW_QUEUES
    masks_of: dict[int | None, CpuSet] = {}
    for queue in range(count):
        cpus = target.queue_cpus[queue % len(target.queue_cpus)]
        node = target.topology.node_of(cpus.first) if nic.device else None
        if node not in masks_of:
            domain = CpuSet(-1) if node is None else target.topology.nodes[node]
            useful, idle = target.steering.useful & domain, target.steering.idle & domain
            spare = target.steering.spare & domain if limited else CpuSet()
            if packed:
                masks_of[node] = CpuSet()
            elif idle and len(idle) >= receiving:
                masks_of[node] = idle
            elif spare and len(spare) >= receiving:
                masks_of[node] = spare
            else:
                masks_of[node] = useful if idle and len(useful) > receiving else CpuSet()
        yield masks_of[node]


def _most_queues(nic: Nic) -> int:
    """How many receive queues hashing could reach at most."""
    if nic.channels is None or nic.rss_queues < nic.rx_queues:
        return nic.rss_queues
    return nic.channels.rx_max + nic.channels.combined_max


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
    return "auto: cores of the memory domain, where more of them than queues are worth using"


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
    watched=masks.watched(masks.RX, FILE),
    writers=Writers(files=masks.ending(FILE), link=frozenset({"ReceivePacketSteeringCPUMask"})),
    column=NAME,
    queues=masks.queues,
    explained=explained,
)
