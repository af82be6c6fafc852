"""The leaf values of a profile: words, numbers, times, rates, sizes, CPU sets.

Each is a validator that accepts what a person writes, returns the canonical value, and refuses with
one sentence that says what is wrong and what is allowed. Each carries its JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.profiles import expression
from netuned.profiles.classes import JsonSchema, Leaf, Mistake
from netuned.profiles.syntax import mask_hint
from netuned.profiles.yamltree import written
from netuned.regex import regex
from netuned.text import did_you_mean, escape, without_keys

if TYPE_CHECKING:
    from decimal import Decimal

U32_MAX = (1 << 32) - 1

TIME_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
RATE_UNITS_BIT = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
SIZE_UNITS = {
    "": 1,
    **dict.fromkeys(("k", "kib"), 1 << 10),
    **dict.fromkeys(("m", "mib"), 1 << 20),
    **dict.fromkeys(("g", "gib"), 1 << 30),
}
SPEED_UNITS_MBPS = {"m": 1, "g": 10**3, "t": 10**6}

_QUANTITY = regex(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)

STRING: JsonSchema = {"type": "string"}
INTEGER: JsonSchema = {"type": "integer"}
CPU_SET: JsonSchema = {"type": ["string", "integer"]}


def enum(*words: str) -> JsonSchema:
    """The JSON Schema of one of these words."""
    return {"enum": list(words)}


def either(*schemas: JsonSchema) -> JsonSchema:
    """The JSON Schema of any of these."""
    return {"anyOf": list(schemas)}


def one_or_list(item: JsonSchema) -> JsonSchema:
    """The JSON Schema of one value or a list of such."""
    return either(item, {"type": "array", "items": item, "minItems": 1})


def shown(value: object) -> str:
    """A YAML value as a message shows it: short, in backticks, nothing that moves a cursor."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    told = without_keys(written(value))
    if told != written(value):
        return "a hash key"
    text = escape(told[:61])
    return f"`{text[:60]}…`" if len(text) > 60 else f"`{text}`"


def read_as(value: object) -> str:
    """What number YAML takes a value for that may be meant as text: ``0x1f``, ``1.10``."""
    if isinstance(value, float) or (isinstance(value, int) and written(value) != f"{value:d}"):
        return f"YAML reads {shown(value)} as the number {value!r}"
    return ""


def refuse_number(value: object) -> None:
    """Refuse a number where a name is meant, unless its digits are the name.

    Raises: Mistake.
    """
    if wrong := read_as(value):
        raise Mistake(f'{wrong}; to mean the text, put it in quotes: "{written(value)}"')


def listed(words: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    *most, final = words
    return f"{', '.join(most)} {last} {final}" if most else final


def wrong_word(value: object, words: Iterable[str], key: str = "") -> Mistake:
    """The error for a value (of ``key``) that is none of ``words``."""
    words = tuple(words)
    if isinstance(value, bool):
        return Mistake(
            f"{shown(value)} is a YAML boolean, here a word is meant: write {listed(words)}",
            key=key,
        )
    if value is None:
        return Mistake(f"no value is given: write {listed(words)}", key=key)
    hint = did_you_mean(value, words)
    return Mistake(
        f"{shown(value)} is not allowed here; {hint + ' ' if hint else ''}"
        f"{'Allowed' if hint else 'allowed'}: {listed(words)}",
        key=key,
    )


def one_of(*words: str) -> Leaf:
    """Exactly one of these words."""

    def validate(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise wrong_word(value, words)

    return Leaf(validate, enum(*words))


def word_or_keep(*words: str) -> Leaf:
    """Exactly one of these words; ``keep`` becomes None."""
    allowed = (*words, "keep")

    def validate(value: object) -> str | None:
        if isinstance(value, str) and value in allowed:
            return None if value == "keep" else value
        raise wrong_word(value, allowed)

    return Leaf(validate, enum(*allowed))


def word_to_int(codes: dict[str, int], *, keep: bool = True) -> Leaf:
    """One of these words, kept as its number; ``keep`` as None."""
    words = (*codes, "keep") if keep else tuple(codes)

    def validate(value: object) -> int | None:
        if isinstance(value, str) and value in words:
            return codes.get(value)
        raise wrong_word(value, words)

    return Leaf(validate, enum(*words), show=_words(codes))


def flag() -> Leaf:
    """``yes`` or ``no``, kept as 1 or 0; ``keep`` as None."""
    return word_to_int({"yes": 1, "no": 0})


def whole(low: int, high: int, unit: str = "", *, words: tuple[str, ...] = ("keep",)) -> Leaf:
    """A whole number in this range, or one of these words; ``keep`` becomes None."""
    what = f"a whole number{' of ' + unit if unit else ''} from {low} to {high}"
    allowed = listed((what, *words))

    def validate(value: object) -> int | str | None:
        if isinstance(value, str) and value in words:
            return None if value == "keep" else value
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return int(value)
        hint = did_you_mean(value, words)
        raise Mistake(f"{_given(value)}; {hint + ' ' if hint else ''}write {allowed}")

    number: JsonSchema = {"type": "integer", "minimum": low, "maximum": high}
    return Leaf(validate, either(number, enum(*words)) if words else number)


MAX_OF = "max "
"""What stands before the most of a value that is as large as the card has it up to there."""


def up_to(leaf: Leaf) -> Leaf:
    """The same, or ``max N``: all that the card has, at most N; kept so, as a text."""

    def validate(value: object) -> object:
        if not isinstance(value, str) or not value.startswith(MAX_OF):
            return leaf.validate(value)
        text = value.removeprefix(MAX_OF).strip()
        most = leaf.validate(int(text) if text.isdecimal() else text)
        if not isinstance(most, int):
            raise Mistake(f"{shown(value)} cannot be read; write max and a number, like max 4096")
        return f"{MAX_OF}{most}"

    text: JsonSchema = {"type": "string", "pattern": "^max [0-9]+[A-Za-z]*$"}
    return replace(leaf, validate=validate, schema=either(leaf.schema, text))


def time_us(high: int = U32_MAX, *, words: dict[str, int] | None = None) -> Leaf:
    """A time: ``5ms``, ``100us``, ``1s``, or a plain number; kept in microseconds."""
    example = "a time like 5ms or 100us (a plain number is microseconds)"

    def parse(number: Decimal, unit: str) -> Decimal | None:
        scale = TIME_UNITS_NS.get(unit or "us")
        return None if scale is None else number * scale / 1000

    what = "a whole number of microseconds"
    return _quantity(parse, example, what, 0, high, words, partial(_in_unit, TIME_UNITS_NS, 1000))


def time_ns(high: int = U32_MAX, *, words: tuple[str, ...] = ()) -> Leaf:
    """A time that the kernel keeps in nanoseconds, or one of these words; 0 needs no unit."""
    example = "a time with its unit, like 10us or 500ns"

    def parse(number: Decimal, unit: str) -> Decimal | None:
        scale = TIME_UNITS_NS.get(unit, None if number else 1)
        return None if scale is None else number * scale

    what, show = "a whole number of nanoseconds", partial(_in_unit, TIME_UNITS_NS, 1)
    return _quantity(parse, example, what, 0, high, {word: word for word in words}, show)


def time_text(number_ns: int) -> str:
    """Nanoseconds as a profile has them: ``20us``."""
    return _in_unit(TIME_UNITS_NS, 1, number_ns)


def rate_bytes(high: int, *, words: dict[str, int] | None = None) -> Leaf:
    """A rate: ``10gbit``, ``500mbit``; kept in bytes per second."""

    def parse(number: Decimal, unit: str) -> Decimal | None:
        scale = RATE_UNITS_BIT.get(unit)
        return None if scale is None else number * scale / 8

    example = "a rate with its unit, like 10gbit or 500mbit"
    what, show = "a whole number of bytes per second", partial(_in_unit, RATE_UNITS_BIT, 8)
    return _quantity(parse, example, what, 1, high, words, show)


def size_bytes(low: int, high: int, *, words: Mapping[str, int | str] | None = None) -> Leaf:
    """A size: a plain number of bytes, ``192K`` or ``32MiB``, all of 1024; kept in bytes."""

    def parse(number: Decimal, unit: str) -> Decimal | None:
        scale = SIZE_UNITS.get(unit)
        return None if scale is None else number * scale

    example = "a number of bytes, or a size like 64KiB or 32MiB"
    return _quantity(parse, example, "a whole number of bytes", low, high, words)


def parse_speed_mbps(text: str) -> int:
    """``10G`` → 10000, ``2.5G`` → 2500, ``1000M`` → 1000. Raises: ValueError."""
    match = _QUANTITY.fullmatch(text.strip())
    scale = SPEED_UNITS_MBPS.get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise ValueError(text)
    return _integer(_amount(match[1]) * scale)


def check_expression(value: object, *, also: tuple[str, ...] = ()) -> str:
    """A CPU-set expression that can be read; a lone CPU number may be a YAML integer."""
    number = ""
    if isinstance(value, int) and not isinstance(value, bool):
        number = read_as(value)
        value = written(value)
    if not isinstance(value, str):
        extra = f"; or {listed(also)}" if also else ""
        raise Mistake(
            f"{_given(value)}; write a CPU set, like `local & housekeeping` or 0-3,8{extra}"
        )
    try:
        expression.parse(value)
    except ExpressionError as error:
        problem = f"{number}; {error.problem}" if number else error.problem
        raise Mistake(problem, error.offset) from None
    return value


def cpu_expression(*words: str) -> Leaf:
    """A CPU-set expression, or one of these words."""

    def validate(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        return check_expression(value, also=words)

    return Leaf(validate, CPU_SET)


def queue_list(value: object) -> tuple[int, ...]:
    """Queue numbers from ``"0-5,8"`` or ``[0, 1, 2]``, ascending and without repeats.

    One number alone is refused: it can mean that queue as well as so many.
    """
    alone = written(value).strip() if isinstance(value, int | str) else ""
    if re.fullmatch("[0-9]{1,5}", alone):
        number = int(alone)
        firsts = {0: "all", 1: "[0] for the first"}
        first = firsts.get(number, f"0-{number - 1} for the first {number}")
        one = f"[{number}] for queue {number} alone"
        raise Mistake(f"{shown(value)} can mean two things; write {one}, or {first}")
    items = value if isinstance(value, list | tuple) else [value]
    queues: set[int] = set()
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise Mistake(f"{_given(item)}; write all, or queue numbers like 0-5")
        try:
            queues.update(CpuSet.parse_list(written(item)))
        except ValueError as error:
            if hint := mask_hint(written(item), "queue"):
                raise Mistake(hint) from None
            hint = did_you_mean(item, ("all",))
            wrong = f"{_given(item)}; {hint} Write" if hint else f"{_as_queues(error)}; write"
            raise Mistake(f"{wrong} all, or queue numbers like 0-5") from None
    if not queues:
        raise Mistake("no queue is named; write all, or queue numbers like 0-5")
    return tuple(sorted(queues))


def _as_queues(error: ValueError) -> str:
    return str(error).replace("'", "`").replace("CPU number", "queue number")


def _quantity(
    parse: Callable[[Decimal, str], Decimal | None],
    example: str,
    whole_number: str,
    low: int,
    high: int,
    words: Mapping[str, int | str] | None = None,
    show: Callable[[int], str] | None = None,
) -> Leaf:
    """A number with a unit, made a whole number from ``low`` to ``high``; ``keep`` is None."""
    words = words or {}
    allowed = listed((example, *words, "keep"))

    def validate(value: object) -> int | str | None:
        if value == "keep":
            return None
        if isinstance(value, str) and value in words:
            return words[value]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise Mistake(f"{_given(value)}; write {allowed}")
        match = _QUANTITY.fullmatch(str(value).strip())
        amount = parse(_amount(match[1]), match[2].lower()) if match else None
        if amount is None:
            raise Mistake(f"{shown(value)} cannot be read; write {allowed}")
        try:
            number = _integer(amount)
        except ValueError:
            raise Mistake(f"{shown(value)} is not {whole_number}") from None
        if not low <= number <= high:
            raise Mistake(
                f"{shown(value)} is out of range: {number} is not {whole_number} "
                f"from {low} to {high}"
            )
        return number

    text: JsonSchema = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? *[A-Za-z]*|[a-z]+)$"}
    schema = either({"type": "number", "minimum": 0}, text)
    return Leaf(validate, schema, show=_words(words, show) if show else None)


def _in_unit(units: dict[str, int], scale: int, number: int) -> str:
    """A number, ``scale`` of the smallest unit, in the largest unit in which it is whole."""
    amount = number * scale
    if amount <= 0:
        return f"{amount}{'us' if 'us' in units else ''}"
    unit = next(unit for unit, size in reversed(units.items()) if not amount % size)
    return f"{amount // units[unit]}{unit}"


def _words(
    codes: Mapping[str, int | str], others: Callable[[int], str] = str
) -> Callable[[int], str]:
    """A number as the word that stands for it; one without as ``others`` have it."""
    names = {code: word for word, code in codes.items()}
    return lambda number: names.get(number) or others(number)


def _amount(digits: str) -> Decimal:
    from decimal import Decimal  # 0.5 MB, for texts that were not compiled before

    return Decimal(digits)


def _integer(amount: Decimal) -> int:
    from decimal import InvalidOperation

    try:
        integral = amount.to_integral_exact()
    except InvalidOperation:
        raise ValueError(str(amount)) from None
    if integral != amount:
        raise ValueError(str(amount))
    return int(integral)


def _given(value: object) -> str:
    if value is None:
        return "no value is given"
    if isinstance(value, bool):
        return f"{shown(value)} is a YAML boolean"
    return f"{shown(value)} is not allowed here"
