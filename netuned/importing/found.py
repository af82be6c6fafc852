"""What a line of another tool's file sets, and on which card."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netuned.records import dataclass
from netuned.regex import regex

_NUMBER = regex(r"-?[0-9]{1,20}", re.ASCII)

Path = tuple[str, ...]
"""A profile's keys, from the outermost in: ``("rings", "rx")``."""

APPENDED = "+"
"""The last of a path whose value is one more of a list."""

TABLE = ("rss", "table")
"""The path of what is said of queues and weights, in place of what was said of them before."""

EVERY = ""
"""The card of what is for the host, or for whatever card the file is for."""


@dataclass(frozen=True, slots=True)
class Found:
    """One setting of a line: where it goes in a profile and what stands there; or why it does not.

    ``card`` is what selects the card, as an entry of ``match`` has it: ``name=eth0``.
    """

    line: int
    text: str
    path: Path = ()
    value: object = None
    why: str = ""
    card: str = EVERY


NOT_PLAIN = "it is no plain line: what it comes to is known only where it is run"
NOT_OF_THE_NETWORK = "netuned sets what is of the network"


def word(text: str) -> object:
    """A number where it is one, else the word."""
    return int(text) if _NUMBER.fullmatch(text) else text


def pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """Names and values in turn; a name without a value has an empty one."""
    for at in range(0, len(words), 2):
        yield words[at], words[at + 1] if at + 1 < len(words) else ""
