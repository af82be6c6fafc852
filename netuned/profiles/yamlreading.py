"""Reads YAML text into a tree; YAML 1.2's scalars.

A profile is data that root trusts and people write by hand, so what only serves to build large or
surprising documents is refused: aliases, tags, merge keys, several documents, deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml import CSafeLoader  # one without is not what netuned was installed with

from netuned.errors import ProfileError
from netuned.profiles.trust import MAX_BYTES
from netuned.profiles.yamltree import (
    Entry,
    Fraction,
    Items,
    Node,
    Position,
    Scalar,
    Table,
    Whole,
)
from netuned.regex import regex
from netuned.text import escape

MAX_DEPTH = 32
MAX_NODES = 1 << 13
"""How many values a file may hold: what is wrong with each takes time to find out."""

_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = regex(r"[-+]?(?:0|[1-9][0-9]{0,17})|0x[0-9a-fA-F]{1,16}", re.ASCII)
_FLOAT = regex(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}", re.ASCII)
_CONTROL = regex("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What libyaml refuses to read, and what it counts as the end of a line and no editor does."""
_SPACE = regex("[\u00a0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000]")
"""What looks like a space, or like nothing, and is neither to YAML."""
_TEMPLATE = regex(r"\{\{|\{%|<%|\$\{|^\s*#?\{#")


def parse_yaml(data: bytes, path: str) -> tuple[Node | None, tuple[ProfileError, ...]]:
    """The document in ``data``, None if it holds nothing, and everything wrong with its form.

    ``path`` is what errors and positions name.
    """
    if len(data) > MAX_BYTES:
        return None, (ProfileError(path, 0, 0, "", f"the file is larger than {MAX_BYTES} bytes"),)
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return None, (ProfileError(path, line, column, "", "the file is not UTF-8 text"),)
    control = _CONTROL.search(text)
    if control:
        line, column = _place(text, control.start())
        problem = f"the control character {control[0]!a} is not allowed"
        return None, (ProfileError(path, line, column, "", problem),)
    return _Reader(text, path).read()


def leaves(text: str) -> Iterator[tuple[str, str]]:
    """The keys of a profile that is known to be one, and values as it has them.

    Keys within keys are joined by dots; what is no mapping is a value, a list too.
    """
    root = yaml.compose(text, Loader=CSafeLoader)
    yield from _leaves(root, text, "") if isinstance(root, yaml.MappingNode) else ()


def _leaves(table: yaml.MappingNode, text: str, above: str) -> Iterator[tuple[str, str]]:
    for key, value in table.value:
        if isinstance(value, yaml.MappingNode):
            yield from _leaves(value, text, f"{above}{key.value}.")
        else:
            yield f"{above}{key.value}", text[value.start_mark.index : value.end_mark.index]


class _Refused(Exception):
    """Ends the reading with one error."""

    def __init__(self, mark: Any, problem: str, key: str = "") -> None:
        self.mark = mark
        self.problem = problem
        self.key = key


class _Reader:
    """Builds the tree from the C parser's events; nesting is bounded, so recursion is."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.errors: list[ProfileError] = []
        self._nodes = 0
        self._parser: Any = CSafeLoader(text)

    def read(self) -> tuple[Node | None, tuple[ProfileError, ...]]:
        root: Node | None = None
        try:
            root = self._document()
        except _Refused as refused:
            self._error(refused.mark, refused.problem, refused.key)
        except yaml.MarkedYAMLError as error:
            self._error(*self._explained(error))
        return (None if self.errors and root is None else root), tuple(self.errors)

    def _document(self) -> Node | None:
        root: Node | None = None
        self._parser.get_event()  # the stream's start
        while True:
            event = self._parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return root
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Refused(
                        event.start_mark, "a file holds one profile; put this in another"
                    )
                root = self._node(self._parser.get_event(), "", 0)
                if root == Scalar(root.position, None, 0):
                    root = None

    def _node(self, event: Any, key: str, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            problem = f"`*{event.anchor}` is a YAML alias, which profiles do not have"
            raise _Refused(event.start_mark, f'{problem}; put a pattern in quotes: "*…"', key)
        if event.anchor is not None:
            problem = f"`&{event.anchor}` is a YAML anchor, which profiles do not have"
            raise _Refused(event.start_mark, f"{problem}; use extends, or quotes", key)
        if event.tag is not None:
            problem = f"`{event.tag}` is a YAML tag, which profiles do not have"
            raise _Refused(event.start_mark, f'{problem}; put a pattern in quotes: "!…"', key)
        if depth > MAX_DEPTH:
            raise _Refused(event.start_mark, f"nested more than {MAX_DEPTH} deep", key)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(event.start_mark, f"a file holds at most {MAX_NODES} values", key)
        position = self._position(event.start_mark)
        if isinstance(event, yaml.MappingStartEvent):
            return Table(position, self._entries(key, depth))
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := self._parser.get_event(), yaml.SequenceEndEvent):
                items.append(self._node(event, f"{key}[{len(items)}]", depth + 1))
            return Items(position, tuple(items))
        plain = not event.style
        if plain:
            self._refuse_spaces(event, key)
        inset = 0 if plain else 1 if event.style in "'\"" else -1
        literal = self.text.startswith(event.value, event.start_mark.index + inset)
        value = _resolved(event.value) if plain else event.value
        return Scalar(position, value, inset if literal else -1)

    def _entries(self, parent: str, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := self._parser.get_event(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
                problem = "a key is a plain word; is a `:` missing, or one too many?"
                problem = self._template_at(event.start_mark) or problem
                raise _Refused(event.start_mark, problem, parent)
            name = event.value
            self._refuse_spaces(event, parent)
            key = f"{parent}.{name}" if parent else name
            if name == "<<" and not event.style:
                raise _Refused(event.start_mark, "`<<` is not known in profiles; use extends", key)
            value = self._node(self._parser.get_event(), key, depth + 1)
            first = entries.get(name)
            if first is not None:
                line = first.key.line
                self._error(event.start_mark, f"this key is already on line {line}", key)
            else:
                entries[name] = Entry(self._position(event.start_mark), value)
        return entries

    def _refuse_spaces(self, event: Any, key: str) -> None:
        """Refuse what looks like indentation, or like the space after a `:`, and is text."""
        space = _SPACE.search(event.value)
        if space and not key.startswith("description"):
            raise _Refused(event.start_mark, _no_space(space[0]), key)

    def _template_at(self, mark: Any) -> str:
        """That the line is a template's, if it is."""
        if not _TEMPLATE.search(self._line(mark)):
            return ""
        return "this is part of a template that was not filled in (Jinja's {{ }} and {% %}, …)"

    def _position(self, mark: Any) -> Position:
        return Position(self.path, mark.line + 1, mark.column + 1)

    def _error(self, mark: Any, problem: str, key: str = "") -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.errors.append(ProfileError(self.path, line, column, escape(key), escape(problem)))

    def _explained(self, error: yaml.MarkedYAMLError) -> tuple[Any, str]:
        """Where the parser gave up, and what people usually meant there."""
        mark: Any = error.problem_mark or error.context_mark
        begun = error.context_mark
        problem = str(error.problem or "cannot be read")
        if self._character(mark) == "\t":
            return mark, "not valid YAML: a tab cannot indent; use spaces"
        if _SPACE.search(self._character(mark)):
            return mark, f"not valid YAML: {_no_space(self._character(mark))}"
        for start in (mark, begun):
            if template := self._template_at(start):
                return start, f"not valid YAML: {template}"
        for start in (begun, mark):
            sign = self._character(start)
            if sign in ("*", "&", "!") or (sign in ("@", "`", "%") and "start any" in problem):
                wrong = f"a value cannot begin with `{sign}`; put it in quotes"
                return start, f"not valid YAML: {wrong}"
        if "mapping values are not allowed" in problem:
            return mark, (
                "not valid YAML: a `:` is not allowed here; is the indentation right, "
                "or does the value need quotes?"
            )
        context = ""
        if error.context and begun and mark:
            line = begun.line + 1
            context = f" {error.context}" + (f" that begins on line {line}" * (line <= mark.line))
        return mark, f"not valid YAML: {problem}{context}"

    def _character(self, mark: Any) -> str:
        return self._line(mark)[mark.column : mark.column + 1] if mark else ""

    def _line(self, mark: Any) -> str:
        lines = self.text.split("\n")
        return lines[mark.line] if mark and mark.line < len(lines) else ""


def _resolved(text: str) -> str | int | float | bool | None:
    """A plain scalar by YAML 1.2's core schema: yes, no, on, off, 1:30 and 010 are text."""
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        number = int(text, 0)
        return number if str(number) == text else Whole(text)
    return Fraction(text) if _FLOAT.fullmatch(text) else text


def _no_space(sign: str) -> str:
    problem = f"there is a space in this that YAML takes for a letter (U+{ord(sign):04X})"
    return f"{problem}; write a plain space in its place"


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
