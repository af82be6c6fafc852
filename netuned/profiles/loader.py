"""Loads profiles: the search path, what extends what, and every error with its place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import is_

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles.doubts import doubts
from netuned.profiles.mistakes import mistakes
from netuned.profiles.profile import Profile
from netuned.profiles.scalars import shown
from netuned.profiles.searchpath import (
    DEFAULT_DIRECTORIES,
    MAX_TOLD,
    NOT_READ,
    Parsed,
    Recorded,
    SearchPath,
    Source,
    is_profile,
    shipped_templates,
)
from netuned.profiles.trust import ANYONE
from netuned.profiles.yamltree import Entry, Items, Position, Scalar, Table, to_data, written
from netuned.profiles.yamltree import positions as positions_of
from netuned.text import did_you_mean, escape

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

MAX_EXTENDS = 32
"""How many profiles may build on each other, the first and the last among them."""

MAX_HINTS = 20
"""For how many missing profiles one of a similar name is looked for: each look is at all names."""

NOT_INHERITED = ("name", "description", "extends")


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
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.profile.digest())


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
class _Finished:
    """What became of a file: the trees it was made of, its own first, and what came of them."""

    trees: tuple[Table, ...]
    possible: CpuSet | None
    merged: Table
    loaded: LoadedProfile


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the last ``load`` made of files, by path: used again where they are the same."""

    parsed: dict[str, Parsed] = field(default_factory=dict)
    finished: dict[str, _Finished] = field(default_factory=dict)

    def keep(self, paths: Collection[str]) -> None:
        """Forget all others."""
        for known in (self.parsed, self.finished):
            for path in known.keys() - paths:
                del known[path]


@dataclass(frozen=True, slots=True)
class Drop:
    """What becomes of the profiles in force when files are dropped among them.

    ``dropped`` are their paths. ``refused`` are the errors that come with them, in the files or in
    what extends them. ``void`` are those that are empty, and mask none.
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
    templates: str = "",
    remembered: Remembered | None = None,
) -> ProfileSet:
    """Load every profile in ``directories``, the highest in precedence first.

    A file that has an error, or extends one that has, keeps its version of ``previous``. With
    ``possible``, CPU numbers past it are errors. ``owner`` may own the files besides root. With
    ``recorded`` no file is opened: the directories are those of a snapshot. ``dropped`` are paths
    and contents of files that count as if they were in the first directory. ``templates`` is a
    directory below all others, on this host and whoever owns it. ``remembered`` is filled for the
    next time.

    Raises: ProfileError if ``templates`` cannot be read.
    """
    before, remembered = previous or ProfileSet(), remembered or Remembered()
    files = SearchPath(parsed=remembered.parsed)
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
    library = _Library(files, holders, possible, remembered.finished)
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
) -> Drop:
    """Load the profiles in ``directories`` as they would be with files dropped into the first.

    What is there counts as in force already: it keeps its name, and its last good version where
    a dropped file breaks what extends it. The arguments are those of ``load``.
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
    if not dropped:
        return Drop(before)
    after = now(previous=before, dropped=dropped)
    wrong = {error.path for error in before.errors}
    refused = (e for e in after.errors if e.path in dropped or e.path not in wrong)
    void = (path for path in dropped if _void(path, before, after))
    return Drop(after, tuple(dropped), tuple(refused), tuple(void))


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
    library = _Library(files, holders, possible)
    found = library.loaded(target)
    involved = {path} | {source.path for source in library.ancestors(target)}
    errors = _sorted(error for error in files.errors if error.path in involved)
    doubtful = () if found is None or errors else tuple(doubts(found))
    if not is_profile(os.path.basename(path)):
        doubtful += (ProfileError(path, 0, 0, "", f"warning: {NOT_READ}"),)
    return Checked(errors, doubtful)


class _Library:
    """All files by profile name; merges what extends what, and validates the result."""

    def __init__(
        self,
        files: SearchPath,
        holders: Mapping[str, str],
        possible: CpuSet | None,
        finished: dict[str, _Finished] | None = None,
    ) -> None:
        """``holders`` says which path holds a name already, when several files claim it."""
        self._files = files
        self._finished = {} if finished is None else finished
        self._possible = possible
        self._hints = MAX_HINTS
        self._circles: dict[tuple[int, str], tuple[str, ...]] = {}
        self._by_name: dict[str, Source] = {}
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

    def loaded(self, source: Source) -> LoadedProfile | None:
        """The finished profile of a file, None if it has an error."""
        self._resolve(source)
        if not source.usable or source.merged is None:
            return None
        known = self._finished.get(source.path)
        if known is None or known.merged is not source.merged:
            profile = Profile.model_validate(to_data(source.merged))
            loaded = LoadedProfile(profile, source.path, dict(positions_of(source.merged)))
            known = _Finished(self._trees(source), self._possible, source.merged, loaded)
            self._finished[source.path] = known
        return known.loaded

    def _trees(self, source: Source) -> tuple[Table, ...]:
        """All that a usable file is made of."""
        parents = (self._by_name[written(item.value)].merged for item in _extended(source))
        return tuple(tree for tree in (source.root, *parents) if tree is not None)

    def ancestors(self, source: Source) -> Iterator[Source]:
        """Every file that this one builds on, however far."""
        pending, seen = [source], {source.path}
        while pending:
            for item in _extended(pending.pop()):
                parent = self._by_name.get(written(item.value))
                if parent and parent.path not in seen:
                    seen.add(parent.path)
                    pending.append(parent)
                    yield parent

    def _resolve(self, source: Source) -> None:
        """Merge a file over those it extends and validate the result; these come first."""
        chain: list[Source] = []
        pending: list[Iterator[Scalar]] = []
        following: Source | None = source
        while following is not None or chain:
            if following is not None:
                if not following.resolved:
                    following.resolved = True
                    chain.append(following)
                    pending.append(iter(_extended(following)))
                elif not following.finished:
                    names = [one.name for one in chain[chain.index(following) :]]
                    self._circles[id(chain[-1]), following.name] = (*names, following.name)
                following = None
            elif (item := next(pending[-1], None)) is not None:
                following = self._by_name.get(written(item.value))
            else:
                pending.pop()
                self._finish(chain.pop())

    def _finish(self, source: Source) -> None:
        """Merge and validate a file; all that it extends are finished, but in a circle."""
        source.finished = True
        if source.root is None:
            source.usable = False
            return
        known, merged = self._finished.get(source.path), Table(source.root.position, {})
        for index, item in enumerate(_extended(source)):
            parent, problem = self._parent(source, item)
            if parent is not None and parent.merged is not None:
                merged = _merge(merged, _without(parent.merged, NOT_INHERITED))
                source.depth = max(source.depth, parent.depth + 1)
            if problem:
                in_list = isinstance(source.root.entries["extends"].value, Items)
                self._error(item.position, f"extends[{index}]" if in_list else "extends", problem)
                source.usable = False
        if source.usable and known is not None and known.possible == self._possible:
            trees = self._trees(source)
            if len(trees) == len(known.trees) and all(map(is_, trees, known.trees)):
                source.merged = known.merged
                return
        name = Entry(source.root.position, Scalar(Position(source.path, 1, 1), source.name))
        source.merged = _merge(merged, _normal(source.root))
        source.merged.entries.setdefault("name", name)
        for error in islice(mistakes(source.merged, self._possible), self._files.room):
            foreign = error.path != source.path
            if foreign and not source.usable:
                continue  # reported with the file that brought it
            if foreign:
                error.problem += f" (where {source.path} extends it)"
            self._files.errors.append(error)
            source.usable = False

    def _parent(self, source: Source, item: Scalar) -> tuple[Source | None, str]:
        """What a name after ``extends`` stands for, and what is wrong with that."""
        name = written(item.value)
        if circle := self._circles.get((id(source), name)):
            if len(circle) > MAX_EXTENDS:
                circle = (*circle[:3], "…", *circle[-3:])
            return None, f"`{name}` extends itself: {' -> '.join(circle)}"
        parent = self._by_name.get(name)
        if parent is not None:
            if not parent.usable:
                return parent, f"`{parent.name}` has an error, see {parent.path}"
            if parent.depth >= MAX_EXTENDS:
                return parent, (
                    f"more than {MAX_EXTENDS} profiles build on each other here: "
                    f"`{name}` is the last that may be extended"
                )
            return parent, ""
        self._hints -= 1
        hint = did_you_mean(name, self._by_name) if self._hints >= 0 else ""
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


def _extended(source: Source) -> list[Scalar]:
    """The names after ``extends``; what is not a name is left to validation."""
    entry = source.root.entries.get("extends") if source.root else None
    if entry is None:
        return []
    items = entry.value.items if isinstance(entry.value, Items) else (entry.value,)
    return [item for item in items if isinstance(item, Scalar) and item.value is not None]


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
