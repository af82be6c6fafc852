"""Virtual links that nobody asks for: thousands of containers' ends are known from one dump.

Source: net/core/rtnetlink.c, rtnl_fill_ifinfo(); ``get_drvinfo`` of drivers/net/*.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from netuned.errors import KernelError
from netuned.hardware.facts import read_lowers
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.opening import open_card
from netuned.kernel import Kernel
from netuned.kernel.linkinfo import LinkInfo

DRIVERS = {
    "bond": "bonding",
    "bridge": "bridge",
    "dummy": "dummy",
    "geneve": "geneve",
    "ipvlan": "ipvlan",
    "macvlan": "macvlan",
    "macvtap": "macvlan",
    "netkit": "netkit",
    "team": "team",
    "tun": "tun",
    "veth": "veth",
    "vlan": "802.1Q VLAN Support",
    "vrf": "vrf",
    "vxlan": "vxlan",
}
"""What ethtool calls the driver of a kind of link; of others it would have to be asked."""

PAIRED = frozenset(("netkit", "veth", "vxcan"))
"""Of these IFLA_LINK is the other end, and nothing lies below."""

OVER_PORTS = frozenset(("bond", "bridge", "team", "vrf"))
OVER_NONE = PAIRED | {"dummy", "tun"}
OVER_ONE = frozenset(("ipvlan", "macvlan", "macvtap", "vlan"))
"""Of these IFLA_LINK is the card below; ports of a bridge or bond tell their master themselves.

Of other kinds sysfs is asked: vxlan sends no IFLA_LINK, and gretap and erspan send that of a card
that they are not bound to. It takes 60 us, so it is asked again only where that can have changed.
"""

BOUND = frozenset(("macsec", "vxlan"))
"""What lies below these changes only with their own entry: without it they are removed, too."""


def read_unasked(
    kernel: Kernel, known: Mapping[int, Nic], is_asked: Callable[[Nic], bool]
) -> tuple[dict[int, Nic], dict[int, LinkInfo]]:
    """The virtual links that nobody asks for, with what the list of links tells of them.

    Those that are ``known`` so, and as they were, are the same objects. A card that was read once
    is not among them. All other links come second, by ifindex. Raises: KernelError.
    """
    links = kernel.rtnl.links(torn=True)
    ports: dict[int, list[int]] = {}
    for ifindex, link in links.items():
        if link.master:
            ports.setdefault(link.master, []).append(ifindex)
    found = {}
    for ifindex, link in links.items():
        before = known.get(ifindex)
        if not link.kind or (before is not None and not before.unread):
            continue
        lowers: tuple[int, ...] = ()
        if link.kind in OVER_ONE:
            lowers = (link.lower,) if link.lower in links else ()
        elif link.kind in OVER_PORTS:
            lowers = tuple(sorted(ports.get(ifindex, ())))
        elif link.kind not in OVER_NONE:
            if before and before.link is link and _stays(before, ports):
                lowers = before.lowers
            else:
                try:
                    lowers = read_lowers(open_card(kernel, ifindex, link.name)[0])
                except KernelError:
                    continue  # it is looked for among all cards
                if before and before.link is not link:
                    before = replace(before, link=link)
        if before is None or before.lowers != lowers or not is_as(before, link):
            if is_physical(kernel, link.name):
                continue
            before = _unread(kernel, ifindex, link, lowers)
        if not is_asked(before):
            found[ifindex] = before
    return found, {i: link for i, link in links.items() if i not in found}


def _stays(nic: Nic, ports: Mapping[int, list[int]]) -> bool:
    """Whether the same lies below a link whose entry is the same; ports come and go without it."""
    return nic.ifindex not in ports and (nic.kind in BOUND or not nic.lowers)


def is_physical(kernel: Kernel, name: str) -> bool:
    """Whether a card is on a bus, whatever its kind (ipoib, a switch's port)."""
    return kernel.files.exists(f"{CLASS_NET}/{name}/device")


def is_as(nic: Nic, link: LinkInfo) -> bool:
    """Whether an unread card is what a link is; whether it is up is not asked."""
    known = (nic.names, nic.kind, nic.mac, nic.master)
    return known == ((link.name, *link.altnames), link.kind, link.mac, link.master)


def _unread(kernel: Kernel, ifindex: int, link: LinkInfo, lowers: tuple[int, ...]) -> Nic:
    return Nic(
        ifindex=ifindex,
        name=link.name,
        driver=DRIVERS.get(link.kind, ""),
        kind=link.kind,
        pci="",
        mac=link.mac,
        speed_mbps=0,
        numa_node=-1,
        device="",
        up=link.up,
        rx_queues=0,
        tx_queues=0,
        channels=None,
        rss_queues=0,
        vectors=(),
        affinity=(),
        interrupts=(),
        lowers=lowers,
        master=link.master,
        altnames=link.altnames,
        unread=True,
        link=link,
        instance=kernel.files.inode(f"{CLASS_NET}/{link.name}"),
    )
