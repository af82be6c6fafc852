"""What is known of a network card: identity, place, queues, interrupts."""

from __future__ import annotations

from dataclasses import field, replace

from netuned.cpuset import CpuSet
from netuned.hardware.vectors import Vector
from netuned.kernel.ethtool import Channels
from netuned.kernel.linkinfo import LinkInfo
from netuned.records import dataclass
from netuned.values import ChannelCounts

CLASS_NET = "/sys/class/net"
PHYSICAL = "physical"


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


def why_no_vectors(nic: Nic) -> str:
    """Why no interrupt is known of any of the card's queues."""
    if not nic.device or "/usb" in nic.device or "/VMBUS:" in nic.device:
        return "the card has none of its own"
    if not nic.up:
        return "the card is down, its interrupts come when it goes up"
    return "neither the kernel nor a name tells which interrupts serve the card's queues"


def forgiven(nic: Nic) -> Nic:
    """The card without what it was refused for now."""
    return replace(nic, kept="", refused=None)
