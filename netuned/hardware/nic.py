"""A network card as netuned sees it: identity, place, queues, interrupts."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.interrupts import (
    handlers,
    interrupt_owner,
    read_interrupts,
)
from netuned.hardware.vectors import Vector, merge_vectors, parse_vectors
from netuned.kernel import Kernel
from netuned.kernel.ethtool import Channels
from netuned.kernel.files import FileTree
from netuned.kernel.once import Once
from netuned.kernel.questions import CHANNELS, DRIVER_INFO, LINKS, NAPI_INTERRUPTS, RX_RINGS
from netuned.kernel.rtnl import LinkInfo
from netuned.values import ChannelCounts

CLASS_NET = "/sys/class/net"
PHYSICAL = "physical"
LOOPBACK = 772
"""ARPHRD_LOOPBACK."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One card's facts. They change by events (channels, link, hotplug), never by tuning masks.

    ``pci`` is ``vendor:device`` in hexadecimal, empty without one; ``speed_mbps`` is 0 while
    unknown; ``numa_node`` -1 where the firmware names none; ``device`` the sysfs path of the
    device that owns the interrupts, empty for a virtual card; ``rss_queues`` how many receive
    queues hashing reaches.
    """

    ifindex: int
    name: str
    driver: str
    kind: str
    pci: str
    mac: str
    speed_mbps: int
    numa_node: int
    device: str
    up: bool
    rx_queues: int
    tx_queues: int
    channels: Channels | None
    rss_queues: int
    vectors: tuple[Vector, ...]
    affinity: tuple[CpuSet, ...]
    """Of each vector when the facts were read; what matters where a profile keeps interrupts."""
    interrupts: tuple[int, ...]
    """All of the device's, control vectors too."""
    lowers: tuple[int, ...] = ()
    """Ifindexes of the cards directly below (of a bond, VLAN, bridge, …), ascending."""
    master: int = 0
    """Ifindex of the bond, team, bridge or accelerated card it is a port of; 0 without."""
    fixed: bool = False
    """Whether the driver shows channels and lets nobody set them."""
    kept: str = ""
    """Why the kernel refused channels when that was last tried; empty where it did not."""
    refused: ChannelCounts | None = None
    """The channels that it refused then."""
    managed: frozenset[int] = frozenset()
    """Numbers of the interrupts whose affinity the kernel keeps to itself."""
    opened: bool = True
    """False where it is down and had no carrier since its driver made it: it was never in use."""
    altnames: tuple[str, ...] = ()
    """Alternative names (``ip link property add``)."""
    unread: bool = False
    """A virtual card that nobody asks for: its queues, channels and speed were not read."""
    link: LinkInfo | None = field(default=None, compare=False, repr=False)
    """Of one that is ``unread``, what the list of links told."""
    instance: int = field(default=0, compare=False)
    """Tells this network device from any other of this boot; 0 where that is not known.

    It is the inode of its directory in sysfs, which stays over a new name and over a way through
    another network namespace, where ifindexes can change; a driver that is loaded again makes
    another. It is not used again within a boot (kernfs: use 64bit inos, 40430452fd5d, Linux 5.5).
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and the alternative ones: each means this card and no other here."""
        return self.name, *self.altnames

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.name or "host"

    def why_not(self, wanted: ChannelCounts | None) -> str:
        """Why the card cannot have these channels; empty where it can, as far as is known."""
        if wanted == self.counts:
            return ""
        if self.fixed:
            return f"the driver {self.driver} has a fixed number of queues"
        return self.kept if wanted == self.refused else ""

    @property
    def counts(self) -> ChannelCounts | None:
        """The channels that are open now; None where the card's cannot be set."""
        found = self.channels
        return ChannelCounts(found.rx, found.tx, found.combined) if found else None

    @property
    def open_counts(self) -> ChannelCounts | None:
        """The channels that are open now; None where they say nothing of its queues.

        tun shows none before somebody holds it, and has a queue.
        """
        counts = self.counts
        return counts if counts and counts.rx_queues and counts.tx_queues else None


HOST = Nic(
    ifindex=0,
    name="",
    driver="",
    kind="host",
    pci="",
    mac="",
    speed_mbps=0,
    numa_node=-1,
    device="",
    up=True,
    rx_queues=0,
    tx_queues=0,
    channels=None,
    rss_queues=0,
    vectors=(),
    affinity=(),
    interrupts=(),
    instance=-1,
)
"""The host itself, in the place of a card: it has settings, and nothing else of a card's.

Its instance is no inode, so that it is no card's.
"""


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

    for _ in range(_READS):
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
    for _ in range(_READS):
        try:
            here = kernel.files.at(f"{CLASS_NET}/{name}")
            if here.read_int("ifindex", 0) == ifindex:
                return here, name
        except KernelError as error:
            if not error.gone:
                raise
        name = kernel.card_name(ifindex)
    raise KernelError("open", f"{CLASS_NET}/{name}", errno.ENODEV)


_READS = 3
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


def read_nic(kernel: Kernel, ifindex: int, name: str, asked: Once | None = None) -> Nic:
    """Read one card's facts; ``asked`` has the kernel's answers, none as yet.

    One that is given another name meanwhile is read again. Raises: KernelError; ``gone`` when the
    card left meanwhile.
    """
    asked = asked or Once(kernel, many=False)
    failed = KernelError("read", f"{CLASS_NET}/{name}", errno.ENODEV)
    for _ in range(_READS):
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


def why_no_vectors(nic: Nic) -> str:
    """Why no interrupt is known of any of the card's queues."""
    if not nic.device or "/usb" in nic.device or "/VMBUS:" in nic.device:
        return "the card has none of its own"
    if not nic.up:
        return "the card is down, its interrupts come when it goes up"
    return "neither the kernel nor a name tells which interrupts serve the card's queues"


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


def forgiven(nic: Nic) -> Nic:
    """The card without what it was refused for now."""
    return replace(nic, kept="", refused=None)


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
