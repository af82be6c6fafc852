"""``netunedctl plan``: what would be changed, from what, to what, why, and at what price."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.cli.text import Screen, print_json
from netuned.cpuset import CpuSet
from netuned.plan import Change, Plan, Problem
from netuned.text import escape
from netuned.values import describe

PENDING = 3
"""The exit status for pending changes."""

_QUEUE = re.compile(r"([a-z]+)-([0-9]+)((?: .*)?)")

NOTHING = "Nothing to do: every card with a profile is as the profile says.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 if changes pend")
    parser.add_argument(
        "--snapshot",
        metavar="FILE",
        help="plan without the daemon, for the host of a snapshot or a described machine",
    )
    parser.add_argument(
        "--profiles",
        metavar="DIR",
        action="append",
        default=[],
        help="plan without the daemon, with the profiles in here (may be given several times)",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.snapshot is not None or arguments.profiles:
        plan, complete = plan_offline(arguments.snapshot, arguments.profiles)
    else:
        with Client() as client:
            plan, complete = client.plan(), True
    if arguments.json:
        print_json(as_json(plan))
    elif complete or plan.changes or plan.problems:
        print(show(plan, Screen.of_stdout()), end="")
    if not arguments.exit_code:
        return 0
    return 1 if plan.problems or not complete else PENDING if plan.changes else 0


def plan_offline(path: str | None, directories: Sequence[str]) -> tuple[Plan, bool]:
    """The plan for a snapshot, a described machine or (None) this host, names as over D-Bus.

    Mistakes in profiles go to standard error. Also says whether there were none.
    """
    from netuned.snapshots import offline

    kernel, profiles = offline.load(path, directories)
    for error in profiles.errors:
        print(escape(str(error)), file=sys.stderr)
    plan = offline.plan(kernel, profiles)
    changes = (replace(change, ifname=wire.text(change.ifname)) for change in plan.changes)
    problems = (Problem(wire.text(p.ifname), wire.text(p.message)) for p in plan.problems)
    return Plan(tuple(changes), tuple(problems)), not profiles.errors


def show(plan: Plan, screen: Screen) -> str:
    """The plan as people read it."""
    if not plan.changes and not plan.problems:
        return NOTHING
    parts = []
    if plan.changes:
        parts.append(show_changes(plan.changes, screen))
        if cards := dict.fromkeys(c.ifname for c in plan.changes if c.disruptive):
            parts.append(
                screen.sentence(f"Disruptive changes drop the link of {', '.join(cards)}.")
            )
    if plan.problems:
        parts.append(show_problems(plan.problems, screen))
    return "\n".join(parts)


def show_changes(changes: Iterable[Change], screen: Screen) -> str:
    """Changes as a table in the order they are made, queues with the same one in one row."""
    header = ("CARD", "SETTING", "FROM", "TO", "DISRUPTIVE", "WHY")
    rows = (
        (
            (
                change.ifname or "host",
                setting,
                describe(change.before),
                describe(change.after),
                "yes" if change.disruptive else "no",
            ),
            change.why,
        )
        for setting, change in grouped(changes)
    )
    return screen.table_with_reasons(header, rows)


def grouped(changes: Iterable[Change]) -> Iterator[tuple[str, Change]]:
    """The rows of a plan: a setting, and the change or the first of the changes it stands for.

    One tunable's changes that differ in nothing but the queue are one row, ``rps rx 0-7``, at the
    place of the first.
    """
    for (_, tunable), run in groupby(changes, key=lambda change: (change.ifname, change.tunable)):
        alike: dict[tuple[object, ...], list[Change]] = {}
        for change in run:
            kind, index, rest = _parts(change.key)
            same = (
                kind,
                index is None,
                rest,
                change.before,
                change.after,
                change.why,
                change.disruptive,
            )
            alike.setdefault(same, []).append(change)
        for first, *others in alike.values():
            key = first.key
            if others:
                kind, _, rest = _parts(key)
                queues = (_parts(change.key)[1] or 0 for change in (first, *others))
                key = f"{kind} {CpuSet.of(queues)}{rest}"
            yield f"{tunable} {key}".rstrip(), first


def _parts(key: str) -> tuple[str, int | None, str]:
    """``rx-3`` is the receive queue 3, ``tx-3 fq limit`` a setting of a queue; else none."""
    queue = _QUEUE.fullmatch(key)
    return (queue[1], int(queue[2]), queue[3]) if queue else (key, None, "")


def show_problems(problems: Iterable[Problem], screen: Screen) -> str:
    """What stands in the way, a paragraph each."""
    return "".join(screen.sentence(f"{item.ifname or 'host'}: {item.message}") for item in problems)


def as_json(plan: Plan) -> dict[str, object]:
    """The documented form: values are text, or null for what does not exist yet."""
    return {
        "changes": [change_as_json(change) for change in plan.changes],
        "problems": [{"ifname": p.ifname, "message": p.message} for p in plan.problems],
    }


def change_as_json(change: Change) -> dict[str, object]:
    """One change of the documented form."""
    return {
        "ifname": change.ifname,
        "tunable": change.tunable,
        "key": change.key,
        "before": describe(change.before) or None,
        "after": describe(change.after),
        "why": change.why,
        "disruptive": change.disruptive,
    }
