"""What a window of counters says of a card and its host, by measure; pure."""

from __future__ import annotations

from collections.abc import Iterable

from netuned.counters.sample import USER_HZ, CardSample, Sample, interrupts_by_cpu, total
from netuned.doctor.load import SERVING, WORKING
from netuned.hardware.vectors import RX, TX
from netuned.records import dataclass

LESS, MORE, NEITHER = "less", "more", "neither"
"""Which is better of a measure."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure's name in tables and JSON, what it says, and which of it is ``better``."""

    name: str
    what: str
    better: str


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("gbit_s", "Gbit/s, received and sent", MORE),
        Measure("packets_s", "packets a second, received and sent", MORE),
        Measure("drops_s", "packets a second that the card or its qdiscs dropped", LESS),
        Measure("retransmits_s", "TCP segments a second that were sent again", LESS),
        Measure("cpus_busy", "CPUs' worth of time that was not idle", LESS),
        Measure("cpus_softirq", "CPUs' worth of time in interrupts and softirqs", LESS),
        Measure("cpus_system", "CPUs' worth of time in system calls and kernel threads", LESS),
        Measure("cpus_user", "CPUs' worth of time in programs", NEITHER),
        Measure("cpu_us_per_packet", "microseconds of a CPU for each packet", LESS),
        Measure("cpu_ns_per_byte", "nanoseconds of a CPU for each byte", LESS),
        Measure("drops_per_million", "drops for each million packets", LESS),
        Measure("interrupts_s", "interrupts a second of the card", LESS),
        Measure("interrupts_per_packet", "interrupts for each packet", LESS),
        Measure("rx_imbalance", "packets of the busiest receive queue over the queues' mean", LESS),
        Measure(
            "tx_imbalance", "packets of the busiest transmit queue over the queues' mean", LESS
        ),
        Measure("gbit2_per_cpu", "T²/ΣC: (Gbit/s)² over CPUs' worth of time", MORE),
        Measure("watts", "watts of the processors, by RAPL", LESS),
        Measure("gbit2_per_watt", "T²/P: (Gbit/s)² over watts", MORE),
        Measure("load_gbit_s", "Gbit/s as the load tells", MORE),
        Measure("load_retransmits", "segments sent again, as the load tells", LESS),
        Measure("load_lost_percent", "packets lost, as the load tells", LESS),
        Measure("load_transactions_s", "transactions a second, as the load tells", MORE),
        Measure("latency_us", "mean latency or round trip, as the load tells", LESS),
        Measure("latency_p50_us", "half of the load's latencies are below", LESS),
        Measure("latency_p99_us", "99 % of the load's latencies are below", LESS),
        Measure("latency_max_us", "the load's largest latency", LESS),
        Measure("jitter_us", "jitter, as the load tells", LESS),
    )
}

_DROPS = ("rx_dropped", "rx_missed_errors", "tx_dropped")


def measured(what: Sample, ifindex: int, watts: float = 0.0) -> dict[str, float]:
    """By name what a card and its host did between two samples; without what nobody counts.

    What is of each packet or byte is left out where there were none; ``watts`` of 0 are unknown.
    """
    card = what.cards.get(ifindex, CardSample(""))
    totals = card.totals
    packets = totals.get("rx_packets", 0) + totals.get("tx_packets", 0)
    octets = totals.get("rx_bytes", 0) + totals.get("tx_bytes", 0)
    drops = sum(totals.get(name, 0) for name in _DROPS) + _of_qdiscs(card)
    interrupts = sum(interrupts_by_cpu(card).values())
    gbit_s = what.rate(octets) * 8 / 1e9

    def cpus(*kinds: str) -> float:
        return what.rate(sum(total(what.cpus.values(), kind) for kind in kinds)) / USER_HZ

    busy = cpus(*WORKING)
    found = {
        "gbit_s": gbit_s,
        "packets_s": what.rate(packets),
        "drops_s": what.rate(drops),
        "cpus_busy": busy,
        "cpus_softirq": cpus(*SERVING),
        "cpus_system": cpus("system"),
        "cpus_user": cpus("user", "nice"),
    }
    if "TcpRetransSegs" in what.host:
        found["retransmits_s"] = what.rate(what.host["TcpRetransSegs"])
    if card.interrupts:
        found["interrupts_s"] = what.rate(interrupts)
    if packets:
        found["cpu_us_per_packet"] = busy * what.seconds * 1e6 / packets
        if octets:
            found["cpu_ns_per_byte"] = busy * what.seconds * 1e9 / octets
        found["drops_per_million"] = drops * 1e6 / packets
        if card.interrupts:
            found["interrupts_per_packet"] = interrupts / packets
    for name, role in (("rx_imbalance", RX), ("tx_imbalance", TX)):
        if imbalance := _imbalance(c.get("packets", 0) for c in card.queues(role).values()):
            found[name] = imbalance
    if busy:
        found["gbit2_per_cpu"] = gbit_s**2 / busy
    if watts:
        found |= {"watts": watts, "gbit2_per_watt": gbit_s**2 / watts}
    return found


def _of_qdiscs(card: CardSample) -> int:
    """The root counts what those below it dropped, too."""
    if "root" in card.qdiscs:
        return card.qdiscs["root"].get("drops", 0)
    return total(card.qdiscs.values(), "drops")


def _imbalance(packets: Iterable[int]) -> float:
    """The busiest queue's over the mean: 1.0 where all are alike; 0.0 without packets or choice."""
    each = list(packets)
    whole = sum(each)
    return max(each) * len(each) / whole if len(each) > 1 and whole else 0.0
