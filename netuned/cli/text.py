"""Text for a terminal: tables that fit its width, colour where there is one, sentences.

Not rich's tables: with them ``netunedctl status`` takes 70 ms instead of 40.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence

from netuned import status
from netuned.regex import regex
from netuned.text import escape

NARROW = 80
NOTHING = "-"
GAP = "  "

BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
STATE_COLOURS = {
    status.IN_SYNC: GREEN,
    status.STARTING: YELLOW,
    status.APPLYING: YELLOW,
    status.DRIFTED: YELLOW,
    status.CONTENDED: YELLOW,
    status.DEGRADED: RED,
    "yes": YELLOW,
}

_WORD = regex(r"[^ ,]*,?[ ]*")
"""A piece of text that is never divided: up to a space, or a comma as in a CPU list."""


class Screen:
    """Where output goes: ``width`` in columns, and whether it shows colours."""

    def __init__(self, width: int = NARROW, *, colour: bool = False) -> None:
        self.width = width
        self.colour = colour

    @classmethod
    def of_stdout(cls) -> Screen:
        """80 columns without a terminal; COLUMNS and NO_COLOR (set to anything) count."""
        columns = os.environ.get("COLUMNS", "")
        terminal = sys.stdout.isatty()
        if columns.isascii() and columns.isdigit() and len(columns) < 6 and int(columns):
            width = int(columns)
        elif terminal:
            width = os.get_terminal_size(sys.stdout.fileno()).columns or NARROW
        else:
            width = NARROW
        return cls(width, colour=terminal and not os.environ.get("NO_COLOR"))

    def paint(self, text: str, code: str) -> str:
        """``text`` in a colour (an SGR code), where this screen has any."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], *, keep_last: bool = False
    ) -> str:
        """Rows under a header, in columns as wide as needed; lines end with a newline.

        Too wide a table has its widest columns narrowed; what does not fit goes on in the next
        line, divided at spaces and commas. Empty cells show ``-``; a last column all empty is
        left out unless ``keep_last``. States are coloured.
        """
        rows = list(rows)
        if not keep_last and not any(row[-1] for row in rows):
            header = header[:-1]
            rows = [row[:-1] for row in rows]
        return "".join(self._lines(header, rows))

    def table_with_notes(
        self, header: Sequence[str], rows: Iterable[tuple[Sequence[str], str, str]]
    ) -> str:
        """A table whose last column is long: ``rows`` are (cells, note, whom the note is about).

        Where the notes make the table too wide they go under it, each once.
        """
        rows = list(rows)
        whole = [[*cells, note] for cells, note, _ in rows]
        if self._fits([header, *whole]):
            return self.table(header, whole)
        notes = dict.fromkeys(f"{whom}: {note}" for _, note, whom in rows if note)
        table = self.table(header[:-1], (cells for cells, _, _ in rows), keep_last=True)
        return "\n".join(filter(None, (table, "".join(map(self.sentence, notes)))))

    def table_with_reasons(
        self, header: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]
    ) -> str:
        """A table whose last column is a reason: ``rows`` are (cells, reason).

        Where the reasons make the table too wide, each is a line below the rows that share it.
        """
        rows = list(rows)
        whole = [[*cells, reason] for cells, reason in rows]
        if self._fits([header, *whole]):
            return self.table(header, whole)
        header_line, *lines = self._lines(header[:-1], (cells for cells, _ in rows))
        parts = [header_line]
        for number, (line, (_, reason)) in enumerate(zip(lines, rows, strict=True), 1):
            parts.append(line)
            if reason and (number == len(rows) or rows[number][1] != reason):
                parts.append(self.sentence(f"why: {reason}", "  "))
        return "".join(parts)

    def _fits(self, rows: Iterable[Sequence[str]]) -> bool:
        natural = [max(columns_of(escape(c)) for c in column) for column in zip(*rows, strict=True)]
        return sum(natural) + len(GAP) * (len(natural) - 1) <= self.width

    def _lines(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
        """The header and each row as text."""
        cells = [[escape(cell) or NOTHING for cell in row] for row in rows]
        widths = _fit([list(header), *cells], self.width)
        return [self._row(header, widths, BOLD), *(self._row(row, widths) for row in cells)]

    def _row(self, row: Sequence[str], widths: Sequence[int], code: str = "") -> str:
        columns = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines = []
        for number in range(max(map(len, columns))):
            line = ""
            for column, width in zip(columns, widths, strict=True):
                piece = column[number] if number < len(column) else ""
                colour = code or STATE_COLOURS.get(piece, "")
                line += self.paint(piece, colour) + " " * (width - columns_of(piece)) + GAP
            lines.append(line.rstrip() + "\n")
        return "".join(lines)

    def sentence(self, text: str, indent: str = "") -> str:
        """A paragraph, its second and further lines two columns further in than its first."""
        first, *rest = wrap(escape(text), max(self.width - len(indent) - 2, 20))
        return "".join([f"{indent}{first}\n", *(f"{indent}  {line}\n" for line in rest)])


def wrap(text: str, width: int) -> list[str]:
    """Lines at most ``width`` columns wide; a word longer than that is cut, ending in ``…``."""
    if columns_of(text) <= width:
        return [text]
    lines = [""]
    for word in _WORD.findall(text):
        if lines[-1] and columns_of(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [_cut(line.rstrip(), width) for line in lines]


def columns_of(text: str) -> int:
    """How many columns text takes on a terminal."""
    if max(text, default="") < "\u0300":
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    if columns_of(text) <= width:
        return text
    while columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _fit(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Column widths, at most ``width`` together: the widest gives way, down to its longest word."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(columns_of, column)) for column in columns]
    least = [
        max(columns_of(word.rstrip()) for cell in column for word in _WORD.findall(cell))
        for column in columns
    ]
    room = width - len(GAP) * (len(columns) - 1)
    while (excess := sum(widths) - room) > 0:
        loose = [i for i in range(len(widths)) if widths[i] > least[i]]
        # Where longest words alone are too wide, some are cut.
        widest = max(loose or range(len(widths)), key=lambda i: widths[i])
        others = [widths[i] for i in loose if i != widest]
        step = max(1, min(excess, widths[widest] - max(others, default=0)))
        floor = least[widest] if loose else 1
        if widths[widest] <= floor:
            break
        widths[widest] = max(floor, widths[widest] - step)
    return widths


def lasting(since: float) -> str:
    """`` for 5 min``: how long it is so, by seconds since the epoch; empty for 0, not known."""
    if not since:
        return ""
    seconds = max(int(time.time() - since), 0)
    for unit, size, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * 86400)):
        if seconds < most:
            return f" for {seconds // size} {unit}"
    return f" for {seconds // 86400} d"


def print_json(data: object) -> None:
    """One JSON document, with keys in the order of the data; any mapping is an object."""
    import json

    json.dump(data, sys.stdout, indent=2, default=dict)
    print()
