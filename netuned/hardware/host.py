"""A host: its CPUs and its network cards, read once and compared whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.hardware.facts import read_lowers, read_nic
from netuned.hardware.links import read_unasked
from netuned.hardware.namespace import check_namespace
from netuned.hardware.nic import Nic
from netuned.hardware.opening import open_card, read_ifindexes
from netuned.hardware.sysfs import read_cpus
from netuned.hardware.topology import Topology, read_topology
from netuned.kernel import Kernel
from netuned.kernel.linkinfo import LOOPBACK
from netuned.kernel.once import Once
from netuned.records import dataclass

log = logging.getLogger(__name__)


X86_VECTORS = 180
"""Of the 200 interrupt vectors that exceptions and the kernel's own leave of 256, those for queues.

Source: arch/x86/include/asm/irq_vectors.h; arch/x86/kernel/apic/vector.c.
"""
NO_BOUND = 1 << 16


@dataclass(frozen=True, slots=True)
class Host:
    """``nics`` by ifindex, ascending; ``default_affinity`` is what a new interrupt gets."""

    topology: Topology
    nics: Mapping[int, Nic]
    default_affinity: CpuSet
    cpu_vectors: int = X86_VECTORS
    """How many interrupts of queues a CPU can take."""


def read_host(
    kernel: Kernel,
    topology: Topology | None = None,
    known: Mapping[int, Nic] | None = None,
    is_asked: Callable[[Nic], bool] | None = None,
) -> Host:
    """Read everything, but for what is ``known`` already, and virtual cards that nobody asks for.

    Of those (``is_asked`` is false of what the list of links tells) nothing else is read.
    Raises: KernelError when /proc or /sys cannot be read at all.
    """
    return Host(
        topology or read_topology(kernel.files),
        read_nics(kernel, known or {}, is_asked),
        read_default_affinity(kernel),
        _read_cpu_vectors(kernel),
    )


def read_nics(
    kernel: Kernel, known: Mapping[int, Nic], is_asked: Callable[[Nic], bool] | None = None
) -> dict[int, Nic]:
    """The cards of this network namespace: ``known`` facts, in their present place; others read.

    Of another network device under a known ifindex nothing is known. One that leaves meanwhile is
    left out. ``is_asked`` is as for ``read_host``.
    Raises: KernelError; NamespaceError, with ``is_asked``, before a card of another is among them.
    """
    asked = Once(kernel)
    nics, links = read_unasked(kernel, known, is_asked) if is_asked else ({}, {})
    if is_asked and not known:
        check_namespace(kernel)
    names = {nic.name for nic in nics.values()}
    suspects = {i: nic.name for i, nic in nics.items() if not nic.instance}
    expected = {i: nic.name for i, nic in known.items() if not nic.unread}
    expected |= {ifindex: link.name for ifindex, link in links.items()}
    for ifindex, name in sorted(read_ifindexes(kernel, names, expected).items()):
        nic = known.get(ifindex)
        try:
            here, name = open_card(kernel, ifindex, name)
            if nic is None or nic.unread or here.inode(".") != nic.instance:
                nic = read_nic(kernel, ifindex, name, asked)
                link = links.get(ifindex)
                if link is None or (link.name, link.mac) != (nic.name, nic.mac):
                    suspects[ifindex] = nic.name
            else:  # a card that is bound to another says so in its own facts only
                nic = replace(nic, name=name, lowers=read_lowers(here))
        except KernelError as error:
            if not error.gone:
                log.warning("Cannot read card %s: %s, ignoring", name, error)
            continue
        nics[ifindex] = nic
    if is_asked:
        suspects |= {i: link.name for i, link in links.items() if i not in nics and i != LOOPBACK}
        check_namespace(kernel, suspects.items())
    return dict(sorted(nics.items())) if names else nics


def read_default_affinity(kernel: Kernel) -> CpuSet:
    """The affinity the kernel gives to new interrupts; none where it has no such file."""
    return read_cpus(kernel.files, "/proc/irq/default_smp_affinity")


def _read_cpu_vectors(kernel: Kernel) -> int:
    """Other architectures have no vectors; up to Linux 6.0 none says which it is."""
    known = kernel.files.read_text("/proc/sys/kernel/arch", "x86_64")
    return X86_VECTORS if known in ("x86_64", "i686", "i586") else NO_BOUND
