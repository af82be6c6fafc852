"""Placement: one queue per core before siblings, local first, evenly shared, order-independent."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.placement import ALL, PACK, Layout, Request, place
from netuned.topology import Topology
from netuned.tunables.xps import nearest_queues
from tests.unit.machines import topology


def request(
    machine: Topology, ifindex: int, queues: int, node: int = 0, pool: CpuSet | None = None,
    spread: str = "one-per-queue",
) -> Request:  # fmt: skip
    local = machine.nodes[node]
    return Request(("", f"en{ifindex}"), ifindex, queues, pool or local, local, spread)


def cpus(layout: Layout) -> list[str]:
    return [str(mask) for mask in layout]


def test_one_queue_per_core_before_siblings() -> None:
    machine = topology(nodes=2, cores=4, threads=2)
    layout = place(machine, [request(machine, 2, 6, node=1)])[2]
    assert cpus(layout) == ["4", "5", "6", "7", "12", "13"]


def test_local_before_remote_where_the_pool_has_both() -> None:
    machine = topology(nodes=2, cores=2, threads=1)
    layout = place(machine, [request(machine, 2, 4, node=1, pool=machine.online)])[2]
    assert set(cpus(layout)) == {"2", "3"}


def test_two_cards_on_one_node_share_its_cores() -> None:
    machine = topology(cores=8, threads=2)
    layouts = place(machine, [request(machine, 2, 4), request(machine, 3, 4)])
    assert cpus(layouts[2]) + cpus(layouts[3]) == [str(cpu) for cpu in range(8)]


def test_l3_domains_are_filled_evenly() -> None:
    machine = topology(l3_per_node=2, cores=4, threads=1)
    layout = place(machine, [request(machine, 2, 4)])[2]
    per_domain = Counter(machine.l3_of(mask.first) for mask in layout)
    assert sorted(per_domain.values()) == [2, 2]


def test_pack_uses_the_fewest_cores_and_all_leaves_the_choice() -> None:
    machine = topology(cores=4, threads=2)
    packed = place(machine, [request(machine, 2, 4, spread=PACK)])[2]
    assert cpus(packed) == ["0", "4", "1", "5"]
    assert set(cpus(place(machine, [request(machine, 2, 2, spread=ALL)])[2])) == {"0-7"}


@given(
    st.integers(1, 2), st.integers(1, 2), st.integers(1, 4), st.integers(1, 2),
    st.lists(st.integers(1, 12), min_size=1, max_size=4), st.randoms(use_true_random=False),
)  # fmt: skip
def test_balanced_inside_the_pool_and_independent_of_order(
    nodes: int, l3: int, cores: int, threads: int, counts: list[int], order: random.Random
) -> None:
    machine = topology(nodes, l3, cores, threads)
    wanted = [request(machine, 2 + i, n, i % nodes) for i, n in enumerate(counts)]
    layouts = place(machine, wanted)
    for asked in wanted:
        assert len(layouts[asked.ifindex]) == asked.queues
        assert all(len(mask) == 1 and not mask - asked.pool for mask in layouts[asked.ifindex])
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
    assert place(machine, shuffled) == layouts


def test_xps_gives_every_cpu_the_nearest_queue() -> None:
    machine = topology(nodes=2, cores=2, threads=2)  # node 0: 0,1,4,5; node 1: 2,3,6,7
    served = [CpuSet.parse_list(text) for text in ("0", "1", "2")]
    masks = nearest_queues(machine, machine.online, served)
    assert [str(mask) for mask in masks] == ["0,4", "1,5", "2-3,6-7"]


@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 2), st.integers(1, 9))
def test_xps_is_a_partition(nodes: int, cores: int, threads: int, queues: int) -> None:
    machine = topology(nodes, 1, cores, threads)
    served = place(machine, [request(machine, 2, queues)])[2]
    masks = nearest_queues(machine, machine.online, served)
    assert sum(len(mask) for mask in masks) == len(machine.online)
    assert CpuSet.of(cpu for mask in masks for cpu in mask) == machine.online
