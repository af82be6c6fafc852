"""Opens regular files only: whatever else stands in a file's place is never waited for."""

from __future__ import annotations

import errno
import os
import stat


def open_regular(path: str, flags: int, *, dir_fd: int = -1) -> int:
    """An ``opener`` for ``open``, which would wait for whoever writes to a pipe.

    A relative path is of ``dir_fd``. A device is not opened at all, for that alone may have
    effects. Raises: OSError.
    """
    at = dir_fd if dir_fd >= 0 else None
    _judge(os.stat(path, dir_fd=at))
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    try:
        _judge(os.fstat(descriptor))  # another may stand there by now
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _judge(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
