"""How fast this machine is just now: a fixed loop, by which bounds in time are scaled.

A bound of 300 ms says nothing of a machine half as fast as the one that it was set on, nor of this
one while others use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from bench.table import Row

REFERENCE_S = 0.7
"""What the loop takes on the machine that bounds in time are for."""
STEPS = 10**7
PIECES = 10
_TIMES = ("s", "ms", "µs")


def loop_s() -> float:
    """Seconds for the whole, by its quickest piece: no bound is scaled by a moment's load."""
    pieces = []
    for _ in range(PIECES):
        start = time.perf_counter()
        sum(i * i for i in range(STEPS // PIECES))
        pieces.append(time.perf_counter() - start)
    return min(pieces) * PIECES


def calibrated(parts: Mapping[str, Callable[[], Iterable[Row]]]) -> list[Row]:
    """All parts' rows, with bounds in time as much longer as the loop takes before or after each.

    How long that was comes first, once.
    """
    found: list[Row] = []
    loops: list[float] = []
    for measure in parts.values():
        before = loop_s()
        rows = tuple(measure())
        loops.append(min(before, loop_s()))
        found += [_scaled(row, loops[-1] / REFERENCE_S) for row in rows]
    least, most = (f"{loop / REFERENCE_S:.2f}" for loop in (min(loops), max(loops)))
    scaled = f"beside each part; bounds in time are × {least}"
    scaled += f" to {most}" if most != least else ""
    return [Row("calibration loop", sum(loops) / len(loops), "s", None, scaled), *found]


def _scaled(row: Row, slower: float) -> Row:
    if row.bound is None or row.unit not in _TIMES:
        return row
    return replace(row, bound=row.bound * slower)
