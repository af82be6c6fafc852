"""Sending: where qdiscs drop packets, and which queues these take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from netuned.counters.sample import CardSample, Sample, total
from netuned.cpuset import CpuSet
from netuned.doctor.facts import CardFacts, Facts
from netuned.doctor.finding import (
    CERTAIN,
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
from netuned.doctor.load import BUSY_PPS, MOST, busy, cards, per_second, percent, sent
from netuned.hardware.vectors import TX
from netuned.kernel.counts import Counts

DROPPED = {"fq_codel": 0.01}
"""Share of packets past which drops are more than its control of delay: CoDel begins with one in
100 ms, and TCP heeds it (RFC 8289, 4.1). What others drop is lost for want of room."""
ANY = 0.001
DROPS = 10.0
"""A second: below, it is one flow that was too fast once."""
FLOW_LIMIT = 100
"""fq's default (net/sched/sch_fq.c): one flow's packets that wait in it."""
QUEUES = frozenset(("pfifo", "bfifo", "pfifo_fast", "fq", "fq_codel"))
"""Qdiscs whose drops mean a full queue; shapers and netem drop because they are told to."""
DEFAULTS = frozenset(("pfifo_fast", "fq", "fq_codel"))
"""Those that are a host's default somewhere."""
STEADY = 0.7
"""Of the most that a part of the time had, the least: one stream, whatever queue it takes."""
UNEVEN = 3.0
"""Times the mean: 32 equal flows that a hash deals to 8 queues come to it once in 400."""


def flow_limit(facts: Facts, what: Sample) -> Iterator[Finding]:
    """fq dropped packets of single flows, and TCP sent them again."""
    again = what.host.get("TcpRetransSegs", 0)
    for card, sample in cards(facts, what):
        hit = {at: c["flows_plimit"] for at, c in sample.qdiscs.items() if c.get("flows_plimit")}
        _without_sum(hit)
        lost = sum(hit.values())
        if what.rate(lost) < 1:
            continue
        now = card.limits.get("fq flow_limit", FLOW_LIMIT)
        yield Finding(
            "fq-flow-limit",
            cost(LOST, lost / max(total(sample.qdiscs.values(), "packets"), 1) * 10),
            f"fq dropped {per_second(what, lost)} packets because one flow had {now} waiting "
            f"already; TCP sent {per_second(what, again)} segments again",
            "A fast flow loses packets on its own host and halves its speed: throughput is "
            "bimodal, high in one run and a fifth lower in the next.",
            {f"flows_plimit of {at}": number for at, number in sorted(hit.items())}
            | {"TcpRetransSegs": again},
            CERTAIN if again else LIKELY,
            card.nic.name,
            profile(card.nic, f"qdisc: {{kind: fq, flow_limit: {max(10 * now, 1000)}}}"),
            f"tc qdisc replace dev {shell(card.nic)} {_where(hit)} fq "
            f"flow_limit {max(10 * now, 1000)}",
        )


def _where(places: Mapping[str, int]) -> str:
    place = next(iter(places))
    return "root" if place == "root" else f"parent :{int(place.removeprefix('tx-')) + 1:x}"


def _without_sum(hit: dict[str, int]) -> None:
    """mq shows the sum of what is below it."""
    if len(hit) > 1:
        hit.pop("root", None)


def drops(facts: Facts, what: Sample) -> Iterator[Finding]:
    """A qdisc that dropped more than a passing part of what it was given."""
    for card, sample in cards(facts, what):
        hit, packets = {}, 0
        for place, counts in sample.qdiscs.items():
            kind = sample.kinds.get(place, "")
            lost = counts.get("drops", 0) - counts.get("flows_plimit", 0)
            if kind in QUEUES and lost > 0:
                hit[place] = lost
                packets += counts.get("packets", 0)
        _without_sum(hit)
        lost = sum(hit.values())
        kind = sample.kinds[next(iter(hit))] if hit else ""
        if what.rate(lost) < DROPS or lost < DROPPED.get(kind, ANY) * (packets + lost):
            continue
        size = card.limits.get(kind, 0)
        line = {"fq": "kind: fq, limit: 10000", "fq_codel": "kind: fq_codel, limit: 10240"}
        yield Finding(
            "qdisc-drops",
            cost(LOST, lost / (packets + lost) * 2),
            f"{kind} dropped {per_second(what, lost)} packets to send, "
            f"{percent(lost / (packets + lost))} of all{f'; it holds {size}' * bool(size)}",
            "More was sent than the link or its queue took at once: TCP slows down and sends "
            "again, UDP is lost.",
            {f"drops of {place}": number for place, number in sorted(hit.items())},
            CERTAIN,
            card.nic.name,
            profile(card.nic, f"qdisc: {{{line.get(kind, 'kind: fq')}}}"),
            f"tc qdisc replace dev {shell(card.nic)} {_where(hit)} "
            f"{kind if kind in line else 'fq'} limit 10240",
            "If the link is full, a longer queue only makes all wait longer.",
        )


def default_differs(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Queues with another qdisc than the host's default, as where that was set after they came."""
    default = facts.sysctls.get("net.core.default_qdisc", "")
    for card, _ in cards(facts, what):
        leaves = {parent: kind for parent, kind in card.leaves.items() if kind in DEFAULTS}
        others = sorted({kind for kind in leaves.values() if kind != default})
        if default not in DEFAULTS or not others or facts.is_kept(card.nic, "qdisc"):
            continue
        yield Finding(
            "qdisc-differs",
            cost(LATENT, 0.4),
            f"net.core.default_qdisc is {default}, and "
            f"{sum(kind != default for kind in leaves.values())} of {len(leaves)} queues have "
            f"{' and '.join(others)}",
            "The default is for queues that come later: those that were there have what was it "
            "then, and after the next change of channels some have one and some the other.",
            {f"queues with {kind}": [*leaves.values()].count(kind) for kind in others},
            CERTAIN,
            card.nic.name,
            profile(card.nic, f"qdisc: {{kind: {default}}}"),
            f"tc qdisc replace dev {shell(card.nic)} root mq   # of the default each",
        )


def xps(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Queues to send on that CPUs share unequally, or without a map where that shows."""
    for card, sample in busy(facts, what):
        nic = card.nic
        if len(card.xps) < 2 or sent(what, sample) < BUSY_PPS or facts.is_kept(nic, "xps"):
            continue
        sizes = [len(cpus & facts.topology.online) for cpus in card.xps.values()]
        packets = {q: c.get("packets", 0) for q, c in sample.queues(TX).items()}
        proof = {f"packets of tx-{queue}": number for queue, number in sorted(packets.items())}
        proof = proof or {"tx_packets": sample.totals.get("tx_packets", 0)}
        mapped = CpuSet.of(cpu for cpus in card.xps.values() for cpu in cpus)
        unmapped = facts.topology.online - mapped
        top = max(packets.values(), default=0)
        mean = sum(packets.values()) / max(len(packets), 1)
        crowded = top >= 2 * mean > 0  # else those without a map are dealt out well
        uneven = max(sizes) > 2 * min(sizes) + 1 or (unmapped and crowded)
        lines = profile(nic, "xps: {cpus: auto}")
        by_hand = f"echo 1 > /sys/class/net/{shell(nic)}/queues/tx-0/xps_cpus   # and so on"
        if mapped and uneven:
            yield Finding(
                "xps-unequal",
                cost(WASTED, 0.4),
                f"the {len(sizes)} queues to send on are for {min(sizes)} to {max(sizes)} CPUs each"
                f"{f'; CPUs {unmapped} have none' * bool(unmapped)}",
                "CPUs that share a queue wait for its lock, while others have one to themselves; "
                "those without are dealt out by a hash.",
                proof,
                LIKELY,
                nic.name,
                lines,
                by_hand,
            )
        elif not mapped and nic.vectors and top >= UNEVEN * mean and len(packets) > UNEVEN:
            yield Finding(
                "xps-missing",
                cost(LATENT, 0.7),
                f"no queue to send on has a map of CPUs (XPS), and one has "
                f"{percent(top / max(sum(packets.values()), 1))} of "
                f"{per_second(what, sum(packets.values()))} packets",
                "Without it a hash of the flow chooses: CPUs meet in the lock of one queue, and "
                "what was sent is cleaned up on another CPU than it came from.",
                proof,
                POSSIBLE,
                nic.name,
                lines,
                by_hand,
            )


def flapping(facts: Facts, what: Sample) -> Iterator[Finding]:
    """One stream that takes one queue, then another, and back."""
    for card, sample in cards(facts, what):
        turns = [_top(step, card) for step in facts.steps]
        if len(turns) < 3 or sent(what, sample) < BUSY_PPS / 10:
            continue
        queues = [queue for queue, _, _ in turns]
        whole = [each for _, _, each in turns]
        changes = sum(a != b for a, b in pairwise(queues))
        if (
            len(set(queues)) != 2
            or changes < 2
            or min(whole) < STEADY * max(whole)
            or any(top < MOST * each for _, top, each in turns)
        ):
            continue
        yield Finding(
            "tx-flapping",
            cost(WASTED, 0.5),
            f"what it sends, {per_second(what, total(_sends(sample).values(), 'bytes'))} bytes, "
            f"goes to queue {queues[0]}, then {next(q for q in queues if q != queues[0])}: "
            f"{changes} changes in {len(turns)} parts of {what.seconds:.1f} s",
            "The sender moves between CPUs, and its queue with it: packets are reordered or wait "
            "until the old queue is empty, and caches are cold each time.",
            {f"bytes of tx-{queue}": counts.get("bytes", 0)
             for queue, counts in sorted(_sends(sample).items())},
            LIKELY,
            card.nic.name,
            profile(card.nic, "xps: {cpus: auto}"),
            "taskset -cp CPUS PID",
            "Keep the process on the CPUs of one L3 domain (CPUAffinity= of its unit).",
        )  # fmt: skip


def _sends(sample: CardSample) -> Mapping[int, Counts]:
    return sample.queues(TX)


def _top(step: Sample, card: CardFacts) -> tuple[int, int, int]:
    """The queue that sent most in a part of the time, how much, and how much all did."""
    sample = step.cards.get(card.nic.ifindex) or CardSample(card.nic.name)
    sizes = {queue: counts.get("bytes", 0) for queue, counts in _sends(sample).items()}
    top = max(sizes, key=lambda queue: sizes[queue], default=-1)
    return top, sizes.get(top, 0), sum(sizes.values())


FINDINGS = (flow_limit, drops, default_differs, xps, flapping)
