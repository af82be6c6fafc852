"""How received packets are spread: by the card (RSS), by the kernel (RPS, RFS), or not at all."""

from __future__ import annotations

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
    WASTED,
    Finding,
    cost,
    profile,
    shell,
)
from netuned.doctor.load import (
    BUSY_PPS,
    HOT,
    busy,
    hottest,
    idle_cores,
    per_second,
    percent,
    received,
    receives,
    receiving,
    takers,
)
from netuned.hardware.vectors import TX

UNEVEN = 2.0
"""Times the mean: of 128 equal flows the busiest of 8 queues has 1.75 of it once in 100."""
ELEPHANT = 3.0
"""Times the next queue: so far apart flows of one size do not come by chance."""
IPIS = 1000
"""Packets' signals a second to other CPUs: at about 1 µs each end, from here on it shows."""


def uneven(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Receive queues with unequal parts of the traffic: by the table, by chance, or by one flow."""
    for card, sample in busy(facts, what):
        packets = {q: c.get("packets", 0) for q, c in sample.rx.items()}
        used = {q: n for q, n in packets.items() if q in card.table or not card.table}
        used = dict(sorted(used.items(), key=lambda item: -item[1]))
        if len(used) < 2 or not receives(card, what, sample):
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
        channels = None if nic.fixed else nic.channels
        most = max(channels.combined_max, channels.rx_max) if channels else nic.rx_queues
        reach = nic.rss_queues if nic.rss_queues < nic.rx_queues else most
        if (
            not by_cpu
            or any(card.rps.values())
            or reach > len(taken)
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
            {f"interrupts or polls on CPU {cpu}": number for cpu, number in sorted(by_cpu.items())},
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


FINDINGS = (uneven, rps_costs, rps_missing, rfs_halves)
