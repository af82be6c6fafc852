"""Every error netuned raises; each says in one sentence what is wrong and whether a retry can help.

Raised where the fact is known, caught in one place (the reconcile loop, or the CLI's main).
"""

from __future__ import annotations

import errno as _errno
import os
from typing import ClassVar

from netuned.records import dataclass
from netuned.text import escape, without_keys


class NetunedError(Exception):
    """The root of the tree. ``retry`` says whether trying again later can help.

    A type whose sentence is about what was found has in ``mend`` what to do next; of the others
    each sentence ends with that.
    """

    retry: ClassVar[bool] = False
    mend = ""

    def whole(self) -> str:
        """The sentence, with what to do next."""
        return f"{self}; {self.mend}" if self.mend else str(self)


@dataclass
class ExpressionError(NetunedError):
    """A CPU-set expression that cannot be read, or that comes out empty.

    ``offset`` counts characters from the start of ``text``.
    """

    text: str
    offset: int
    problem: str

    mend = "`man netuned.profile` has all that a set of CPUs may be"

    def __str__(self) -> str:
        return f"{self.problem} (at character {self.offset + 1} of {escape(repr(self.text))})"


@dataclass
class ProfileError(NetunedError):
    """A mistake in a profile, with its place: line and column from 1, line 0 is the whole file.

    No hash key is told, wherever in the profile it stands.
    """

    path: str
    line: int
    column: int
    key: str
    problem: str

    mend = "mend that, and try it again"

    def __post_init__(self) -> None:
        self.key, self.problem = without_keys(self.key), without_keys(self.problem)

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.key}: {self.problem}" if self.key else f"{place}: {self.problem}"


@dataclass
class UnsupportedError(NetunedError):
    """This card, driver or kernel does not have the feature: a status, not a failure."""

    what: str
    why: str

    mend = "have the profile leave it out, or `netunedctl capture NIC` shows what there is"

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


_EXHAUSTED = (
    *(_errno.ENOMEM, _errno.EMFILE, _errno.ENFILE, _errno.ENOBUFS),
    *(_errno.EINTR, _errno.EAGAIN),
)


@dataclass
class KernelError(NetunedError):
    """The kernel refused an operation.

    ``extack`` is the kernel's own sentence; ``attribute`` what of the request it pointed at, by
    ethtool's name (``tx-usecs``). Both are empty where it said nothing.
    """

    operation: str
    target: str
    errno: int
    extack: str = ""
    attribute: str = ""

    retry: ClassVar[bool] = True

    @property
    def mend(self) -> str:  # type: ignore[override]  # it depends on what the kernel said
        if self.errno in (_errno.EPERM, _errno.EACCES):
            return "try it as root, with `sudo`"
        if self.gone:
            return "`netunedctl status` shows the cards that are here now"
        if self.exhausted or self.errno == _errno.EBUSY:
            return "try it again"
        return "`dmesg` may say more"

    @property
    def gone(self) -> bool:
        """Whether the card, queue or interrupt left (or was renumbered) meanwhile.

        A kept descriptor of an interrupt that ended gives EIO.
        """
        if self.errno == _errno.EIO:
            return self.operation == "read" and self.target.startswith("/proc/irq/")
        return self.errno in (_errno.ENODEV, _errno.ENOENT, _errno.ENXIO)

    @property
    def exhausted(self) -> bool:
        """Whether the kernel had no memory or time for it: that says nothing of what is there."""
        return self.errno in _EXHAUSTED

    def __str__(self) -> str:
        name = _errno.errorcode.get(self.errno, str(self.errno))
        said = f': "{self.extack}"' if self.extack else ""
        at = f" at {self.attribute}" if self.attribute else ""
        return f"{self.operation} {self.target}: {os.strerror(self.errno)} ({name}){at}{said}"


@dataclass
class VerifyError(NetunedError):
    """The kernel accepted a write and then showed something else."""

    target: str
    wanted: str
    got: str

    retry: ClassVar[bool] = True
    mend = "`netunedctl watch` shows who else sets it, and `dmesg` what the driver says"

    def __str__(self) -> str:
        return f"{self.target}: wrote {self.wanted}, the kernel now shows {self.got}"


@dataclass
class NamespaceError(NetunedError):
    """``/sys`` shows another network namespace than netlink; ``cards`` are not the same in both."""

    cards: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if len(self.cards) > _SHOWN else ""
        return (
            f"/sys shows another network namespace than netlink ({', '.join(self.cards[:_SHOWN])}"
            f"{more} differ): start netuned where /sys is mounted in its own network namespace"
        )


_SHOWN = 4
"""So many of the cards that differ are named."""


class BusError(NetunedError):
    """The daemon cannot be reached, or refused a request, over D-Bus."""


class AbsentError(BusError):
    """Nobody is there to ask over D-Bus: the daemon does not run, or there is no bus."""


class StartingError(NetunedError):
    """The daemon does not know yet what it is asked for."""

    retry: ClassVar[bool] = True


class StateFileError(NetunedError):
    """A file netuned keeps its own state in cannot be trusted or written."""

    mend = "see that its directory is root's and its disk not full, then `netunedctl apply`"


class HistoryError(NetunedError):
    """The journal is not there, or cannot be read."""


class SnapshotError(NetunedError):
    """A snapshot or a described machine that cannot be read or trusted."""

    mend = "`netunedctl snapshot FILE` takes one of a host"
