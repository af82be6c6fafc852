"""The host: tables, buffers and power that bound whatever cards do."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.counters.sample import Sample
from netuned.doctor.facts import Facts
from netuned.doctor.finding import (
    CERTAIN,
    FULL,
    LATENT,
    LIKELY,
    LOST,
    WASTED,
    Finding,
    cost,
    host_profile,
)
from netuned.doctor.load import BUSY_PPS, busy, per_second, received

NEARLY = 0.9
"""Of conntrack's table: at its end the kernel drops, and a burst fills a tenth at once."""
DELAY_S = 0.001
"""A round trip within a site; across a country it is 30 times as long."""
LATE_US = 150.0
"""Past the timer's slack (50 µs) and a switch of context: what a C6 of a server takes to be left
(intel_idle: 133 to 290 µs on Xeons)."""
DEEP_US = 100
SLOW_GOVERNORS = frozenset(("powersave", "conservative"))
OWN_SCALING = frozenset(("intel_pstate", "amd-pstate-epp"))
"""Drivers whose powersave is what others call schedutil (Documentation/admin-guide/pm)."""


def conntrack(facts: Facts, what: Sample) -> Iterator[Finding]:
    """The table of connections is full, or nearly."""
    now, most = what.host.get("conntrack", 0), what.host.get("conntrack_max", 0)
    if not most or now < NEARLY * most:
        return
    yield Finding(
        "conntrack-full",
        cost(LOST if now >= most else FULL, now / most),
        f"{now:,} of {most:,} connections are tracked",
        "At the end a packet of a new connection is dropped (`nf_conntrack: table full` in the "
        "kernel's log), while those that are there go on.",
        {"nf_conntrack_count": now, "nf_conntrack_max": most},
        CERTAIN,
        profile=host_profile(f'sysctl: {{net.netfilter.nf_conntrack_max: ">={2 * most}"}}'),
        command=f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
        other="Traffic that needs no tracking can be left out (notrack); timeouts can be shorter.",
    )


def tcp_buffers(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Receive buffers below bandwidth × delay, where receivers closed their window."""
    most = facts.number("net.ipv4.tcp_rmem")
    mbps = max((c.nic.speed_mbps for c in facts.cards.values() if c.nic.up), default=0)
    needed = int(mbps * 1e6 / 8 * DELAY_S) * 2  # the kernel takes half for its own
    names = ("TcpExtTCPToZeroWindowAdv", "TcpExtTCPRcvCollapsed", "TcpExtPruneCalled",
             "TcpExtTCPRcvQDrop")  # fmt: skip
    proof = {name: what.host[name] for name in names if what.host.get(name)}
    if most <= 0 or most >= needed or what.rate(sum(proof.values())) < 1:
        return
    yield Finding(
        "tcp-buffers",
        cost(WASTED, 1 - most / needed),
        f"net.ipv4.tcp_rmem lets a socket have {most:,} bytes; {mbps / 1000:g} Gbit/s over 1 ms "
        f"take {needed:,}; windows were closed or buffers squeezed "
        f"{per_second(what, sum(proof.values()))}",
        "A sender waits for the window: one connection gets at most what the buffer holds for each "
        "round trip.",
        proof,
        LIKELY,
        profile=host_profile(f'sysctl: {{net.ipv4.tcp_rmem: ">=4096 131072 {needed}"}}'),
        command=f"sysctl -w net.ipv4.tcp_rmem='4096 131072 {needed}'",
        other="An application that reads too slowly closes the window with any buffer.",
    )


def udp_buffers(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Datagrams dropped because their socket was full."""
    lost = what.host.get("UdpRcvbufErrors", 0)
    if what.rate(lost) < 1:
        return
    yield Finding(
        "udp-buffers",
        cost(LOST, lost / max(what.host.get("UdpInDatagrams", 0) + lost, 1) * 2),
        f"{per_second(what, lost)} datagrams came to a socket that was full; its owner may ask for "
        f"{facts.number('net.core.rmem_max'):,} bytes",
        "The application did not read in time, and its buffer is shorter than the burst.",
        {"UdpRcvbufErrors": lost, "UdpInDatagrams": what.host.get("UdpInDatagrams", 0)},
        CERTAIN,
        profile=host_profile('sysctl: {net.core.rmem_max: ">=16M"}'),
        command="sysctl -w net.core.rmem_max=16777216",
        other="It has to ask for it (SO_RCVBUF), or net.core.rmem_default.",
    )


def power(facts: Facts, what: Sample) -> Iterator[Finding]:
    """CPUs that wake late from deep sleep or run slowly to save power, under packets."""
    deep = {name: us for name, us in facts.idle.items() if us >= DEEP_US}
    slow = {name: cpus for name, cpus in facts.governors.items() if name in SLOW_GOVERNORS}
    if facts.scaling in OWN_SCALING:
        slow = {}
    if facts.late_us < LATE_US or not (deep or slow):
        return
    if not any(received(what, sample) >= BUSY_PPS / 10 for _, sample in busy(facts, what)):
        return
    causes = [f"idle state {name} takes {us} µs to leave" for name, us in deep.items()]
    causes += [f"governor {name} on CPUs {cpus}" for name, cpus in slow.items()]
    yield Finding(
        "late-wake-ups",
        cost(LATENT, facts.late_us / 1000),
        f"a sleeper is woken {facts.late_us:.0f} µs late in the median; {', '.join(causes)}",
        "The first packet after a pause waits that long for its CPU, and the ring fills meanwhile.",
        {"late_us": int(facts.late_us), **deep},
        LIKELY,
        command="cpupower idle-set -D 50; cpupower frequency-set -g performance",
        other="It costs power: what rests then rests less deeply.",
    )


FINDINGS = (conntrack, tcp_buffers, udp_buffers, power)
