"""Loads profiles: the search path, what extends what, and every error with its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles.mistakes import mistakes
from netuned.profiles.profile import Profile
from netuned.profiles.scalars import did_you_mean, shown
from netuned.profiles.trust import ANYONE, read_trusted, trusted_directory
from netuned.profiles.yamltree import Entry, Items, Position, Scalar, Table, parse_yaml, to_data
from netuned.profiles.yamltree import positions as positions_of
from netuned.text import escape

__all__ = ["DEFAULT_DIRECTORIES", "LoadedProfile", "Position", "ProfileSet", "check", "load"]

DEFAULT_DIRECTORIES = (
    "/etc/netuned/profiles.d",
    "/run/netuned/profiles.d",
    "/usr/lib/netuned/profiles.d",
)
"""A file in an earlier directory replaces the file of the same name in a later one."""

SUFFIXES = (".yaml", ".yml")
MAX_EXTENDS = 32
"""How many profiles may build on each other."""

MAX_ERRORS = 50
"""How many of a file's mistakes are reported at once."""

NOT_INHERITED = ("name", "description", "extends")


RecordedDirectory = Mapping[str, bytes | ProfileError] | ProfileError
"""File name -> content, or why it is not used; or why none of the directory is."""

Recorded = Mapping[str, RecordedDirectory]
"""The profile directories of a snapshot."""


@dataclass(frozen=True, slots=True)
class LoadedProfile:
    """A profile and where it came from.

    ``origins`` gives for each dotted key (``rss.queues``, ``match[0].driver``) the place that
    brought it, in this file or in one it extends: of a single value where that begins, of a
    mapping or list where its key does.
    """

    profile: Profile
    path: str
    origins: Mapping[str, Position]


@dataclass(frozen=True, slots=True)
class ProfileSet:
    """The profiles in force, sorted by name, and all errors, sorted by place."""

    profiles: tuple[LoadedProfile, ...] = ()
    errors: tuple[ProfileError, ...] = ()


def load(
    directories: Sequence[str],
    *,
    possible: CpuSet | None = None,
    previous: ProfileSet | None = None,
    owner: int = 0,
    recorded: Recorded | None = None,
) -> ProfileSet:
    """Load every profile in ``directories``, the highest in precedence first.

    A file that has an error, or extends one that has, keeps its version of ``previous``. With
    ``possible``, CPU numbers past it are errors. ``owner`` may own the files besides root. With
    ``recorded`` no file is opened: the directories are those of a snapshot.
    """
    before = previous or ProfileSet()
    files = _Files(recorded=recorded)
    kept: list[LoadedProfile] = []
    for directory in directories:
        try:
            files.scan(directory, owner)
        except ProfileError as error:
            files.errors.append(error)
            for loaded in before.profiles:
                if os.path.dirname(loaded.path) == directory.rstrip("/"):
                    files.seen.add(os.path.basename(loaded.path))
                    kept.append(loaded)
    holders = {loaded.profile.name: loaded.path for loaded in before.profiles}
    library = _Library(files, holders, possible)
    good: dict[str, LoadedProfile] = {}
    for source in files.sources:
        found = library.loaded(source)
        if found is not None:
            good[found.profile.name] = found
    bad = {os.path.basename(source.path) for source in files.sources} - {
        os.path.basename(loaded.path) for loaded in good.values()
    }
    kept += [loaded for loaded in before.profiles if os.path.basename(loaded.path) in bad]
    for loaded in kept:
        good.setdefault(loaded.profile.name, loaded)
    profiles = tuple(good[name] for name in sorted(good))
    return ProfileSet(profiles, _sorted(files.errors))


def check(
    path: str, directories: Sequence[str] = (), *, possible: CpuSet | None = None
) -> tuple[ProfileError, ...]:
    """What is wrong with one file anywhere, and with those it extends.

    What it extends is looked for beside it, then in ``directories``. Ownership does not matter.
    """
    files = _Files()
    target = files.read(path, ANYONE)
    if target is None:
        return _sorted(files.errors)
    files.seen.add(os.path.basename(path))
    beside = os.path.dirname(path) or "."
    for directory in (beside, *directories):
        try:
            files.scan(directory, ANYONE)
        except ProfileError:  # what cannot be read cannot be extended either
            continue
    searched = {directory.rstrip("/") for directory in directories}
    files.drop_namesakes(target, searched)
    holders = {source.name: source.path for source in files.sources if source is not target}
    library = _Library(files, holders, possible)
    library.loaded(target)
    involved = {path} | {source.path for source in library.ancestors(target)}
    return _sorted(error for error in files.errors if error.path in involved)


@dataclass(slots=True)
class _Source:
    """One file that was read: its name and tree; ``root`` is None if it cannot be used at all."""

    path: str
    name: str
    root: Table | None
    merged: Table | None = None
    resolved: bool = False
    usable: bool = True

    @property
    def named_at(self) -> Position:
        entry = self.root.entries.get("name") if self.root else None
        return entry.value.position if entry else Position(self.path, 1, 1)


@dataclass(slots=True)
class _Files:
    """The files of the search path, in order of precedence, and everything wrong so far."""

    sources: list[_Source] = field(default_factory=list)
    errors: list[ProfileError] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    recorded: Recorded | None = None

    def scan(self, directory: str, owner: int) -> None:
        """Read a directory's profiles that none before it replaces or masks.

        Raises: ProfileError if the directory cannot be trusted or read; none if it is not there.
        """
        directory = directory.rstrip("/")
        if self.recorded is not None:
            self._scan_recorded(directory, self.recorded.get(directory, {}))
            return
        try:
            with trusted_directory(directory, owner) as descriptor:
                names = [name for name in os.listdir(descriptor) if name.endswith(SUFFIXES)]
                for name in sorted(names):
                    if name not in self.seen and not name.startswith("."):
                        self.seen.add(name)
                        self.read(os.path.join(directory, name), owner, descriptor)
        except FileNotFoundError:
            return

    def _scan_recorded(self, directory: str, found: RecordedDirectory) -> None:
        """As ``scan``, of what was read elsewhere."""
        if isinstance(found, ProfileError):
            raise found
        for name in sorted(found.keys() - self.seen):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                self.seen.add(name)
                path, content = os.path.join(directory, name), found[name]
                if isinstance(content, ProfileError):
                    self._unusable(path, content)
                else:
                    self._parse(path, content)

    def read(self, path: str, owner: int, directory: int | None = None) -> _Source | None:
        """Read one file; None if it is empty (it masks) or gone."""
        try:
            data = read_trusted(path, owner, directory)
        except FileNotFoundError:
            if directory is None or os.path.islink(path):
                return self._unusable(path, ProfileError(path, 0, 0, "", "there is no such file"))
            return None
        except ProfileError as error:
            return self._unusable(path, error)
        return self._parse(path, data or b"")

    def _unusable(self, path: str, error: ProfileError) -> _Source:
        self.errors.append(error)
        return self._add(_Source(path, _stem(path), None))

    def _parse(self, path: str, data: bytes) -> _Source | None:
        root, errors = parse_yaml(data, path)
        self.errors += errors[:MAX_ERRORS]
        if root is None and not errors:
            return None
        if root is not None and not isinstance(root, Table):
            problem = "a profile is a mapping of keys, like `match:` and `irq:`"
            place = root.position
            self.errors.append(ProfileError(path, place.line, place.column, "", problem))
            root = None
        source = _Source(path, _name_of(root, _stem(path)), root, usable=not errors)
        return self._add(source)

    def _add(self, source: _Source) -> _Source:
        self.sources.append(source)
        return source

    def drop_namesakes(self, target: _Source, searched: set[str]) -> None:
        """For a check: of files with one name the first counts; only the search path's clash."""
        names: set[str] = set()
        left = []
        for source in self.sources:
            clashes = os.path.dirname(source.path) in searched and source.name == target.name
            if source is target or clashes or source.name not in names | {target.name}:
                left.append(source)
            names.add(source.name)
        self.sources = left


class _Library:
    """All files by profile name; merges what extends what, and validates the result."""

    def __init__(self, files: _Files, holders: Mapping[str, str], possible: CpuSet | None) -> None:
        """``holders`` says which path holds a name already, when several files claim it."""
        self._files = files
        self._possible = possible
        self._by_name: dict[str, _Source] = {}
        for source in files.sources:
            first = self._by_name.setdefault(source.name, source)
            if first is source or source.root is None:
                continue
            if first.root is None:
                self._by_name[source.name] = source
                continue
            winner, loser = first, source
            if holders.get(source.name) == source.path:
                winner, loser = source, first
            self._by_name[source.name] = winner
            loser.usable = False
            problem = f"{winner.path} already has a profile with the name `{escape(source.name)}`"
            self._error(loser.named_at, "name", f"{problem}; give one of them another name")

    def loaded(self, source: _Source) -> LoadedProfile | None:
        """The finished profile of a file, None if it has an error."""
        self._resolve(source, ())
        if not source.usable or source.merged is None:
            return None
        profile = Profile.model_validate(to_data(source.merged))
        return LoadedProfile(profile, source.path, dict(positions_of(source.merged)))

    def ancestors(self, source: _Source) -> Iterator[_Source]:
        """Every file that this one builds on, however far."""
        pending, seen = [source], {source.path}
        while pending:
            for item in _extended(pending.pop()):
                parent = self._by_name.get(str(item.value))
                if parent and parent.path not in seen:
                    seen.add(parent.path)
                    pending.append(parent)
                    yield parent

    def _resolve(self, source: _Source, chain: tuple[str, ...]) -> None:
        """Merge a file over those it extends and validate the result; these come first."""
        if source.resolved:
            return
        source.resolved = True
        if source.root is None:
            source.usable = False
            return
        chain = (*chain, source.name)
        merged = Table(source.root.position, {})
        for index, item in enumerate(_extended(source)):
            parent, problem = self._parent(item, chain)
            if parent is not None:
                self._resolve(parent, chain)
                if parent.merged is not None:
                    merged = _merge(merged, _without(parent.merged, NOT_INHERITED))
                if not parent.usable:
                    problem = f"`{parent.name}` has an error, see {parent.path}"
            if problem:
                in_list = isinstance(source.root.entries["extends"].value, Items)
                self._error(item.position, f"extends[{index}]" if in_list else "extends", problem)
                source.usable = False
        name = Entry(source.root.position, Scalar(Position(source.path, 1, 1), source.name))
        source.merged = _merge(merged, _normal(source.root))
        source.merged.entries.setdefault("name", name)
        for error in islice(mistakes(source.merged, self._possible), MAX_ERRORS):
            foreign = error.path != source.path
            if foreign and not source.usable:
                continue  # reported with the file that brought it
            if foreign:
                error.problem += f" (where {source.path} extends it)"
            self._files.errors.append(error)
            source.usable = False

    def _parent(self, item: Scalar, chain: tuple[str, ...]) -> tuple[_Source | None, str]:
        name = str(item.value)
        if name in chain:
            circle = " -> ".join([*chain[chain.index(name) :], name])
            return None, f"`{name}` extends itself: {circle}"
        if len(chain) >= MAX_EXTENDS:
            return None, f"more than {MAX_EXTENDS} profiles build on each other here"
        parent = self._by_name.get(name)
        if parent is not None:
            return parent, ""
        hint = did_you_mean(name, self._by_name)
        return None, f"there is no profile {shown(name)}" + (f"; {hint}" if hint else "")

    def _error(self, place: Position, key: str, problem: str) -> None:
        self._files.errors.append(ProfileError(place.path, place.line, place.column, key, problem))


def _merge(base: Table, over: Table) -> Table:
    """``over``'s keys on top of ``base``'s; a mapping of another ``kind`` replaces the whole."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        if (
            below is not None
            and isinstance(below.value, Table)
            and isinstance(entry.value, Table)
            and _kind(entry.value) in ("", _kind(below.value))
        ):
            entry = Entry(entry.key, _merge(below.value, entry.value))
        entries[key] = entry
    return Table(over.position, entries)


def _without(table: Table, keys: Sequence[str]) -> Table:
    left = {key: entry for key, entry in table.entries.items() if key not in keys}
    return Table(table.position, left)


def _kind(table: Table) -> str:
    entry = table.entries.get("kind")
    return str(entry.value.value) if entry and isinstance(entry.value, Scalar) else ""


def _normal(root: Table) -> Table:
    """A single ``match`` entry becomes a list of one, so that lists replace lists."""
    entry = root.entries.get("match")
    if entry is None or not isinstance(entry.value, Table):
        return root
    items = Items(entry.value.position, (entry.value,))
    return Table(root.position, {**root.entries, "match": Entry(entry.key, items)})


def _extended(source: _Source) -> list[Scalar]:
    """The names after ``extends``; what is not a name is left to validation."""
    entry = source.root.entries.get("extends") if source.root else None
    if entry is None:
        return []
    items = entry.value.items if isinstance(entry.value, Items) else (entry.value,)
    return [item for item in items if isinstance(item, Scalar) and item.value is not None]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _name_of(root: Table | None, stem: str) -> str:
    entry = root.entries.get("name") if root else None
    if entry and isinstance(entry.value, Scalar) and isinstance(entry.value.value, str | int):
        return str(entry.value.value)
    return stem


def _sorted(errors: Iterable[ProfileError]) -> tuple[ProfileError, ...]:
    return tuple(sorted(errors, key=lambda e: (e.path, e.line, e.column, e.key, e.problem)))
