"""Whether /sys and netlink show the cards of one network namespace: a mount keeps that of its time.

Source: net/core/net-sysfs.c, net_current_may_mount() and net_namespace(); fs/sysfs/mount.c.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import islice

from netuned.errors import KernelError, NamespaceError
from netuned.hardware.nic import CLASS_NET
from netuned.kernel import Kernel
from netuned.kernel.linkinfo import LinkInfo

SAMPLE = 32
"""So many cards of either tell: all are in another namespace, or none is. Each may have some that
are alike in every one (lo, tunl0, sit0, …)."""
_LOOKS_S = (0.0, 0.05, 0.1, 0.2)
"""Waits before each look. A card that comes, leaves or is renamed differs for a moment."""


def check_namespace(kernel: Kernel, cards: Iterable[tuple[int, str]] | None = None) -> None:
    """Nothing, if these cards (ifindex, name) are the same by /sys and by netlink; None: a sample.

    One that neither has by that name differs in nothing. Raises: NamespaceError; KernelError.
    """
    lasting = set(_sample(kernel) if cards is None else cards)
    for wait_s in _LOOKS_S:
        if not lasting:
            return
        time.sleep(wait_s)
        links = kernel.rtnl.links(torn=True)
        lasting = {card for card in lasting if _differs(kernel, links, *card)}
    if lasting:
        raise NamespaceError(tuple(sorted({name for _, name in lasting})))


def _sample(kernel: Kernel) -> Iterable[tuple[int, str]]:
    for ifindex, link in islice(kernel.rtnl.links(torn=True).items(), SAMPLE):
        yield ifindex, link.name
    for name in kernel.files.listdir(CLASS_NET)[:SAMPLE]:
        if (ifindex := kernel.files.read_int(f"{CLASS_NET}/{name}/ifindex", 0)) > 0:
            yield ifindex, name


def _differs(kernel: Kernel, links: Mapping[int, LinkInfo], ifindex: int, name: str) -> bool:
    in_sysfs = kernel.files.read_int(f"{CLASS_NET}/{name}/ifindex", 0) == ifindex
    link = links.get(ifindex)
    try:  # a torn list may lack it
        by_netlink = (link.name if link else kernel.card_name(ifindex)) == name
    except KernelError as error:
        if not error.gone:
            raise
        by_netlink = False
    if not (in_sysfs and by_netlink and link):
        return in_sysfs != by_netlink
    return kernel.files.read_text(f"{CLASS_NET}/{name}/address", link.mac) != link.mac
