"""What a host counts, as metrics. Pure.

Bounded by the queues of the cards that are counted, and by CPUs: never one by the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from netuned.bus import wire
from netuned.counters.sample import USER_HZ, Sample, dropped_of, interrupts_by_cpu
from netuned.hardware.vectors import RX, TX

_WAYS = {RX: "receive", TX: "transmit"}
_CPU = (
    ("softirq", "softirq_seconds", "Time of a CPU in softirqs, NET_RX among them.", 1 / USER_HZ),
    ("net_rx", "net_rx_softirqs", "How often NET_RX was raised on a CPU.", 1),
    ("ksoftirqd", "ksoftirqd_seconds", "Time that a CPU's ksoftirqd ran.", 1e-9),
    ("squeezed", "softnet_squeezed", "NET_RX ended with work left: its budget was used up.", 1),
    ("dropped", "softnet_dropped", "Packets lost for a CPU's backlog was full.", 1),
)
"""The kernel keeps no time of NET_RX by itself."""


def families(sample: Sample) -> Iterator[Metric]:
    """Of one sample. What could not be read is counted, and absent."""
    for role, way in _WAYS.items():
        packets, drops = (
            CounterMetricFamily(f"netuned_queue_{way}_{name}", what)
            for name, what in (
                ("packets", f"Packets of a {way} queue, as its driver or qdisc counts them."),
                ("drops", f"Packets that a {way} queue lost, as its driver or qdisc says."),
            )
        )
        named = f"{packets.name}_total", f"{drops.name}_total"
        for card in sample.cards.values():
            device = wire.text(card.name)
            for queue, counted in card.queues(role).items():
                at = {"device": device, "queue": str(queue)}
                if "packets" in counted:
                    packets.add_sample(named[0], at, counted["packets"])
                if (lost := dropped_of(counted)) >= 0:
                    drops.add_sample(named[1], at, lost)
        yield packets
        yield drops
    for kind, name, what, unit in _CPU:
        family = CounterMetricFamily(f"netuned_cpu_{name}", what, labels=("cpu",))
        for cpu, counted in sample.cpus.items():
            if kind in counted:
                family.add_metric((str(cpu),), counted[kind] * unit)
        yield family
    interrupts = CounterMetricFamily(
        "netuned_cpu_card_interrupts",
        "Interrupts of the cards that are counted, by the CPU that served them.",
        labels=("cpu",),
    )
    came: dict[int, int] = {}
    for card in sample.cards.values():
        for cpu, number in interrupts_by_cpu(card).items():
            came[cpu] = came.get(cpu, 0) + number
    for cpu, number in sorted(came.items()):
        interrupts.add_metric((str(cpu),), number)
    yield interrupts
    missing = GaugeMetricFamily(
        "netuned_counters_missing", "Kinds of counters that could not be read."
    )
    missing.add_metric((), len(sample.missing))
    yield missing
