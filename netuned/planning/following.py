"""Pure: which cards have what a profile says of a card below them, where it says so.

A VLAN, bond or bridge has sizes of its own for what is merged into one packet, and with other ones
than the card below has, packets are cut up, or merged anew, between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netuned.hardware.nic import Nic
from netuned.profiles.loader import LoadedProfile
from netuned.records import dataclass

KINDS = frozenset(("bond", "bridge", "macvlan", "team", "vlan"))
"""Of link: what sends the packets of others on as they are."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What a card above others has: of the profile of one of them what is for those above, too.

    ``cards`` are the ifindexes of those of which it is.
    """

    loaded: LoadedProfile
    cards: tuple[int, ...]


def followers(
    nics: Mapping[int, Nic], chosen: Mapping[int, LoadedProfile]
) -> Mapping[int, Follower]:
    """Card above -> what it has of the profiles in force below it; of several, of the first.

    One with a profile of its own has that alone.
    """
    leading = {ifindex: loaded for ifindex, loaded in chosen.items() if loaded.profile.leads}
    found = {}
    for ifindex, nic in nics.items() if leading else ():
        if nic.kind not in KINDS or nic.unread or ifindex in chosen:
            continue
        below = {card: leading[card] for card in sorted(_below(nics, nic)) if card in leading}
        if below:
            first = min(below.values(), key=_rank)
            cards = tuple(card for card, loaded in below.items() if loaded is first)
            shared = replace(first, profile=first.profile.for_uppers())
            found[ifindex] = Follower(shared, cards)
    return found


def _rank(loaded: LoadedProfile) -> tuple[int, str]:
    return -loaded.profile.priority, loaded.profile.name


def _below(nics: Mapping[int, Nic], nic: Nic) -> set[int]:
    """All cards below one, however far."""
    seen: set[int] = set()
    ahead = list(nic.lowers)
    while ahead:
        at = ahead.pop()
        if at not in seen and at in nics:
            seen.add(at)
            ahead.extend(nics[at].lowers)
    return seen
