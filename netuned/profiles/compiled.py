"""What profiles were compiled to, kept on disk: while the texts are the same nothing reads YAML.

Only what has no mistake is kept. A file that is not there, is damaged, of another netuned or of
other texts is no error: the texts are compiled, and it is written anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

from netuned import __version__, statefile
from netuned.cpuset import CpuSet
from netuned.errors import ProfileError, StateFileError
from netuned.profiles.classes import Spec
from netuned.profiles.library import LoadedProfile
from netuned.profiles.schema import CLASSES
from netuned.profiles.searchpath import Recorded
from netuned.profiles.settings import Read
from netuned.profiles.yamltree import Position
from netuned.records import dataclass

log = logging.getLogger(__name__)

NAME = "compiled.json"
VERSION = 1
_OF = ""
"""The key, which no mapping of a profile has, by which an object says of which class it is."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was made of all profiles and of the settings' files."""

    profiles: tuple[LoadedProfile, ...]
    confirm_timeout_s: int


def key_of(directories: Recorded, settings: Read, possible: CpuSet) -> str:
    """Tells these texts, on a host with these CPUs, from others; empty where one has an error."""
    parts = [_code(), str(possible).encode()]
    for directory, files in directories.items():
        if isinstance(files, ProfileError):
            return ""
        parts.append(os.fsencode(directory))
        for name, content in sorted(files.items()):
            if isinstance(content, ProfileError):
                return ""
            parts += (os.fsencode(name), content)
    for path, content in settings.items():  # of two that set a key the later counts
        if isinstance(content, ProfileError):
            return ""
        parts += (os.fsencode(path), content)
    return _digest(parts) if parts[0] else ""


@cache
def _code() -> bytes:
    """Tells what makes values of texts: by netuned's version and, for who changes it, its source.

    That is this package's, and of netuned's own modules those that all share.

    Asked once, when it starts: another may be installed while it runs. Empty where its source
    cannot be read.
    """
    try:
        here = Path(__file__).parent
        paths = (*here.glob("*.py"), *here.parent.glob("*.py"))
        sources = [path.read_bytes() for path in sorted(paths)]
    except OSError:
        return b""
    return _digest((__version__.encode(), *sources)).encode()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.hexdigest()


class Kept:
    """The file that keeps it; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._key = ""
        """Of what is on disk, as far as that is known."""

    def read(self, key: str) -> Compiled | None:
        """What was kept for a key; None where that is not there or not to be trusted."""
        if self._path is None or not key:
            return None
        try:
            data = statefile.read(self._path, bytes, b"", own=True)
            found = _decoded(data, key) if data else None
        except (StateFileError, *statefile.MALFORMED) as error:
            log.info("%s, ignoring", error)
            return None
        if found is not None:
            self._key = key
        return found

    def write(self, key: str, compiled: Compiled) -> None:
        """Keep what was made of texts; where that fails the next start is slower, and no more."""
        if self._path is None or key in ("", self._key):
            return
        try:
            statefile.write_atomically(self._path, _encoded(key, compiled))
        except OSError as error:
            log.info("%s: %s, ignoring", self._path, error.strerror or error)
            return
        self._key = key


def _decoded(data: bytes, key: str) -> Compiled | None:
    """Raises: one of ``statefile.MALFORMED``."""
    content = statefile.decode(VERSION, data)
    if content["key"] != key:
        return None
    profiles = tuple(_loaded(text) for _, text in sorted(content["profiles"].items()))
    return Compiled(profiles, int(content["confirm_timeout_s"]))


def _encoded(key: str, compiled: Compiled) -> bytes:
    found = {one.profile.name: statefile.encode_part(_text(one)) for one in compiled.profiles}
    parts = {
        "key": statefile.encode_part(key),
        "confirm_timeout_s": statefile.encode_part(compiled.confirm_timeout_s),
        "profiles": statefile.join_parts(found),
    }
    return statefile.encode_parts(VERSION, parts)


def _text(loaded: LoadedProfile) -> str:
    """A profile as JSON, a text within the file's: its keys stay in their order, which counts."""
    paths = list(dict.fromkeys(place.path for place in loaded.origins.values()))
    origins = [
        (key, paths.index(place.path), place.line, place.column)
        for key, place in loaded.origins.items()
    ]
    return json.dumps([_plain(loaded.profile), loaded.path, paths, origins])


def _loaded(text: str) -> LoadedProfile:
    profile, path, paths, origins = json.loads(text)
    places = {key: Position(paths[number], line, column) for key, number, line, column in origins}
    return LoadedProfile(_made(profile), path, places)


def _plain(value: object) -> Any:
    """A value of the schema's classes as JSON has it: of an object what is not as by default."""
    if isinstance(value, Spec):
        name = type(value).__name__
        assert CLASSES[name] is type(value)
        said = {_OF: name}
        for field in fields(value):  # type: ignore[arg-type]  # each is a dataclass
            held = getattr(value, field.name)
            if field.default is MISSING or held != field.default:
                said[field.name] = _plain(held)
        return said
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _made(kept: Any) -> Any:
    """The same value again. Raises: one of ``statefile.MALFORMED``."""
    if isinstance(kept, list):
        return tuple(map(_made, kept))
    if isinstance(kept, dict):
        said = {key: _made(item) for key, item in kept.items() if key != _OF}
        return CLASSES[kept[_OF]](**said) if _OF in kept else said
    return kept
