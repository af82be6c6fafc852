"""Lines are made at once and written by a thread: who logs waits for nothing."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from netuned.history import CHANGE, KINDS
from netuned.logs import FLUSH_S, Line, _Behind, _entry, _Plain, _to_journal


class Slow:
    """A journal that takes no lines until told to."""

    def __init__(self) -> None:
        self.takes = threading.Event()
        self.taken: list[list[str]] = []

    def write(self, lines: list[Line]) -> None:
        assert self.takes.wait(10)
        self.taken.append([text for text, _ in lines])


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def log(slow: Slow) -> logging.Logger:
    """A logger whose lines go to the slow journal."""
    logger = logging.Logger("test")
    logger.addHandler(_Behind(slow.write))
    logger.handlers[0].setFormatter(_Plain("%(message)s"))
    return logger


def test_a_slow_journal_holds_up_nobody(log: logging.Logger, slow: Slow) -> None:
    start = time.monotonic()
    for number in range(100):
        log.info("line %d", number)
    assert time.monotonic() - start < 1
    assert not slow.taken
    slow.takes.set()
    log.handlers[0].flush()
    assert [text for lines in slow.taken for text in lines] == [f"line {n}" for n in range(100)]


def test_what_comes_together_is_written_together(log: logging.Logger, slow: Slow) -> None:
    slow.takes.set()
    log.info("first")
    log.info("second")
    deadline = time.monotonic() + 10
    while not slow.taken and time.monotonic() < deadline:
        time.sleep(0.001)
    log.handlers[0].flush()
    assert [text for lines in slow.taken for text in lines] == ["first", "second"]
    assert len(slow.taken) <= 2


def test_a_line_says_what_was_when_it_was_logged(log: logging.Logger, slow: Slow) -> None:
    state = ["before"]
    log.info("%s", state)
    state[0] = "after"
    slow.takes.set()
    log.handlers[0].flush()
    assert slow.taken == [["['before']"]]


def test_nothing_in_a_name_makes_another_line(log: logging.Logger, slow: Slow) -> None:
    slow.takes.set()
    log.info("card %s", "a\nb\x1b[2J")
    log.handlers[0].flush()
    assert not {"\n", "\x1b"} & set(slow.taken[0][0])


class Broken(Slow):
    """A journal that takes no lines, and says so."""

    def write(self, lines: list[Line]) -> None:
        raise OSError


def test_an_end_does_not_wait_for_lines_that_nobody_can_take() -> None:
    handler = _Behind(Broken().write)
    handler.emit(logging.makeLogRecord({"msg": "lost"}))
    start = time.monotonic()
    handler.flush()
    assert time.monotonic() - start < FLUSH_S / 2


DAEMON = """
import asyncio, logging, sys
from netuned import daemon

async def serve(options):
    logging.getLogger("netuned").warning("a line that nobody reads")
    await asyncio.sleep(float(sys.argv.pop()))
    logging.getLogger("netuned").warning("another")
    return 7

daemon.serve, daemon._arguments = serve, lambda: type("Options", (), {"debug": False})
daemon.main()
"""


@pytest.mark.parametrize("before_s", [0, 0.2], ids=["begins to wait", "waits already"])
def test_the_daemon_ends_though_nobody_reads_its_log(before_s: float) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x")
    except BlockingIOError:
        os.set_blocking(writer, True)
    environment = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
    words = [sys.executable, "-c", DAEMON, str(before_s)]
    try:
        with subprocess.Popen(words, stderr=writer, env=environment) as daemon:
            try:
                assert daemon.wait(FLUSH_S + 8) == 7
            finally:
                daemon.kill()
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_line_is_about_is_in_fields_of_its_own() -> None:
    about = {
        "kind": CHANGE,
        "ifname": "e\udcff\x1b\n",
        "queue": "",
        "before": "0",
        "cause": "drift",
    }
    record = logging.makeLogRecord({"levelno": logging.WARNING, **about})
    assert [*_entry("Repaired", record)] == [
        "MESSAGE=Repaired",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=netuned",
        f"MESSAGE_ID={KINDS[CHANGE]}",
        r"IFNAME=e\xff\x1b\n",
        "QUEUE=",
        "BEFORE=0",
        "CAUSE=drift",
    ]
    record = logging.makeLogRecord({"ifname": ("eth0", "eth1"), "levelno": logging.INFO})
    assert [*_entry("", record)][-2:] == ["IFNAME=eth0", "IFNAME=eth1"]


def test_a_line_that_the_journal_refuses_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []

    def sendv(*fields: str) -> None:
        if "MESSAGE=b" in fields:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        taken.append(fields[0])

    monkeypatch.setattr("systemd.journal.sendv", sendv)
    logger = logging.Logger("test")
    logger.addHandler(_Behind(_to_journal))
    logger.handlers[0].setFormatter(_Plain("%(message)s"))
    for line in "abc":
        logger.info(line)
    logger.handlers[0].flush()
    assert taken == ["MESSAGE=a", "MESSAGE=c"]
