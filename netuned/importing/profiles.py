"""Profiles of what was found in other tools' files: what the schema takes, and why not the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from netuned.errors import NetunedError
from netuned.importing import link, perftune, script, sysctl, tuned
from netuned.importing.found import EVERY, Found
from netuned.profiles.loader import load
from netuned.profiles.yamlwriting import dump

FILE = "imported.yaml"
ANY_CARD = "*"
SETTINGS_MOST = 1000

Profile = dict[str, object]


@dataclass(frozen=True, slots=True)
class Imported:
    """Profiles by what selects their card (empty: the host), and each line's fate, in order."""

    profiles: dict[str, Profile]
    lines: tuple[Found, ...]

    @property
    def left(self) -> tuple[Found, ...]:
        """What could not be brought."""
        return tuple(found for found in self.lines if found.why)


def reader_of(path: str, text: str) -> Callable[[str], Iterator[Found]]:
    """What reads such a file, by its name or what it holds."""
    name = os.path.basename(path)
    if name.endswith(".link"):
        return link.read
    sections = set(re.findall(r"^\[([A-Za-z_]+)", text, re.MULTILINE))
    if name == "tuned.conf" or "main" in sections:
        return tuned.read
    if "Match" in sections and "Link" in sections:
        return link.read
    if name.endswith((".yaml", ".yml")):
        return perftune.read
    plain = [line for line in map(str.strip, text.split("\n")) if line and line[0] not in "#;"]
    if name.endswith(".conf") or (
        plain and all(re.match(r"-?[a-z]+[./][\w./*-]+\s*=", one) for one in plain)
    ):
        return sysctl.read
    return script.read


def bring(found: Iterable[Found]) -> Imported:
    """Profiles of all that the schema takes; of what is said twice, the last. Never a wrong one.

    Raises: NetunedError for too many lines, and what ``found`` raises.
    """
    lines = list(found)
    if len(lines) > SETTINGS_MOST:
        raise NetunedError(
            f"it has more than {SETTINGS_MOST} settings, so it is none of these files"
        )
    profiles: dict[str, Profile] = {}
    for one in lines:
        profiles = _more(profiles, one)
    if any(map(_wrong, profiles.values())):  # which line it is shows one by one
        profiles = {}
        for at, one in enumerate(lines):
            after = _more(profiles, one)
            changed = (after[card] for card in after if after[card] is not profiles.get(card))
            why = next(filter(None, map(_wrong, changed)), "")
            if why:
                lines[at] = replace(one, why=why)
            else:
                profiles = after
    return Imported(_apart(profiles), tuple(lines))


def _more(profiles: dict[str, Profile], one: Found) -> dict[str, Profile]:
    """With what a line sets; the same objects but for the card that it is of."""
    if one.why or not one.path:
        return profiles
    card = EVERY if one.path[0] == "host" else one.card or f"name={ANY_CARD}"
    return {**profiles, card: _with(profiles.get(card) or {"match": [_match(card)]}, one)}


def _apart(profiles: dict[str, Profile]) -> dict[str, Profile]:
    """One profile is in force on a card: that which names it, and says what is of the host, too."""
    if len(profiles) < 2:
        return profiles
    general = {card: profiles[card] for card in (EVERY, f"name={ANY_CARD}") if card in profiles}
    host = profiles.get(EVERY, {}).get("host")
    found: dict[str, Profile] = {}
    for card, profile in profiles.items():
        own = {} if card in general or not general else {"priority": 60}
        said = {"match": profile["match"], **own, **profile}
        found[card] = said if host is None else {**said, "host": host}
    if len(general) == 2:
        del found[EVERY]
    return found


def _match(card: str) -> dict[str, object]:
    keys = (line.partition("=") for line in card.split("\n") if line)
    found: dict[str, object] = {
        key: words if len(words := value.split()) > 1 else value for key, _, value in keys
    }
    return found or {"name": ANY_CARD}


def _with(profile: Profile, one: Found) -> Profile:
    """A copy in which one more key is set."""
    if len(one.path) == 1:
        return {**profile, one.path[0]: one.value}
    outer, *inner = one.path
    below = profile.get(outer)
    rest = _with(dict(below) if isinstance(below, dict) else {}, replace(one, path=tuple(inner)))
    return {**profile, outer: rest}


def _wrong(profile: Profile) -> str:
    """The first mistake of a profile; empty if it is good."""
    errors = load((), dropped={FILE: dump(profile).encode()}).errors
    return errors[0].problem if errors else ""
