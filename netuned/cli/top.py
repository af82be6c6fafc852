"""``netunedctl top``: what each card, queue and CPU does now, refreshed; asks no daemon."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from netuned.bus import wire
from netuned.cli.arguments import card_name, own_name
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.text import escape, no_such
from netuned.top.lines import layout
from netuned.top.rows import CARD, CPU, NAME, VIEWS, Frame, Row, View, arranged

if TYPE_CHECKING:
    from netuned.hardware.nic import Nic
    from netuned.top.refreshing import Refreshing

INTERVAL_S = 1.0
LEAST_S, MOST_S = 0.1, 3600.0
COLUMNS = (NAME, *dict.fromkeys(column.name for view in VIEWS.values() for column in view.columns))

NO_SCREEN = (
    "the screen of top needs textual, which is not installed: `apt install python3-textual`, or "
    "`pip install 'netuned[top]'` where netuned is; `netunedctl top --plain` does without"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nics", metavar="NIC", nargs="*", type=card_name, help="these alone (default: all)"
    )
    parser.add_argument(
        "--by", choices=tuple(VIEWS), default=CARD, help="a row for each of these (default: card)"
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", choices=COLUMNS, default="", help="one of " + ", ".join(COLUMNS)
    )
    parser.add_argument("--filter", metavar="TEXT", default="", help="only rows with this text")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_seconds, default=INTERVAL_S, help="(default: 1)"
    )
    parser.add_argument("--once", action="store_true", help="one interval, then end")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--plain", action="store_true", help="tables, as where there is no terminal")
    form.add_argument("--json", action="store_true", help="print JSON, a line for each interval")
    form.add_argument("--csv", action="store_true", help="print CSV")


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not LEAST_S <= seconds <= MOST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {LEAST_S} to {MOST_S:.0f}")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    view = VIEWS[arguments.by]
    names = {NAME, *(column.name for column in view.columns)}
    if arguments.sort and not arguments.json and arguments.sort not in names:
        raise NetunedError(no_such(f"column by {view.name}", arguments.sort, sorted(names)))
    refreshing = _refreshing(arguments.nics)
    gc.freeze()  # what is there stays; the rest is collected, which main() leaves for the short
    gc.set_threshold(20_000)  # a refresh makes thousands of things, and nearly none in a cycle
    gc.enable()
    written = arguments.once or arguments.plain or arguments.json or arguments.csv
    if not written and _has_screen():
        return _on_screen(arguments, refreshing)
    for number, frame in enumerate(_frames(refreshing, arguments.interval, once=arguments.once)):
        if arguments.json:
            found = as_json(frame, arguments.sort, arguments.filter)
            _print_json(found, whole=arguments.once)
        elif arguments.csv:
            _print_csv(view, _rows(view, frame, arguments), header=not number)
        else:
            screen = Screen.of_stdout()
            print("\n" * bool(number) + show(view, frame, _rows(view, frame, arguments), screen))
        sys.stdout.flush()
    return 0


def _refreshing(names: Collection[str]) -> Refreshing:
    """Raises: NetunedError for a name that no card has."""
    from netuned.hardware.namespace import check_namespace
    from netuned.kernel import Kernel
    from netuned.top.refreshing import Refreshing

    kernel = Kernel()
    check_namespace(kernel)

    def is_asked(nic: Nic) -> bool:
        return not names or not {*map(wire.text, nic.names)}.isdisjoint(names)

    refreshing = Refreshing(kernel, is_asked)
    cards = {
        wire.text(nic.name): tuple(map(wire.text, nic.altnames))
        for nic in refreshing.cards().values()
    }
    for name in names:
        own_name(name, cards)
    return refreshing


def _has_screen() -> bool:
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    # textual reads standard input and writes to standard error
    return all(file and file.isatty() for file in (sys.stdin, sys.stdout, sys.stderr)) and not dumb


def _on_screen(arguments: argparse.Namespace, refreshing: Refreshing) -> int:
    try:
        from netuned.top.screen import Top
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise NetunedError(NO_SCREEN) from None
    Top(
        refreshing.refresh, arguments.interval, arguments.by, arguments.sort, arguments.filter
    ).follow()
    return 0


def _frames(refreshing: Refreshing, interval_s: float, *, once: bool) -> Iterator[Frame]:
    """A frame after each interval; what is late does not make the next ones later."""
    refreshing.refresh()
    due = time.monotonic()
    while True:
        due = max(due + interval_s, time.monotonic())
        time.sleep(max(due - time.monotonic(), 0))
        yield refreshing.refresh()
        if once:
            return


def _rows(view: View, frame: Frame, arguments: argparse.Namespace) -> list[Row]:
    rows = frame.rows[view.name]
    return [rows[key] for key in arranged(view, frame, arguments.sort, arguments.filter)]


def show(view: View, frame: Frame, rows: list[Row], screen: Screen) -> str:
    """A table of rows, what it is of, and what could not be read."""
    at = time.strftime("%H:%M:%S")
    laid = layout(view, frame.widest[view.name], screen.width)
    lines = [f"{at}, per second over {frame.seconds:.1f} s:", laid.header(), *map(laid.line, rows)]
    lines += (
        screen.sentence(f"Not known: {what} ({why})").rstrip("\n")
        for what, why in frame.missing.items()
    )
    return "\n".join(line.rstrip() for line in lines)


def as_json(frame: Frame, sort: str = "", needle: str = "") -> dict[str, Any]:
    """All views' rows, each sorted where it has that column."""
    found: dict[str, Any] = {"time": round(time.time(), 3), "seconds": round(frame.seconds, 3)}
    for view in VIEWS.values():
        known = sort if sort == NAME or any(c.name == sort for c in view.columns) else ""
        rows = (frame.rows[view.name][key] for key in arranged(view, frame, known, needle))
        found[f"{view.name}s"] = [dict(_fields(view, row, numbers=True)) for row in rows]
    return {**found, "missing": dict(frame.missing)}


def _fields(view: View, row: Row, *, numbers: bool) -> Iterator[tuple[str, object]]:
    """Of a row, by name; with ``numbers`` sets of CPUs as these besides, and lists as such."""
    ifindex, number = row.key
    if view.name != CPU:
        yield "card", wire.text(row.card) if numbers else escape(row.card)
        yield "ifindex", ifindex
    if view.name != CARD:
        yield view.name, number
    yield "node", row.node
    yield "l3", str(row.l3)
    for column in view.columns:
        value = row.numbers.get(column.name)
        yield column.name, value if value is None else round(value, 1)
    if view.name == CPU:
        yield "queues", row.queues
    else:
        yield "cpus", str(row.cpus)
        if numbers:
            yield "cpus_value", list(row.cpus)
    yield "processes", list(row.processes) if numbers else ", ".join(row.processes)


def _print_json(found: dict[str, Any], *, whole: bool) -> None:
    if whole:
        print_json(found)
        return
    import json

    print(json.dumps(found))


def _print_csv(view: View, rows: Iterable[Row], *, header: bool) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    now = round(time.time(), 3)
    for row in rows:
        fields = dict(_fields(view, row, numbers=False))
        if header:
            writer.writerow(["time", *fields])
            header = False
        writer.writerow([now, *fields.values()])
