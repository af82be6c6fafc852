"""The doctor: each finding where it is, and none on hosts that are well."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netuned.cli.doctor import as_json, show
from netuned.cli.main import run
from netuned.cli.text import Screen
from netuned.counters.sample import CardSample, Sample
from netuned.cpuset import CpuSet
from netuned.doctor import facts as reading
from netuned.doctor.examine import FINDINGS, examine
from netuned.doctor.facts import Bus, Facts
from netuned.doctor.finding import Finding, wire_name
from netuned.hardware.host import read_host
from netuned.kernel.counts import LINK, SOFTNET, TIMES
from netuned.kernel.features import ACTIVE
from netuned.kernel.netdev import XSK
from netuned.kernel.recorded import File
from netuned.profiles.loader import check
from netuned.profiles.loader import load as load_profiles
from netuned.profiles.trust import ANYONE
from netuned.snapshots.described import machine
from netuned.status import Applied, ManagerStatus, NicStatus, SettingStatus, Status
from netuned.text import escape
from netuned.tunables import BY_NAME
from netuned.values import FlowRule
from tests.unit.doctored import LOADS, SECONDS, counted, cpu, described, hot, known, loaded, traffic

MACHINES = {
    "one core": "cards: [{name: eth0, driver: virtio_net, queues: 1}]",
    "two cores": "cores: 2\ncards: [{name: eth0, driver: virtio_net, queues: 2}]",
    "a web tier": "cores: 8\nthreads: 2\ncards: [{name: eth0, driver: igb, queues: 8}]",
    "two cards, two nodes": "nodes: 2\ncores: 8\nthreads: 2\ncards:\n"
    "  - {name: eth0, driver: ice, node: 0, queues: 8}\n"
    "  - {name: eth1, driver: mlx5_core, node: 1, queues: 8}\n",
    "L3 domains": "l3s: 4\ncores: 4\ncards: [{name: eth0, driver: ice, queues: 16}]",
    "isolated": "cores: 16\nisolated: 8-15\ncards: [{name: eth0, driver: i40e, queues: 8}]",
    "offline": "cores: 8\nthreads: 2\noffline: 3,11\ncards: [{name: eth0, driver: bnxt_en}]",
    "hybrid": "cores: 8\nthreads: 2\nefficiency: 8\ncards: [{name: eth0, driver: r8169}]",
    "a bond": "cores: 8\ncards:\n  - {name: eth0, driver: ice, queues: 4, count: 2}\n"
    "  - {name: bond0, kind: bond, over: [eth0, eth1]}",
    "cloud": "cores: 4\nthreads: 2\ncards: [{name: ens5, driver: ena, queues: 4, node: -1}]",
    "many cards": "nodes: 4\ncores: 16\ncards:\n"
    "  - {name: eth0, driver: mlx5_core, count: 4, queues: 16, node: 1}",
    "veths": "cores: 4\ncards: [{name: v0, driver: veth, count: 6, queues: 4}]",
}


def names(facts: Facts, what: Sample) -> list[str]:
    return [finding.name for finding in examine(facts, what)]


# Hosts that are well


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_found_on_a_healthy_machine(name: str, load: str) -> None:
    for facts, what in healthy_states(name, load):
        assert names(facts, what) == []


def healthy_states(name: str, load: str) -> Iterator[tuple[Facts, Sample]]:
    """A machine as it is described, with all that may be read of it, and of settings alone."""
    facts = described(MACHINES[name])
    what = loaded(facts, load)
    yield facts, what
    settled = {"net.core.default_qdisc": "pfifo_fast", "net.core.rps_sock_flow_entries": "0",
               "net.ipv4.tcp_rmem": "4096 131072 6291456", "net.ipv4.ip_forward": "1"}  # fmt: skip
    facts = replace(
        facts, sysctls=settled, late_us=400.0, idle={"POLL": 0, "C1": 2}, scaling="intel_pstate",
        governors={"powersave": facts.topology.online}, steps=(what,) * 5,
        status=Status(ManagerStatus("1", "in-sync"), ()),
    )  # fmt: skip
    for ifindex in facts.cards:
        facts = known(
            facts, ifindex, bus=Bus("0", 8.0, 16, 8.0, 16), iommu="DMA-FQ", duplex="full",
            xps={q: CpuSet(1 << q) for q in range(4)} if len(facts.topology.online) == 4 else {},
        )  # fmt: skip
    yield facts, what
    yield facts, Sample(0.0)


# Each finding

TEXTS = (
    "nodes: 2\ncores: 16\ncards: [{name: eth0, driver: ice, queues: 8, maximum: 64, speed: 100G}]",
    "nodes: 2\ncores: 8\ncards: [{name: eth0, driver: ice, queues: 8}]",
    "cores: 4\ncards: [{name: v0, driver: veth, queues: 1}]",
    "l3s: 2\ncores: 4\ncards: [{name: eth0, driver: ice, queues: 4}]",
)
PLAIN, EIGHT, VETH, DOMAINS = map(described, TEXTS)
"""Node 0 has CPUs 0 to 15, its card interrupts on 0 to 7."""
CALM = traffic(PLAIN)
IRQS = [vector.irq for vector in PLAIN.cards[2].nic.vectors]
FULL = traffic(EIGHT)
OTHER_L3 = replace(
    traffic(DOMAINS), cpus={c: cpu(0.4) if c < 4 else cpu(user=0.8) for c in range(8)}
)
TURNS = [replace(CALM, cards={2: replace(CALM.cards[2], tx={q: {"bytes": 1000}, 9: {"bytes": 1}})})
         for q in (1, 5, 1, 5, 5)]  # fmt: skip


def reading_on(facts: Facts, *cpus: int) -> Facts:
    """Programs with sockets take most of these CPUs."""
    return replace(facts, readers={c: {"app 7": int(0.8e9 * SECONDS), "sshd 9": 1} for c in cpus})


def on(*cpus: int, rate: int = 4_000) -> Mapping[int, Mapping[int, int]]:
    """The card's interrupts, vector by vector on these CPUs."""
    return {irq: {cpus[i % len(cpus)]: int(rate * SECONDS)} for i, irq in enumerate(sorted(IRQS))}


def sysctls(**values: str) -> Facts:
    return replace(PLAIN, sysctls={f"net.{k.replace('__', '.')}": v for k, v in values.items()})


def kept(state: str, **more: object) -> Facts:
    setting = SettingStatus("irq", state, "0", "1", "tune.sh does it", repairs=4, **more)  # type: ignore[arg-type]
    card = NicStatus(2, "eth0", "ice", "edge", state, settings=(setting,))
    return replace(PLAIN, status=Status(ManagerStatus("1", state), (card,)))


def host(**counts: int) -> Sample:
    return replace(CALM, host={**CALM.host, **counts})


REPAIR = Applied(time.time() - 120, "irq", "rx-3", "0-15", "3", "drift")
HALF = (*[0] * 64, *[q for q in range(8) for _ in range(8)])
ODD = {q: {"packets": 100_000} for q in range(1, 8)}
SPIN = {"adaptive-rx": 1, "rx-usecs": 50}
BULK = {"rx_packets": 1_000_000, "rx_bytes": 1_448_000_000}
SEGMENTS = {"IpInReceives": 1_000_000, "IpExtInNoECTPkts": 1_010_000, "TcpInSegs": 1_000_000}

ONE_EACH = counted(
    CALM,
    interrupts=on(*range(8), rate=45_000),
    totals={"rx_packets": 2_000_000, "tx_packets": 1_700_000},
)
POLLED = known(PLAIN, takers={irq: CpuSet(1 << i) for i, irq in enumerate(sorted(IRQS))})
SILENT = counted(CALM, interrupts={irq: {} for irq in IRQS})
"""Each queue is polled by its CPU's ksoftirqd, which never came to its end."""
FEW = counted(
    CALM,
    interrupts={irq: {0: 9_000} if irq == min(IRQS) else {} for irq in IRQS},
    rx={0: {"packets": 25_000}, **{q: {"packets": 100} for q in range(1, 8)}},
    totals={"rx_packets": 25_700, "tx_packets": 0},
)
"""Packets of which each costs a CPU much, or those of others there."""
DISKS = hot(FEW, 0.05, [0], processed=25_000)
DISKS = replace(DISKS, cpus={**DISKS.cpus, 0: {**DISKS.cpus[0], "irq": 700}})
"""Their CPU is busy with the interrupts of others."""
APART = known(
    PLAIN,
    table=(0, 1, 2, 3, 4, 5, 6) * 18,
    rules={0: FlowRule("tcp4", (("dport", "443"),), "queue 7")},
)

MADE: list[tuple[str, Facts, Sample, Facts, Sample]] = [
    # name, and where it is found; then the like of it that is well
    ("xps-unequal", known(PLAIN, xps={q: CpuSet(1 << q) for q in range(8)}),
     counted(CALM, tx={3: {"packets": 2_000_000}}),
     known(PLAIN, xps={q: CpuSet(1 << q) for q in range(8)}), CALM),
    ("few-cpus", PLAIN, hot(CALM, 0.7, range(8)), PLAIN, hot(CALM, 0.4, range(8))),
    ("few-cpus", VETH, hot(traffic(VETH), 0.7, [0], processed=9_000_000),
     VETH, hot(traffic(VETH), 0.7, [0, 1, 2, 3], processed=9_000_000)),
    ("few-cpus", POLLED, hot(SILENT, 0.9, range(8)), POLLED, hot(SILENT, 0.4, range(8))),
    ("isolated-cpus", replace(PLAIN, topology=replace(PLAIN.topology, isolated=CpuSet(0xF0))), CALM,
     PLAIN, CALM),
    ("remote-node", PLAIN, counted(CALM, interrupts=on(20, 21)),
     PLAIN, counted(CALM, interrupts=on(2, 3))),
    ("other-l3", DOMAINS, OTHER_L3, DOMAINS, replace(OTHER_L3,
        cpus={c: cpu(0.4, 0.4) if c < 4 else cpu() for c in range(8)})),
    ("other-l3", reading_on(DOMAINS, 4, 5), hot(traffic(DOMAINS), 0.4, range(4)),
     reading_on(DOMAINS, 0, 4), hot(traffic(DOMAINS), 0.4, range(4))),
    ("other-node", reading_on(PLAIN, 20), hot(CALM, 0.4, range(8)),
     known(reading_on(PLAIN, 20), rps={0: CpuSet(1 << 20)}), hot(CALM, 0.4, range(8))),
    ("shared-core", PLAIN, hot(counted(CALM, interrupts={IRQS[0]: {1: 40_000}}), 0.7, [1]),
     PLAIN, hot(CALM, 0.7, [1])),
    ("moved-interrupts",
     replace(known(PLAIN, takers={irq: CpuSet(1) for irq in IRQS}), agents=("irqbalance (pid 7)",)),
     counted(CALM, interrupts={IRQS[0]: {0: 30_000, 9: 20_000}}),
     known(PLAIN, takers={irq: CpuSet(1) for irq in IRQS}),
     counted(CALM, interrupts={IRQS[0]: {0: 39_999, 9: 1}})),
    ("silent-queue", PLAIN, hot(counted(CALM, interrupts={IRQS[3]: {2: 5}}), 0.6, range(16)),
     PLAIN, counted(CALM, interrupts={IRQS[3]: {}})),
    ("softirq-saturated", PLAIN, hot(CALM, 0.95, [3], ksoftirqd=int(9e9), squeezed=900),
     PLAIN, hot(CALM, 0.4, [3], ksoftirqd=int(1e9))),
    ("interrupt-rate", PLAIN, counted(CALM, interrupts=on(*range(8), rate=60_000)), PLAIN, CALM),
    ("interrupt-rate", PLAIN, hot(ONE_EACH, 0.3, range(8)), PLAIN, ONE_EACH),
    ("adaptive-latency", known(sysctls(core__busy_poll="50"), coalesce=SPIN), CALM,
     known(sysctls(core__busy_poll="0"), coalesce=SPIN), CALM),
    ("adaptive-latency",
     known(sysctls(core__busy_read="50"), coalesce={"rx-usecs": 3}, driver="igb"), CALM,
     known(sysctls(core__busy_read="50"), coalesce={"rx-usecs": 4}, driver="igb"), CALM),
    ("softnet-drops", PLAIN, hot(CALM, 0.3, [2], dropped=500, processed=90_000, flow_limit=7),
     PLAIN, hot(CALM, 0.3, [2], dropped=3, processed=90_000)),
    ("time-squeeze", PLAIN, hot(CALM, 0.4, [2], squeezed=9_000),
     PLAIN, hot(CALM, 0.1, [2], squeezed=9_000)),
    ("backlog", sysctls(core__netdev_max_backlog="1000"), hot(CALM, 0.3, [2], backlog=800),
     sysctls(core__netdev_max_backlog="5000"), hot(CALM, 0.3, [2], backlog=800)),
    ("ring-overflow", known(PLAIN, rings={"rx": 512, "rx-max": 4096}),
     counted(CALM, totals={"rx_missed_errors": 9_000, "rx_dropped": 50_000}),
     PLAIN, counted(CALM, totals={"rx_dropped": 50_000})),
    ("ring-overflow", PLAIN, counted(CALM, driver={"rx_no_buffer_count": 900}),
     PLAIN, counted(CALM, driver={"missed_irqs": 900, "tx_fifo_errors": 900, "rx_ok": 900})),
    ("ring-overflow", PLAIN, counted(CALM, rx={3: {"packets": 9, "overruns": 900}}), PLAIN, CALM),
    ("uneven-rss", known(PLAIN, table=HALF),
     hot(counted(CALM, rx={0: {"packets": 2_000_000}, **ODD}), 0.8, [0]),
     known(PLAIN, table=HALF), counted(CALM, rx={0: {"packets": 2_000_000}, **ODD})),
    ("uneven-rss", PLAIN,
     hot(counted(CALM, rx={**ODD, 0: {"packets": 900_000}, 4: {"packets": 500_000}}), 0.8, [0]),
     PLAIN, hot(CALM, 0.8, [0])),
    ("elephant-flow", PLAIN, hot(counted(CALM, rx={0: {"packets": 2_000_000}, **ODD}), 0.8, [0]),
     PLAIN, counted(CALM, rx={0: {"packets": 2_000_000}, **ODD})),
    ("elephant-flow", PLAIN, hot(FEW, 0.8, [0], processed=25_000),
     PLAIN, hot(FEW, 0.8, [0], processed=250_000)),
    ("few-cpus", PLAIN, hot(FEW, 0.8, [0], processed=25_000), PLAIN, DISKS),
    ("rps-costs", known(EIGHT, rps=dict.fromkeys(range(8), CpuSet(0xFF))),
     hot(FULL, 0.2, range(8), received_rps=50_000),
     known(PLAIN, rps=dict.fromkeys(range(8), CpuSet(0xFF))),
     hot(CALM, 0.2, range(8), received_rps=50_000)),
    ("rps-missing", known(PLAIN, fixed=True), hot(CALM, 0.7, range(8)),
     known(PLAIN, fixed=True), hot(CALM, 0.4, range(8))),
    ("rps-missing", known(POLLED, fixed=True), hot(SILENT, 0.9, range(8)),
     known(POLLED, fixed=True), hot(SILENT, 0.4, range(8))),
    ("rfs-without-table", known(sysctls(core__rps_sock_flow_entries="0"), flows={0: 4096}), CALM,
     known(sysctls(core__rps_sock_flow_entries="32768"), flows={0: 4096}), CALM),
    ("rfs-without-queues", sysctls(core__rps_sock_flow_entries="32768"), CALM,
     sysctls(core__rps_sock_flow_entries="0"), CALM),
    ("gro-not-merging", PLAIN, counted(host(**SEGMENTS), totals=BULK),
     PLAIN, counted(host(**{**SEGMENTS, "IpInReceives": 40_000}), totals=BULK)),
    ("lro-forwarding", known(sysctls(ipv4__ip_forward="1"), features={"rx-lro": ACTIVE}),
     host(IpForwDatagrams=10_000), known(sysctls(ipv4__ip_forward="1"), features={"rx-lro": 4}),
     host(IpForwDatagrams=10_000)),
    ("fq-flow-limit", PLAIN, counted(host(TcpRetransSegs=900),
     qdiscs={"tx-3": {"packets": 1_000_000, "flows_plimit": 900, "drops": 900}},
     kinds={"tx-3": "fq"}),
     PLAIN, counted(CALM, qdiscs={"tx-3": {"packets": 1_000_000}}, kinds={"tx-3": "fq"})),
    ("qdisc-drops", known(PLAIN, limits={"pfifo": 10}), counted(CALM,
     qdiscs={"tx-3": {"packets": 90_000, "drops": 900}}, kinds={"tx-3": "pfifo"}),
     PLAIN, counted(CALM, qdiscs={"tx-3": {"packets": 9, "drops": 900}}, kinds={"tx-3": "netem"})),
    ("qdisc-differs", sysctls(core__default_qdisc="fq_codel"), CALM,
     sysctls(core__default_qdisc="pfifo_fast"), CALM),
    ("xps-unequal", known(PLAIN, xps={0: CpuSet((1 << 32) - 1), 1: CpuSet(), 2: CpuSet(1)}), CALM,
     known(PLAIN, xps={q: CpuSet(0xF << 4 * q) for q in range(8)}), CALM),
    ("xps-missing", known(PLAIN, xps=dict.fromkeys(range(8), CpuSet())),
     counted(CALM, tx={3: {"packets": 9_000_000}}),
     known(PLAIN, xps=dict.fromkeys(range(8), CpuSet())), CALM),
    ("tx-flapping", replace(PLAIN, steps=tuple(TURNS)), CALM,
     replace(PLAIN, steps=(*TURNS[:1], *TURNS[2:3] * 4)), CALM),
    ("slow-bus", known(PLAIN, bus=Bus("0000:01:00", 8.0, 8, 16.0, 16)), CALM,
     known(PLAIN, bus=Bus("0000:01:00", 16.0, 8, 16.0, 16)), CALM),
    ("strict-iommu", known(PLAIN, iommu="DMA"), CALM, known(PLAIN, iommu="identity"), CALM),
    ("pause-frames", known(PLAIN, rings={"rx": 512, "rx-max": 4096}),
     counted(CALM, driver={"tx_xoff.nic": 400}), PLAIN, counted(CALM, driver={"tx_xoff.nic": 3})),
    ("pause-frames", PLAIN, counted(CALM, driver={"rx_pause_ctrl_phy": 400}),
     PLAIN, counted(CALM, driver={"rx_pause_duration": 4_000, "rx_64_bytes": 4_000})),
    ("slow-link", known(PLAIN, duplex="half"), CALM, known(PLAIN, duplex="full"), CALM),
    ("slow-link", known(PLAIN, modes={"common": 200_000}), CALM,
     known(PLAIN, modes={"common": 100_000}), CALM),
    ("zero-copy", known(PLAIN, bound={("rx", 3): XSK}, xdp={"program": 7, "zero-copy": 0}), CALM,
     known(PLAIN, bound={("rx", 3): XSK}, xdp={"program": 7, "zero-copy": 1}), CALM),
    ("zero-copy", known(APART, rings={"tcp-data-split": 2, "hds-thresh": 512}), CALM,
     known(APART, rings={"tcp-data-split": 0, "hds-thresh": 512}), CALM),
    ("gro-hw-forwarding", known(sysctls(ipv4__ip_forward="1"), features={"rx-gro-hw": ACTIVE}),
     host(IpForwDatagrams=10_000), known(sysctls(ipv4__ip_forward="1"), features={
         "rx-gro-hw": ACTIVE, "tx-tcp-segmentation": ACTIVE}), host(IpForwDatagrams=10_000)),
    ("conntrack-full", PLAIN, host(conntrack=250_000), PLAIN, host(conntrack=200_000)),
    ("tcp-buffers", sysctls(ipv4__tcp_rmem="4096 131072 6291456"),
     host(TcpExtTCPToZeroWindowAdv=500), sysctls(ipv4__tcp_rmem="4096 131072 67108864"),
     host(TcpExtTCPToZeroWindowAdv=500)),
    ("udp-buffers", PLAIN, host(UdpRcvbufErrors=500, UdpInDatagrams=9_000), PLAIN,
     host(UdpRcvbufErrors=3)),
    ("late-wake-ups", replace(PLAIN, late_us=400.0, idle={"C1": 2, "C6": 133}), CALM,
     replace(PLAIN, late_us=90.0, idle={"C1": 2, "C6": 133}), CALM),
    ("late-wake-ups", replace(PLAIN, late_us=400.0, scaling="acpi-cpufreq",
                              governors={"powersave": CpuSet(0xFF)}), CALM,
     replace(PLAIN, late_us=400.0, scaling="acpi-cpufreq", governors={"ondemand": CpuSet(1)}),
     CALM),
    *((f"profile-{state}", kept(state), CALM, kept("in-sync"), CALM)
      for state in ("contended", "degraded", "withheld", "drifted", "waiting", "unsupported")),
    ("repaired", kept("in-sync", last_change=REPAIR), CALM,
     kept("in-sync", last_change=replace(REPAIR, cause="profile")), CALM),
]  # fmt: skip
IDS = [f"{name}-{number}" for number, (name, *_) in enumerate(MADE)]


@pytest.mark.parametrize(("name", "facts", "what", "well", "calm"), MADE, ids=IDS)
def test_a_finding_is_where_it_is_made_and_nowhere_else(
    name: str, facts: Facts, what: Sample, well: Facts, calm: Sample, tmp_path: Path
) -> None:
    found = [finding for finding in examine(facts, what) if finding.name == name]
    assert len(found) == 1, names(facts, what)
    assert name not in names(well, calm)
    finding = found[0]
    assert finding.proof
    assert finding.seen
    assert finding.why
    assert 0 <= finding.cost <= 100
    assert finding.profile or finding.command or finding.other
    assert_profile(finding, tmp_path)
    screen = Screen()
    assert "\n" not in show(found, ["eth0"], 10.0, {}, screen).splitlines()
    json.dumps(as_json(found, ["eth0"], 10.0, {}))


BOTH_NODES = described(
    "nodes: 2\ncores: 16\ncards: [{name: eth0, driver: mlx5_core, queues: 32, maximum: 32}]"
)
EVERYWHERE = {v.irq: {v.queue: 40_000} for v in BOTH_NODES.cards[2].nic.vectors}
ONE_QUEUE = described("cores: 4\ncards: [{name: eth0, driver: virtio_net, queues: 1, maximum: 1}]")
WELL = {
    "fewer queues than CPUs, each sends for one": (
        known(PLAIN, xps={q: CpuSet(1 << q) for q in range(8)}), CALM),
    "queues on the CPUs of both nodes": (
        BOTH_NODES, counted(traffic(BOTH_NODES), interrupts=EVERYWHERE)),
    "coalescing adapts itself": (known(PLAIN, coalesce=SPIN), CALM),
    "an interrupt for each packet, and nothing else to do": (PLAIN, ONE_EACH),
    "frames that nobody wants": (PLAIN, counted(CALM, totals={"rx_dropped": 900_000})),
    "a packet lost now and then": (PLAIN, counted(CALM, totals={"rx_missed_errors": 5})),
    "fq_codel controls delay": (PLAIN, counted(CALM, kinds={"tx-1": "fq_codel"},
        qdiscs={"tx-1": {"packets": 1_000_000, "drops": 4_000}})),
    "a network is emulated": (PLAIN, counted(CALM, kinds={"root": "netem"},
        qdiscs={"root": {"packets": 100_000, "drops": 9_000}})),
    "irqbalance leaves it alone": (replace(PLAIN, agents=("irqbalance (pid 7)",)), CALM),
    "readers beside their packets": (reading_on(PLAIN, 1, 3), hot(CALM, 0.4, range(8))),
    "readers that have little to do": (replace(PLAIN, readers={20: {"sshd 9": 10**9}}),
        hot(CALM, 0.4, range(8))),
    "RPS for one queue": (known(ONE_QUEUE, rps={0: CpuSet(15)}),
        hot(traffic(ONE_QUEUE), 0.6, [0], received_rps=90_000)),
    "RFS whole": (known(sysctls(core__rps_sock_flow_entries="32768"), flows={0: 4096}), CALM),
    "a powersave that is a governor": (replace(PLAIN, late_us=400.0, scaling="intel_pstate",
        governors={"powersave": CpuSet(0xFF)}, idle={"C1": 2}), CALM),
    "a strict IOMMU for a slow card": (known(PLAIN, iommu="DMA", speed_mbps=10_000), CALM),
    "a narrow bus that is wide enough": (
        known(PLAIN, speed_mbps=10_000, bus=Bus("1", 8.0, 4, 16.0, 16)), CALM),
    "a qdisc that a profile wants": (replace(sysctls(core__default_qdisc="fq_codel"),
        status=Status(ManagerStatus("1", "in-sync"), (NicStatus(2, "eth0", "ice", "edge", "in-sync",
        settings=(SettingStatus("qdisc", "in-sync", "fq", "fq"),)),))), CALM),
    "bursts that cut turns short": (PLAIN, hot(CALM, 0.4, [2], squeezed=300)),
    "ksoftirqd now and then": (PLAIN, hot(CALM, 0.3, [2], ksoftirqd=int(1e9))),
    "TCP loses, and finds its speed": (PLAIN, host(TcpRetransSegs=5_000)),
}  # fmt: skip


def healthy() -> Iterator[tuple[Facts, Sample]]:
    """All states here that are well."""
    for name in MACHINES:
        for load in LOADS:
            yield from healthy_states(name, load)
    yield from WELL.values()


@pytest.mark.parametrize("state", WELL)
def test_what_is_usual_is_no_finding(state: str) -> None:
    assert names(*WELL[state]) == []


def assert_profile(finding: Finding, directory: Path) -> None:
    """The lines are a profile, as they stand."""
    if finding.profile:
        path = directory / "edge.yaml"
        path.write_text("\n".join(finding.profile))
        assert check(str(path), (str(directory),)) == (), finding.profile


def test_every_finding_is_made() -> None:
    """Functions of the doctor, each with a case here that it finds."""
    left = [
        each.__qualname__ for each in FINDINGS
        if not any([*each(facts, what)] for _, facts, what, _, _ in MADE)
    ]  # fmt: skip
    assert not left


def test_the_document_has_every_finding() -> None:
    """The first column of docs/cli.md's table is what is made here."""
    text = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text()
    rows = text.partition("| finding | it is where |")[2].partition("\n\n")[0].splitlines()
    told = re.findall("`([a-z0-9-]+)`", " ".join(row.split("|")[1] for row in rows[2:]))
    whole = [f"profile{name}" if name.startswith("-") else name for name in told]
    assert sorted(whole) == sorted({name for name, *_ in MADE})


def test_what_is_lost_comes_before_what_is_slow() -> None:
    what = hot(CALM, 0.7, range(8), dropped=900)
    facts = known(PLAIN, iommu="DMA")
    assert names(facts, what)[0] == "softnet-drops"
    assert names(facts, what)[-1] == "strict-iommu"


def test_what_a_profile_wants_is_no_finding() -> None:
    isolated = replace(kept("in-sync"), topology=replace(PLAIN.topology, isolated=CpuSet(0xF0)))
    assert "irq" in BY_NAME
    assert names(isolated, CALM) == []


def test_of_a_described_machine_it_says_what_it_cannot_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text("cores: 4\ncards: [{name: eth0, driver: ice}, {name: eth1, driver: igb}]\n")
    assert run(["doctor", "eth1", "--snapshot", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("No finding (eth1, settings).")
    assert "counters: what moves is not seen" in shown
    assert run(["doctor", "eth7", "--snapshot", str(path)]) == 1
    assert "there is no card named eth7" in capsys.readouterr().err
    assert run(["doctor", "--for", "5d"]) == 2
    assert "'5d' is not a time like 10s" in capsys.readouterr().err


def test_facts_are_read_of_files_that_a_host_has() -> None:
    kernel = machine("cores: 2\ncards: [{name: eth0, driver: ice, queues: 2}]")
    device = "/sys/devices/pci0000:00/0000:01:00.0"
    card, cpu0 = f"{device}/net/eth0", "/sys/devices/system/cpu/cpu0"
    for path, text in {
        f"{device}/current_link_speed": "8.0 GT/s PCIe",
        f"{device}/current_link_width": "4",
        f"{device}/max_link_speed": "16.0 GT/s PCIe",
        f"{device}/max_link_width": "16",
        f"{device}/iommu_group/type": "DMA",
        f"{card}/duplex": "full",
        f"{cpu0}/cpufreq/scaling_governor": "powersave",
        f"{cpu0}/cpufreq/scaling_driver": "acpi-cpufreq",
        f"{cpu0}/cpuidle/state2/name": "C6",
        f"{cpu0}/cpuidle/state2/latency": "133",
        f"{cpu0}/cpuidle/state3/name": "C8",
        f"{cpu0}/cpuidle/state3/latency": "800",
        f"{cpu0}/cpuidle/state3/disable": "1",
        "/proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    }.items():
        directory, _, name = path.rpartition("/")
        kernel.tree.add_directory(directory)[name] = File(f"{text}\n".encode())
    host = read_host(kernel)
    facts = reading.read(kernel, host, host.nics)
    found = facts.cards[2]
    assert found.bus == Bus("0000:01:00", 8.0, 4, 16.0, 16)
    assert (str(found.bus), found.bus.mbps) == ("8 GT/s x4 of 16 GT/s x16", 4 * 7877)
    assert (found.iommu, found.duplex, found.table[:2]) == ("DMA", "full", (0, 1))
    assert found.leaves.keys() == {0xFFFFFFFF, 1, 2}
    assert (facts.governors, facts.scaling) == ({"powersave": CpuSet(1)}, "acpi-cpufreq")
    assert facts.idle == {"C6": 133}
    assert facts.number("net.ipv4.tcp_rmem") == 6291456


@pytest.mark.parametrize("name", ["$(reboot)", "a;b", "eth*", "!eth0", 'q"q', "\udcff\x1b[2J"])
def test_a_cards_name_is_no_command_and_no_pattern(name: str, tmp_path: Path) -> None:
    facts = known(PLAIN, name=name, rings={"rx": 512, "rx-max": 4096})
    what = counted(CALM, totals={"rx_missed_errors": 9_000})
    (found,) = examine(facts, what)
    assert shlex.split(found.command)[2] == wire_name(facts.cards[2].nic)
    assert_profile(found, tmp_path)
    (match,) = load_profiles((str(tmp_path),), owner=ANYONE).profiles[0].profile.match
    other = replace(PLAIN.cards[2].nic, name="eth01")
    assert not match.matches(other)
    assert escape(text := show([found], [], 10.0, {}, Screen()).replace("\n", "")) == text
    json.dumps(as_json([found], [], 10.0, {})).encode()


def counts(*names: str) -> st.SearchStrategy[dict[str, int]]:
    number = st.sampled_from((0, 1, 5, 1_000, 10**6, 10**9, 2**32 - 1, 2**64 - 1))
    return st.dictionaries(st.sampled_from(names), number)


QUEUES = st.integers(0, 9)
SAMPLES = st.builds(
    Sample,
    at=st.just(9.0),
    cpus=st.dictionaries(
        st.integers(0, 33),
        counts(*TIMES, *SOFTNET.values(), "backlog", "ksoftirqd", "net_rx"),
    ),
    cards=st.dictionaries(
        st.just(2),
        st.builds(
            CardSample,
            name=st.just("eth0"),
            totals=counts(*LINK),
            driver=counts("rx_no_buffer_count", "tx_xoff", "rx_pause", "missed_irqs"),
            rx=st.dictionaries(QUEUES, counts("packets", "bytes", "overruns", "alloc_fail")),
            tx=st.dictionaries(QUEUES, counts("packets", "bytes", "drops")),
            qdiscs=st.dictionaries(
                st.sampled_from(("root", "tx-0", "tx-9")),
                counts("packets", "bytes", "drops", "flows_plimit"),
            ),
            kinds=st.dictionaries(
                st.sampled_from(("root", "tx-0")), st.sampled_from(("fq", "mq", "pfifo"))
            ),
            interrupts=st.dictionaries(
                st.sampled_from(IRQS), st.dictionaries(st.integers(0, 33), st.integers(0, 10**9))
            ),
        ),
    ),
    host=counts("TcpRetransSegs", "IpInReceives", "IpForwDatagrams", "conntrack", "conntrack_max"),
    seconds=st.sampled_from((0.0, 0.001, 1.0, 3600.0)),
)
ODD_FACTS = known(
    replace(sysctls(ipv4__ip_forward="1", core__rps_sock_flow_entries="7"), late_us=900.0),
    table=HALF,
    xps={0: CpuSet(1), 1: CpuSet()},
    rps={0: CpuSet(3)},
    takers={irq: CpuSet(1) for irq in IRQS},
    features={"rx-lro": ACTIVE, "rx-gro-hw": ACTIVE},
    coalesce=SPIN,
)


@given(SAMPLES, st.sampled_from((PLAIN, ODD_FACTS, VETH)))
@settings(max_examples=40, deadline=None)
def test_whatever_a_host_counts_there_is_an_answer(what: Sample, facts: Facts) -> None:
    found = examine(replace(facts, steps=(what,) * 5), what)
    assert all(0 <= finding.cost <= 100 and finding.proof for finding in found)
    assert show(found, ["eth0"], what.seconds, {}, Screen())
    if not what.seconds:
        told = {finding.name for finding in found}
        assert told <= {"conntrack-full", "backlog", "rfs-without-queues"}, "no time, no rate"
