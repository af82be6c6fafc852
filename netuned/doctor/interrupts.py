"""Interrupts: queues without any, too many of them, and CPUs that do nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.counters.sample import Sample
from netuned.cpuset import CpuSet
from netuned.doctor.facts import Facts
from netuned.doctor.finding import (
    CERTAIN,
    FULL,
    LATENT,
    LIKELY,
    PLACE,
    POSSIBLE,
    WASTED,
    Finding,
    cost,
    profile,
    shell,
)
from netuned.doctor.load import (
    BUSY_PPS,
    FLOOD_IRQS,
    HOT,
    busy,
    cards,
    heat,
    hottest,
    is_loud,
    ksoftirqd,
    per_second,
    percent,
    received,
    receiving,
    sent,
    turns,
)
from netuned.hardware.vectors import TX

ALONE = 1.2
"""Packets that an interrupt brings, up to which moderation does nothing."""
WATCHDOG_IRQS = 1.0
"""A second: igb and others raise each queue's every two seconds, to be sure that none was missed
(drivers/net/ethernet/intel/igb/igb_main.c, igb_watchdog_task())."""
SATURATED = 0.9
"""Of a CPU's time, in softirqs or in the thread that takes over from them."""
DYNAMIC_USECS = {"e1000": 3, "e1000e": 3, "igb": 3, "igc": 3, "ixgbe": 1, "ixgbevf": 1}
"""Driver -> up to which rx-usecs is no time but a way to choose one by the traffic; 0 is none.
These drivers have no adaptive-rx. Source: drivers/net/ethernet/intel/igb/igb_ethtool.c,
igb_set_coalesce(), and the like of it; Documentation/networking/device_drivers/ethernet/intel,
InterruptThrottleRate."""


def silent_queue(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A queue nearly without interrupts, though in the RSS table, while others are at their end."""
    for card, sample in busy(facts, what):
        counted = {v: sum(sample.interrupts.get(v.irq, {}).values())
                   for v in card.nic.vectors if v.role != TX}  # fmt: skip
        silent = [v for v, n in counted.items()
                  if what.rate(n) < WATCHDOG_IRQS and v.queue in card.table]  # fmt: skip
        loud = [v for v in counted if is_loud(what, sample, v)]
        at = CpuSet.of(c for v in loud for c in turns(card, sample, v))
        if not silent or len(loud) < 2 or hottest(what, at) < HOT:
            continue
        yield Finding(
            "silent-queue",
            cost(FULL, len(silent) / len(counted) / 2),
            f"queues {CpuSet.of(v.queue for v in silent)} had no interrupts, or just those of the "
            "driver's watchdog, and have their part of "
            f"the RSS table; of others the busiest CPU is in softirqs for "
            f"{percent(hottest(what, at))} of its time",
            "Either their interrupt is lost or masked (packets there wait), or the hash does not "
            "tell this traffic's flows apart.",
            {f"interrupts of {v.key}": n for v, n in sorted(counted.items())},
            LIKELY,
            card.nic.name,
            profile(card.nic, "rss: {queues: all, fields: {udp4: [src, dst, sport, dport]}}"),
            f"ethtool -N {shell(card.nic)} rx-flow-hash udp4 sdfn",
        )


def saturated(facts: Facts, what: Sample) -> Iterator[Finding]:
    """CPUs that do nothing but softirqs, in interrupts or in ksoftirqd."""
    thread = {cpu: ksoftirqd(what, cpu) for cpu in what.cpus}
    full = CpuSet.of(
        cpu for cpu in what.cpus
        if thread[cpu] >= HOT or heat(what, cpu) >= SATURATED
    )  # fmt: skip
    if not full:
        return
    worst = max(full, key=lambda cpu: heat(what, cpu))
    proof = {f"ksoftirqd/{cpu} ms": int(thread[cpu] * 1000 * what.seconds) for cpu in full}
    proof |= {f"squeezed on CPU {cpu}": what.cpus[cpu].get("squeezed", 0) for cpu in full}
    served = [
        (card, per_cpu) for card, sample in cards(facts, what)
        if (per_cpu := sum(receiving(card, sample).get(cpu, 0) for cpu in full))
    ]  # fmt: skip
    nic = max(served, key=lambda pair: pair[1])[0].nic if served else None
    yield Finding(
        "softirq-saturated",
        cost(FULL, heat(what, worst)),
        f"CPUs {full} are at their end: CPU {worst} is in softirqs for "
        f"{percent(heat(what, worst))} of its time, and ksoftirqd/{worst} runs for "
        f"{percent(min(thread[worst], 1.0))}",
        "What else is to run there waits for its turn behind packets, and packets behind it: the "
        "queue in front of it grows until it drops.",
        proof,
        CERTAIN,
        nic.name if nic else "",
        profile(nic, "channels: {combined: auto}", PLACE, "rps: {cpus: auto}") if nic else (),
        "",
        "Findings about the same CPUs say how to spread it; what only one flow sends no "
        "spreading helps.",
    )


def interrupt_rate(facts: Facts, what: Sample) -> Iterator[Finding]:
    """So many interrupts that they cost, or one for every packet."""
    for card, sample in busy(facts, what):
        each = {v: sum(sample.interrupts.get(v.irq, {}).values()) for v in card.nic.vectors}
        if not (whole := sum(each.values())) or _wants_latency(facts):
            continue
        top = max(each, key=lambda vector: each[vector])
        packets = received(what, sample) + sent(what, sample)
        at = hottest(what, CpuSet.of(sample.interrupts[top.irq]))
        alone = (
            packets / what.rate(whole) <= ALONE
            and what.rate(each[top]) >= BUSY_PPS
            and at >= HOT / 2
        )
        if what.rate(each[top]) < FLOOD_IRQS and not alone:
            continue
        adapts = "adaptive-rx" in card.coalesce
        line = "coalesce: {adaptive-rx: on}" if adapts else "coalesce: {rx-usecs: 50}"
        by_hand = "adaptive-rx on" if adapts else "rx-usecs 50"
        yield Finding(
            "interrupt-rate",
            cost(WASTED, what.rate(each[top]) / 4 / FLOOD_IRQS),
            f"{per_second(what, whole)} interrupts for {packets:,.0f} packets a second, "
            f"{per_second(what, each[top])} of {top.key} alone",
            "To enter and leave an interrupt takes a CPU 1 to 2 µs, as much as a packet: fewer of "
            "them serve the same packets in less time.",
            {f"interrupts of {v.key}": number for v, number in sorted(each.items())},
            CERTAIN,
            card.nic.name,
            profile(card.nic, line) if card.coalesce else profile(
                card.nic, "napi: {defer-hard-irqs: 2, gro-flush-timeout: 20us}"),
            f"ethtool -C {shell(card.nic)} {by_hand}" if card.coalesce else "",
        )  # fmt: skip


def adaptive(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Adaptive coalescing on a host that polls for low latency."""
    for card, sample in cards(facts, what):
        usecs, adapts = card.coalesce.get("rx-usecs", 0), card.coalesce.get("adaptive-rx")
        chooses = 0 < usecs <= DYNAMIC_USECS.get(card.nic.driver, 0)
        if not (adapts or chooses) or not _wants_latency(facts):
            continue
        if received(what, sample) < BUSY_PPS / 10:
            continue
        how = f"has {card.nic.driver} choose one" if chooses else "now"
        off = "adaptive-rx: off, " * ("adaptive-rx" in card.coalesce) + "rx-usecs: 0"
        yield Finding(
            "adaptive-latency",
            cost(LATENT, 0.5),
            "net.core.busy_poll or busy_read is set, and the card's receive coalescing adapts "
            f"itself (rx-usecs {usecs} {how})",
            "Applications that ask for low latency wait for an interrupt that the card puts off by "
            "as much as it likes, differently from one moment to the next.",
            {"rx_packets": sample.totals.get("rx_packets", 0)},
            POSSIBLE,
            card.nic.name,
            profile(card.nic, f"coalesce: {{{off}}}"),
            f"ethtool -C {shell(card.nic)} {off.replace(':', '').replace(',', '')}",
        )


def _wants_latency(facts: Facts) -> bool:
    return max(facts.number("net.core.busy_read"), facts.number("net.core.busy_poll")) > 0


FINDINGS = (silent_queue, saturated, interrupt_rate, adaptive)
