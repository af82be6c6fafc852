"""``netunedctl apply``: brings cards into the state their profiles describe, now."""

from __future__ import annotations

import argparse

from netuned.bus.client import Client
from netuned.cli.plan import NOTHING, change_as_json, show_changes, show_problems
from netuned.cli.text import Screen, card_name, print_json
from netuned.plan import Change, Plan
from netuned.status import Status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="only this card"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        names = _cards(client.status(), arguments.nic) if arguments.nic else ()
        before = _only(client.plan(), names)
        client.reconcile(arguments.nic)
        after = _only(client.plan(), names)
    pending = {_setting(change) for change in after.changes}
    applied = tuple(change for change in before.changes if _setting(change) not in pending)
    if arguments.json:
        print_json(
            {
                "applied": [change_as_json(change) for change in applied],
                "pending": [change_as_json(change) for change in after.changes],
                "problems": [{"ifname": p.ifname, "message": p.message} for p in after.problems],
            }
        )
    else:
        print(show(applied, after, Screen.of_stdout()), end="")
    return 1 if after.changes or after.problems else 0


def show(applied: tuple[Change, ...], after: Plan, screen: Screen) -> str:
    """What was done, and what could not be."""
    parts = []
    if applied:
        parts.append("Applied:\n" + show_changes(applied, screen))
    if after.changes:
        parts.append("Still pending:\n" + show_changes(after.changes, screen))
    if after.problems:
        parts.append(show_problems(after.problems, screen))
    return "\n".join(parts) or NOTHING


def _cards(status: Status, ifname: str) -> tuple[str, ...]:
    """A card, and those it is tuned through."""
    return ifname, *(name for nic in status.nics if nic.name == ifname for name in nic.through)


def _only(plan: Plan, names: tuple[str, ...]) -> Plan:
    if not names:
        return plan
    return Plan(
        tuple(change for change in plan.changes if change.ifname in names),
        tuple(problem for problem in plan.problems if problem.ifname in names),
    )


def _setting(change: Change) -> tuple[str, str, str]:
    return change.ifname, change.tunable, change.key
