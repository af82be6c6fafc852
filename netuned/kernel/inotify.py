"""Inotify: file-system notification, for profile directories and the kernel's own files.

Source: inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct

from netuned.records import dataclass

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_MASK_ADD = 0x20000000

_EVENT = struct.Struct("=iIII")
_READ_SIZE = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_init1.argtypes = (ctypes.c_int,)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a watched directory or to ``name`` in it (empty: to itself).

    When events were lost, ``mask`` has IN_Q_OVERFLOW and ``wd`` is -1: look at everything again.
    """

    wd: int
    mask: int
    name: str


class Inotify:
    """One non-blocking inotify instance."""

    def __init__(self) -> None:
        """Raises: OSError (EMFILE: more than fs.inotify.max_user_instances)."""
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")

    def add(self, path: str, mask: int) -> int:
        """Watch ``path`` and return the watch's number; a path watched already keeps its number.

        Raises: OSError (ENOSPC: more than fs.inotify.max_user_watches).
        """
        number = _libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask)
        return _checked(number, path)

    def remove(self, wd: int) -> None:
        """End a watch; IN_IGNORED follows. Raises: OSError (EINVAL: it has ended already)."""
        _checked(_libc.inotify_rm_watch(self._descriptor, wd), f"watch {wd}")

    def read(self) -> list[Event]:
        """What has happened since the last call, at most 64 KiB of it; empty when nothing has."""
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return []
        events = []
        offset = 0
        while offset < len(data):
            wd, mask, _, length = _EVENT.unpack_from(data, offset)
            start = offset + _EVENT.size
            offset = start + length
            name = data[start:offset].rstrip(b"\0") if length else b""
            events.append(Event(wd, mask, os.fsdecode(name)))
        return events

    def fileno(self) -> int:
        """The descriptor, readable when there are events."""
        return self._descriptor

    def close(self) -> None:
        """Close the instance and with it every watch."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _checked(result: int, target: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
    return result
