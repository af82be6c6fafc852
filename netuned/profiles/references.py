"""References: a profile's sets by name, what each refers to, and names that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netuned.errors import ExpressionError
from netuned.profiles.syntax import WORDS, Expression, Reference, mask_hint
from netuned.text import nearest


def suggestion(name: str, sets: Mapping[str, object] | None = None) -> str:
    """``did you mean `x`?`` for a word that names no set, else nothing."""
    known = sorted({*WORDS, *(sets or {})})
    for word in known:
        if word.replace("-", "") == name.lower().replace("-", "").replace("_", ""):
            return f"did you mean `{word}`?"
    for word in known:
        if f"-{name}-".find(f"-{word}-") >= 0 or name.rpartition("-")[2].isdigit():
            return "a difference has spaces around its `-`"
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else ""


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
    if not hint and (mask := mask_hint(reference.name)):
        problem = mask
    elif not hint:
        problem += f"; define it under cpus, or use {', '.join(sorted(WORDS))}"
    return ExpressionError(expression.text, reference.start, problem)


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


def circles(sets: Mapping[str, Expression]) -> Iterator[tuple[str, ExpressionError]]:
    """Each circle of sets that refer to each other: the set in which it closes, and the error."""
    for start in sorted(sets):
        came_from: dict[str, str] = {}
        pending = [start]
        while pending:
            name = pending.pop(0)
            for reference in sets[name].references():
                if reference.name == start:
                    chain = [name]
                    while chain[-1] != start:
                        chain.append(came_from[chain[-1]])
                    circle = [*reversed(chain), start]
                    if start == min(circle):
                        problem = f"`{start}` is defined by itself: {' -> '.join(circle)}"
                        yield name, ExpressionError(sets[name].text, reference.start, problem)
                    pending.clear()
                    break
                if reference.name in sets and reference.name not in came_from:
                    came_from[reference.name] = name
                    pending.append(reference.name)
