"""One arm against another: by how much they differ, how surely, and how many runs would tell.

Pure. Needs scipy (``netuned[experiment]``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import stats

from netuned.records import dataclass

LEVEL = 0.95
"""Of the interval; by chance alone one comparison in twenty is more than noise."""
POWER = 0.8
"""How often as many runs as are told to be needed would find an effect of that size."""
LEAST_RUNS = 5
"""Blocks below which nothing is more than noise: resampled means lie between the smallest and the
largest value, and of four both are on the same side of the truth one time in eight."""
MOST_RUNS = 1000
NEVER = MOST_RUNS + 1
RESAMPLES = 9999


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one arm's runs: the middle one, and between which the middle half lies."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the one it is compared with, paired by block.

    ``change`` is the geometric mean of the blocks' ratios, where all values are above 0
    (``is_ratio``), else the mean of the blocks' differences; ``low`` and ``high`` its interval.
    ``runs_needed`` to find a change of this size, ``NEVER`` where that is more than ``MOST_RUNS``.
    """

    change: float
    low: float
    high: float
    is_ratio: bool
    is_more_than_noise: bool
    runs_needed: int


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles. Raises: ValueError if there are no values."""
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def compare(
    base: Sequence[float], other: Sequence[float], seed: int, resamples: int = RESAMPLES
) -> Comparison:
    """``other`` against ``base``, whose values are of the same blocks, one of each.

    The interval is the bootstrap's by percentiles, widened for few runs; more than noise is what it
    and Student's test of the blocks agree on: each alone is too easily convinced by five runs.

    Raises: ValueError for fewer than two blocks, or values that are not paired.
    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3.
    """
    if len(base) != len(other) or len(base) < 2:
        raise ValueError(f"{len(base)} values against {len(other)}")
    is_ratio = min(*base, *other) > 0
    each = [
        math.log(new / old) if is_ratio else new - old for old, new in zip(base, other, strict=True)
    ]
    back = math.exp if is_ratio else float
    mean = statistics.fmean(each)
    if max(each) - min(each) <= 1e-12 * max(map(abs, each)):
        sure = mean != 0.0 and len(each) >= LEAST_RUNS
        change = back(mean)
        return Comparison(change, change, change, is_ratio, sure, LEAST_RUNS if mean else NEVER)
    low, high = _interval(each, seed, resamples)
    chance = float(stats.ttest_1samp(each, 0.0).pvalue)
    sure = len(each) >= LEAST_RUNS and not low <= 0.0 <= high and chance < 1 - LEVEL
    needed = runs_needed(mean, statistics.stdev(each))
    return Comparison(back(mean), back(low), back(high), is_ratio, sure, needed)


def _interval(each: Sequence[float], seed: int, resamples: int) -> tuple[float, float]:
    """Of the mean: percentiles so far out as Student's distribution is wider than the normal."""
    runs = len(each)
    out = stats.t.ppf((1 + LEVEL) / 2, runs - 1) * math.sqrt(runs / (runs - 1))
    beyond = float(stats.norm.cdf(-out))
    chosen = np.random.default_rng(seed).integers(runs, size=(resamples, runs))
    means = np.asarray(each)[chosen].mean(axis=1)
    low, high = np.quantile(means, (beyond, 1 - beyond))
    return float(low), float(high)


def runs_needed(effect: float, deviation: float) -> int:
    """How many blocks find an effect, where blocks deviate so much, ``POWER`` of the times."""
    if not effect or _power(effect, deviation, MOST_RUNS) < POWER:
        return NEVER
    low, high = LEAST_RUNS, MOST_RUNS
    while low < high:
        middle = (low + high) // 2
        if _power(effect, deviation, middle) >= POWER:
            high = middle
        else:
            low = middle + 1
    return low


def _power(effect: float, deviation: float, runs: int) -> float:
    """How often Student's test of so many blocks finds an effect."""
    beyond = stats.t.ppf((1 + LEVEL) / 2, runs - 1)
    middle = abs(effect) / deviation * math.sqrt(runs)
    if middle > 30:  # beyond doubt; so far out the distribution is not computed well
        return 1.0
    return float(stats.nct.sf(beyond, runs - 1, middle))
