"""Interrupt affinity: on which CPU a queue's interrupt, and with it its NAPI, runs.

Source: Documentation/core-api/irq/irq-affinity.rst; scaling.rst, "RSS IRQ Configuration".
"""

from __future__ import annotations

import errno

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX, TX
from netuned.tunables import masks
from netuned.tunables.base import Target, View, always_replaceable, equal, never
from netuned.values import State, Value

NAME = "irq"
same = equal
within = masks.within
disruptive = never
restructures = never
irreplaceable = always_replaceable

KERNEL_MANAGED = "kernel-managed"
"""Why an interrupt is left alone whose affinity the kernel keeps to itself."""

MANAGED = (errno.EIO, errno.EPERM, errno.EACCES)
"""A write to a kernel-managed interrupt: EIO before 6.10, then EPERM; file mode 0444 later."""


def path(irq: int) -> str:
    return f"/proc/irq/{irq}/smp_affinity"


def read(view: View) -> State:
    vectors = view.nic.vectors
    if not vectors:
        if view.nic.device and not view.nic.up:
            raise UnsupportedError("irq", "the card is down, its interrupts come when it goes up")
        raise UnsupportedError("irq", "the card has no interrupts of its own")
    keys = tuple(vector.key for vector in vectors)
    return masks.read(view, keys, tuple(path(vector.irq) for vector in vectors))


def desired(target: Target, nic: Nic) -> State | None:
    spec = target.profile.irq
    if spec is None:
        return None
    cpus = target.queue_cpus
    keys = {vector.key: vector.queue for vector in nic.vectors if vector.irq not in nic.managed}
    if nic.vectors and not keys:
        raise UnsupportedError("irq", KERNEL_MANAGED)
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
    return {key: cpus[queue] for key, queue in keys.items() if queue < len(cpus)}


def write(view: View, found: State, key: str, value: Value) -> None:
    assert isinstance(value, CpuSet)
    irq = next(vector.irq for vector in view.nic.vectors if vector.key == key)
    try:
        masks.write(view, path(irq), value)
    except KernelError as error:
        if error.errno in MANAGED and view.kernel.files.exists(path(irq)):
            raise UnsupportedError(f"irq {key}", KERNEL_MANAGED) from error
        raise


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.irq
    if spec is None:
        return "as it was before netuned"
    if spec == "default":
        return "the kernel's default affinity"
    node = f"node {nic.numa_node}" if nic.numa_node >= 0 else "no node"
    rule = {
        "one-per-queue": "one CPU per queue, of",
        "pack": "the fewest cores of",
        "dedicated": "one CPU per queue, of the dedicated cores",
        "all": "anywhere on",
    }
    return f"{rule[spec.spread]} {target.pool}; card on {node}"
