"""The text of the CPU-set language and the tree it is read into.

    set    := term { "|" term }
    term   := part { ("&" | "-") part }
    part   := "(" set ")" | function "(" N "," set ")" | cpulist | word | word ":" N
            | ("l3" | "core") ":" name | ["@"] name

``&`` (both) and ``-`` (without) bind equally, from left to right, and tighter than ``|`` (either):
every expression means what it means for Python's sets. A ``-`` with a letter or digit directly on
both sides belongs to the word or cpulist it stands in (``0-3``, ``nohz-full``); every other one is
the difference (``0-7 - 2``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.records import dataclass
from netuned.regex import regex
from netuned.text import escape, nearest

MAX_LENGTH = 4096
MAX_DEPTH = 32

WORDS = (
    "all",
    "online",
    "isolated",
    "nohz-full",
    "housekeeping",
    "local",
    "first-threads",
    "performance",
    "efficiency",
)
INDEXED = ("node", "l3", "package", "core")
FUNCTIONS = ("take", "first", "last")
RESERVED = frozenset(
    (*WORDS, *INDEXED, *FUNCTIONS, "auto", "none", "keep", "default", "and", "or", "not")
)
"""Words that mean something by themselves: no set of a profile can have one as its name."""

NAME = regex(r"[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", re.ASCII)
"""What the name of a set looks like."""

_MASK = regex(r"[0-9a-f]{1,1024}(,[0-9a-f]{1,8})*", re.ASCII)
_LIKE_MASK = regex(r"(?=..)(?!0b)(^|,)[0-9a-f]*[a-f]|(^|,)[0-9a-f]{8}(,|$)")

_SIGNS = {
    "and": "&",
    "or": "|",
    "not": "-",
    "+": "|",
    ",": "|",
    "!": "-",
    "\\": "-",
    **dict.fromkeys("–—−‐‑", "-"),  # of word processors
}
"""What people write for an operator, and the operator."""


@dataclass(frozen=True, slots=True)
class Word:
    """A set that the host or the card defines: ``online``, ``local``."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """``node:N``, ``l3:CPU``, ``package:N``, ``core:CPU``."""

    kind: str
    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Around:
    """``l3:NAME``, ``core:NAME``: of every CPU of a set of the profile."""

    kind: str
    of: Reference
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A cpulist."""

    cpus: CpuSet
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A set of the profile itself, by name."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """``take``, ``first`` or ``last``."""

    function: str
    count: int
    of: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A set and what is done to it from left to right: ``&`` or ``-`` with another."""

    head: Node
    steps: tuple[tuple[str, Node], ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class United:
    """Sets joined by ``|``."""

    parts: tuple[Node, ...]
    start: int
    end: int


Node = Word | Indexed | Around | Listed | Reference | Chosen | Narrowed | United


@dataclass(frozen=True, slots=True)
class Expression:
    """A text that was read; the nodes' ``start`` and ``end`` are offsets into it."""

    text: str
    root: Node

    def nodes(self) -> Iterator[Node]:
        """Every node, outermost first."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            yield node
            match node:
                case Chosen() | Around():
                    pending.append(node.of)
                case Narrowed():
                    pending += [part for _, part in reversed(node.steps)]
                    pending.append(node.head)
                case United():
                    pending += reversed(node.parts)

    def references(self) -> tuple[Reference, ...]:
        """The profile's own sets that the expression names, in the order of the text."""
        return tuple(node for node in self.nodes() if isinstance(node, Reference))

    def source(self, node: Node) -> str:
        """The text of one node."""
        return self.text[node.start : node.end]


def mask_hint(text: str, of: str = "CPU") -> str:
    """That a text is a mask, and the list it stands for; empty if it does not look like a mask.

    It does with ``0x``, a hexadecimal letter among two digits or more, or words of eight digits.
    """
    digits = text.lower().replace("0x", "")
    if not _MASK.fullmatch(digits) or (digits == text and not _LIKE_MASK.search(text)):
        return ""
    bits = int("".join(word.zfill(8) for word in digits.split(",")), 16)
    form = f"`{text}` is a mask, and {of} lists are meant here"
    return f"{form}: write {CpuSet(bits)}" if bits else f"{form}: this one has no {of}"


def parse(text: str) -> Expression:
    """Read an expression.

    Raises: ExpressionError at the character that is wrong.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            text[:40] + "…", 0, f"the expression is longer than {MAX_LENGTH} characters"
        )
    return Expression(text, _Parser(text).parse())


class _Parser:
    """Recursive descent; a chain of operators is one node, so only parentheses nest."""

    _WORD = regex(r"@?[A-Za-z0-9_](?:[A-Za-z0-9_.:/,]|-(?=[A-Za-z0-9_]))*", re.ASCII)
    _CPULIST = regex(r"[0-9](?:[0-9]|[-:/](?=[0-9])|\s*,\s*(?=[0-9]))*", re.ASCII)
    _SPACE = regex(r"\s*")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self._skip()

    def parse(self) -> Node:
        if self.at == len(self.text):
            raise self._error(
                "the expression is empty; write a CPU set, like `local & housekeeping` or 0-3"
            )
        node = self._set()
        if self.at < len(self.text):
            raise self._stray(node)
        return node

    def _set(self) -> Node:
        parts = [self._term()]
        while self._sign("|"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else United(tuple(parts), parts[0].start, parts[-1].end)

    def _term(self) -> Node:
        head = self._part()
        steps: list[tuple[str, Node]] = []
        while sign := self._sign("&") or self._sign("-"):
            steps.append((sign, self._part()))
        return Narrowed(head, tuple(steps), head.start, steps[-1][1].end) if steps else head

    def _part(self) -> Node:
        start = self.at
        if self._sign("("):
            node = self._nested(start, self._set)
            return replace(node, start=start, end=self._close(start))
        if found := self._CPULIST.match(self.text, start):
            return self._cpulist(found)
        if found := self._WORD.match(self.text, start):
            return self._word(found)
        raise self._error(self._missing())

    def _cpulist(self, found: re.Match[str]) -> Node:
        start, end = found.span()
        text = found[0]
        if end < len(self.text) and (self.text[end].isalnum() or self.text[end] == "_"):
            word = self._WORD.match(self.text, start)
            wrong = word[0] if word else text
            neither = f"`{wrong}` is neither a CPU list like 0-3,8 nor a name"
            raise self._error(mask_hint(wrong) or neither)
        try:
            cpus = CpuSet.parse_list(text)
        except ValueError as error:
            hint = (
                "; a difference has spaces around its `-`" if re.search(r"\d-\d+-\d", text) else ""
            )
            problem = mask_hint(text) or f"{str(error).replace(chr(39), '`')}{hint}"
            raise self._error(problem, start + _wrong_part(text)) from None
        self._skip(end)
        return Listed(cpus, start, end)

    def _word(self, found: re.Match[str]) -> Node:
        start, end = found.span()
        word = found[0].rstrip(",.:/")
        end = start + len(word)
        if word.lower() == "not":
            raise self._error("write `all - …` in place of `not …`")
        if word.lower() in _SIGNS:
            raise self._error(f"write `{_SIGNS[word.lower()]}` in place of `{word}`")
        self._skip(end)
        if word in FUNCTIONS:
            return self._function(word, start)
        if ":" in word or self.text.startswith(":", end):
            return self._indexed(word, start, end)
        if self.text.startswith("(", end):
            raise self._error(f"`{word}` is no function; there are {', '.join(FUNCTIONS)}", start)
        if word in WORDS:
            return Word(word, start, end)
        name = word.removeprefix("@")
        if name in RESERVED and name != word:
            problem = f"`{name}` is no set of the profile; write it without `@`"
            raise self._error(problem, start)
        if not NAME.fullmatch(name):
            wrong = f"`{word}` is not the name of a CPU set"
            raise self._error(mask_hint(word) or wrong, start)
        return Reference(name, start, end)

    def _indexed(self, word: str, start: int, end: int) -> Node:
        kind, _, number = word.partition(":")
        if kind not in INDEXED:
            near = nearest(kind, INDEXED)
            hint = (
                f"did you mean `{near}:`?" if near else f"only {', '.join(INDEXED)} take a number"
            )
            raise self._error(f"`{kind}:` names no CPU set; {hint}", start)
        of_cpus = kind in ("l3", "core")
        at = start + len(kind) + 1
        if of_cpus and NAME.fullmatch(number) and number not in RESERVED:
            return Around(kind, Reference(number, at, end), start, end)
        if not number.isdigit() or len(number) > 5:
            takes = "one CPU, or a set by its name" if of_cpus else "one number"
            raise self._error(f"`{kind}:` takes {takes}, like {kind}:0; join several with `|`", at)
        return Indexed(kind, int(number), start, end)

    def _function(self, word: str, start: int) -> Node:
        usage = f"`{word}` is written {word}(N, set), like {word}(4, local)"
        if not self._sign("("):
            raise self._error(usage, start)
        found = re.compile(r"[0-9]{1,6}(?![0-9A-Za-z_:-])", re.ASCII).match(self.text, self.at)
        if not found:
            raise self._error(f"a number of CPUs is expected here: {usage}")
        if int(found[0]) == 0:
            raise self._error(f"{word}(0, …) would leave no CPU; write a number from 1")
        self._skip(found.end())
        if not self._sign(","):
            raise self._error(f"a comma and a CPU set are expected here: {usage}")
        of = self._nested(start, self._set)
        return Chosen(word, int(found[0]), of, start, self._close(start))

    def _nested(self, start: int, inner: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"parentheses are nested more than {MAX_DEPTH} deep", start)
        node = inner()
        self.depth -= 1
        return node

    def _close(self, start: int) -> int:
        """Past the closing parenthesis; where it ends."""
        end = self.at + 1
        if self._sign(")"):
            return end
        if self.at == len(self.text):
            opened = self.text.index("(", start)
            raise self._error("this parenthesis is never closed", opened)
        raise self._stray(None)

    def _sign(self, sign: str) -> str:
        if not self.text.startswith(sign, self.at):
            return ""
        if self.text[self.at : self.at + 2] in ("&&", "||"):
            raise self._error(f"write `{sign}` in place of `{sign * 2}`")
        self._skip(self.at + 1)
        return sign

    def _skip(self, to: int | None = None) -> None:
        found = self._SPACE.match(self.text, self.at if to is None else to)
        assert found is not None
        self.at = found.end()

    def _missing(self) -> str:
        before = self.text[: self.at].rstrip()[-1:]
        where = f"after `{before}`" if before and before in "&|-(," else "here"
        if self.at == len(self.text):
            return f"a CPU set is missing {where}"
        if self.text[self.at] in "“”„‘’«»":
            return f'`{self.text[self.at]}` is no quote in YAML; write " or nothing'
        return f"a CPU set is expected {where}, not `{self.text[self.at]}`"

    def _stray(self, before: Node | None) -> ExpressionError:
        """The error for text after a complete set."""
        character = self.text[self.at]
        if character == ")":
            return self._error("no parenthesis is open here")
        word = self._WORD.match(self.text, self.at)
        sign = word[0].lower() if word else character
        if sign in _SIGNS:
            return self._error(
                f"write `{_SIGNS[sign]}` in place of `{word[0] if word else character}`"
            )
        if word or character in "(@":
            return self._error("an operator is missing here: & (both), | (either) or - (without)")
        return self._error(
            f"unexpected `{character}`; operators are & (both), | (either) and - (without)"
        )

    def _error(self, problem: str, offset: int | None = None) -> ExpressionError:
        return ExpressionError(self.text, self.at if offset is None else offset, escape(problem))


def _wrong_part(cpulist: str) -> int:
    """Where the first part of a cpulist begins that cannot be read."""
    for part in re.finditer(r"[^,\s][^,]*", cpulist):
        try:
            CpuSet.parse_list(part[0])
        except ValueError:
            return part.start()
    return 0
