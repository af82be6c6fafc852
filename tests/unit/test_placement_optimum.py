"""The engine against the whole truth: every layout of machines small enough to try them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations_with_replacement, permutations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.hardware.topology import Topology
from netuned.placement.objective import Card, Layout, Places, Score, score
from netuned.placement.place import ONE_PER_QUEUE, PACK, Request, place
from netuned.placement.seats import Seat, Seats

MAX_CPUS = 8
MAX_QUEUES = 6
MAX_CARDS = 3


@dataclass(frozen=True)
class Problem:
    machine: Topology
    requests: tuple[Request, ...]
    seats: Seats

    def cards(self) -> list[Card]:
        cards = []
        for request in self.requests:
            near = self.machine.nearest(request.pool, request.node)
            wished = self.seats.wishes(request.place, near)
            homes = tuple(wished.get(queue, -1) for queue in range(request.queues))
            cards.append(Card(request.pool, near, request.group, homes))
        return cards

    def solved(self) -> Score:
        layouts = place(self.machine, self.requests, self.seats).layouts
        placed = [
            (card, layouts[request.ifindex])
            for card, request in zip(self.cards(), self.requests, strict=True)
        ]
        return score(Places(self.machine), placed)

    def optimum(self) -> Score:
        places, cards = Places(self.machine), self.cards()
        return min(
            score(places, list(zip(cards, layouts, strict=True)))
            for layouts in _every_layout(cards, [request.queues for request in self.requests])
        )


def _every_layout(cards: Sequence[Card], queues: Sequence[int]) -> Iterator[tuple[Layout, ...]]:
    choices = [
        list(combinations_with_replacement(card.near, count))
        for card, count in zip(cards, queues, strict=True)
    ]
    for chosen in product(*choices):
        if any(card.group for card in cards):  # which queue is where matters to a bond
            numbered = list(product(*(set(permutations(cpus)) for cpus in chosen)))
        else:
            numbered = [tuple(_at_home(c, cpus) for c, cpus in zip(cards, chosen, strict=True))]
        for rows in numbered:
            yield tuple(tuple(CpuSet(1 << cpu) for cpu in row) for row in rows)


def _at_home(card: Card, cpus: Sequence[int]) -> tuple[int, ...]:
    """The CPUs by queue, as many queues at home as can be."""
    left = Counter(cpus)
    row: list[int | None] = [None] * len(cpus)
    for queue, home in enumerate(card.homes):
        if left[home] > 0:
            left[home] -= 1
            row[queue] = home
    rest = left.elements()
    return tuple(next(rest) if cpu is None else cpu for cpu in row)


# Machines of all sorts: uneven cores, L3 domains and nodes, some CPUs offline


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    count = draw(st.integers(1, MAX_CPUS))
    online = CpuSet.of(draw(st.sets(st.integers(0, count - 1), min_size=1)))
    cores = _grouped(draw, [CpuSet(1 << cpu) for cpu in range(count)], 2)
    domains = _grouped(draw, cores, 3)
    nodes = _grouped(draw, domains, 2)

    def shown(groups: Iterable[CpuSet]) -> tuple[CpuSet, ...]:
        return tuple(group & online for group in groups if group & online)

    return Topology(
        possible=CpuSet((1 << count) - 1),
        present=CpuSet((1 << count) - 1),
        online=online,
        cores=shown(cores),
        packages=(online,),
        l3_domains=shown(domains),
        nodes={node: cpus & online for node, cpus in enumerate(nodes)},
    )


def _grouped(draw: st.DrawFn, parts: list[CpuSet], most: int) -> list[CpuSet]:
    groups = []
    left = list(parts)
    while left:
        size = draw(st.integers(1, most))
        groups.append(reduce(CpuSet.__or__, left[:size]))
        left = left[size:]
    return groups


@st.composite
def problems(draw: st.DrawFn, *, bond: bool = False) -> Problem:
    machine = draw(machines())
    cards = 2 if bond else draw(st.integers(1, MAX_CARDS))
    queues = [1] * cards
    for _ in range(draw(st.integers(0, (5 if bond else MAX_QUEUES) - cards))):
        queues[draw(st.integers(0, cards - 1))] += 1
    pools = st.sets(st.sampled_from(list(machine.online)), min_size=1).map(CpuSet.of)
    nodes = st.sampled_from([-1, *machine.nodes])
    common = (draw(pools), draw(nodes)) if draw(st.booleans()) else None
    requests = []
    seats = {}
    for ifindex, count in enumerate(queues):
        pool, node = common or (draw(pools), draw(nodes))
        name = (f"/sys/devices/{ifindex}", f"en{ifindex}")
        group = "bond0" if bond else ""
        requests.append(Request(name, ifindex, count, pool, node, group=group))
        if not bond and draw(st.booleans()):
            homes = draw(st.lists(st.integers(0, MAX_CPUS - 1), min_size=count, max_size=count))
            seats[name] = tuple(Seat(home, home) for home in homes)
    return Problem(machine, tuple(requests), Seats(seats, machine.online))


@given(problems())
@settings(max_examples=300, deadline=None)
def test_no_layout_is_better(problem: Problem) -> None:
    assert problem.solved() == problem.optimum()


@given(problems(bond=True))
@settings(max_examples=40, deadline=None)
def test_no_layout_of_a_bond_is_better(problem: Problem) -> None:
    assert problem.solved() == problem.optimum()


@given(problems(), st.data())
@settings(max_examples=150, deadline=None)
def test_what_a_cpu_takes_along_comes_back(problem: Problem, data: st.DataObject) -> None:
    """One CPU goes offline and returns: the layout is what it was."""
    machine = problem.machine
    whole = place(machine, problem.requests)
    lost = CpuSet(1 << data.draw(st.sampled_from(list(machine.online))))
    if machine.online == lost:
        return
    rest = [
        replace(request, pool=request.pool - lost)
        for request in problem.requests
        if request.pool - lost
    ]
    less = replace(
        machine,
        online=machine.online - lost,
        cores=_without(machine.cores, lost),
        l3_domains=_without(machine.l3_domains, lost),
        nodes={node: cpus - lost for node, cpus in machine.nodes.items()},
    )
    meanwhile = place(less, rest, whole.seats)
    assert place(machine, problem.requests, meanwhile.seats).layouts == whole.layouts


def _without(groups: Iterable[CpuSet], lost: CpuSet) -> tuple[CpuSet, ...]:
    return tuple(group - lost for group in groups if group - lost)


@given(problems(), st.booleans(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_second_pass_moves_nothing(problem: Problem, bond: bool, data: st.DataObject) -> None:
    """Whatever the modes: a layout that moved for ever would be written for ever."""
    requests = [
        replace(
            request,
            spread=data.draw(st.sampled_from([ONE_PER_QUEUE, ONE_PER_QUEUE, PACK])),
            kept=data.draw(st.sets(st.integers(0, request.queues - 1)).map(frozenset)),
            group="bond0" if bond and request.ifindex < 2 else "",
        )
        for request in problem.requests
    ]
    first = place(problem.machine, requests)
    again = place(problem.machine, reversed(requests), first.seats)
    assert again.layouts == first.layouts
    assert again.seats == first.seats
