"""Changes that undo themselves unless confirmed: what was tried on a card, and what goes back.

Pure. A trial begins when its deadline and the first value it replaces are on disk, and ends when
it is confirmed or rolled back. What it has set is held meanwhile: looked at, never repaired.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, replace

from netuned.history import TRIAL
from netuned.plan import Change, merged_keys
from netuned.reconcile.cardid import CardId
from netuned.records import dataclass
from netuned.tunables import NAMES
from netuned.values import Setting, State

ALL = NAMES

ROLLED_BACK = "rolled-back"
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial did to one card.

    ``profile`` is the digest of what was tried, ``before`` what was found before its first write,
    ``written`` the last value of each setting it wrote, ``left`` what was found when it was done
    (None: it did not get that far), ``back`` what goes back and ``foreign`` what stays as others
    set it, once that was decided.
    """

    card: CardId
    profile: str
    before: Mapping[str, State] = field(default_factory=dict)
    written: Mapping[str, State] = field(default_factory=dict)
    left: Mapping[str, State] | None = None
    back: Mapping[str, State] | None = None
    error: str = ""
    foreign: tuple[Setting, ...] = ()

    def with_writes(self, changes: Iterable[Change]) -> Tried:
        """With what is about to be written."""
        written = {name: dict(state) for name, state in self.written.items()}
        for change in changes:
            written.setdefault(change.tunable, {})[change.key] = change.after
        return replace(self, written=written)

    @property
    def tunables(self) -> frozenset[str]:
        """The tunables that are left alone after it; all where it failed or was cut short."""
        return ALL if self.error or self.left is None else frozenset(self.written)


@dataclass(frozen=True, slots=True)
class Trial:
    """Changes on some cards (by ifindex) that wait for one word.

    ``deadline_ns`` is on CLOCK_BOOTTIME; ``until`` is the same on the clock on the wall as it was
    when the trial began, for people. ``over`` says that it is being rolled back, ``problem`` why
    that is not done yet.
    """

    id: str
    deadline_ns: int
    until: str
    cards: Mapping[int, Tried] = field(default_factory=dict)
    over: bool = False
    problem: str = ""

    @property
    def finished(self) -> bool:
        """Whether all it was to do is done; one that never got there was cut short."""
        return all(tried.left is not None for tried in self.cards.values())

    def left_s(self) -> float:
        """Seconds until the deadline; not positive once it has passed."""
        return (self.deadline_ns - now_ns()) / 1e9

    def with_card(self, tried: Tried) -> Trial:
        """With what it did to one card until now."""
        return replace(self, cards={**self.cards, tried.card.ifindex: tried})

    def without(self, ifindexes: Collection[int]) -> Trial:
        """The trial of its other cards."""
        return replace(self, cards={i: t for i, t in self.cards.items() if i not in ifindexes})

    def hold(self, tried: Tried) -> Hold:
        """What is left alone of a card once this trial of it has been rolled back."""
        return Hold(
            kind=ROLLED_BACK,
            id=self.id,
            card=tried.card,
            tunables=tried.tunables,
            profile=tried.profile,
            error=tried.error,
            foreign=tried.foreign,
        )

    def entry(self, cause: str) -> dict[str, object]:
        """What the journal has of its beginning or end beside the text."""
        names = tuple(sorted(tried.card.name for tried in self.cards.values()))
        return {"kind": TRIAL, "ifname": names, "cause": cause}

    @property
    def of_cards(self) -> str:
        """What it is called, and the cards that are in it."""
        return f"{self.id}: {', '.join(sorted(tried.card.name for tried in self.cards.values()))}"

    def __str__(self) -> str:
        if not self.over:
            return f"{self.of_cards}, until {self.until}"
        problem = f": {self.problem}" if self.problem else ""
        return f"{self.of_cards}, being rolled back{problem}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Tunables of a card that the loop leaves alone, as long as it has this profile."""

    kind: str
    id: str
    card: CardId
    tunables: frozenset[str]
    profile: str
    error: str = ""
    foreign: tuple[Setting, ...] = ()
    """What somebody else had changed by then, and so was not rolled back."""

    def why(self, tunable: str) -> str:
        """A sentence for status on one of its tunables."""
        again = f"`netunedctl apply {self.card.name}` brings it into force"
        if self.kind == RESTORED:
            return f"restored to what was before netuned and left alone; {again}"
        if keys := merged_keys(key or tunable for name, key in self.foreign if name == tunable):
            more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
            others = f" but for {', '.join(keys[:4])}{more}, which somebody else has changed since"
        else:
            others = ""
        if self.error:
            why = f"could not be brought into force ({self.error}) and was rolled back{others}"
        else:
            why = f"{self.id} was not confirmed and was rolled back{others}"
        return f"{why}; {again}"


def now_ns() -> int:
    """The clock that goes on in suspend and that nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
