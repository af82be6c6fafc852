"""The daemon's own settings, ``/etc/netuned/netuned.yaml``: what is no profile's business."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from netuned.errors import ProfileError
from netuned.profiles.classes import About, Leaf, Mistake, Spec
from netuned.profiles.scalars import STRING, shown
from netuned.profiles.timeout import parse_timeout_s
from netuned.profiles.trust import ANYONE, NOBODY, Way, read_trusted, trusted_directory
from netuned.profiles.yamltree import Table, to_data

if TYPE_CHECKING:
    from pydantic import ValidationError

DEFAULT_PATH = "/etc/netuned/netuned.yaml"

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
    """The keys of the file."""

    confirm_timeout: Annotated[
        int,
        Leaf(_confirm_timeout, STRING),
        About("How long profiles that were read anew wait to be confirmed."),
    ] = OFF_S


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says; ``confirm_timeout_s`` is 0 where nothing has to be confirmed."""

    confirm_timeout_s: int = OFF_S
    errors: tuple[ProfileError, ...] = ()


def check_settings(path: str) -> tuple[ProfileError, ...]:
    """What is wrong with a file of settings, whoever owns it."""
    try:
        return load_settings(path, Settings(), data=read_trusted(path, ANYONE) or b"").errors
    except FileNotFoundError:
        return (ProfileError(path, 0, 0, "", "there is no such file"),)
    except ProfileError as error:
        return (error,)


def read_settings(path: str, owner: int = 0, way: Way = NOBODY) -> bytes | ProfileError:
    """What the file holds, nothing if it is not there, or why it is not used."""
    try:
        with trusted_directory(os.path.dirname(path), owner, way) as directory:
            return read_trusted(path, owner, directory, way) or b""
    except FileNotFoundError:
        return b""
    except ProfileError as error:
        return error


def load_settings(
    path: str, previous: Settings, owner: int = 0, data: bytes | ProfileError | None = None
) -> Settings:
    """Read the file; where it has a mistake, ``previous`` stays in force and the errors are told.

    Without a file, or with an empty one, all is as by default. ``data`` is what it holds, where
    that has been read already.
    """
    if data is None:
        data = read_settings(path, owner)
    if isinstance(data, ProfileError):
        return Settings(previous.confirm_timeout_s, (data,))
    if not data:
        return Settings()
    from pydantic import ValidationError

    from netuned.profiles.yamlreading import parse_yaml

    root, errors = parse_yaml(data, path)
    if root is None and not errors:
        return Settings()
    if not errors and not isinstance(root, Table):
        errors = (
            ProfileError(path, 1, 1, "", "the file is a mapping, like `confirm_timeout: 60s`"),
        )
    if errors or not isinstance(root, Table):
        return Settings(previous.confirm_timeout_s, errors)
    try:
        return Settings(SettingsFile.of(to_data(root)).confirm_timeout)
    except ValidationError as error:
        return Settings(previous.confirm_timeout_s, tuple(_mistakes(root, error)))


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
