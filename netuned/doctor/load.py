"""What is busy: of a card its traffic, of a CPU its time; and which CPUs have nothing to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netuned.counters.sample import CardSample, Sample
from netuned.cpuset import CpuSet
from netuned.doctor.facts import CardFacts, Facts
from netuned.hardware.vectors import TX, Vector

BUSY_PPS = 10_000
"""Packets a second from which it matters how they are spread: 1 to 2 % of a core, at the 1 to 2 µs
that the stack takes for each."""
BUSY_IRQS = 1_000
"""Interrupts, or packets of its queue, a second from which a vector counts as busy: below, it costs
a CPU 0.2 % or less."""
HEAVY_PPS = 1_000
"""Packets a second that a CPU can be full of, where each costs it much: thousands of filter rules,
encryption."""
FLOOD_IRQS = 50_000
"""Interrupts a second of one vector: at 1 to 2 µs to enter and leave each, a tenth of a CPU. Under
load drivers that moderate go down to 20,000 (IGB_20K_ITR, IXGBE_20K_ITR) or fewer."""
POLL = 64
"""Packets of a queue that are taken at a time, at most (include/linux/netdevice.h,
NAPI_POLL_WEIGHT)."""
POLLS = 100
"""Without an interrupt between them: it is not let in again as long as packets are left."""
HOT = 0.5
"""Share of a CPU's time in interrupts and softirqs: the other half is soon filled by the
application that its packets wake there."""
COLD = 0.2
"""Share of its time up to which a CPU counts as idle; above, work moved there competes."""
MOST = 0.9
"""Share of a card's packets or interrupts that says where it is served; the rest are stragglers."""

SERVING = ("irq", "softirq")
WORKING = ("user", "nice", "system", "steal", *SERVING)


def busy(facts: Facts, what: Sample) -> Iterator[tuple[CardFacts, CardSample]]:
    """The cards that receive or send so much that it matters how it is spread, with what they did.

    That is ``BUSY_PPS``; to receive, less where it fills a CPU.
    """
    for card, sample in cards(facts, what):
        if receives(card, what, sample) or sent(what, sample) >= BUSY_PPS:
            yield card, sample


def receives(card: CardFacts, what: Sample, sample: CardSample) -> bool:
    """Whether a card receives ``BUSY_PPS``, or ``HEAVY_PPS`` that are most of a hot CPU's."""
    pps = received(what, sample)
    taken = takers(receiving(card, sample)) if HEAVY_PPS <= pps < BUSY_PPS else CpuSet()
    there = what.rate(sum(what.cpus.get(cpu, {}).get("processed", 0) for cpu in taken))
    # the time of hardware interrupts is others' at such rates: a disk's
    hot = (max(what.share(cpu, "softirq"), ksoftirqd(what, cpu)) >= HOT for cpu in taken)
    return pps >= BUSY_PPS or (pps >= there / 2 and any(hot))


def cards(facts: Facts, what: Sample) -> Iterator[tuple[CardFacts, CardSample]]:
    """All cards, with what they did."""
    for ifindex, card in facts.cards.items():
        yield card, what.cards.get(ifindex) or CardSample(card.nic.name)


def received(what: Sample, card: CardSample) -> float:
    """Packets a second."""
    return what.rate(card.totals.get("rx_packets", 0))


def sent(what: Sample, card: CardSample) -> float:
    """Packets a second."""
    return what.rate(card.totals.get("tx_packets", 0))


def heat(what: Sample, cpu: int) -> float:
    """The share of its time that a CPU served interrupts and softirqs.

    What ksoftirqd ran is in it, to the nanosecond: a virtual CPU that waits for a real one misses
    ticks, by which the kernel counts the rest.
    """
    return max(what.share(cpu, *SERVING), min(ksoftirqd(what, cpu), 1.0))


def ksoftirqd(what: Sample, cpu: int) -> float:
    """The share of its time that a CPU's thread for softirqs ran; may be a little over 1."""
    return what.rate(what.cpus.get(cpu, {}).get("ksoftirqd", 0)) / 1e9


def is_loud(what: Sample, card: CardSample, vector: Vector) -> bool:
    """Whether a vector's CPU has work by it: one that polls its queue has few interrupts of it."""
    interrupts = sum(card.interrupts.get(vector.irq, {}).values())
    packets = card.rx.get(vector.queue, {}).get("packets", 0) if vector.role != TX else 0
    return what.rate(max(interrupts, packets)) >= BUSY_IRQS


def hottest(what: Sample, cpus: CpuSet) -> float:
    """The heat of the one that serves most."""
    return max((heat(what, cpu) for cpu in cpus), default=0.0)


def idle_cores(facts: Facts, what: Sample, node: int = -1) -> CpuSet:
    """A CPU of each core of which no thread does much, among those that may serve packets.

    Of the node, where one is named and has CPUs that may.
    """
    topology = facts.topology
    near = topology.nodes.get(node, CpuSet()) & topology.housekeeping
    return CpuSet.of(
        cpu
        for cpu in topology.first_threads & (near or topology.housekeeping)
        if all(what.share(one, *WORKING) <= COLD for one in topology.core_of(cpu))
    )


def receiving(card: CardFacts, sample: CardSample) -> dict[int, int]:
    """CPU -> interrupts of a card's receive queues there, and polls of those without."""
    found: dict[int, int] = {}
    for vector in card.nic.vectors:
        for cpu, number in turns(card, sample, vector).items() if vector.role != TX else ():
            if number:
                found[cpu] = found.get(cpu, 0) + number
    return found


def turns(card: CardFacts, sample: CardSample, vector: Vector) -> Mapping[int, int]:
    """CPU -> interrupts of a receive queue there; of one that is polled on and on, its polls."""
    by_cpu = sample.interrupts.get(vector.irq, {})
    packets = sample.rx.get(vector.queue, {}).get("packets", 0)
    if sum(v.role != TX for v in card.nic.vectors) == 1:
        packets = sample.totals.get("rx_packets", 0)
    cpus = card.takers.get(vector.irq, CpuSet())
    if len(cpus) != 1 or packets < POLLS * POLL * max(sum(by_cpu.values()), 1):
        return by_cpu
    return {cpus.first: packets // POLL}


def takers(by_cpu: Mapping[int, int]) -> CpuSet:
    """The fewest CPUs that take ``MOST`` of it together."""
    found, taken, whole = [], 0, sum(by_cpu.values())
    for cpu, number in sorted(by_cpu.items(), key=lambda item: -item[1]):
        if taken >= MOST * whole:
            break
        found.append(cpu)
        taken += number
    return CpuSet.of(found)


def per_second(what: Sample, number: float) -> str:
    """A number as people read it."""
    rate = what.rate(number)
    return f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.2g}/s"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
