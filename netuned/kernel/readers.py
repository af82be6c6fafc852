"""Readers: processes with network sockets open, and the CPUs on which their threads ran last.

On which CPU a socket was read the kernel tells its owner alone (SO_INCOMING_CPU); where a thread
ran, everybody. What a process has open is seen of one's own and, with CAP_SYS_PTRACE, of all.

Source: proc_pid_stat(5), processor; Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat;
net/socket.c, sockfs_xattr_get().
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping

from netuned.text import escape

_PROTOCOL = "system.sockprotoname"
_NETWORK = ("TCP", "UDP", "MPTCP", "SCTP", "DCCP", "RAW", "PACKET", "XDP", "PING", "SMC")
"""How the names of protocols begin that reach a card; others are UNIX, NETLINK, ALG, …"""
_PROCESSOR = 36
"""Of the fields after the name, which may have spaces."""
_FIRST_S, _EACH_S, _AGAIN_S = 0.1, 0.001, 10.0
"""Processor time that the first look and each further one may take for what is new; when all
processes are gone through again, for one may open a socket at any time."""


class Readers:
    """Looks again and again; each look goes on where the one before ran out of its time.

    ``ran`` is CPU -> ``name PID`` -> for how long, in ns, its threads ran that were last seen
    there, from their first look on.
    """

    def __init__(self, first_s: float = _FIRST_S, each_s: float = _EACH_S, *, but: int = 0) -> None:
        """``but`` is a process to leave out: who looks asks the kernel by sockets, too."""
        self.ran: dict[int, dict[str, int]] = {}
        self._first_s, self._each_s = first_s, each_s
        self._namespace = _namespace("thread-self")
        self._left: deque[str] = deque()
        self._known: dict[str, str] = {}
        self._turns: deque[str] = deque()
        self._before: dict[str, dict[str, bytes]] = {}
        self._places: dict[str, frozenset[int]] = {}
        self._listed = 0.0
        self._seen: set[str] = set()
        self._but = str(but)

    def look(self) -> Mapping[int, tuple[str, ...]]:
        """CPU -> the processes of which a thread ran there last, as ``name PID``, in order.

        Those with a network socket in this thread's namespace, that ran since they were looked at
        before. On a host of thousands of processes it takes some looks to know all of them.
        """
        budget = self._each_s if self._listed else self._first_s
        if time.monotonic() - self._listed > _AGAIN_S or not self._listed:
            self._list()
        until = time.thread_time() + budget
        while self._left and time.thread_time() < until:
            self._examine(self._left.popleft())
        until = time.thread_time() + budget
        for _ in range(len(self._turns)):
            self._follow(self._turns[0])
            self._turns.rotate(-1)
            if time.thread_time() > until:
                break
        found: dict[int, list[str]] = {}
        for pid, cpus in self._places.items():
            for cpu in cpus:
                found.setdefault(cpu, []).append(self._name(pid))
        return {cpu: tuple(sorted(names)) for cpu, names in found.items()}

    def _list(self) -> None:
        self._listed = time.monotonic()
        there = [name for name in os.listdir("/proc") if name.isdecimal() and name != self._but]
        self._seen &= set(there)
        # those never looked at first: where time is short the last would have no turn
        self._left = deque(sorted(there, key=self._seen.__contains__))
        for pid in self._known.keys() - set(there):
            self._forget(pid)

    def _examine(self, pid: str) -> None:
        self._seen.add(pid)
        if _has_network(pid) and _namespace(pid) == self._namespace:
            if pid not in self._known:
                self._turns.append(pid)
            self._known[pid] = escape(_read(f"{pid}/comm").decode("utf-8", "surrogateescape")[:-1])
        elif pid in self._known:
            self._forget(pid)

    def _follow(self, pid: str) -> None:
        """Where the threads are that ran since the look before; at the first, all of them."""
        before, now, cpus = self._before.get(pid, {}), dict[str, bytes](), set()
        for thread in _threads(pid):
            now[thread] = _read(f"{pid}/task/{thread}/schedstat")
            if not now[thread] or now[thread] != before.get(thread):
                fields = _read(f"{pid}/task/{thread}/stat").rpartition(b")")[2].split()
                if len(fields) > _PROCESSOR:
                    cpu = int(fields[_PROCESSOR])
                    cpus.add(cpu)
                    by_name = self.ran.setdefault(cpu, {})
                    ran = _ran_ns(now[thread]) - _ran_ns(before.get(thread, now[thread]))
                    by_name[self._name(pid)] = by_name.get(self._name(pid), 0) + ran
        self._before[pid], self._places[pid] = now, frozenset(cpus)

    def _forget(self, pid: str) -> None:
        self._known.pop(pid)
        self._turns.remove(pid)
        self._before.pop(pid, None)
        self._places.pop(pid, None)

    def _name(self, pid: str) -> str:
        return f"{self._known[pid]} {pid}"


def _has_network(pid: str) -> bool:
    for descriptor in _listed(f"{pid}/fd"):
        path = f"/proc/{pid}/fd/{descriptor}"
        try:
            if os.readlink(path).startswith("socket:"):
                protocol = os.getxattr(path, _PROTOCOL).decode("ascii", "replace")
                if protocol.startswith(_NETWORK):
                    return True
        except OSError:  # closed meanwhile
            continue
    return False


def _namespace(process: str) -> int:
    """The network namespace's inode; 0 where it is not to be known."""
    try:
        return os.stat(f"/proc/{process}/ns/net").st_ino
    except OSError:
        return 0


def _ran_ns(schedstat: bytes) -> int:
    """0 where the kernel keeps none, or the thread has ended."""
    return int(schedstat.split()[0]) if schedstat else 0


def _threads(pid: str) -> Iterable[str]:
    return _listed(f"{pid}/task")


def _listed(path: str) -> Iterable[str]:
    try:
        return os.listdir(f"/proc/{path}")
    except OSError:  # it has ended, or is another user's
        return ()


def _read(path: str) -> bytes:
    """Empty where the process has ended."""
    try:
        with open(f"/proc/{path}", "rb", buffering=0) as file:
            return file.read(1024) or b""
    except OSError:
        return b""
