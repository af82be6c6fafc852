"""The table of ``netunedctl top`` on a terminal: lines about all, then rows, one of them chosen.

A refresh draws the lines that are on the screen, each as one piece of text, and nothing else: a
DataTable of 256 rows would be told of 2,500 cells.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from netuned.cpuset import CpuSet
from netuned.top.lines import PAST, Layout, bars, fitted, layout, short
from netuned.top.rows import CPU, EMPTY, NAME, VIEWS, Frame, Key, Row, View, arranged

HEAD = 4
"""Lines above the rows: what is shown, the chosen row's minute and place, the titles."""
WHEEL = 3
"""Rows that a turn of the mouse's wheel moves by."""
KEYS = "F1Help  F3Search  F4Filter  F6SortBy  IInvert  TabView  ZFreeze  F10Quit"
_HUES = ("cyan", "green", "yellow", "magenta", "blue", "red")
_TITLE, _CHOSEN, _KEYS = Style(bold=True, reverse=True), Style(reverse=True), Style(dim=True)
_FROZEN, _LOSING = Style(bold=True, color="yellow"), Style(bold=True)


class Rows(Widget, can_focus=True):
    """The whole screen but the line for typing: a few lines about all, then rows."""

    DEFAULT_CSS = "Rows { height: 1fr; }"

    def __init__(self, view: View, sort: str, needle: str, kept: int) -> None:
        super().__init__()
        self.view = view
        self.needle = needle
        self.frozen = False
        self._kept = kept
        self._sorts = {view.name: sort}
        self._inverted: dict[str, bool] = {}
        self._chosen: dict[str, Key] = {}
        self._frame = EMPTY
        self._at = ""
        self._shown: list[Key] = []
        self._laid: Layout = layout(view, 0, 80)
        self._top = 0
        self._width, self._height = 80, 24
        self._past: dict[str, dict[Key, deque[float]]] = {name: {} for name in VIEWS}
        self._hues: dict[object, Style] = {}

    # What is shown

    def take(self, frame: Frame) -> None:
        """A new refresh: shown, but where it is frozen; its numbers are the newest of the past."""
        if frame.seconds:
            for name, loads in frame.loads.items():
                past = self._past[name]
                if past.keys() != loads.keys():
                    past = {key: past.get(key) or deque(maxlen=self._kept) for key in loads}
                    self._past[name] = past
                for key, load in loads.items():
                    past[key].append(load)
        if not self.frozen:
            if frame.places is not self._frame.places:
                self._hues = dict(_hues(frame.places))
            self._frame, self._at = frame, time.strftime("%H:%M:%S")
            self.lay_out()

    def lay_out(self) -> None:
        """The rows in their order, as far as they are not filtered."""
        inverted = self._inverted.get(self.view.name, False)
        self._shown = arranged(self.view, self._frame, self.sort, self.needle, inverted=inverted)
        widest = self._frame.widest[self.view.name]
        self._laid = layout(self.view, widest, self._width, past=True)
        self._scroll()
        self.refresh()

    @property
    def sort(self) -> str:
        """The column that this view is sorted by."""
        return self._sorts.get(self.view.name) or self.view.busiest

    @property
    def chosen(self) -> int:
        """Which of the shown rows is chosen; it stays so wherever it goes."""
        key = self._chosen.get(self.view.name)
        return self._shown.index(key) if key in self._shown else 0

    def choose(self, at: int) -> None:
        if self._shown:
            at = max(0, min(at, len(self._shown) - 1))
            self._chosen[self.view.name] = self._shown[at]
            self._scroll()
            self.refresh()

    def search(self, needle: str) -> None:
        """Choose the first row with a text."""
        found = set(arranged(self.view, self._frame, NAME, needle))
        self.choose(next((at for at, key in enumerate(self._shown) if key in found), self.chosen))

    def turn(self, step: int) -> None:
        """Another view."""
        names = list(VIEWS)
        self.view = VIEWS[names[(names.index(self.view.name) + step) % len(names)]]
        self.lay_out()

    def sort_by(self, column: str) -> None:
        """Of a column that it is sorted by already, the other way round."""
        if column == self.sort:
            self.invert()
            return
        self._sorts[self.view.name] = column
        self._inverted[self.view.name] = False
        self.lay_out()

    def invert(self) -> None:
        self._inverted[self.view.name] = not self._inverted.get(self.view.name, False)
        self.lay_out()

    def _scroll(self) -> None:
        """So that the chosen row is to be seen."""
        room = max(self._height - HEAD - 1, 1)
        at = self.chosen
        self._top = max(min(self._top, at, len(self._shown) - room), at - room + 1, 0)

    # Lines

    def render_lines(self, crop: Region) -> list[Strip]:
        """Past textual's own borders, paddings and styles, which take longer than all of this."""
        rows = self._frame.rows[self.view.name]
        chosen = rows[self._shown[self.chosen]] if self._shown else None
        strips = []
        for y in range(crop.y, crop.bottom):
            strip = Strip([Segment(*self._line(y, chosen))], self._width)
            whole = crop.x == 0 and crop.width == self._width
            strips.append(strip if whole else strip.crop(crop.x, crop.right))
        return strips

    def _line(self, y: int, chosen: Row | None) -> tuple[str, Style]:
        """As wide as the screen, and its style."""
        at = self._top + y - HEAD
        if HEAD <= y < self._height - 1 and at < len(self._shown):
            return self._row_line(at, chosen)
        text, style = "", Style.null()
        if y == self._height - 1:
            text, style = KEYS, _KEYS
        elif y == 0:
            text, style = self._head(), _FROZEN if self.frozen else Style(bold=True)
        elif y < HEAD - 1 and chosen:
            text = (self._about, self._minute)[y - 1](chosen)
        elif y == HEAD - 1:
            text, style = self._laid.header(), _TITLE
        return fitted(text, self._width), style

    def _row_line(self, at: int, chosen: Row | None) -> tuple[str, Style]:
        row = self._frame.rows[self.view.name][self._shown[at]]
        drawn = self._bars(row) if self._laid.past else ""
        hue = self._hues.get(row.l3 or row.node, Style.null())
        if row is chosen:
            hue += _CHOSEN
        if row.numbers.get("drops"):
            hue += _LOSING
        line = self._laid.line(row, drawn)
        return (line if self._laid.rest >= 0 else fitted(line, self._width)), hue

    def _head(self) -> str:
        tabs = "  ".join(
            f"[{view.title}S]" if view is self.view else f" {view.title}S "
            for view in VIEWS.values()
        )
        order = f"{'-' if self._inverted.get(self.view.name) else '+'}{self.sort}"
        said = [self._at, tabs, f"{len(self._shown)} by {order}"]
        said += [f"filter {self.needle}"] if self.needle else []
        said += ["FROZEN"] if self.frozen else []
        said += [f"not known: {', '.join(self._frame.missing)}"] if self._frame.missing else []
        return "  ".join(said)

    def _about(self, row: Row) -> str:
        title = next(c.title for c in self.view.columns if c.name == self.view.busiest)
        number = row.numbers.get(self.view.busiest)
        now = "-" if number is None else short(number)
        most = short(max(self._past[self.view.name].get(row.key, ()), default=0.0))
        node = f"node {row.node}" if row.node >= 0 else "no node"
        at = f"CPU {row.cpu}, {node}, L3 {row.l3}" if row.cpu >= 0 else f"no CPU, {node}"
        processes = row.words("processes") or "none known"
        return f"{row.label}: {title} {now}, most {most}; {at}; processes: {processes}"

    def _minute(self, row: Row) -> str:
        return f"|{self._bars(row)}|"

    def _bars(self, row: Row) -> str:
        past = self._past[self.view.name].get(row.key, ())
        return bars(list(past), self._kept, 100.0 if self.view.name == CPU else 0.0).rjust(PAST)

    # The mouse, and another size

    def on_resize(self, event: events.Resize) -> None:
        self._width, self._height = event.size
        self.lay_out()

    def on_click(self, event: events.Click) -> None:
        if event.y == HEAD - 1:
            self.sort_by(self._laid.column_at(event.x) or NAME)
        elif HEAD <= event.y < self._height - 1:
            self.choose(self._top + event.y - HEAD)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.choose(self.chosen + WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.choose(self.chosen - WHEEL)


def _hues(cpus: Mapping[int, tuple[int, CpuSet]]) -> Iterator[tuple[object, Style]]:
    """L3 domain, and node of rows without one -> colour; none where all CPUs share one."""
    places: dict[int, list[CpuSet]] = {}
    for node, domain in dict.fromkeys(cpus.values()):
        places.setdefault(node, []).append(domain)
    if sum(map(len, places.values())) < 2:
        return
    for number, (node, domains) in enumerate(sorted(places.items())):
        yield node, Style(color=_HUES[number % len(_HUES)])
        for at, domain in enumerate(domains):
            hue = _HUES[(number if len(places) > 1 else at) % len(_HUES)]
            bright = at % 2 if len(places) > 1 else at // len(_HUES) % 2
            yield domain, Style(color=f"bright_{hue}" if bright else hue)
