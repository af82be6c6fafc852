"""The daemon's own settings, ``netuned.yaml`` and its drop-ins: what is no profile's business."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from netuned.errors import ProfileError
from netuned.profiles.classes import About, Leaf, Mistake, Spec
from netuned.profiles.scalars import STRING, shown
from netuned.profiles.searchpath import read_directory
from netuned.profiles.timeout import parse_timeout_s
from netuned.profiles.trust import (
    ANYONE,
    NOBODY,
    Way,
    read_trusted,
)
from netuned.profiles.yamltree import Table, to_data
from netuned.records import dataclass

if TYPE_CHECKING:
    from pydantic import ValidationError

NAME = "netuned.yaml"
DIRECTORIES = ("/etc/netuned", "/run/netuned", "/usr/lib/netuned")
DEFAULT_PATH = f"{DIRECTORIES[0]}/{NAME}"
SUFFIXES = (".yaml", ".yml", ".conf")
"""Of drop-ins."""

OFF_S = 0


def _confirm_timeout(value: object) -> int:
    if value == "off":
        return OFF_S
    seconds = parse_timeout_s(value) if isinstance(value, str) else OFF_S
    if not seconds:
        raise Mistake(
            f"{shown(value)} is not allowed here; write a time from 1s to 1h, like 60s, or off"
        )
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile(Spec):
    """The keys of a file."""

    confirm_timeout: Annotated[
        int,
        Leaf(_confirm_timeout, STRING),
        About("How long profiles that were read anew wait to be confirmed."),
    ] = OFF_S


@dataclass(frozen=True, slots=True)
class Settings:
    """What the files say; ``confirm_timeout_s`` is 0 where nothing has to be confirmed."""

    confirm_timeout_s: int = OFF_S
    errors: tuple[ProfileError, ...] = ()


Read = Mapping[str, bytes | ProfileError]
"""Path -> what a file of settings holds, or why it is not used; of a key the last file counts."""


def is_drop_in(name: str) -> bool:
    """Whether a file of this name, in a directory of drop-ins, is one."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def is_settings(path: str) -> bool:
    """Whether it is a file of the daemon's own settings, as far as its place tells."""
    directory, name = os.path.split(os.path.abspath(path))
    if os.path.basename(directory) == f"{NAME}.d":
        return is_drop_in(name)
    return name == NAME and os.path.basename(directory) != "profiles.d"


def check_settings(path: str) -> tuple[ProfileError, ...]:
    """What is wrong with a file of settings, whoever owns it."""
    try:
        return _parsed(path, read_trusted(path, ANYONE) or b"")[1]
    except FileNotFoundError:
        return (ProfileError(path, 0, 0, "", "there is no such file"),)
    except ProfileError as error:
        return (error,)


def read_settings(
    path: str, owner: int = 0, way: Way = NOBODY, before: Read = MappingProxyType({})
) -> Read:
    """What the files that count hold, in the order in which they do: ``path``, then drop-ins.

    As systemd has it: of ``DEFAULT_PATH`` the first that is there in one of ``DIRECTORIES``, then
    by their names the drop-ins of ``path`` with ``.d`` after it, of which one in an earlier
    directory replaces that of the same name in a later one. A file that is being written is as
    ``before``.
    """
    places = [path]
    if path == DEFAULT_PATH:
        places = [os.path.join(directory, NAME) for directory in DIRECTORIES]
    main: dict[str, bytes | ProfileError] = {}
    for place in places:
        directory, name = os.path.split(place)
        main = main or _read(directory, owner, (), way, before, only=name)
    found: dict[str, bytes | ProfileError] = {}
    for place in places:
        seen = {os.path.basename(path) for path in found}
        found |= _read(f"{place}.d", owner, seen, way, before)
    return main | dict(sorted(found.items(), key=lambda item: os.path.basename(item[0])))


def _read(
    directory: str,
    owner: int,
    seen: Collection[str],
    way: Way,
    before: Read,
    only: str = "",
) -> dict[str, bytes | ProfileError]:
    """What a directory's drop-ins hold, or the file ``only``, or why it, or one, is not used."""
    known = {os.path.basename(p): c for p, c in before.items() if os.path.dirname(p) == directory}
    try:
        found = read_directory(directory, owner, seen, way, known, is_drop_in, only)
    except ProfileError as error:
        return {directory: error}
    return {os.path.join(directory, name): content for name, content in found.items()}


def load_settings(
    path: str, previous: Settings, owner: int = 0, read: Read | None = None
) -> Settings:
    """Read the settings; where a file has a mistake, ``previous`` stays in force, and it is told.

    Without a file, or with empty ones, all is as by default. ``read`` is what the files hold, where
    they have been read already.
    """
    said: dict[str, object] = {}
    errors: list[ProfileError] = []
    for place, data in (read_settings(path, owner) if read is None else read).items():
        keys, wrong = _parsed(place, data)
        said |= keys
        errors += wrong
    if errors:
        return Settings(previous.confirm_timeout_s, tuple(errors))
    return Settings(SettingsFile.of(said).confirm_timeout) if said else Settings()


def _parsed(
    path: str, data: bytes | ProfileError
) -> tuple[dict[str, object], tuple[ProfileError, ...]]:
    """The keys that one file sets, and what is wrong with them."""
    if isinstance(data, ProfileError):
        return {}, (data,)
    if not data:
        return {}, ()
    from pydantic import ValidationError

    from netuned.profiles.yamlreading import parse_yaml

    root, errors = parse_yaml(data, path)
    if errors or root is None:
        return {}, errors
    if not isinstance(root, Table):
        problem = "the file is a mapping, like `confirm_timeout: 60s`"
        return {}, (ProfileError(path, 1, 1, "", problem),)
    keys = {key: to_data(entry.value) for key, entry in root.entries.items()}
    try:
        SettingsFile.of(keys)
    except ValidationError as error:
        return {}, tuple(_mistakes(root, error))
    return keys, ()


def _mistakes(root: Table, error: ValidationError) -> list[ProfileError]:
    from netuned.profiles.mistakes import UNKNOWN_KEY, error_at, unknown_key

    found = []
    for line in error.errors(include_url=False):
        unknown = line["type"] == UNKNOWN_KEY
        if unknown:
            known = tuple(SettingsFile.by_key())
            problem = unknown_key(str(line["loc"][-1]), known, line["input"])
        else:
            raised = line.get("ctx", {}).get("error")
            problem = raised.problem if isinstance(raised, Mistake) else line["msg"]
        found.append(error_at(root, line["loc"], problem, about_key=unknown))
    return found
