"""What a card has under numbers (rules, contexts): netuned's own, and those of others.

A key is a number and a checksum of what is there, so that netuned's record says both: its own are
those that, at their number, were not there before it.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.tunables.base import View
from netuned.values import ABSENT, State, Value

KEY = "{} (0|[1-9][0-9]{{0,9}}) [0-9a-f]{{8}}"
"""The form of the keys of a noun, as a regular expression."""


def key_of(noun: str, number: int, value: Value) -> str:
    """The key of a value at a number."""
    return f"{noun} {number} {zlib.crc32(str(value).encode()):08x}"


def number_of(key: str) -> int:
    """Where a key's value is."""
    return int(key.split()[1])


def place_of(key: str) -> str:
    """As ``Tunable.place``: the number, or the name of what a profile asks for and cannot have."""
    words = key.split()
    return words[1] if len(words) > 1 else key


def digest_of(key: str) -> str:
    """The checksum in a key."""
    return key.split()[2]


def own(
    view: View, name: str, found: State, remade: Callable[[Value], bool] = lambda value: True
) -> set[int]:
    """The numbers of a tunable under which netuned's own are, or were at the last look; not those
    under which another is by now that cannot be ``remade``."""
    there = {number_of(key): value for key, value in found.items()}
    numbers = {number_of(key) for key in view.own(name, found)}
    return {number for number in numbers if number not in there or remade(there[number])}


def others(
    view: View,
    name: str,
    found: State,
    values: State,
    remade: Callable[[Value], bool] = lambda value: True,
) -> set[int]:
    """The numbers of those that are neither netuned's own nor to go."""
    going = {number_of(key) for key, value in values.items() if value is ABSENT and key in found}
    return {number_of(key) for key in found} - going - own(view, name, found, remade)


def instead(wanted: State, found: State) -> State:
    """As ``Tunable.instead``: what is under the number of a wanted key that is not found."""
    if wanted.keys() <= found.keys():
        return {}
    at = {number_of(key): value for key, value in found.items() if key not in wanted}
    return {
        key: at[number_of(key)]
        for key, value in wanted.items()
        if value is not ABSENT and key not in found and number_of(key) in at
    }


@contextmanager
def about(name: str, key: str, refused: Collection[int]) -> Iterator[None]:
    """Have an error say of which key it is, where it is the driver's word about that alone."""
    try:
        yield
    except UnsupportedError as error:
        raise KernelError("set", name, errno.EOPNOTSUPP, error.why, key) from None
    except KernelError as error:
        raise replace(error, attribute=key if error.errno in refused else "") from None
