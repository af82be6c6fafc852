"""Reads the files of the search path in threads that may be left behind: one may never answer.

A link can lead to a file system whose server is gone (NFS, FUSE): the kernel waits for it without
an end, and only an answer ends the thread. So one thread reads all there is; when a file takes
longer than ``DEADLINE_S`` the thread is left to it, and another one reads the rest.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field

from netuned.errors import ProfileError
from netuned.profiles.searchpath import RecordedDirectory, read_directory
from netuned.profiles.settings import Read, read_settings
from netuned.profiles.trust import UnsettledError, Way
from netuned.records import dataclass

DEADLINE_S = 1.0
"""How long one file may take, from the first name of its way to its last byte."""

SLICE_S = 0.05
"""Only time in which this process runs counts: one that was stopped finds no file late."""

MOST_OF_MOUNT = 2
"""On so many steps threads may wait for one file system; then nothing more is asked of it."""

MOST = 8
"""So many threads may wait; then only what lies in the directories themselves is read."""

MOST_AT_ALL = 12
"""So many may wait; then nothing is read."""

AGAIN_S = 30.0
"""A step is tried again after this, then after twice that: a server that was started anew may
answer new requests and never the old ones."""

TRIES = 3
"""How many threads may wait at one step."""

FRESH_S = 0.1
"""What changed within this may change again and have the same time: it is read once more."""

STABLE_S = 1.0
"""A file that is written to and not closed counts when it has stayed the same for so long."""

REWRITTEN_S = 4.0
"""The same of one that was read before, as long as somebody has it open to write to it."""

CUT_S = 60.0
"""The same where it is empty meanwhile: most who rewrite a file in place cut it first."""

OWN_FILE_SYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "vfat", "squashfs",
     "erofs", "tmpfs", "ramfs", "rootfs", "overlay")
)  # fmt: skip
"""What waits for this host's own disks at most. No automounter, nothing of a server's, no FUSE."""

MAX_TOTAL = 1 << 24
"""How many bytes all files together may have."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the search path and the files of settings held at one time.

    ``met`` is, of each path, what was on the way to it: while it is the same nothing has changed.
    """

    directories: Mapping[str, RecordedDirectory] = field(default_factory=dict)
    settings: Read = field(default_factory=dict)
    met: Mapping[str, Sequence[object]] = field(default_factory=dict)
    places: frozenset[str] = frozenset()
    """All directories and names that were passed."""
    mounted: frozenset[str] = frozenset()
    """What was mounted at these."""


class Guide:
    """Who hears of each directory before a name is looked up in it; this one watches none.

    Called in the threads that read.
    """

    def passed(self, directory: int, where: str, name: str, *, last: bool) -> int:
        """Watch for changes of a name, as ``Way.enter`` has it. The watch's number, -1: none."""
        return -1

    def finished(self, passed: Mapping[int, frozenset[str]]) -> None:
        """All was read: these watches, and of each these names, are the ones that matter."""

    def written_s(self, path: str) -> float | None:
        """How long ago a file was written to that has not been closed since; None: it was."""
        return None


class Reader:
    """Reads the files of directories, and those with the daemon's own settings."""

    def __init__(
        self,
        directories: Sequence[str],
        settings_path: str,
        answered: Callable[[], None],
        *,
        owner: int = 0,
    ) -> None:
        """``answered`` is called, in a thread, when an answer has come late: read again."""
        self.directories = tuple(directory.rstrip("/") for directory in directories)
        self.settings_path = settings_path
        self.owner = owner
        self.guide = Guide()
        self._answered = answered
        self._late: list[_Thread] = []
        self._changing = threading.Lock()

    def read(self, before: Reading, *, content: bool = True) -> Reading:
        """Read everything; what does not answer is an error, what is being written as ``before``.

        Without ``content`` files are not read, and only ``met`` counts. Waits ``DEADLINE_S`` for
        each file that does not answer and did so far. One call at a time.
        """
        while True:
            with self._changing:
                late = tuple(self._late)
            if len(late) >= MOST_AT_ALL:
                return self._nothing()
            thread = _Thread(self, late, before, content=content)
            threading.Thread(target=thread.run, name="files", daemon=True).start()
            if thread.ends_in_time():
                return thread.result()
            with self._changing:
                if thread.ended.is_set():
                    return thread.result()
                thread.leave()
                self._late.append(thread)

    def is_same(self, before: Reading) -> bool:
        """Whether it is sure, without a thread that could be left behind, that nothing changed.

        Nothing else is opened than what was the last time: that answers.
        """
        own = before.mounted and all(map(_is_own, before.mounted))
        if not own or _mounted_at_any(before.places, _mounted()) != before.mounted:
            return False
        try:
            return _Retrace(self, (), before, content=False).is_same()
        except _OtherError:
            return False

    def end(self, thread: _Thread) -> None:
        """A thread ends. If it was left behind, what it waited for has answered."""
        with self._changing:
            was_late = thread in self._late
            if was_late:
                self._late.remove(thread)
            thread.ended.set()
        if was_late:
            self._answered()

    def _nothing(self) -> Reading:
        problem = f"not read: {MOST_AT_ALL} other files do not answer"
        errors = {path: ProfileError(path, 0, 0, "", problem) for path in self.directories}
        settings = {self.settings_path: ProfileError(self.settings_path, 0, 0, "", problem)}
        return Reading(errors, settings, {"": (problem,)})


class _Thread(Way):
    """One reading of everything: what it has met so far, and the step that it is at."""

    def __init__(
        self, reader: Reader, late: Sequence[_Thread], before: Reading, *, content: bool
    ) -> None:
        self.content = content
        self.ended = threading.Event()
        self.step = ("", "")
        """A directory and the name looked up in it."""
        self.mount = ""
        """Of one that was left behind: the file system that does not answer."""
        self.since = 0.0
        self.answered_since = False
        """Another thread had an answer where this one still waits."""
        self._reader = reader
        self._late = [thread for thread in late if not thread.answered_since]
        self._crowded = len(late) >= MOST
        self._tried_again: list[_Thread] = []
        self._before = before
        self._result: Reading | None = None
        self._left = False
        self._directory = -1
        self._near: set[str] = set()
        """Of the root and the profile directory: what lies there is read without a link."""
        self._count = self._bytes = 0
        self._path = ""
        self._passed: dict[int, set[str]] = {}
        self._met: list[object] = []
        self._all_met: dict[str, list[object]] = {}
        self._mounted = _mounted()
        self._places: set[str] = set()

    def ends_in_time(self) -> bool:
        """Wait for its end, or until one file has taken too long."""
        count, waited_s = self._count, 0.0
        while not self.ended.wait(SLICE_S):
            waited_s += SLICE_S
            if count != self._count:
                count, waited_s = self._count, 0.0
            elif waited_s >= DEADLINE_S:
                return False
        return True

    def leave(self) -> None:
        """Leave it to what it waits for."""
        self._left = True
        self.since = time.monotonic()
        self.mount = _mounted_at("/".join(self.step)) or _mount_of(self._directory)

    def result(self) -> Reading:
        """What was read."""
        assert self._result is not None, "the reading has ended without one"
        for thread in self._tried_again:
            thread.answered_since = True
        return self._result

    def run(self) -> None:
        try:
            self._result = self._read()
        finally:
            self._reader.end(self)

    def _read(self) -> Reading:
        reader = self._reader
        found: dict[str, RecordedDirectory] = {}
        seen: set[str] = set()
        for directory in reader.directories:
            self._near = {_mount_of_path("/")} if self._late else set()
            before = self._before.directories.get(directory)
            there = None if isinstance(before, ProfileError) else before
            try:
                new = found[directory] = read_directory(directory, reader.owner, seen, self, there)
                seen |= new.keys()
            except ProfileError as error:
                found[directory] = error
        settings = read_settings(reader.settings_path, reader.owner, self, self._before.settings)
        if not self._left:
            reader.guide.finished({wd: frozenset(names) for wd, names in self._passed.items()})
        places = frozenset(self._places)
        mounted = _mounted_at_any(places, self._mounted)
        return Reading(found, settings, self._all_met, places, mounted)

    # On the way

    def begin(self, path: str) -> None:
        self._count += 1
        self._path, self._met = path, []
        self._all_met[path] = self._met

    def enter(self, directory: int, where: str, name: str, *, last: bool) -> None:
        if self._left:
            raise ProfileError(self._path, 0, 0, "", "answered late")
        self._directory, self.step = directory, (where, name)
        if self._late or self._crowded:
            self._refuse_late(_mount_of(directory), name)
        self._places |= {where, os.path.join(where, name)}
        wd = self._reader.guide.passed(directory, where, name, last=last)
        self._passed.setdefault(wd, set()).add(name)

    def meet(self, *what: object) -> None:
        self._met.append(what)

    def settled(self, file: int, status: os.stat_result) -> None:
        if status.st_nlink == 1 and self._is_written(file, status.st_size):
            self.meet("being written")
            raise UnsettledError
        if not self.content:
            return
        if abs(time.time() - status.st_ctime) < FRESH_S:
            self.meet("fresh")
        self._bytes += status.st_size
        if self._bytes > MAX_TOTAL:
            problem = f"not read: all profiles together have more than {MAX_TOTAL} bytes"
            raise ProfileError(self._path, 0, 0, "", problem)

    def _is_written(self, file: int, size: int) -> bool:
        """Whether somebody is about to write more: what was there before counts until then."""
        ago_s = self._reader.guide.written_s("/".join(self.step))
        if ago_s is None:
            return False
        patience_s = (REWRITTEN_S if size else CUT_S) if self._was_read() else STABLE_S
        return ago_s < STABLE_S or (ago_s < patience_s and _is_open_for_writing(file))

    def _was_read(self) -> bool:
        """Whether there was something in this file, or a reason not to use it, the last time."""
        directory, name = os.path.split(self._path)
        before = self._before.directories.get(directory, self._before.settings)
        if isinstance(before, ProfileError):
            return False
        return bool(before.get(self._path if before is self._before.settings else name))

    def _refuse_late(self, mount: str, name: str) -> None:
        """Go on to a name unless others wait there already. Raises: ProfileError."""
        if not name:  # all names of the directory, which has been opened
            self._near.add(mount)
        at_step = [thread for thread in self._late if thread.step == self.step]
        if at_step:
            last = max(thread.since for thread in at_step)
            wait_s = AGAIN_S * 2 ** (len(at_step) - 1)
            if time.monotonic() < last + wait_s or len(at_step) >= TRIES or self._crowded:
                self._refuse("does not answer")
            if not self.content:
                self._refuse("may answer")  # other than the last time: so all is read again
            self._tried_again += at_step
            return
        steps = {thread.step for thread in self._late if thread.mount == mount}
        if mount not in self._near and (len(steps) >= MOST_OF_MOUNT or self._crowded):
            self._refuse("is not asked, for others do not answer")

    def _refuse(self, why: str) -> None:
        self.meet(why)
        place = "/".join(self.step)
        leads = "" if place == self._path else f"leads to {place}, which "
        raise ProfileError(self._path, 0, 0, "", f"{leads}{why}; it is read as soon as it does")


class _OtherError(Exception):
    """Something on the way is other than it was."""


class _Retrace(_Thread):
    """The way of a reading gone once more, up to the first thing that is other than it was."""

    def is_same(self) -> bool:
        """Raises: _OtherError."""
        seen: set[str] = set()
        for directory in self._reader.directories:
            before = self._before.directories.get(directory)
            there = None if isinstance(before, ProfileError) else before
            with suppress(ProfileError):
                seen |= read_directory(directory, self._reader.owner, seen, self, there).keys()
        read_settings(self._reader.settings_path, self._reader.owner, self, self._before.settings)
        return self._all_met == self._before.met

    def begin(self, path: str) -> None:
        super().begin(path)
        self._expected = iter(self._before.met.get(path, ()))

    def enter(self, directory: int, where: str, name: str, *, last: bool) -> None:
        self.step = where, name

    def meet(self, *what: object) -> None:
        if next(self._expected, None) != what:
            raise _OtherError
        super().meet(*what)

    def settled(self, file: int, status: os.stat_result) -> None:
        if status.st_nlink == 1 and self._is_written(file, status.st_size):
            self.meet("being written")
            raise UnsettledError


def _is_open_for_writing(file: int) -> bool:
    """Whether anybody has a file open to write to it, or that cannot be found out.

    The kernel grants no lease for reading then. Who opens the file while there is one waits until
    it ends, at once; the signal that this sends is one that is ignored by default.
    Source: fcntl(2), fs/locks.c, generic_add_lease().
    """
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    return False


def _mount_of(descriptor: int) -> str:
    """The number of the mount that a descriptor's file is on; nobody is asked for it."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as info:
            found = re.search(r"^mnt_id:\s*(\d+)", info.read(), re.MULTILINE)
    except OSError:  # it is closed: there was an answer just now
        return ""
    return found[1] if found else ""


def _mounted() -> str:
    """What is mounted; empty where that cannot be read."""
    with suppress(OSError), open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
        return mounts.read()
    return ""


def _mounted_at_any(places: frozenset[str], mounted: str) -> frozenset[str]:
    """The lines of what is mounted at these paths. Source: proc(5), mountinfo."""
    return frozenset(line for line in mounted.splitlines() if _point_of(line) in places)


def _is_own(line: str) -> bool:
    """Whether that waits for no server and no process."""
    return line.rpartition(" - ")[2].partition(" ")[0] in OWN_FILE_SYSTEMS


def _point_of(line: str) -> str:
    point = line.split(" ", 5)[4]
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)


def _mount_of_path(path: str) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return _mount_of(descriptor)
    finally:
        os.close(descriptor)


def _mounted_at(path: str) -> str:
    """The number of what is mounted at a path, the topmost; empty if nothing is."""
    found = ""
    with suppress(OSError), open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
        for line in mounts:
            if _point_of(line) == path:
                found = line.partition(" ")[0]
    return found
