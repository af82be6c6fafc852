"""Pure: why a profile is in force on a card and why others are not, by entries of ``match``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netuned.hardware.nic import Nic
from netuned.planning.funnel import place_of
from netuned.planning.matching import tuned_for
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.match import Match
from netuned.records import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry of a profile's ``match`` that holds for a card, or for one ``above`` it.

    ``place`` is path:line of the entry, ``keys`` what it says, ``via`` the card it matches.
    """

    profile: str
    priority: int
    place: str
    keys: str
    via: str
    above: bool


@dataclass(frozen=True, slots=True)
class Miss:
    """An entry that does not hold for a card, and which of its keys (``failing``) do not."""

    profile: str
    place: str
    failing: tuple[str, ...]


def claims(
    profiles: Sequence[LoadedProfile], nics: Mapping[int, Nic], ifindex: int
) -> tuple[Claim, ...]:
    """Every profile's best claim to a card, the winner first, as ``match_cards`` decides."""
    found: dict[str, tuple[tuple[object, ...], Claim]] = {}
    for via, nic in nics.items():
        if ifindex not in (via, *tuned_for(nics, via)):
            continue
        for loaded in profiles:
            profile = loaded.profile
            index = next((i for i, e in enumerate(profile.match) if e.matches(nic)), None)
            if index is None:
                continue
            place = place_of(loaded, f"match[{index}]", "match")
            keys = _keys(profile.match[index])
            above = via != ifindex
            claim = Claim(profile.name, profile.priority, place, keys, nic.name, above)
            rank = (-profile.priority, above, profile.name, nic.name)
            if profile.name not in found or rank < found[profile.name][0]:
                found[profile.name] = (rank, claim)
    return tuple(claim for _, claim in sorted(found.values(), key=lambda item: item[0]))


def misses(profiles: Sequence[LoadedProfile], nic: Nic) -> tuple[Miss, ...]:
    """Every entry that does not hold for a card, those with the fewest wrong keys first."""
    found = [
        (len(failing), Miss(loaded.profile.name, place_of(loaded, f"match[{index}]", "match"), why))
        for loaded in profiles
        for index, entry in enumerate(loaded.profile.match)
        if (failing := tuple(entry.failing(nic)))
        for why in [tuple(_wrong(entry, nic, key) for key in failing)]
    ]
    return tuple(miss for _, miss in sorted(found, key=lambda item: (item[0], item[1].profile)))


def _keys(entry: Match) -> str:
    """An entry as it is written: ``driver: igb, name: [en*, !enp3s0]``."""
    said = {key: getattr(entry, key) for key in Match.by_key()}
    return ", ".join(f"{key}: {_values(values)}" for key, values in said.items() if values)


def _values(values: Sequence[object]) -> str:
    text = ", ".join(str(value).removeprefix("=") for value in values)
    return text if len(values) == 1 else f"[{text}]"


def _wrong(entry: Match, nic: Nic, key: str) -> str:
    if key == "kind" and not entry.kind:
        return f"it is of kind {nic.kind}; an entry without kind and driver is for physical cards"
    wanted = _values(getattr(entry, key))
    has = {
        "name": " and ".join(nic.names),
        "driver": nic.driver or "unknown",
        "pci": nic.pci or "none",
        "mac": nic.mac or "unknown",
        "kind": nic.kind,
        "numa_node": str(nic.numa_node),
        "speed": f"{nic.speed_mbps} Mbit/s" if nic.speed_mbps else "unknown",
    }
    return f"{key} is {has[key]}, not {wanted}"
