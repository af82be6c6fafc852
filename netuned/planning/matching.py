"""Pure: which profile is in force on which card, once for every physical card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netuned.hardware.nic import Nic
from netuned.hardware.stacking import pair_of, physical_below
from netuned.profiles.loader import LoadedProfile


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
    """One profile's right to a card; the least wins. ``via`` is the name it is matched by."""

    below_priority: int
    indirect: bool
    name: str
    via: str


def match_cards(profiles: Sequence[LoadedProfile], nics: Mapping[int, Nic]) -> Matched:
    """Give each card the profile of highest priority that matches it or a card above it.

    A profile that matches a card above others tunes the physical ones below and leaves that one
    alone: steering twice would cost twice. Each card of an accelerated pair stands for both. At
    equal priority a profile that matches the card itself wins, then the first by name.
    """
    by_name = {loaded.profile.name: loaded for loaded in profiles}
    claims: dict[int, list[_Claim]] = {}
    above: dict[int, tuple[int, ...]] = {}
    for ifindex in sorted(nics):
        nic = nics[ifindex]
        below = physical_below(nics, ifindex)
        if below and ifindex not in below:
            above[ifindex] = below
        cards = tuned_for(nics, ifindex)
        for loaded in profiles:
            if loaded.profile.applies_to(nic):
                profile = loaded.profile
                for card in cards:
                    claim = _Claim(-profile.priority, card != ifindex, profile.name, nic.name)
                    claims.setdefault(card, []).append(claim)
    chosen: dict[int, LoadedProfile] = {}
    conflicts = []
    for card in sorted(claims):
        first, *others = sorted(claims[card])
        chosen[card] = by_name[first.name]
        tied = [claim for claim in others if claim.name != first.name and _tie(claim, first)]
        if tied:
            conflicts.append(_conflict(nics[card].name, first, tied[0]))
    through = {
        ifindex: Through(name, tuple(c for c in below if chosen[c].profile.name == name))
        for ifindex, below in above.items()
        if (name := _first_won(profiles, nics[ifindex], below, chosen))
    }
    return Matched(chosen, through, tuple(conflicts))


def tuned_for(nics: Mapping[int, Nic], ifindex: int) -> tuple[int, ...]:
    """The cards that a profile tunes which matches this one: it, or those below it."""
    return pair_of(nics, ifindex) or physical_below(nics, ifindex) or (ifindex,)


def _tie(claim: _Claim, other: _Claim) -> bool:
    return (claim.below_priority, claim.indirect) == (other.below_priority, other.indirect)


def _conflict(card: str, first: _Claim, other: _Claim) -> str:
    names = f"{first.name} and {other.name}"
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
) -> str:
    """Of the profiles that match an upper card, the one in force below it; empty without one."""
    matching = [loaded.profile for loaded in profiles if loaded.profile.applies_to(nic)]
    in_force = {chosen[card].profile.name for card in below if card in chosen}
    won = [profile for profile in matching if profile.name in in_force]
    return min(won, key=lambda profile: (-profile.priority, profile.name)).name if won else ""
