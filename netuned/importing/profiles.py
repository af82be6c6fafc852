"""Profiles of what was found in other tools' files: what the schema takes, and why not the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from netuned.importing import link, perftune, script, sysctl, tuned
from netuned.importing.found import EVERY, Found
from netuned.profiles.loader import load
from netuned.profiles.yamlwriting import dump

FILE = "imported.yaml"
ANY_CARD = "*"

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
    """Profiles of all that the schema takes; of what is said twice, the last. Never a wrong one."""
    profiles: dict[str, Profile] = {}
    lines: list[Found] = []
    for one in found:
        if not one.why and one.path:
            card = EVERY if one.path[0] == "host" else one.card or f"name={ANY_CARD}"
            before = profiles.get(card) or {"match": [_match(card)]}
            after = _with(before, one)
            if why := _wrong(after):
                one = replace(one, why=why)
            else:
                profiles[card] = after
        lines.append(one)
    return Imported(profiles, tuple(lines))


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
