"""A card, its bus and its link: what bounds it from outside."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.counters.sample import Sample
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
    profile,
    shell,
)
from netuned.doctor.load import cards, per_second, received, sent
from netuned.hardware.vectors import RX
from netuned.kernel.netdev import DMABUF, XSK
from netuned.planning import zerocopy
from netuned.regex import regex

HEADROOM = 1.15
"""Of a bus over its link: of 256 bytes that go over it at once (the usual MaxPayloadSize) there are
24 to 30 more as headers, and the descriptors of each packet."""
FAST_MBPS = 25_000
"""From where flushing the IOMMU for every packet can bound a card: below, one or two CPUs have time
for it. Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups; kernel-parameters.txt,
iommu.strict="""
STRICT_PPS = 100_000
"""Packets a second, at about 1 µs for each flush: a tenth of a CPU."""
PAUSES = 1.0
"""Frames a second: one stops a sender for up to 65,535 times 512 bits."""

_PAUSE = regex(r"(?i)^(?:port\.|mac_|veb\.)?(rx|tx).*(?:pause|xoff)(?!.*(?:duration|trans))")
"""igb rx_flow_control_xoff, ice tx_xoff.nic, i40e port.rx_xoff, mlx5 rx_pause_ctrl_phy."""


def slow_bus(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A PCIe link below what the card can, that carries less than its ports together."""
    for card, _ in cards(facts, what):
        bus = card.bus
        if bus is None or not bus.mbps:
            continue
        ports = [
            c.nic.speed_mbps for c in facts.cards.values() if c.bus and c.bus.place == bus.place
        ]
        below = bus.speed < bus.speed_max or bus.width < bus.width_max
        if not below or not card.nic.speed_mbps or bus.mbps >= HEADROOM * sum(ports):
            continue
        yield Finding(
            "slow-bus",
            cost(FULL, 1 - bus.mbps / (HEADROOM * sum(ports))),
            f"its PCIe link is {bus}, about {bus.mbps / 1000:.0f} Gbit/s for ports of "
            f"{sum(ports) / 1000:g} Gbit/s",
            "The bus carries less than the link: the ring overflows or senders wait, at a speed "
            "that no setting raises.",
            {"current_link_width": bus.width, "max_link_width": bus.width_max},
            CERTAIN,
            card.nic.name,
            other="Put it into a slot with more lanes or a newer generation; seat it anew, look at "
            "the slot's setting in the firmware.",
        )


def strict_iommu(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Each packet's mapping is flushed by itself on a fast card."""
    for card, sample in cards(facts, what):
        packets = received(what, sample) + sent(what, sample)
        if card.iommu != "DMA" or card.nic.speed_mbps < FAST_MBPS or packets < STRICT_PPS:
            continue
        yield Finding(
            "strict-iommu",
            cost(WASTED, packets / 1e6),
            f"its IOMMU domain is strict ({card.iommu}), with {packets:,.0f} packets a second",
            "Every buffer that is given back flushes the IOMMU's cache and waits for it; lazy "
            "(DMA-FQ) flushes many at once.",
            {name: sample.totals.get(name, 0) for name in ("rx_packets", "tx_packets")},
            LIKELY,
            card.nic.name,
            command="iommu.strict=0 on the kernel's command line (iommu=pt for none at all)",
            other="A broken or hostile card reaches memory for some milliseconds more then.",
        )


def paused(facts: Facts, what: Sample) -> Iterator[Finding]:
    """The partner asked this card to be silent, or this card the partner."""
    for card, sample in cards(facts, what):
        found = {name: number for name, number in sample.driver.items()
                 if number and _PAUSE.search(name)}  # fmt: skip
        heard = max((n for name, n in found.items() if "rx" in name), default=0)
        said = max((n for name, n in found.items() if "tx" in name), default=0)
        if what.rate(max(heard, said)) < PAUSES:
            continue
        tells = f"sent {per_second(what, said)} pause frames" if said >= heard else (
            f"was sent {per_second(what, heard)} pause frames")  # fmt: skip
        why = (
            "Its ring was nearly full, so the switch holds this host's packets back, and with "
            "them others' that stand behind."
            if said >= heard
            else "The switch or partner is full, so this card sends nothing to anybody for a while."
        )
        grows = said >= heard and 0 < card.rings.get("rx", 0) < card.rings.get("rx-max", 0)
        yield Finding(
            "pause-frames",
            cost(FULL, what.rate(max(heard, said)) / 1000),
            f"the card {tells}",
            why,
            found,
            CERTAIN,
            card.nic.name,
            profile(card.nic, "rings: {rx: max}") if grows else (),
            f"ethtool -A {shell(card.nic)} rx off tx off" * bool(found),
            "Without pause frames the same packets are dropped, of those alone who sent them.",
        )


def slow_link(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A link that goes one way at a time, or slower than both ends can."""
    for card, sample in cards(facts, what):
        nic, common = card.nic, card.modes.get("common", 0)
        half = card.duplex == "half"
        if not nic.up or not nic.speed_mbps or not (half or common > nic.speed_mbps):
            continue
        collisions = sample.totals.get("collisions", 0)
        yield Finding(
            "slow-link",
            cost(LOST, 0.3) if collisions else cost(FULL, 1 - nic.speed_mbps / max(common, 1)),
            f"the link is {nic.speed_mbps} Mbit/s, {card.duplex or 'full'} duplex"
            f"{f', and both ends can do {common} Mbit/s' * (common > nic.speed_mbps)}",
            "One end negotiates and the other does not, one of them was told to be slow, or a "
            "cable has lost a pair" + ("; both cannot send at once, and collide." if half else "."),
            {"collisions": collisions},
            CERTAIN,
            nic.name,
            command=f"ethtool -s {shell(nic)} autoneg on",
            other="The partner has to negotiate, too; then try another cable.",
        )


def zero_copy(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A queue that is set apart for zero copy, or used by AF_XDP, and lacks something for it."""
    for card, _ in cards(facts, what):
        for queue in _set_apart(card):
            known = zerocopy.Facts(queue, card.nic.rx_queues, card.rings, card.table, card.rules,
                                   {"program": 0, **card.xdp}, card.bound)  # fmt: skip
            use = XSK if card.bound.get((RX, queue)) == XSK else DMABUF
            needed = (c for c in zerocopy.conditions(known) if not c.met and use in c.uses)
            lacks = [c for c in needed if use != XSK or c.uses == (XSK,)]
            if not lacks:
                continue
            yield Finding(
                "zero-copy",
                cost(LATENT, 0.9),
                f"queue {queue} is {'bound to AF_XDP' if use == XSK else 'set apart'} and lacks "
                f"for {zerocopy.USES[use]}: {', '.join(f'{c.name} ({c.why})' for c in lacks)}",
                "Each packet is copied, or the program that is to have the queue is refused it.",
                {"bound queues": len(card.bound), "flow rules": len(card.rules)},
                POSSIBLE,
                card.nic.name,
                profile(card.nic, *todo)
                if (todo := [c.todo for c in lacks if ": {" in c.todo])
                else (),
                other=f"`netunedctl explain {shell(card.nic)} {queue}` says all that it needs.",
            )


def _set_apart(card: CardFacts) -> Iterator[int]:
    """Queues that AF_XDP has; with headers split those that only flow rules lead to, too."""
    split = card.rings.get("tcp-data-split") == zerocopy.HEADERS_APART
    for queue in range(card.nic.rx_queues):
        led = card.table and queue not in card.table and any(
            rule.to == f"queue {queue}" for rule in card.rules.values()
        )  # fmt: skip
        if card.bound.get((RX, queue)) == XSK or (split and led and (RX, queue) not in card.bound):
            yield queue


FINDINGS = (slow_bus, strict_iommu, paused, slow_link, zero_copy)
