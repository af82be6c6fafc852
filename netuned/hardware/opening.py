"""A card's directory in sysfs, found by its ifindex: what stands below it is this card's alone."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping

from netuned.errors import KernelError
from netuned.hardware.nic import CLASS_NET, HOST, Nic
from netuned.kernel import Kernel
from netuned.kernel.files import FileTree

LOOPBACK = 772
"""ARPHRD_LOOPBACK."""


def read_ifindexes(
    kernel: Kernel, but: Collection[str] = (), expected: Mapping[int, str] | None = None
) -> dict[int, str]:
    """The cards of this network namespace, without the loopback: ifindex -> name.

    Those that are named in ``but`` are left out. They are read again where names changed meanwhile,
    for a card could be missing that is here. One that is ``expected`` (ifindex -> name before) is
    found where it has one of the names in ``but`` by now. Raises: KernelError.
    """
    files = kernel.files

    def others() -> list[str]:
        return [name for name in files.listdir(CLASS_NET) if name not in but]

    for _ in range(READS):
        names = others()
        ifindexes = [files.read_int(f"{CLASS_NET}/{name}/ifindex", 0) for name in names]
        cards = [index for index in ifindexes if index > 0]  # bonding_masters has none
        if len(set(cards)) == len(cards) and others() == names:
            break
    found = dict(zip(ifindexes, names, strict=True))
    for ifindex, name in (expected or {}).items():
        if ifindex not in found:
            try:
                found[ifindex] = open_card(kernel, ifindex, name)[1]
            except KernelError as error:
                if not error.gone:  # it may be here all the same
                    raise
    return {
        ifindex: name
        for ifindex, name in found.items()
        if ifindex > 0 and files.read_int(f"{CLASS_NET}/{name}/type", 0) != LOOPBACK
    }


def open_card(kernel: Kernel, ifindex: int, name: str) -> tuple[FileTree, str]:
    """The kernel's files at the directory in sysfs of the card with an ifindex, and its name now.

    ``name`` is what it was called when last seen. What is read and written below the directory is
    this card's and no other's. Raises: KernelError; ``gone`` when the card left.
    """
    for _ in range(READS):
        try:
            here = kernel.files.at(f"{CLASS_NET}/{name}")
            if here.read_int("ifindex", 0) == ifindex:
                return here, name
        except KernelError as error:
            if not error.gone:
                raise
        name = kernel.card_name(ifindex)
    raise KernelError("open", f"{CLASS_NET}/{name}", errno.ENODEV)


READS = 3
"""So often a card is looked for whose name is another each time."""


def open_same(kernel: Kernel, nic: Nic) -> FileTree:
    """The kernel's files at the directory of the very card these facts are of; see ``open_card``.

    Raises: KernelError; ``gone`` when the card left, and when another has its ifindex.
    """
    if nic is HOST:
        return kernel.files
    here, _ = open_card(kernel, nic.ifindex, nic.name)
    if here.inode(".") != nic.instance:
        raise KernelError("open", f"{CLASS_NET}/{nic.name}", errno.ENODEV)
    return here


def check_here(kernel: Kernel, nic: Nic) -> None:
    """Nothing, if an ifindex still is that of the very card these facts are of.

    Netlink knows cards by ifindex alone. Raises: KernelError; ``gone`` as ``open_same``.
    """
    if nic is not HOST and kernel.files.inode(f"{CLASS_NET}/{nic.name}") != nic.instance:
        open_same(kernel, nic)  # it may have another name
