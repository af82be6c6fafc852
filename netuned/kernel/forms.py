"""Form: what an answer is as JSON. Whatever is read of one is checked; no answer is trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, Generic, TypeVar

from netuned.records import dataclass

A = TypeVar("A")
Record = TypeVar("Record")

_KINDS: dict[str, type] = {"int": int, "str": str, "bool": bool}


class Pool:
    """Mappings of numbers that stand once in a document however often they occur in it."""

    def __init__(self, sets: Iterable[Mapping[str, int]] = ()) -> None:
        self.sets = list(sets)
        self._indexes: dict[tuple[tuple[str, int], ...], int] = {}

    def put(self, numbers: Mapping[str, int]) -> int:
        """Where in ``sets`` it is, put there if it is new."""
        index = self._indexes.setdefault(tuple(numbers.items()), len(self.sets))
        if index == len(self.sets):
            self.sets.append(dict(numbers))
        return index


@dataclass(frozen=True, slots=True)
class Form(Generic[A]):
    """How one answer is written and read.

    ``read`` takes the data and what to call it, and raises ValueError with that and the key.
    ``pool`` is the document's key for what its answers share, if they do.
    """

    write: Callable[[A, Pool], Any]
    read: Callable[[Any, str, Pool], A]
    pool: str = ""


def record(kind: type[Record]) -> Form[Record]:
    """A dataclass of whole numbers, texts and booleans; and of lists of texts, which may lack."""

    def read(data: Any, what: str, _: Pool) -> Record:
        values: dict[str, Any] = {}
        given = mapping(data, what)
        for field in fields(kind):  # type: ignore[arg-type]  # every caller has a dataclass
            value = given.get(field.name)
            if field.type == "tuple[str, ...]":
                texts = items(value or [], f"{what}.{field.name}")
                if not all(type(text) is str for text in texts):
                    raise ValueError(f"{what}.{field.name} is not a list of texts")
                values[field.name] = tuple(texts)
                continue
            if type(value) is not _KINDS[str(field.type)]:
                raise ValueError(f"{what}.{field.name} is not of type {field.type}")
            values[field.name] = value
        return kind(**values)

    return Form(lambda answer, _: asdict(answer), read)  # type: ignore[call-overload]  # as above


def _read_numbers(data: Any, what: str, _: Pool) -> Mapping[str, int]:
    return {
        str(name): whole(value, f"{what}.{name}") for name, value in mapping(data, what).items()
    }


WHOLE: Form[int] = Form(lambda answer, _: answer, lambda data, what, _: whole(data, what))
"""A whole number."""

TABLE: Form[tuple[int, ...]] = Form(
    lambda answer, _: list(answer),
    lambda data, what, _: tuple(whole(entry, what) for entry in items(data, what)),
)
"""Whole numbers in order."""

NUMBERS: Form[Mapping[str, int]] = Form(lambda answer, _: dict(answer), _read_numbers)
"""Whole numbers by name."""


def mapping(data: Any, what: str) -> dict[str, Any]:
    """The data. Raises: ValueError where it is no mapping."""
    if not isinstance(data, dict):
        raise ValueError(f"{what} is not a mapping")
    return data


def items(data: Any, what: str) -> list[Any]:
    """The data. Raises: ValueError where it is no list."""
    if not isinstance(data, list):
        raise ValueError(f"{what} is not a list")
    return data


def whole(data: Any, what: str) -> int:
    """The data. Raises: ValueError where it is no whole number."""
    if type(data) is not int:
        raise ValueError(f"{what} is not a whole number")
    return data


def index(text: str) -> int:
    """The number that a key is. Raises: ValueError where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise ValueError(f"{text[:20]!r} is not an index")
    return int(text)
