"""What is wrong with a profile, each error at the place that brought it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError, ProfileError
from netuned.profiles import expression
from netuned.profiles.classes import Mistake
from netuned.profiles.foreign import belongs
from netuned.profiles.profile import MAX_SETS, Profile
from netuned.profiles.scalars import check_expression, listed
from netuned.profiles.schema import known_keys
from netuned.profiles.yamltree import Items, Node, Scalar, Table, to_data
from netuned.text import did_you_mean, escape

UNKNOWN_KEY = "unexpected_keyword_argument"
"""pydantic's word for it, of a dataclass."""

NO_EXPRESSION = ("auto", "none", "keep", "default")
"""What may stand for a CPU set without being one."""


def mistakes(tree: Table, possible: CpuSet | None) -> Iterator[ProfileError]:
    """Everything wrong with a merged profile; with ``possible``, CPU numbers past it too."""
    from pydantic import ValidationError

    data: Any = to_data(tree)
    try:
        Profile.of(data)
    except ValidationError as error:
        for line in error.errors(include_url=False):
            yield _validation_error(tree, data, line)
    if isinstance(data.get("cpus"), dict) and len(data["cpus"]) > MAX_SETS:
        return  # that is told; to follow each to all others would take minutes
    parsed = dict(_expressions(data))
    sets = {key[1]: value for key, value in parsed.items() if key[0] == "cpus"}
    names = data["cpus"] if isinstance(data.get("cpus"), dict) else {}
    for loc, value in parsed.items():
        for wrong in expression.undefined(value, names):
            yield error_at(tree, loc, wrong.problem, wrong.offset)
        if possible is not None:
            for wrong in _impossible(value, possible):
                yield error_at(tree, loc, wrong.problem, wrong.offset)
    for name, wrong in expression.circles(sets):
        yield error_at(tree, ("cpus", name), wrong.problem, wrong.offset)


def _expressions(data: Any) -> Iterator[tuple[tuple[str, str], expression.Expression]]:
    """Every CPU-set expression that can be read, with its place in the data."""
    for section in ("cpus", "napi", "irq", "rps", "xps"):
        values = data.get(section)
        for key, text in values.items() if isinstance(values, dict) else ():
            is_set = section == "cpus" or key == "cpus" or (key == "threads" and text != "irq")
            if is_set and text not in NO_EXPRESSION:
                try:
                    yield (section, key), expression.parse(check_expression(text))
                except Mistake:  # reported by validation
                    continue


def _validation_error(tree: Table, data: Any, line: Any) -> ProfileError:
    loc: tuple[str | int, ...] = line["loc"]
    about_key = loc[-1:] == ("[key]",)
    if about_key:
        loc = loc[:-1]
    raised = line.get("ctx", {}).get("error")
    offset = -1
    if line["type"] == UNKNOWN_KEY:
        about_key = True
        problem = unknown_key(str(loc[-1]), known_keys(loc[:-1], data), line["input"])
    elif isinstance(raised, Mistake):
        problem, offset = raised.problem, raised.offset
        loc = (*loc, raised.key) if raised.key else loc
    else:
        problem = line["msg"]
    return error_at(tree, loc, problem, offset, about_key)


def unknown_key(key: str, known: Sequence[str], value: object) -> str:
    hint = did_you_mean(key, known)
    if value is None and key.replace("-", "").isdigit():
        return "this is not a key; a CPU list with commas needs quotes inside { }"
    hint = belongs(key, known) or hint
    return f"unknown key; {hint}" if hint else f"unknown key; allowed here: {listed(known)}"


def _impossible(value: expression.Expression, possible: CpuSet) -> Iterator[ExpressionError]:
    """CPU numbers that this host can never have."""
    has = f"this host has CPUs {possible}"
    for node in value.nodes():
        if isinstance(node, expression.Listed) and (beyond := node.cpus - possible):
            noun = "CPU" if len(beyond) == 1 else "CPUs"
            yield ExpressionError(value.text, node.start, f"{noun} {beyond} cannot exist; {has}")
        elif isinstance(node, expression.Indexed) and node.kind in ("l3", "core"):
            problem = f"CPU {node.number} cannot exist; {has}"
            if node.number not in possible:
                yield ExpressionError(value.text, node.start, problem)


def error_at(
    tree: Table, loc: Iterable[str | int], problem: str, offset: int = -1, about_key: bool = False
) -> ProfileError:
    """The error at the place that brought the value; the nearest enclosing one if there is none."""
    node: Node = tree
    place = tree.position
    key = ""
    for step in loc:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
        if isinstance(node, Table) and step in node.entries:
            entry = node.entries[str(step)]
            node = entry.value
            place = entry.key if about_key or not isinstance(node, Scalar) else node.position
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            place = node.position
    if offset >= 0 and isinstance(node, Scalar):
        if node.inset >= 0:
            place = place.moved(node.inset + offset)
        else:
            problem += f" (at character {offset + 1} of the value)"
    return ProfileError(place.path, place.line, place.column, escape(key), escape(problem))
