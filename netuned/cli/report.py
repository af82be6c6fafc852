"""``netunedctl report``: one page that shows the host, its cards' queues, the plan and the rest."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netuned.cli import answers, doctor
from netuned.cli import plan as plans
from netuned.cli.arguments import add_profiles, add_snapshot, duration_s
from netuned.cli.text import Screen
from netuned.errors import HistoryError, NetunedError
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.bus.client import Client
    from netuned.hardware.host import Host
    from netuned.kernel import Kernel
    from netuned.plan import Plan
    from netuned.planning.planner import Desired
    from netuned.profiles.loader import ProfileSet
    from netuned.status import Status

DEFAULT = "netuned-report.html"
DEFAULT_S = 10
REPAIRS = 200
"""Queues that were set alike share a row."""
STDOUT = "-"

NO_JINJA = (
    "pages need Jinja2, which is not installed: `apt install python3-jinja2`, or "
    "`pip install 'netuned[report]'` where netuned came from there"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        default=DEFAULT,
        help=f"where to, - is standard output (default: {DEFAULT})",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="seconds",
        type=_seconds,
        help=f"measure so long, like 30s or 2min; off: not at all (default: {DEFAULT_S}s)",
    )
    add_snapshot(parser)
    add_profiles(parser)


def _seconds(text: str) -> int:
    return 0 if text == "off" else duration_s(text)


def run(arguments: argparse.Namespace) -> int:
    from netuned.snapshots.archive import new_file, refuse_existing

    if arguments.seconds and arguments.snapshot is not None:
        raise NetunedError("--for measures this host; a snapshot is of one that is not here")
    if arguments.out == STDOUT:
        sys.stdout.buffer.write(_page(arguments))
        return 0
    refuse_existing(arguments.out, force=arguments.force)
    with new_file(arguments.out) as file:  # before it is measured: it may not be to be made
        file.write(_page(arguments))
    print(Screen.of_stdout().sentence(f"Wrote {arguments.out}."), end="")
    return 0


@contextmanager
def needing_jinja() -> Iterator[None]:
    """For imports. Raises: NetunedError where Jinja2 is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise NetunedError(NO_JINJA) from None


def _page(arguments: argparse.Namespace) -> bytes:
    """The document. Raises: NetunedError."""
    with needing_jinja():
        from netuned.report.page import Page, html
    from netuned.doctor.examine import examine
    from netuned.report.seen import see
    from netuned.snapshots import offline

    kernel, profiles = offline.load(arguments.snapshot, arguments.profiles)
    hints = offline.where_templates_are(profiles.errors, arguments.profiles)
    for said in (*map(str, profiles.errors), *hints):
        print(escape(said), file=sys.stderr)
    known = offline.host_and_desired(kernel, profiles)
    what, findings, unmeasured, source = None, None, "--for is off", "this host"
    unseen: Mapping[str, str] = {}
    if arguments.snapshot is not None:
        facts, what = doctor.recorded(arguments.snapshot, None)
        unmeasured = doctor.NO_SAMPLES
        source = f"the host of {os.path.basename(arguments.snapshot)}"
    elif seconds := DEFAULT_S if arguments.seconds is None else arguments.seconds:
        facts, what = doctor.look(None, seconds)
    if what is not None:
        findings, unseen = examine(facts, what), facts.missing
        what = what if what.seconds else None
    given = arguments.snapshot is not None or bool(arguments.profiles)
    status, plan, notes = _state(kernel, profiles, known, given=given)
    seen = see(kernel, profiles, known, status, what, unmeasured)
    notes += tuple(f"Not seen: {of} ({why})" for of, why in unseen.items())
    here = arguments.snapshot is None
    repairs, unread = _repairs() if here else ((), "of a snapshot there is no journal")
    text = html(Page(seen, status, plan, time.time(), source, notes, findings, repairs, unread))
    return text.encode("utf-8", "backslashreplace")


def _repairs() -> tuple[tuple[tuple[str, ...], ...], str]:
    """What the journal has of the last ones, the newest first; or why that cannot be read."""
    from netuned.cli.history import rows
    from netuned.history import read
    from netuned.reconcile.tally import DRIFT

    try:
        entries, _ = read(most=REPAIRS, cause=DRIFT)
    except HistoryError as error:
        return (), str(error)
    return tuple((*cells, why) for cells, why in rows(entries))[::-1], ""


def _state(
    kernel: Kernel, profiles: ProfileSet, known: tuple[Host, Desired], *, given: bool
) -> tuple[Status, Plan, tuple[str, ...]]:
    """How all is and what would be changed, as the daemon has it; or found here, and why.

    ``given``: the host or its profiles are not those of the daemon.
    """
    from netuned.snapshots import offline, unaided

    def daemon(client: Client) -> tuple[Status, Plan, tuple[str, ...]]:
        return client.status(), plans.of_daemon(client).plan, ()

    def alone(absent: str) -> tuple[Status, Plan, tuple[str, ...]]:
        status = unaided.look_at(kernel, profiles, known)
        plan = offline.plan(kernel, profiles, known)
        return status, plan, tuple(filter(None, (absent, *status.manager.problems)))

    return alone("") if given else answers.ask(daemon, alone)
