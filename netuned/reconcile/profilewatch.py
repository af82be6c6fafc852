"""Events of the directories of profiles and settings, all on the way there, and links' ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from netuned.kernel import inotify
from netuned.profiles.reading import CUT_S, STABLE_S, Guide
from netuned.profiles.settings import is_drop_in

SETTLE_S = 0.002
"""A dropped file raises several events; one reload follows the last by this much."""

MOVED_S = 0.0005
"""One that is moved here is whole, and those of one `mv` come after each other at once."""

REPLACED_S = 0.1
"""A file that goes may be about to be replaced: one reload sees the new one, none its absence."""

WRITTEN = inotify.IN_MODIFY | inotify.IN_CREATE
WHOLE = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO
GONE = (
    inotify.IN_MOVED_FROM
    | inotify.IN_DELETE
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
    | inotify.IN_UNMOUNT
)
NAME_EVENTS = (
    inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_ATTRIB
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
)
"""Of a directory that is only passed: what is written in /etc or /tmp wakes nobody."""

FILE_EVENTS = NAME_EVENTS | inotify.IN_MODIFY | inotify.IN_CLOSE_WRITE
IRQBALANCE_DIRECTORY = Path("/run/irqbalance")


class ProfileWatch(Guide):
    """Calls ``changed`` when a name changes that the last reading of files looked up.

    Each directory is watched before a name is looked up in it, so what comes later is an event.
    ``irqbalance`` is called when its socket may have come or gone, ``short`` when ``is_short`` has
    changed.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        irqbalance: Callable[[], None],
        short: Callable[[], None],
    ) -> None:
        """On the running loop. Raises: OSError, as ``Inotify``."""
        self._changed = changed
        self._irqbalance = irqbalance
        self._short = short
        self._inotify = inotify.Inotify()
        self._names: dict[int, set[str]] = {}
        """Of each watch the names that matter; "" are all that a profile or drop-in can have."""
        self._where: dict[int, str] = {}
        self._due: dict[str, float] = {}
        self._written: dict[str, float] = {}
        """When a file was written to last that has not been closed since."""
        self._look: dict[str, float] = {}
        """When to look at it again, as long as the reader may wait for its end."""
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._socket_watch, self._socket_name = -1, ""
        self._lacking = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inotify.fileno(), self._on_events)
        self._watch_irqbalance()

    @property
    def is_short(self) -> bool:
        """Whether there were not watches enough for all directories."""
        return self._lacking or self._socket_watch < 0

    def watch_socket(self) -> None:
        """Try to have the watch for irqbalance's socket, if there was none left for it."""
        if self._socket_watch < 0:
            self._watch_irqbalance()
            if self._socket_watch >= 0:
                self._irqbalance()

    def close(self) -> None:
        """End every watch."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._inotify.fileno())
        self._inotify.close()

    # In the threads that read

    def passed(self, directory: int, where: str, name: str, *, last: bool) -> int:
        wd = self._add(f"/proc/self/fd/{directory}", FILE_EVENTS if last else NAME_EVENTS)
        if wd >= 0:
            self._where[wd] = where
            self._names.setdefault(wd, set()).add(name)
        return wd

    def finished(self, passed: Mapping[int, frozenset[str]]) -> None:
        for wd in tuple(self._names):  # the loop takes out those that the kernel has ended
            if wd in passed:
                continue
            self._names.pop(wd, None)
            self._where.pop(wd, None)
            if wd != self._socket_watch:
                self._end(wd)
        for wd, names in passed.items():
            if wd in self._names:
                self._names[wd] = set(names)
        before, self._lacking, self._refused = self._lacking, self._refused, False
        if before != self._lacking:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._short)

    def written_s(self, path: str) -> float | None:
        at = self._written.get(path)
        return None if at is None else self._loop.time() - at

    def _add(self, path: str, events: int) -> int:
        try:
            return self._inotify.add(path, events | inotify.IN_MASK_ADD)
        except OSError as error:
            self._refused |= error.errno in (errno.ENOSPC, errno.ENOMEM)
            return -1

    def _end(self, wd: int) -> None:
        with suppress(OSError):  # the kernel has ended it already
            self._inotify.remove(wd)

    # On the loop

    def _on_events(self) -> None:
        now = self._loop.time()
        for event in self._inotify.read():
            if event.wd == self._socket_watch and self._socket_name in ("", event.name):
                self._watch_irqbalance()
                self._irqbalance()
            if not self._concerns(event):
                continue
            path = "/".join((self._where.get(event.wd, ""), event.name))
            if event.mask & WRITTEN:
                self._written[path], self._look[path] = now, now + STABLE_S
            elif event.mask & (WHOLE | GONE):
                self._written.pop(path, None)
                self._look.pop(path, None)
            if not event.mask & inotify.IN_MODIFY:
                self._due[path] = now + _settles_s(event)
        self._set_timer()

    def _concerns(self, event: inotify.Event) -> bool:
        if event.mask & inotify.IN_IGNORED:
            self._where.pop(event.wd, None)
            return self._names.pop(event.wd, None) is not None
        names = self._names.get(event.wd)
        if names is None:  # it may be passed just now; or events were lost
            return event.wd != self._socket_watch
        return not event.name or event.name in names or ("" in names and is_drop_in(event.name))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times := (*self._due.values(), *self._look.values()):
            self._timer = self._loop.call_at(min(times), self._now_due)

    def _now_due(self) -> None:
        now = self._loop.time()
        due = [path for path, time in self._due.items() if time <= now]
        looks = [path for path, time in self._look.items() if time <= now]
        for path in due:
            del self._due[path]
        for path in looks:
            ago_s = now - self._written[path]
            self._look[path] = now + ago_s  # after 1, 2, 4, … seconds
            if ago_s >= CUT_S:
                del self._look[path], self._written[path]
        self._set_timer()
        if due or looks:  # a timer may come a moment early
            self._changed()

    def _watch_irqbalance(self) -> None:
        """Watch its directory, or the nearest one above that exists, for its coming."""
        there, name = IRQBALANCE_DIRECTORY, ""
        while not there.is_dir():
            there, name = there.parent, there.name
        self._socket_name = name
        before, self._socket_watch = self._socket_watch, self._add(str(there), NAME_EVENTS)
        if before not in (-1, self._socket_watch) and before not in self._names:
            self._end(before)


def _settles_s(event: inotify.Event) -> float:
    """How long an event waits for others that belong to it."""
    if event.mask & GONE:
        return REPLACED_S
    return MOVED_S if event.mask & inotify.IN_MOVED_TO else SETTLE_S
