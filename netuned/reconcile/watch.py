"""What says "look again": kernel events and file notifications, turned into calls of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.kernel import inotify
from netuned.kernel.events import (
    FileWatch,
    Monitor,
    monitor_ethtool,
    monitor_rtnl,
    monitor_uevents,
)
from netuned.kernel.files import NOWHERE, Directory
from netuned.reconcile.loop import Reconciler
from netuned.tunables import TUNABLES, tunables_of
from netuned.tunables.base import CARD, QDISC_EVENT

log = logging.getLogger(__name__)

FileKey = tuple[int, str]
"""Of a watched directory: the card's ifindex and the directory, perhaps below the card's own."""

SETTLE_S = 0.002
"""A dropped file raises several events; one reload follows the last by this much."""

REPLACED_S = 0.1
"""A file that goes may be about to be replaced: one reload sees the new one, none its absence."""

PROFILE_EVENTS = (
    inotify.IN_CLOSE_WRITE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_ATTRIB
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
)
IRQBALANCE_DIRECTORY = Path("/run/irqbalance")


class Watches:
    """Everything that is listened to, and which files of which card."""

    def __init__(self, reconciler: Reconciler, profile_directories: Iterable[str]) -> None:
        self._loop_calls = reconciler
        self._directories = tuple(Path(directory) for directory in profile_directories)
        self._monitors: list[Monitor] = []
        self._files: FileWatch[FileKey] | None = None
        self._profiles: inotify.Inotify | None = None
        self._watched: dict[int, str] = {}
        self._reload: asyncio.TimerHandle | None = None
        self._armed: dict[int, set[FileKey]] = {}
        self._files_of: dict[int, Mapping[str, Mapping[str, str]]] = {}
        """Of each card, directory -> file -> tunable."""

    def start(self) -> None:
        """Listen, on the running loop. What this kernel does not have is left to the resync."""
        calls = self._loop_calls
        lost = calls.touch_everything
        monitors: tuple[Callable[[], Monitor], ...] = (
            lambda: monitor_rtnl(self._on_link, self._on_qdisc, lost),
            lambda: monitor_ethtool(self._on_ethtool, lost),
            lambda: monitor_uevents(self._on_uevent, lost),
        )
        for start in monitors:
            try:
                self._monitors.append(start())
            except (KernelError, UnsupportedError) as error:
                log.warning("%s, leaving it to the resync", error)
        try:
            self._files = FileWatch(self._on_write, lost)
            self._profiles = inotify.Inotify()
        except (OSError, KernelError) as error:
            log.warning("No file notification (%s), leaving it to the resync", error)
            return
        asyncio.get_running_loop().add_reader(self._profiles.fileno(), self._on_profiles)
        self._watch_directories()

    def close(self) -> None:
        if self._reload is not None:
            self._reload.cancel()
        if self._profiles is not None:
            asyncio.get_running_loop().remove_reader(self._profiles.fileno())
            self._profiles.close()
        if self._files is not None:
            self._files.close()
        for monitor in self._monitors:
            monitor.close()

    # The kernel's own files

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        """Watch the files of these tunables of a card, and no others of it.

        A directory that went and came back (queues, interrupts) is another one under the same
        name, and nothing says so: each is watched anew, and one that is the same stays so all
        along. What was written to another before this returns raises no event: look after it.
        All calls come from one thread.
        """
        if self._files is None:
            return
        before = self._armed.pop(nic.ifindex, set())
        files = _watched(nic, tunables)
        self._files_of[nic.ifindex] = files
        keys = {(nic.ifindex, directory) for directory in files}
        above = _directory_of(nic) if keys else NOWHERE
        for key in keys:
            self._watch(key, above)
        for key in before - keys:
            self._files.unwatch(key)
        if keys:
            self._armed[nic.ifindex] = keys
        else:
            del self._files_of[nic.ifindex]

    def _watch(self, key: FileKey, above: Directory) -> None:
        assert self._files is not None
        try:
            self._files.watch(key[1], key, above)
        except KernelError as error:
            log.debug("Cannot watch %s: %s, ignoring", key[1], error)

    def _on_write(self, key: FileKey, filename: str) -> None:
        ifindex, directory = key
        if tunable := self._files_of.get(ifindex, {}).get(directory, {}).get(filename):
            self._loop_calls.touch(ifindex, tunable)

    # Netlink and uevents

    def _on_link(self, ifindex: int, kind: str) -> None:
        if kind == "del":
            self._loop_calls.left(ifindex)
        else:
            self._loop_calls.touch(ifindex)

    def _on_ethtool(self, ifindex: int, what: str) -> None:
        for tunable in TUNABLES:
            if what in tunable.events:
                restructures = tunable.stale("") == CARD
                self._loop_calls.hear(ifindex, tunable.name)
                self._loop_calls.touch(ifindex, None if restructures else tunable.name)

    def _on_qdisc(self, ifindex: int, sender: int) -> None:
        for tunable in TUNABLES:
            if QDISC_EVENT in tunable.events:
                self._loop_calls.touch_by(ifindex, tunable.name, sender)

    def _on_uevent(self, action: str, path: str, subsystem: str, fields: Mapping[str, str]) -> None:
        if subsystem == "cpu" and action in ("online", "offline", "add", "remove"):
            self._loop_calls.touch_topology()

    # Profiles, and irqbalance's coming and going

    def _watch_directories(self) -> None:
        """Watch each directory, or the nearest one above it that exists, for its coming."""
        assert self._profiles is not None
        for directory in (*self._directories, IRQBALANCE_DIRECTORY):
            there = next(path for path in (directory, *directory.parents) if path.is_dir())
            try:
                self._watched[self._profiles.add(str(there), PROFILE_EVENTS)] = str(there)
            except OSError as error:
                log.debug("Cannot watch %s: %s, ignoring", there, error)

    def _on_profiles(self) -> None:
        assert self._profiles is not None
        waits = []
        for event in self._profiles.read():
            if self._watched.get(event.wd) == str(IRQBALANCE_DIRECTORY):
                self._loop_calls.touch_irqbalance()
            elif self._concerns_profiles(event):
                going = event.mask & (inotify.IN_DELETE | inotify.IN_MOVED_FROM)
                waits.append(REPLACED_S if going else SETTLE_S)
        if waits:
            if self._reload is not None:
                self._reload.cancel()
            loop = asyncio.get_running_loop()
            self._reload = loop.call_later(max(waits), self._reload_now)
        self._watch_directories()

    def _concerns_profiles(self, event: inotify.Event) -> bool:
        """In a directory above a missing one, only the missing one's name matters."""
        place = Path(self._watched.get(event.wd, "/"))
        path = place / event.name
        if event.mask & inotify.IN_CREATE and path.is_file() and not path.is_symlink():
            return False  # its content is still to come, and with it IN_CLOSE_WRITE
        if place in self._directories or event.mask & inotify.IN_Q_OVERFLOW:
            return True
        return any(path in (d, *d.parents) for d in self._directories)

    def _reload_now(self) -> None:
        self._reload = None
        self._loop_calls.touch_profiles()


def _directory_of(nic: Nic) -> Directory:
    """The card's in sysfs; none if another has its name: the event of that has it watched anew."""
    with contextlib.suppress(OSError):
        found = Directory(f"{CLASS_NET}/{nic.name}")
        if found.inode == nic.instance:
            return found
    return NOWHERE


def _watched(nic: Nic, tunables: frozenset[str]) -> Mapping[str, Mapping[str, str]]:
    """The files to watch: directory -> file -> the tunable that it tells of."""
    files: dict[str, dict[str, str]] = {}
    for name in tunables:
        for directory, file in tunables_of(nic)[name].watched(nic):
            files.setdefault(directory, {})[file] = name
    return files
