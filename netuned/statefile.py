"""Files of netuned's own state: JSON with a version and a checksum, whole after any crash.

The checksum tells a file that was damaged or edited; it is no seal, for only root can write here.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from netuned.errors import StateFileError

T = TypeVar("T")

LIMIT = 1 << 26
"""Bytes of a file that is read; a baseline of 200 cards of 64 queues has 10 MB."""


def read_limited(path: Path) -> bytes:
    """The content. Raises: OSError; ValueError for a file that is too large."""
    with open(path, "rb") as file:
        content = file.read(LIMIT + 1)
    _within_limit(content)
    return content


def read(path: Path, parse: Callable[[bytes], T], nothing: T) -> T:
    """What ``parse`` makes of a file's content; ``nothing`` where there is no file.

    Raises: StateFileError, whose cause is an OSError where the file could not be read.
    """
    try:
        return parse(read_limited(path))
    except FileNotFoundError:
        return nothing
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateFileError(f"{path}: not what netuned wrote ({error!s:.200})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash it is whole: the old one or the new one.

    Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):  # half of it would fill what is left of a full disk
            draft.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def checksum(content: Mapping[str, Any]) -> str:
    """Of a file's content without its version and checksum."""
    return f"{zlib.crc32(encode_part(content).encode()):08x}"


def encode(version: int, content: Mapping[str, Any]) -> bytes:
    """What to write for ``content``."""
    return encode_parts(version, {name: encode_part(part) for name, part in content.items()})


def encode_part(part: Any) -> str:
    """A part of a file's content: such texts are kept while the rest of a large file changes."""
    return json.dumps(part, sort_keys=True)


def join_parts(parts: Mapping[str, str]) -> str:
    """An object as ``encode_part`` has it, of its members' texts."""
    members = (f"{encode_part(name)}: {part}" for name, part in sorted(parts.items()))
    return f"{{{', '.join(members)}}}"


def encode_parts(version: int, parts: Mapping[str, str]) -> bytes:
    """What to write for a content whose parts are ``encode_part``'s texts."""
    text = join_parts(parts)
    head = join_parts({"checksum": f'"{zlib.crc32(text.encode()):08x}"', "version": str(version)})
    return f"{head[:-1]}, {text[1:]}".encode()


def decode(version: int, data: bytes) -> dict[str, Any]:
    """The content that ``encode`` was given.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    _within_limit(data)
    content: dict[str, Any] = json.loads(data)
    if (found := content.pop("version")) != version:
        raise ValueError(f"its version is {found!r:.20}, not {version}")
    if content.pop("checksum") != checksum(content):
        raise ValueError("it was damaged or edited: its checksum is another")
    return content


def _within_limit(content: bytes) -> None:
    if len(content) > LIMIT:
        raise ValueError(f"it has more than {LIMIT >> 20} MiB")
