"""What ethtool has as numbers and switches by name: what rings and coalescing share.

A field is a name of ethtool's; its value is a number in the field's unit, or one of its words. All
that a profile names of a card goes in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.questions import Setting
from netuned.tunables.base import BOOT, Boot, Limits, View
from netuned.values import Number, State, Value, Word

MAX, DEFAULT = "max", "default"
SWITCH: Mapping[int, str] = {0: "off", 1: "on"}


@dataclass(frozen=True, slots=True)
class Field:
    """How people read and write a number of the kernel's: its unit, or a word for each."""

    unit: str = ""
    words: Mapping[int, str] | None = None

    def value(self, number: int) -> Value:
        """What the kernel's number means. One that has no word is shown as it is."""
        if self.words and number in self.words:
            return Word(self.words[number])
        return Number(number, self.unit)

    def number(self, value: Value) -> int:
        """The kernel's number of a value."""
        if isinstance(value, Word):
            assert self.words is not None
            return next(number for number, word in self.words.items() if word == value.text)
        assert isinstance(value, Number)
        return value.value


Fields = Mapping[str, Field]
Numbers = Setting[Mapping[str, int]]


def reader(question: Numbers, fields: Fields) -> Callable[[View], State]:
    """Reads all fields that the card has; ``read`` of a tunable."""

    def build(numbers: Mapping[str, int]) -> State:
        return {name: fields[name].value(numbers[name]) for name in fields if name in numbers}

    return lambda view: view.kept.same(question.name, view.ask(question), build)


def limits_reader(question: Numbers) -> Callable[[View], Limits]:
    """What the card has, and with ``-max`` after its name how much; ``limits`` of a tunable."""
    return lambda view: view.ask(question)


def writer(question: Numbers, fields: Fields) -> Callable[[View, State, State], None]:
    """Sets fields in one message; ``write`` of a tunable."""

    def write(view: View, found: State, values: State) -> None:
        numbers = {name: fields[name].number(value) for name, value in values.items()}
        view.kernel.set(question, view.nic.ifindex, numbers)

    return write


def wanted(
    named: Mapping[str, int | str], nic: Nic, limits: Limits, fields: Fields
) -> dict[str, Value | UnsupportedError | Boot]:
    """What a profile's ``named`` fields come to on a card, each by itself."""
    return {name: _wanted(name, said, nic, limits, fields[name]) for name, said in named.items()}


def _wanted(
    name: str, said: int | str, nic: Nic, limits: Limits, field: Field
) -> Value | UnsupportedError | Boot:
    if name not in limits:
        return UnsupportedError(name, f"the driver {nic.driver} does not have it")
    if said == DEFAULT:
        return BOOT
    most = limits.get(f"{name}-{MAX}")
    if said == MAX:
        if most is None:
            return UnsupportedError(name, f"the driver {nic.driver} does not say how much it has")
        return Number(most, field.unit)
    if isinstance(said, str):
        return Word(said)
    if most is not None and said > most:
        return UnsupportedError(name, f"{said} is more than the card's maximum of {most}")
    return Number(said, field.unit)


def why(said: int | str | None) -> str:
    """The reason for a field's value, a clause for plans."""
    if said == DEFAULT:
        return "default: what was there before netuned"
    return "max: all that the card has" if said == MAX else "the profile's value"
