"""Logging: to the journal with fields where one runs, else to standard error.

Lines are written by a thread of their own: hundreds of cards that change log thousands at once,
and the event loop waits neither for a journal that is slow to take them nor, after each write,
for the interpreter.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from netuned.history import KINDS
from netuned.text import escape

FIELDS = (
    *("ifname", "tunable", "queue", "before", "after", "cause", "writer"),
    *("caller_uid", "caller_pid", "caller_command", "object_pid"),
)
"""What ``extra=`` may carry beside ``kind``; in the journal IFNAME and so on, a tuple repeatedly.

Of the process OBJECT_PID journald adds what it knows. Source: systemd.journal-fields(7)
"""

GATHER_S = 0.005
"""Lines that come within this are written together."""

FLUSH_S = 1.0
"""How long an end waits for a journal, or a reader of standard error, that takes nothing."""

WAITING_MOST = 100_000
"""Lines that wait for a journal that takes none; the oldest are lost then."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

T = TypeVar("T")
Line = tuple[str, logging.LogRecord]
"""A record and its text, which is made at once: what it names may change."""


class _Plain(logging.Formatter):
    """One line per record: control characters of names from outside never get through."""

    def format(self, record: logging.LogRecord) -> str:
        return escape(super().format(record))


class _Behind(logging.Handler):
    """Has a thread write; nobody else does, for a write may never end."""

    def __init__(self, write: Callable[[list[Line]], None]) -> None:
        super().__init__()
        self._write = write
        self._waiting: deque[Line] = deque(maxlen=WAITING_MOST)
        self._flushes: deque[threading.Event] = deque()
        self._some = threading.Event()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append((self.format(record), record))
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Return once all that waits has been written, or could not be, or after ``FLUSH_S``."""
        done = threading.Event()
        self._flushes.append(done)
        self._some.set()
        done.wait(FLUSH_S)

    def _run(self) -> None:
        while True:
            self._some.wait()
            if not self._flushes:
                time.sleep(GATHER_S)
            self._some.clear()
            flushes = _taken(self._flushes)  # before the lines: those that came before it are here
            lines = _taken(self._waiting)
            failed = False
            try:
                if lines:
                    self._write(lines)
            except (OSError, ValueError):  # nowhere is left to say so; later lines may get through
                failed = True
            for done in flushes:
                done.set()
            if failed:
                time.sleep(1)


def _taken(queue: deque[T]) -> list[T]:
    return [queue.popleft() for _ in range(len(queue))]


def _to_journal(lines: list[Line]) -> None:
    from systemd.journal import sendv  # send() looks up who calls it: three times as long

    failed: OSError | ValueError | None = None
    for text, record in lines:
        try:
            sendv(*_entry(text, record))
        except (OSError, ValueError) as error:  # those after it may get through
            failed = error
    if failed is not None:
        raise failed


def _entry(text: str, record: logging.LogRecord) -> Iterator[str]:
    """The fields of a line."""
    yield f"MESSAGE={text}"
    yield f"PRIORITY={_PRIORITIES.get(record.levelno, 6)}"
    yield "SYSLOG_IDENTIFIER=netuned"
    extra = record.__dict__
    if kind := extra.get("kind"):
        yield f"MESSAGE_ID={KINDS[kind]}"
    for name in FIELDS:
        value = extra.get(name)
        if value is not None:
            for one in value if isinstance(value, tuple) else (value,):
                yield f"{name.upper()}={escape(str(one))}"


def _to_stderr(lines: list[Line]) -> None:
    sys.stderr.write("".join(f"{text}\n" for text, _ in lines))
    sys.stderr.flush()


def set_up(level: int) -> None:
    """Send netuned's records to the journal when systemd started us, else to standard error."""
    if "JOURNAL_STREAM" in os.environ and os.path.exists("/run/systemd/journal/socket"):
        handler = _Behind(_to_journal)
        handler.setFormatter(_Plain("%(message)s"))
    else:
        handler = _Behind(_to_stderr)
        handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    # no line says where in the source it comes from, by which thread or process; see
    # docs.python.org/3/howto/logging.html, Optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
