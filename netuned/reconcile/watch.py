"""What says "look again": kernel events and file notifications, turned into calls of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.kernel.events import (
    FileWatch,
    Monitor,
    monitor_ethtool,
    monitor_rtnl,
    monitor_uevents,
)
from netuned.kernel.files import NOWHERE, Directory
from netuned.reconcile.loop import Reconciler
from netuned.reconcile.profilewatch import ProfileWatch
from netuned.tunables import TUNABLES, tunables_of
from netuned.tunables.base import CARD, QDISC_EVENT

log = logging.getLogger(__name__)

FileKey = tuple[int, str]
"""Of a watched directory: the card's ifindex and the directory, perhaps below the card's own."""

AGAIN_S = 5.0
"""Where instances or watches of inotify are used up it is tried again so often."""

NO_ROOM = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LIMITS = (
    "what others write is seen at the resync only, until fs.inotify.max_user_instances or "
    "max_user_watches is raised"
)


class Watches:
    """Everything that is listened to, and which files of which card."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._loop_calls = reconciler
        self._monitors: list[Monitor] = []
        self._files: FileWatch[FileKey] | None = None
        self._profiles: ProfileWatch | None = None
        self._again: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._wanted: dict[int, tuple[Nic, frozenset[str]]] = {}
        self._armed: dict[int, set[FileKey]] = {}
        self._unwatched: set[FileKey] = set()
        """There were not watches enough."""
        self._files_of: dict[int, Mapping[str, Mapping[str, str]]] = {}
        """Of each card, directory -> file -> tunable."""

    def start(self) -> None:
        """Listen, on the running loop. What this kernel does not have is left to the resync."""
        calls = self._loop_calls
        lost = calls.touch_everything
        monitors: tuple[Callable[[], Monitor], ...] = (
            lambda: monitor_rtnl(self._on_link, self._on_qdisc, lost, calls.is_known),
            lambda: monitor_ethtool(self._on_ethtool, lost),
            lambda: monitor_uevents(self._on_uevent, lost),
        )
        for start in monitors:
            try:
                self._monitors.append(start())
            except (KernelError, UnsupportedError) as error:
                log.warning("%s, leaving it to the resync", error)
        self._loop = asyncio.get_running_loop()
        self._listen_to_files()

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._profiles is not None:
            self._profiles.close()
        if self._files is not None:
            self._files.close()
        for monitor in self._monitors:
            monitor.close()

    # Files

    def _listen_to_files(self) -> None:
        """Have an instance of inotify for profiles and one for the kernel's own files.

        Where they, or watches, are used up that is told, and tried again.
        """
        calls, problem = self._loop_calls, ""
        try:
            if self._profiles is None:
                self._profiles = ProfileWatch(
                    calls.touch_profiles, calls.touch_irqbalance, self._listen_to_files
                )
                calls.loading.follow(self._profiles)
            if self._files is None:
                self._files = FileWatch(self._on_write, calls.touch_everything)
        except OSError as error:
            problem = f"no instance of inotify is left ({os.strerror(error.errno or 0)}): {LIMITS}"
        if not problem and (self._unwatched or self._profiles is None or self._profiles.is_short):
            problem = f"no watches of inotify are left: {LIMITS}"
        calls.tell_deaf(problem)
        if problem and self._again is None:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._listen_again)

    def _listen_again(self) -> None:
        """Take the events that could not be had so far, once there is room, and look then."""
        self._again = None
        calls = self._loop_calls
        short = self._profiles is None or self._profiles.is_short
        whole = self._files is None
        cards = set(self._wanted) if whole else self._short()
        if self._profiles is not None:
            self._profiles.watch_socket()
        self._listen_to_files()
        if short:
            calls.work.spawn(calls.look_at_profiles())
        if self._files is not None:
            calls.work.spawn(self._arm_again(cards, whole=whole))

    async def _arm_again(self, cards: Iterable[int], *, whole: bool = True) -> None:
        """Watch cards anew, ``whole`` or what is unwatched of them, and look at each that is
        watched whole: what was written is not known.

        One without room for all its watches is left to the resync; to look is to read all of it.
        """
        arm = self._arm_as_wanted if whole else self._arm_rest
        for ifindex in cards:
            await self._loop_calls.work.in_line(partial(arm, ifindex))
            if ifindex in self._short():
                if not whole:
                    break  # there is no room for others either
            elif ifindex in self._wanted:
                self._loop_calls.touch(ifindex)
        self._listen_to_files()

    def _arm_as_wanted(self, ifindex: int) -> None:
        """As ``arm``, of a card that may have left by the time that it is its turn."""
        if wanted := self._wanted.get(ifindex):
            self.arm(*wanted)

    def _arm_rest(self, ifindex: int) -> None:
        """Watch those directories of a card that were not for want of room."""
        rest = {key for key in self._unwatched if key[0] == ifindex}
        if rest and (wanted := self._wanted.get(ifindex)):
            left = self._watch_all(rest, _directory_of(wanted[0]))
            self._unwatched = (self._unwatched - rest) | left

    def _short(self) -> set[int]:
        """Cards with directories for which there were not watches enough."""
        return {ifindex for ifindex, _ in tuple(self._unwatched)}

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        """Watch the files of these tunables of a card, and no others of it.

        A directory that went and came back (queues, interrupts) is another one under the same
        name, and nothing says so: each is watched anew, and one that is the same stays so all
        along. What was written to another before this returns raises no event: look after it.
        All calls come from one thread.
        """
        if tunables:
            self._wanted[nic.ifindex] = nic, tunables
        else:
            self._wanted.pop(nic.ifindex, None)
        if self._files is None:
            return
        before = self._armed.pop(nic.ifindex, set())
        files = _watched(nic, tunables)
        self._files_of[nic.ifindex] = files
        keys = {(nic.ifindex, directory) for directory in files}
        above = _directory_of(nic) if keys else NOWHERE
        unwatched = self._watch_all(keys, above)
        for key in before - keys:
            self._files.unwatch(key)
        if keys:
            self._armed[nic.ifindex] = keys
        else:
            del self._files_of[nic.ifindex]
        others = {key for key in self._unwatched if key[0] != nic.ifindex}
        self._unwatched = others | unwatched
        if unwatched:
            self._loop.call_soon_threadsafe(self._listen_to_files)

    def _watch_all(self, keys: set[FileKey], above: Directory) -> set[FileKey]:
        """Watch directories of a card until there is no room. Returns those that are left."""
        left = sorted(keys)
        while left and self._watch(left[0], above):
            del left[0]
        return set(left)

    def _watch(self, key: FileKey, above: Directory) -> bool:
        """Watch a directory of a card. Says whether there was room for that."""
        assert self._files is not None
        try:
            self._files.watch(key[1], key, above)
        except KernelError as error:
            log.debug("Cannot watch %s: %s, ignoring", key[1], error)
            return error.errno not in NO_ROOM
        return True

    def _on_write(self, key: FileKey, filename: str) -> None:
        ifindex, directory = key
        if tunable := self._files_of.get(ifindex, {}).get(directory, {}).get(filename):
            self._loop_calls.hear(ifindex, tunable)
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
                self._loop_calls.hear(ifindex, tunable.name)
                if tunable.stale("") == CARD:
                    self._loop_calls.touch_shape(ifindex, tunable.name)
                else:
                    self._loop_calls.touch(ifindex, tunable.name)

    def _on_qdisc(self, ifindex: int, sender: int) -> None:
        for tunable in TUNABLES:
            if QDISC_EVENT in tunable.events:
                self._loop_calls.touch_by(ifindex, tunable.name, sender)

    def _on_uevent(self, action: str, path: str, subsystem: str, fields: Mapping[str, str]) -> None:
        if subsystem == "cpu" and action in ("online", "offline", "add", "remove"):
            self._loop_calls.touch_topology()


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
    for mark in tunables:
        name = mark.partition(" ")[0]
        for directory, file in tunables_of(nic)[name].marked(nic, mark):
            files.setdefault(directory, {})[file] = name
    return files
