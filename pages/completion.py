"""What completes netunedctl's words in bash, zsh and fish: from its parser, by shtab.

What a word may be follows from its metavar. Names of cards, profiles and trials come from the
shell scripts beside this module, which ask the kernel, the directories of profiles and the bus.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from netuned.cli.commands import COMMANDS
from netuned.cli.parser import make_parser
from netuned.tunables import EVERY

PLACES = {
    "bash": "bash-completion/completions/netunedctl",
    "zsh": "zsh/vendor-completions/_netunedctl",
    "fish": "fish/vendor_completions.d/netunedctl.fish",
}
"""Below ``/usr/share``, as Debian has them."""

WORDS = {
    "NIC": "cards",
    "FILE|NIC": "files_and_cards",
    "QUEUE": "queues",
    "PROFILE": "profiles",
    "ID": "trials",
}
"""The function that has a metavar's words, without ``_netunedctl_``."""


def scripts() -> dict[str, str]:
    """Each script by its place; of the shells that this shtab knows."""
    parser = make_parser(COMMANDS)
    for action in _actions(parser):
        if (metavar := action.metavar) in WORDS:
            name = f"_netunedctl_{WORDS[str(metavar)]}"
            action.complete = {"bash": name, "zsh": name, "fish": f"({name})"}  # type: ignore[attr-defined]
        elif metavar in ("FILE", "DIR|FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif metavar == "TUNABLE":
            action.choices = sorted(EVERY)
    made = {
        place: shtab.complete(parser, shell, preamble=_preamble(shell))
        for shell, place in PLACES.items()
        if shell in shtab.SUPPORTED_SHELLS
    }
    # shtab writes of a word that may come again what zsh takes for one that comes once
    return {place: text.replace('"(*):', '"*:') for place, text in made.items()}


def _preamble(shell: str) -> str:
    here = Path(__file__).parent
    own = (here / f"words.{shell}").read_text("utf-8")
    return own if shell == "fish" else (here / "words.sh").read_text("utf-8") + own


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions(subparser)
