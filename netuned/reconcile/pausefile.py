"""What is paused, on disk: a restarted daemon goes on leaving it alone.

The file is in /run, so a reboot ends every pause.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netuned import statefile
from netuned.errors import StateFileError

NAME = "paused.json"
VERSION = 2

_MOST_NAME = 15
_MOST_INSTANCE = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class Pause:
    """A card by its last name and ``Nic.instance`` (0: not known); all where the name is empty."""

    name: str
    instance: int = 0


ALL_CARDS = Pause("")


def read_paused(path: Path) -> frozenset[Pause]:
    """What the file says; nothing where there is none.

    Raises: StateFileError if it cannot be trusted.
    """
    try:
        pauses = parse_paused(statefile.read_limited(path))
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise _error(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _error(path, f"not what netuned wrote ({error})") from error
    return pauses


def parse_paused(content: bytes) -> frozenset[Pause]:
    """Read what :func:`encode_paused` made.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    data = statefile.decode(VERSION, content)
    if data.keys() != {"paused"} or not isinstance(data["paused"], list):
        raise ValueError(f"{data!r:.80} is no list of what is paused")
    pauses = [_decode(entry) for entry in data["paused"]]
    instances = [pause.instance or pause.name for pause in pauses]
    if len(set(instances)) != len(instances):
        raise ValueError("a card is there twice")
    return frozenset(pauses)


def _decode(entry: Any) -> Pause:
    if not isinstance(entry, dict) or entry.keys() != {"name", "instance"}:
        raise ValueError(f"{entry!r:.80} is no card")
    name, instance = entry["name"], entry["instance"]
    if not isinstance(name, str) or "\0" in name or len(os.fsencode(name)) > _MOST_NAME:
        raise ValueError(f"{name!r:.80} is no card's name")
    if type(instance) is not int or not 0 <= instance <= _MOST_INSTANCE or (instance and not name):
        raise ValueError(f"{instance!r:.80} is no card's instance")
    return Pause(name, instance)


def encode_paused(pauses: Iterable[Pause]) -> bytes:
    """What to write."""
    entries = [{"name": pause.name, "instance": pause.instance} for pause in sorted(pauses)]
    return statefile.encode(VERSION, {"paused": entries})


def write_paused(path: Path, pauses: Iterable[Pause]) -> None:
    """Replace the file at once as a whole; one call at a time. Raises: StateFileError."""
    try:
        statefile.write_atomically(path, encode_paused(pauses))
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}; a restart will not know of it") from error


def _error(path: Path, why: str) -> StateFileError:
    return StateFileError(f"{path}: {why}; what was paused is not any more: `netunedctl pause`")
