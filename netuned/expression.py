"""The CPU-set language: what a profile writes where it means a set of CPUs.

    set    := term { "|" term }
    term   := part { ("&" | "-") part }
    part   := "(" set ")" | function "(" N "," set ")" | cpulist | word | word ":" N | ["@"] name

``&`` (both) and ``-`` (without) bind equally, from left to right, and tighter than ``|`` (either), so every
expression means what it means for Python's sets. A ``-`` with a letter or digit directly on both sides
belongs to the word or cpulist it stands in (``0-3``, ``nohz-full``); every other one is the difference
(``0-7 - 2``).

``take(N, set)`` is N CPUs, one of each physical core first, second threads after that; ``first(N, set)`` and
``last(N, set)`` are those with the lowest and the highest numbers. All three choose among online CPUs and give
the whole set where it has fewer than N.

Only online CPUs come out of :func:`evaluate`, and never none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.topology import Topology

MAX_LENGTH = 4096
MAX_DEPTH = 32

WORDS: dict[str, Callable[[Topology], CpuSet]] = {
    "all": lambda topology: topology.possible,
    "online": lambda topology: topology.online,
    "isolated": lambda topology: topology.isolated,
    "nohz-full": lambda topology: topology.nohz_full,
    "housekeeping": lambda topology: topology.housekeeping,
    "first-threads": lambda topology: topology.first_threads,
    "performance": lambda topology: topology.performance,
    "efficiency": lambda topology: topology.efficiency,
}
LOCAL = "local"
INDEXED = ("node", "l3", "package", "core")
FUNCTIONS = ("take", "first", "last")
RESERVED = frozenset(
    {*WORDS, LOCAL, *INDEXED, *FUNCTIONS, "auto", "none", "keep", "default", "and", "or", "not"}
)
"""Words that mean something by themselves: no set of a profile can have one as its name."""

NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", re.ASCII)
"""What the name of a set looks like."""


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


Node = Word | Indexed | Listed | Reference | Chosen | Narrowed | United


@dataclass(frozen=True, slots=True)
class Expression:
    """A text that was read, and its meaning; the nodes' ``start`` and ``end`` are offsets into the text."""

    text: str
    root: Node

    def nodes(self) -> Iterator[Node]:
        """Every node, outermost first."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            yield node
            match node:
                case Chosen():
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


def parse(text: str) -> Expression:
    """Read an expression.

    Raises: ExpressionError at the character that is wrong.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            text[:40] + "…", 0, f"the expression is longer than {MAX_LENGTH} characters"
        )
    return Expression(text, _Parser(text).parse())


def evaluate(
    expression: Expression,
    topology: Topology,
    local: CpuSet,
    sets: Mapping[str, Expression] | None = None,
) -> CpuSet:
    """The online CPUs that the expression means on this host, for a card whose own CPUs are ``local``.

    ``sets`` are the profile's own sets by name.

    Raises: ExpressionError if a named set is unknown or refers to itself, or if no CPU is left; it then
    says which step left none, and ``text`` is the expression in which that step stands.
    """
    evaluation = _Evaluation(topology, local, sets or {})
    evaluation.name_all(expression)
    cpus = evaluation.value(expression.root) & topology.online
    if not cpus:
        raise evaluation.blame(expression, expression.root, "")
    return cpus


def names_isolated(expression: Expression, sets: Mapping[str, Expression]) -> bool:
    """Whether the author asks for CPUs that may be isolated: by number, or as a set of isolated ones.

    What follows a ``-`` asks for nothing. Raises: ExpressionError as ``needed_sets`` does.
    """
    asking: dict[str, bool] = {}
    for name in needed_sets(expression, sets):
        asking[name] = _asks(sets[name].root, asking)
    return _asks(expression.root, asking)


def _asks(node: Node, named: Mapping[str, bool]) -> bool:
    match node:
        case Listed():
            return True
        case Word(name):
            return name in ("isolated", "nohz-full")
        case Indexed(kind):
            return kind == "core"
        case Reference(name):
            return named[name]
        case Chosen():
            return _asks(node.of, named)
        case United(parts):
            return any(_asks(part, named) for part in parts)
        case Narrowed():
            kept = [node.head, *(part for sign, part in node.steps if sign == "&")]
            return any(_asks(part, named) for part in kept)


def suggestion(name: str, sets: Mapping[str, object] | None = None) -> str:
    """``did you mean `x`?`` for a word that names no set, else nothing."""
    known = sorted({*WORDS, LOCAL, *(sets or {})})
    for word in known:
        if word.replace("-", "") == name.lower().replace("-", "").replace("_", ""):
            return f"did you mean `{word}`?"
    for word in known:
        if name.startswith(f"{word}-") or name.endswith(f"-{word}"):
            return "a difference has spaces around its `-`"
    near = difflib.get_close_matches(name.lower()[:60], known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def undefined(expression: Expression, sets: Mapping[str, Expression]) -> Iterator[ExpressionError]:
    """An error for each name in the expression that is no set of the profile."""
    for reference in expression.references():
        if reference.name not in sets:
            yield _undefined(expression, reference, sets)


def _undefined(
    expression: Expression, reference: Reference, sets: Mapping[str, Expression]
) -> ExpressionError:
    hint = suggestion(reference.name, sets)
    problem = f"`{reference.name}` is no CPU set" + (f"; {hint}" if hint else "")
    if not hint:
        problem += f": define it under cpus, or use {', '.join(sorted({*WORDS, LOCAL}))}"
    return ExpressionError(expression.text, reference.start, problem)


class _Parser:
    """Recursive descent over the text; a chain of operators is one node, so only parentheses nest."""

    _WORD = re.compile(r"@?[A-Za-z0-9_](?:[A-Za-z0-9_.:/,]|-(?=[A-Za-z0-9_]))*", re.ASCII)
    _CPULIST = re.compile(r"[0-9](?:[0-9]|[-:/](?=[0-9])|\s*,\s*(?=[0-9]))*", re.ASCII)
    _SPACE = re.compile(r"\s*")
    _SIGNS = {
        "&&": "&",
        "||": "|",
        "and": "&",
        "or": "|",
        "not": "-",
        "+": "|",
        ",": "|",
        "!": "-",
        "\\": "-",
    }

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
            self._close(start)
            return node
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
            raise self._error(
                f"`{word[0] if word else text}` is neither a CPU list like 0-3,8 nor a name"
            )
        try:
            cpus = CpuSet.parse_list(text)
        except ValueError as error:
            hint = (
                "; a difference has spaces around its `-`" if re.search(r"\d-\d+-\d", text) else ""
            )
            raise self._error(f"{str(error).replace(chr(39), '`')}{hint}") from None
        self._skip(end)
        return Listed(cpus, start, end)

    def _word(self, found: re.Match[str]) -> Node:
        start, end = found.span()
        word = found[0].rstrip(",.:/")
        end = start + len(word)
        if word.lower() in self._SIGNS:
            raise self._error(f"write `{self._SIGNS[word.lower()]}` in place of `{word}`")
        self._skip(end)
        if word in FUNCTIONS:
            return self._function(word, start)
        kind, colon, number = word.partition(":")
        if kind in INDEXED or self.text.startswith(":", end):
            return self._indexed(word, start, end)
        if self.text.startswith("(", self.at):
            raise self._error(f"`{word}` is no function; there are {', '.join(FUNCTIONS)}", start)
        if word == LOCAL or word in WORDS:
            return Word(word, start, end)
        name = word.removeprefix("@")
        if not NAME.fullmatch(name):
            raise self._error(f"`{word}` is not the name of a CPU set", start)
        return Reference(name, start, end)

    def _indexed(self, word: str, start: int, end: int) -> Node:
        kind, _, number = word.partition(":")
        if kind not in INDEXED:
            near = difflib.get_close_matches(kind.lower(), INDEXED, n=1)
            hint = (
                f"did you mean `{near[0]}:`?"
                if near
                else f"only {', '.join(INDEXED)} take a number"
            )
            raise self._error(f"`{kind}:` is not known; {hint}", start)
        what = "CPU" if kind in ("l3", "core") else "number"
        if not number.isdigit() or len(number) > 5:
            raise self._error(
                f"`{kind}:` takes one {what}, like {kind}:0; join several with `|`", start
            )
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
        self._close(start)
        return Chosen(word, int(found[0]), of, start, len(self.text[: self.at].rstrip()))

    def _nested(self, start: int, inner: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"parentheses are nested more than {MAX_DEPTH} deep", start)
        node = inner()
        self.depth -= 1
        return node

    def _close(self, start: int) -> None:
        if self._sign(")"):
            return
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
        if before and before in "&|-(,":
            where = f"after `{before}`"
        else:
            where = "here"
        if self.at == len(self.text):
            return f"a CPU set is missing {where}"
        return f"a CPU set is expected {where}, not `{self.text[self.at]}`"

    def _stray(self, before: Node | None) -> ExpressionError:
        """The error for text after a complete set."""
        character = self.text[self.at]
        if character == ")":
            return self._error("no parenthesis is open here")
        word = self._WORD.match(self.text, self.at)
        sign = word[0].lower() if word else character
        if sign in self._SIGNS:
            return self._error(
                f"write `{self._SIGNS[sign]}` in place of `{word[0] if word else character}`"
            )
        if word or character in "(@":
            return self._error("an operator is missing here: & (both), | (either) or - (without)")
        return self._error(
            f"unexpected `{character}`; operators are & (both), | (either) and - (without)"
        )

    def _error(self, problem: str, offset: int | None = None) -> ExpressionError:
        return ExpressionError(self.text, self.at if offset is None else offset, problem)


class _Evaluation:
    """One evaluation: the host, the card's own CPUs, and the named sets' values, each computed once."""

    def __init__(self, topology: Topology, local: CpuSet, sets: Mapping[str, Expression]) -> None:
        self.topology = topology
        self.local = local
        self.sets = sets
        self.named: dict[str, CpuSet] = {}

    def name_all(self, expression: Expression) -> None:
        """Compute every named set the expression needs, those it refers to first."""
        for name in needed_sets(expression, self.sets):
            self.named[name] = self.value(self.sets[name].root)

    def value(self, node: Node) -> CpuSet:
        match node:
            case Word(name):
                return self.local if name == LOCAL else WORDS[name](self.topology)
            case Listed(cpus):
                return cpus
            case Reference(name):
                return self.named[name]
            case Indexed(kind, number):
                return self._indexed(kind, number)
            case Chosen():
                return choose(node.function, node.count, self.value(node.of), self.topology)
            case United(parts):
                cpus = CpuSet()
                for part in parts:
                    cpus |= self.value(part)
                return cpus
            case Narrowed():
                cpus = self.value(node.head)
                for sign, part in node.steps:
                    cpus = cpus & self.value(part) if sign == "&" else cpus - self.value(part)
                return cpus

    def _indexed(self, kind: str, number: int) -> CpuSet:
        match kind:
            case "node":
                return self.topology.nodes.get(number, CpuSet())
            case "package":
                packages = self.topology.packages
                return packages[number] if number < len(packages) else CpuSet()
            case "l3":
                return self.topology.l3_of(number)
            case _:
                return self.topology.core_of(number)

    def blame(self, expression: Expression, node: Node, where: str) -> ExpressionError:
        """The error for a node without online CPUs: the innermost step that left none."""
        online = self.topology.online
        problem = ""
        match node:
            case Reference(name):
                return self.blame(self.sets[name], self.sets[name].root, f" in the set `{name}`")
            case Chosen():
                return self.blame(expression, node.of, where)
            case United(parts):
                if len(parts) == 1 or all(
                    isinstance(part, Word | Indexed | Listed) for part in parts
                ):
                    problem = (
                        f"`{expression.source(node)}`{where}: none of these has a CPU on this host"
                    )
                else:
                    return self.blame(
                        expression, next(p for p in parts if not isinstance(p, Word)), where
                    )
            case Narrowed():
                return self._blame_step(expression, node, where)
            case Word(name):
                problem = f"`{name}`{where} is empty on this host"
            case Indexed():
                problem = f"`{expression.source(node)}`{where}: {self._lacks(node)}"
            case Listed(cpus):
                state = (
                    "offline"
                    if cpus & self.topology.possible
                    else f"not on this host (it has {online})"
                )
                problem = f"`{expression.source(node)}`{where}: {_these(cpus)} {state}"
        return ExpressionError(expression.text, node.start, problem)

    def _blame_step(self, expression: Expression, node: Narrowed, where: str) -> ExpressionError:
        """The step of a chain that took the last CPU away."""
        online = self.topology.online
        left = self.value(node.head) & online
        end = node.head.end
        if not left:
            return self.blame(expression, node.head, where)
        for sign, part in node.steps:
            right = self.value(part) & online
            after = left & right if sign == "&" else left - right
            if after:
                left, end = after, part.end
                continue
            chain = expression.text[node.start : part.end]
            before, other = expression.text[node.start : end], expression.source(part)
            if sign == "-":
                why = f"`{other}` ({right}) takes away all of `{before}` ({left})"
            elif right:
                why = f"`{before}` ({left}) and `{other}` ({right}) have no CPU in common"
            else:
                why = self.blame(expression, part, where).problem
                if not isinstance(part, Word | Indexed | Listed):
                    return self.blame(expression, part, where)
                return ExpressionError(expression.text, part.start, f"`{chain}`: {why}")
            return ExpressionError(expression.text, node.start, f"`{chain}`{where} is empty: {why}")
        raise AssertionError("a chain that is empty has a step that emptied it")

    def _lacks(self, node: Indexed) -> str:
        number = node.number
        if node.kind == "node":
            nodes = CpuSet.of(self.topology.nodes)
            if number in nodes:
                return f"NUMA node {number} has no online CPU"
            return f"this host has no NUMA node {number} (it has {nodes or 'none'})"
        if node.kind == "package":
            count = len(self.topology.packages)
            return (
                f"this host has no package {number} (it has {CpuSet((1 << count) - 1) or 'none'})"
            )
        state = "offline" if number in self.topology.possible else "not on this host"
        return f"CPU {number} is {state} (online: {self.topology.online})"


def needed_sets(expression: Expression, sets: Mapping[str, Expression]) -> tuple[str, ...]:
    """The names of the sets that the expression needs, each after those it refers to itself.

    Raises: ExpressionError for an unknown name, and for sets that refer to each other in a circle.
    """
    order: list[str] = []
    done: set[str] = set()
    path: list[str] = []
    stack: list[tuple[Expression, Iterator[Reference]]] = [
        (expression, iter(expression.references()))
    ]
    while stack:
        current, references = stack[-1]
        reference = next(references, None)
        if reference is None:
            stack.pop()
            if path:
                done.add(path[-1])
                order.append(path.pop())
        elif reference.name in path:
            circle = " -> ".join([*path[path.index(reference.name) :], reference.name])
            problem = f"`{reference.name}` is defined by itself: {circle}"
            raise ExpressionError(current.text, reference.start, problem)
        elif reference.name not in sets:
            raise _undefined(current, reference, sets)
        elif reference.name not in done:
            path.append(reference.name)
            stack.append((sets[reference.name], iter(sets[reference.name].references())))
    return tuple(order)


def choose(function: str, count: int, cpus: CpuSet, topology: Topology) -> CpuSet:
    """``take``, ``first`` or ``last``: at most ``count`` online CPUs of a set."""
    online = list(cpus & topology.online)
    if function == "last":
        return CpuSet.of(online[-count:])
    if function == "take":
        rank: dict[CpuSet, int] = {}
        turns = []
        for cpu in online:
            core = topology.core_of(cpu)
            turns.append(rank.setdefault(core, 0))
            rank[core] += 1
        online = [cpu for _, cpu in sorted(zip(turns, online, strict=True))]
    return CpuSet.of(online[:count])


def _these(cpus: CpuSet) -> str:
    return f"CPU {cpus} is" if len(cpus) == 1 else f"CPUs {cpus} are all"
