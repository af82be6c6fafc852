"""Pure: which profile is in force on which card, once for every physical card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netuned.hardware.nic import Nic
from netuned.hardware.stacking import pair_of, physical_below
from netuned.profiles.loader import LoadedProfile
from netuned.records import dataclass


@dataclass(frozen=True, slots=True)
class Through:
    """A card that is tuned through those below it: its profile, and on which of them it won."""

    profile: str
    cards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """Profiles by ifindex, cards tuned through others, and ties, each as a sentence."""

    profiles: Mapping[int, LoadedProfile]
    through: Mapping[int, Through]
    conflicts: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Claim:
    """One profile's right to a card; the least wins. ``via`` is the name it is matched by.

    A profile that was given (``matched`` false) comes before all, whatever its priority.
    """

    matched: bool
    below_priority: int
    indirect: bool
    name: str
    via: str


def match_cards(
    profiles: Sequence[LoadedProfile],
    nics: Mapping[int, Nic],
    override: Mapping[int, LoadedProfile] | None = None,
) -> Matched:
    """Give each card the profile of highest priority that matches it or a card above it.

    A profile that matches a card above others tunes the physical ones below and leaves that one
    alone: steering twice would cost twice. Each card of an accelerated pair stands for both. At
    equal priority a profile that matches the card itself wins, then the first by name.

    ``override`` gives cards, by ifindex, a profile whatever matches and with whatever priority: as
    a match does, it reaches the cards below, of which one with a profile of its own given keeps
    that. It need not be one of ``profiles``. For an ifindex that is not in ``nics`` it does
    nothing: the card has left, and may come back.
    """
    override = override or {}
    claims: dict[int, dict[_Claim, LoadedProfile]] = {}
    above: dict[int, tuple[int, ...]] = {}
    for ifindex in sorted(nics):
        nic = nics[ifindex]
        if nic.unread and ifindex not in override:
            continue  # no profile matches it
        below = physical_below(nics, ifindex)
        if below and ifindex not in below:
            above[ifindex] = below
        cards = tuned_for(nics, ifindex)
        entitled = [(True, loaded) for loaded in profiles if loaded.profile.applies_to(nic)]
        if given := override.get(ifindex):
            entitled.append((False, given))
        for matched, loaded in entitled:
            rank = -loaded.profile.priority if matched else 0
            for card in cards:
                claim = _Claim(matched, rank, card != ifindex, loaded.profile.name, nic.name)
                claims.setdefault(card, {})[claim] = loaded
    chosen: dict[int, LoadedProfile] = {}
    conflicts = []
    for card in sorted(claims):
        first, *others = sorted(claims[card])
        chosen[card] = claims[card][first]
        tied = [claim for claim in others if claim.name != first.name and _tie(claim, first)]
        if tied:
            conflicts.append(_conflict(nics[card].name, first, tied[0]))
    through = {}
    for ifindex, below in above.items():
        won = _first_won(profiles, nics[ifindex], below, chosen, override.get(ifindex))
        if won is not None:
            tuned = tuple(card for card in below if chosen.get(card) is won)
            through[ifindex] = Through(won.profile.name, tuned)
    return Matched(chosen, through, tuple(conflicts))


def tuned_for(nics: Mapping[int, Nic], ifindex: int) -> tuple[int, ...]:
    """The cards that a profile tunes which matches this one: it, or those below it."""
    return pair_of(nics, ifindex) or physical_below(nics, ifindex) or (ifindex,)


def _tie(claim: _Claim, other: _Claim) -> bool:
    return (claim.matched, claim.below_priority, claim.indirect) == (
        other.matched,
        other.below_priority,
        other.indirect,
    )


def _conflict(card: str, first: _Claim, other: _Claim) -> str:
    names = f"{first.name} and {other.name}"
    if not first.matched:
        given = f"profiles {names} were given to {first.via} and {other.via} above it"
        return f"{card}: {given}; {first.name} is used"
    if not first.indirect:
        matched = f"profiles {names} both match"
    elif first.via == other.via:
        matched = f"profiles {names} both match {first.via} above it"
    else:
        matched = f"profiles {names} match {first.via} and {other.via} above it, both"
    return (
        f"{card}: {matched} with priority {-first.below_priority}; {first.name} is used, "
        "give one a higher priority"
    )


def _first_won(
    profiles: Sequence[LoadedProfile],
    nic: Nic,
    below: tuple[int, ...],
    chosen: Mapping[int, LoadedProfile],
    given: LoadedProfile | None,
) -> LoadedProfile | None:
    """Of the profile given to an upper card, and those that match it, the one in force below it."""
    in_force = [chosen[card] for card in below if card in chosen]
    if any(loaded is given for loaded in in_force):
        return given
    won = [
        loaded
        for loaded in profiles
        if any(loaded is other for other in in_force) and loaded.profile.applies_to(nic)
    ]
    return min(won, key=lambda one: (-one.profile.priority, one.profile.name), default=None)
