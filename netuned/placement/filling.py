"""Pure: the CPUs one card gets, given what the others have.

Every term of the objective is a sum of convex functions of how many queues a CPU, its core, its L3
domain and its node have, and these sets are nested: taking the CPU that adds least, queue after
queue, is therefore the optimum for a card. Source: Federgruen, Groenevelt, "The greedy procedure
for resource allocation problems", 1986.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace

from netuned.cpuset import CpuSet
from netuned.placement.objective import BOOT_CORE, Places


class Loads:
    """How many queues each CPU, core and L3 domain serves so far, by number of (lowest) CPU."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.threads = [0] * len(places.core)
        self.cores = [0] * len(places.core)
        self.domains = [0] * len(places.core)

    def copy(self) -> Loads:
        """The same loads, to be changed apart."""
        copied = Loads(self.places)
        copied.threads, copied.cores = list(self.threads), list(self.cores)
        copied.domains = list(self.domains)
        return copied

    def add(self, cpus: Iterable[int], queues: int = 1) -> None:
        places = self.places
        for cpu in cpus:
            self.threads[cpu] += queues
            self.cores[places.core[cpu]] += queues
            self.domains[places.domain[cpu]] += queues


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
    sign, last = -1 if from_top else 1, len(core_of)
    numbers = places.turn
    if from_top:
        numbers = [number - 2 * cpu for cpu, number in enumerate(places.turn)]
    _, core_size, domain_size, node_size = places.size
    thread_load, core_load, domain_load = loads.threads, loads.cores, loads.domains
    wanted = Counter(wishes)
    claimed = claims or {}
    left = [Counter(partner) for partner in partners if partner]
    covered = set(own)
    cores, domains, nodes = (
        {level[cpu] for cpu in covered} for level in (core_of, domain_of, node_of)
    )

    def cost(cpu: int) -> tuple[int, int, int, int, int, int]:
        """What the CPU adds: to the core's load, the thread's, bond, transmit, movement; itself.

        Its number is the last, from ``last`` on where it is of CPU 0's core.
        """
        core = core_of[cpu]
        gain = core_size[core] + 1 if core not in cores else cpu not in covered
        unaligned = sum(partner[cpu] <= 0 for partner in left) if left else 0
        away = 0 if wanted[cpu] > 0 else 2 if claimed.get(cpu) else 1
        return core_load[core], thread_load[cpu], unaligned, -gain, away, numbers[cpu]

    heaps: dict[int, list[tuple[int, int, int, int, int, int]]] = {}
    for cpu in cpus:
        heaps.setdefault(domain_of[cpu], []).append(cost(cpu))
    for heap in heaps.values():
        heapify(heap)

    def total(domain: int) -> tuple[int, int, int, int, int, int, int]:
        """What the domain's best CPU adds, with what all of the domain have in common."""
        core, thread, unaligned, lost, away, number = heaps[domain][0]
        if domain not in domains:
            lost -= domain_size[domain]
        if node_of[domain] not in nodes:
            lost -= node_size[node_of[domain]]
        return core, thread, domain_load[domain], unaligned, lost, away, number

    ahead = [total(domain) for domain in heaps]
    heapify(ahead)
    chosen = []
    for _ in range(units):
        # in both kinds of heap costs only grow: an entry may be too low, and is replaced
        while True:
            cpu = sign * ahead[0][-1] % last
            domain = domain_of[cpu]
            if (best := total(domain)) == ahead[0]:
                break
            heapreplace(ahead, best)
        chosen.append(cpu)
        loads.add((cpu,))
        wanted[cpu] -= 1
        for partner in left:
            partner[cpu] -= 1
        covered.add(cpu)
        cores.add(core_of[cpu])
        domains.add(domain)
        nodes.add(node_of[cpu])
        heap = heaps[domain]
        while (now := cost(sign * heap[0][-1] % last)) != heap[0]:
            heapreplace(heap, now)
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
