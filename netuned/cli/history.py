"""``netunedctl history``: what was changed, why, and who asked for it; asks no daemon."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from netuned.cli.arguments import card_name
from netuned.cli.plan import grouped
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.history import (
    CHANGE,
    FAILURE,
    HOST_LABEL,
    LEFT,
    MOST,
    REQUEST,
    Caller,
    Entry,
    read,
)
from netuned.plan import Change
from netuned.regex import regex
from netuned.text import did_you_mean, escape
from netuned.values import Told, describe

WHEN = "like 30min, 2h, 3d, today, yesterday, 14:30, 2026-11-26 or 2026-11-26 14:30"

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = regex(r"(\d{1,6})\s*(s|min|m|h|d|w)( ago)?", re.ASCII)
_CLOCK = regex(r"\d\d:\d\d(:\d\d)?", re.ASCII)

_BEFORE = {LEFT: "left so: ", FAILURE: "failed: "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="show this card's alone"
    )
    parser.add_argument(
        "--since", metavar="WHEN", type=parse_when, default=0.0, help=f"show no older: {WHEN}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    names = _names() if arguments.nic else {}
    own = (own for own, also in names.items() if arguments.nic in also)
    ifname, since = escape(next(own, arguments.nic)), arguments.since
    entries, more = read(ifname, since)
    if arguments.json:
        print_json({"entries": [as_json(entry) for entry in entries], "more": more})
        return 0
    screen = Screen.of_stdout()
    if more:
        left_out = f"Older ones are left out: these are the newest {MOST:,}."
        print(screen.sentence(f"{left_out} journalctl -t netuned has all."))
    nothing = _nothing(ifname, since, "" if ifname in names else did_you_mean(ifname, names))
    print(show(entries, screen) if entries else screen.sentence(nothing), end="")
    return 0


def _names() -> dict[str, tuple[str, ...]]:
    """The cards that are here now, with their alternative names; one on record may have left."""
    from netuned.kernel import Kernel
    from netuned.kernel.questions import LINKS

    try:
        return {link.name: link.altnames for link in Kernel().dump(LINKS).values()}
    except NetunedError:
        return {}


def parse_when(text: str) -> float:
    """A time as people write it, in seconds since the epoch. Raises: ArgumentTypeError."""
    midnight = datetime.combine(datetime.today(), datetime.min.time())
    try:
        if ago := _AGO.fullmatch(text):
            return max(0.0, time.time() - int(ago[1]) * _UNITS_S[ago[2]])
        if text in ("today", "yesterday"):
            return (midnight - timedelta(days=text == "yesterday")).timestamp()
        if _CLOCK.fullmatch(text):
            text = f"{midnight.date()} {text}"
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time {WHEN}") from None


def _nothing(ifname: str, since: float, hint: str) -> str:
    of = f" of {ifname}" if ifname else ""
    after = f" since {time_of(since)}" if since else ""
    return f"Nothing{of} is on record{after}{f'; {hint}' if hint else '.'}"


def show(entries: Iterable[Entry], screen: Screen) -> str:
    """A table, the oldest first; queues that were set alike within a second share a row."""
    header = ("TIME", "NIC", "SETTING", "FROM", "TO", "WHY")
    return screen.table_with_reasons(header, rows(entries))


def rows(entries: Iterable[Entry]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is under that header: cells, and why."""

    def alike(entry: Entry) -> tuple[int, bool]:
        return int(entry.at), bool(entry.after)

    for (at, is_of_changes), run in groupby(entries, key=alike):
        when = time_of(at)
        if is_of_changes:
            for setting, change in grouped(map(_as_change, run)):
                values = describe(change.before), describe(change.after)
                yield (when, change.ifname, setting, *values), change.why
            continue
        for entry in run:
            setting = f"{entry.tunable} {entry.key}".rstrip()
            if entry.kind == REQUEST:
                names, what = "all", f"({entry.cause}) {setting}".rstrip()
            else:
                names, what = HOST_LABEL, setting or f"({entry.kind})"
            yield (when, ", ".join(entry.ifnames) or names, what, "", ""), _why(entry)


def _as_change(entry: Entry) -> Change:
    """What a plan's rows are made of, with the texts of an entry."""
    before: Any = Told(entry.before) if entry.before else None
    after: Any = Told(entry.after)
    names = ", ".join(entry.ifnames) or HOST_LABEL
    return Change(names, entry.tunable, entry.key, before, after, _why(entry))


def _why(entry: Entry) -> str:
    """Who asked, or what the cause was; what came by a signal has no caller, and says so."""
    if entry.kind == REQUEST and entry.caller != Caller():
        return f"asked for by {entry.caller}"
    if entry.kind == REQUEST:
        return entry.message.rpartition(":")[0]
    why = f"{_BEFORE.get(entry.kind, '')}{entry.cause}"
    return f"{why}, by {entry.writer}" if entry.writer and entry.kind == CHANGE else why


def time_of(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def as_json(entry: Entry) -> dict[str, object]:
    """The documented form."""
    caller = entry.caller
    return {
        "at": entry.at,
        "kind": entry.kind,
        "ifnames": list(entry.ifnames),
        "tunable": entry.tunable,
        "key": entry.key,
        "before": entry.before or None,
        "after": entry.after or None,
        "cause": entry.cause,
        "writer": entry.writer,
        "caller": caller and asdict(caller),
        "message": entry.message,
    }
