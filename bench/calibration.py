"""How fast this machine is just now: a fixed loop, by which bounds in time are scaled.

A bound of 300 ms says nothing of a machine half as fast as the one that it was set on, nor of this
one while others use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
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


def calibrated(name: str, measure: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """A part's rows, with bounds in time as much longer as the loop takes before or after it."""
    before = loop_s()
    rows = tuple(measure())
    took = min(before, loop_s())
    slower = took / REFERENCE_S
    scaled = f"{name}: bounds in time are × {slower:.2f}"
    if any(row.bound is not None and row.unit in _TIMES for row in rows):
        yield Row("calibration loop", took, "s", None, scaled)
    for row in rows:
        if row.bound is not None and row.unit in _TIMES:
            yield replace(row, bound=row.bound * slower)
        else:
            yield row
