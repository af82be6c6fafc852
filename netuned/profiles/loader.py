"""Loads profiles: the search path, the last good version of each, every error with its place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from functools import partial

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles.doubts import doubts
from netuned.profiles.library import Finished, Library, LoadedProfile
from netuned.profiles.searchpath import (
    DEFAULT_DIRECTORIES,
    MAX_TOLD,
    NOT_READ,
    Parsed,
    Recorded,
    SearchPath,
    is_profile,
    shipped_templates,
)
from netuned.profiles.trust import ANYONE
from netuned.profiles.yamltree import Position
from netuned.records import dataclass

__all__ = [
    "DEFAULT_DIRECTORIES",
    "Checked",
    "Drop",
    "LoadedProfile",
    "Position",
    "ProfileSet",
    "check",
    "examine",
    "load",
    "load_dropped",
    "shipped_templates",
]


@dataclass(frozen=True, slots=True)
class ProfileSet:
    """The profiles in force, sorted by name, and what is wrong, sorted by place.

    Of more than ``MAX_TOLD`` errors each file's first come before its others, and the last of
    ``errors`` says that there are more. ``messages`` are the errors as text.
    """

    profiles: tuple[LoadedProfile, ...] = ()
    errors: tuple[ProfileError, ...] = ()
    messages: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(map(str, self.errors)))


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the last ``load`` made of files, by path: used again where they are the same."""

    parsed: dict[str, Parsed] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)

    def keep(self, paths: Collection[str]) -> None:
        """Forget all others."""
        for known in (self.parsed, self.finished):
            for path in known.keys() - paths:
                del known[path]


@dataclass(frozen=True, slots=True)
class Drop:
    """What becomes of the profiles in force when files are dropped among them.

    ``dropped`` are their paths, with those of files that go. ``refused`` are the errors that come
    with them, in the files or in what extends them. ``void`` are those that are empty, and mask
    none.
    """

    profiles: ProfileSet
    dropped: tuple[str, ...] = ()
    refused: tuple[ProfileError, ...] = ()
    void: tuple[str, ...] = ()


def load(
    directories: Sequence[str],
    *,
    possible: CpuSet | None = None,
    previous: ProfileSet | None = None,
    owner: int = 0,
    recorded: Recorded | None = None,
    dropped: Mapping[str, bytes] | None = None,
    gone: Collection[str] = (),
    templates: str = "",
    remembered: Remembered | None = None,
) -> ProfileSet:
    """Load every profile in ``directories``, the highest in precedence first.

    A file that has an error, or extends one that has, keeps its version of ``previous``. With
    ``possible``, CPU numbers past it are errors. ``owner`` may own the files besides root. With
    ``recorded`` no file is opened: the directories are those of a snapshot. ``dropped`` are paths
    and contents of files that count as if they were in the first directory, ``gone`` paths of files
    that count as not there. ``templates`` is a directory below all others, on this host and whoever
    owns it. ``remembered`` is filled for the next time.

    Raises: ProfileError if ``templates`` cannot be read.
    """
    before, remembered = previous or ProfileSet(), remembered or Remembered()
    files = SearchPath(parsed=remembered.parsed, gone=gone)
    kept: list[LoadedProfile] = []
    for path, data in (dropped or {}).items():
        files.drop(path, data)
    for directory in directories:
        try:
            if recorded is None:
                files.scan(directory, owner)
            else:
                files.take(directory, recorded.get(directory.rstrip("/"), {}))
        except ProfileError as error:
            files.errors.append(error)
            for loaded in before.profiles:
                if os.path.dirname(loaded.path) == directory.rstrip("/"):
                    files.seen.add(os.path.basename(loaded.path))
                    kept.append(loaded)
    if templates:
        files.scan(templates, ANYONE)
    holders = {loaded.profile.name: loaded.path for loaded in before.profiles}
    library = Library(files, holders, possible, remembered.finished)
    good: dict[str, LoadedProfile] = {}
    for source in files.sources:
        found = library.loaded(source)
        if found is not None:
            good[found.profile.name] = found
    remembered.keep({source.path for source in files.sources})
    bad = {os.path.basename(source.path) for source in files.sources} - {
        os.path.basename(loaded.path) for loaded in good.values()
    }
    kept += [loaded for loaded in before.profiles if os.path.basename(loaded.path) in bad]
    for loaded in kept:
        good.setdefault(loaded.profile.name, loaded)
    profiles = tuple(good[name] for name in sorted(good))
    return ProfileSet(profiles, _told(files.errors, dropped or {}))


def load_dropped(
    dropped: Mapping[str, bytes],
    directories: Sequence[str],
    *,
    possible: CpuSet | None = None,
    owner: int = 0,
    recorded: Recorded | None = None,
    templates: str = "",
    gone: Collection[str] = (),
) -> Drop:
    """Load the profiles in ``directories`` as they would be with files dropped into the first.

    Or with files gone. What is there counts as in force already: it keeps its name, and its last
    good version where a file that comes or goes breaks what extends it. The arguments are those of
    ``load``.
    """
    now = partial(
        load,
        directories,
        possible=possible,
        owner=owner,
        recorded=recorded,
        templates=templates,
    )
    before = now()
    if not (dropped or gone):
        return Drop(before)
    after = now(previous=before, dropped=dropped, gone=gone)
    wrong = {error.path for error in before.errors}
    refused = (e for e in after.errors if e.path in dropped or e.path not in wrong)
    void = (path for path in dropped if _void(path, before, after))
    return Drop(after, (*dropped, *gone), tuple(refused), tuple(void))


def _void(path: str, before: ProfileSet, after: ProfileSet) -> bool:
    """Whether a file that was dropped is empty, and masks none that was there before."""

    def files(found: ProfileSet) -> set[str]:
        return {one.path for one in found.profiles} | {error.path for error in found.errors}

    masked = {os.path.basename(there) for there in files(before)}
    return path not in files(after) and os.path.basename(path) not in masked


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a file, what is doubtful, and whether it is empty: then it masks."""

    errors: tuple[ProfileError, ...] = ()
    doubts: tuple[ProfileError, ...] = ()
    empty: bool = False


def check(
    path: str, directories: Sequence[str] = (), *, possible: CpuSet | None = None
) -> tuple[ProfileError, ...]:
    """What is wrong with one file, as ``examine`` finds it."""
    return examine(path, directories, possible=possible).errors


def examine(
    path: str, directories: Sequence[str] = (), *, possible: CpuSet | None = None
) -> Checked:
    """What is wrong with one file anywhere, and with those it extends.

    What it extends is looked for beside it, then in ``directories``. Ownership does not matter.
    """
    files = SearchPath()
    target = files.read(path, ANYONE)
    if target is None:
        return Checked(empty=True)
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
    library = Library(files, holders, possible)
    found = library.loaded(target)
    involved = {path} | {source.path for source in library.ancestors(target)}
    errors = _sorted(error for error in files.errors if error.path in involved)
    doubtful = () if found is None or errors else tuple(doubts(found))
    if not is_profile(os.path.basename(path)):
        doubtful += (ProfileError(path, 0, 0, "", f"warning: {NOT_READ}"),)
    return Checked(errors, doubtful)


def _sorted(errors: Iterable[ProfileError]) -> tuple[ProfileError, ...]:
    return tuple(sorted(errors, key=lambda e: (e.path, e.line, e.column, e.key, e.problem)))


def _told(errors: Iterable[ProfileError], first: Collection[str]) -> tuple[ProfileError, ...]:
    """At most ``MAX_TOLD`` of the errors, those of the files ``first`` before all others."""
    found = _sorted(errors)
    if len(found) <= MAX_TOLD:
        return found
    told: Counter[str] = Counter()
    ranked: list[tuple[bool, int, int]] = []
    for number, error in enumerate(found):
        ranked.append((error.path not in first, told[error.path], number))
        told[error.path] += 1
    ranked.sort()
    chosen = sorted(number for _, _, number in ranked[:MAX_TOLD])
    where = os.path.dirname(found[ranked[MAX_TOLD][2]].path)
    problem = (
        f"more mistakes than the {MAX_TOLD} that are listed; "
        "`netunedctl check FILE` lists those of a file"
    )
    return (*(found[number] for number in chosen), ProfileError(where, 0, 0, "", problem))
