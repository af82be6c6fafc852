"""``netunedctl fleet``: what a change would do to many hosts, and which of them have drifted."""

from __future__ import annotations

import argparse
import functools
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from netuned.bus import wire
from netuned.cli import answers
from netuned.cli import plan as plans
from netuned.cli import status as statuses
from netuned.cli.arguments import add_profiles
from netuned.cli.report import needing_jinja
from netuned.cli.text import BOLD, Screen, print_json
from netuned.errors import NetunedError
from netuned.plan import Plan
from netuned.status import IN_SYNC, Status
from netuned.text import counted, escape

if TYPE_CHECKING:
    from netuned.fleet.groups import Group, Seen, Unread
    from netuned.fleet.planned import Planned

T = TypeVar("T")

MOST_JOBS = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whats = parser.add_subparsers(metavar="WHAT", required=True, dest="what")
    plan = whats.add_parser("plan", help="plan every snapshot, and group hosts by what changes")
    plan.add_argument(
        "words",
        metavar="DIR|FILE",
        nargs="+",
        help="snapshots or described machines; of a DIR what ends in .tar.xz, .tar.gz, .tar, .yaml",
    )
    add_profiles(plan, "with these profiles (several times, too; default: a snapshot's own)")
    plan.add_argument(
        "--against",
        metavar="DIR",
        action="append",
        default=[],
        help="show what these make otherwise than the profiles in here; own: each snapshot's own",
    )
    drift = whats.add_parser("drift", help="group hosts by what is not as their profiles say")
    drift.add_argument(
        "words",
        metavar="DIR|FILE",
        nargs="+",
        help="what `netunedctl status --json` printed, a file of each host; of a DIR what ends in "
        ".json",
    )
    for command in (plan, drift):
        command.add_argument(
            "--jobs",
            metavar="N",
            type=_jobs,
            default=len(os.sched_getaffinity(0)),
            help="processes at work (default: one per CPU)",
        )
        form = command.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON")
        if command is plan:
            form.add_argument("--html", action="store_true", help="print a page of HTML")
    plan.add_argument(
        "--exit-code",
        action="store_true",
        help="exit with 3 if something would be changed or cannot be had, 1 if there are problems",
    )
    drift.add_argument("--exit-code", action="store_true", help="exit with 3 if not all in sync")


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_JOBS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_JOBS}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    gc.enable()  # main() is for what is short
    return _plan(arguments) if arguments.what == "plan" else _drift(arguments)


def _plan(arguments: argparse.Namespace) -> int:
    from netuned.fleet import files, planned

    against = tuple(d for d in arguments.against if d != planned.OWN)
    if against and len(against) < len(arguments.against):
        raise NetunedError(f"--against: {planned.OWN} goes with no directory")
    for directories in filter(None, (tuple(arguments.profiles), against)):
        _refuse_mistakes(directories)
    page = _hosts_page() if arguments.html else None  # before anything is planned
    question = planned.Question(tuple(arguments.profiles), against if arguments.against else None)
    work = functools.partial(planned.plan_host, question)
    groups, unread = _grouped(arguments, work, files.SNAPSHOTS)
    if page:
        for piece in page.html(groups, unread, question, time.time()):
            sys.stdout.buffer.write(piece.encode("utf-8", "backslashreplace"))
    elif arguments.json:
        print_json(_as_json(groups, unread, planned.KINDS, _plan_as_json))
    else:
        _print(groups, unread, planned.KINDS, _show_plan)
    of_no_use = arguments.profiles and not any(group.example.shown.matched for group in groups)
    if unread or of_no_use:
        return 1
    if not arguments.exit_code:
        return 0
    shown = [group.example.shown.plan for group in groups]
    if any(plan.problems for plan in shown):
        return 1
    pending = any(plan.changes or plan.withheld or plan.unsupported for plan in shown)
    return answers.PENDING if pending else 0


def _hosts_page() -> ModuleType:
    """What makes the page. Raises: NetunedError where Jinja2 is not installed."""
    with needing_jinja():
        from netuned.report import hosts
    return hosts


def _refuse_mistakes(directories: tuple[str, ...]) -> None:
    """Raises: NetunedError where profiles have mistakes on every host, after what these are."""
    from netuned.snapshots import offline

    for directory in directories:
        if not os.path.isdir(directory):
            raise NetunedError(f"{directory}: is no directory of profiles; name one")
    errors = offline.load_found(None, None, directories).errors
    for said in (*map(str, errors), *offline.where_templates_are(errors, directories)):
        print(escape(said), file=sys.stderr)
    if errors:
        raise NetunedError(
            f"nothing is planned until the profiles in {', '.join(directories)} are mended: "
            "`netunedctl check` with their files says when they are"
        )


def _drift(arguments: argparse.Namespace) -> int:
    from netuned.fleet import drifted, files

    groups, unread = _grouped(arguments, drifted.look, files.STATUSES)
    if arguments.json:
        print_json(_as_json(groups, unread, drifted.KINDS, _drift_as_json))
    else:
        _print(groups, unread, drifted.KINDS, _show_drift)
    if unread:
        return 1
    settled = all(drifted.KINDS[group.example.rank] == IN_SYNC for group in groups)
    return answers.PENDING if arguments.exit_code and not settled else 0


def _grouped(
    arguments: argparse.Namespace,
    work: Callable[..., Seen[T] | Unread],
    suffixes: tuple[str, ...],
) -> tuple[list[Group[T]], list[Unread]]:
    from netuned.fleet import files, groups, pool

    found = files.find(arguments.words, suffixes)
    return groups.grouped(pool.each(work, found, arguments.jobs))


def _print(
    groups: Sequence[Group[T]],
    unread: Sequence[Unread],
    kinds: Sequence[str],
    show: Callable[[Group[T], Screen], str],
) -> None:
    from netuned.fleet.groups import counts, folded

    screen = Screen.of_stdout()
    print(screen.sentence(counts(groups, unread, kinds)), end="")
    for group in groups:
        head = f"{counted(len(group.hosts), 'host')}, {kinds[group.example.rank]}"
        print(f"\n{screen.paint(head, BOLD)}")
        print(screen.sentence(folded(map(wire.text, group.hosts)), "  "), end="")
        if text := show(group, screen):
            print(f"\n{text}", end="")
    if unread:
        print(f"\n{screen.paint('Cannot be read', BOLD)}")
        for each in unread:  # not wrapped, for then a long path would be cut
            print(f"  {escape(each.why)}")


def _show_plan(group: Group[Planned], screen: Screen) -> str:
    from netuned.fleet.planned import in_short, others

    plan = plans.told(group.example.shown.plan)
    if plan == Plan(()):
        return ""
    short = replace(
        plan, changes=tuple(in_short(plan.changes)), withheld=tuple(in_short(plan.withheld))
    )
    text = plans.show(plans.Answer(short, {}), (), screen)
    if not group.alike:
        text += "\n" + screen.sentence(wire.text(others(group)))
    return text


def _show_drift(group: Group[Status], screen: Screen) -> str:
    status = group.example.shown
    manager = replace(status.manager, state="")  # which is told already
    parts = (statuses.cards(status.nics, screen), statuses.of_host(manager, screen))
    text = "\n".join(filter(None, parts))
    if not group.alike:
        text += "\n" + screen.sentence(
            f"So it is of {wire.text(group.example.host)}. The others are so in the same settings, "
            "maybe for other reasons."
        )
    return text


def _plan_as_json(group: Group[Planned]) -> dict[str, object]:
    return plans.as_json(plans.told(group.example.shown.plan))


def _drift_as_json(group: Group[Status]) -> dict[str, object]:
    return {"status": asdict(group.example.shown)}


def _as_json(
    groups: Sequence[Group[T]],
    unread: Sequence[Unread],
    kinds: Sequence[str],
    shown: Callable[[Group[T]], dict[str, object]],
) -> dict[str, object]:
    """The documented form."""
    return {
        "groups": [
            {
                "kind": kinds[group.example.rank],
                "hosts": [wire.text(host) for host in group.hosts],
                "alike": group.alike,
                **shown(group),
            }
            for group in groups
        ],
        "unread": [{"path": wire.text(each.path), "why": wire.text(each.why)} for each in unread],
    }
