"""Whether values lie about one middle or two, as of a link that has 81 or 99 Gbit/s but never 90.

Pure. Needs scipy (``netuned[experiment]``).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate

from scipy import stats

from netuned.records import dataclass

CHANCE = 0.001
"""At most so often the gap between two modes is one by chance."""
LEAST_SHARE = 0.1
"""Of the values that lie about the rarer middle; fewer are outliers."""
TRIMMED = 0.025
"""Of the values at each end, which are left out: a second in which a load stood still, and the next
in which it caught up, would hide two modes."""
LEAST_DISTANCE = 4.0
"""Of the middles, in standard deviations of what lies about them: of values that are spread evenly,
cut into halves, it is 3.5."""
SEPARATES = 0.9
"""Chance that a counter tells, of two values from different modes, which is of which."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A middle about which values lie: their median, and which share of all they are."""

    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Separator:
    """A counter that is other in one mode than in the other: its medians in both."""

    name: str
    in_low: float
    in_high: float
    sureness: float


def modes(values: Sequence[float]) -> tuple[Mode, ...]:
    """One mode, or two, the lower first; none of no values.

    Values are cut where the two parts vary least. They have two modes if the middle third between
    the parts' means is emptier than as wide a stretch about either mean, by more than chance.
    """
    if not values:
        return ()
    ordered = sorted(values)
    whole = (Mode(statistics.median(ordered), 1.0),)
    edge = int(TRIMMED * len(ordered))
    ordered = ordered[edge : len(ordered) - edge]
    if len(ordered) < 4 or ordered[0] == ordered[-1]:
        return whole
    cut = _cut(ordered)
    low, high = ordered[:cut], ordered[cut:]
    if min(len(low), len(high)) < LEAST_SHARE * len(ordered):
        return whole
    middles = statistics.fmean(low), statistics.fmean(high)
    distance = middles[1] - middles[0]
    within = (statistics.pvariance(low) + statistics.pvariance(high)) / 2
    if distance**2 < LEAST_DISTANCE**2 * within:
        return whole
    about = min(_within(ordered, middle, distance / 3) for middle in middles)
    between = _within(ordered, sum(middles) / 2, distance / 3)
    if not about or stats.binomtest(between, between + about, alternative="less").pvalue > CHANCE:
        return whole
    parts = (low, high)
    return tuple(Mode(statistics.median(part), len(part) / len(ordered)) for part in parts)


def _cut(ordered: Sequence[float]) -> int:
    """How many of the values, in order, are the lower part.

    Of all cuts the one with the largest variance between the parts.
    """
    count, sums = len(ordered), [*accumulate(ordered)]
    total = sums[-1]

    def between(size: int) -> float:
        lower = sums[size - 1]
        return lower**2 / size + (total - lower) ** 2 / (count - size)

    return max(range(1, count), key=between)


def _within(values: Sequence[float], middle: float, width: float) -> int:
    return sum(abs(value - middle) <= width / 2 for value in values)


def separators(
    values: Sequence[float], found: Sequence[Mode], counters: Mapping[str, Sequence[float]]
) -> tuple[Separator, ...]:
    """The counters, of the same moments as the values, that tell both modes apart; surest first.

    Raises: ValueError if a counter has more values, or fewer; or if there are not two modes.
    """
    if len(found) != 2:
        raise ValueError(f"{len(found)} modes")
    middle = (found[0].value + found[1].value) / 2
    told = []
    for name, counted in counters.items():
        sides: tuple[list[float], list[float]] = ([], [])
        for value, count in zip(values, counted, strict=True):
            sides[value > middle].append(count)
        pairs = len(sides[0]) * len(sides[1])
        higher = float(stats.mannwhitneyu(sides[1], sides[0]).statistic) / pairs
        sureness = max(higher, 1 - higher)
        if sureness >= SEPARATES:
            low, high = map(statistics.median, sides)
            told.append(Separator(name, low, high, sureness))
    return tuple(sorted(told, key=lambda one: (-one.sureness, one.name)))
