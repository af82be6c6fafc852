"""``netunedctl diff``: what two profiles say differently, with all that they extend."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netuned.cli.arguments import add_profiles
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.text import no_such

if TYPE_CHECKING:
    from netuned.profiles.loader import LoadedProfile

DIFFERENT = 3
"""The exit status for two that differ, with --exit-code."""
OWN = ("name", "description", "extends")
"""Keys that say nothing of a card."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("one", metavar="PROFILE", help="a profile's name, or a file with a slash")
    parser.add_argument("other", metavar="PROFILE", help="another")
    add_profiles(parser)
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 if they differ")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    one, other = (_profile(word, arguments.profiles) for word in (arguments.one, arguments.other))
    has, gets = _flat(one), _flat(other)
    keys = [key for key in {**has, **gets} if has.get(key) != gets.get(key)]
    rows = [(key, has.get(key, ""), gets.get(key, ""), _place(one, other, key)) for key in keys]
    if arguments.json:
        shown = ("key", "one", "other", "where")
        print_json({"differences": [dict(zip(shown, row, strict=True)) for row in rows]})
    elif rows:
        header = ("KEY", one.profile.name, other.profile.name, "WHERE")
        print(Screen.of_stdout().table(header, rows), end="")
    else:
        print("They say the same.")
    return DIFFERENT if rows and arguments.exit_code else 0


def _profile(word: str, directories: list[str]) -> LoadedProfile:
    """Raises: NetunedError."""
    from netuned.snapshots import offline

    if "/" in word or word == "-":
        drop = offline.load_with([word], None, directories)[1]
        for error in drop.refused:
            raise NetunedError(str(error))
        found = [one for one in drop.profiles.profiles if one.path in drop.dropped]
    else:
        profiles = offline.load_texts({}, None, directories, templates=True)[1].profiles.profiles
        found = [one for one in profiles if one.profile.name == word]
        if not found:
            raise NetunedError(no_such("profile", word, [one.profile.name for one in profiles]))
    if not found:
        raise NetunedError(
            f"{word}: is empty, so it says nothing: `netunedctl profiles` shows those that do"
        )
    return found[0]


def _flat(loaded: LoadedProfile) -> dict[str, str]:
    """What a profile says, by dotted key."""
    from netuned.profiles.classes import plain

    said = plain(loaded.profile, by_key=True)
    return dict(_leaves("", {key: value for key, value in said.items() if key not in OWN}))


def _leaves(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}".lstrip("."), below)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(f"{key}[{number}]", item)
    elif isinstance(value, list) and value:
        yield key, ", ".join(map(str, value))
    elif value not in (None, []):
        yield key, str(value)


def _place(one: LoadedProfile, other: LoadedProfile, key: str) -> str:
    """Where the second says it, or, if it does not, the first."""
    place = other.origins.get(key) or one.origins.get(key)
    return f"{os.path.basename(place.path)}:{place.line}" if place else ""
