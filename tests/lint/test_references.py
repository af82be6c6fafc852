"""What comments, docstrings and documents point at is there: modules, names in them, files, tests.

Prose is not checked by the interpreter, so what moves leaves references behind.
"""

from __future__ import annotations

import ast
import importlib
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lint.test_linters import ROOT

SOURCES = tuple(
    path for top in ("netuned", "tests", "bench") for path in (ROOT / top).rglob("*.py")
)
DOCUMENTS = (*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"))

ROLE = re.compile(r":(?:mod|func|class|data|meth|attr|exc):`~?([\w.]+)`")
DOTTED = re.compile(r"(?<![\w./-])(?:netuned|tests|bench)(?:\.\w+)+")
IN_REPOSITORY = re.compile(r"(?<![\w./-])(?:netuned|tests|bench|docs|units|profiles)/[\w./-]*\.\w+")
IN_BACKTICKS = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|md|c|mk|toml))((?:::\w+)*)`")
MODULES = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)
PACKAGE = re.compile(r"^\| \*\*(?:`(\w+)/`|beside)", re.MULTILINE)

OTHERS = {"netuned.service", "netuned.yaml", "netuned.yaml.d", "netuned.profile"}
"""Named like modules: the unit, the daemon's settings, the page of profiles."""

COLLECTION = "netuned.netuned"
"""Ansible's collection, and the beginning of what is in it."""


def prose(source: Path) -> Iterator[str]:
    """Comments, docstrings, and the strings below assignments that describe them."""
    with source.open("rb") as opened:
        for token in tokenize.tokenize(opened.readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def resolves(dotted: str) -> bool:
    """Whether a name that begins with a package of the repository is a module, or in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
            continue
        found: object = importlib.import_module(".".join(parts[:length]))
        for name in parts[length:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def broken(text: str, module: str = "") -> Iterator[str]:
    """The references of a text to nothing; names without a package are those of ``module``."""
    for name in ROLE.findall(text):
        if not DOTTED.fullmatch(name) and not resolves(f"{module}.{name}"):
            yield name
    for name in DOTTED.findall(text):
        if name not in OTHERS and not name.startswith(COLLECTION) and not resolves(name):
            yield name
    for path in IN_REPOSITORY.findall(text):
        if not (ROOT / path.rstrip(".")).exists():
            yield path


@pytest.mark.parametrize("top", ["netuned", "tests", "bench"])
def test_references_in_sources(top: str) -> None:
    found = {
        source.relative_to(ROOT).as_posix(): wrong
        for source in SOURCES
        if source.is_relative_to(ROOT / top)
        and (wrong := [w for text in prose(source) for w in broken(text, module_of(source))])
    }
    assert not found


def module_of(source: Path) -> str:
    return ".".join(source.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_references_in_documents(document: Path) -> None:
    """A file may be named as from the top, or as from netuned/; a test by its file and function."""
    text = document.read_text()
    wrong = list(broken(text))
    for name, inside in IN_BACKTICKS.findall(text):
        places = [
            place for place in (ROOT, ROOT / "netuned", ROOT / "docs") if (place / name).is_file()
        ]
        if not places:
            wrong.append(name)
        elif inside and f" {inside.split('::')[-1]}(" not in (places[0] / name).read_text():
            wrong.append(name + inside)
    assert not wrong


def test_modules_in_the_table_of_the_architecture() -> None:
    """All that are named there are; and all that are, but tunables and commands, are named."""
    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("## Modules") : text.index("## The loop")]
    starts = list(PACKAGE.finditer(table))
    assert len(starts) > 5
    wrong = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        package = ROOT / "netuned" / (start[1] or "")
        rows = table[start.start() : end.start() if end else None]
        there = {path.stem for path in package.glob("*.py") if not path.name.startswith("__")}
        if start[1] not in ("tunables", "cli"):
            wrong += sorted(there - set(re.findall(r"`(\w+)`", rows)))
        for row in MODULES.findall(table[start.end() : end.start() if end else None]):
            wrong += [
                name for name in re.findall(r"\w+", row) if not (package / f"{name}.py").is_file()
            ]
    assert not wrong
