"""The layouts netuned is measured against: each by its documented rule, and the claim itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.machines import MACHINES
from bench.placement import compare
from bench.rivals import (
    RIVALS,
    distrib,
    distributed,
    everywhere,
    in_turn,
    local_list,
    perftune_auto,
    perftune_mq,
    perftune_sq_split,
    permitted,
    spread,
)
from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.topology import Topology
from netuned.placement.place import Request
from tests.unit.machines import topology

# What hwloc-distrib prints for its own tests (utils/hwloc/test-hwloc-distrib.output), by logical
# number: those of a core's threads follow each other, as Linux' do not.


def _synthetic(outer: int, middle: int, inner: int) -> tuple[Topology, list[int]]:
    """``hwloc --if synthetic`` with three levels, and its CPUs by logical number."""
    machine = topology(nodes=outer, cores=middle, threads=inner)
    return machine, [cpu for core in machine.cores for cpu in core]


@pytest.mark.parametrize(
    ("levels", "number", "printed"),
    [
        ((2, 2, 2), 2, "0-3 4-7"),
        ((2, 2, 2), 4, "0-1 2-3 4-5 6-7"),
        ((2, 2, 2), 8, "0 1 2 3 4 5 6 7"),
        ((2, 2, 2), 13, "0 0 1 1 2 2 3 4 4 5 6 6 7"),
        ((3, 3, 3), 4, "0-2 3-8 9-17 18-26"),
    ],
)
def test_hwloc_distrib_as_its_own_tests(
    levels: tuple[int, int, int], number: int, printed: str
) -> None:
    machine, logical = _synthetic(*levels)
    expected = [
        CpuSet.of(logical[index] for index in CpuSet.parse_list(text)) for text in printed.split()
    ]
    assert distributed(machine, machine.online, number) == expected


def test_hwloc_distrib_single_takes_the_first_of_each() -> None:
    machine, logical = _synthetic(3, 3, 3)
    expected = [logical[index] for index in (0, 3, 9, 18)]
    assert distrib(machine, machine.online, 4) == expected


def test_hwloc_distrib_is_restricted_to_the_mask() -> None:
    machine = topology(nodes=2, cores=4, threads=1)
    assert distrib(machine, CpuSet.parse_list("2-4"), 3) == [2, 3, 4]


def test_systemd_spreads_far_ones_after_each_other() -> None:
    one = topology(cores=8, threads=2)
    assert list(spread(one, one.online, 8)) == [0, 4, 2, 6, 1, 5, 3, 7]


def test_systemd_takes_domains_in_turn_and_never_a_second_thread() -> None:
    two = topology(l3_per_node=2, cores=3, threads=2)
    assert list(spread(two, two.online, 8)) == [0, 3, 2, 5, 1, 4, 0, 3]
    with pytest.raises(UnsupportedError):
        spread(two, CpuSet.parse_list("6-11"), 2)


def test_set_irq_affinity_goes_round_the_list() -> None:
    machine = topology(nodes=2, cores=2, threads=1)
    assert list(in_turn(machine, CpuSet.parse_list("2-3"), 5)) == [2, 3, 2, 3, 2]


# Which CPUs they take


def _request(ifindex: int = 2, pool: str = "0-31", node: int = 0) -> Request:
    return Request(("dev", f"eth{ifindex}"), ifindex, 8, CpuSet.parse_list(pool), node)


def _pools(requests: list[Request]) -> list[str]:
    return [str(request.pool) for request in requests]


def test_local_list_knows_no_isolation_and_halves_for_two() -> None:
    machine = topology(nodes=2, cores=4, threads=1, isolated="0-1")
    one, other = _request(2, "2-7"), _request(3, "2-7", node=1)
    assert _pools(local_list(machine, [one, other])) == ["0-3", "4-7"]
    assert _pools(local_list(machine, [one, replace(one, ifindex=3)])) == ["0-1", "2-3"]
    assert _pools(local_list(machine, [replace(one, node=-1)])) == ["0-7"]


def test_systemd_knows_no_node_unless_filtered() -> None:
    machine = topology(nodes=2, cores=4, threads=1, isolated="0-1")
    request = _request(pool="2-7")
    (anywhere,) = everywhere(machine, [request])
    assert (str(anywhere.pool), anywhere.node) == ("0-7", -1)
    assert permitted(machine, [request]) == [request]


@pytest.mark.parametrize(
    ("nodes", "cores", "threads", "mask"),
    [
        (1, 2, 2, "0-3"),  # up to 4 CPUs: all
        (1, 4, 2, "0"),  # up to 4 cores: one CPU
        (1, 16, 2, "0,16"),  # up to 16 cores: one core
        (2, 8, 2, "0,16"),
        (2, 16, 2, "0,16,32,48"),  # more: one core of each 16 on each node
        (2, 17, 1, "0-1,17-18"),
    ],
)
def test_perftune_detects_its_mask(nodes: int, cores: int, threads: int, mask: str) -> None:
    machine = topology(nodes=nodes, cores=cores, threads=threads)
    request = _request(pool=str(machine.online))
    assert _pools(perftune_auto(machine, [request])) == [mask]
    assert _pools(perftune_mq(machine, [request])) == [str(machine.online)]


def test_perftune_refuses() -> None:
    machine = topology(nodes=2, cores=4, threads=2)
    with pytest.raises(UnsupportedError, match="nodes differ"):
        perftune_auto(machine, [_request(pool="0-5")])
    with pytest.raises(UnsupportedError, match="zero mask"):
        perftune_sq_split(machine, [_request(pool="0,8")])
    assert _pools(perftune_sq_split(machine, [_request(pool="0-15")])) == ["0,8"]


# The claim


def test_netuned_is_never_worse() -> None:
    pairs = compare(tuple(MACHINES))
    assert len(pairs) == len(MACHINES) * len(RIVALS)
    for pair in pairs:
        if pair.theirs and pair.ours_there and pair.theirs_there:
            assert pair.ours.score <= pair.theirs.score, pair
            assert pair.ours_there.score <= pair.theirs_there.score, pair


def test_each_rival_is_beaten_somewhere() -> None:
    lost = {pair.rival: pair.lost() for pair in compare(tuple(MACHINES)) if pair.lost()}
    assert lost.keys() == {rival.name for rival in RIVALS}
