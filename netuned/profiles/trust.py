"""Files that only root can have written: opened once, then judged by the open descriptor."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from netuned.errors import ProfileError

ANYONE = -1
"""As owner: no question is asked about ownership and mode."""

MAX_BYTES = 1 << 17
"""That a profile may have."""

MAX_LINKS = 40
"""As many as the kernel follows."""

_NULL_DEVICE = os.makedev(1, 3)
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Way:
    """Who goes along when files are opened, step by step; this one does not mind.

    Nobody goes along where the owner is ``ANYONE``.
    """

    content = True
    """Whether files are read, too."""

    def begin(self, path: str) -> None:
        """A file or directory of the search path is opened next."""

    def enter(self, directory: int, where: str, name: str, *, last: bool) -> None:
        """A name is looked up in a directory next, the last of its way; "": all names in it.

        Raises: ProfileError if that is not to be tried.
        """

    def meet(self, *what: object) -> None:
        """Something that is on the way: a directory, where a link leads, a file."""

    def settled(self, file: int, status: os.stat_result) -> None:
        """A regular file (its descriptor), the last that was looked up, is read next.

        Raises: UnsettledError if it is being written.
        """


class UnsettledError(Exception):
    """A file is being written: what was there before counts."""


NOBODY = Way()


@contextmanager
def trusted_directory(path: str, owner: int, way: Way = NOBODY) -> Iterator[int]:
    """A descriptor of a directory that only ``owner`` or root can write to, or put another for.

    Raises: FileNotFoundError; ProfileError if the directory cannot be trusted or read.
    """
    way.begin(path)
    try:
        descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY, owner, None, way)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _error(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(descriptor)
        way.meet(status.st_dev, status.st_ino, status.st_mode, status.st_uid)
        _judge(path, status, owner)
        yield descriptor
    finally:
        os.close(descriptor)


def read_trusted(
    path: str, owner: int, directory: int | None = None, way: Way = NOBODY
) -> bytes | None:
    """The content of a regular file that only ``owner`` or root can write to, or put another for.

    None for /dev/null. With ``directory`` (a descriptor) the last part of ``path`` is looked up
    there. At most one byte past ``MAX_BYTES`` is read.

    Raises: FileNotFoundError; ProfileError if the file cannot be trusted or read; UnsettledError.
    """
    way.begin(path)
    name = path if directory is None else os.path.basename(path)
    try:
        descriptor = _open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, owner, directory, way)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "is not a regular file" if error.errno == errno.ENXIO else "cannot be read"
        raise _error(path, f"{what}: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(descriptor)
        way.meet(
            *(status.st_dev, status.st_ino, status.st_mode, status.st_uid),
            *(status.st_size, status.st_mtime_ns, status.st_ctime_ns),
        )
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise _error(path, "is not a regular file")
        _judge(path, status, owner)
        way.settled(descriptor, status)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(MAX_BYTES + 1) if way.content else b""
    except OSError as error:
        raise _error(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)


def _open(path: str, flags: int, owner: int, directory: int | None, way: Way) -> int:
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
            where = os.readlink(f"/proc/self/fd/{at}")
            way.enter(at, where, name, last=not left)
            status = os.fstat(at)
            way.meet(where, name, status.st_dev, status.st_ino, status.st_mode, status.st_uid)
            how = _STEP if left else flags
            try:
                found = os.open(name, how | os.O_NOFOLLOW, dir_fd=at)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                target = _target(name, at, error)
                way.meet(target)
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                left += _names(target)[::-1]
                passed.append((where, status, False))
                if not target.startswith("/"):
                    continue
                found = os.open("/", _STEP)
            else:
                # The sticky bit (/tmp) counts for a directory in it: only its owner, who is
                # judged next, and this one's can move it. Of a link or a file, whose owner says
                # less, somebody may have made a hard link.
                sticky = bool(how & os.O_DIRECTORY and status.st_mode & stat.S_ISVTX)
                passed.append((where, status, sticky))
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
