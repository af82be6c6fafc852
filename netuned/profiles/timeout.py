"""How long changes wait to be confirmed, as people write it."""

from __future__ import annotations

import re

from netuned.regex import regex

MOST_S = 3600
"""An hour: who has not confirmed by then does not sit there any more."""

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600}
_TIMEOUT = regex(r"(\d{1,4})\s*(s|min|m|h)", re.ASCII)


def parse_timeout_s(text: str) -> int:
    """The seconds of ``60s``, ``2min`` or ``1h``, from 1 to ``MOST_S``; 0 if it is no such time."""
    match = _TIMEOUT.fullmatch(text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    return seconds if seconds <= MOST_S else 0
