"""What a CPU-set expression means on a host.

``take(N, set)`` is N CPUs, one of each physical core first, second threads after that;
``first(N, set)`` and ``last(N, set)`` are those with the lowest and the highest numbers. All three
choose among online CPUs and give the whole set where it has fewer than N.

Only online CPUs come out of :func:`evaluate`, and never none. :mod:`netuned.profiles.syntax` says
how expressions are written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.hardware.topology import Topology
from netuned.profiles.references import circles, needed_sets, suggestion, undefined
from netuned.profiles.syntax import (
    NAME,
    RESERVED,
    Around,
    Chosen,
    Expression,
    Indexed,
    Listed,
    Narrowed,
    Node,
    Reference,
    United,
    Word,
    parse,
)
from netuned.records import dataclass

__all__ = [
    "NAME",
    "RESERVED",
    "Expression",
    "Indexed",
    "Listed",
    "Step",
    "choose",
    "circles",
    "evaluate",
    "names_isolated",
    "needed_sets",
    "parse",
    "steps",
    "suggestion",
    "undefined",
]

_HOST_SETS: Mapping[str, Callable[[Topology], CpuSet]] = {
    "all": lambda topology: topology.possible,
    "online": lambda topology: topology.online,
    "isolated": lambda topology: topology.isolated,
    "nohz-full": lambda topology: topology.nohz_full,
    "housekeeping": lambda topology: topology.housekeeping,
    "first-threads": lambda topology: topology.first_threads,
    "performance": lambda topology: topology.performance,
    "efficiency": lambda topology: topology.efficiency,
}


_JOIN: Mapping[str, Callable[[CpuSet, CpuSet], CpuSet]] = {
    "&": operator.and_,
    "|": operator.or_,
    "-": operator.sub,
}


def evaluate(
    expression: Expression,
    topology: Topology,
    local: CpuSet,
    sets: Mapping[str, Expression] | None = None,
) -> CpuSet:
    """The online CPUs that the expression means on this host, for a card with these local CPUs.

    ``sets`` are the profile's own sets by name.

    Raises: ExpressionError if a named set is unknown or refers to itself, or if no CPU is left; it
    then says which step left none, and ``text`` is the expression in which that step stands.
    """
    evaluation = _Evaluation(topology, local, sets or {})
    evaluation.name_all(expression)
    cpus = evaluation.value(expression.root) & topology.online
    if not cpus:
        raise evaluation.blame(expression, expression.root, "")
    return cpus


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an evaluation.

    ``text`` is the source of the step, of an operator with all of its chain before it; ``name`` the
    profile's set in which it stands, empty in the expression itself. ``cpus`` are the online CPUs
    it gives; ``taken`` those that it (``&``, ``-`` or a function) took away from what was before.
    """

    text: str
    name: str
    cpus: CpuSet
    taken: CpuSet


def steps(
    expression: Expression,
    topology: Topology,
    local: CpuSet,
    sets: Mapping[str, Expression] | None = None,
) -> tuple[Step, ...]:
    """How ``evaluate`` comes to its CPUs, step by step; the last one gives what it returns.

    Sets of the profile come first, each after those it refers to; of an expression, an operand
    before the operator that joins it to what is on its left. Other than ``evaluate`` this may end
    with no CPU.

    Raises: ExpressionError if a named set is unknown or refers to itself.
    """
    evaluation = _Evaluation(topology, local, sets or {})
    evaluation.name_all(expression)
    return (
        *(
            step
            for name in evaluation.named
            for step in evaluation.steps(evaluation.sets[name], evaluation.sets[name].root, name)
        ),
        *evaluation.steps(expression, expression.root, ""),
    )


def names_isolated(expression: Expression, sets: Mapping[str, Expression]) -> bool:
    """Whether the author asks for CPUs that may be isolated: by number, or as isolated ones.

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
        case Around(kind, of):
            return kind == "core" and named[of.name]
        case Reference(name):
            return named[name]
        case Chosen():
            return _asks(node.of, named)
        case United(parts):
            return any(_asks(part, named) for part in parts)
        case Narrowed():
            kept = [node.head, *(part for sign, part in node.steps if sign == "&")]
            return any(_asks(part, named) for part in kept)


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


class _Evaluation:
    """The host, the card's own CPUs, and the named sets' values, each computed once."""

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
                return self.local if name == "local" else _HOST_SETS[name](self.topology)
            case Listed(cpus):
                return cpus
            case Reference(name):
                return self.named[name]
            case Indexed(kind, number):
                return self._indexed(kind, number)
            case Around(kind, of):
                return CpuSet.of(
                    cpu for each in self.value(of) for cpu in self._indexed(kind, each)
                )
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
                    cpus = _JOIN[sign](cpus, self.value(part))
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

    def steps(self, expression: Expression, node: Node, name: str) -> Iterator[Step]:
        online = self.topology.online
        cpus = self.value(node) & online
        match node:
            case Chosen():
                yield from self.steps(expression, node.of, name)
                taken = (self.value(node.of) & online) - cpus
                yield Step(expression.source(node), name, cpus, taken)
            case Narrowed():
                yield from self._chain(expression, node.head, node.steps, name)
            case United((head, *others)):
                yield from self._chain(expression, head, [("|", part) for part in others], name)
            case _:
                yield Step(expression.source(node), name, cpus, CpuSet())

    def _chain(
        self, expression: Expression, head: Node, parts: Iterable[tuple[str, Node]], name: str
    ) -> Iterator[Step]:
        yield from self.steps(expression, head, name)
        left = self.value(head) & self.topology.online
        for sign, part in parts:
            yield from self.steps(expression, part, name)
            before, right = left, self.value(part) & self.topology.online
            left = _JOIN[sign](before, right)
            yield Step(expression.text[head.start : part.end], name, left, before - left)

    def blame(self, expression: Expression, node: Node, where: str) -> ExpressionError:
        """The error for a node without online CPUs: the innermost step that left none."""
        problem = ""
        match node:
            case Reference(name):
                return self.blame(self.sets[name], self.sets[name].root, f" in the set `{name}`")
            case Around():
                return self.blame(expression, node.of, where)
            case Chosen():
                return self.blame(expression, node.of, where)
            case United(parts):
                deeper = [part for part in parts if not isinstance(part, Word | Indexed | Listed)]
                if deeper:
                    return self.blame(expression, deeper[0], where)
                problem = f"`{expression.source(node)}`{where}: none of these has an online CPU"
            case Narrowed():
                return self._blame_step(expression, node, where)
            case Word(name):
                problem = f"`{name}`{where} is empty on this host"
            case Indexed():
                problem = f"`{expression.source(node)}`{where}: {self._lacks(node)}"
            case Listed(cpus):
                state = f"not on this host (it has {self.topology.possible})"
                if cpus & self.topology.possible:
                    state = "offline"
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
            after = _JOIN[sign](left, right)
            if after:
                left, end = after, part.end
                continue
            start = node.head.start
            chain = expression.text[start : part.end]
            before, other = expression.text[start:end], expression.source(part)
            if sign == "&" and not right:
                error = self.blame(expression, part, where)
                if isinstance(part, Word | Indexed | Listed):
                    error.problem = f"`{chain}`: {error.problem}"
                return error
            before, other = _with_value(before, left), _with_value(other, right)
            if sign == "-":
                why = f"{other} takes away all of {before}"
            else:
                why = f"{before} and {other} have no CPU in common"
            problem = f"`{chain}`{where} is empty: {why}"
            return ExpressionError(expression.text, part.start, problem)
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
            packages = CpuSet((1 << count) - 1) or "none"
            return f"this host has no package {number} (it has {packages})"
        state = "offline" if number in self.topology.possible else "not on this host"
        return f"CPU {number} is {state} (online are {self.topology.online})"


def _with_value(text: str, cpus: CpuSet) -> str:
    return f"`{text}`" if text == str(cpus) else f"`{text}` ({cpus})"


def _these(cpus: CpuSet) -> str:
    return f"CPU {cpus} is" if len(cpus) == 1 else f"CPUs {cpus} are"
