"""Changes that undo themselves unless confirmed: what was tried on a card, and what goes back.

Pure. A trial begins when its deadline and the first value it replaces are on disk, and ends when
it is confirmed or rolled back. What it has set is held meanwhile: looked at, never repaired.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from netuned.hardware.nic import Nic
from netuned.profiles.profile import Profile
from netuned.tunables import NAMES
from netuned.values import Setting, State

ALL = NAMES

ROLLED_BACK = "rolled-back"
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial did to one card.

    ``before`` is what was found before its first write, ``written`` the last value of each setting
    it wrote, ``left`` what was found when it was done (None: it did not get that far), ``back``
    what goes back and ``foreign`` what stays as others set it, once that was decided.
    ``profile`` is the digest of what was tried.
    """

    ifindex: int
    name: str
    device: str
    profile: str
    before: Mapping[str, State]
    written: Mapping[str, State]
    left: Mapping[str, State] | None = None
    back: Mapping[str, State] | None = None
    error: str = ""
    instance: int = 0
    """``Nic.instance``: a card that comes back is another one."""
    foreign: tuple[Setting, ...] = ()

    def is_of(self, nic: Nic) -> bool:
        if self.instance and nic.instance:
            return self.instance == nic.instance
        return self.ifindex == nic.ifindex

    def may_be(self, nic: Nic) -> bool:
        """Whether a card is in the place of this one."""
        return (self.device, self.name) == (nic.device, nic.name)


@dataclass(frozen=True, slots=True)
class Trial:
    """Changes on some cards that wait for one word. ``deadline_ns`` is on CLOCK_BOOTTIME.

    ``until`` is the same on the clock on the wall as it was then, for people. ``over`` says that
    it is being rolled back.
    """

    id: str
    deadline_ns: int
    until: str
    cards: Mapping[int, Tried] = field(default_factory=dict)
    over: bool = False

    @property
    def finished(self) -> bool:
        """Whether all it was to do is done; one that never got there was cut short."""
        return all(tried.left is not None for tried in self.cards.values())

    def left_s(self) -> float:
        """Seconds until the deadline; not positive once it has passed."""
        return (self.deadline_ns - now_ns()) / 1e9

    def __str__(self) -> str:
        names = ", ".join(sorted(tried.name for tried in self.cards.values()))
        if self.over:
            return f"{self.id}: {names}, being rolled back"
        return f"{self.id}: {names}, until {self.until}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Tunables of a card that the loop leaves alone, as long as it has this profile.

    ``ifindex`` is 0 where the card left, or the hold is of an earlier boot: then ``device`` and
    ``name`` say which it is.
    """

    kind: str
    id: str
    ifindex: int
    name: str
    device: str
    tunables: frozenset[str]
    profile: str
    error: str = ""
    instance: int = 0
    foreign: tuple[Setting, ...] = ()
    """What somebody else had changed by then, and so was not rolled back."""

    def is_of(self, nic: Nic) -> bool:
        if not self.ifindex:
            return self.may_be(nic)
        if self.instance and nic.instance:
            return self.instance == nic.instance
        return self.ifindex == nic.ifindex

    def may_be(self, nic: Nic) -> bool:
        """Whether a card is in the place of this one."""
        return (self.device, self.name) == (nic.device, nic.name)

    def why(self, tunable: str) -> str:
        """A sentence for status on one of its tunables."""
        again = f"`netunedctl apply {self.name}` brings it into force"
        if self.kind == RESTORED:
            return f"restored to what was before netuned and left alone; {again}"
        if keys := [key or tunable for name, key in self.foreign if name == tunable]:
            more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
            others = f" but for {', '.join(keys[:4])}{more}, which somebody else has changed since"
        else:
            others = ""
        if self.error:
            why = f"could not be brought into force ({self.error}) and was rolled back{others}"
        else:
            why = f"rolled back{others}, as {self.id} was not confirmed"
        return f"{why}; {again}"


def now_ns() -> int:
    """The clock that goes on in suspend and that nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def digest(profile: Profile | None) -> str:
    """What is in force on a card, for comparison: empty without a profile."""
    return hashlib.sha256(profile.model_dump_json().encode()).hexdigest()[:16] if profile else ""


def with_writes(tried: Tried, writes: Iterable[tuple[str, str, object]]) -> Tried:
    """With what is about to be written: (tunable, key, value)."""
    written = {name: dict(state) for name, state in tried.written.items()}
    for name, key, value in writes:
        written.setdefault(name, {})[key] = value  # type: ignore[assignment]  # a Value
    return replace(tried, written=written)


def held_by(tried: Tried) -> frozenset[str]:
    """The tunables that are left alone after this trial; all where it failed or was cut short."""
    return ALL if tried.error or tried.left is None else frozenset(tried.written)
