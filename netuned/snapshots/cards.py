"""The files and answers that a described machine's kernel would give of its cards.

The names of files, interrupts and attributes are the kernel's and the drivers' own.
Source: Documentation/ABI/testing/sysfs-class-net*; ``drivers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.kernel.answers import Answers, Failure
from netuned.kernel.contexts import ContextTable
from netuned.kernel.ethtool import NO_OPERATION, Channels, DriverInfo
from netuned.kernel.linkinfo import LinkInfo
from netuned.kernel.linknumbers import LEGACY_SIZE, MAX_SIZE
from netuned.kernel.netdev import SETTINGS
from netuned.kernel.questions import (
    CHANNELS,
    COALESCE,
    CONTEXTS,
    DRIVER_INFO,
    FEATURES,
    HASHING,
    LINK_NUMBERS,
    LINKS,
    NAPI_INTERRUPTS,
    NAPIS,
    QDISCS,
    QUESTIONS,
    RINGS,
    RSS_TABLE,
    RULES,
    RX_RINGS,
    Question,
)
from netuned.kernel.recorded import Link, Tree
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.kernel.rules import RuleTable
from netuned.profiles.numbers import (
    NO_BYTE_LIMIT,
)
from netuned.snapshots.drivers import DRIVERS, TOEPLITZ, UPPER_KINDS, Driver
from netuned.snapshots.smallfiles import line, mask
from netuned.snapshots.spec import CardSpec, MachineSpec

A = TypeVar("A")

CLASS_NET = "/sys/class/net"
ETHERNET = 1
LOOPBACK = 772
"""ARPHRD_ETHER and ARPHRD_LOOPBACK."""
FIRST_INTERRUPT = 64
BUSES = 255
VMBUS = "/sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00"


def add_cards(tree: Tree, answers: Answers, machine: MachineSpec) -> None:
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
    sent: dict[str, int] = {}
    answers.cards(LINK_NUMBERS)[1] = link_numbers(MAX_SIZE)
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
            for queue in range(link.tx_queues):
                limits = f"{home}/queues/tx-{queue}/byte_queue_limits"
                tree.add(f"{limits}/limit_max", line(NO_BYTE_LIMIT))
                tree.add(f"{limits}/limit_min", line(0))
        for below in card.over:
            tree.add(f"{home}/lower_{below}", Link(homes[below]))
            tree.add(f"{homes[below]}/upper_{card.name}", Link(home))
            if not single:
                tree.add(f"{homes[below]}/master", Link(home))
        qdiscs[ifindex] = _qdiscs(card, link)
        _answer(answers, card, ifindex, bus_info)
        driver = DRIVERS.get(card.driver)
        own = driver.tso_max if driver else MAX_SIZE
        sent[card.name] = min([own, *(sent.get(name, MAX_SIZE) for name in card.over)])
        answers.cards(LINK_NUMBERS)[ifindex] = link_numbers(sent[card.name])
    answers.put_all(LINKS, links)
    answers.put_all(QDISCS, qdiscs)
    for question in QUESTIONS:  # of all cards, so that one without an answer has none
        if question.dumps:
            answers.put_all(question, answers.cards(question))


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
        ("napi_defer_hard_irqs", "0"),
        ("gro_flush_timeout", "0"),
        ("threaded", "0"),
    ):
        tree.add(f"{home}/{name}", line(value))
    none = line("0")
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
        if not driver.pci:
            return self._add_to_vmbus(card)
        domain, bus = divmod(self._count, BUSES)
        self._count += 1
        pci = f"{domain:04x}:{bus + 1:02x}:00.0"
        owner = f"/sys/devices/pci{domain:04x}:00/{pci}"
        vendor, model = driver.pci.split(":")
        add = self._tree.add
        add(f"{owner}/vendor", line(f"0x{vendor}"))
        add(f"{owner}/device", line(f"0x{model}"))
        add(f"{owner}/class", line("0x020000"))
        add(f"{owner}/numa_node", line(card.node))
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

    def _add_to_vmbus(self, card: CardSpec) -> tuple[str, str]:
        """Hyper-V's bus, whose devices go by GUID and share the CPUs' own interrupts."""
        self._count += 1
        guid = f"{self._count:08x}-0000-4000-8000-000000000000"
        device = f"{VMBUS}/{guid}"
        self._tree.add(f"{device}/numa_node", line(card.node))
        self._tree.add(f"{device}/driver", Link(f"/sys/bus/vmbus/drivers/{card.driver}"))
        return device, guid

    def _add_interrupts(
        self, owner: str, card: CardSpec, driver: Driver, words: dict[str, object]
    ) -> None:
        self._tree.add(f"{owner}/irq", line(self._irq))
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
        self._tree.add(f"{owner}/msi_irqs/{irq}", line("msix"))
        self._tree.add(f"/sys/kernel/irq/{irq}/actions", line(name))
        home = f"/proc/irq/{irq}"
        effective = CpuSet.of([cpus.first])
        for suffix, at in (("smp_affinity", cpus), ("effective_affinity", effective)):
            self._tree.add(f"{home}/{suffix}", mask(at, self._width))
            self._tree.add(f"{home}/{suffix}_list", line(at))
        self._tree.add(f"{home}/node", line(node))


def _answer(answers: Answers, card: CardSpec, ifindex: int, bus_info: str) -> None:
    """What ethtool and the netdev family say of a card."""
    answers.cards(DRIVER_INFO)[ifindex] = DriverInfo(card.driver, bus_info, "")
    answers.cards(NAPI_INTERRUPTS)[ifindex] = {}
    instances = range(card.queues if card.driver in DRIVERS and card.driver != "veth" else 0)
    answers.cards(NAPIS)[ifindex] = {f"rx-{i} {name}": 0 for i in instances for name in SETTINGS}
    channels, table = answers.cards(CHANNELS), answers.cards(RSS_TABLE)
    driver = DRIVERS.get(card.driver)
    if driver is None or not driver.shows_channels:
        channels[ifindex] = _none(CHANNELS)
    else:
        now, most = card.queues, card.maximum if driver.settable else card.queues
        if driver.combined:
            channels[ifindex] = Channels(0, 0, driver.other, now, 0, 0, driver.other, most)
        else:
            channels[ifindex] = Channels(now, now, 0, 0, most, most, 0, 0)
    answers.cards(RINGS)[ifindex] = _rings(driver) if driver else _none(RINGS)
    coalesce = dict(driver.coalesce) if driver else {}
    answers.cards(COALESCE)[ifindex] = coalesce or _none(COALESCE)
    answers.cards(FEATURES)[ifindex] = dict(driver.features) if driver else _none(FEATURES)
    if driver is None or not driver.entries:
        table[ifindex] = _none(RSS_TABLE)
        answers.cards(HASHING)[ifindex] = _none(HASHING)
        answers.cards(CONTEXTS)[ifindex] = _none(CONTEXTS)
        answers.cards(RULES)[ifindex] = _none(RULES)
        answers.cards(RX_RINGS)[ifindex] = _none(RX_RINGS)
        return
    reached = min(card.queues, driver.reach)
    entries = driver.entries
    answers.cards(RX_RINGS)[ifindex] = reached
    answers.cards(HASHING)[ifindex] = TOEPLITZ
    answers.cards(RULES)[ifindex] = RuleTable(driver.rules, {}) if driver.rules else _none(RULES)
    contexts = ContextTable(entries, {}) if driver.contexts else _none(CONTEXTS)
    answers.cards(CONTEXTS)[ifindex] = contexts
    table[ifindex] = tuple(
        index * reached // entries if driver.blocks else index % reached for index in range(entries)
    )


def link_numbers(sent: int) -> Mapping[str, int]:
    """What the kernel gives a link that sends at most so many bytes as one packet."""
    merged = dict.fromkeys(("gro-max-size", "gro-ipv4-max-size"), LEGACY_SIZE)
    cut = dict.fromkeys(("gso-max-size", "gso-ipv4-max-size"), LEGACY_SIZE)
    numbers = {"txqueuelen": 1000, "gso-max-segs": 65535, "gso-max-segs-max": 65535}
    limits = {f"{name}-max": MAX_SIZE for name in merged} | {f"{name}-max": sent for name in cut}
    return {**numbers, **merged, **cut, **limits}


def _rings(driver: Driver) -> Mapping[str, int] | Failure:
    rx, tx, most = driver.rings
    if not most:
        return _none(RINGS)
    return {"rx": rx, "tx": tx, "rx-max": most, "tx-max": most}


def _none(question: Question[A]) -> Failure:
    return UnsupportedError(question.what, NO_OPERATION)


def _qdiscs(card: CardSpec, link: LinkInfo) -> tuple[QdiscEntry, ...]:
    """The kernel's own: mq with a pfifo_fast for each queue; none on a virtual card."""
    if link.kind:
        return (QdiscEntry("noqueue", 0, ROOT, {}),)
    if card.queues == 1:
        return (QdiscEntry("pfifo_fast", 0, ROOT, {}),)
    leaves = (QdiscEntry("pfifo_fast", 0, queue + 1, {}) for queue in range(card.queues))
    return (QdiscEntry("mq", 0, ROOT, {}), *leaves)
