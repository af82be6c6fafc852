"""Files that only root can have written: opened once, then judged by the open descriptor."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from netuned.errors import ProfileError
from netuned.profiles.yamltree import MAX_BYTES

ANYONE = -1
"""As owner: no question is asked about ownership and mode."""

MAX_LINKS = 40
"""As many as the kernel follows."""

_NULL_DEVICE = os.makedev(1, 3)
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def trusted_directory(path: str, owner: int) -> Iterator[int]:
    """A descriptor of a directory that only ``owner`` or root can write to, or put another for.

    Raises: FileNotFoundError; ProfileError if the directory cannot be trusted or read.
    """
    try:
        descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY, owner, None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _error(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        _judge(path, os.fstat(descriptor), owner)
        yield descriptor
    finally:
        os.close(descriptor)


def read_trusted(path: str, owner: int, directory: int | None = None) -> bytes | None:
    """The content of a regular file that only ``owner`` or root can write to, or put another for.

    None for /dev/null. With ``directory`` (a descriptor) the last part of ``path`` is looked up
    there. At most one byte past ``MAX_BYTES`` is read.

    Raises: FileNotFoundError; ProfileError if the file cannot be trusted or read.
    """
    name = path if directory is None else os.path.basename(path)
    try:
        descriptor = _open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, owner, directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "is not a regular file" if error.errno == errno.ENXIO else "cannot be read"
        raise _error(path, f"{what}: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise _error(path, "is not a regular file")
        _judge(path, status, owner)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _error(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)


def _open(path: str, flags: int, owner: int, directory: int | None) -> int:
    """Open what a path leads to, name by name and link by link as the kernel does.

    Every directory in which a name is looked up is held open and judged. Without ``directory`` the
    way begins at the root. Raises: OSError; ProfileError.
    """
    flags |= os.O_CLOEXEC
    if owner == ANYONE:
        return os.open(path, flags, dir_fd=directory)
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if directory is None and not path.startswith("/"):
        path = os.path.join(os.getcwd(), path)
    at = os.open("/", _STEP) if directory is None else os.dup(directory)
    left, links = _names(path)[::-1], 0
    passed: list[tuple[str, os.stat_result, bool]] = []
    try:
        while True:
            name = left.pop()
            how = _STEP if left else flags
            try:
                found = os.open(name, how | os.O_NOFOLLOW, dir_fd=at)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                target = _target(name, at, error)
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                left += _names(target)[::-1]
                passed.append(_passed(at, sticky=False))
                if not target.startswith("/"):
                    continue
                found = os.open("/", _STEP)
            else:
                passed.append(_passed(at, sticky=bool(how & os.O_DIRECTORY)))
                if not left:
                    break
            os.close(at)
            at = found
    finally:
        os.close(at)
    try:
        for where, status, sticky in passed:  # only now: what is missing is missing, not wrong
            _judge(where, status, owner, sticky=sticky)
    except ProfileError:
        os.close(found)
        raise
    return found


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")] or ["."]


def _target(name: str, directory: int, refused: OSError) -> str:
    """Where a link leads. Raises: ``refused`` if it is none."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        raise refused from None


def _passed(directory: int, *, sticky: bool) -> tuple[str, os.stat_result, bool]:
    """A directory's path and status, and whether its sticky bit (/tmp) counts.

    It does for a directory in it: only its owner, who is judged next, and this one's can move it.
    Of a link or a file, whose owner says less, somebody may have made a hard link.
    """
    status = os.fstat(directory)
    where = os.readlink(f"/proc/self/fd/{directory}")
    return where, status, sticky and bool(status.st_mode & stat.S_ISVTX)


def _judge(path: str, status: os.stat_result, owner: int, *, sticky: bool = False) -> None:
    if owner == ANYONE:
        return
    faults = []
    if status.st_uid not in (0, owner):
        faults.append(f"is owned by uid {status.st_uid}")
    writers = [
        who
        for bit, who in ((stat.S_IWGRP, "its group"), (stat.S_IWOTH, "everyone"))
        if status.st_mode & bit and not sticky
    ]
    if writers:
        faults.append(f"is writable by {' and '.join(writers)}")
    if faults:
        quoted = shlex.quote(path)
        raise _error(
            path,
            f"{' and '.join(faults)}, so it is not used: a profile must be root's alone to write; "
            f"mend it with: chown root:root {quoted} && chmod go-w {quoted}",
        )


def _error(path: str, problem: str) -> ProfileError:
    return ProfileError(path, 0, 0, "", problem)
