"""``netuned.experiment``: orders, comparisons and modes, by simulations whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from netuned.experiment.comparison import (
    LEAST_RUNS,
    MOST_RUNS,
    Comparison,
    compare,
    runs_needed,
    spread,
)
from netuned.experiment.modes import modes, separators
from netuned.experiment.order import ABBA, RANDOM, blocks, turns

EXPERIMENTS = 200


def test_blocks_have_each_arm_once_and_go_forth_and_back() -> None:
    assert blocks(2, 4, ABBA, 0) == ((0, 1), (1, 0), (0, 1), (1, 0))
    assert blocks(3, 2, ABBA, 0) == ((0, 1, 2), (2, 1, 0))
    shuffled = blocks(3, 50, RANDOM, 7)
    assert shuffled == blocks(3, 50, RANDOM, 7) != blocks(3, 50, RANDOM, 8)
    assert {tuple(sorted(block)) for block in shuffled} == {(0, 1, 2)}
    assert len(set(shuffled)) == 6
    assert turns(blocks(2, 2, ABBA, 0)) == ((0, 0), (0, 1), (1, 1), (1, 0))
    with pytest.raises(ValueError, match="1 arms"):
        blocks(1, 5, ABBA, 0)


def test_an_even_drift_is_no_difference() -> None:
    """What grows by the same with each turn is the same for both, in every two blocks."""
    at = {turn: number for number, turn in enumerate(turns(blocks(2, 6, ABBA, 0)))}
    first, second = ([100.0 + at[block, arm] for block in range(6)] for arm in (0, 1))
    assert sum(first) == sum(second)
    assert not compare(first, second, 1).is_more_than_noise


def test_spread_is_the_middle_half() -> None:
    told = spread([1, 2, 3, 4, 100])
    assert (told.low, told.median, told.high) == (2, 3, 4)


def experiment(chance: random.Random, effect: float, noise: float, runs: int) -> Comparison:
    """One of blocks that differ by a tenth among each other, and runs by ``noise``."""
    levels = [100 * math.exp(chance.gauss(0, 0.1)) for _ in range(runs)]
    base = [level * math.exp(chance.gauss(0, noise)) for level in levels]
    other = [level * effect * math.exp(chance.gauss(0, noise)) for level in levels]
    return compare(base, other, chance.randrange(1000), resamples=2000)


@pytest.mark.parametrize("runs", [5, 10, 20])
def test_known_effects_are_recovered_and_false_alarms_are_rare(
    runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(runs)
    least = {1.02: 0.1, 1.05: 0.6 if runs == 5 else 0.95}
    told = []
    for effect in (1.0, 1.02, 1.05, 1.1, 1.3):
        found = [experiment(chance, effect, 0.02, runs) for _ in range(EXPERIMENTS)]
        power = sum(each.is_more_than_noise for each in found) / EXPERIMENTS
        coverage = sum(each.low <= effect <= each.high for each in found) / EXPERIMENTS
        middle = sorted(each.change for each in found)[EXPERIMENTS // 2]
        told.append(f"{effect:.2f}: found {power:.0%}, in the interval {coverage:.0%}")
        assert abs(middle - effect) < 0.01
        assert coverage >= 0.88
        assert power <= 0.08 if effect == 1.0 else power >= least.get(effect, 0.95)
    with capsys.disabled():
        print(f"\n{runs} runs, noise of 2 %: " + "; ".join(told))


def test_as_many_runs_as_are_told_find_it_four_times_in_five() -> None:
    runs = runs_needed(math.log(1.03), math.sqrt(2) * 0.03)
    chance = random.Random(1)
    found = [experiment(chance, 1.03, 0.03, runs).is_more_than_noise for _ in range(EXPERIMENTS)]
    assert 10 < runs < 30
    assert 0.7 < sum(found) / EXPERIMENTS < 0.9
    assert runs_needed(0.0001, 1.0) == runs_needed(0.0, 1.0) == MOST_RUNS + 1
    assert runs_needed(100.0, 0.1) == LEAST_RUNS


def test_where_there_are_zeros_it_is_the_difference() -> None:
    drops = compare([0, 0, 0, 0, 0, 1], [50, 61, 48, 55, 52, 58], 1)
    assert not drops.is_ratio
    assert drops.is_more_than_noise
    assert drops.low < 53.8 < drops.high
    none = compare([0.0] * 6, [0.0] * 6, 1)
    assert (none.change, none.is_more_than_noise) == (0.0, False)


def test_few_runs_tell_nothing() -> None:
    few = compare([1.0, 1.1, 1.0, 1.1], [2.0, 2.2, 2.1, 2.3], 1)
    assert few.change > 1.9
    assert not few.is_more_than_noise
    assert few.runs_needed == LEAST_RUNS
    with pytest.raises(ValueError, match="5 values against 4"):
        compare([1.0] * 5, [1.0] * 4, 1)


def test_it_is_the_same_for_a_seed() -> None:
    base, other = [1.0, 1.2, 0.9, 1.1, 1.0], [1.1, 1.1, 1.2, 1.0, 1.3]
    assert compare(base, other, 3) == compare(base, other, 3)


def wandering(chance: random.Random, count: int) -> list[float]:
    """Each value half of the one before it, and half new."""
    values = [chance.gauss(0, 1)]
    while len(values) < count:
        values.append(0.5 * values[-1] + chance.gauss(0, 1))
    return values


UNIMODAL: dict[str, Callable[[random.Random, int], Sequence[float]]] = {
    "normal": lambda chance, count: [chance.gauss(90, 2) for _ in range(count)],
    "even": lambda chance, count: [chance.uniform(80, 100) for _ in range(count)],
    "tailed": lambda chance, count: [chance.expovariate(0.1) for _ in range(count)],
    "wandering": wandering,
    "drifting": lambda chance, count: [80 + n / count + chance.gauss(0, 0.1) for n in range(count)],
    "outliers": lambda chance, count: [
        chance.gauss(90, 2) if chance.random() > 0.03 else 10.0 for _ in range(count)
    ],
}


@pytest.mark.parametrize("count", [5, 30, 150])
def test_one_mode_is_not_two(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance, alarms = random.Random(count), {}
    for name, values in UNIMODAL.items():
        found = [modes(values(chance, count)) for _ in range(EXPERIMENTS)]
        alarms[name] = sum(len(each) == 2 for each in found)
    with capsys.disabled():
        print(f"\n{count} values, false alarms of {EXPERIMENTS}: {alarms}")
    assert max(alarms.values()) <= 2


@pytest.mark.parametrize(
    ("low", "deviation", "share"), [(81, 2, 0.5), (81, 3, 0.3), (96, 0.4, 0.2)]
)
def test_two_modes_are_found(
    low: float, deviation: float, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Throughput that is 81 or 99 Gbit/s: by 90, its mean, nobody would know."""
    chance, found = random.Random(2), []
    for _ in range(EXPERIMENTS):
        values = [
            chance.gauss(low if chance.random() < share else 99, deviation) for _ in range(150)
        ]
        found.append(modes(values))
    two = [each for each in found if len(each) == 2]
    with capsys.disabled():
        print(f"\n{low} or 99, each by {deviation}: found {len(two) / EXPERIMENTS:.0%}")
    assert len(two) >= 0.95 * EXPERIMENTS
    for slow, fast in two:
        assert abs(slow.value - low) < deviation
        assert abs(fast.value - 99) < deviation
        assert abs(slow.share - share) < 0.15
        assert slow.share + fast.share == pytest.approx(1)


def test_what_separates_modes_is_told() -> None:
    chance = random.Random(3)
    slow = [chance.random() < 0.4 for _ in range(100)]
    values = [chance.gauss(81 if each else 99, 2) for each in slow]
    counters = {
        "plimit drops": [chance.gauss(900 if each else 0, 50) for each in slow],
        "softirq": [chance.gauss(1, 0.2) for _ in slow],
    }
    (told,) = separators(values, modes(values), counters)
    assert told.name == "plimit drops"
    assert told.in_low > 800 > 100 > told.in_high
    assert told.sureness == 1.0
    with pytest.raises(ValueError, match="1 modes"):
        separators([1.0] * 5, modes([1.0] * 5), {})
    assert modes([]) == ()
