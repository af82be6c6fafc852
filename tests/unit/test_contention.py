"""The budget of repairs: bounded whatever the writer does, each setting for itself, no memory."""

from __future__ import annotations

import random
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.plan import Change
from netuned.reconcile.contention import LIMITS, REMEMBERED, Budget, Gate, Limits, by_tunable, named
from netuned.reconcile.lookout import POLL_S
from netuned.values import Qdisc

RPS = ("rps", "rx-0")
OTHER = ("rps", "rx-1")


def look(budget: Budget, now: float, *changed: tuple[str, str]) -> set[tuple[str, str]]:
    """One look of the daemon at these changed settings: what it repairs."""
    repaired = set(changed) - budget.held(changed, now)
    for setting in repaired:
        budget.repaired(setting, now)
    budget.forget_quiet(now)
    return repaired


def test_a_writer_that_never_rests_is_repaired_five_times_then_once_a_minute() -> None:
    budget = Budget()
    repairs = [now for now in (step / 10 for step in range(6000)) if look(budget, now, RPS)]
    assert repairs[:5] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [round(now) for now in repairs[5:]] == [60, 120, 180, 240, 300, 360, 420, 480, 540]
    assert budget.contended == {RPS}


@given(st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200))
def test_never_more_than_the_budget_in_any_window(waits: list[float]) -> None:
    budget, now, repairs = Budget(), 0.0, []
    for wait in waits:
        now += wait
        if look(budget, now, RPS):
            repairs.append(now)
    for at in repairs:
        assert sum(at <= other < at + LIMITS.window_s for other in repairs) <= LIMITS.repairs


@pytest.mark.parametrize("period_s", [2.5, 3, 9, 30, 61, 300, 1800])
def test_a_slow_writer_is_a_contender_too(period_s: float) -> None:
    """Whatever its period, it is repaired six times before, and less and less often after."""
    budget = Budget()
    repairs = [step for step in range(200) if look(budget, period_s * step, RPS)]
    assert repairs[:6] == [0, 1, 2, 3, 4, 5]
    assert budget.contended == {RPS}, "without an end between two of its writes"
    times = [period_s * step for step in repairs]
    late = [after - before for before, after in pairwise(times)][20:]
    assert all(wait_s >= LIMITS.most_s for wait_s in late)
    assert all(wait_s < LIMITS.most_s + period_s for wait_s in late)


@pytest.mark.parametrize(("least_s", "most_s"), [(1, 20), (20, 70), (30, 300)])
def test_a_writer_without_a_period_is_a_contender(least_s: float, most_s: float) -> None:
    budget, now, waits = Budget(), 0.0, random.Random(7)
    for repairs in range(40):
        assert repairs <= 3 * LIMITS.repairs
        now += waits.uniform(least_s, most_s)
        if not look(budget, now, RPS) or budget.contended:
            break
    assert budget.contended == {RPS}


def test_who_changes_a_setting_now_and_then_is_none() -> None:
    """As an operator who tries something out, or a link that comes and goes."""
    budget, now = Budget(), 0.0
    for wait_s in (40, 300, 90, 900, 200, 1200, 60, 2400):
        now += wait_s
        assert look(budget, now, RPS) == {RPS}
    assert not budget.contended
    assert not budget.suspected(now)


@pytest.mark.parametrize("period_s", [1, 3, 5, 7, 20])
def test_a_fight_that_no_event_tells_is_seen_at_the_rate_of_the_polls(period_s: float) -> None:
    """As over RSS tables before Linux 6.17; what was left is looked at again at the resync only."""
    budget, set_at, left, repairs = Budget(), 0.0, False, 0
    for poll in range(1, round(3600 / POLL_S)):
        now = poll * POLL_S
        again = budget.next_at(now)
        due = poll % 10 == 0 or (again is not None and now >= again)
        if now // period_s == set_at // period_s or (left and not due):
            continue
        left = not look(budget, now, RPS)
        if not left:
            repairs, set_at = repairs + 1, now
    assert budget.contended == {RPS}
    assert repairs < 80


def test_other_settings_are_repaired_meanwhile() -> None:
    budget = Budget()
    for step in range(20):
        look(budget, step / 100, RPS)
    assert look(budget, 1.0, RPS, OTHER) == {OTHER}
    assert budget.contended == {RPS}


def test_two_quiet_minutes_end_it() -> None:
    budget = Budget()
    for step in range(6):
        look(budget, float(step), RPS)
    assert budget.next_at(5.0) == 64.0
    assert look(budget, 64.0, RPS) == {RPS}
    assert budget.next_at(64.0) == 124.0
    look(budget, 124.0)
    assert budget.contended == {RPS}
    assert budget.next_at(124.0) == 184.0
    look(budget, 184.0)
    assert not budget.contended
    assert budget.next_at(184.0) is None
    assert all(look(budget, 185.0 + step, RPS) for step in range(5))


def test_a_change_within_them_does_not() -> None:
    budget = Budget()
    for now in (*range(6), 64.0, 180.0, 200.0):
        look(budget, float(now), RPS)
    assert budget.contended == {RPS}


def test_what_is_quiet_is_forgotten() -> None:
    budget = Budget()
    for step in range(1_000):
        look(budget, step / 10, ("rps", f"rx-{step}"))
    for step in range(100):
        look(budget, 100 + step / 10, RPS)
        assert len(budget._past[RPS].repaired) <= REMEMBERED
    look(budget, 111.0 + LIMITS.calm_s)
    assert not budget._past


def test_by_request_it_starts_anew() -> None:
    budget = Budget()
    for step in range(6):
        look(budget, float(step), RPS)
    budget.forget()
    assert not budget.contended
    assert look(budget, 6.0, RPS)


def _change(tunable: str, key: str, before: object = CpuSet(1)) -> Change:
    return Change("eth0", tunable, key, before, CpuSet(2), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fought", "waits"),
    [
        (("irq", "rxtx-0"), {("irq", "rxtx-0")}),
        (("channels", ""), {("channels", ""), ("rss", ""), ("rps", "rx-7")}),
        (("qdisc", "root"), {("qdisc", "root"), ("qdisc", "tx-0")}),
    ],
)
def test_what_cannot_be_made_without_it_waits_too(
    fought: tuple[str, str], waits: set[tuple[str, str]]
) -> None:
    gate = Gate(Budget(Limits(repairs=1)), clock=count().__next__)
    gate.repaired(_change(*fought))
    changes = (
        _change("channels", ""),
        _change("rss", ""),
        _change("irq", "rxtx-0"),
        _change("rps", "rx-0"),
        _change("rps", "rx-7", None),
        _change("qdisc", "root", Qdisc("bfifo")),
        _change("qdisc", "tx-0", Qdisc("bfifo")),
    )
    assert {(change.tunable, change.key) for change in gate.held(changes)} == waits


def test_many_queues_are_one_short_phrase() -> None:
    (keys,) = by_tunable(("irq", f"rxtx-{queue}") for queue in range(64)).values()
    assert named("eth0", "irq", keys) == "eth0 irq rxtx-0, rxtx-1, rxtx-2 and 61 more"
    assert named("eth0", "channels", ("",)) == "eth0 channels"
