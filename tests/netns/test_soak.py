"""The short form of ``make soak``: all bounds of its table hold, with fewer cards."""

from __future__ import annotations

import pytest

from bench.soak import SHORT, measure
from bench.table import render

pytestmark = [pytest.mark.netns, pytest.mark.alone]


def test_many_cards_for_long() -> None:
    rows = measure(SHORT)
    print(render(rows))
    assert [row for row in rows if not row.holds] == []
