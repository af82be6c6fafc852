"""Run state is changed by its owner alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "netuned"


def assigned(tree: ast.AST) -> Iterator[ast.expr]:
    """Everything that is assigned to, of tuples each member."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            yield from target.elts if isinstance(target, ast.Tuple) else (target,)


def test_nobody_assigns_a_slots_attributes_but_the_slot() -> None:
    found = [
        f"{source.relative_to(PACKAGE)}:{target.lineno}: {ast.unparse(target)}"
        for source in PACKAGE.rglob("*.py")
        for target in assigned(ast.parse(source.read_text()))
        if isinstance(target, ast.Attribute) and ast.unparse(target.value).endswith("slot")
    ]
    assert not found
