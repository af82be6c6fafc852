"""What netuned did, and who asked for it: kinds of entries in the journal, and reading them again.

The journal keeps them; netuned has no file of its own for that. Who may read the journal may read
this. An entry counts only if root wrote it, for any program may log under netuned's name.

Source: systemd.journal-fields(7), sd_journal_add_match(3)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from netuned.errors import HistoryError
from netuned.plan import Change
from netuned.records import dataclass
from netuned.values import describe

CHANGE, LEFT, FAILURE = "change", "left", "failure"
"""A setting was set; is not as wanted and is left so; could not be brought into force."""
REQUEST, TRIAL, CONTENTION = "request", "trial", "contention"
"""Somebody asked for something; a trial began or ended; so did a quarrel over a setting."""

KINDS = {
    CHANGE: "8f2abff6e22847c28d6d16d61082cd0e",
    LEFT: "441804790359431c8397bfabab124963",
    FAILURE: "fe1d2c8281644a658dd065b3f94a7a3e",
    REQUEST: "98d08b918c084dd3a588c51bb88f12a5",
    TRIAL: "7341b00482284292be8d64de06a84912",
    CONTENTION: "34857bf65bb94cff95eb8983cf80e6a7",
}
"""MESSAGE_ID by kind: never changed, programs look for them."""


def about(kind: str, change: Change, cause: str) -> dict[str, str]:
    """What the journal has of a change beside the text of the line."""
    return {
        "kind": kind,
        "ifname": change.ifname,
        "tunable": change.tunable,
        "queue": change.key,
        "before": describe(change.before) or "none",
        "after": describe(change.after) or "none",
        "cause": cause,
    }


MOST = 10_000
"""Entries that are read, the newest; a second, and 20 MB."""

HOST_LABEL = "host"
"""In place of a card's name: settings of the host."""

FOLDERS = ("/run/log/journal", "/var/log/journal")
SOCKET = "/run/systemd/journal/socket"
MACHINE_ID = "/etc/machine-id"
NO_LOGIN = (1 << 32) - 1
"""What the kernel has of a process that nobody logged in for."""

NO_JOURNAL = (
    "there is no journal, for systemd-journald does not run on this host: read what netuned logs "
    "where its standard error goes, or start systemd-journald"
)
NOTHING_KEPT = (
    "systemd-journald runs and keeps nothing: set Storage=auto in /etc/systemd/journald.conf, then "
    "`systemctl restart systemd-journald`"
)
NO_RIGHT = (
    "the journal may be read by root and the group systemd-journal alone: "
    "`sudo netunedctl history`, or have yourself added to that group"
)
NO_MODULE = (
    "the journal cannot be read without libsystemd: `apt install libsystemd0`, and try again"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked: user and process as the bus knows them, None where it does not.

    ``command`` is what the process was started with, empty if it had ended; ``login`` the user who
    had logged in, as whom another became root, say, where the kernel keeps that.
    """

    uid: int | None = None
    pid: int | None = None
    command: str = ""
    login: int | None = None

    def __str__(self) -> str:
        user = "an unknown user" if self.uid is None else f"uid {self.uid}" if self.uid else "root"
        if self.login not in (None, self.uid):
            user += f", logged in as uid {self.login}"
        if self.pid is None:
            return user
        return f"{user}, pid {self.pid} ({self.command or 'ended since'})"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is on record: ``at`` in seconds since the epoch; texts are as people read them.

    ``ifnames`` are the cards it is about: none for the host, and for all. ``cause`` is why a
    setting was set, or what was asked for.
    """

    at: float
    kind: str
    message: str
    ifnames: tuple[str, ...] = ()
    tunable: str = ""
    key: str = ""
    before: str = ""
    after: str = ""
    cause: str = ""
    writer: str = ""
    caller: Caller | None = None


def read(
    ifname: str = "", since: float = 0.0, most: int = MOST, cause: str = ""
) -> tuple[tuple[Entry, ...], bool]:
    """The newest entries since then, of one card or all, the oldest first; and if there are more.

    A card's are also what was asked for of all. With ``cause`` those alone that have this.
    Raises: HistoryError.
    """
    if problem := _problem():
        raise HistoryError(problem)
    try:
        from systemd.journal import LOCAL_ONLY, SYSTEM, Reader
    except ImportError as error:
        raise HistoryError(NO_MODULE) from error
    entries: list[Entry] = []
    try:
        with Reader(SYSTEM | LOCAL_ONLY) as reader:
            _match(reader, ifname)
            if cause:
                reader.add_match(f"CAUSE={cause}")
            reader.seek_tail()
            while found := reader.get_previous():
                entry = _entry(found)
                if entry.at < since or len(entries) == most:
                    return tuple(reversed(entries)), entry.at >= since
                entries.append(entry)
    except OSError as error:
        raise HistoryError(f"the journal cannot be read: {error.strerror or error}") from error
    return tuple(reversed(entries)), False


def _problem() -> str:
    """Why there is nothing to read; empty if there is."""
    files = []
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            machine = file.read().strip()
    except (OSError, ValueError):
        return NO_JOURNAL  # journald keeps nothing without one
    for folder in FOLDERS:
        path = f"{folder}/{machine}"
        try:
            files += [f"{path}/{name}" for name in os.listdir(path) if name.startswith("system")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            return NO_RIGHT
    if not files:
        return NOTHING_KEPT if os.path.exists(SOCKET) else NO_JOURNAL
    return "" if all(os.access(path, os.R_OK) for path in files) else NO_RIGHT


def _match(reader: _Matches, ifname: str) -> None:
    """Choose the entries that are root's, of netuned's kinds and, where one is named, of a card."""
    reader.add_match("_UID=0", *(f"MESSAGE_ID={id}" for id in KINDS.values()))
    if ifname:
        names = (HOST_LABEL, "") if ifname == HOST_LABEL else (ifname,)
        reader.add_match(*(f"IFNAME={name}" for name in names))
        reader.add_disjunction()
        reader.add_match("_UID=0", f"MESSAGE_ID={KINDS[REQUEST]}", "IFNAME=")


class _Matches(Protocol):
    """What chooses entries: those of one field are alternatives."""

    def add_match(self, *matches: str) -> None: ...

    def add_disjunction(self) -> None: ...


_KIND_OF = {id: kind for kind, id in KINDS.items()}


def _entry(found: Mapping[str, object]) -> Entry:
    """An entry as systemd-python gives it: with times, ids, lists where a field is repeated."""
    one = {name: next(_texts(found.get(name)), "") for name in _FIELDS}
    uid, pid, command = (one[f"CALLER_{name}"] for name in ("UID", "PID", "COMMAND"))
    kind = _KIND_OF.get(one["MESSAGE_ID"].replace("-", ""), "")
    login = _number(one["OBJECT_AUDIT_LOGINUID"])
    login = None if login == NO_LOGIN else login
    caller = Caller(_number(uid), _number(pid), command, login) if kind == REQUEST else None
    at = found["__REALTIME_TIMESTAMP"]
    return Entry(
        at=at.timestamp() if isinstance(at, datetime) else 0.0,
        kind=kind,
        message=one["MESSAGE"],
        ifnames=tuple(filter(None, _texts(found.get("IFNAME")))),
        tunable=one["TUNABLE"],
        key=one["QUEUE"],
        before=one["BEFORE"],
        after=one["AFTER"],
        cause=one["CAUSE"],
        writer=one["WRITER"],
        caller=caller,
    )


_FIELDS = (
    *("MESSAGE", "MESSAGE_ID", "TUNABLE", "QUEUE", "BEFORE", "AFTER", "CAUSE", "WRITER"),
    *("CALLER_UID", "CALLER_PID", "CALLER_COMMAND", "OBJECT_AUDIT_LOGINUID"),
)


def _texts(value: object) -> Iterator[str]:
    """A field's value, or its values; what is no UTF-8 comes as bytes."""
    for one in value if isinstance(value, list) else () if value is None else (value,):
        yield one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
