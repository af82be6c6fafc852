"""Pure: what an experiment came to, as one document of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from netuned.experiment.measures import MEASURES
from netuned.experiment.outcome import Outcome, Row, Run, change, interval, runs_told
from netuned.report.document import written

WIDE, HIGH, BESIDE = 640, 24, 8
"""Of a drawing, in pixels: its size, and what is free on both sides."""
RUN_DOT, STEP_DOT = 4.0, 1.5


def html(found: Outcome, runs: Sequence[Run], card: str, at: float) -> Iterator[str]:
    """The document in pieces. ``at`` is its time, in seconds since 1970."""
    low, high = _ends(found, runs)
    return written(
        "outcome.html",
        at,
        found=found,
        card=card,
        what=MEASURES[found.main].what,
        ends=(f"{low:.4g}", f"{high:.4g}"),
        drawn=[(name, _dots(found, runs, arm, low, high)) for arm, name in enumerate(found.arms)],
        tables=[
            (name, [_cells(row, arm) for row in found.rows])
            for arm, name in enumerate(found.arms[1:], 1)
        ],
    )


def _cells(row: Row, arm: int) -> tuple[str, ...]:
    """Of a measure: what it is, both medians with their quartiles, and how they differ."""
    told = row.against_first[arm - 1]
    medians = (
        f"{s.median:.4g} ({s.low:.4g} to {s.high:.4g})" for s in (row.spreads[0], row.spreads[arm])
    )
    what = MEASURES[row.measure].what
    return (row.measure, what, *medians, change(told), interval(told), runs_told(told))


def _values(found: Outcome, runs: Sequence[Run], arm: int) -> tuple[list[float], list[float]]:
    """Of the main measure: an arm's runs, and their steps."""
    own = [run for run in runs if run.arm == arm]
    steps = [step[found.main] for run in own for step in run.steps if found.main in step]
    return [run.measures[found.main] for run in own], steps


def _ends(found: Outcome, runs: Sequence[Run]) -> tuple[float, float]:
    every = [
        v for arm in range(len(found.arms)) for part in _values(found, runs, arm) for v in part
    ]
    return min(every), max(every)


def _dots(found: Outcome, runs: Sequence[Run], arm: int, low: float, high: float) -> Markup:
    """A dot for each run, and a small one for each step of it, from the least to the most."""
    whole, steps = _values(found, runs, arm)
    name = f"{found.main} of each run: {', '.join(f'{value:.4g}' for value in whole)}"
    drawing = Element(
        "svg", viewBox=f"0 0 {WIDE} {HIGH}", width=str(WIDE), height=str(HIGH), role="img"
    )
    drawing.set("aria-label", name)
    SubElement(drawing, "title").text = name
    for values, y, radius, kind in (
        (steps, HIGH * 3 / 4, STEP_DOT, "network"),
        (whole, HIGH / 3, RUN_DOT, "application"),
    ):
        for value in values:
            share = (value - low) / (high - low) if high > low else 0.5
            x = BESIDE + share * (WIDE - 2 * BESIDE)
            place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius}", "class": kind}
            SubElement(drawing, "circle", place)
    return Markup(tostring(drawing, encoding="unicode"))
