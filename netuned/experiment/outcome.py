"""What an experiment came to: measures of each arm, what differs, modes, and the verdict. Pure.

Needs scipy (``netuned[experiment]``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netuned.errors import NetunedError
from netuned.experiment.comparison import (
    LEAST_RUNS,
    MOST_RUNS,
    Comparison,
    Spread,
    compare,
    spread,
)
from netuned.experiment.measures import MEASURES, MORE, NEITHER
from netuned.experiment.modes import Mode, Separator, modes, separators
from netuned.records import dataclass

Measures = Mapping[str, float]
SEPARATORS = 3
"""Counters that are told of: what separates modes is much the same from the fourth on."""

ENOUGH = "enough"


@dataclass(frozen=True, slots=True)
class Run:
    """One arm's turn in a block: the measures of its window, and of each step of that."""

    block: int
    arm: int
    measures: Measures
    steps: tuple[Measures, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A measure: of each arm its spread; each further arm against the first."""

    measure: str
    spreads: tuple[Spread, ...]
    against_first: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class TwoModes:
    """An arm whose main measure lies about two middles: in one run from step to step, or in some
    runs about the one and in some about the other."""

    arm: int
    within_a_run: bool
    low: Mode
    high: Mode
    separators: tuple[Separator, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``main`` is the measure that the verdict is about."""

    arms: tuple[str, ...]
    main: str
    blocks: int
    rows: tuple[Row, ...]
    two_modes: tuple[TwoModes, ...]
    verdict: str


def outcome(arms: Sequence[str], runs: Sequence[Run], main: str, seed: int) -> Outcome:
    """What the blocks in which each arm has a run tell.

    Raises: NetunedError where that are fewer than two, or where nobody counts ``main``.
    """
    by_block: dict[int, dict[int, Run]] = {}
    for run in runs:
        by_block.setdefault(run.block, {})[run.arm] = run
    whole = [block for _, block in sorted(by_block.items()) if len(block) == len(arms)]
    if len(whole) < 2:
        raise NetunedError("fewer than two runs of each are there to compare; take more of them")
    by_arm = [[block[arm] for block in whole] for arm in range(len(arms))]
    names = [n for n in MEASURES if all(n in r.measures for each in by_arm for r in each)]
    if main not in names:
        raise NetunedError(f"{main} was not counted in each run; name one of {', '.join(names)}")
    rows = []
    for name in names:
        values = [[run.measures[name] for run in each] for each in by_arm]
        against = tuple(compare(values[0], other, seed) for other in values[1:])
        rows.append(Row(name, tuple(map(spread, values)), against))
    two = tuple(found for arm, each in enumerate(by_arm) for found in _two_modes(arm, each, main))
    row = next(row for row in rows if row.measure == main)
    said = [_verdict(arms, arm, row, len(whole)) for arm in range(1, len(arms))]
    said += [
        f"{arms[arm]} has two modes: its medians hide them."
        for arm in dict.fromkeys(each.arm for each in two)
    ]
    return Outcome(tuple(arms), main, len(whole), tuple(rows), two, " ".join(said))


def _two_modes(arm: int, runs: Sequence[Run], main: str) -> list[TwoModes]:
    """Of steps each run by itself: of different runs they lie apart without two modes."""
    moments = [run.measures for run in runs]
    found = [each for each in [_modes_of(arm, moments, main, within=False)] if each]
    for run in runs:
        if told := _modes_of(arm, run.steps, main, within=True):
            return [*found, told]
    return found


def _modes_of(arm: int, moments: Sequence[Measures], main: str, *, within: bool) -> TwoModes | None:
    values = [moment[main] for moment in moments if main in moment]
    two = modes(values)
    if len(two) != 2:
        return None
    there = [moment for moment in moments if main in moment]
    names = [n for n in MEASURES if n != main and all(n in moment for moment in there)]
    counters = {name: [moment[name] for moment in there] for name in names}
    told = separators(values, two, counters)[:SEPARATORS]
    return TwoModes(arm, within, *two, told)


def _verdict(arms: Sequence[str], arm: int, row: Row, blocks: int) -> str:
    """A sentence: what came out of one arm against the first."""
    told, measure = row.against_first[arm - 1], MEASURES[row.measure]
    old, new = row.spreads[0].median, row.spreads[arm].median
    pair = f"{arms[arm]} against {arms[0]}: {measure.name} {new:.4g} against {old:.4g}"
    how = f"{change(told)} ({interval(told)} at 95 %)"
    if not told.is_more_than_noise:
        if blocks < LEAST_RUNS:
            return f"{pair}, {how}: fewer than {LEAST_RUNS} runs tell nothing."
        if told.runs_needed > MOST_RUNS:
            return f"{pair}, {how}: not more than noise, and no number of runs would tell."
        need = max(told.runs_needed, blocks + 1)
        return f"{pair}, {how}: not more than noise; if that is real, {need} runs would tell."
    if measure.better == NEITHER:
        return f"{pair}, {how}: more than noise."
    rises = told.change > (1.0 if told.is_ratio else 0.0)
    word = "better" if rises == (measure.better == MORE) else "worse"
    return f"{pair}, {how}: {word}, and more than noise."


def change(told: Comparison) -> str:
    """``+4.2 %``; of a difference the number."""
    return f"{(told.change - 1) * 100:+.1f} %" if told.is_ratio else f"{told.change:+.4g}"


def interval(told: Comparison) -> str:
    """``+1.0 to +7.5 %``."""
    if told.is_ratio:
        return f"{(told.low - 1) * 100:+.1f} to {(told.high - 1) * 100:+.1f} %"
    return f"{told.low:+.4g} to {told.high:+.4g}"


def runs_told(told: Comparison) -> str:
    """Whether there were ``enough``; else how many would tell if the change is real."""
    if told.is_more_than_noise:
        return ENOUGH
    return f"{told.runs_needed}" if told.runs_needed <= MOST_RUNS else f">{MOST_RUNS}"
