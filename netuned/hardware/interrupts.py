"""A card's interrupts: those that its device lists, or that carry its name where none does.

A PCI device has them in ``msi_irqs`` and ``irq``. On other buses (Xen's, platform, virtio-mmio)
nothing in sysfs leads from a card to its interrupts: they are looked for among all by name.

Source: kernel/irq/irqdesc.c, actions_show(); drivers/xen/events/events_base.c.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator

from netuned.errors import KernelError
from netuned.kernel.files import FileTree
from netuned.regex import regex

_CARDS = "/sys/class/net"
_IRQS = "/sys/kernel/irq"
_OTHERS = frozenset(("usb", "sdio", "mdio_bus", "vmbus", "ccwgroup"))
"""Buses whose cards have no interrupts of their own: a controller or the hypervisor has them."""
_FIRST_NAME = regex(r"(eth(\d+))(?:[-:._@\[].*)?")
"""What the kernel calls a card until udev does otherwise; its interrupts mostly stay called so."""
_PHY = regex(r".*:[0-9a-f]{2}")
"""A PHY's, by bus and address (PHY_ID_FMT): the link's, not a queue's."""


def interrupt_owner(files: FileTree, here: FileTree) -> str:
    """The device whose interrupts a card uses: its own, or that it is part of (virtio, a
    subfunction); empty: none. What a card on PCI is below is a bridge.

    ``here`` is at the card's directory.
    """
    if not here.exists("device"):
        return ""
    device = here.resolve("device")
    parent = device.rpartition("/")[0]
    if (
        _bus(here) != "pci"
        and not files.exists(f"{device}/msi_irqs")
        and (files.exists(f"{parent}/msi_irqs") or files.exists(f"{parent}/vendor"))
    ):
        return parent if files.exists(f"{parent}/irq") else device
    return device


def read_interrupts(files: FileTree, here: FileTree, device: str, name: str) -> dict[int, str]:
    """Interrupts with a handler, number -> ``handlers``; of the card ``name`` on ``device``.

    msi_irqs sorts as text and can list vectors without an interrupt, so each is checked.
    Raises: KernelError.
    """
    listed = _listed(files, device)
    if listed is None:
        return _find(files, here, name)
    return {irq: actions for irq in listed if (actions := handlers(files, irq))}


def handlers(files: FileTree, irq: int) -> str:
    """The names of an interrupt's handlers, comma-separated; empty without any."""
    return files.read_text(f"{_IRQS}/{irq}/actions", "") if irq else ""


def _listed(files: FileTree, device: str) -> list[int] | None:
    """None where the device lists none, because its bus never does."""
    if files.exists(f"{device}/msi_irqs"):
        return sorted(int(n) for n in files.listdir(f"{device}/msi_irqs"))
    return [files.read_int(f"{device}/irq", 0)] if files.exists(f"{device}/irq") else None


def _find(files: FileTree, here: FileTree, name: str) -> dict[int, str]:
    """By name, among all that no other card's device lists.

    Where none has a card's name it was renamed: if there are as many such cards as first names that
    no card has, these belong together in order, for cards are numbered as they come.
    """
    if not _may_have(here):
        return {}
    try:
        numbers = [int(entry) for entry in files.listdir(_IRQS) if entry.isdecimal()]
    except KernelError as error:
        if error.exhausted:
            raise
        return {}
    cards = dict(_unlisted(files))
    names = _by_ifindex(files)
    taken = {irq for other in names if other not in cards for irq in _of_listed(files, other)}
    found = {irq: handlers(files, irq) for irq in sorted(numbers) if irq not in taken}
    if own := carrying(found, (name, cards.get(name, ""))):
        return own
    nameless = [card for card, device in cards.items() if not carrying(found, (card, device))]
    first: dict[int, dict[int, str]] = {}
    for irq, actions in found.items():
        match = _FIRST_NAME.fullmatch(actions)
        if match and match[1] not in names:
            first.setdefault(int(match[2]), {})[irq] = actions
    if name not in nameless or len(first) != len(nameless):
        return {}
    return first[sorted(first)[nameless.index(name)]]


def _unlisted(files: FileTree) -> Iterator[tuple[str, str]]:
    """The cards whose device lists no interrupts but may have some, by ifindex: its name, too."""
    for name in _by_ifindex(files):
        with contextlib.suppress(KernelError):  # one that leaves meanwhile
            here = files.at(f"{_CARDS}/{name}")
            device = interrupt_owner(files, here)
            if device and _listed(files, device) is None and _may_have(here):
                yield name, here.resolve("device").rpartition("/")[2]


def _by_ifindex(files: FileTree) -> list[str]:
    """The names of all cards; bonding_masters is there, too, and is none."""
    ifindexes = {n: files.read_int(f"{_CARDS}/{n}/ifindex", 0) for n in files.listdir(_CARDS)}
    return sorted((n for n, ifindex in ifindexes.items() if ifindex), key=ifindexes.__getitem__)


def _may_have(here: FileTree) -> bool:
    return _bus(here) not in _OTHERS and not here.exists("phy80211")


def _bus(here: FileTree) -> str:
    return here.readlink("device/subsystem").rpartition("/")[2]


def _of_listed(files: FileTree, name: str) -> list[int]:
    with contextlib.suppress(KernelError):  # it left meanwhile
        device = interrupt_owner(files, files.at(f"{_CARDS}/{name}"))
        return (device and _listed(files, device)) or []
    return []


def carrying(found: dict[int, str], names: Collection[str]) -> dict[int, str]:
    """Those with a handler that has one of the names: eth0, eth0-q0-rx, hns-eth0-rx0."""
    own = re.compile(
        rf"(?:\w+-)?(?:{'|'.join(map(re.escape, filter(None, names)))})(?:[-:._@\[].*)?"
    )
    return {
        irq: actions
        for irq, actions in found.items()
        if any(own.fullmatch(part) and not _PHY.fullmatch(part) for part in actions.split(","))
    }
