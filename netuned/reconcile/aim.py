"""What is wanted of a card, and what one look at it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from netuned.profiles.loader import ProfileSet
from netuned.records import dataclass
from netuned.tunables.base import AnyTarget


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted of a card, and by which profiles; this one: nothing was wanted yet.

    ``profile`` is the name of the card's profile and ``digest`` tells its content, both empty
    without one; ``profiles`` are those that were loaded when this was adopted. With ``restore`` a
    card without a target is put back to what was there before netuned. ``held`` are tunables that
    are left alone, and why.
    """

    target: AnyTarget | None = None
    profile: str = ""
    digest: str = ""
    profiles: ProfileSet | None = None
    restore: bool = False
    held: Mapping[str, str] = field(default_factory=dict)

    def wants_as(self, other: Aim) -> bool:
        """Whether the same is wanted of the card, whoever wants it."""
        put_back = self.restore == other.restore or self.target is not None
        return self.target is other.target and self.held == other.held and put_back


NOTHING_HEARD: Mapping[str, int] = {}


class Look(NamedTuple):
    """What one look is for: these tunables (None: everything), and the card's facts anew before.

    ``event_at`` is when the first event came, on the monotonic clock; 0 without one. ``heard`` is
    how often each tunable was told to have been set before it. ``first`` are those that somebody
    set, and that make a card anew: while they are as they were, so are its facts.
    """

    scope: frozenset[str] | None
    facts: bool
    event_at: float
    heard: Mapping[str, int] = NOTHING_HEARD
    first: frozenset[str] = frozenset()
