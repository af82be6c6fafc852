"""``netunedctl restore``: puts back what was there before netuned, and has it left alone."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.cli.arguments import card_name
from netuned.cli.text import Screen, print_json
from netuned.errors import BusError, NetunedError
from netuned.plan import Problem
from netuned.status import SettingStatus

if TYPE_CHECKING:
    from netuned.reconcile.retreat import Retreat

RUNS = (
    "netuned runs, and would bring its profiles into force again: `netunedctl restore` has it put "
    "everything back; `systemctl stop netuned` ends it"
)
AWAY = (
    "{} on record {} not in this network namespace: what has left for another one keeps what "
    "netuned set"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="only this card"
    )
    what.add_argument(
        "--without-daemon",
        action="store_true",
        help="put everything back here and now, for a netuned that is stopped and goes",
    )
    parser.add_argument(
        "tunable", metavar="TUNABLE", nargs="?", default="", help="only this setting, like rps"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.without_daemon:
        return _without_daemon(as_json=arguments.json)
    with Client() as client:
        client.restore(arguments.nic, arguments.tunable)
        nics = client.status().nics
    if arguments.json:
        states = [
            {"name": nic.name, "state": nic.state, "settings": _states(nic.settings)}
            for nic in nics
            if arguments.nic in ("", nic.name, *nic.altnames)
        ]
        print_json({"cards": states})
    return 0


def _states(settings: tuple[SettingStatus, ...]) -> dict[str, str]:
    return {setting.tunable: setting.state for setting in settings}


def _without_daemon(*, as_json: bool) -> int:
    """Put everything back by itself. Raises: NetunedError, also while a daemon runs."""
    from netuned.cli.plan import change_as_json
    from netuned.profiles.loader import DEFAULT_DIRECTORIES
    from netuned.reconcile.retreat import retreat

    if os.geteuid() != 0:
        raise NetunedError("restore --without-daemon writes to the kernel itself, as root only")
    if _is_running():
        raise NetunedError(RUNS)
    logging.getLogger("netuned").setLevel(logging.ERROR)  # what stays is among the problems
    done = retreat(
        DEFAULT_DIRECTORIES,
        Path(os.environ.get("STATE_DIRECTORY", "/var/lib/netuned")),
        Path(os.environ.get("RUNTIME_DIRECTORY", "/run/netuned")),
    )
    done = replace(
        done,
        made=tuple(replace(change, ifname=wire.text(change.ifname)) for change in done.made),
        problems=tuple(Problem(*map(wire.text, (p.ifname, p.message))) for p in done.problems),
    )
    if as_json:
        print_json(
            {
                "made": [change_as_json(change) for change in done.made],
                "problems": [{"ifname": p.ifname, "message": p.message} for p in done.problems],
                "away": done.away,
            }
        )
    else:
        print(show(done, Screen.of_stdout()), end="")
    return 1 if done.problems else 0


def _is_running() -> bool:
    """Whether a daemon answers; one without a bus is known to systemd alone."""
    try:
        with Client() as client:
            return client.is_running()
    except BusError:
        return False


def show(done: Retreat, screen: Screen) -> str:
    """What was put back, and what was not."""
    from netuned.cli.plan import show_changes, show_problems

    parts = []
    if done.made:
        parts.append("Put back:\n" + show_changes(done.made, screen))
    if done.problems:
        parts.append("Not put back:\n" + show_problems(done.problems, screen))
    if not parts:
        parts.append("Nothing to put back: every setting on record is as before netuned.\n")
    if done.away:
        cards, are = ("1 card", "is") if done.away == 1 else (f"{done.away} cards", "are")
        parts.append(screen.sentence(AWAY.format(cards, are) + "."))
    return "\n".join(parts)
