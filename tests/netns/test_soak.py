"""The short form of ``make soak``: all bounds of its table hold, with fewer cards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.soak import SHORT, measure
from bench.table import Row, render

pytestmark = [pytest.mark.netns, pytest.mark.alone]

BLOCKS = ": longest block of the loop"
TRIES = 3


def test_many_cards_for_long() -> None:
    """What the machine does to all is not the daemon's: a block of its own comes every time."""
    for _ in range(TRIES):
        rows = measure(SHORT)
        print(render(rows))
        over = [row for row in rows if not row.holds]
        if not all(row.what.endswith(BLOCKS) for row in over) or not over:
            break
    assert over == []


def test_a_block_of_the_loop_is_noticed() -> None:
    few = replace(
        SHORT, cards=2, drifts=10, reloads=2, clients=2, resyncs=20, floods=(), block_ms=100
    )
    for _ in range(TRIES):  # where a loop that does nothing is as late, nothing can be told
        rows = [row for row in measure(few) if row.what.endswith(BLOCKS)]
        print(render(rows))
        if all(_is_quiet(row) for row in rows):
            break
    rows = rows[1:]  # the start is blocked by nothing but others' programs
    assert [row.what.removesuffix(BLOCKS) for row in rows if not row.holds] == [
        row.what.removesuffix(BLOCKS) for row in rows if _is_quiet(row)
    ]


def _is_quiet(row: Row) -> bool:
    return row.bound is not None and row.bound < 80
