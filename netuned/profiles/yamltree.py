"""YAML as a tree in which every key and value knows its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from netuned.records import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; lines and columns count from 1."""

    path: str
    line: int
    column: int

    def moved(self, columns: int) -> Position:
        return Position(self.path, self.line, self.column + columns)


class Whole(int):
    """A whole number that is not written as its digits: the ``text`` ``0x1f`` is 31."""

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text, 0)
        number.text = text
        return number

    text: str


class Fraction(float):
    """A number with a point, and the ``text`` that it was read from."""

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def written(value: object) -> str:
    """A number as the file has it, ``0x1f``; any other value's text."""
    return value.text if isinstance(value, Whole | Fraction) else str(value)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. ``inset`` is how many columns after ``position`` its text begins; -1 if the
    file holds it in another form (folded lines, escapes)."""

    position: Position
    value: str | int | float | bool | None
    inset: int = -1


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    position: Position
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's place, and its value."""

    key: Position
    value: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are kept as they are written."""

    position: Position
    entries: dict[str, Entry]


Node = Scalar | Items | Table


def to_data(node: Node) -> object:
    """The tree as plain dicts, lists and scalars."""
    match node:
        case Table(entries=entries):
            return {key: to_data(entry.value) for key, entry in entries.items()}
        case Items(items=items):
            return [to_data(item) for item in items]
        case Scalar(value=value):
            return value


def positions(node: Node, prefix: str = "") -> Iterator[tuple[str, Position]]:
    """The place of every key in a mapping, by its dotted path; of a list's items too.

    Of a scalar it is where the value begins, of a mapping or list where its key does.
    """
    match node:
        case Table(entries=entries):
            for key, entry in entries.items():
                path = f"{prefix}.{key}" if prefix else key
                plain = isinstance(entry.value, Scalar)
                yield path, entry.value.position if plain else entry.key
                yield from positions(entry.value, path)
        case Items(items=items):
            for index, item in enumerate(items):
                yield f"{prefix}[{index}]", item.position
                yield from positions(item, f"{prefix}[{index}]")
