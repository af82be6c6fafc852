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

_NULL_DEVICE = os.makedev(1, 3)


@contextmanager
def trusted_directory(path: str, owner: int) -> Iterator[int]:
    """A descriptor of a directory that only ``owner`` or root can write to, or put another for.

    Raises: FileNotFoundError; ProfileError if the directory cannot be trusted or read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _error(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        _judge(path, os.fstat(descriptor), owner)
        if owner != ANYONE:
            _judge_above(path, descriptor, owner)
            if os.path.islink(path):  # who can write where the link is can put up another
                with trusted_directory(os.path.dirname(os.path.abspath(path)), owner):
                    pass
        yield descriptor
    finally:
        os.close(descriptor)


def read_trusted(path: str, owner: int, directory: int | None = None) -> bytes | None:
    """The content of a regular file that only ``owner`` or root can write to; None for /dev/null.

    With ``directory`` (a descriptor) the last part of ``path`` is looked up there. At most one byte
    past ``MAX_BYTES`` is read.

    Raises: FileNotFoundError; ProfileError if the file cannot be trusted or read.
    """
    name = path if directory is None else os.path.basename(path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
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


def _judge_above(path: str, descriptor: int, owner: int) -> None:
    """Judge all directories above an open one, wherever its path led.

    In one with the sticky bit (/tmp) only its owner and the next one's can move that.
    """
    below, above = os.fstat(descriptor), os.dup(descriptor)
    name = os.path.realpath(path)
    try:
        while True:
            up = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
            os.close(above)
            above, status, name = up, os.fstat(up), os.path.dirname(name)
            if os.path.samestat(status, below):
                return
            _judge(name, status, owner, sticky=bool(status.st_mode & stat.S_ISVTX))
            below = status
    finally:
        os.close(above)


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
