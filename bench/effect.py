"""Whether a table that follows the load pays: by simulation, against equal shares and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median
from time import perf_counter

from bench.steered import Maker, Outcome, by_entry, equal, optimum, simulate, static, steered
from bench.steering import Bounds, Memory, after, decide
from bench.table import Row
from bench.traces import TRAFFIC, Traffic, trace

MAKERS: dict[str, Callable[[], Maker]] = {
    "equal": static,
    "following": steered,
    "by entry": by_entry,
}
SECONDS, WARM_S = 240.0, 20.0
SMALL = Traffic("small", flows=200, jitter=0.0, queues=4, entries=16)


def measure(seeds: int) -> list[Row]:
    """Print how all tables do on all traffic, and return a row for each, the cost first."""
    outcomes = {}
    with ProcessPoolExecutor(2) as pool:
        for traffic in TRAFFIC:
            outcomes[traffic] = list(pool.map(partial(outcomes_of, traffic), range(seeds)))
    print(shown(outcomes), "\n")
    rows = [
        Row(
            "a decision, 64 queues × 512 entries",
            cost_us(),
            "µs",
            200,
            "median of those in which there is reason to move",
        )
    ]
    for traffic, runs in outcomes.items():
        gains = [equals.p95_us / following.p95_us for equals, following, _ in runs]
        best = median(equals.p95_us / known.p95_us for equals, _, known in runs)
        said = f"{min(gains):.3g} to {max(gains):.3g} in {seeds}; {best:.3g} by entry"
        rows.append(Row(f"p95 delay, equal ÷ following: {traffic.name}", median(gains), "×", None,
                        said))  # fmt: skip
    return [*rows, *against_optimum(seeds)]


def outcomes_of(traffic: Traffic, seed: int) -> list[Outcome]:
    """What each of ``MAKERS`` makes of one trace."""
    one = trace(traffic, SECONDS, seed)
    return [simulate(one, maker(), WARM_S) for maker in MAKERS.values()]


def cost_us() -> float:
    """A decision's, where there is reason to move: of 64 queues some have a multiple of others'."""
    queues, table = 64, equal(512, 64)
    entries = [0.02 + 0.2 * (entry * 7919 % 97 == 0) + entry % 13 / 400 for entry in range(512)]
    memory, bounds, taken = Memory(), Bounds(), []
    for step in range(400):
        loads = [0.0] * queues
        for entry, queue in enumerate(table):
            loads[queue] += entries[(entry + step // 100 * 31) % 512]
        began = perf_counter()
        memory, moves = decide(memory, step / 2, table, loads, bounds)
        if memory.is_moving:
            taken.append((perf_counter() - began) * 1e6)
        table = after(table, moves)
    return median(taken)


def against_optimum(seeds: int) -> list[Row]:
    """The busiest queue's load when moves have ended, over the least that any table could have."""
    over: dict[str, list[float]] = {name: [] for name in MAKERS}
    for seed in range(seeds * 2):
        one = trace(SMALL, 120, seed)
        least = optimum(one.loads[0], SMALL.queues)
        for name, maker in MAKERS.items():
            table = simulate(one, maker()).table
            loads = [0.0] * SMALL.queues
            for entry, queue in enumerate(table):
                loads[queue] += one.loads[0][entry]
            over[name].append(max(loads) / least)
    what = f"{SMALL.queues} queues × {SMALL.entries} entries, Zipf {SMALL.exponent}"
    return [
        Row(f"busiest queue ÷ the optimum's: {name}", median(each), "×", None,
            f"{what}; {min(each):.3g} to {max(each):.3g} in {len(each)}")
        for name, each in over.items()
    ]  # fmt: skip


def shown(outcomes: dict[Traffic, list[list[Outcome]]]) -> str:
    """A table: medians over all traces of a kind, of equal shares / following / by entry."""
    lines = [
        "| traffic | p95 delay, µs | busiest ÷ mean | dropped, % | drops, worst ÷ equal's "
        "| entries moved a minute | flows reordered a minute | came back |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for traffic, runs in outcomes.items():
        each = list(zip(*runs, strict=True))
        worst = max(
            (following.dropped + 1e-4) / (equals.dropped + 1e-4) for equals, following, _ in runs
        )
        cells = [
            traffic.name,
            _medians([[o.p95_us for o in own] for own in each]),
            _medians([[o.imbalance for o in own] for own in each]),
            _medians([[100 * o.dropped for o in own] for own in each]),
            f"{worst:.2f}",
            _medians([[o.moves for o in own] for own in each[1:]]),
            _medians([[o.reordered for o in own] for own in each[1:]]),
            _medians([[o.returns for o in own] for own in each[1:]]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _medians(values: Sequence[Sequence[float]]) -> str:
    return " / ".join(_short(median(own)) for own in values)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.3g}"
