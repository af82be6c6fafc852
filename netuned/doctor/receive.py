"""Receiving: where packets are dropped or wait on their way up, and how they are spread."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.counters.sample import Sample, total
from netuned.cpuset import CpuSet
from netuned.doctor.facts import Facts
from netuned.doctor.finding import (
    CERTAIN,
    FULL,
    LIKELY,
    LOST,
    POSSIBLE,
    WASTED,
    Finding,
    cost,
    host_profile,
    profile,
    shell,
)
from netuned.doctor.load import (
    BUSY_PPS,
    HOT,
    busy,
    cards,
    heat,
    hottest,
    per_second,
    percent,
    received,
)
from netuned.regex import regex

A_LOSS = 1.0
"""Packets a second: TCP at 100 Gbit/s and 1 ms stalls on far fewer (Mathis et al., CCR 1997)."""
SQUEEZES = 100.0
"""Times a second that a CPU is cut short: each is 300 packets or 2 ms (net.core.netdev_budget), so
it is a fifth of its time in turns that were too short; fewer are bursts."""
BUDGET = 300
BACKLOG = 1000
"""The kernel's defaults of netdev_budget and netdev_max_backlog."""
MERGED = 1.5
"""Segments of a packet that GRO made: at 1 it costs and merges nothing, in bulk it is 10 to 40."""
BULK = 1000
"""Bytes of a packet from which traffic is bulk, which can be merged."""
MOSTLY = 0.8
"""Share that tells what traffic is."""
SEGMENTS = "tx-tcp-segmentation"
"""The feature that cuts large packets in the card (TSO)."""

_NO_ROOM = regex(
    r"(?i)(?!.*(?:tx|irq)).*(?:missed|no_?buf|out_of_buffer|no_dma_resource|no_desc|no_mem|no_skb"
    r"|discards_phy$|alloc.*(?:fail|err)|fifo_err|ring_full|rx_over_errors|rx_drops$)"
)
"""What drivers call packets that came while the ring was full or no memory was to be had; not
``rx_dropped``, which counts what no protocol wanted."""


def softnet_drops(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Packets dropped in front of a CPU whose backlog was full, or by its flow limit."""
    dropped = {cpu: c.get("dropped", 0) for cpu, c in what.cpus.items() if c.get("dropped")}
    limited = {cpu: c.get("flow_limit", 0) for cpu, c in what.cpus.items() if c.get("flow_limit")}
    lost = sum(dropped.values())
    if what.rate(lost) < A_LOSS:
        return
    size = facts.number("net.core.netdev_max_backlog", BACKLOG)
    at = CpuSet.of(dropped)
    yield Finding(
        "softnet-drops",
        cost(LOST, lost / max(total(what.cpus.values(), "processed") + lost, 1) * 10),
        f"{per_second(what, lost)} packets were dropped in front of CPUs {at}, whose backlog "
        f"takes {size}; they are in softirqs for up to {percent(hottest(what, at))} of their time",
        "What RPS or a virtual card hands to a CPU waits in its backlog; past "
        "net.core.netdev_max_backlog it is dropped, and has to be sent again.",
        {f"dropped on CPU {cpu}": n for cpu, n in sorted(dropped.items())}
        | {f"flow_limit on CPU {cpu}": n for cpu, n in sorted(limited.items())},
        CERTAIN,
        "",
        host_profile(f'sysctl: {{net.core.netdev_max_backlog: ">={max(4 * size, 4 * BACKLOG)}"}}'),
        f"sysctl -w net.core.netdev_max_backlog={max(4 * size, 4 * BACKLOG)}",
        "A longer queue takes bursts; a CPU that is at its end needs others beside it (RPS).",
    )


def squeezed(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Softirqs cut short with packets left, on a CPU that has much to do."""
    found = {
        cpu: counts["squeezed"]
        for cpu, counts in what.cpus.items()
        if what.rate(counts.get("squeezed", 0)) >= SQUEEZES and heat(what, cpu) >= HOT / 2
    }
    if not found:
        return
    budget = facts.number("net.core.netdev_budget", BUDGET)
    yield Finding(
        "time-squeeze",
        cost(WASTED, what.rate(max(found.values())) / 500),  # 2 ms each: 500 a second are all of it
        f"the softirqs of CPUs {CpuSet.of(found)} were cut short with packets left "
        f"{per_second(what, sum(found.values()))}",
        f"After {budget} packets or 2 ms the rest waits for the next turn, which ksoftirqd gets "
        "from the scheduler only when others have had theirs.",
        {f"squeezed on CPU {cpu}": number for cpu, number in sorted(found.items())},
        LIKELY,
        "",
        host_profile(f'sysctl: {{net.core.netdev_budget: ">={2 * budget}"}}'),
        f"sysctl -w net.core.netdev_budget={2 * budget}",
        "It moves time from applications to packets; where one CPU has them all, spread them.",
    )


def backlog(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A backlog that was half full at the moment of the last sample."""
    size = facts.number("net.core.netdev_max_backlog", BACKLOG)
    full = {c: n["backlog"] for c, n in what.cpus.items() if n.get("backlog", 0) > size / 2}
    if not full:
        return
    yield Finding(
        "backlog",
        cost(FULL, max(full.values()) / size),
        f"{max(full.values())} packets waited in front of CPU "
        f"{max(full, key=lambda cpu: full[cpu])}, whose backlog takes {size}",
        "Each waits for all before it; the next burst is dropped.",
        {f"backlog of CPU {cpu}": number for cpu, number in sorted(full.items())},
        LIKELY,
        "",
        host_profile(f'sysctl: {{net.core.netdev_max_backlog: ">={4 * size}"}}'),
        f"sysctl -w net.core.netdev_max_backlog={4 * size}",
    )


def no_room(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Packets that came while the card's ring was full, or the driver had no memory."""
    for card, sample in cards(facts, what):
        names = ("rx_missed_errors", "rx_fifo_errors", "rx_over_errors")
        proof = {name: sample.totals[name] for name in names if sample.totals.get(name)}
        proof |= {name: n for name, n in sample.driver.items() if n and _NO_ROOM.match(name)}
        for queue, counts in sample.rx.items():
            for name in ("overruns", "hw_drops", "drops", "alloc_fail"):
                if counts.get(name):
                    proof[f"{name} of rx-{queue}"] = counts[name]
        lost = max(proof.values(), default=0)  # the same packets, by several names
        if what.rate(lost) < A_LOSS:
            continue
        now, most = card.rings.get("rx", 0), card.rings.get("rx-max", 0)
        grows = 0 < now < most
        filtered = sample.totals.get("rx_dropped", 0)
        apart = f" (rx_dropped, {filtered}, is apart: mostly what no protocol here wanted)"
        yield Finding(
            "ring-overflow",
            cost(LOST, lost / max(sample.totals.get("rx_packets", 0) + lost, 1) * 10),
            f"{per_second(what, lost)} packets came and the card had no room for them"
            f"{apart if filtered else ''}; its ring has {now or 'an unknown number of'} entries"
            f"{f' of {most}' * bool(most)}",
            "The CPU did not empty the ring in time: it was at its end, slept too deeply, or a "
            "burst was longer than the ring.",
            proof,
            CERTAIN,
            card.nic.name,
            profile(card.nic, "rings: {rx: max}") if grows else (),
            f"ethtool -G {shell(card.nic)} rx {most}" if grows else "",
            ""
            if grows
            else "The ring is as long as it can be: serve it by more CPUs, or wake them sooner.",
        )


def not_merging(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Bulk TCP that comes up the stack in single segments."""
    segments = what.host.get("IpExtInNoECTPkts", 0) + what.host.get("IpExtInECT0Pkts", 0)
    packets = what.host.get("IpInReceives", 0)
    tcp = what.host.get("TcpInSegs", 0)
    for card, sample in busy(facts, what):
        count = sample.totals.get("rx_packets", 0)
        size = sample.totals.get("rx_bytes", 0) / max(count, 1)
        if (
            received(what, sample) < 5 * BUSY_PPS  # else nobody minds
            or size < BULK
            or not packets
            or segments / packets >= MERGED
            or tcp < MOSTLY * segments
            or count < MOSTLY * packets
        ):
            continue
        off = not card.has("rx-gro")
        yield Finding(
            "gro-not-merging",
            cost(WASTED, 0.6),
            f"{per_second(what, count)} packets of {size:.0f} bytes came, and went up the stack as "
            f"{segments / packets:.1f} segments at a time; GRO is {'off' if off else 'on'}",
            "In bulk 10 to 40 segments go through the stack as one: each alone costs the CPU "
            "several times as much.",
            {"rx_packets": count, "IpInReceives": packets, "TcpInSegs": tcp},
            CERTAIN if off and card.features else POSSIBLE,
            card.nic.name,
            profile(card.nic, "offloads: {gro: on}", "coalesce: {adaptive-rx: on}")
            if card.coalesce else profile(card.nic, "offloads: {gro: on}"),
            f"ethtool -K {shell(card.nic)} gro on",
            "" if off else "It is on, so few segments of a flow are together in a poll: many "
            "flows, too many interrupts, or an XDP program that hands packets on.",
        )  # fmt: skip


def merged_forwards(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Segments that the card merged, on a host that hands them on."""
    rate = what.rate(what.host.get("IpForwDatagrams", 0))
    forwards = facts.number("net.ipv4.ip_forward") == 1 and rate >= A_LOSS
    for card, sample in cards(facts, what):
        if not forwards or not sample.totals.get("rx_packets"):
            continue
        if card.has("rx-gro-hw") and not any(c.has(SEGMENTS) for c in facts.cards.values()):
            yield Finding(
                "gro-hw-forwarding",
                cost(WASTED, 0.3),
                "the card merges segments (rx-gro-hw), the host forwards "
                f"{per_second(what, what.host['IpForwDatagrams'])} packets, and no card that is "
                "looked at cuts them again (TSO)",
                "What the card saved, the CPU spends on cutting each packet that goes out.",
                {"IpForwDatagrams": what.host["IpForwDatagrams"]},
                POSSIBLE,
                card.nic.name,
                profile(card.nic, "offloads: {tso: on}"),
                f"ethtool -K {shell(card.nic)} tso on",
                "Or leave rx-gro-hw off where it is forwarded.",
            )
        if not card.has("rx-lro"):
            continue
        yield Finding(
            "lro-forwarding",
            cost(FULL, 0.5),
            f"LRO is on, and the host forwards {per_second(what, what.host['IpForwDatagrams'])} "
            "packets",
            "What LRO merged cannot be taken apart again as it was: forwarded, it is cut anew with "
            "other sizes, or dropped as too large. GRO merges so that it can.",
            {"IpForwDatagrams": what.host["IpForwDatagrams"]},
            LIKELY,
            card.nic.name,
            profile(card.nic, "offloads: {lro: off, gro: on}"),
            f"ethtool -K {shell(card.nic)} lro off gro on",
        )


FINDINGS = (softnet_drops, squeezed, backlog, no_room, not_merging, merged_forwards)
