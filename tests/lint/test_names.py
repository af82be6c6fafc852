"""A tunable is known by name where it is declared, and nowhere else but where this list says why.

Elsewhere are neither its name as a text, nor its module, nor its part of a profile.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.tunables import BY_NAME

PACKAGE = Path(__file__).resolve().parents[2] / "netuned"

OWN = ("tunables/", "profiles/", "kernel/", "importing/")
"""Its declaration, the schema of profiles, and tables of the kernel's words and other tools'."""

COMMON = {"__init__", "base"}
"""Modules of the tunables' package that are of no tunable in particular."""

QUEUES = "How many queues a card has, and where they are served, is what is placed."
TOLD = "Tells of the placement: of queues, and of what is done with their interrupts."
RECORD = "The record of a queue, or a card, has columns of its own: a documented contract."
KINDS = "Kinds of values in netuned's files, some named like the tunable that had them first."
KEPT = "What a profile keeps as it is somebody wants so; and a kind of a CPU's time."
HOST = "What the host's settings should be, all cards together decide."

JOINT: dict[str, tuple[str, dict[str, int]]] = {
    "planning/planner.py": (QUEUES, {"channels": 1, "irq": 2, "rps": 1, "xps": 1}),
    "planning/explain.py": (TOLD, {"channels": 2, "irq": 4}),
    "planning/funnel.py": (TOLD, {"irq": 2}),
    "planning/whynot.py": (TOLD, {"irq": 1}),
    "doctor/cpus.py": (KEPT, {"irq": 2}),
    "doctor/load.py": (KEPT, {"irq": 1}),
    "doctor/spread.py": (KEPT, {"rss": 1}),
    "doctor/transmit.py": (KEPT, {"qdisc": 1, "xps": 1}),
    "bus/wire.py": (RECORD, {"irq": 1, "qdisc": 1, "rps": 1, "xps": 1}),
    "cli/explain.py": (RECORD, {"channels": 1}),
    "valuejson.py": (KINDS, {"channels": 2, "flows": 2, "qdisc": 2}),
    "reconcile/host.py": (HOST, {"irqbalance": 1, "rfs": 1}),
}
"""Who names tunables: why, and each how often."""


def named(tree: ast.AST) -> Iterator[str]:
    """The tunables that a module names, and the modules that it takes from their package."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text in BY_NAME:
                yield text
            case ast.Attribute(value=whole, attr=name) if name in BY_NAME:
                if ast.unparse(whole).rpartition(".")[2] == "profile":
                    yield name
            case ast.ImportFrom(module="netuned.tunables", names=names):
                taken = {alias.name for alias in names}
                yield from taken & {path.stem for path in (PACKAGE / "tunables").glob("*.py")}
            case ast.ImportFrom(module=str(module)) if module.startswith("netuned.tunables."):
                yield module.rpartition(".")[2]
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.startswith("netuned.tunables."):
                        yield alias.name.rpartition(".")[2]


def found() -> dict[str, dict[str, int]]:
    """Module -> what it names, and how often."""
    every = {
        path.relative_to(PACKAGE).as_posix(): Counter(
            name for name in named(ast.parse(path.read_text())) if name not in COMMON
        )
        for path in PACKAGE.rglob("*.py")
    }
    return {path: dict(names) for path, names in every.items() if names}


def test_no_tunable_is_named_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = {path: names for path, names in found().items() if not path.startswith(OWN)}
    listed = {path: names for path, (_, names) in JOINT.items()}
    assert elsewhere == listed
    with capsys.disabled():
        places = sum(sum(names.values()) for names in listed.values())
        print(f"\n{places} places in {len(listed)} modules name a tunable")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("is_it = name == 'rings'", ["rings"]),
        ("spec = card.target.profile.rings", ["rings"]),
        ("card.rings", []),
        ("'rings and more'", []),
        ("from netuned.tunables import TUNABLES, rings", ["rings"]),
        ("from netuned.tunables.rings import FIELDS", ["rings"]),
        ("import netuned.tunables.rings", ["rings"]),
        ("import netuned.tunables", []),
    ],
)
def test_what_counts_as_a_name(line: str, names: list[str]) -> None:
    assert [*named(ast.parse(line))] == names
