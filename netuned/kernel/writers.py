"""Who writes a setting, as far as the kernel tells without a right beyond CAP_NET_ADMIN.

- Files in /proc and /sys: a trace of the open() calls that name them, by the kernel's own
  tracepoint and filter, in an instance of netuned's that exists only while somebody is looked for.
  It gives name and pid, of a writer that has ended too. It is silent about one that keeps the file
  open.
- Qdiscs: the kernel's notification carries the port of the socket that asked for the change, which
  is the pid of its process unless that has several.

Tried and left: fanotify without CAP_SYS_ADMIN gives events without a pid; what another process has
open (/proc/PID/fd) needs CAP_SYS_PTRACE; ethtool's notifications carry port 0; a kprobe would see
every write, but who can make one can read all memory.

Source: Documentation/trace/events.rst, "Event filtering"; trace/ftrace.rst, "Instances";
netlink(7), nlmsg_pid; qdisc_notify().
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from netuned.errors import UnsupportedError
from netuned.kernel.files import FileTree
from netuned.records import dataclass
from netuned.regex import regex

TRACING = Path("/sys/kernel/tracing")
INSTANCE = "netuned-"
CALLS = ("sys_enter_openat", "sys_enter_open", "sys_enter_openat2")
"""The last cannot be filtered by its flags: those are behind a pointer."""

BUFFER_KB = 16
CPUS_MOST = 256
"""A new instance has 1.4 MB for each CPU until it is told to have less."""

WORDS_MOST = 200
"""Bytes of what a process was started with that are shown."""

PATHS_MOST = 4
PID_LIMIT = 1 << 22
"""PID_MAX_LIMIT."""

_TEXT_LIMIT = 1 << 16
_OPENED = regex(r"^ *(.+)-(\d+) +\( *([\d-]+)\) \[\d+\]", re.MULTILINE)
"""``  sh-21316   (  21316) [000] ..... 15951.381865: sys_openat(dfd: …``: name, thread, process."""

_INTERPRETERS = regex(r"(python|perl|ruby|bash|dash|sh|zsh|ksh)[\d.]*$")
_SPECIAL = regex(r"[^\w.:@/-]", re.ASCII)
_UNIT = regex(r"([^/\n]+\.(?:service|scope|socket|mount))(?:/|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What can be read at once of a process that may end the next moment; ``parent`` 0: unknown."""

    pid: int
    command: str
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Writer:
    """A process: its program's or script's name, and the systemd unit it belongs to, if it does.

    ``parent`` is the one that started it, where that is not the service manager.
    """

    pid: int
    command: str
    unit: str = ""
    ended: bool = False
    parent: str = ""

    @property
    def pid_and_unit(self) -> str:
        facts = [f"pid {self.pid}", self.unit, "ended since" if self.ended else ""]
        return ", ".join(filter(None, facts))

    def __str__(self) -> str:
        text = f"{self.command} ({self.pid_and_unit})"
        return f"{text}, started by {self.parent}" if self.parent else text


def find(files: FileTree, names: Iterable[str]) -> Mapping[str, Writer]:
    """Which programs of these names run; one process of each."""
    known = {name[:15]: name for name in names}  # what the kernel keeps of a name
    found = {}
    for entry in files.listdir("/proc"):
        if not entry.isdigit():
            continue
        name = known.get(files.read_text(f"/proc/{entry}/comm", ""))
        if name is not None:
            unit = unit_of(files.read_text(f"/proc/{entry}/cgroup", ""))
            found[name] = Writer(int(entry), name, unit)
    return found


def is_other(port: int) -> bool:
    """Whether a netlink port is the pid of another process, as far as it says.

    A thread's second socket has a port past every pid.
    """
    return 0 < port <= PID_LIMIT and port != os.getpid()


def glimpse(port: int) -> Glimpse | None:
    """The process that a netlink port is the pid of; None where it has none, or is netuned's own.

    One read, for the process may be about to end.
    """
    if not is_other(port):
        return None
    try:
        stat = Path(f"/proc/{port}/stat").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
    command, _, rest = stat.partition("(")[2].rpartition(")")
    return Glimpse(port, command, int(rest.split()[1]))


def describe(seen: Glimpse) -> Writer:
    """All there is to say of a process, which may have ended."""
    writer = _running(seen.pid) or Writer(seen.pid, seen.command, ended=True)
    if seen.parent > 1 and (parent := _running(seen.parent)):
        return replace(writer, unit=writer.unit or parent.unit, parent=_without_unit(parent))
    return writer


def words_of(pid: int) -> str:
    """What a process was started with, as far as it fits; empty if it has ended.

    May wait for long: the kernel reads it out of the process's memory, and whoever changes how that
    is mapped has a lock on it. What it is mapped from is not waited for since Linux 4.17 (commit
    7f7ccc2ccc2e, "proc: do not access cmdline nor environ from file-backed areas").
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            words = file.read(WORDS_MOST)
    except OSError:
        return ""
    return words.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "surrogateescape")


def _running(pid: int) -> Writer | None:
    import psutil  # 4 MB that a host without quarrels need not have

    try:
        running = psutil.Process(pid)
        words = running.cmdline()
        name = running.name()
    except psutil.Error:
        return None
    program = os.path.basename(words[0]) if words else name
    if _INTERPRETERS.match(program) and len(words) > 1 and not words[1].startswith("-"):
        name = os.path.basename(words[1])
    return Writer(pid, name, _unit(pid))


def _without_unit(writer: Writer) -> str:
    return str(replace(writer, unit=""))


def _unit(pid: int) -> str:
    try:
        return unit_of(Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace"))
    except OSError:
        return ""


def unit_of(groups: str) -> str:
    """The systemd unit in what /proc/PID/cgroup says, or none."""
    found = _UNIT.findall(groups)
    return found[-1] if found else ""


class OpenTrace:
    """Who opens some files for writing, from ``start`` to ``close``. Blocks for milliseconds."""

    def __init__(self, tracing: Path = TRACING) -> None:
        self._instances = tracing / "instances"
        self._instance = self._instances / f"{INSTANCE}{os.getpid()}"

    def start(self, paths: Iterable[str]) -> None:
        """Trace who opens files whose paths end so (``eth0/queues/rx-0/rps_cpus``).

        A path relative to any directory above it counts too. Raises: UnsupportedError.
        """
        if (os.cpu_count() or 1) > CPUS_MOST:
            raise UnsupportedError("tracing", f"its buffers are too large on over {CPUS_MOST} CPUs")
        self._forget_dead()
        names = [name for path in list(paths)[:PATHS_MOST] for name in _spellings(path)]
        match = " || ".join(f'filename.ustring ~ "{name}"' for name in dict.fromkeys(names))
        try:
            self._instance.mkdir(exist_ok=True)
            self._write("buffer_size_kb", str(BUFFER_KB))
            self._write("options/record-tgid", "1")
            for call in CALLS:
                if (self._instance / "events/syscalls" / call).is_dir():
                    flags = "" if call == "sys_enter_openat2" else "(flags & 3) && "
                    self._write(f"events/syscalls/{call}/filter", f"{flags}({match})")
                    self._write(f"events/syscalls/{call}/enable", "1")
        except OSError as error:
            self.close()
            why = f"{error.filename}: {error.strerror}"
            raise UnsupportedError("tracing who opens a file", why) from None

    def writer(self) -> Writer | None:
        """Who opened them most often so far, netuned aside; alive, if any of that name is."""
        with contextlib.suppress(OSError), (self._instance / "trace").open("rb") as trace:
            found = _OPENED.findall(trace.read(_TEXT_LIMIT).decode("utf-8", "replace"))
            pids = [(name, int(tgid if tgid.isdigit() else tid)) for name, tid, tgid in found]
            others = [(name, pid) for name, pid in pids if pid != os.getpid()]
            if others:
                ((often, _),) = Counter(name for name, _ in others).most_common(1)
                last = next(pid for name, pid in reversed(others) if name == often)
                return describe(glimpse(last) or Glimpse(last, often))
        return None

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._instance.rmdir()

    def _write(self, name: str, text: str) -> None:
        path = self._instance / name
        try:
            path.write_text(text)
        except OSError as error:  # a failing write() does not name its file
            raise OSError(error.errno, error.strerror, str(path)) from None

    def _forget_dead(self) -> None:
        """What a killed netuned left; the kernel would trace for it for ever."""
        for left in self._instances.glob(f"{INSTANCE}*"):
            pid = left.name.removeprefix(INSTANCE)
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                with contextlib.suppress(OSError):
                    left.rmdir()


def _spellings(path: str) -> Iterable[str]:
    """The path below any directory, and as seen from each directory on its way.

    A card's name can hold what means something in a filter; there it matches any character.
    """
    path = _SPECIAL.sub("?", path)
    yield f"*/{path}"
    words = path.split("/")
    yield from ("/".join(words[at:]) for at in range(len(words)))
