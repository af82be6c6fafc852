"""Hosts for the doctor: facts of described machines, and what healthy traffic makes them count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from netuned.counters.sample import CardSample, Sample
from netuned.cpuset import CpuSet
from netuned.doctor import facts as reading
from netuned.doctor.facts import CardFacts, Facts
from netuned.hardware.host import read_host
from netuned.kernel.counts import Counts
from netuned.snapshots.described import machine

SECONDS = 10.0


def described(text: str) -> Facts:
    """The facts of a described machine."""
    kernel = machine(text)
    host = read_host(kernel)
    return reading.read(kernel, host, host.nics)


def cpu(heat: float = 0.0, user: float = 0.0, **more: int) -> Counts:
    """A CPU that serves softirqs for such a share of its time, and an application for another."""
    times = {"softirq": heat, "user": user, "idle": 1 - heat - user}
    return {**{name: int(share * 100 * SECONDS) for name, share in times.items()}, **more}


def homes(facts: Facts, card: CardFacts) -> list[int]:
    """Where a careful operator puts a card's interrupts: near cores, one each."""
    near = facts.topology.nodes.get(card.nic.numa_node, CpuSet()) & facts.topology.housekeeping
    pool = near or facts.topology.housekeeping
    return [*(pool & facts.topology.first_threads or pool)]


def traffic(
    facts: Facts, pps: float = 200_000, irqs: float = 4_000, heat: float = 0.2, flat: bool = True
) -> Sample:
    """What a healthy host counts in ten seconds: each card has ``pps`` both ways, evenly spread.

    Each vector has ``irqs`` a second, and each CPU with some is hot by ``heat``; with ``flat``
    false the first queue has three times its part, at rates that matter to nobody.
    """
    cpus: dict[int, dict[str, int]] = {c: {**cpu(user=0.1)} for c in facts.topology.online}
    cards = {}
    for ifindex, card in facts.cards.items():
        places = homes(facts, card)
        count, packets = card.nic.rx_queues, int(pps * SECONDS)
        interrupts = {
            v.irq: {places[v.queue % len(places)]: int(irqs * SECONDS)} for v in card.nic.vectors
        }
        for served in {one for by_cpu in interrupts.values() for one in by_cpu}:
            cpus[served] = {**cpu(heat, 0.2), "processed": packets // max(count, 1)}
        parts = [1.0] * count if flat else [3.0, *[1.0] * (count - 1)]
        rx = {q: {"packets": int(packets * part / sum(parts))} for q, part in enumerate(parts)}
        tx = {q: {"packets": packets // card.nic.tx_queues, "bytes": packets * 100}
              for q in range(card.nic.tx_queues)}  # fmt: skip
        totals = {"rx_packets": packets, "tx_packets": packets, "rx_bytes": packets * 900,
                  "rx_dropped": 500, "rx_missed_errors": 0}  # fmt: skip
        qdiscs = {"root": {"packets": packets, "drops": 3, "requeues": 4}}
        cards[ifindex] = CardSample(
            card.nic.name, totals, {"rx_no_buffer_count": 0, "rx_flow_control_xon": 0}, rx, tx,
            qdiscs, {"root": "mq"}, interrupts,
        )  # fmt: skip
    protocols = {"TcpRetransSegs": 40, "TcpInSegs": 900, "IpInReceives": 1000, "UdpRcvbufErrors": 0,
                 "conntrack": 5_000, "conntrack_max": 262_144}  # fmt: skip
    return Sample(100.0, cpus, cards, protocols, {}, SECONDS)


LOADS = ("idle", "quiet, one flow", "busy")


def loaded(facts: Facts, load: str) -> Sample:
    """A healthy host that has little to do, or much."""
    if load == "idle":
        return traffic(facts, pps=20, irqs=10, heat=0.0)
    if load == "busy":
        return traffic(facts, pps=400_000, irqs=8_000, heat=0.4)
    return traffic(facts, pps=5_000, irqs=2_000, heat=0.03, flat=False)


def hot(what: Sample, share: float, cpus: Iterable[int], **more: int) -> Sample:
    """The same, with these CPUs that hot."""
    return replace(what, cpus={**what.cpus, **{c: {**cpu(share), **more} for c in cpus}})


def counted(what: Sample, ifindex: int = 2, **changes: object) -> Sample:
    """The same, with other counts of a card; mappings are added to."""
    card = what.cards[ifindex]
    whole: dict[str, object] = {}
    for name, value in changes.items():
        before = getattr(card, name)
        whole[name] = {**before, **value} if isinstance(value, Mapping) else value
    return replace(what, cards={**what.cards, ifindex: replace(card, **whole)})  # type: ignore[arg-type]  # of its fields


def known(facts: Facts, ifindex: int = 2, **changes: object) -> Facts:
    """The same, with other facts of a card; those of ``nic`` by its own names."""
    card = facts.cards[ifindex]
    own = {name: value for name, value in changes.items() if hasattr(card, name)}
    of_nic = {name: value for name, value in changes.items() if not hasattr(card, name)}
    card = replace(card, **own, nic=replace(card.nic, **of_nic))  # type: ignore[arg-type]  # of its fields
    return replace(facts, cards={**facts.cards, ifindex: card})
