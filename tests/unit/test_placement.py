"""Placement: the modes, the cards' order, who moves; the optimum is in test_placement_optimum."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.hardware.topology import Topology
from netuned.placement import place as module
from netuned.placement.objective import Layout, Places
from netuned.placement.place import ALL, DEDICATED, ONE_PER_QUEUE, PACK, Request, place
from netuned.placement.pools import dedicated
from netuned.placement.seats import NOBODY, Seats
from netuned.tunables.xps import nearest_queues
from tests.unit.machines import topology


def request(
    machine: Topology, ifindex: int, queues: int, node: int = 0, pool: CpuSet | None = None,
    spread: str = ONE_PER_QUEUE,
) -> Request:  # fmt: skip
    place_of = (f"/sys/devices/{ifindex}", f"en{ifindex}")
    return Request(place_of, ifindex, queues, pool or machine.online, node, spread)


def lay(machine: Topology, *requests: Request, seats: Seats = NOBODY) -> dict[int, Layout]:
    return place(machine, requests, seats).layouts


def cpus(layout: Layout) -> list[str]:
    return [str(mask) for mask in layout]


def test_one_queue_per_core_before_siblings() -> None:
    machine = topology(nodes=2, cores=4, threads=2)
    layout = lay(machine, request(machine, 2, 6, node=1))[2]
    assert cpus(layout) == ["4", "5", "6", "7", "12", "13"]


def test_local_before_remote_where_the_pool_has_both() -> None:
    machine = topology(nodes=2, cores=2, threads=1)
    layout = lay(machine, request(machine, 2, 4, node=1))[2]
    assert set(cpus(layout)) == {"2", "3"}


def test_the_nearest_node_where_the_own_one_has_no_cpu_for_it() -> None:
    near = topology(nodes=3, cores=2, threads=1)
    distances = {(1, 0): 31, (1, 2): 16, (1, 1): 10}
    machine = replace(near, distances=distances)
    layout = lay(machine, request(machine, 2, 2, node=1, pool=CpuSet.parse_list("0-1,4-5")))[2]
    assert cpus(layout) == ["4", "5"]


def test_the_core_of_cpu_0_comes_last() -> None:
    """Timers, interrupts and work that nobody places run on it; siblings of others come later."""
    machine = topology(cores=4, threads=2)
    assert cpus(lay(machine, request(machine, 2, 3))[2]) == ["1", "2", "3"]
    assert cpus(lay(machine, request(machine, 2, 6))[2]) == ["0", "1", "2", "3", "5", "6"]
    kept = replace(request(machine, 2, 1), kept=frozenset([0]))
    assert cpus(lay(machine, kept)[2]) == ["7"]
    pool = CpuSet.parse_list("0,4")
    assert cpus(lay(machine, request(machine, 2, 2, pool=pool))[2]) == ["0", "4"]


def test_packed_queues_leave_the_quiet_cores_to_the_application() -> None:
    machine = topology(cores=4, threads=2)
    assert cpus(lay(machine, request(machine, 2, 2, spread=PACK))[2]) == ["0", "4"]
    assert str(dedicated(machine, machine.online, (1, 4))) == "0,4"


def test_two_cards_on_one_node_share_its_cores() -> None:
    machine = topology(cores=8, threads=2)
    layouts = lay(machine, request(machine, 2, 4), request(machine, 3, 4))
    assert cpus(layouts[2]) + cpus(layouts[3]) == ["1", "2", "3", "4", "0", "5", "6", "7"]


def test_l3_domains_are_filled_evenly() -> None:
    machine = topology(l3_per_node=2, cores=4, threads=1)
    layout = lay(machine, request(machine, 2, 4))[2]
    per_domain = Counter(machine.l3_of(mask.first) for mask in layout)
    assert sorted(per_domain.values()) == [2, 2]


def test_a_card_with_less_choice_goes_first() -> None:
    machine = topology(cores=2, threads=1)
    anywhere = request(machine, 2, 1)
    only_here = request(machine, 3, 1, pool=CpuSet.parse_list("0"))
    layouts = lay(machine, anywhere, only_here)
    assert (cpus(layouts[2]), cpus(layouts[3])) == (["1"], ["0"])


def test_a_bond_has_each_queue_number_on_one_cpu_where_that_costs_nothing() -> None:
    machine = topology(cores=4, threads=1)
    first, second = (replace(request(machine, n, 4), group="bond0") for n in (2, 3))
    layouts = lay(machine, first, second)
    assert layouts[2] == layouts[3]
    assert set(cpus(layouts[2])) == {"0", "1", "2", "3"}


@pytest.mark.parametrize("cores", [3, 5])
def test_a_bond_alone_is_aligned_whatever_its_queues(cores: int) -> None:
    """A CPU of *n* queues, evenly shared out, serves both cards' queue for half of them at most."""
    machine = topology(cores=cores, threads=1)
    for one, other in product((1, 4, 7, 10, 16), (2, 5, 16, 19, 26)):
        cards = [(2, one), (3, other)]
        wanted = [replace(request(machine, *card), group="bond0") for card in cards]
        layouts = lay(machine, *wanted)
        load = Counter(mask.first for layout in layouts.values() for mask in layout)
        aligned = sum(a == b for a, b in zip(layouts[2], layouts[3], strict=False))
        assert max(load.values()) - min(load[cpu] for cpu in machine.online) <= 1
        assert aligned == min(one, other, sum(queues // 2 for queues in load.values()))


def test_who_comes_after_a_bond_sits_where_its_queues_are_not() -> None:
    """And not where they were before the cards of the bond agreed."""
    machine = topology(cores=3, threads=2)
    first, last = (replace(request(machine, n, q), group="b0") for n, q in ((2, 1), (4, 3)))
    packed = replace(request(machine, 3, 3), spread=PACK, counts=False)
    narrow = replace(request(machine, 6, 2), pool=CpuSet.parse_list("2-4"))
    last = replace(last, spread=DEDICATED)
    everyone = (first, packed, last, request(machine, 5, 3), narrow)
    placed = place(machine, everyone)
    served = Counter(mask.first for layout in placed.layouts.values() for mask in layout)
    assert sorted(served.values()) == [2] * 6
    assert place(machine, everyone, placed.seats).layouts == placed.layouts


def test_a_bond_of_three_agrees_where_all_cannot() -> None:
    machine = topology(nodes=2, l3_per_node=2, cores=3, threads=2)
    wanted = [request(machine, n, queues, -1) for n, queues in ((2, 8), (3, 16), (4, 16))]
    layouts = lay(machine, *(replace(one, group="bond0") for one in wanted))
    served = [
        {layout[queue] for layout in layouts.values() if queue < len(layout)} for queue in range(16)
    ]
    assert sum(map(len, served)) == 24


def test_queues_stay_beside_those_of_the_bond_that_are_fixed() -> None:
    machine = topology(cores=4, threads=1)
    first = replace(request(machine, 2, 4), fixed={q: CpuSet(1 << 3 - q) for q in range(4)})
    second = request(machine, 3, 4)
    layouts = lay(machine, *(replace(one, group="bond0") for one in (first, second)))
    assert cpus(layouts[3]) == cpus(layouts[2]) == ["3", "2", "1", "0"]


def test_cards_that_share_some_cpus_only_are_even_on_a_large_machine() -> None:
    machine = topology(l3_per_node=3, cores=90, threads=1)
    one = request(machine, 2, 90, pool=CpuSet.parse_list("0-149"))
    other = request(machine, 3, 160, pool=CpuSet.parse_list("0-39,150-269"))
    first = place(machine, [one, other])
    load = Counter(mask.first for layout in first.layouts.values() for mask in layout)
    assert set(load.values()) == {1}
    assert not any(mask - one.pool for mask in first.layouts[2])
    assert not any(mask - other.pool for mask in first.layouts[3])
    assert place(machine, [one, other], first.seats).layouts == first.layouts


def test_a_bond_uses_idle_cores_first() -> None:
    machine = topology(cores=8, threads=1)
    first, second = (replace(request(machine, n, 4), group="bond0") for n in (2, 3))
    layouts = lay(machine, first, second)
    assert len({*cpus(layouts[2]), *cpus(layouts[3])}) == 8


def test_pack_uses_the_fewest_cores_siblings_together() -> None:
    machine = topology(cores=4, threads=2)
    packed = lay(machine, request(machine, 2, 4, spread=PACK))[2]
    assert cpus(packed) == ["0", "4", "1", "5"]


def test_packed_cards_share_cores_only_when_there_is_no_other_thread() -> None:
    machine = topology(cores=4, threads=2)
    two = [request(machine, 2, 3, spread=PACK), request(machine, 3, 3, spread=PACK)]
    layouts = lay(machine, *two)
    assert cpus(layouts[2]) == ["0", "4", "1"]
    assert cpus(layouts[3]) == ["5", "2", "6"]


def test_pack_begins_with_cores_that_have_most_threads_to_give() -> None:
    machine = topology(cores=3, threads=2)
    packed = lay(machine, request(machine, 2, 2, pool=CpuSet.parse_list("0-2,4"), spread=PACK))[2]
    assert cpus(packed) == ["1", "4"]


def test_all_leaves_the_choice() -> None:
    machine = topology(cores=4, threads=2)
    assert set(cpus(lay(machine, request(machine, 2, 2, spread=ALL))[2])) == {"0-7"}


def test_dedicated_takes_a_share_of_every_node_from_its_l3_domains_in_turn() -> None:
    machine = topology(nodes=2, l3_per_node=2, cores=8, threads=2)  # 32 cores
    assert str(dedicated(machine, machine.online, (1, 16))) == "0,16,32,48"
    assert str(dedicated(machine, machine.online, (2, 16))) == "0,8,16,24,32,40,48,56"
    assert str(dedicated(machine, machine.first_threads, (1, 1024))) == "0,16"
    assert dedicated(machine, machine.online, (1, 1)) == machine.online


def test_dedicated_loses_only_the_core_that_goes_offline() -> None:
    whole = topology(nodes=1, l3_per_node=2, cores=8, threads=1)
    less = topology(nodes=1, l3_per_node=2, cores=8, threads=1, offline="8")
    assert str(dedicated(whole, whole.online, (1, 4))) == "0-1,8-9"
    assert str(dedicated(less, less.online, (1, 4))) == "0-1,9-10"


def test_a_queue_kept_out_of_the_table_has_a_core_of_its_own() -> None:
    machine = topology(cores=4, threads=2)
    layout = lay(machine, replace(request(machine, 2, 8), kept=frozenset([7])))[2]
    own = machine.core_of(layout[7].first)
    assert not any(mask & own for mask in layout[:7])
    spread = Counter(machine.core_of(mask.first) for mask in layout[:7])
    assert sorted(spread.values()) == [2, 2, 3]


def test_kept_queues_leave_a_core_to_the_others() -> None:
    machine = topology(cores=4, threads=1)
    layout = lay(machine, replace(request(machine, 2, 8), kept=frozenset(range(4, 8))))[2]
    assert not {*cpus(layout[:4])} & {*cpus(layout[4:])}


def test_a_kept_queue_keeps_off_cpus_that_others_cannot_do_without() -> None:
    machine = topology(cores=8, threads=1)
    kept = replace(request(machine, 2, 4), kept=frozenset([3]))
    layouts = lay(machine, kept, request(machine, 3, 1, pool=CpuSet.parse_list("7")))
    assert cpus(layouts[3]) == ["7"]
    assert cpus(layouts[2])[3] == "6"


def test_a_kept_queue_shares_where_there_is_one_core() -> None:
    machine = topology(cores=1, threads=1)
    layout = lay(machine, replace(request(machine, 2, 2), kept=frozenset([1])))[2]
    assert cpus(layout) == ["0", "0"]


def test_queues_that_stay_are_counted() -> None:
    machine = topology(cores=2, threads=1)
    stays = replace(request(machine, 2, 2), fixed={0: CpuSet.parse_list("0")})
    assert cpus(lay(machine, stays)[2]) == ["0", "1"]


def test_a_queue_that_stays_on_an_offline_cpu_is_laid_out() -> None:
    machine = topology(cores=4, threads=1, offline="2-3")
    stays = {0: CpuSet.parse_list("3"), 1: CpuSet.parse_list("0,2"), 7: CpuSet.parse_list("0")}
    assert cpus(lay(machine, replace(request(machine, 2, 2), fixed=stays))[2]) == ["1", "0"]


def test_a_cpu_that_goes_offline_moves_its_queue_and_gets_it_back() -> None:
    whole, less = (topology(l3_per_node=2, cores=4, threads=2, offline=off) for off in ("", "2,10"))
    wanted = [request(whole, 2, 6), request(whole, 3, 6)]
    first = place(whole, wanted)
    second = place(less, [replace(one, pool=less.online) for one in wanted], first.seats)
    for ifindex, layout in first.layouts.items():
        for before, after in zip(layout, second.layouts[ifindex], strict=True):
            assert before == after or before.first in (2, 10)
    assert place(whole, wanted, second.seats).layouts == first.layouts


@pytest.mark.parametrize(
    ("nodes", "l3s", "cores", "cards", "lost"),
    [
        (2, 12, 8, ((8, 0), (8, 0)), (1, 9, 17, 25, 32, 40, 48, 56)),
        (1, 12, 4, ((8, 0), (5, 0), (34, -1)), (5, 9, 17, 31)),
        (1, 12, 4, ((16, 0), (16, -1), (63, 0), (16, 0)), (0, 2, 16, 44, 63, 95)),
    ],
)
def test_only_queues_of_a_lost_cpu_move_on_large_machines(
    nodes: int, l3s: int, cores: int, cards: Sequence[tuple[int, int]], lost: Sequence[int]
) -> None:
    """Each card for itself would exchange L3 domains with others that are as good."""
    whole = topology(nodes, l3s, cores, 2)
    wanted = [request(whole, ifindex, *card) for ifindex, card in enumerate(cards, 2)]
    first = place(whole, wanted)
    for cpu in lost:
        less = topology(nodes, l3s, cores, 2, offline=str(cpu))
        second = place(less, [replace(one, pool=less.online) for one in wanted], first.seats)
        for ifindex, layout in first.layouts.items():
            for before, after in zip(layout, second.layouts[ifindex], strict=True):
                assert before == after or before.first == cpu
        assert place(whole, wanted, second.seats).layouts == first.layouts


def test_a_card_that_appears_moves_nobody_and_none_that_it_leaves() -> None:
    machine = topology(l3_per_node=2, cores=8, threads=2)
    settled = place(machine, [request(machine, 3, 8), request(machine, 4, 4)])
    more = [request(machine, n, q) for n, q in ((2, 6), (3, 8), (4, 4))]
    joined = place(machine, more, settled.seats)
    assert {n: joined.layouts[n] for n in (3, 4)} == settled.layouts
    left = place(machine, more[1:], joined.seats)
    assert left.layouts == settled.layouts
    assert place(machine, more, left.seats).layouts == joined.layouts


def test_a_pool_that_grows_moves_only_what_makes_it_even() -> None:
    machine = topology(cores=8, threads=1)
    narrow = place(machine, [request(machine, 2, 8, pool=CpuSet.parse_list("0-3"))])
    wide = place(machine, [request(machine, 2, 8)], narrow.seats)
    pairs = zip(narrow.layouts[2], wide.layouts[2], strict=True)
    assert sum(before != after for before, after in pairs) == 4
    assert sorted(cpus(wide.layouts[2])) == [str(cpu) for cpu in range(8)]


def test_virtual_cards_that_are_gone_are_forgotten() -> None:
    machine = topology(cores=2, threads=1)
    veth = replace(request(machine, 2, 2), place=("", "veth7"), counts=False)
    seats = place(machine, [veth, request(machine, 3, 2)]).seats
    assert ("", "veth7") in seats.cards
    after = place(machine, [], seats).seats
    assert list(after.cards) == [("/sys/devices/3", "en3")]


def test_one_cpu_serves_everything() -> None:
    machine = topology(cores=1, threads=1)
    layouts = lay(machine, request(machine, 2, 3), request(machine, 3, 1, spread=PACK))
    assert {*cpus(layouts[2]), *cpus(layouts[3])} == {"0"}


def test_a_thousand_cpus_and_eight_thousand_queues() -> None:
    """1,024 CPUs, 64 cards of 128 queues: every CPU of every node serves as many."""
    machine = topology(nodes=8, l3_per_node=8, cores=8, threads=2)
    wanted = [request(machine, 2 + n, 128, n % 8) for n in range(64)]
    layouts = lay(machine, *wanted)
    for one in wanted:
        assert not any(mask - machine.nodes[one.node] for mask in layouts[one.ifindex])
    load = Counter(mask.first for layout in layouts.values() for mask in layout)
    assert len(load) == 1024
    assert set(load.values()) == {8}


@given(
    st.integers(1, 2), st.integers(1, 2), st.integers(1, 4), st.integers(1, 2),
    st.lists(st.integers(1, 12), min_size=1, max_size=4), st.randoms(use_true_random=False),
)  # fmt: skip
def test_balanced_inside_the_pool_and_independent_of_order(
    nodes: int, l3: int, cores: int, threads: int, counts: list[int], order: random.Random
) -> None:
    machine = topology(nodes, l3, cores, threads)
    wanted = [request(machine, 2 + i, n, i % nodes) for i, n in enumerate(counts)]
    layouts = lay(machine, *wanted)
    for asked in wanted:
        assert len(layouts[asked.ifindex]) == asked.queues
        local = machine.nodes[asked.node]
        assert all(len(mask) == 1 and not mask - local for mask in layouts[asked.ifindex])
    for node in machine.nodes.values():
        load = Counter(
            machine.core_of(mask.first)
            for layout in layouts.values()
            for mask in layout
            if mask & node
        )
        loads = [load[core] for core in machine.cores if core & node]
        assert max(loads) - min(loads) <= 1
    shuffled = list(wanted)
    order.shuffle(shuffled)
    assert lay(machine, *shuffled) == layouts


def test_xps_gives_every_cpu_the_nearest_queue() -> None:
    machine = topology(nodes=2, cores=2, threads=2)  # node 0: 0,1,4,5; node 1: 2,3,6,7
    served = [CpuSet.parse_list(text) for text in ("0", "1", "2")]
    masks = nearest_queues(Places(machine), machine.online, served)
    assert [str(mask) for mask in masks] == ["0,4", "1,5", "2-3,6-7"]


@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 2), st.integers(1, 9))
def test_xps_is_a_partition(nodes: int, cores: int, threads: int, queues: int) -> None:
    machine = topology(nodes, 1, cores, threads)
    served = lay(machine, request(machine, 2, queues))[2]
    masks = nearest_queues(Places(machine), machine.online, served)
    assert sum(len(mask) for mask in masks) == len(machine.online)
    assert CpuSet.of(cpu for mask in masks for cpu in mask) == machine.online


def test_layouts_that_are_made_of_each_other_end_in_the_same_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """23 cards on 256 CPUs were planned for ever; what turns here is one queue on two CPUs."""
    machine = topology(nodes=1, cores=2, threads=1)
    asked = request(machine, 2, 1)
    real, homes = module._place, []

    def turned(
        host: Topology, requests: Sequence[Request], seats: Seats
    ) -> tuple[module.Placement, bool]:
        (home,) = real(host, [asked], seats)[0].layouts[2]
        homes.append(home)
        return real(host, [replace(asked, pool=host.online - home)], seats)[0], True

    monkeypatch.setattr(module, "_place", turned)
    first = place(machine, [asked])
    assert homes[0] != homes[1]
    assert place(machine, [asked], first.seats).layouts == first.layouts
    assert len(homes) < 10
