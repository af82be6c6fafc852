"""Pure: why profiles that were given are in force on no card, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from netuned.hardware.nic import Nic
from netuned.planning.claims import claims, misses
from netuned.profiles.loader import LoadedProfile

NEAREST_SHOWN = 3
PROFILES_SHOWN = 5


def idle(
    dropped: Collection[str],
    profiles: Sequence[LoadedProfile],
    nics: Mapping[int, Nic],
    in_force: Mapping[int, LoadedProfile],
) -> tuple[str, ...]:
    """A sentence for each profile of these files of which no card has anything.

    ``in_force`` is the profile of each card that has one. A card has something of a profile which
    its own one extends, too.
    """
    used = {place.path for loaded in in_force.values() for place in loaded.origins.values()}
    return tuple(
        f"Profile {loaded.profile.name} ({loaded.path}) {_why(loaded, profiles, nics, in_force)}."
        for loaded in profiles
        if loaded.path in dropped and loaded.path not in used
    )


def nowhere(
    directories: Sequence[str], profiles: Sequence[LoadedProfile], nics: Mapping[int, Nic]
) -> tuple[str, ...]:
    """Why the profiles in these directories are in force on no card; they have no mistakes."""
    where = " and ".join(directories)
    if not profiles:
        names = "netuned reads files whose names end with .yaml or .yml"
        return (f"There is no profile in {where}: {names}, without a first dot.",)
    matching = [loaded.path for loaded in profiles if loaded.profile.match]
    if not matching:
        why = "none has a match, so none is in force on a card by itself"
        return (f"The profiles in {where} are templates: {why}.",)
    more = len(matching) - PROFILES_SHOWN
    return (
        f"No profile in {where} matches a card.",
        *idle(matching[:PROFILES_SHOWN], profiles, nics, {}),
        *([f"Nor does one of {more} more."] if more > 0 else []),
    )


def _why(
    loaded: LoadedProfile,
    profiles: Sequence[LoadedProfile],
    nics: Mapping[int, Nic],
    tuned: Collection[int],
) -> str:
    profile = loaded.profile
    if not profile.match:
        return "is a template: it has no match, so it is in force on no card by itself"
    lost: dict[str, list[str]] = {}
    for ifindex in tuned:
        found = claims(profiles, nics, ifindex)
        if any(claim.profile == profile.name for claim in found):
            won = f"{found[0].profile} (priority {found[0].priority})"
            lost.setdefault(won, []).append(nics[ifindex].name)
    if lost:
        first = " and ".join(f"{won} on {', '.join(cards)}" for won, cards in lost.items())
        return f"is in force on no card: with priority {profile.priority} it comes after {first}"
    near = sorted(
        (len(miss.failing), nic.name, "; ".join(miss.failing))
        for nic in nics.values()
        for miss in misses((loaded,), nic)[:1]
    )
    if not near:
        return "matches no card: there is none"
    shown = (f"{name} ({failing})" for _, name, failing in near[:NEAREST_SHOWN])
    return f"matches no card; nearest {'are' if len(near) > 1 else 'is'} {', '.join(shown)}"
