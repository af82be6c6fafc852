"""``bench.steering``: a table that follows the load, by simulations whose truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.steered import equal, optimum, simulate, static, steered
from bench.steering import RETURNING, STEERING, Bounds, Memory, Move, after, decide
from bench.traces import TRAFFIC, Traffic, trace

KINDS = {traffic.name: traffic for traffic in TRAFFIC}
FIXED = Traffic("fixed", flows=200, jitter=0.0, queues=4, entries=16)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["Zipf 1.0", "an elephant"])
def test_flows_that_last_are_evened_out(name: str, seed: int) -> None:
    one = trace(KINDS[name], 120, seed)
    equals, following = (simulate(one, maker(), 20) for maker in (static, steered))
    assert following.imbalance - 1 < 0.7 * (equals.imbalance - 1)
    assert following.p95_us * 1.3 < equals.p95_us
    assert following.dropped < equals.dropped


def test_nothing_moves_where_load_is_even() -> None:
    assert simulate(trace(KINDS["20,000 equal flows"], 120, 0), steered()).moves == 0


def test_what_is_gone_in_a_second_is_not_run_after() -> None:
    assert simulate(trace(KINDS["Zipf 1.0, flows of 1 s"], 120, 0), steered()).moves <= 5


@pytest.mark.parametrize("seed", range(4))
def test_moves_end_near_the_optimum(seed: int) -> None:
    """Of loads that stay: no entry comes back, and later nothing moves any more."""
    one = trace(FIXED, 120, seed)
    outcome = simulate(one, steered())
    assert outcome.returns == 0
    assert outcome.table == simulate(trace(FIXED, 240, seed), steered()).table
    ours, equals = (
        max(_by_queue(table, one.loads[0], FIXED.queues))
        for table in (outcome.table, equal(FIXED.entries, FIXED.queues))
    )
    least = optimum(one.loads[0], FIXED.queues)
    assert least * 0.99 <= ours <= min(equals, max(1.25 * least, Bounds().busy))


def test_without_load_shares_go_back_to_equal() -> None:
    memory = Memory((0.01, 0.01), (0.0, 0.0), phase=STEERING)
    table: tuple[int, ...] = (0,) * 10 + (1,) * 6
    for step in range(200):
        memory, moves = decide(memory, step / 2, table, (0.01, 0.01), Bounds())
        table = after(table, moves)
        assert not moves or step / 2 >= Bounds().quiet_s
    assert Counter(table) == {0: 8, 1: 8}


def test_what_has_not_helped_is_undone_and_left_alone() -> None:
    """The excess is the same whatever moves."""
    memory, table, at = Memory(), equal(32, 4), []
    for step in range(1000):
        memory, moves = decide(memory, step / 2, table, (0.9, 0.5, 0.5, 0.5), Bounds())
        table = after(table, moves)
        at += [step / 2 for _ in moves]
    assert memory.off_until_s > 500
    assert max(at) < 100
    assert set(Counter(table).values()) == {8}


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_moves_are_few_and_each_is_to_lower_the_busiest(data: st.DataObject) -> None:
    bounds = replace(Bounds(), quiet_s=2.0, rest_s=1.0)
    count = data.draw(st.integers(2, 6))
    rows = st.lists(st.floats(0, 1), min_size=count, max_size=count)
    few = data.draw(st.lists(rows, min_size=1, max_size=6))
    memory, table = Memory(), equal(count * 4, count)
    times: list[float] = []
    for step in range(200):
        now = step / 2
        memory, moves = decide(memory, now, table, few[step // 20 % len(few)], bounds)
        assert len(moves) <= bounds.at_once
        assert len({move.entry for move in moves}) == len(moves)
        for move in moves:
            assert table[move.entry] == move.source != move.target
            assert move.back or move.after <= move.before - bounds.least_gain + 1e-9
        times += [now for _ in moves]
        assert sum(now - at < 60 for at in times) <= bounds.a_minute
        assert all(move.back == (memory.phase == RETURNING) for move in moves)
        table = after(table, moves)


def test_an_entry_is_learnt_by_what_its_new_queue_rises_by() -> None:
    memory = replace(Memory((0.9, 0.3), (0.0, 0.0)), pending=(Move(0, 0, 1, load=0.1),))
    memory, _ = decide(memory, 1.0, (1, 0, 0, 1), (0.5, 0.7), Bounds())
    assert memory.known[0].load == pytest.approx(0.4)


def _by_queue(table: Sequence[int], loads: Sequence[float], queues: int) -> list[float]:
    whole = [0.0] * queues
    for entry, queue in enumerate(table):
        whole[queue] += loads[entry]
    return whole
