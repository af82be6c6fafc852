"""Who answers what only looks: the daemon, or where it does not run, netunedctl itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from netuned.bus.client import Client
from netuned.errors import AbsentError
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.status import Status

T = TypeVar("T")


def ask(daemon: Callable[[Client], T], alone: Callable[[str], T]) -> T:
    """What the daemon says; without one, what ``alone`` makes of the sentence about that.

    Raises: NetunedError.
    """
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

    return ask(Client.status, alone)
