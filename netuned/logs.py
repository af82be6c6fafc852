"""Logging: to the journal with fields where one runs, else to standard error."""

from __future__ import annotations

import logging
import os
import sys

from netuned.text import escape

FIELDS = ("ifname", "tunable", "queue", "before", "after", "cause", "writer")
"""What ``extra=`` may carry; the journal shows them as NETUNED_IFNAME and so on."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class _Plain(logging.Formatter):
    """One line per record: control characters of names from outside never get through."""

    def format(self, record: logging.LogRecord) -> str:
        return escape(super().format(record))


class _Journal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from systemd import journal

        fields = {
            f"NETUNED_{name.upper()}": escape(str(getattr(record, name)))
            for name in FIELDS
            if hasattr(record, name)
        }
        journal.send(
            self.format(record),
            PRIORITY=_PRIORITIES.get(record.levelno, 6),
            SYSLOG_IDENTIFIER="netuned",
            **fields,
        )


def set_up(level: int) -> None:
    """Send netuned's records to the journal when systemd started us, else to standard error."""
    handler: logging.Handler
    if "JOURNAL_STREAM" in os.environ and os.path.exists("/run/systemd/journal/socket"):
        handler = _Journal()
        handler.setFormatter(_Plain("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
