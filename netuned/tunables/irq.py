"""Interrupt affinity: on which CPU a queue's interrupt, and with it its NAPI, runs.

Source: Documentation/core-api/irq/irq-affinity.rst; scaling.rst, "RSS IRQ Configuration".
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.facts import with_managed
from netuned.hardware.nic import Nic, why_no_vectors
from netuned.hardware.vectors import COMBINED, RX, TX
from netuned.kernel import Kernel
from netuned.regex import regex
from netuned.tunables import masks
from netuned.tunables.base import (
    NOT_ASKED,
    Limits,
    Queue,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Watched,
    Words,
    Writers,
)
from netuned.values import State, Value

NAME = "irq"
FILES = ("smp_affinity", "smp_affinity_list")

KERNEL_MANAGED = "kernel-managed"
"""Why an interrupt is left alone whose affinity the kernel keeps to itself."""

MANAGED = (errno.EIO, errno.EPERM, errno.EACCES)
"""A write to a kernel-managed interrupt: EIO before 6.10, then EPERM; file mode 0444 later."""

_KEY = regex(rf"({RX}|{TX}|{COMBINED})-[0-9]{{1,5}}")


def path(irq: int) -> str:
    return f"/proc/irq/{irq}/{FILES[0]}"


def read(view: View) -> State:
    vectors = view.nic.vectors
    if not vectors:
        raise UnsupportedError(NAME, why_no_vectors(view.nic))
    keys = tuple(vector.key for vector in vectors)
    return masks.read(view, keys, tuple(path(vector.irq) for vector in vectors))


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    spec = target.profile.irq
    cpus = target.queue_cpus
    keys = {vector.key: vector.queue for vector in nic.vectors if vector.irq not in nic.managed}
    if nic.vectors and not keys:
        raise UnsupportedError(NAME, KERNEL_MANAGED)
    if target.channels not in (None, nic.counts):  # the channel change will bring or end vectors
        roles = dict.fromkeys(vector.role for vector in nic.vectors)
        counts = target.queues(nic)
        ends = {RX: counts.rx_queues, TX: counts.tx_queues}
        keys = {
            f"{role}-{queue}": queue
            for role in roles
            for queue in range(ends.get(role, max(ends.values())))
        }
    if spec == "default":
        return dict.fromkeys(keys, target.default_affinity)
    crowded = target.crowded
    return {
        key: UnsupportedError(key, crowded[queue]) if queue in crowded else cpus[queue]
        for key, queue in keys.items()
        if queue < len(cpus)
    }


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        irq = next(vector.irq for vector in view.nic.vectors if vector.key == key)
        try:
            masks.write(view, path(irq), value)
        except KernelError as error:
            if error.errno in MANAGED and view.kernel.files.exists(path(irq)):
                raise UnsupportedError(f"{NAME} {key}", KERNEL_MANAGED) from error
            if error.errno == errno.ENOSPC:  # arch/x86/kernel/apic/vector.c
                why = f"no interrupt vector is left on CPU {value}"
                raise UnsupportedError(f"{NAME} {key}", why) from error
            raise


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.irq
    if spec is None:
        return NOT_ASKED
    if spec == "default":
        return "the kernel's default affinity"
    node = f"node {nic.numa_node}" if nic.numa_node >= 0 else "no node"
    rule = {
        "one-per-queue": "one CPU per queue, of",
        "pack": "the fewest cores of",
        "dedicated": "one CPU per queue, of the cores for interrupts",
        "all": "anywhere on",
    }
    return f"{rule[spec.spread]} {target.pool}; card on {node}"


def learn(kernel: Kernel, nic: Nic, key: str, value: Value, why: str) -> Nic:
    """That the kernel manages an interrupt is a fact of the card from then on, to plan with."""
    if why != KERNEL_MANAGED:
        return nic
    return with_managed(kernel, nic, {v.irq for v in nic.vectors if v.key == key})


def refusals(nic: Nic) -> Mapping[str, str]:
    return {vector.key: KERNEL_MANAGED for vector in nic.vectors if vector.irq in nic.managed}


def ends_with(key: str) -> Queue:
    """The queue of an interrupt, of one that serves both directions the receive queue."""
    role, queue = masks.ends_with(key)
    return (RX if role == COMBINED else role), queue


def watched(nic: Nic) -> Iterator[Watched]:
    for vector in nic.vectors:
        for file in FILES:
            yield f"/proc/irq/{vector.irq}", file


def files(nic: Nic, key: str) -> tuple[str, ...]:
    irqs = [vector.irq for vector in nic.vectors if vector.key == key]
    return tuple(f"irq/{irq}/{file}" for irq in irqs[:1] for file in FILES)


def queues(nic: Nic, state: State) -> Mapping[Queue, str]:
    """The CPUs of the interrupt that serves a queue: as found, or when the facts were read."""
    return {
        (kind, vector.queue): str(state.get(vector.key, cpus))
        for vector, cpus in zip(nic.vectors, nic.affinity, strict=True)
        for kind in ((RX, TX) if vector.role == COMBINED else (vector.role,))
    }


def captured(seen: Seen) -> Iterator[Words]:
    """One CPU each, or the whole set for each; of CPUs that these are, then of more around them."""
    managed = {vector.key for vector in seen.nic.vectors if vector.irq in seen.nic.managed}
    found = [m for key, m in seen.state.items() if key not in managed and isinstance(m, CpuSet)]
    if not found or (set(found) == {seen.default_affinity} and not seen.whole):
        return
    if set(found) == {seen.default_affinity}:
        yield "default"
    if len(found[0]) > 1:
        yield from ({"spread": "all", "cpus": text} for text in seen.sets(found[0]))
        return
    every = masks.union(found)
    spreads = ("one-per-queue", "pack", "dedicated")
    for text in dict.fromkeys((*seen.sets(every), *seen.around(every))):
        yield from ({"spread": spread, "cpus": text} for spread in spreads)


IRQ = Tunable(
    name=NAME,
    holds=(CpuSet,),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    read=read,
    write=write,
    desired=desired,
    why=why,
    within=masks.within,
    captured=captured,
    ends_with=ends_with,
    learn=learn,
    refusals=refusals,
    facts=lambda nic: nic.vectors,
    watched=watched,
    writers=Writers(
        files=files,
        link={"IRQAffinityPolicy": "", "IRQAffinity": ""},
        tuned=frozenset({"irq.affinity", "scheduler.isolated_cores"}),
        google=True,
        irqbalance=True,
    ),
    column="cpus",
    queues=queues,
)
