"""Seats on disk: a restarted daemon leaves every queue where it was.

The file is in /run, so each boot begins without one. It holds preferences only: one that cannot be
read costs nothing but that queues may move, so that is logged and no error.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from netuned import statefile
from netuned.cpuset import MAX_CPU, CpuSet
from netuned.placement.seats import NOBODY, Seat, Seats

log = logging.getLogger(__name__)

NAME = "placement.json"
VERSION = 1


def read_seats(path: Path) -> Seats:
    """The seats in a file; none where there is no file, or none that can be used."""
    try:
        return parse_seats(statefile.read_limited(path))
    except FileNotFoundError:
        return NOBODY
    except (OSError, ValueError) as error:
        log.warning("Cannot use %s: %s, ignoring", path, error)
        return NOBODY


def parse_seats(content: bytes) -> Seats:
    """Read what :func:`write_seats` wrote. Raises: ValueError."""
    try:
        data = json.loads(content)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r} is not {VERSION}")
        cards = {
            (str(card["device"]), str(card["name"])): tuple(
                Seat(_cpu(home), _cpu(now))
                for home, now in zip(card["home"], card["now"], strict=True)
            )
            for card in data["cards"]
        }
        return Seats(cards, CpuSet.parse_list(data["online"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it does not hold seats ({error!r})") from None


def write_seats(path: Path, seats: Seats) -> None:
    """Replace the file at once as a whole; where that fails the log says so.

    Everybody may read it: who looks without the daemon, as whom ever, plans as that would.
    """
    cards = [
        {
            "device": device,
            "name": name,
            "home": [seat.home for seat in rows],
            "now": [seat.now for seat in rows],
        }
        for (device, name), rows in sorted(seats.cards.items())
    ]
    data = {"version": VERSION, "online": str(seats.online), "cards": cards}
    try:
        statefile.write_atomically(path, json.dumps(data).encode(), mode=0o644)
    except OSError as error:
        log.warning("Cannot write %s: %s, ignoring", path, error.strerror)


def _cpu(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < MAX_CPU:
        raise ValueError(f"{value!r} is not a CPU")
    return value
