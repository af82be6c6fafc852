"""What is planned does not depend on the order of a set, which Python changes from run to run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "netuned"
PLANNING = ("hardware", "placement", "planning", "profiles", "tunables")
SOURCES = [path for layer in PLANNING for path in sorted((PACKAGE / layer).glob("*.py"))]

SETS = ("set", "frozenset")
ORDERLESS = ("all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum")
"""What they make of an iterable is the same in any order."""
ORDERED = (".fromkeys", ".join", "enumerate", "iter", "list", "next", "tuple", "zip")


def unordered(tree: ast.Module) -> Iterator[int]:
    """Lines that go through a set: written there, or by a name or attribute known to be one."""
    everywhere = frozenset(_sets(tree, FIELDS_AND_RETURNS))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for scope in (*functions, ast.Module([n for n in tree.body if n not in functions], [])):
        yield from _unordered(scope, everywhere | frozenset(_sets(scope, LOCALS)))


def _unordered(scope: ast.AST, names: frozenset[str]) -> Iterator[int]:
    exempt = set(_without_order(scope))
    for node in ast.walk(scope):
        through: list[ast.expr] = []
        if isinstance(node, ast.For | ast.comprehension) and node not in exempt:
            through = [node.iter]
        elif isinstance(node, ast.Call) and _name(node.func) in ORDERED:
            through = node.args
        elif isinstance(node, ast.Starred):
            through = [node.value]
        yield from (part.lineno for part in through if _is_set(part, names))


def _without_order(scope: ast.AST) -> Iterator[ast.AST]:
    """Comprehensions of which the result has no order, or needs none."""
    for node in ast.walk(scope):
        if isinstance(node, ast.SetComp):
            yield from node.generators
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ORDERLESS:
            for argument in node.args:
                if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                    yield from argument.generators


LOCALS = (ast.Assign, ast.AnnAssign, ast.arg)
FIELDS_AND_RETURNS = (ast.ClassDef, ast.FunctionDef)


def _sets(tree: ast.AST, kinds: tuple[type[ast.AST], ...]) -> Iterator[str]:
    """The names that are assigned or annotated as sets."""
    for node in ast.walk(tree):
        match node if isinstance(node, kinds) else None:
            case ast.AnnAssign(target=target, annotation=annotation) if _says(annotation):
                yield _name(target)
            case ast.arg(arg=name, annotation=ast.expr() as annotation) if _says(annotation):
                yield name
            case ast.Assign(targets=[target], value=value) if _is_set(value, frozenset()):
                yield _name(target)
            case ast.FunctionDef(name=name, returns=ast.expr() as returns) if _says(returns):
                yield f"{name}()"
            case ast.ClassDef(body=body):
                fields = (part for part in body if isinstance(part, ast.AnnAssign))
                yield from (f".{_name(part.target)}" for part in fields if _says(part.annotation))


def _says(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).split("[")[0] in SETS


def _name(node: ast.expr) -> str:
    return f".{node.attr}" if isinstance(node, ast.Attribute) else ast.unparse(node)


def _is_set(node: ast.expr, names: frozenset[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=func):
            return ast.unparse(func) in SETS or f"{_name(func).removeprefix('.')}()" in names
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub(), right=right):
            return _is_set(left, names) or _is_set(right, names)
    return _name(node) in names


def test_nothing_planned_goes_through_a_set() -> None:
    found = {
        f"{source.relative_to(PACKAGE)}:{line}"
        for source in SOURCES
        for line in unordered(ast.parse(source.read_text()))
    }
    assert not found, "sort what these lines go through"


@pytest.mark.parametrize(
    "line",
    [
        "for bond in {card.group for card in cards}: pass",
        "names: set[str] = set()\nx = [name for name in names]",
        "names = frozenset(a)\n', '.join(names | b)",
        "def closes() -> set[str]: ...\nx = tuple(self.closes())",
        "x = (*{1, 2},)",
        "class Card:\n    kept: frozenset[int]\nx = list(card.kept)",
    ],
)
def test_it_is_found(line: str) -> None:
    assert list(unordered(ast.parse(line)))
