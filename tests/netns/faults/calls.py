"""Calls of the kernel and the disk: counted, named, and one of them made to fail or to kill."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from netuned.errors import KernelError

GONE = -1
"""In place of an errno: the call says that there is nothing."""
SHORT = -2
"""In place of an errno: the call returns half of what it read."""
DISTURBED = -3
"""In place of an errno: the call does its work after ``Calls.disturb``; if ``done``, before it."""

KERNEL_WRITE = (errno.EPERM, errno.EIO, errno.EBUSY, errno.EINVAL, errno.ENODEV, errno.ENOMEM)
ERRORS: Mapping[str, Sequence[int]] = {
    "read": (errno.EIO, errno.ENODEV, errno.ENOMEM, SHORT),
    "read elsewhere": (errno.EIO,),
    "list": (errno.EIO, errno.ENOENT, errno.ENOMEM),
    "look": (GONE,),
    "write": (*KERNEL_WRITE, errno.EACCES, errno.ENOENT),
    "ioctl": (*KERNEL_WRITE, errno.EOPNOTSUPP),
    "netlink": (*KERNEL_WRITE, errno.EOPNOTSUPP, errno.ENOBUFS, errno.ETIMEDOUT),
    "disk": (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT),
}
"""What each kind of call can give."""

ELSEWHERE = 6
"""Of the many files on CPUs that are read at the start, one in so many fails."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """The ``at``-th call ends with ``error``; if ``done``, after it did its work.

    ``on``: so do all after it, until the fault is lifted.
    """

    at: int
    error: int
    done: bool = False
    on: bool = False


class Calls:
    """Counts calls, names them, and makes one of them fail or kill."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.disturb: Callable[[], None] = lambda: None
        """What somebody else does, by other means than these calls."""
        self.disturb_at = -1
        """The step before which that is called."""
        self.kill_at = -1
        self.steps: list[str] = []
        """Before and after each call that changes something."""

    def restart(self, fault: Fault | None = None) -> None:
        """Count anew."""
        self.names, self.steps, self.fault = [], [], fault

    def make(
        self, kind: str, name: str, work: Callable[[], T], fail: Callable[[int], T], writes: bool
    ) -> T:
        """Do the work, or not. ``fail`` raises or gives what a failed call gives."""
        fault, number = self.fault, len(self.names)
        self.names.append((kind, name))
        if fault is not None and fault.error == DISTURBED:
            if number == fault.at and not fault.done:
                self.disturb()
            elif number == fault.at:
                made = work()
                self.disturb()
                return made
            fault = None
        if fault is None or not (number == fault.at or (fault.on and number > fault.at)):
            if not writes:
                return work()
            self._step(f"before {name}")
            done = work()
            self._step(f"after {name}")
            return done
        if fault.done:
            work()
        return fail(fault.error)

    def _step(self, name: str) -> None:
        if len(self.steps) == self.disturb_at:
            self.disturb()
        if len(self.steps) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps.append(name)


def faults_of(names: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    """Every call with every error it can give; what writes, also after it has written."""
    for number, (kind, name) in enumerate(names):
        if kind == "read elsewhere" and number % ELSEWHERE:
            continue
        writes = kind == "write" or name.startswith(("replace", "delete", "set", "disk"))
        for error in ERRORS[kind]:
            yield Fault(number, error)
        if writes:
            yield Fault(number, errno.EIO, done=True)
            yield Fault(number, errno.EBUSY, on=True)


def meddling_of(names: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    """Somebody who sets everything right after a write, of each that the kernel has."""
    for number, (kind, name) in enumerate(names):
        if kind == "write" or name.startswith(("replace", "delete", "set")):
            yield Fault(number, DISTURBED, done=True)


def raising(operation: str, target: str, extack: str = "") -> Callable[[int], Any]:
    """What ``Calls.make`` is to call in place of a kernel's call: raises KernelError."""

    def fail(error: int) -> Any:
        raise KernelError(operation, target, error, extack)

    return fail
