"""Finding: one thing that costs something, with how it is known and what mends it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from netuned.hardware.nic import PHYSICAL, Nic
from netuned.records import dataclass

LOST, FULL, WASTED, LATENT = 75.0, 50.0, 25.0, 0.0
"""Where costs begin: packets are lost; a CPU, link or table is at its end; CPU time or latency is
spent for nothing; nothing is lost yet."""
STEP = 25.0

PLACE = "irq: {cpus: local & housekeeping, spread: one-per-queue}"
"""The line of a profile that gives each queue a CPU of its own near the card."""

CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
"""The counters say it; they say it and could mean another thing; only settings say it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``cost``, 0 to 100, is for the rank. ``card`` is empty of what is the host's.

    ``seen``, ``why`` and ``other`` (what else helps, or what does not) are sentences. ``proof``
    are the counters that moved, by how much. ``profile`` are lines of a whole profile, ``command``
    does the same by hand until the next boot; both are empty where no setting mends it.
    """

    name: str
    cost: float
    seen: str
    why: str
    proof: Mapping[str, int]
    sure: str
    card: str = ""
    profile: tuple[str, ...] = ()
    command: str = ""
    other: str = ""


def cost(begin: float, share: float) -> float:
    """A cost within its kind: ``share`` is how much of what could be lost is, 0.0 to 1.0."""
    return round(begin + STEP * min(max(share, 0.0), 0.99), 1)


def profile(nic: Nic, *lines: str) -> tuple[str, ...]:
    """The lines of a profile for this card alone."""
    kind = "" if nic.kind == PHYSICAL else f"kind: {nic.kind}, "
    pattern = re.sub(r"[^\w.@:+-]", "?", nic.name, flags=re.ASCII)  # what means more than itself
    return (f'match: [{{{kind}name: "{pattern}"}}]', *lines)


def host_profile(*lines: str) -> tuple[str, ...]:
    """The lines of a profile that sets something of the host, and nothing of its cards."""
    return ("match: [{kind: physical}]", "host:", *(f"  {line}" for line in lines))


def wire_name(nic: Nic) -> str:
    """A card's name, whose bytes may be anything, as text without surrogates."""
    return nic.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shell(nic: Nic) -> str:
    """A card's name as a word of a shell's: whoever named it is not to write commands."""
    return shlex.quote(wire_name(nic))
