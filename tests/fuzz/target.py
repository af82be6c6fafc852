"""One input of netuned's, and what is asked of its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netuned.text import escape


@dataclass(frozen=True, slots=True)
class Target:
    """One input of netuned's."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def sound(error: Exception) -> None:
    """An error's sentence is fit for a terminal and a log: one line, nothing that steers them."""
    said = str(error)
    assert said
    assert escape(said) == said, ascii(said)
