"""Private parts of dbus-fast are used where it is said, and of the version they were read in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import dbus_fast

from tests.lint.test_linters import ROOT
from tests.lint.test_references import SOURCES

USERS = {
    "netuned/bus/connection.py",
    "tests/fuzz/requests.py",
    "tests/unit/test_reading.py",
}
"""Who may: the program's one module, and tests that make and take messages without a bus."""

LIBRARY = Path(dbus_fast.__file__).parent
PRIVATE = {
    name
    for source in LIBRARY.rglob("*.py")
    for name in re.findall(r"(?:\bself\.|\bdef )(_[a-z]\w*)", source.read_text())
}
"""Its methods and attributes that begin with one underscore."""


def used(tree: ast.Module) -> Iterator[str]:
    """Private parts of dbus-fast in a module; not what is its own, or an imported module's."""
    nodes = list(ast.walk(tree))
    modules = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    own = {
        target.attr
        for node in nodes
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)
    }
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dbus_fast"):
            path = f"{node.module}.{'.'.join(name.name for name in node.names)}"
            if re.search(r"\._", path):
                yield path
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE - own:
            if not (isinstance(node.value, ast.Name) and node.value.id in modules):
                yield node.attr
        elif isinstance(node, ast.ClassDef) and _bases(node) & {"Message", "MessageBus"}:
            yield from {getattr(part, "name", "") for part in node.body} & PRIVATE


def _bases(node: ast.ClassDef) -> set[str]:
    return {base.id for base in node.bases if isinstance(base, ast.Name)}


def test_private_parts_of_dbus_fast_are_used_in_few_places() -> None:
    assert {"_writer", "_marshall", "_process_message"} <= PRIVATE
    found = {}
    for source in SOURCES:
        text = source.read_text()
        if re.search(r"^\s*(from|import) (dbus_fast|netuned\.bus)", text, re.MULTILINE):
            found[source.relative_to(ROOT).as_posix()] = sorted(set(used(ast.parse(text))))
    assert {source: names for source, names in found.items() if names}.keys() == USERS, found


def test_dbus_fast_is_held_to_one_minor_version() -> None:
    lower, upper = re.findall(
        r'"dbus-fast>=5\.(\d+),<5\.(\d+)"', (ROOT / "pyproject.toml").read_text()
    )[0]
    locked = re.findall(r"^dbus-fast==5\.(\d+)\.", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked == [lower]
    assert int(upper) == int(lower) + 1
