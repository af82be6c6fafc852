"""What extends what: files merged over those that they build on, and validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import islice
from operator import is_

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles import version
from netuned.profiles.profile import Profile
from netuned.profiles.scalars import shown
from netuned.profiles.searchpath import SearchPath, Source
from netuned.profiles.yamltree import Entry, Items, Position, Scalar, Table, to_data, written
from netuned.profiles.yamltree import positions as positions_of
from netuned.records import dataclass
from netuned.text import did_you_mean, escape

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
class Finished:
    """What became of a file: the trees it was made of, its own first, and what came of them."""

    trees: tuple[Table, ...]
    possible: CpuSet | None
    merged: Table
    loaded: LoadedProfile


class Library:
    """All files by profile name; merges what extends what, and validates the result."""

    def __init__(
        self,
        files: SearchPath,
        holders: Mapping[str, str],
        possible: CpuSet | None,
        finished: dict[str, Finished] | None = None,
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
            profile = Profile.of(to_data(source.merged))
            loaded = LoadedProfile(profile, source.path, dict(positions_of(source.merged)))
            known = Finished(self._trees(source), self._possible, source.merged, loaded)
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
        said = source.root.entries.get(version.KEY)
        if said is not None and (problem := version.wrong(said.value)):
            self._error(said.value.position, version.KEY, problem)
            source.usable = False
            return  # what else it says is of another format
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
        from netuned.profiles.mistakes import mistakes  # of what is compiled

        source.merged = _merge(merged, _without(_normal(source.root), (version.KEY,)))
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
