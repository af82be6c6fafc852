"""netuned over cards whose driver is slow, or fails for a while, as files in a directory say.

``before-host`` holds up the reading of the host, ``before-NAME`` the look at a card, ``after-NAME``
its end, as long as they are there; with ``fail-NAME`` what a look wrote fails in the end, and no
rollback of it succeeds.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from netuned import __main__ as netuned_main
from netuned.errors import KernelError
from netuned.hardware.host import Host, read_host
from netuned.kernel.once import Once
from netuned.reconcile import apply, passes, putback, survey
from netuned.reconcile.card import Card
from netuned.reconcile.writing import Outcome

DIRECTORY = Path(os.environ["SLOWED"])


def _wait(word: str, name: str) -> None:
    while (DIRECTORY / f"{word}-{name}").exists():
        time.sleep(0.01)


def read_slowly(*arguments: Any) -> Host:
    _wait("before", "host")
    return read_host(*arguments)


def _fails(card: Card) -> KernelError | None:
    failing = (DIRECTORY / f"fail-{card.nic.name}").exists()
    return KernelError("write", card.nic.name, errno.EIO) if failing else None


class Look(apply.Rounds):
    """A look that is held up before its first turn and after its last."""

    _begun = False

    def turn(self, asked: Once) -> bool:
        if not self._begun:
            self._begun = True
            _wait("before", self._card.nic.name)
        if not super().turn(asked):
            return False
        _wait("after", self._card.nic.name)
        if self.outcome.made and self.outcome.error is None:
            self.outcome.error = _fails(self._card)
        return True


def put_back(card: Card, *arguments: Any, **options: Any) -> Outcome:
    if error := _fails(card):
        raise error
    return apply.reconcile_card(card, *arguments, **options)


if __name__ == "__main__":
    survey.read_host = read_slowly  # type: ignore[attr-defined, assignment]  # it imports the name
    passes.Rounds = Look  # type: ignore[attr-defined]  # it imports the name
    putback.reconcile_card = put_back  # type: ignore[attr-defined]
    netuned_main.main()
