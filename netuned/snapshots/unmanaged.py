"""What is there on cards that no profile is for: the daemon reads nothing of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from netuned.errors import KernelError, NetunedError, UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.namespace import check_namespace
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.sysfs import read_cpus
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.reconcile import report
from netuned.reconcile.card import Card
from netuned.status import UNMANAGED, NicStatus, QueueStatus, Status
from netuned.tunables import TUNABLES
from netuned.values import State

DROPS = ("rx_dropped", "rx_missed_errors", "tx_dropped")
"""What no protocol wanted or a full backlog had no room for; what a full ring had none for; what a
driver could not send. Source: Documentation/ABI/testing/sysfs-class-net-statistics."""


def filled(
    status: Status, as_told: Callable[[str], str] = str, kernel: Kernel | None = None
) -> Status:
    """A daemon's status, with what is there on its unmanaged cards that are hardware of this host.

    Where this is another network namespace than the daemon's, a card of the same name can be
    another: only one of the same index and driver is read, and no virtual one. What cannot be read
    stays as it is. ``as_told`` makes of a card's name what the daemon tells of it.
    """
    kernel = kernel or Kernel()
    try:
        check_namespace(kernel)
    except NetunedError:
        return status
    asked = Once(kernel)
    return replace(status, nics=tuple(_filled(kernel, nic, asked, as_told) for nic in status.nics))


def _filled(
    kernel: Kernel, shown: NicStatus, asked: Once, as_told: Callable[[str], str]
) -> NicStatus:
    if shown.state != UNMANAGED or shown.queues:
        return shown
    with contextlib.suppress(KernelError):
        name = kernel.card_name(shown.ifindex)
        if as_told(name) == shown.name and kernel.files.exists(f"/sys/class/net/{name}/device"):
            nic = read_nic(kernel, shown.ifindex, name, asked)
            if nic.driver == shown.driver:
                return look(kernel, shown, nic, asked)
    return shown


def look(kernel: Kernel, shown: NicStatus, nic: Nic, asked: Once) -> NicStatus:
    """An unmanaged card, with its queues as they are now and what it has dropped."""
    home = f"{CLASS_NET}/{nic.name}/statistics"
    drops = {name: kernel.files.read_int(f"{home}/{name}", 0) for name in DROPS}
    return replace(shown, queues=_queues(kernel, nic, asked), drops=drops)


def _queues(kernel: Kernel, nic: Nic, asked: Once) -> tuple[QueueStatus, ...]:
    """Of an interrupt the CPUs that the kernel has chosen."""
    tunables = [tunable for tunable in TUNABLES if tunable.column]
    found: dict[str, State] = {}
    card = Card(kernel, nic, tunables)
    try:
        for tunable in tunables:
            with contextlib.suppress(UnsupportedError, KernelError):
                found[tunable.name] = tunable.read(card.view(asked))
    finally:
        card.close()
    return tuple(
        _served(kernel, queue) if queue.irq >= 0 else queue
        for queue in report.queues(nic, tunables, found)
    )


def _served(kernel: Kernel, queue: QueueStatus) -> QueueStatus:
    """Where an interrupt does go: it may go to many CPUs, and most often goes to one.

    Source: Documentation/core-api/irq/irq-affinity.rst, effective_affinity
    """
    chosen = read_cpus(kernel.files, f"/proc/irq/{queue.irq}/effective_affinity")
    return replace(queue, cpus=str(chosen)) if chosen else queue
