"""RSS contexts of a card: tables besides its own, for packets that flow rules send to them.

Source: Documentation/networking/scaling.rst, "RSS contexts"; Documentation/netlink/specs/
ethtool.yaml, "rss"; net/ethtool/rss.c, ioctl.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from netuned.kernel.messages import CONTEXTS
from netuned.kernel.tables import GENERIC_HEADER
from netuned.records import dataclass

MOST_PROBED = 32
"""Contexts that are looked for one by one, before Linux 6.12, which lists them."""


@dataclass(frozen=True, slots=True)
class ContextTable:
    """How many entries a context's table has, and those of all contexts by number."""

    entries: int
    contexts: Mapping[int, tuple[int, ...]]


def decode(payloads: Iterable[bytes]) -> dict[int, tuple[int, ...]]:
    """The contexts in a list of RSS_GET. Raises: ValueError, LookupError, struct.error."""
    found = {}
    for payload in payloads:
        told = CONTEXTS.table.raw(payload, GENERIC_HEADER)
        if "context" in told:  # else the card's own table
            (number,) = struct.unpack("=I", told["context"])
            found[number] = struct.unpack(f"={len(told['indir']) // 4}I", told["indir"])
    return found
