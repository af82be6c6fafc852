"""What is paused, on disk: a restarted daemon goes on leaving it alone.

The file is in /run, so a reboot ends every pause.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netuned import statefile
from netuned.errors import StateFileError

NAME = "paused.json"
VERSION = 1


def read_paused(path: Path) -> frozenset[str]:
    """Names of cards, the empty one for all; none where there is no file.

    Raises: StateFileError if it cannot be trusted.
    """
    try:
        names = parse_paused(statefile.read_limited(path))
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise _error(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _error(path, f"not what netuned wrote ({error})") from error
    return names


def parse_paused(content: bytes) -> frozenset[str]:
    """Read what :func:`write_paused` wrote.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    names = statefile.decode(VERSION, content)["paused"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{names!r:.80} are no names of cards")
    return frozenset(names)


def write_paused(path: Path, names: Iterable[str]) -> None:
    """Replace the file at once as a whole. Raises: StateFileError."""
    try:
        data = statefile.encode(VERSION, {"paused": sorted(names)})
        statefile.write_atomically(path, data)
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}; a restart will not know of it") from error


def _error(path: Path, why: str) -> StateFileError:
    return StateFileError(f"{path}: {why}; what was paused is not any more: `netunedctl pause`")
