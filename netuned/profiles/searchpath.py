"""The search path: which files are profiles, read in order of precedence, each as a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from pathlib import Path

from netuned.errors import ProfileError
from netuned.profiles.trust import (
    NOBODY,
    UnsettledError,
    Way,
    read_trusted,
    trusted_directory,
)
from netuned.profiles.yamltree import Node, Position, Scalar, Table, written
from netuned.records import dataclass

DEFAULT_DIRECTORIES = (
    "/etc/netuned/profiles.d",
    "/run/netuned/profiles.d",
    "/usr/lib/netuned/profiles.d",
)
"""A file in an earlier directory replaces the file of the same name in a later one."""

SUFFIXES = (".yaml", ".yml")
NOT_READ = "netuned reads files whose names end with .yaml or .yml, without a first dot"
PACKAGE = Path(__file__).parents[1]

MAX_ERRORS = 50
"""How many of a file's mistakes are reported at once."""

MAX_TOLD = 500
"""How many mistakes of all files are reported; past that, of each further file its first."""

RecordedDirectory = Mapping[str, bytes | ProfileError] | ProfileError
"""File name -> content, or why it is not used; or why none of the directory is."""

Recorded = Mapping[str, RecordedDirectory]
"""The profile directories of a snapshot."""


@dataclass(slots=True)
class Source:
    """One file that was read: its name and tree; ``root`` is None if it cannot be used at all.

    ``depth`` is the length of its longest chain of ``extends``, itself included.
    """

    path: str
    name: str
    root: Table | None
    merged: Table | None = None
    resolved: bool = False
    finished: bool = False
    depth: int = 1
    usable: bool = True

    @property
    def named_at(self) -> Position:
        entry = self.root.entries.get("name") if self.root else None
        return entry.value.position if entry else Position(self.path, 1, 1)


Parsed = tuple[bytes, Node | None, tuple[ProfileError, ...]]
"""A file's content, its tree, and the mistakes in that."""


@dataclass(slots=True)
class SearchPath:
    """The files of the search path, in order of precedence, and everything wrong so far.

    ``parsed`` are those that were parsed already, by path: one with the same content is not again.
    ``gone`` are paths of files that count as not there.
    """

    sources: list[Source] = field(default_factory=list)
    errors: list[ProfileError] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    parsed: dict[str, Parsed] = field(default_factory=dict)
    gone: Collection[str] = ()

    @property
    def room(self) -> int:
        """How many of the next file's mistakes are still wanted."""
        return MAX_ERRORS if len(self.errors) < MAX_TOLD else 1

    def scan(self, directory: str, owner: int) -> None:
        """Read a directory's profiles that none before it replaces or masks.

        Raises: ProfileError if the directory cannot be trusted or read; none if it is not there.
        """
        self.take(directory, read_directory(directory, owner, self.seen))

    def take(self, directory: str, found: RecordedDirectory) -> None:
        """Take what was read of a directory: its profiles that none before it replaces or masks.

        Raises: ProfileError if the directory could not be trusted or read.
        """
        if isinstance(found, ProfileError):
            raise found
        for name in sorted(found.keys() - self.seen):
            path, content = os.path.join(directory.rstrip("/"), name), found[name]
            if is_profile(name) and path not in self.gone:
                self.seen.add(name)
                if isinstance(content, ProfileError):
                    self._unusable(path, content)
                else:
                    self._parse(path, content)

    def read(self, path: str, owner: int) -> Source | None:
        """Read one file; None if it is empty (it masks)."""
        try:
            data = read_trusted(path, owner)
        except FileNotFoundError:
            return self._unusable(path, _missing(path))
        except ProfileError as error:
            return self._unusable(path, error)
        return self._parse(path, data or b"")

    def drop(self, path: str, data: bytes) -> None:
        """Take a file's content as if it were in the directory that is scanned next."""
        self.seen.add(os.path.basename(path))
        self._parse(path, data)

    def _unusable(self, path: str, error: ProfileError) -> Source:
        self.errors.append(error)
        return self._add(Source(path, _stem(path), None))

    def _parse(self, path: str, data: bytes) -> Source | None:
        known = self.parsed.get(path)
        if known is None or known[0] != data:
            from netuned.profiles.yamlreading import parse_yaml  # PyYAML is 1.6 MB

            known = self.parsed[path] = (data, *parse_yaml(data, path))
        _, root, errors = known
        self.errors += errors[: self.room]
        if root is None and not errors:
            return None
        if root is not None and not isinstance(root, Table):
            problem = "a profile is a mapping of keys, like `match:` and `irq:`"
            place = root.position
            self.errors.append(ProfileError(path, place.line, place.column, "", problem))
            root = None
        source = Source(path, _name_of(root, _stem(path)), root, usable=not errors)
        return self._add(source)

    def _add(self, source: Source) -> Source:
        self.sources.append(source)
        return source

    def drop_namesakes(self, target: Source, searched: set[str]) -> None:
        """For a check: of files with one name the first counts; only the search path's clash."""
        names: set[str] = set()
        left = []
        for source in self.sources:
            clashes = os.path.dirname(source.path) in searched and source.name == target.name
            if source is target or clashes or source.name not in names | {target.name}:
                left.append(source)
            names.add(source.name)
        self.sources = left


def is_profile(name: str) -> bool:
    """Whether a file of this name, in a directory of profiles, is one."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def read_directory(
    directory: str,
    owner: int,
    seen: Collection[str],
    way: Way = NOBODY,
    before: Mapping[str, bytes | ProfileError] | None = None,
    wanted: Callable[[str], bool] = is_profile,
    only: str = "",
) -> dict[str, bytes | ProfileError]:
    """What a directory's files hold, or why they are not used, but those of the names ``seen``.

    By their names these are profiles, or what else is ``wanted``, or the one that is named
    ``only``. A file that is being written is as ``before``. Nothing if there is no such directory.

    Raises: ProfileError if the directory cannot be trusted or read.
    """
    directory = directory.rstrip("/")
    found: dict[str, bytes | ProfileError] = {}
    try:
        with trusted_directory(directory, owner, way) as descriptor:
            names = [only]
            if not only:
                way.enter(descriptor, os.readlink(f"/proc/self/fd/{descriptor}"), "", last=True)
                names = _names_in(descriptor, directory, wanted)
            for name in names:
                if name in seen:
                    continue
                path = os.path.join(directory, name)
                try:
                    found[name] = read_trusted(path, owner, descriptor, way) or b""
                except FileNotFoundError:
                    if _is_link(name, descriptor):
                        found[name] = _missing(path)
                except ProfileError as error:
                    found[name] = error
                except UnsettledError:
                    if before is not None and name in before:
                        found[name] = before[name]
    except FileNotFoundError:
        pass
    return found


def _names_in(descriptor: int, directory: str, wanted: Callable[[str], bool]) -> list[str]:
    """The names of a directory's files that are wanted, in order. Raises: ProfileError."""
    try:
        return sorted(filter(wanted, os.listdir(descriptor)))
    except OSError as error:
        problem = f"cannot be read: {os.strerror(error.errno or 0)}"
        raise ProfileError(directory, 0, 0, "", problem) from None


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)
    except OSError:  # it went meanwhile
        return False


def _missing(path: str) -> ProfileError:
    return ProfileError(path, 0, 0, "", "there is no such file")


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _name_of(root: Table | None, stem: str) -> str:
    entry = root.entries.get("name") if root else None
    if entry and isinstance(entry.value, Scalar) and isinstance(entry.value.value, str | int):
        return written(entry.value.value)
    return stem


def shipped_templates(package: Path = PACKAGE) -> str:
    """The directory of the profiles that netuned comes with; empty if they did not come along.

    Installed on the system they are the last of the search path. Else ``package`` runs from its
    source tree, beside ``profiles``, or from a wheel, whose data are below ``share`` of the prefix.
    """
    if os.path.isdir(DEFAULT_DIRECTORIES[-1]):
        return DEFAULT_DIRECTORIES[-1]
    parent = package.parent
    if (parent / "pyproject.toml").is_file():
        return str(parent / "profiles")
    prefixes = (parent, *parent.parents)[:4]  # PREFIX/lib/python3.11/site-packages
    shares = (prefix / "share/netuned/profiles" for prefix in prefixes)
    return next((str(share) for share in shares if share.is_dir()), "")
