"""Files of netuned's own state: JSON with a version and a checksum, whole after any crash.

The checksum tells a file that was damaged or edited; it is no seal, for only root can write here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from netuned.errors import StateFileError
from netuned.regularfile import open_regular

T = TypeVar("T")

LIMIT = 1 << 26
"""Bytes of a file that is read or written; a baseline of 200 cards of 64 queues has 10 MB."""

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What is raised over a content that netuned did not write."""

_TOO_LARGE = f"it has more than {LIMIT >> 20} MiB"


@contextlib.contextmanager
def held(directory: Path, *, alone: bool) -> Iterator[None]:
    """Keep other processes from the state meanwhile, or (not ``alone``) one that wants it alone.

    A directory that is not there, or not to be locked, keeps nobody: what cannot be written to it
    is told then. Raises: StateFileError where another process has it otherwise.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "a daemon runs" if alone else "everything is being put back"
            raise StateFileError(f"{directory}: {other} with what is kept there") from None
        except OSError:
            pass
        yield


def read_limited(path: Path, *, own: bool = False) -> bytes:
    """The content. Raises: OSError; ValueError for a file that is too large.

    With ``own`` also for one that somebody else than root and this process could write to.
    """
    with os.fdopen(open_regular(str(path), os.O_RDONLY), "rb") as file:
        status = os.fstat(file.fileno())
        if own and (status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022):
            raise ValueError("others can write to it")
        content = file.read(LIMIT + 1)
    _within_limit(content)
    return content


def read(path: Path, parse: Callable[[bytes], T], nothing: T, *, own: bool = False) -> T:
    """What ``parse`` makes of a file's content; ``nothing`` where there is no file.

    ``own`` is as of ``read_limited``. Raises: StateFileError, whose cause is an OSError where the
    file could not be read.
    """
    try:
        return parse(read_limited(path, own=own))
    except FileNotFoundError:
        return nothing
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror or error}") from error
    except MALFORMED as error:
        raise StateFileError(f"{path}: not what netuned wrote ({error!s:.200})") from error


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that after a crash it is whole: the old one or the new one.

    ``mode`` are its permission bits. Raises: OSError; EFBIG for what would not be read back.
    """
    write_of_boot(path, data, mode)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_of_boot(path: Path, data: bytes, mode: int = 0o600) -> None:
    """As ``write_atomically``, for what says nothing after another boot.

    The content is on disk when this returns. That the name leads to it is not, which only a crash
    of the kernel could tell: to wait for that takes as long as all the rest.
    """
    draft = write_draft(path, data, mode)
    try:
        os.replace(draft, path)
    except OSError:
        _remove(draft)
        raise


def set_aside(path: Path, data: bytes) -> Path:
    """Put another file in the place of one that cannot be trusted. Returns where that is kept.

    Whenever this is cut short, the one or the other is in place, or is by ``finish_set_aside``.
    Raises: OSError; then the one that cannot be trusted is in place.
    """
    aside, draft = aside_of(path), write_draft(path, data)
    try:
        os.replace(path, aside)
    except OSError:
        _remove(draft)
        raise
    try:
        os.replace(draft, path)
    except OSError:
        os.replace(aside, path)
        raise
    return aside


def finish_set_aside(path: Path, is_meant: Callable[[bytes], bool]) -> None:
    """Put in place what a process that was killed in ``set_aside`` wrote, if ``is_meant`` says so.

    Raises: OSError.
    """
    draft = draft_of(path)
    if not os.path.lexists(path) and os.path.lexists(draft):
        try:
            meant = is_meant(read_limited(draft))
        except (OSError, *MALFORMED):
            return
        if meant:
            os.replace(draft, path)


def aside_of(path: Path) -> Path:
    """Where a file is kept that cannot be trusted."""
    return path.with_name(f"{path.name}.bad")


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.new")


def write_draft(path: Path, data: bytes, mode: int = 0o600) -> Path:
    """Write what is to take a file's place. Raises: OSError; then there is no draft."""
    if len(data) > LIMIT:
        raise OSError(errno.EFBIG, f"{os.strerror(errno.EFBIG)}, {_TOO_LARGE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        draft.unlink(missing_ok=True)  # a pipe there would be waited for, a link followed
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        _remove(draft)
        raise
    return draft


def _remove(draft: Path) -> None:
    """Remove a draft, maybe half of one: it would fill what is left of a full disk."""
    with contextlib.suppress(OSError):
        draft.unlink()


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
        raise ValueError(_TOO_LARGE)
