"""Interrupts and CPUs: who serves a host's packets, and who would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from netuned.counters.sample import Sample, interrupts_by_cpu
from netuned.cpuset import CpuSet
from netuned.doctor.facts import CardFacts, Facts
from netuned.doctor.finding import (
    CERTAIN,
    FULL,
    LIKELY,
    PLACE,
    POSSIBLE,
    WASTED,
    Finding,
    cost,
    profile,
    shell,
    wire_name,
)
from netuned.doctor.load import (
    BUSY_IRQS,
    BUSY_PPS,
    FLOOD_IRQS,
    HOT,
    MOST,
    busy,
    cards,
    hottest,
    idle_cores,
    is_loud,
    per_second,
    percent,
    received,
    receiving,
    takers,
    turns,
)
from netuned.hardware.vectors import TX

DISTURBED = 10
"""Interrupts a second that an isolated CPU is not to have: the tick that remains there is 1."""
READERS_SHOWN = 3
STRAY = 0.1
"""Share of a vector's interrupts that says it was served elsewhere, not moved at the very end."""


def few_cpus(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Few CPUs take a card's interrupts; of cards without any, packets as a whole."""
    for card, sample in busy(facts, what):
        nic, by_cpu = card.nic, receiving(card, sample)
        if not by_cpu:
            continue
        taken, idle = takers(by_cpu), idle_cores(facts, what, nic.numa_node)
        burning = hottest(what, taken)
        if burning < HOT or len(idle) < len(taken):
            continue
        most = _most_queues(card)
        if most <= len(taken):
            continue  # it has no more to spread: see rps_missing of the module receive
        grows = most > nic.rx_queues
        lines = (*["channels: {combined: auto}"] * grows, PLACE)
        by_hand = f"ethtool -L {shell(nic)} combined {min(most, len(taken) + len(idle))}"
        yield Finding(
            "few-cpus",
            cost(FULL, burning),
            f"{len(taken)} of {len(facts.topology.online)} CPUs ({taken}) take "
            f"{percent(sum(by_cpu.get(cpu, 0) for cpu in taken) / sum(by_cpu.values()))} of "
            f"{per_second(what, sum(by_cpu.values()))} interrupts and polls, the busiest is in "
            f"softirqs for {percent(burning)} of its time; {len(idle)} cores near the card "
            f"({idle}) idle",
            "Packets wait for the CPUs that serve them, and applications there for the packets, "
            "while others have nothing to do.",
            {f"interrupts or polls on CPU {cpu}": number for cpu, number in sorted(by_cpu.items())},
            CERTAIN,
            nic.name,
            profile(nic, *lines),
            by_hand if grows else _by_hand(card, idle),
        )
    yield from _few_without_interrupts(facts, what)


def _few_without_interrupts(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Packets of virtual cards, which are served where somebody sends them."""
    virtual = [(c, s) for c, s in busy(facts, what) if not c.nic.vectors]
    by_cpu = {cpu: counts.get("processed", 0) for cpu, counts in what.cpus.items()}
    taken, idle = takers(by_cpu), idle_cores(facts, what)
    if not virtual or not taken or len(idle) < len(taken) or hottest(what, taken) < HOT:
        return
    if len(virtual) < len([*busy(facts, what)]):
        return  # those of cards with interrupts are told of by these
    card, sample = max(virtual, key=lambda pair: received(what, pair[1]))
    if any(card.rps.values()) or received(what, sample) < BUSY_PPS:
        return
    yield Finding(
        "few-cpus",
        cost(FULL, hottest(what, taken)),
        f"CPUs {taken} process {percent(sum(by_cpu[c] for c in taken) / sum(by_cpu.values()))} of "
        f"{per_second(what, sum(by_cpu.values()))} packets, the busiest is in softirqs for "
        f"{percent(hottest(what, taken))} of its time; {len(idle)} cores idle",
        "A virtual card's packets are processed where their sender runs, unless RPS spreads them.",
        {f"processed on CPU {cpu}": by_cpu[cpu] for cpu in sorted(by_cpu)},
        LIKELY,
        card.nic.name,
        profile(card.nic, "rps: {cpus: housekeeping}"),
        f"echo {facts.topology.housekeeping.to_mask()} > "
        f"/sys/class/net/{shell(card.nic)}/queues/rx-0/rps_cpus",
    )


def _most_queues(card: CardFacts) -> int:
    """The receive queues that the card can have, as far as hashing reaches them."""
    channels = card.nic.channels
    most = max(channels.combined_max, channels.rx_max) if channels else 0
    reach = card.nic.rss_queues
    return most if reach == card.nic.rx_queues and not card.nic.fixed and most else reach


def _by_hand(card: CardFacts, cpus: CpuSet) -> str:
    irq = next(v.irq for v in card.nic.vectors if v.role != TX)
    return f"echo {cpus.first} > /proc/irq/{irq}/smp_affinity_list   # and so on, one each"


def isolated(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Interrupts on CPUs that are kept apart, where no profile wants them there."""
    apart = facts.topology.isolated | facts.topology.nohz_full
    for card, sample in cards(facts, what):
        hit = {cpu: n for cpu, n in interrupts_by_cpu(sample).items()
               if cpu in apart and what.rate(n) > DISTURBED}  # fmt: skip
        if not hit or facts.is_kept(card.nic, "irq"):
            continue
        yield Finding(
            "isolated-cpus",
            cost(WASTED, sum(hit.values()) / max(what.seconds, 1e-9) / FLOOD_IRQS),
            f"{per_second(what, sum(hit.values()))} interrupts on CPUs {CpuSet.of(hit)}, which are "
            f"isolated or tickless",
            "Each takes the CPU from what it is kept apart for, as long as its packets take.",
            {f"interrupts on CPU {cpu}": number for cpu, number in sorted(hit.items())},
            CERTAIN,
            card.nic.name,
            profile(card.nic, PLACE),
            _by_hand(card, facts.topology.housekeeping) if card.nic.vectors else "",
        )


def remote(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Interrupts on another node than the card's."""
    for card, sample in busy(facts, what):
        nic, by_cpu = card.nic, receiving(card, sample)
        near = facts.topology.nodes.get(nic.numa_node, CpuSet())
        far = {cpu: n for cpu, n in by_cpu.items() if cpu not in near}
        share = sum(far.values()) / sum(by_cpu.values()) if by_cpu else 0.0
        if (
            not near & facts.topology.housekeeping - CpuSet.of(by_cpu)  # all of it is used
            or share < HOT
            or what.rate(sum(far.values())) < DISTURBED
            or facts.is_kept(nic, "irq")
        ):
            continue
        yield Finding(
            "remote-node",
            cost(WASTED, share / 2),
            f"{percent(share)} of {per_second(what, sum(by_cpu.values()))} interrupts are on CPUs "
            f"{CpuSet.of(far)}, and the card is on node {nic.numa_node} (CPUs {near})",
            "Descriptors and packets cross the link between the nodes: each cache miss takes about "
            "twice as long, and the CPU serves fewer packets.",
            {f"interrupts or polls on CPU {cpu}": number for cpu, number in sorted(by_cpu.items())},
            LIKELY,
            nic.name,
            profile(nic, PLACE),
            _by_hand(card, near & facts.topology.housekeeping),
            "If the application runs on that node, move it instead, or use a card there.",
        )


def apart(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Packets are read on other nodes, or in other L3 domains, than they are served."""
    topology, used = facts.topology, _used(facts, what)
    whole = sum(used.values())
    for card, sample in busy(facts, what):
        by_cpu = receiving(card, sample)
        taken = takers(by_cpu)
        here = CpuSet.of(cpu for one in taken for cpu in topology.l3_of(one))
        there = {cpu: share for cpu, share in used.items() if cpu not in here}
        # Half a CPU of application at least, nearly none of it beside its packets.
        if (
            not taken
            or any(card.rps.values())  # then others serve them, too
            or whole < HOT
            or sum(there.values()) < MOST * whole
            or hottest(what, here) < HOT / 2
        ):
            continue
        most = CpuSet.of(cpu for cpu, share in there.items() if share >= 0.1 * whole)
        users = most or CpuSet.of(there)
        nodes = [node for node, cpus in topology.nodes.items() if cpus & users]
        is_far = bool(nodes) and not any(topology.nodes[node] & taken for node in nodes)
        to = f"node:{nodes[0]}" if is_far else f"l3:{users.first}"
        share = sum(there.values()) / whole
        yield Finding(
            "other-node" if is_far else "other-l3",
            cost(WASTED, share / (2 if is_far else 4)),
            f"CPUs {taken} serve its packets, {'on another node' if is_far else 'in another L3'} "
            f"{'' if is_far else 'domain '}than CPUs {users}, where {percent(share)} of what "
            f"{_readers(facts, there)} computed was",
            f"If {'this card is what they read' if facts.readers else 'they read the packets'}, "
            "each comes out of another domain's cache: slower, and bimodal where a process moves "
            "between them.",
            {f"interrupts or polls on CPU {cpu}": number for cpu, number in sorted(by_cpu.items())},
            LIKELY if facts.readers and len([*busy(facts, what)]) == 1 else POSSIBLE,
            card.nic.name,
            profile(card.nic, f'irq: {{cpus: "{to} & housekeeping"}}'),
            _by_hand(card, users),
            "Or keep the application on the CPUs near the card (CPUAffinity= of its unit).",
        )


def _used(facts: Facts, what: Sample) -> dict[int, float]:
    """Of each CPU the share that readers of sockets have; of all programs where none is known."""
    if facts.readers:
        return {cpu: what.rate(sum(ran.values())) / 1e9 for cpu, ran in facts.readers.items()}
    return {cpu: what.share(cpu, "user") for cpu in facts.topology.online}


def _readers(facts: Facts, there: Collection[int]) -> str:
    """Who they are: those that ran longest on these CPUs."""
    ran = Counter[str]()
    for cpu in there:
        ran.update(facts.readers.get(cpu, {}))
    if not ran:
        return "applications"
    names = [name for name, _ in ran.most_common(READERS_SHOWN)]
    more = f" and {len(ran) - len(names)} more" * (len(ran) > len(names))
    return f"the readers of sockets ({', '.join(names)}{more})"


def shared_core(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Two busy vectors on one core, while another core idles."""
    by_core: dict[CpuSet, dict[int, str]] = {}
    counted: dict[int, int] = {}
    owner: dict[int, CardFacts] = {}
    for card, sample in cards(facts, what):
        for vector in card.nic.vectors:
            by_cpu = turns(card, sample, vector)
            if vector.role == TX or not any(by_cpu.values()) or not is_loud(what, sample, vector):
                continue
            cpu = max(by_cpu, key=lambda one: by_cpu[one])
            core = facts.topology.core_of(cpu)
            by_core.setdefault(core, {})[vector.irq] = f"{wire_name(card.nic)} {vector.key}"
            counted[vector.irq], owner[vector.irq] = sum(by_cpu.values()), card
    for core, vectors in by_core.items():
        nic = owner[next(iter(vectors))].nic
        idle = idle_cores(facts, what, nic.numa_node)
        if len(vectors) < 2 or not idle or hottest(what, core) < HOT:
            continue
        yield Finding(
            "shared-core",
            cost(FULL, hottest(what, core) / 2),
            f"{len(vectors)} busy queues ({', '.join(vectors.values())}) are on one core (CPUs "
            f"{core}), which is in softirqs for {percent(hottest(what, core))} of its time; cores "
            f"{idle} idle",
            "Threads of one core share its units and caches: two queues there get little more than "
            "one would.",
            {f"interrupts of {name}": counted[irq] for irq, name in vectors.items()},
            CERTAIN,
            nic.name,
            profile(nic, PLACE),
            f"echo {idle.first} > /proc/irq/{max(vectors)}/smp_affinity_list",
        )


def moved(facts: Facts, what: Sample) -> Iterator[Finding]:
    """Interrupts that were on several CPUs in that time, though they go to one at any moment."""
    for card, sample in cards(facts, what):
        proof: dict[str, int] = {}
        for vector in card.nic.vectors:
            by_cpu = {c: n for c, n in sample.interrupts.get(vector.irq, {}).items() if n}
            whole = sum(by_cpu.values())
            served = CpuSet.of(cpu for cpu, number in by_cpu.items() if number >= STRAY * whole)
            if (
                len(card.takers.get(vector.irq, ())) == 1
                and len(served) > 1
                and what.rate(whole) >= BUSY_IRQS / 10
            ):
                proof |= {f"{vector.key} on CPU {cpu}": by_cpu[cpu] for cpu in served}
        if not proof:
            continue
        who = ", ".join(facts.agents)
        yield Finding(
            "moved-interrupts",
            cost(WASTED, len(proof) / 2 / max(len(card.nic.vectors), 1)),
            f"{len({key.partition(' ')[0] for key in proof})} of {len(card.nic.vectors)} "
            f"interrupts were on more than one CPU within {what.seconds:.1f} s",
            "Each move leaves warm caches behind and can reorder packets; what places them anew "
            "all the time never finds a better place for long.",
            proof,
            LIKELY,
            card.nic.name,
            profile(card.nic, PLACE, "host: {irqbalance: exclude}"),
            "systemctl stop irqbalance" if "irqbalance" in who else "",
            f"It is most likely {who}." if who else "Who does it is not known: a script, maybe.",
        )


FINDINGS = (few_cpus, isolated, remote, apart, shared_core, moved)
