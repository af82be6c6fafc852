"""Reads a card's facts: identity, place, queues, interrupts."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.interrupts import handlers, interrupt_owner, read_interrupts
from netuned.hardware.nic import CLASS_NET, PHYSICAL, Nic
from netuned.hardware.opening import READS, open_card
from netuned.hardware.vectors import Vector, merge_vectors, parse_vectors
from netuned.kernel import Kernel
from netuned.kernel.ethtool import Channels
from netuned.kernel.files import FileTree
from netuned.kernel.once import Once
from netuned.kernel.questions import CHANNELS, DRIVER_INFO, LINKS, NAPI_INTERRUPTS, RX_RINGS


def read_nic(kernel: Kernel, ifindex: int, name: str, asked: Once | None = None) -> Nic:
    """Read one card's facts; ``asked`` has the kernel's answers, none as yet.

    One that is given another name meanwhile is read again. Raises: KernelError; ``gone`` when the
    card left meanwhile.
    """
    asked = asked or Once(kernel, many=False)
    failed = KernelError("read", f"{CLASS_NET}/{name}", errno.ENODEV)
    for _ in range(READS):
        here, name = open_card(kernel, ifindex, name)
        instance = here.inode(".")
        try:
            nic = _read_nic(kernel, here, ifindex, name, asked)
        except KernelError as error:
            if not error.gone:
                raise
            failed = error  # or another card of its device has another name now
            continue
        if kernel.files.inode(f"{CLASS_NET}/{name}") == instance:
            return replace(nic, instance=instance)
    raise failed


def _read_nic(kernel: Kernel, here: FileTree, ifindex: int, name: str, asked: Once) -> Nic:
    """``here`` is at the card's directory."""
    device = interrupt_owner(kernel.files, here)
    channels, rss_queues = _read_queues(asked, ifindex)
    names = here.listdir("queues")
    rx_queues = sum(entry.startswith("rx-") for entry in names)
    tx_queues = sum(entry.startswith("tx-") for entry in names)
    if channels:  # mlx5 on 5.3-6.0 shows twice its receive queues in sysfs
        rx_queues = min(rx_queues, channels.rx + channels.combined) or rx_queues
        tx_queues = min(tx_queues, channels.tx + channels.combined) or tx_queues
    interrupts = read_interrupts(kernel.files, here, device, name) if device else {}
    told = _told(asked, here, ifindex, name) if device else {}
    for irq in told.values():
        if irq not in interrupts and (actions := handlers(kernel.files, irq)):
            interrupts[irq] = actions
    up = bool(here.read_int("flags", 0) & 1)
    managed = frozenset(irq for irq in interrupts if _is_managed(kernel, irq))
    nic = Nic(
        ifindex=ifindex,
        name=name,
        driver=_driver(here, asked, ifindex),
        kind=_kind(here, asked, ifindex),
        pci=_pci(kernel, device),
        mac=here.read_text("address", ""),
        speed_mbps=max(here.read_int("speed", 0), 0),
        numa_node=kernel.files.read_int(f"{device}/numa_node", -1) if device else -1,
        device=device,
        up=up,
        rx_queues=rx_queues,
        tx_queues=tx_queues,
        channels=channels,
        fixed=channels is not None and not kernel.ethtool_netlink.can_set_channels(ifindex),
        rss_queues=min(rss_queues, rx_queues) if rss_queues else rx_queues,
        vectors=(),
        affinity=(),
        interrupts=tuple(sorted(interrupts)),
        lowers=read_lowers(here),
        master=here.read_int("master/ifindex", 0),
        managed=managed,
        opened=up or here.read_int("carrier_up_count", 1) > 0,
        altnames=_altnames(kernel, asked, ifindex),
    )
    vectors = _vectors(kernel, here, interrupts, told, nic)
    affinity = tuple(_affinity(kernel, vector.irq, managed) for vector in vectors)
    return replace(nic, vectors=vectors, affinity=affinity)


def with_managed(kernel: Kernel, nic: Nic, irqs: Iterable[int]) -> Nic:
    """The card with these interrupts known as kernel-managed too, and where they are."""
    managed = nic.managed.union(irqs)
    if managed == nic.managed:
        return nic
    affinity = tuple(_affinity(kernel, vector.irq, managed) for vector in nic.vectors)
    return replace(nic, managed=managed, affinity=affinity)


def renewed(kernel: Kernel, before: Nic, now: Nic) -> Nic:
    """Facts read anew, with what is known of the card besides.

    The speed is unknown while the link is down, and a profile must not let go then; of the same
    interrupts the kernel still manages those that it was found to. Why channels were refused counts
    until they are tried again.
    """
    now = replace(now, kept=before.kept, refused=before.refused)
    if not now.speed_mbps:
        now = replace(now, speed_mbps=before.speed_mbps)
    return with_managed(kernel, now, before.managed) if before.vectors == now.vectors else now


def read_lowers(here: FileTree) -> tuple[int, ...]:
    """Ifindexes of the cards directly below one, ascending; ``here`` is at its directory.

    A lower card in another network namespace has no link here. Raises: KernelError.
    """
    links = (entry for entry in here.listdir(".") if entry.startswith("lower_"))
    found = {here.read_int(f"{link}/ifindex", 0) for link in links}
    return tuple(sorted(found - {0}))


def _read_queues(asked: Once, ifindex: int) -> tuple[Channels | None, int]:
    """Channels (None: fixed), and how many queues RSS reaches (0: all)."""
    channels: Channels | None
    try:
        channels = asked.get(CHANNELS, ifindex)
    except UnsupportedError:
        channels = None
    try:
        return channels, asked.get(RX_RINGS, ifindex)
    except UnsupportedError:
        return channels, 0
    except KernelError as error:
        if error.errno != errno.ENODATA:  # older snapshots have it of cards with a table only
            raise
        return channels, 0


def _vectors(
    kernel: Kernel,
    here: FileTree,
    interrupts: Mapping[int, str],
    told: Mapping[tuple[str, int], int],
    nic: Nic,
) -> tuple[Vector, ...]:
    """As netdev-genl tells; for queues of which it tells nothing, by the interrupts' names."""
    if not interrupts:
        return ()
    by_name = parse_vectors(
        interrupts,
        nic.name,
        nic.driver,
        ports=_ports(here),
        own_name=here.resolve("device").rpartition("/")[2],
        cards=kernel.files.listdir(CLASS_NET),
        queues=nic.rx_queues,
    )
    return merge_vectors({q: irq for q, irq in told.items() if irq in interrupts}, by_name)


def _told(asked: Once, here: FileTree, ifindex: int, name: str) -> Mapping[tuple[str, int], int]:
    """What netdev-genl tells of a card's queues that is not another port's."""
    ports = _ports(here)
    try:
        told = asked.get(NAPI_INTERRUPTS, ifindex)
        if ports and name != ports[0]:  # mana's ports, mlx5's representors: the first places them
            first = here.read_int(f"device/net/{ports[0]}/ifindex", 0)
            shared = set(asked.get(NAPI_INTERRUPTS, first).values())
            told = {queue: irq for queue, irq in told.items() if irq not in shared}
    except UnsupportedError:
        return {}
    return told


def _ports(here: FileTree) -> tuple[str, ...]:
    """All cards of the card's device, if there are several: those above others last, by port."""
    base = "device/net"
    names = here.listdir(base) if here.exists(base) else []

    def order(port: str) -> tuple[bool, int, int]:
        at = f"{base}/{port}"
        above = any(entry.startswith("lower_") for entry in here.listdir(at))
        return above, here.read_int(f"{at}/dev_port", 0), here.read_int(f"{at}/ifindex", 0)

    return tuple(sorted(names, key=order)) if len(names) > 1 else ()


def _is_managed(kernel: Kernel, irq: int) -> bool:
    """The newest kernels make the files read-only; on older ones only a write tells."""
    mode = kernel.files.mode(f"/proc/irq/{irq}/smp_affinity")
    return bool(mode) and not mode & 0o222


def _affinity(kernel: Kernel, irq: int, managed: frozenset[int]) -> CpuSet:
    """The CPUs an interrupt may go to; of a kernel-managed one those it does go to."""
    files = kernel.files
    if irq in managed and (text := files.read_text(f"/proc/irq/{irq}/effective_affinity", "")):
        return CpuSet.parse_mask(text)
    return CpuSet.parse_mask(files.read_text(f"/proc/irq/{irq}/smp_affinity", "0"))


def _driver(here: FileTree, asked: Once, ifindex: int) -> str:
    link = here.readlink("device/driver")
    if link:
        return link.rpartition("/")[2]
    try:
        return asked.get(DRIVER_INFO, ifindex).driver
    except UnsupportedError:
        return ""


def _kind(here: FileTree, asked: Once, ifindex: int) -> str:
    """``physical``, the rtnetlink kind of a virtual card (veth, bond, vlan, …), or ``virtual``."""
    if here.exists("device"):
        return PHYSICAL
    try:
        return asked.get(LINKS, ifindex).kind or "virtual"
    except KernelError as error:
        if not error.gone:
            raise
        return "virtual"


def _altnames(kernel: Kernel, asked: Once, ifindex: int) -> tuple[str, ...]:
    """Alternative names; also where links come and go faster than all can be listed."""
    try:
        return asked.get(LINKS, ifindex).altnames
    except KernelError as error:
        if error.gone:
            return ()
    link = kernel.rtnl.links(torn=True).get(ifindex)
    return link.altnames if link else ()


def _pci(kernel: Kernel, device: str) -> str:
    if not device:
        return ""
    vendor = kernel.files.read_int(f"{device}/vendor", -1)
    model = kernel.files.read_int(f"{device}/device", -1)
    return f"{vendor:04x}:{model:04x}" if vendor >= 0 <= model else ""
