"""Receiving: where packets are dropped or wait on their way up, and how they are spread."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from netuned.counters.sample import Sample, total
from netuned.cpuset import CpuSet
from netuned.doctor.facts import CardFacts, Facts
from netuned.doctor.finding import (
    CERTAIN,
    FULL,
    LATENT,
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
    idle_cores,
    per_second,
    percent,
    received,
    receiving,
    takers,
)
from netuned.hardware.vectors import TX

A_LOSS = 1.0
"""Packets a second: TCP at 100 Gbit/s and 1 ms stalls on far fewer (Mathis et al., CCR 1997)."""
SQUEEZES = 100.0
"""Times a second that a CPU is cut short: each is 300 packets or 2 ms (net.core.netdev_budget), so
it is a fifth of its time in turns that were too short; fewer are bursts."""
BUDGET = 300
BACKLOG = 1000
"""The kernel's defaults of netdev_budget and netdev_max_backlog."""
UNEVEN = 2.0
"""Times the mean: of 128 equal flows dealt to 8 queues the busiest has 1.7 times it once in 100."""
ELEPHANT = 3.0
"""Times the next queue: so far apart flows of one size do not come by chance."""
MERGED = 1.5
"""Segments of a packet that GRO made: at 1 it costs and merges nothing, in bulk it is 10 to 40."""
BULK = 1000
"""Bytes of a packet from which traffic is bulk, which can be merged."""
IPIS = 1000
"""Packets' signals a second to other CPUs: at about 1 µs each end, from here on it shows."""

_NO_ROOM = re.compile(
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


def uneven(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Receive queues with unequal parts of the traffic: by the table, by chance, or by one flow."""
    for card, sample in busy(facts, what):
        packets = {q: c.get("packets", 0) for q, c in sample.rx.items()}
        used = {q: n for q, n in packets.items() if q in card.table or not card.table}
        used = dict(sorted(used.items(), key=lambda item: -item[1]))
        if len(used) < 2 or received(what, sample) < BUSY_PPS:
            continue
        (top, most), (_, second), *_ = used.items()
        mean = sum(used.values()) / len(used)
        vectors = [v for v in card.nic.vectors if v.queue == top and v.role != TX]
        at = CpuSet.of(cpu for v in vectors for cpu in sample.interrupts.get(v.irq, {}))
        most_heat = hottest(what, at or CpuSet.of(what.cpus))
        if not most or most < UNEVEN * mean or most_heat < HOT or facts.is_kept(card.nic, "rss"):
            continue
        share = most / sum(used.values())
        seen = (
            f"queue {top} has {percent(share)} of {per_second(what, sum(used.values()))} packets, "
            f"an equal part would be {percent(1 / len(used))}; its CPU is in softirqs for "
            f"{percent(most_heat)} of its time"
        )
        proof = {f"packets of rx-{queue}": number for queue, number in sorted(used.items())}
        if by_table := _uneven_table(card, top):
            yield Finding(
                "uneven-rss", cost(FULL, share * most_heat), f"{seen}; {by_table}",
                "The CPU of that queue is at its end while those of others wait.",
                proof, CERTAIN, card.nic.name,
                profile(card.nic, "rss: {queues: all, weights: equal}"),
                f"ethtool -X {shell(card.nic)} equal {card.nic.rss_queues}",
            )  # fmt: skip
        elif most > ELEPHANT * max(second, 1):
            yield Finding(
                "elephant-flow", cost(FULL, share * most_heat), seen,
                "Packets of one flow stay in order only on one queue: what one CPU can do is what "
                "the flow gets.",
                proof, LIKELY, card.nic.name,
                profile(card.nic, "offloads: {gro: on, rx-gro-hw: on}", "rfs: {entries: auto}"),
                f"ethtool -K {shell(card.nic)} gro on rx-gro-hw on",
                "Merging (GRO, by hardware), jumbo frames, RFS and a flow rule to a queue of its "
                "own help; more queues, another RSS table and RPS do not. If it is a tunnel, hash "
                "its ports.",
            )  # fmt: skip
        else:
            yield Finding(
                "uneven-rss", cost(FULL, share * most_heat / 2), seen,
                "The table is even, so it is the hash: few flows, or fields in which they are "
                "equal.",
                proof, LIKELY, card.nic.name,
                profile(card.nic, "rss: {queues: all, fields: {tcp4: [src, dst, sport, dport], "
                        "udp4: [src, dst, sport, dport]}}"),
                f"ethtool -N {shell(card.nic)} rx-flow-hash udp4 sdfn",
                "With few flows a new hash key deals them anew, and not more evenly on average.",
            )  # fmt: skip


def _uneven_table(card: CardFacts, top: int) -> str:
    """What the table has to do with it: nothing where it is as even as its length lets it be."""
    entries = Counter(card.table)
    if not entries:
        return ""
    even = -(-len(card.table) // len(entries))
    left = card.nic.rss_queues - len(entries)
    if entries[top] > even:
        return f"it has {entries[top]} of {len(card.table)} entries of the RSS table"
    return f"{left} queues are in no entry of the RSS table" if left > 0 else ""


def rps_costs(facts: Facts, what: Sample) -> Iterator[Finding]:
    """RPS where the card has a queue for each core already."""
    signals = total(what.cpus.values(), "received_rps")
    for card, sample in busy(facts, what):
        steered = CpuSet.of(queue for queue, cpus in card.rps.items() if cpus)
        cores = facts.topology.first_threads & facts.topology.housekeeping
        near = facts.topology.nodes.get(card.nic.numa_node, CpuSet()) & cores or cores
        if (
            not steered
            or card.nic.rss_queues < len(near)
            or len(near) < 2
            or what.rate(signals) < IPIS
            or received(what, sample) < BUSY_PPS
        ):
            continue
        yield Finding(
            "rps-costs",
            cost(WASTED, what.rate(signals) / max(received(what, sample), 1) / 2),
            f"RPS is on for queues {steered}, and CPUs were signalled {per_second(what, signals)}; "
            f"the card has {card.nic.rss_queues} receive queues for {len(near)} cores",
            "Each packet is handed to another CPU though its own queue's would do: an "
            "interrupt and a cold cache more.",
            {f"received_rps on CPU {c}": n["received_rps"] for c, n in sorted(what.cpus.items())
             if n.get("received_rps")},
            LIKELY,
            card.nic.name,
            profile(card.nic, "rps: {cpus: none}"),
            f"for f in /sys/class/net/{shell(card.nic)}/queues/rx-*/rps_cpus; do echo 0 > $f; done",
            "One heavy flow that shares its queue with others is where it may help all the same.",
        )  # fmt: skip


def rps_missing(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A card that can have no more queues, whose CPUs are at their end, and idle cores."""
    for card, sample in busy(facts, what):
        nic, by_cpu = card.nic, receiving(card, sample)
        taken, idle = takers(by_cpu), idle_cores(facts, what, nic.numa_node)
        channels = nic.channels
        most = max(channels.combined_max, channels.rx_max) if channels else nic.rx_queues
        reach = nic.rss_queues if nic.rss_queues < nic.rx_queues else most
        if (
            not by_cpu
            or any(card.rps.values())
            or (reach > len(taken) and not nic.fixed)
            or not idle
            or hottest(what, taken) < HOT
        ):
            continue
        yield Finding(
            "rps-missing",
            cost(FULL, hottest(what, taken) / 2),
            f"the card's {reach} queues are on CPUs {taken}, which are in softirqs for up to "
            f"{percent(hottest(what, taken))} of their time; {len(idle)} cores ({idle}) idle, and "
            "RPS is off",
            "The card has no more queues to give; RPS hands the stack's work on each packet to "
            "more CPUs, by the flow.",
            {f"interrupts on CPU {cpu}": number for cpu, number in sorted(by_cpu.items())},
            LIKELY,
            nic.name,
            profile(nic, "rps: {cpus: auto}"),
            f"echo {idle.to_mask()} > /sys/class/net/{shell(nic)}/queues/rx-0/rps_cpus",
        )


def rfs_halves(facts: Facts, what: Sample) -> Iterator[Finding]:
    """RFS of which there is only the host's table, or only the queues'."""
    table = facts.number("net.core.rps_sock_flow_entries")
    steering = {i: card for i, card in facts.cards.items() if any(card.flows.values())}
    if table == 0 and steering:
        for card in steering.values():
            yield Finding(
                "rfs-without-table",
                cost(LATENT, 0.6),
                f"queues {CpuSet.of(q for q, n in card.flows.items() if n)} have a table of flows "
                f"(rps_flow_cnt), and the host has none: net.core.rps_sock_flow_entries is 0",
                "Without the host's table nobody records where a flow is read: RFS does nothing.",
                {f"rps_flow_cnt of rx-{q}": n for q, n in sorted(card.flows.items()) if n},
                CERTAIN,
                card.nic.name,
                profile(card.nic, "rfs: {entries: auto}"),
                f"sysctl -w net.core.rps_sock_flow_entries={max(sum(card.flows.values()), 32768)}",
            )
    elif table > 0 and facts.cards and not steering:
        yield Finding(
            "rfs-without-queues",
            cost(LATENT, 0.4),
            f"net.core.rps_sock_flow_entries is {table}, and no queue of {len(facts.cards)} cards "
            "has a table of flows (rps_flow_cnt)",
            "Every read of a socket is recorded, and no packet follows: RFS only costs.",
            {"net.core.rps_sock_flow_entries": table},
            CERTAIN,
            command="sysctl -w net.core.rps_sock_flow_entries=0",
            other="Or use it: rfs: {entries: auto} in the profile of a card.",
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


SEGMENTS = "tx-tcp-segmentation"
MOSTLY = 0.8
"""Share that tells what traffic is."""


def merged_forwards(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Segments that the card merged, on a host that hands them on."""
    forwards = facts.number("net.ipv4.ip_forward") == 1 and what.host.get("IpForwDatagrams", 0) > 0
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


FINDINGS = (softnet_drops, squeezed, backlog, no_room, uneven, rps_costs, rps_missing, rfs_halves,
            not_merging, merged_forwards)  # fmt: skip
