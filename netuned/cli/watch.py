"""``netunedctl watch``: what netuned changes and finds, a line each as it happens."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time

from netuned.bus.following import Follower
from netuned.cli.arguments import card_name, own_name
from netuned.cli.history import as_json, time_of
from netuned.cli.text import STATE_COLOURS, YELLOW, Screen
from netuned.history import HOST_LABEL, Entry
from netuned.reconcile.tally import DRIFT
from netuned.status import Status
from netuned.text import escape
from netuned.watching import Made, Watched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nics", metavar="NIC", nargs="*", type=card_name, help="show these cards alone, or host"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, an object in each line")


def run(arguments: argparse.Namespace) -> int:
    gc.enable()  # unlike the other commands it runs for long
    screen = Screen.of_stdout()
    with Follower() as follower:
        follower.begin()
        watched = Watched(follower.now, _meant(arguments.nics, follower.now))
        if sys.stdout.isatty():
            of = ", ".join(map(escape, arguments.nics)) or "all cards"
            print(f"Watching {of}; Ctrl-C ends it.", file=sys.stderr)
        for heard in follower.follow():
            latency_us = heard.latency_us if isinstance(heard, Made) else None
            for entry in watched.entries(heard, time.time()):
                if arguments.json:
                    line = json.dumps({**as_json(entry), "latency_us": latency_us}, default=dict)
                else:
                    line = _line(entry, screen)
                print(line, flush=True)
    return 0


def _meant(named: list[str], status: Status) -> frozenset[str]:
    """The cards that are meant and those they are tuned through; empty for all.

    Raises: NetunedError where there is no card of a name.
    """
    known = {nic.name: nic.altnames for nic in status.nics}
    cards = {own_name(name, known) for name in named if name != HOST_LABEL}
    through = {below for nic in status.nics if nic.name in cards for below in nic.through}
    return frozenset(cards | through | ({HOST_LABEL} & set(named)))


def _line(entry: Entry, screen: Screen) -> str:
    """One line, whatever the screen's width: a log is read by lines."""
    colour = YELLOW if entry.cause == DRIFT else STATE_COLOURS.get(entry.after, "")
    return f"{time_of(entry.at)} {screen.paint(escape(entry.message), colour)}"
