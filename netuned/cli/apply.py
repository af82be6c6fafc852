"""``netunedctl apply``: brings cards into the state their profiles describe, now."""

from __future__ import annotations

import argparse
import sys

from netuned.bus.client import Client
from netuned.cli import cutoff
from netuned.cli.arguments import card_name, duration_s
from netuned.cli.plan import (
    NOT_ALL,
    NOTHING,
    Answer,
    change_as_json,
    nothing_of,
    of_daemon,
    show_changes,
    show_problems,
    show_unsupported,
    show_withheld,
    unsupported_as_json,
    withheld_as_json,
)
from netuned.cli.text import Screen, print_json
from netuned.plan import Change, Plan
from netuned.status import Status
from netuned.text import escape
from netuned.valuejson import typed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="only this card"
    )
    parser.add_argument(
        "--confirm",
        metavar="TIME",
        type=duration_s,
        default=0,
        help="undo it after this time, like 60s, unless `netunedctl confirm` comes",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        before = _plan(client, arguments.nic).plan
        warnings = cutoff.warnings(before.changes, tried=bool(arguments.confirm))
        for warning in warnings:  # before it happens: nothing may be seen after it
            print(f"netunedctl: {escape(warning)}", file=sys.stderr, flush=True)
        id, until = "", ""
        if arguments.confirm:
            id, until = client.begin_trial(arguments.nic, arguments.confirm)
        else:
            client.reconcile(arguments.nic)
        planned = _plan(client, arguments.nic)
        after, status = planned.plan, client.status()
    pending = {_setting(change) for change in after.changes}
    applied = tuple(
        change
        for change in before.changes
        if _setting(change) not in pending and _is_made(change, after, status)
    )
    if arguments.json:
        print_json(
            {
                "applied": [change_as_json(change) for change in applied],
                "pending": [change_as_json(change) for change in after.changes],
                "withheld": withheld_as_json(after),
                "unsupported": unsupported_as_json(after),
                "problems": [{"ifname": p.ifname, "message": p.message} for p in after.problems],
                "confirm": {"id": id, "until": until} if id else None,
                "warnings": warnings,
            }
        )
    else:
        screen = Screen.of_stdout()
        names = tuple(planned.cards) if arguments.nic else ()
        done = "".join(screen.sentence(nothing_of(name, planned)) for name in names) or NOTHING
        print(show(applied, after, screen) or done, end="")
        if id:
            keep = f"Undone at {until}, unless confirmed: netunedctl confirm {id}"
            if any(not change.ifname for change in after.changes):
                keep += " (only then the host's own settings change)"
            print("\n" + screen.sentence(keep), end="")
    waiting = {change for change in after.changes if id and not change.ifname}
    return 1 if set(after.changes) - waiting or after.problems else 0


def show(applied: tuple[Change, ...], after: Plan, screen: Screen) -> str:
    """What was done, and what could not be; empty if there was nothing to do."""
    parts = []
    if applied:
        parts.append("Applied:\n" + show_changes(applied, screen))
    if after.changes:
        parts.append("Still pending:\n" + show_changes(after.changes, screen))
    if after.withheld:
        parts.append(show_withheld(after.withheld, screen))
    if after.problems:
        parts.append(show_problems(after.problems, screen))
    if after.unsupported:
        parts = [*(parts or [NOT_ALL]), show_unsupported(after.unsupported, screen)]
    return "\n".join(parts)


def _plan(client: Client, nic: str) -> Answer:
    """The daemon's plan, of a card if one is named; and what stands in the way of all."""
    answer = of_daemon(client)
    if not nic:
        return answer
    return answer.of(answer.own_names([nic]))


def _is_made(change: Change, after: Plan, status: Status) -> bool:
    """Whether a change that is not pending was made; it may be what cannot be had."""
    at = change.ifname, change.tunable
    if at not in {(lack.ifname, lack.tunable) for lack in after.unsupported}:
        return True
    settings = [(nic.name, setting) for nic in status.nics for setting in nic.settings]
    settings += [("", setting) for setting in status.manager.settings]
    found = {(name, setting.tunable): setting.found_values for name, setting in settings}
    return bool(found.get(at, {}).get(change.key) == typed(change.after))


def _setting(change: Change) -> tuple[str, str, str]:
    return change.ifname, change.tunable, change.key
