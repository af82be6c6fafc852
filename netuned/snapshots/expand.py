"""Expands a described machine into the files and answers its kernel would show.

The names of files, interrupts and attributes are the kernel's and the drivers' own.
Source: Documentation/admin-guide/cputopology.rst; Documentation/ABI/testing/sysfs-class-net*;
the drivers' request_irq calls and ethtool operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.kernel.ethtool import Channels, DriverInfo
from netuned.kernel.recorded import Answers, File, Link, RecordedKernel, Tree
from netuned.kernel.rtnl import ROOT, LinkInfo, QdiscEntry

CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"
CLASS_NET = "/sys/class/net"
NONE = CpuSet()
ETHERNET = 1
LOOPBACK = 772
"""ARPHRD_ETHER and ARPHRD_LOOPBACK."""
FIRST_INTERRUPT = 64
BUSES = 255
BOOT_ID = "00000000-0000-4000-8000-000000000000"
CACHES = ((1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K"))
"""Of each core, as level, type and size; the L3 is the next index."""


@dataclass(frozen=True, slots=True)
class Driver:
    """How a driver shows a card: its interrupts' names, channels and RSS.

    ``names`` are those of one queue's interrupts with ``{card}``, ``{queue}``, ``{pci}`` and
    ``{serial}`` (of the virtio device); ``control`` of the others, which come first. Without
    ``names`` a card has no interrupts.
    """

    pci: str
    names: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    maximum: int = 64
    entries: int = 128
    reach: int = 1 << 16
    """How many queues RSS reaches."""
    speed_mbps: int = 0
    combined: bool = True
    other: int = 0
    settable: bool = True
    """Whether channels can be set."""
    shows_channels: bool = True
    on_node: bool = True
    """Whether firmware usually names a node."""
    by_role: bool = False
    """Interrupts of all transmit queues come before those of all receive queues."""
    blocks: bool = False
    """The kernel's RSS table gives neighbouring entries to one queue."""


DRIVERS = {
    "ice": Driver(
        "8086:1592", ("ice-{card}-TxRx-{queue}",), ("ice-{pci}:misc",),
        speed_mbps=100_000, other=1,
    ),
    "i40e": Driver(
        "8086:1583", ("i40e-{card}-TxRx-{queue}",),
        ("i40e-{pci}:misc", "i40e-{pci}:fdir-TxRx-0"), entries=512, speed_mbps=40_000, other=1,
    ),
    "igb": Driver(
        "8086:1521", ("{card}-TxRx-{queue}",), ("{card}",),
        maximum=8, speed_mbps=1000, other=1, blocks=True,
    ),
    "ixgbe": Driver(
        "8086:10fb", ("{card}-TxRx-{queue}",), ("{card}",),
        maximum=63, reach=16, speed_mbps=10_000, other=1,
    ),
    "e1000e": Driver(
        "8086:15bb", ("{card}",), maximum=1, entries=0, speed_mbps=1000,
        settable=False, shows_channels=False,
    ),
    "mlx5_core": Driver(
        "15b3:1017", ("mlx5_comp{queue}@pci:{pci}",), ("mlx5_async0@pci:{pci}",),
        entries=256, speed_mbps=100_000,
    ),
    "bnxt_en": Driver("14e4:1750", ("{card}-TxRx-{queue}",), maximum=74, speed_mbps=100_000),
    "ena": Driver(
        "1d0f:ec20", ("{card}-Tx-Rx-{queue}",), ("ena-mgmnt@pci:{pci}",),
        maximum=32, on_node=False,
    ),
    "gve": Driver(
        "1ae0:0042", ("gve-ntfy-blk{queue}@pci:{pci}", "gve-ntfy-blk{queue}@pci:{pci}"),
        ("gve-mgmnt@pci:{pci}",), maximum=16, entries=0, combined=False, on_node=False,
        by_role=True,
    ),
    "vmxnet3": Driver(
        "15ad:07b0", ("{card}-rxtx-{queue}",), ("{card}-event-{queues}",),
        maximum=8, entries=32, speed_mbps=10_000, settable=False, on_node=False,
    ),
    "virtio_net": Driver(
        "1af4:1041", ("virtio{serial}-input.{queue}", "virtio{serial}-output.{queue}"),
        ("virtio{serial}-config",), maximum=8, entries=0, on_node=False,
    ),
    "veth": Driver("", maximum=8, entries=0, speed_mbps=10_000, combined=False, on_node=False),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upper:
    """A card over others; ``single``: over one."""

    driver: str
    queues: int
    single: bool = False


UPPER_KINDS = {
    "bond": Upper("bonding", 16),
    "team": Upper("team", 16),
    "bridge": Upper("bridge", 1),
    "vlan": Upper("802.1Q VLAN Support", 1, single=True),
    "macvlan": Upper("macvlan", 1, single=True),
}


@dataclass(frozen=True, slots=True)
class CardSpec:
    """One card. ``irqs`` are the CPUs its interrupts are on, dealt in turn; empty: all."""

    name: str
    driver: str
    queues: int
    maximum: int = 0
    node: int = -1
    speed_mbps: int = 0
    irqs: CpuSet = NONE
    mac: str = ""
    kind: str = ""
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine in numbers: ``cores`` and ``efficiency`` cores are per L3, ``l3s`` per node."""

    nodes: int
    l3s: int
    cores: int
    threads: int
    efficiency: int
    packages: int
    bare_nodes: int
    adjacent: bool
    offline: CpuSet = NONE
    isolated: CpuSet = NONE
    nohz_full: CpuSet = NONE
    distances: tuple[tuple[int, ...], ...] = ()
    cards: tuple[CardSpec, ...] = ()

    @property
    def cpus(self) -> CpuSet:
        """All CPUs, offline ones too."""
        count = self.nodes * self.l3s * (self.cores * self.threads + self.efficiency)
        return CpuSet.of(range(count))


def expand(machine: MachineSpec) -> RecordedKernel:
    """The described machine as a recorded host."""
    tree, answers = Tree(), Answers()
    _add_cpus(tree, machine)
    _add_cards(tree, answers, machine)
    return RecordedKernel(tree, answers)


@dataclass(frozen=True, slots=True)
class _Core:
    cpus: CpuSet
    l3: int
    node: int
    efficient: bool


def _cores(machine: MachineSpec) -> list[_Core]:
    """All cores with their CPUs, in the order of nodes, L3 domains, performance before efficiency.

    Linux numbers the first threads of all cores, then the second ones; firmware that lists a
    core's threads side by side has them numbered ``adjacent``.
    """
    places = [
        (node * machine.l3s + l3, node, core >= machine.cores)
        for node in range(machine.nodes)
        for l3 in range(machine.l3s)
        for core in range(machine.cores + machine.efficiency)
    ]
    threads = [1 if efficient else machine.threads for _, _, efficient in places]
    seats = [(core, thread) for core, count in enumerate(threads) for thread in range(count)]
    if not machine.adjacent:
        seats.sort(key=lambda seat: seat[1])
    cpus: list[list[int]] = [[] for _ in places]
    for cpu, (core, _) in enumerate(seats):
        cpus[core].append(cpu)
    return [_Core(CpuSet.of(own), *place) for own, place in zip(cpus, places, strict=True)]


def _join(groups: dict[int, CpuSet], number: int, cpus: CpuSet) -> None:
    groups[number] = groups.get(number, CpuSet()) | cpus


def _add_cpus(tree: Tree, machine: MachineSpec) -> None:
    everything = machine.cpus
    online = everything - machine.offline
    cores = _cores(machine)
    l3s: dict[int, CpuSet] = {}
    nodes: dict[int, CpuSet] = {}
    packages: dict[int, CpuSet] = {}
    per_package = machine.nodes // machine.packages
    for core in cores:
        _join(l3s, core.l3, core.cpus & online)
        _join(nodes, core.node, core.cpus & online)
        _join(packages, core.node // per_package, core.cpus & online)
    for name, cpus in (
        ("possible", everything),
        ("present", everything),
        ("online", online),
        ("offline", machine.offline),
        ("isolated", machine.isolated),
        ("nohz_full", machine.nohz_full),
    ):
        tree.add(f"{CPU}/{name}", _text(cpus))
    width = len(everything)
    for number, core in enumerate(cores):
        package = core.node // per_package
        files = {
            **_pair("topology/core_cpus", core.cpus & online, width),
            **_pair("topology/thread_siblings", core.cpus & online, width),
            **_pair("topology/package_cpus", packages[package], width),
            **_pair("topology/core_siblings", packages[package], width),
            **_pair("topology/die_cpus", packages[package], width),
            "topology/core_id": _text(number),
            "topology/die_id": _text(0),
            "topology/physical_package_id": _text(package),
        }
        for index, (level, kind, size) in enumerate(CACHES):
            files |= _cache(index, level, kind, size, number, core.cpus & online, width)
        files |= _cache(len(CACHES), 3, "Unified", "32768K", core.l3, l3s[core.l3], width)
        for cpu in core.cpus:
            tree.add(f"{CPU}/cpu{cpu}/online", _text(int(cpu in online)))
            if cpu in online:  # the kernel shows no topology of others
                for name, file in files.items():
                    tree.add(f"{CPU}/cpu{cpu}/{name}", file)
                tree.add(f"{CPU}/cpu{cpu}/node{core.node}", Link(f"../../node/node{core.node}"))
    if machine.efficiency:
        for name, wanted in (("cpu_core", False), ("cpu_atom", True)):
            kind_cpus = CpuSet.of(
                c for core in cores if core.efficient == wanted for c in core.cpus
            )
            tree.add(f"/sys/devices/{name}/cpus", _text(kind_cpus))
    _add_nodes(tree, machine, nodes, width)
    _add_settings(tree, machine, width)


def _add_nodes(tree: Tree, machine: MachineSpec, nodes: dict[int, CpuSet], width: int) -> None:
    numbers = CpuSet.of(range(machine.nodes + machine.bare_nodes))
    for name in ("online", "possible", "has_memory", "has_normal_memory"):
        tree.add(f"{NODE}/{name}", _text(numbers))
    tree.add(f"{NODE}/has_cpu", _text(CpuSet.of(node for node, cpus in nodes.items() if cpus)))
    for node in numbers:
        cpus = nodes.get(node, CpuSet())
        tree.add(f"{NODE}/node{node}/cpulist", _text(cpus))
        tree.add(f"{NODE}/node{node}/cpumap", _mask(cpus, width))
        tree.add(f"{NODE}/node{node}/distance", _text(" ".join(map(str, machine.distances[node]))))


def _add_settings(tree: Tree, machine: MachineSpec, width: int) -> None:
    words = ["ro"]
    if machine.isolated:
        words.append(f"isolcpus={machine.isolated}")
    if machine.nohz_full:
        words.append(f"nohz_full={machine.nohz_full}")
    tree.add("/proc/cmdline", _text(" ".join(words)))
    tree.add("/proc/sys/kernel/random/boot_id", _text(BOOT_ID))
    tree.add("/proc/sys/net/core/default_qdisc", _text("pfifo_fast"))
    tree.add("/proc/sys/net/core/rps_sock_flow_entries", _text("0"))
    tree.add("/proc/irq/default_smp_affinity", _mask(machine.cpus, width))


def _cache(
    index: int, level: int, kind: str, size: str, number: int, cpus: CpuSet, width: int
) -> dict[str, File]:
    directory = f"cache/index{index}"
    return {
        f"{directory}/level": _text(level),
        f"{directory}/type": _text(kind),
        f"{directory}/size": _text(size),
        f"{directory}/id": _text(number),
        f"{directory}/shared_cpu_list": _text(cpus),
        f"{directory}/shared_cpu_map": _mask(cpus, width),
    }


def _add_cards(tree: Tree, answers: Answers, machine: MachineSpec) -> None:
    indexes = {card.name: ifindex for ifindex, card in enumerate(machine.cards, 2)}
    masters = {
        below: indexes[card.name]
        for card in machine.cards
        if card.kind and not UPPER_KINDS[card.kind].single
        for below in card.over
    }
    loopback = LinkInfo("lo", "", True, True, 0, 0, "00:00:00:00:00:00", 1, 1)
    links = {1: loopback}
    qdiscs: dict[int, tuple[QdiscEntry, ...]] = {}
    homes: dict[str, str] = {}
    _add_netdev(tree, 1, "/sys/devices/virtual/net/lo", loopback, kind=LOOPBACK, speed="-1")
    devices = _Devices(tree, machine)
    for card in machine.cards:
        ifindex = indexes[card.name]
        single = bool(card.kind) and UPPER_KINDS[card.kind].single
        link = links[ifindex] = LinkInfo(
            name=card.name,
            kind=card.kind or ("veth" if card.driver == "veth" else ""),
            up=True,
            running=True,
            master=masters.get(card.name, 0),
            lower=indexes[card.over[0]] if single else 0,
            mac=card.mac or f"02:00:00:00:{ifindex >> 8:02x}:{ifindex & 0xFF:02x}",
            rx_queues=card.queues,
            tx_queues=card.queues,
        )
        device, bus_info = ("", "") if link.kind else devices.add(card)
        home = f"{device or '/sys/devices/virtual'}/net/{card.name}"
        homes[card.name] = home
        _add_netdev(tree, ifindex, home, link, kind=ETHERNET, speed=str(card.speed_mbps or -1))
        if device:
            tree.add(f"{home}/device", Link("../.."))
        for below in card.over:
            tree.add(f"{home}/lower_{below}", Link(homes[below]))
            tree.add(f"{homes[below]}/upper_{card.name}", Link(home))
            if not single:
                tree.add(f"{homes[below]}/master", Link(home))
        qdiscs[ifindex] = _qdiscs(card, link)
        _answer(answers, card, ifindex, bus_info)
    answers.links, answers.qdiscs = links, qdiscs


def _add_netdev(
    tree: Tree, ifindex: int, home: str, link: LinkInfo, *, kind: int, speed: str
) -> None:
    """A card's own directory in sysfs."""
    tree.add(f"{CLASS_NET}/{link.name}", Link(home))
    for name, value in (
        ("ifindex", str(ifindex)),
        ("type", str(kind)),
        ("address", link.mac),
        ("speed", speed),
        ("flags", "0x1003"),
        ("operstate", "up"),
        ("carrier", "1"),
        ("mtu", "1500"),
        ("iflink", str(link.lower or ifindex)),
    ):
        tree.add(f"{home}/{name}", _text(value))
    none = _text("0")
    for queue in range(link.rx_queues):
        tree.add(f"{home}/queues/rx-{queue}/rps_cpus", none)
        tree.add(f"{home}/queues/rx-{queue}/rps_flow_cnt", none)
    for queue in range(link.tx_queues):
        tree.add(f"{home}/queues/tx-{queue}/xps_cpus", none)
        tree.add(f"{home}/queues/tx-{queue}/xps_rxqs", none)


class _Devices:
    """Hands out places on the bus and interrupt numbers."""

    def __init__(self, tree: Tree, machine: MachineSpec) -> None:
        self._tree = tree
        self._online = machine.cpus - machine.offline
        self._width = len(machine.cpus)
        self._count = 0
        self._serial = 0
        self._irq = FIRST_INTERRUPT

    def add(self, card: CardSpec) -> tuple[str, str]:
        """The device of a card with its interrupts: its path in sysfs, and the name on its bus."""
        driver = DRIVERS[card.driver]
        domain, bus = divmod(self._count, BUSES)
        self._count += 1
        pci = f"{domain:04x}:{bus + 1:02x}:00.0"
        owner = f"/sys/devices/pci{domain:04x}:00/{pci}"
        vendor, model = driver.pci.split(":")
        add = self._tree.add
        add(f"{owner}/vendor", _text(f"0x{vendor}"))
        add(f"{owner}/device", _text(f"0x{model}"))
        add(f"{owner}/class", _text("0x020000"))
        add(f"{owner}/numa_node", _text(card.node))
        words = {"card": card.name, "pci": pci, "queues": card.queues, "serial": self._serial}
        self._add_interrupts(owner, card, driver, words)
        if card.driver != "virtio_net":
            add(f"{owner}/driver", Link(f"/sys/bus/pci/drivers/{card.driver}"))
            return owner, pci
        device = f"{owner}/virtio{self._serial}"
        self._serial += 1
        add(f"{owner}/driver", Link("/sys/bus/pci/drivers/virtio-pci"))
        add(f"{device}/driver", Link("/sys/bus/virtio/drivers/virtio_net"))
        return device, pci

    def _add_interrupts(
        self, owner: str, card: CardSpec, driver: Driver, words: dict[str, object]
    ) -> None:
        self._tree.add(f"{owner}/irq", _text(self._irq))
        for name in driver.control:
            self._add_interrupt(owner, name.format(**words), self._online, card.node)
        roles = range(len(driver.names))
        pairs = [(role, queue) for queue in range(card.queues) for role in roles]
        if driver.by_role:
            pairs.sort()
        cpus = tuple(card.irqs)
        for role, queue in pairs:
            number = queue + role * card.queues if driver.by_role else queue
            name = driver.names[role].format(**{**words, "queue": number})
            affinity = CpuSet.of([cpus[queue % len(cpus)]]) if cpus else self._online
            self._add_interrupt(owner, name, affinity, card.node)

    def _add_interrupt(self, owner: str, name: str, cpus: CpuSet, node: int) -> None:
        irq = self._irq
        self._irq += 1
        self._tree.add(f"{owner}/msi_irqs/{irq}", _text("msix"))
        self._tree.add(f"/sys/kernel/irq/{irq}/actions", _text(name))
        home = f"/proc/irq/{irq}"
        effective = CpuSet.of([cpus.first])
        for suffix, at in (("smp_affinity", cpus), ("effective_affinity", effective)):
            self._tree.add(f"{home}/{suffix}", _mask(at, self._width))
            self._tree.add(f"{home}/{suffix}_list", _text(at))
        self._tree.add(f"{home}/node", _text(node))


def _answer(answers: Answers, card: CardSpec, ifindex: int, bus_info: str) -> None:
    """What ethtool and the netdev family say of a card."""
    answers.driver_info[ifindex] = DriverInfo(card.driver, bus_info, "")
    answers.napi_interrupts[ifindex] = {}
    driver = DRIVERS.get(card.driver)
    if driver is None or not driver.shows_channels:
        answers.channels[ifindex] = _none("channels")
    else:
        now, most = card.queues, card.maximum if driver.settable else card.queues
        if driver.combined:
            answers.channels[ifindex] = Channels(0, 0, driver.other, now, 0, 0, driver.other, most)
        else:
            answers.channels[ifindex] = Channels(now, now, 0, 0, most, most, 0, 0)
    if driver is None or not driver.entries:
        answers.rss_table[ifindex] = _none("rss")
        answers.rx_rings[ifindex] = _none("receive rings")
        return
    reached = min(card.queues, driver.reach)
    entries = driver.entries
    answers.rx_rings[ifindex] = reached
    answers.rss_table[ifindex] = tuple(
        index * reached // entries if driver.blocks else index % reached for index in range(entries)
    )


def _none(what: str) -> UnsupportedError:
    return UnsupportedError(what, "the driver has no such operation")


def _qdiscs(card: CardSpec, link: LinkInfo) -> tuple[QdiscEntry, ...]:
    """The kernel's own: mq with a pfifo_fast for each queue; none on a virtual card."""
    if link.kind:
        return (QdiscEntry("noqueue", 0, ROOT, {}),)
    if card.queues == 1:
        return (QdiscEntry("pfifo_fast", 0, ROOT, {}),)
    leaves = (QdiscEntry("pfifo_fast", 0, queue + 1, {}) for queue in range(card.queues))
    return (QdiscEntry("mq", 0, ROOT, {}), *leaves)


def _pair(name: str, cpus: CpuSet, width: int) -> dict[str, File]:
    """A set of CPUs in the kernel's two forms."""
    return {name: _mask(cpus, width), f"{name}_list": _text(cpus)}


@lru_cache(maxsize=1 << 14)
def _text(value: object) -> File:
    return File(f"{value}\n".encode())


@lru_cache(maxsize=1 << 14)
def _mask(cpus: CpuSet, width: int) -> File:
    """All words that ``width`` CPUs take, as the kernel prints a mask (``%*pb``)."""
    digits = f"{cpus.bits:0{(width + 3) // 4}x}"
    words = [digits[max(end - 8, 0) : end] for end in range(len(digits), 0, -8)]
    return File(f"{','.join(reversed(words))}\n".encode())
