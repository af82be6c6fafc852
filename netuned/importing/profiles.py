"""Profiles of what was found in other tools' files: what the schema takes, and why not the rest."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from netuned.errors import NetunedError, ProfileError
from netuned.importing import link, perftune, script, sysctl, tuned
from netuned.importing.found import APPENDED, EVERY, TABLE, Found
from netuned.profiles.loader import load
from netuned.profiles.rss import KEPT_TABLE
from netuned.profiles.yamlwriting import dump
from netuned.records import dataclass
from netuned.text import escape

FILE = "imported.yaml"
ANY_CARD = "*"
SETTINGS_MOST = 1000
TRIED_MOST = 2000
"""Settings whose mistakes are looked for again one line after the other: some ms each."""

Profile = dict[str, object]


@dataclass(frozen=True, slots=True)
class Imported:
    """Profiles by what selects their card (empty: the host), and each line's fate.

    Lines are in order, but that single queues and flow rules come last.
    """

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
            f"it has more than {SETTINGS_MOST} settings, so it is none of these files: "
            "`netunedctl import --help` says which"
        )
    by_card: dict[str, list[int]] = {}
    for at, one in enumerate(lines):
        if one.path and not one.why:
            card = EVERY if one.path[0] == "host" else one.card or f"name={ANY_CARD}"
            by_card.setdefault(card, []).append(at)
    profiles: dict[str, Profile] = {}
    tried = 0
    for card, places in by_card.items():
        while places and (
            errors := _wrong(profile := _profile(card, (lines[at] for at in places)))
        ):
            tried += len(places)
            wrong = _blamed(card, lines, places, errors, patient=tried < TRIED_MOST)
            for at, why in wrong.items():
                lines[at] = replace(lines[at], why=why)
            places = [at for at in places if at not in wrong]
        if places:
            profiles[card] = profile
    return Imported(_apart(profiles), tuple(lines))


def _profile(card: str, lines: Iterable[Found]) -> Profile:
    profile: Profile = {"match": [_match(card)]}
    for one in lines:
        profile = _with(profile, one)
    if isinstance(said := profile.get(TABLE[0]), dict):
        kept = dict([KEPT_TABLE])
        rest = {key: value for key, value in said.items() if key != TABLE[1]}
        profile = {**profile, TABLE[0]: {**said.get(TABLE[1], kept), **rest}}
    return profile


def _blamed(
    card: str, lines: list[Found], places: list[int], errors: Sequence[ProfileError], patient: bool
) -> dict[int, str]:
    """The lines without which it is better, and why: those that are named, the last of each key.

    Of a mistake that several make together it is the first line with which it is there. Without
    patience it is all lines of a key, or all that follow.
    """
    of_key: dict[str, list[int]] = {}
    many = Counter[str]()
    for at in places:
        path = lines[at].path
        keys: tuple[str, ...] = (".".join(path),)
        if path == TABLE:  # of the hash beside it other lines say what is wrong
            keys = (f"{TABLE[0]}.queues", f"{TABLE[0]}.weights")
        elif path[-1] == APPENDED:
            keys = (f"{path[0]}[{many[path[0]]}]",)
            many[path[0]] += 1
        for key in keys:
            of_key.setdefault(escape(key), []).append(at)
    wrong: dict[int, str] = {}
    for error in errors:
        ends = [n for n, sign in enumerate(error.key) if sign in ".["]
        above = (error.key[:end] for end in (None, *reversed(ends)))
        named = next((of_key[key] for key in above if key in of_key), [])
        wrong |= dict.fromkeys(named[-1:] if patient else named, error.problem)
    if wrong:
        return wrong
    found = bisect_left(
        range(len(places)),
        True,
        key=lambda n: bool(_wrong(_profile(card, (lines[at] for at in places[:n])))),
    )
    rest = places[max(found - 1, 0) :]
    return dict.fromkeys(rest[:1] if found and patient else rest, errors[0].problem)


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
    if inner == [APPENDED]:
        return {**profile, outer: [*(below if isinstance(below, list) else ()), one.value]}
    rest = _with(dict(below) if isinstance(below, dict) else {}, replace(one, path=tuple(inner)))
    return {**profile, outer: rest}


def _wrong(profile: Profile) -> Sequence[ProfileError]:
    """The mistakes of a profile, or as many as are looked for."""
    return load((), dropped={FILE: dump(profile).encode()}).errors
