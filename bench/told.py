"""When the daemon's log says that a card is in force: by the line's time, not by its writing.

Lines are written some milliseconds behind, many together.
"""

from __future__ import annotations

import re
from datetime import datetime

_LINE = re.compile(r"^(\S+ \S+) INFO In force: ", re.MULTILINE)
_TIME = "%Y-%m-%d %H:%M:%S,%f"


def in_force_at(log: str) -> list[float]:
    """Of each such line, the seconds since the epoch, to the millisecond."""
    return [datetime.strptime(said, _TIME).timestamp() for said in _LINE.findall(log)]
