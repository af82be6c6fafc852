"""What the journal has of netuned: how it is read, and how it looks to people and programs."""

from __future__ import annotations

import argparse
import errno
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import systemd.journal

from netuned import history
from netuned.cli.history import as_json, parse_when, show
from netuned.cli.text import Screen
from netuned.errors import HistoryError
from netuned.history import CHANGE, CONTENTION, FAILURE, KINDS, LEFT, REQUEST, TRIAL, Caller, Entry

AT = 1795700000.5
NOW = datetime(2026, 11, 26, 19, 30, 5, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Reader:
    """A journal of one change a second, without an end."""

    def __init__(self, *_: object) -> None:
        self.read = 0
        self.fails = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_match(self, *matches: str) -> None:
        pass

    def seek_tail(self) -> None:
        pass

    def get_previous(self) -> dict[str, object]:
        self.read += 1
        if self.read == self.fails:
            raise OSError(errno.EBADMSG, "Bad message")
        return {
            "__REALTIME_TIMESTAMP": datetime.fromtimestamp(AT - self.read, UTC),
            "MESSAGE_ID": uuid.UUID(KINDS[CHANGE]),
            "MESSAGE": b"Set \xff",
            "IFNAME": ["eth0", "eth1"],
            "QUEUE": f"rx-{self.read}",
        }


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr(systemd.journal, "Reader", lambda *_: made)
    monkeypatch.setattr(history, "_problem", str)
    return made


def test_of_a_journal_without_an_end_the_newest_are_read(reader: Reader) -> None:
    entries, more = history.read(most=100)
    assert (len(entries), more, reader.read) == (100, True, 101)
    assert [entry.key for entry in entries[-2:]] == ["rx-2", "rx-1"]
    assert entries[-1].ifnames == ("eth0", "eth1")
    assert entries[-1].message == "Set \ufffd"


def test_no_older_are_read_than_asked_for(reader: Reader) -> None:
    entries, more = history.read(since=AT - 7)
    assert (len(entries), more, reader.read) == (7, False, 8)


def test_what_cannot_be_read_is_said(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.fails = 3
    with pytest.raises(HistoryError, match="the journal cannot be read: Bad message"):
        history.read()
    monkeypatch.setitem(sys.modules, "systemd.journal", None)
    with pytest.raises(HistoryError, match="libsystemd"):
        history.read()


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("90s", NOW - 90),
        ("30min", NOW - 1800),
        ("2h ago", NOW - 7200),
        ("3d", NOW - 3 * 86400),
        ("999999w", 0),
        ("today", NOW - (19 * 60 + 30) * 60 - 5),
        ("yesterday", NOW - (43 * 60 + 30) * 60 - 5),
        ("14:30", NOW - 5 * 3600 - 5),
        ("2026-11-26 14:30", NOW - 5 * 3600 - 5),
        ("2026-11-26T14:30:00+01:00", NOW - 6 * 3600 - 5),
        ("1969-12-31", 0),
    ],
)
def test_times_as_people_write_them(
    monkeypatch: pytest.MonkeyPatch, text: str, when: float
) -> None:
    class Clock(datetime):
        @classmethod
        def today(cls) -> Clock:
            return cls.fromtimestamp(NOW)

    monkeypatch.setattr("netuned.cli.history.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert parse_when(text) == when


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1", "25:00", "2026-13-01", "1y", "9" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="like 30min"):
        parse_when(text)


def change(key: str, before: str, after: str, cause: str, writer: str = "") -> Entry:
    return Entry(AT, CHANGE, "", ("eth0",), "rps", key, before, after, cause, writer)


ENTRIES = (
    Entry(AT, REQUEST, "", cause="restore", tunable="rps", caller=Caller(0, 42, "restore")),
    *(change(f"rx-{queue}", "f", "none", "restore") for queue in range(8)),
    Entry(AT, REQUEST, "Asked for by a signal: reload", cause="reload", caller=Caller()),
    change("rx-3", "none", "f", "drift", writer="rival (pid 7)"),
    Entry(AT, LEFT, "", ("eth0",), "irq", "rx-1", "1", "2", "policy.enforce"),
    Entry(AT, FAILURE, "", ("eth1",), cause="no memory"),
    Entry(AT, CONTENTION, "", (), "rfs", cause="changed again and again"),
    Entry(AT, TRIAL, "", ("eth0", "eth1"), cause="3f91c0 is confirmed"),
)


def test_it_is_a_table_in_which_queues_set_alike_share_a_row() -> None:
    assert [line.split("  ", 1)[1].strip() for line in show(ENTRIES, Screen(120)).splitlines()] == [
        "NIC         SETTING        FROM  TO    WHY",
        "all         (restore) rps  -     -     asked for by root, pid 42 (restore)",
        "eth0        rps rx 0-7     f     none  restore",
        "all         (reload)       -     -     Asked for by a signal",
        "eth0        rps rx-3       none  f     drift, by rival (pid 7)",
        "eth0        irq rx-1       1     2     left so: policy.enforce",
        "eth1        (failure)      -     -     failed: no memory",
        "host        rfs            -     -     changed again and again",
        "eth0, eth1  (trial)        -     -     3f91c0 is confirmed",
    ]
    assert max(map(len, show(ENTRIES, Screen(80)).splitlines())) <= 80


def test_an_entry_for_programs() -> None:
    assert as_json(ENTRIES[0]) == {
        "at": AT,
        "kind": "request",
        "ifnames": [],
        "tunable": "rps",
        "key": "",
        "before": None,
        "after": None,
        "cause": "restore",
        "writer": "",
        "message": "",
        "caller": {"uid": 0, "pid": 42, "command": "restore", "login": None},
    }
    assert as_json(ENTRIES[1])["caller"] is None


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("1000", "root, logged in as uid 1000, pid 7 (x)"),
        ("0", "root, pid 7 (x)"),
        ("4294967295", "root, pid 7 (x)"),
    ],
)
def test_who_became_root_is_named_as_he_logged_in(login: str, said: str) -> None:
    found = {
        "__REALTIME_TIMESTAMP": datetime.fromtimestamp(AT, UTC),
        "MESSAGE_ID": uuid.UUID(KINDS[REQUEST]),
        "CALLER_UID": "0",
        "CALLER_PID": "7",
        "CALLER_COMMAND": "x",
        "OBJECT_AUDIT_LOGINUID": int(login),
    }
    assert str(history._entry(found).caller) == said


def test_kinds_have_ids_of_their_own() -> None:
    assert len(set(KINDS.values())) == len(KINDS)
    assert all(uuid.UUID(id).hex == id for id in KINDS.values())
