"""A row of the benchmark: what, measured, against what, the bound, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """``value`` and ``bound`` are in ``unit``; a bound of None is for information."""

    what: str
    value: float
    unit: str
    bound: float | None = None
    against: str = ""

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value <= self.bound


def render(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = ["| what | measured | bound | against |", "|---|---:|---:|---|"]
    for row in rows:
        bound = "" if row.bound is None else f"≤ {row.bound:.3g} {row.unit}"
        mark = "" if row.holds else " **over**"
        lines.append(f"| {row.what} | {row.value:.3g} {row.unit}{mark} | {bound} | {row.against} |")
    return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
