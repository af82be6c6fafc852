"""Pure: what several cards gain by giving each other CPUs.

A layout is a flow: each card sends its queues through its own view of the machine (node, L3 domain,
core, CPU: what counts is whether it is there at all) into the CPUs, and from those they go through
core and L3 domain into the host (what counts is the load). Every arc's cost is convex, so a layout
is the best there is when no cycle in the residual network costs less than nothing; each such cycle
found is carried out. Source: Ahuja, Magnanti, Orlin, "Network Flows", 1993, chapters 9.6 (cycle
canceling) and 14 (convex costs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from netuned.cpuset import CpuSet
from netuned.placement.filling import Loads
from netuned.placement.objective import BOOT_CORE, Places
from netuned.records import dataclass

LIMIT = 256
"""Cards times CPUs beyond which a look for cycles would be felt; there only loads are looked at."""

Node = tuple[int, int, int]
"""A card's index (-1: the host), a level (CPU, core, domain, node, all) and a lowest CPU."""

CPU, CORE, DOMAIN, NODE, WHOLE = range(5)
HOST = -1


@dataclass(slots=True)
class Party:
    """A card that takes part: ``slots`` are its queues' CPUs, and are changed.

    ``own`` are CPUs it has for good, ``wished`` those its queues want to keep, ``partners`` how
    many queues of each other card of the bond a CPU has.
    """

    pool: CpuSet
    slots: list[int]
    own: Sequence[int] = ()
    wished: Mapping[int, int] | None = None
    partners: Sequence[Mapping[int, int]] = ()


def exchange(loads: Loads, parties: Sequence[Party]) -> bool:
    """Improve ``slots`` and ``loads`` as long as a cycle of moves does.

    Returns whether some were too many for that and passed queues on without regard to later terms.
    """
    rough = False
    for together in _meeting(loads, parties):
        if sum(len(party.pool) for party in together) > LIMIT:
            while _cross(together) and _relieve(loads, together):
                rough = True
        elif _may_gain(together) and not _at_best(loads, together):
            network = _Network(loads, together)
            while cycle := network.cycle():
                network.carry_out(cycle)
    return rough


def _may_gain(parties: Sequence[Party]) -> bool:
    """A card alone is at its optimum already, but for a bond."""
    return len(parties) > 1 or bool(parties[0].partners)


def _at_best(loads: Loads, parties: Sequence[Party]) -> bool:
    """Whether no layout is better in any term, which costs far less to see than to look for cycles.

    False says nothing: what the terms allow together may be less than what each allows alone.
    """
    if any(party.partners for party in parties):
        return False
    places = loads.places
    cpus = CpuSet()
    for party in parties:
        cpus |= party.pool
    for level, load in ((CPU, loads.threads), (CORE, loads.cores), (DOMAIN, loads.domains)):
        found = {places.levels[level][cpu]: load[places.levels[level][cpu]] for cpu in cpus}
        idlest = min(found.values())
        if max(found.values()) - idlest > 1:
            return False
        # where loads are as even as can be, no core has fewer queues than the idlest
        if level == CORE and found.get(BOOT_CORE, idlest) > idlest:
            return False
    return all(_as_near(places, party) and _at_home(party) for party in parties)


def _as_near(places: Places, party: Party) -> bool:
    """Whether the party's queues are on as many and as large cores, domains, nodes as can be."""
    cpus = set(party.slots)
    for lowest, size in zip(places.levels, places.size, strict=True):
        settled = {lowest[cpu] for cpu in party.own}
        free = {lowest[cpu] for cpu in party.pool} - settled
        taken = {lowest[cpu] for cpu in cpus} - settled
        largest = sorted((size[at] for at in free), reverse=True)[: len(party.slots)]
        if sum(size[at] for at in taken) < sum(largest):
            return False
    return True


def _at_home(party: Party) -> bool:
    """Whether every queue of the party is where it wishes to stay."""
    slots = Counter(party.wished and party.slots)
    return all(slots[cpu] >= queues for cpu, queues in (party.wished or {}).items())


def _cross(parties: Sequence[Party]) -> bool:
    """Whether some cards share some CPUs only: where pools are equal or nested loads are even."""
    pools = dict.fromkeys(party.pool for party in parties)
    return any(one & two and one - two and two - one for one, two in combinations(pools, 2))


def _meeting(loads: Loads, parties: Sequence[Party]) -> list[list[Party]]:
    """The parties in sets that have L3 domains in common; others can give each other nothing."""
    sets: list[tuple[set[int], list[Party]]] = []
    for party in parties:
        domains = set(loads.places.by_domain(party.pool))
        members = [party]
        apart = []
        for others, theirs in sets:
            if others & domains:
                domains |= others
                members = theirs + members
            else:
                apart.append((others, theirs))
        sets = [*apart, (domains, members)]
    return [members for _, members in sets]


def _relieve(loads: Loads, parties: Sequence[Party]) -> bool:
    """Pass one queue on from party to party, off a busy CPU to an idle one; whether that gains.

    Where no queue can be passed to a core with two less, no layout has more even cores, for what
    parties can share out is the base of a polymatroid.
    """
    places, idlest = loads.places, dict[CpuSet, int]()

    def load(cpu: int) -> tuple[int, int, int]:
        core, domain = places.core[cpu], places.domain[cpu]
        return loads.cores[core], loads.threads[cpu], loads.domains[domain]

    def gain(here: int, there: int) -> tuple[int, ...]:
        levels = (places.core, places.levels[CPU], places.domain)
        return tuple(
            (busy - idle - 1) * (level[here] != level[there])
            for level, busy, idle in zip(levels, load(here), load(there), strict=True)
        )

    for first, party in enumerate(parties):
        came = _reached(parties, first)
        reach = CpuSet()
        for other in came:
            reach |= parties[other].pool
        if reach not in idlest:
            idlest[reach] = min(reach, key=load)
        there = idlest[reach]
        here = max(party.slots, key=lambda cpu: gain(cpu, there), default=there)
        if here != there and gain(here, there) > (0, 0, 0):
            at, taken = next(at for at in came if there in parties[at].pool), there
            while True:
                before, given = came[at]
                given = here if at == first else given
                slots = parties[at].slots
                slots[slots.index(given)] = taken
                if at == first:
                    break
                at, taken = before, given
            loads.add((here,), -1)
            loads.add((there,))
            return True
    return False


def _reached(parties: Sequence[Party], first: int) -> dict[int, tuple[int, int]]:
    """Who can get a queue of ``first``, the nearest first -> from whom, for one on which CPU."""
    slots = [CpuSet.of(party.slots) for party in parties]
    came = {first: (first, -1)}
    ahead = [first]
    for giver in ahead:
        for taker, cpus in enumerate(slots):
            if taker not in came and (common := cpus & parties[giver].pool):
                came[taker] = (giver, common.first)
                ahead.append(taker)
    return came


class _Network:
    def __init__(self, loads: Loads, parties: Sequence[Party]) -> None:
        self._loads = loads
        self._parties = parties
        self._levels = (*loads.places.levels, [0] * len(loads.places.core))
        self._load = {CPU: loads.threads, CORE: loads.cores, DOMAIN: loads.domains}
        self._counts = [Counter(self._chains(card, p)) for card, p in enumerate(parties)]
        queues = sum(loads.threads) + 1
        # each weighs more than all that the next can come to
        moved = queues
        transmit = moved * queues
        bond = transmit * (4 * len(loads.places.online) * len(parties) + 1)
        domain = bond * (queues * len(parties) + 1)
        thread = domain * (queues * queues + 1)
        core = thread * (queues * queues + 1)
        self._weights = {CPU: thread, CORE: core, DOMAIN: domain}
        self._moved, self._transmit, self._bond = moved, transmit, bond

    def _chains(self, card: int, party: Party) -> Iterator[Node]:
        """The nodes that the party's queues pass."""
        for cpu in (*party.slots, *party.own):
            yield from self._chain(card, cpu)

    def _chain(self, card: int, cpu: int) -> Iterator[Node]:
        for level, lowest in enumerate(self._levels):
            yield card, level, lowest[cpu]

    def cycle(self) -> list[tuple[Node, Node]]:
        """Arcs of a cycle that costs less than nothing; empty if there is none. (Bellman-Ford.)"""
        arcs = list(dict.fromkeys(self._arcs()))
        distance = dict.fromkeys((node for arc in arcs for node in arc[:2]), 0)
        came: dict[Node, Node] = {}
        while True:
            changed = False
            for tail, head, cost in arcs:
                if distance[tail] + cost < distance[head]:
                    distance[head] = distance[tail] + cost
                    came[head] = tail
                    changed = True
            if not changed:
                return []
            if found := _circle(came):
                return list(pairwise(found))

    def _arcs(self) -> Iterator[tuple[Node, Node, int]]:
        places = self._loads.places
        for card, party in enumerate(self._parties):
            counts = self._counts[card]
            movable = Counter(node for cpu in party.slots for node in self._chain(card, cpu))
            for cpu in party.pool:
                chain = tuple(self._chain(card, cpu))
                for head, tail in pairwise(chain):
                    size = places.size[head[1]][head[2]] * self._transmit
                    yield tail, head, 0 if counts[head] else -size
                    if movable[head]:
                        yield head, tail, size if counts[head] == 1 else 0
                leaf, here = chain[0], (HOST, CPU, cpu)
                queues = movable[leaf]
                yield leaf, here, self._keep(party, cpu, queues + 1)
                if queues:
                    yield here, leaf, -self._keep(party, cpu, queues)
                for tail, head in pairwise(self._chain(HOST, cpu)):
                    if tail[1] > DOMAIN:
                        break
                    load, weight = self._load[tail[1]][tail[2]], self._weights[tail[1]]
                    sink = head if tail[1] < DOMAIN else (HOST, WHOLE, 0)
                    yield tail, sink, weight * (2 * load + 1)
                    if load:
                        yield sink, tail, -weight * (2 * load - 1)

    def _keep(self, party: Party, cpu: int, number: int) -> int:
        """What the ``number``-th queue of a card on a CPU costs for bond, movement and CPU 0."""
        cost = (number > (party.wished or {}).get(cpu, 0)) * self._moved
        for partner in party.partners:
            cost += (number > partner.get(cpu, 0)) * self._bond
        return cost + (self._loads.places.core[cpu] == BOOT_CORE)

    def carry_out(self, cycle: Sequence[tuple[Node, Node]]) -> None:
        """Send one queue round the cycle: leaving and entering CPUs card by card."""
        for tail, head in cycle:
            if head[0] == HOST and tail[0] != HOST:
                self._move(tail[0], head[2], 1)
            elif tail[0] == HOST and head[0] != HOST:
                self._move(head[0], tail[2], -1)

    def _move(self, card: int, cpu: int, queues: int) -> None:
        slots = self._parties[card].slots
        if queues > 0:
            slots.append(cpu)
        else:
            slots.reverse()
            slots.remove(cpu)
            slots.reverse()
        for node in self._chain(card, cpu):
            self._counts[card][node] += queues
        self._loads.add((cpu,), queues)


def _circle(came: Mapping[Node, Node]) -> list[Node]:
    """A circle in the parent pointers, in the direction of the arcs; empty if there is none."""
    clear: set[Node] = set()
    for start in came:
        path: dict[Node, None] = {}
        node: Node | None = start
        while node is not None and node not in clear and node not in path:
            path[node] = None
            node = came.get(node)
        if node in path:
            walk = list(path)
            circle = walk[walk.index(node) :]
            return [*reversed(circle), circle[-1]]
        clear.update(path)
    return []
