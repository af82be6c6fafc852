"""Lines are made at once and written by a thread: who logs waits for nothing."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from netuned.logs import Line, _Behind, _Plain


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
