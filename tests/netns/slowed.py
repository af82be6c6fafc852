"""netuned over cards whose driver is slow, or fails for a while, as files in a directory say.

``before-NAME`` holds up the look at a card, ``after-NAME`` its end, as long as they are there;
with ``fail-NAME`` what a look wrote fails in the end, and no rollback of it succeeds.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from netuned import __main__ as netuned_main
from netuned.errors import KernelError
from netuned.reconcile import apply, passes, putback
from netuned.reconcile.apply import Outcome
from netuned.reconcile.card import Card

DIRECTORY = Path(os.environ["SLOWED"])


def _wait(word: str, card: Card) -> None:
    while (DIRECTORY / f"{word}-{card.nic.name}").exists():
        time.sleep(0.01)


def _fails(card: Card) -> KernelError | None:
    failing = (DIRECTORY / f"fail-{card.nic.name}").exists()
    return KernelError("write", card.nic.name, errno.EIO) if failing else None


def look(card: Card, *arguments: Any, **options: Any) -> Outcome:
    _wait("before", card)
    outcome = apply.reconcile_card(card, *arguments, **options)
    _wait("after", card)
    if outcome.made and outcome.error is None:
        outcome.error = _fails(card)
    return outcome


def put_back(card: Card, *arguments: Any, **options: Any) -> Outcome:
    if error := _fails(card):
        raise error
    return apply.reconcile_card(card, *arguments, **options)


if __name__ == "__main__":
    passes.reconcile_card = look  # type: ignore[attr-defined]  # it imports the name
    putback.reconcile_card = put_back  # type: ignore[attr-defined]
    netuned_main.main()
