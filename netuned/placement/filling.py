"""Pure: the CPUs one card gets, given what the others have.

Every term of the objective is a sum of convex functions of how many queues a CPU, its core, its L3
domain and its node have, and these sets are nested: taking the CPU that adds least, queue after
queue, is therefore the optimum for a card. Source: Federgruen, Groenevelt, "The greedy procedure
for resource allocation problems", 1986.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from heapq import heapify, heapreplace

from netuned.cpuset import MAX_CPU, CpuSet
from netuned.placement.objective import BOOT_CORE, Places

NUMBER = MAX_CPU - 1
BOOT = MAX_CPU
AWAY = 4 * BOOT
TRANSMIT = 4 * AWAY
UNALIGNED = 4 * MAX_CPU * TRANSMIT
DOMAIN = 2**12 * UNALIGNED
MANY = 2**20
THREAD = MANY * DOMAIN
CORE = MANY * THREAD
"""What a CPU adds is one number, for those are quick to compare and to add to.

Each term outweighs all that later ones can come to: transmit is at most all CPUs of a core, domain
and node, a bond has fewer than 4,096 cards, a core fewer than a million queues. The lowest bits are
the CPU's own number, by which it is found again.
"""


class Loads:
    """How many queues each CPU, core and L3 domain serves so far, by number of (lowest) CPU."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.threads = [0] * len(places.core)
        self.cores = [0] * len(places.core)
        self.domains = [0] * len(places.core)
        size = places.size[1]
        self.idle = [
            cpu + BOOT * (core == BOOT_CORE) + AWAY - TRANSMIT * (1 + size[core])
            for cpu, core in enumerate(places.core)
        ]
        """What each CPU would add if nothing were on its core: of a card that has none there."""

    def copy(self) -> Loads:
        """The same loads, to be changed apart."""
        copied = copy(self)
        copied.threads, copied.cores = list(self.threads), list(self.cores)
        copied.domains = list(self.domains)
        return copied

    def add(self, cpus: Iterable[int], queues: int = 1) -> None:
        core_of, domain_of = self.places.core, self.places.domain
        threads, cores, domains = self.threads, self.cores, self.domains
        for cpu in cpus:
            threads[cpu] += queues
            cores[core_of[cpu]] += queues
            domains[domain_of[cpu]] += queues


def fill(
    loads: Loads,
    cpus: CpuSet,
    units: int,
    *,
    own: Iterable[int] = (),
    wishes: Iterable[int] = (),
    claims: Mapping[int, int] | None = None,
    partners: Iterable[Mapping[int, int]] = (),
    from_top: bool = False,
) -> list[int]:
    """Choose a CPU of ``cpus`` for each of ``units`` queues, and count them in ``loads``.

    ``own`` are CPUs that the card has besides; ``wishes`` those it would like to keep (one entry
    per queue), ``claims`` how many queues of other cards want to keep a CPU, and ``partners`` how
    many queues of each other card of the bond sit on a CPU. Of CPUs that are equal in all this the
    lowest is chosen, ``from_top`` the highest, those of CPU 0's core last.
    """
    places = loads.places
    core_of, domain_of, node_of = places.core, places.domain, places.node
    _, core_size, domain_size, node_size = places.size
    sign = -1 if from_top else 1
    domain_cpus = places.by_domain(cpus)
    wanted = Counter(wishes)
    claimed = claims or {}
    left = [Counter(partner) for partner in partners if partner]
    covered = set(own)
    cores, domains, nodes = (
        {level[cpu] for cpu in covered} for level in (core_of, domain_of, node_of)
    )

    # what each CPU adds by itself, and what all of an L3 domain add in common
    cost = [0] * len(core_of)
    for members in domain_cpus.values():
        for cpu in members:
            load = loads.cores[core_of[cpu]] * MANY + loads.threads[cpu]
            cost[cpu] = loads.idle[cpu] + THREAD * load
    for cpu in sorted(covered):
        cost[cpu] += TRANSMIT
    for core in sorted(cores):
        for cpu in places.threads[core]:
            cost[cpu] += TRANSMIT * core_size[core]
    for cpu, queues in claimed.items():
        cost[cpu] += AWAY if queues else 0
    for cpu in wanted:
        cost[cpu] -= AWAY * (2 if claimed.get(cpu) else 1)
    for partner in left:
        for cpu in partner:
            cost[cpu] -= UNALIGNED if partner[cpu] > 0 else 0
    if from_top:
        for cpu in cpus:
            cost[cpu] -= 2 * cpu
    common = {
        domain: DOMAIN * loads.domains[domain]
        - TRANSMIT * (domain not in domains) * domain_size[domain]
        - TRANSMIT * (node_of[domain] not in nodes) * node_size[node_of[domain]]
        for domain in domain_cpus
    }
    heaps = {domain: [cost[cpu] for cpu in members] for domain, members in domain_cpus.items()}
    for heap in heaps.values():
        heapify(heap)
    ahead = [heap[0] + common[domain] for domain, heap in heaps.items()]
    heapify(ahead)
    chosen = []
    for _ in range(units):
        # in both kinds of heap costs only grow: an entry may be too low, and is replaced
        while True:
            cpu = sign * ahead[0] & NUMBER
            domain = domain_of[cpu]
            heap = heaps[domain]
            if (now := heap[0] + common[domain]) == ahead[0]:
                break
            heapreplace(ahead, now)
        chosen.append(cpu)
        core = core_of[cpu]
        more = CORE
        if core not in cores:
            cores.add(core)
            more += TRANSMIT * core_size[core]
        for thread in places.threads[core]:
            cost[thread] += more
        more = THREAD
        if cpu not in covered:
            covered.add(cpu)
            more += TRANSMIT
        if wanted and wanted.get(cpu):
            wanted[cpu] -= 1
            if not wanted[cpu]:
                more += AWAY * (2 if claimed.get(cpu) else 1)
        for partner in left:
            partner[cpu] -= 1
            if partner[cpu] == 0:
                more += UNALIGNED
        cost[cpu] += more
        common[domain] += DOMAIN
        if domain not in domains:
            domains.add(domain)
            common[domain] += TRANSMIT * domain_size[domain]
            if (node := node_of[domain]) not in nodes:
                nodes.add(node)
                for other in heaps:
                    common[other] += TRANSMIT * node_size[node] * (node_of[other] == node)
        while (now := cost[sign * heap[0] & NUMBER]) != heap[0]:
            heapreplace(heap, now)
        heapreplace(ahead, heap[0] + common[domain])
    loads.add(chosen)
    return chosen if BOOT_CORE not in cores else _in_order(chosen, domain_of)


def _in_order(chosen: list[int], domain_of: Sequence[int]) -> list[int]:
    """Number those of CPU 0's L3 domain by CPU: where it is used, queue 0 need not be elsewhere."""
    turns = Counter[int]()
    spots, ranked = [], []
    for spot, cpu in enumerate(chosen):
        if domain_of[cpu] == domain_of[BOOT_CORE]:
            spots.append(spot)
            ranked.append((turns[cpu], cpu))
            turns[cpu] += 1
    for spot, (_, cpu) in zip(spots, sorted(ranked), strict=True):
        chosen[spot] = cpu
    return chosen


def pack(loads: Loads, cpus: CpuSet, units: int) -> list[int]:
    """Choose CPUs on the fewest cores, a queue for each thread, siblings together."""
    places = loads.places
    threads = Counter(places.core[cpu] for cpu in cpus)

    def cost(cpu: int) -> tuple[int, ...]:
        core, domain = places.core[cpu], places.domain[cpu]
        fresh = not loads.cores[core]
        return (loads.threads[cpu], fresh, -threads[core], not loads.domains[domain], domain, core)

    order = sorted(cpus, key=lambda cpu: (*cost(cpu), cpu))
    chosen = [order[unit % len(order)] for unit in range(units)]
    loads.add(chosen)
    return chosen
