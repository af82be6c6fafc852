"""Facts: what a doctor reads of a host besides its counters. Each is optional.

What could not be read is not among the facts, and is said in ``missing``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from typing import TypeVar

from netuned.counters.sample import Sample
from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.topology import Topology
from netuned.kernel import Kernel
from netuned.kernel.features import ACTIVE
from netuned.kernel.netdev import Bound
from netuned.kernel.once import Once
from netuned.kernel.questions import (
    BOUND,
    COALESCE,
    FEATURES,
    LINK_MODES,
    QDISCS,
    RINGS,
    RSS_TABLE,
    RULES,
    XDP,
    Question,
)
from netuned.kernel.rules import RuleTable
from netuned.kernel.writers import find
from netuned.records import dataclass
from netuned.status import Status
from netuned.values import FlowRule

A = TypeVar("A")

BALANCERS = ("irqbalance", "tuned", "google_guest_agent")
"""Programs that move interrupts."""
SYSCTLS = (
    *(f"net.core.{name}" for name in ("netdev_max_backlog", "netdev_budget", "default_qdisc")),
    *(f"net.core.{name}" for name in ("rps_sock_flow_entries", "busy_read", "busy_poll")),
    *("net.core.rmem_max", "net.ipv4.tcp_rmem", "net.ipv4.ip_forward"),
)
_CPU = "/sys/devices/system/cpu"
_NOT_THERE = "this kernel has none, or shows it in the first network namespace only"

_MBPS = {2.5: 2000, 5.0: 4000, 8.0: 7877, 16.0: 15754, 32.0: 31508, 64.0: 64000}
"""Of a PCIe lane by its GT/s (include drivers/pci/pci.h, PCIE_SPEED2MBS_ENC)."""


@dataclass(frozen=True, slots=True)
class Bus:
    """A card's PCIe link: GT/s and lanes, as it is and as the card can; ``place`` is its slot."""

    place: str
    speed: float
    width: int
    speed_max: float
    width_max: int

    @property
    def mbps(self) -> int:
        """What it carries, before the headers of packets; 0 of a speed that is not known."""
        return _MBPS.get(self.speed, 0) * self.width

    def __str__(self) -> str:
        most = f"{self.speed_max:g} GT/s x{self.width_max}"
        return f"{self.speed:g} GT/s x{self.width} of {most}"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """One card's. Mappings are by queue (``flows``: of ``rps_flow_cnt``), or as questions have it.

    ``takers`` are the CPUs that an interrupt goes to, by number. ``leaves`` are the kinds of
    qdiscs by their parents, ``limits`` their sizes in packets by kind, and ``fq flow_limit``.
    ``iommu`` is the type of the card's domain, empty where there is none or it may not be read.
    """

    nic: Nic
    rings: Mapping[str, int] = field(default_factory=dict)
    coalesce: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    table: tuple[int, ...] = ()
    leaves: Mapping[int, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    rps: Mapping[int, CpuSet] = field(default_factory=dict)
    flows: Mapping[int, int] = field(default_factory=dict)
    xps: Mapping[int, CpuSet] = field(default_factory=dict)
    takers: Mapping[int, CpuSet] = field(default_factory=dict)
    bound: Bound = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    xdp: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[int, FlowRule] = field(default_factory=dict)
    bus: Bus | None = None
    iommu: str = ""
    duplex: str = ""

    def has(self, feature: str) -> bool:
        """Whether it has this feature in force, by the kernel's name."""
        return bool(self.features.get(feature, 0) & ACTIVE)


@dataclass(frozen=True, slots=True)
class Facts:
    """A host's. ``sysctls`` are texts by name; ``idle`` names its CPUs' enabled idle states with
    the microseconds to leave them; ``late_us`` is how late a sleeper was woken here, in the
    median, 0 where that was not measured. ``status`` is netuned's own, None without one.

    ``steps`` are what happened in each part of the time that samples were taken over. ``readers``:
    CPU -> process with a network socket -> nanoseconds that it ran there in that time; empty where
    that was not seen.
    """

    topology: Topology
    cards: Mapping[int, CardFacts] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    governors: Mapping[str, CpuSet] = field(default_factory=dict)
    scaling: str = ""
    idle: Mapping[str, int] = field(default_factory=dict)
    late_us: float = 0.0
    agents: tuple[str, ...] = ()
    status: Status | None = None
    steps: tuple[Sample, ...] = ()
    readers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def number(self, sysctl: str, default: int = -1) -> int:
        """A sysctl's last number; ``default`` where it cannot be read."""
        word = (self.sysctls.get(sysctl, "").split() or [""])[-1]
        return int(word) if word.isascii() and word.isdigit() else default

    def is_kept(self, nic: Nic, tunable: str) -> bool:
        """Whether a profile sets this of the card: how it is, somebody wants it."""
        nics = self.status.nics if self.status else ()
        return any(
            setting.tunable == tunable and setting.wanted
            for found in nics
            if found.ifindex == nic.ifindex
            for setting in found.settings
        )


def read(kernel: Kernel, host: Host, ifindexes: Collection[int]) -> Facts:
    """The facts of the host and of these cards. Raises: KernelError."""
    missing: dict[str, str] = {}
    asked = Once(kernel)
    cards = {i: _card(kernel, asked, host.nics[i], missing) for i in sorted(ifindexes)}
    sysctls = {}
    for name in SYSCTLS:
        text = kernel.files.read_text(f"/proc/sys/{name.replace('.', '/')}", "")
        if text:
            sysctls[name] = text
        else:
            missing[name] = _NOT_THERE
    governors: dict[str, CpuSet] = {}
    for cpu in host.topology.online:
        if name := kernel.files.read_text(f"{_CPU}/cpu{cpu}/cpufreq/scaling_governor", ""):
            governors[name] = governors.get(name, CpuSet()) | CpuSet(1 << cpu)
    first = f"{_CPU}/cpu{host.topology.online.first}" if host.topology.online else _CPU
    found = find(kernel.files, BALANCERS) if kernel.files.exists("/proc") else {}
    return Facts(
        topology=host.topology,
        cards=cards,
        sysctls=sysctls,
        governors=governors,
        scaling=kernel.files.read_text(f"{first}/cpufreq/scaling_driver", ""),
        idle=_idle(kernel, f"{first}/cpuidle"),
        agents=tuple(map(str, found.values())),
        missing=missing,
    )


def _card(kernel: Kernel, asked: Once, nic: Nic, missing: dict[str, str]) -> CardFacts:
    def ask(question: Question[A], default: A) -> A:
        try:
            return asked.get(question, nic.ifindex)
        except UnsupportedError:
            return default
        except KernelError as error:
            missing[f"{question.what} of {nic.label}"] = str(error)
            return default

    files, home = kernel.files, f"{CLASS_NET}/{nic.name}"
    entries = ask(QDISCS, ())

    def masks(kind: str, count: int, name: str) -> dict[int, CpuSet]:
        return _each(count, lambda queue: _mask(kernel, f"{home}/queues/{kind}-{queue}/{name}"))

    return CardFacts(
        nic=nic,
        rings=ask(RINGS, {}),
        coalesce=ask(COALESCE, {}),
        features=ask(FEATURES, {}),
        table=ask(RSS_TABLE, ()),
        leaves={entry.parent: entry.kind for entry in entries},
        limits={e.kind: e.parameters["limit"] for e in entries if "limit" in e.parameters}
        | {
            f"{e.kind} {name}": e.parameters[name]
            for e in entries
            for name in ("flow_limit",)
            if name in e.parameters
        },
        rps=masks("rx", nic.rx_queues, "rps_cpus"),
        flows=_each(
            nic.rx_queues,
            lambda queue: files.read_int(f"{home}/queues/rx-{queue}/rps_flow_cnt", 0),
        ),
        xps=masks("tx", nic.tx_queues, "xps_cpus"),
        takers={v.irq: _taker(kernel, v.irq) for v in nic.vectors},
        bound=ask(BOUND, {}),
        modes=ask(LINK_MODES, {}),
        xdp=ask(XDP, {"program": 0}),
        rules=ask(RULES, RuleTable(0, {})).rules,
        bus=_bus(kernel, nic),
        iommu=files.read_text(f"{home}/device/iommu_group/type", ""),
        duplex=files.read_text(f"{home}/duplex", ""),
    )


def _each(count: int, read: Callable[[int], A | None]) -> dict[int, A]:
    found = {queue: read(queue) for queue in range(count)}
    return {queue: value for queue, value in found.items() if value is not None}


def _mask(kernel: Kernel, path: str) -> CpuSet | None:
    """None where there is no such file, as of a card with one queue to send on."""
    text = kernel.files.read_text(path, "")
    try:
        return CpuSet.parse_mask(text) if text else None
    except ValueError:
        return None


def _taker(kernel: Kernel, irq: int) -> CpuSet:
    """Where the kernel does not tell it, the CPUs that it may go to."""
    home = f"/proc/irq/{irq}"
    return _mask(kernel, f"{home}/effective_affinity") or (
        _mask(kernel, f"{home}/smp_affinity") or CpuSet()
    )


def _bus(kernel: Kernel, nic: Nic) -> Bus | None:
    """``8.0 GT/s PCIe`` and ``8``; not of what is no PCIe device."""
    files, device = kernel.files, f"{CLASS_NET}/{nic.name}/device"
    texts = [files.read_text(f"{device}/{side}_link_{what}", "")
             for side in ("current", "max") for what in ("speed", "width")]  # fmt: skip
    try:
        speed, width, speed_max, width_max = (float(text.split()[0]) for text in texts)
    except (ValueError, IndexError):
        return None
    place = files.resolve(device).rpartition("/")[2].partition(".")[0]
    return Bus(place, speed, int(width), speed_max, int(width_max))


def _idle(kernel: Kernel, directory: str) -> dict[str, int]:
    found = {}
    for state in kernel.files.listdir(directory) if kernel.files.exists(directory) else ():
        at = f"{directory}/{state}"
        if kernel.files.read_int(f"{at}/disable", 0) == 0:
            found[kernel.files.read_text(f"{at}/name", state)] = kernel.files.read_int(
                f"{at}/latency", 0
            )
    return found


def lateness_us(times: int = 20, sleep_s: float = 0.002) -> float:
    """How late a sleep of this process ends, in the median: the timer's slack, waking a CPU that
    sleeps deeply or runs slowly, and who else runs there. About ``times × sleep_s``."""
    late = []
    for _ in range(times):
        start = time.monotonic()
        time.sleep(sleep_s)
        late.append(time.monotonic() - start - sleep_s)
    return sorted(late)[times // 2] * 1e6
