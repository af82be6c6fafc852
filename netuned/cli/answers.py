"""Who answers what only looks: the daemon, or where it does not run, netunedctl itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from netuned.errors import AbsentError
from netuned.status import NOT_RUNNING, STARTING, ManagerStatus, Status
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.bus.client import Client

T = TypeVar("T")

PENDING = 3
"""The exit status for drift and pending changes."""
UNSURE = (STARTING, NOT_RUNNING)
"""States of the manager in which nobody vouches for what is shown to be all, or to stay so."""

HOW_TO_ENABLE = """\
To try one, which undoes itself unless confirmed:

  netunedctl enable throughput NIC --confirm 60s
  netunedctl confirm ID
"""


def caveat(manager: ManagerStatus) -> str:
    """What is to be said first, in a state of ``UNSURE``."""
    if manager.state == STARTING:
        return "netuned is starting: it has not looked at everything yet."
    return manager.problems[0]


def ask(daemon: Callable[[Client], T], alone: Callable[[str], T]) -> T:
    """What the daemon says; without one, what ``alone`` makes of the sentence about that.

    Raises: NetunedError.
    """
    from netuned.bus.client import Client

    try:
        with Client() as client:
            return daemon(client)
    except AbsentError as error:
        return alone(f"{error}. This is what a look at the host without it finds.")


def status(*, json: bool) -> Status:
    """How everything is. That nobody keeps it so is the first of the problems then.

    With ``json`` it goes to standard error too, for of one card the document does not have it.
    """

    def alone(absent: str) -> Status:
        from netuned.snapshots import unaided

        found = unaided.look()
        if json:
            print(f"netunedctl: {escape(absent)}", file=sys.stderr)
        return replace(
            found, manager=replace(found.manager, problems=(absent, *found.manager.problems))
        )

    return ask(lambda client: client.status(), alone)
