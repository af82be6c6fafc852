"""Rows as lines of text: the columns that fit a width, numbers shortened, what happened as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil

from netuned.records import dataclass
from netuned.top.rows import Row, View

NOTHING = "-"
NUMBER = 6
"""Columns that a number takes, and its title; one more is between it and the next."""
NAME_LEAST, NAME_MOST = 5, 22
WORDS_LEAST, WORDS_MOST = 8, 40
PAST = 60
"""Refreshes that are remembered, a minute's at one each second, and drawn where there is room."""
WIDE = 160
_NO_NUMBER = NOTHING.rjust(NUMBER)
_BARS = " ▁▂▃▄▅▆▇█"
_SUFFIXES = "kMGTPE"


def short(number: float) -> str:
    """At most five characters: 0.5, 999, 1.23k, 12.3M."""
    if number < 9.95 and number != int(number):
        return f"{number:.1f}"
    if number < 999.5:
        return f"{number:.0f}"
    thousands = 0
    while number >= 999.5 and thousands < len(_SUFFIXES):
        number /= 1000
        thousands += 1
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f}{_SUFFIXES[thousands - 1]}"


def bars(numbers: Sequence[float], width: int, most: float = 0.0) -> str:
    """The last ``width`` numbers as bars, the newest at the right; ``most`` is a full one.

    Whatever is not nothing shows.
    """
    last = numbers[-width:]
    most = max(most or max(last, default=0.0), 0.0)
    if not most:
        return " " * width
    steps = [min(ceil(8 * n / most), 8) if n > 0 else 0 for n in last]
    return "".join([_BARS[step] for step in steps]).rjust(width)


@lru_cache(1 << 12)
def fitted(text: str, width: int) -> str:
    """Text in exactly so many columns of a terminal, cut off with ``…``."""
    if text.isascii() or max(text) < "\u0300":
        return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide a view's columns are: ``name``, then numbers, ``past``, then words; 0: left out.

    ``rest`` is what is left of the width that they were laid out for; less than 0: they are wider.
    """

    view: View
    name: int
    past: int
    words: tuple[int, ...]
    rest: int = 0

    def header(self) -> str:
        """The titles, and a mark at that which rows are sorted by."""
        cells = [self.view.title.ljust(self.name)]
        cells += [column.title.rjust(NUMBER) for column in self.view.columns]
        if self.past:
            cells.append("LAST MINUTE".ljust(self.past))
        cells += [fitted(word.upper(), width) for word, width in self._shown()]
        return " ".join(cells) + " " * self.rest

    def line(self, row: Row, past: str = "") -> str:
        """A row, as wide as the header; ``past`` are bars, as many as the layout has room for."""
        numbers = row.numbers
        cells = [fitted(row.label, self.name)]
        for column in self.view.columns:
            name = column.name
            cells.append(short(numbers[name]).rjust(NUMBER) if name in numbers else _NO_NUMBER)
        if self.past:
            cells.append(past)
        cells += [fitted(row.words(word) or NOTHING, width) for word, width in self._shown()]
        return " ".join(cells) + " " * self.rest

    def column_at(self, x: int) -> str:
        """The name of the column of numbers at a place in the header; empty at others."""
        columns = self.view.columns
        at = (x - self.name) // (NUMBER + 1)
        return columns[at].name if 0 <= at < len(columns) else ""

    def _shown(self) -> Iterable[tuple[str, int]]:
        return ((w, n) for w, n in zip(self.view.words, self.words, strict=True) if n)


def layout(view: View, widest: int, width: int, *, past: bool = False) -> Layout:
    """The columns of a view that fit: names (of which the ``widest`` has so many characters) and
    numbers always, then words, the first first."""
    name = min(max(widest, NAME_LEAST), NAME_MOST)
    left = width - name - len(view.columns) * (NUMBER + 1)
    if left < 0:  # the end of a long name is of less use than a number
        name = max(name + left, NAME_LEAST)
        left = 0
    drawn = PAST if past and width >= WIDE else 0
    left -= drawn + 1 if drawn else 0
    first = min(left - 1, WORDS_MOST) if left > 3 * WORDS_LEAST else left - 1
    second = left - first - 2
    words = (first if first >= WORDS_LEAST else 0, second if second >= WORDS_LEAST else 0)
    parts = (*(NUMBER for _ in view.columns), drawn, *words)
    return Layout(view, name, drawn, words, width - name - sum(n + 1 for n in parts if n))
