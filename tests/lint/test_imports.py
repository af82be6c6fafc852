"""Imports follow the way of the data (docs/architecture.md) and never run back up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "netuned"

LAYERS = (
    "kernel",
    "hardware",
    "counters",
    "profiles",
    "placement",
    "tunables",
    "planning",
    "reconcile",
    "snapshots",
    "doctor",
    "experiment",
    "importing",
    "bus",
    "fleet",
    "metrics",
    "report",
    "top",
    "cli",
)
"""Each may import those before it; modules beside them are plain values, or the daemon's wiring."""


def imported(source: Path) -> set[str]:
    """The packages and modules directly below netuned that ``source`` imports."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"netuned.{name.name}" for name in node.names]
            parts = (names[0] if node.module == "netuned" else node.module).split(".")
            if parts[0] == "netuned" and len(parts) > 1:
                found.add(parts[1])
    return found


def test_every_package_has_its_layer() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_follow_the_data(layer: str) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"daemon", "__main__"}
    back = {
        str(source.relative_to(PACKAGE)): sorted(imported(source) & later)
        for source in (PACKAGE / layer).glob("*.py")
    }
    assert not {source: names for source, names in back.items() if names}


def test_only_the_edges_speak_dbus() -> None:
    """Of the rest only systemd's client does, below."""
    speakers = {
        source.relative_to(PACKAGE).as_posix()
        for source in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(from|import) (dbus_fast|jeepney)", source.read_text(), re.MULTILINE)
    }
    assert {path for path in speakers if not path.startswith("bus/")} <= {"kernel/systemd.py"}
    assert "bus/service.py" in speakers
