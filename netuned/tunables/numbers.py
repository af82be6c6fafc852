"""What ethtool has as numbers and switches by name: what rings and coalescing share.

A field is a name of ethtool's; its value is a number in the field's unit, or one of its words. All
that a profile names of a card goes in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.questions import Setting
from netuned.profiles.profile import Profile
from netuned.records import dataclass
from netuned.tunables.base import (
    BOOT,
    NOT_ASKED,
    Boot,
    Limits,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Words,
    keyed_summary,
)
from netuned.values import Number, State, Value, Word

MAX, DEFAULT = "max", "default"
SWITCH: Mapping[int, str] = {0: "off", 1: "on"}
NONE_USUAL: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Field:
    """How people read and write a number of the kernel's: its unit, or a word for each."""

    unit: str = ""
    words: Mapping[int, str] | None = None
    absent: int | str | None = None
    """What a card that does not have it is said to have: 0, or a word."""
    untold: bool = False
    """Whether a card may have it and not tell, until it is set to other than ``absent``."""

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


class Spec(Protocol):
    """A profile's part: what it says of each field that it names."""

    def named(self) -> Mapping[str, int | str]: ...


def tunable(
    name: str,
    question: Numbers,
    fields: Fields,
    spec_of: Callable[[Profile], Spec | None],
    usual: Mapping[str, int] = NONE_USUAL,
) -> Tunable:
    """What such a tunable declares; ``replace`` what is particular to one.

    Its limits are what the card has, and with ``-max`` after the name how much. ``usual`` is what
    a field has that nobody set, where that is not 0.
    """

    def build(numbers: Mapping[str, int]) -> State:
        untold = {key: Word(str(field.absent)) for key, field in fields.items() if field.untold}
        return untold | {key: fields[key].value(numbers[key]) for key in fields if key in numbers}

    def write(view: View, found: State, values: State) -> None:
        numbers = {key: fields[key].number(value) for key, value in values.items()}
        view.kernel.set(question, view.nic.ifindex, numbers)

    def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
        """Of each field that the profile names, but for what it has by not being there."""
        spec = spec_of(target.profile)
        assert spec is not None
        return {
            key: _wanted(key, said, nic, limits, fields[key])
            for key, said in spec.named().items()
            if key in limits or said != fields[key].absent
        }

    def why(target: Target, nic: Nic, key: str) -> str:
        spec = spec_of(target.profile)
        return why_said(spec.named().get(key)) if spec else NOT_ASKED

    def captured(seen: Seen) -> Iterator[Words]:
        """All that is not as usual: what a driver begins with, the kernel does not tell."""
        numbers = {key: (value, fields[key].number(value)) for key, value in seen.state.items()}
        said = {
            key: value.text if isinstance(value, Word) else number
            for key, (value, number) in numbers.items()
            if (seen.whole or number != usual.get(key, 0))
            and (isinstance(value, Word) or not fields[key].words)
        }
        if said:
            yield said

    return Tunable(
        name=name,
        holds=(Number, Word),
        accepts=fields.__contains__,
        read=lambda view: view.kept.same(question.name, view.ask(question), build),
        write=write,
        desired=desired,
        why=why,
        limits=lambda view: view.ask(question),
        captured=captured,
        by_key=True,
        group=lambda key: name,
        summary=keyed_summary,
    )


def _wanted(
    name: str, said: int | str, nic: Nic, limits: Limits, field: Field
) -> Value | UnsupportedError | Boot:
    if name not in limits:
        return UnsupportedError(name, f"the driver {nic.driver} does not have it")
    if said == DEFAULT:
        return BOOT
    most = limits.get(f"{name}-{MAX}")
    if isinstance(said, str) and said.startswith(MAX):
        if most is None:
            return UnsupportedError(name, f"the driver {nic.driver} does not say how much it has")
        return Number(min(most, int(said.removeprefix(MAX) or most)), field.unit)
    if isinstance(said, str):
        return Word(said)
    if most is not None and said > most:
        return UnsupportedError(name, f"{said} is more than the card's maximum of {most}")
    return Number(said, field.unit)


def why_said(said: int | str | None) -> str:
    """The reason for a value, by what the profile says of it."""
    if said == DEFAULT:
        return "default: what was there before netuned"
    if isinstance(said, str) and said.startswith(MAX):
        most = said.removeprefix(MAX)
        return f"{said}: all that the card has{most and ', up to'}{most}"
    return "the profile's value"
