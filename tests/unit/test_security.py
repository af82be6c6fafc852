"""What SECURITY.md promises of the source: no shell, no code from outside, locked packages."""

from __future__ import annotations

import ast
import contextlib
import itertools
import logging
import os
import re
import stat
import tomllib
import unicodedata
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from netuned.errors import ProfileError
from netuned.logs import _Plain
from netuned.profiles.trust import read_trusted
from netuned.text import escape

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "netuned").rglob("*.py"))

FORBIDDEN_MODULES = {"subprocess", "pty", "popen2", "commands", "pickle", "marshal", "shelve"}
MAY = {
    "netuned/cli/edit.py": {"subprocess"},
    "netuned/cli/turns.py": {"os.fork"},
    "netuned/experiment/window.py": {"subprocess"},
    "netuned/records.py": {"exec"},
}
"""`netunedctl edit` and `experiment` run the editor and the load that their own user names, with
that user's rights; the latter forks itself, to have a watch that outlives it. And records'
`__init__` is compiled of the names that are written in netuned's own classes."""
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "os.system", "os.popen", "os.fork", "os.forkpty"),
    *(f"os.{kind}{how}" for kind in ("exec", "spawn") for how in ("l", "le", "lp", "lpe")),
    *(f"os.{kind}{how}" for kind in ("exec", "spawn") for how in ("v", "ve", "vp", "vpe")),
    *("os.posix_spawn", "os.posix_spawnp", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}


def called(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_a_program_or_code_from_outside(path: Path) -> None:
    tree = ast.parse(path.read_text())
    may = MAY.get(str(path.relative_to(ROOT)), set())
    assert not (FORBIDDEN_MODULES - may) & {name.partition(".")[0] for name in imported(tree)}
    assert not (FORBIDDEN_CALLS - may) & called(tree)


INSTALLED = ROOT / "requirements.lock"
LOCKS = tuple(
    ROOT / name
    for name in (
        "requirements.lock",
        "tests/requirements.lock",
        "pages/requirements.lock",
        "tests/fuzz/requirements.lock",
        "tests/browser/requirements.lock",
        "units/requirements.lock",
    )
)


def locked(lock: Path) -> dict[str, str]:
    """Name -> version of what a lock holds, each with a hash."""
    text = re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n", "", lock.read_text(), flags=re.MULTILINE))
    found = {}
    for line in filter(str.strip, text.splitlines()):
        match = re.match(r"([a-z0-9._-]+)==(\S+)", line)
        assert match, line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
        found[match[1]] = match[2]
    assert found
    return found


def test_every_locked_package_has_hashes() -> None:
    for lock in LOCKS:
        locked(lock)


def test_what_is_installed_is_what_is_locked() -> None:
    for lock in LOCKS[:3]:
        for name, version in locked(lock).items():
            assert metadata.version(name) == version, name


def test_all_that_netuned_needs_is_locked() -> None:
    """To run and to be built; systemd-python is the distribution's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    needed: set[str] = set()
    while wanted:
        asked = Requirement(wanted.pop())
        name = canonicalize_name(asked.name)
        if name in needed or (asked.marker and not asked.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        assert asked.specifier.contains(metadata.version(name))
        wanted += metadata.requires(name) or ()
    assert needed - {"systemd-python"} == locked(INSTALLED).keys()


def test_no_program_of_ours_installs_without_hashes() -> None:
    """Each of pip's commands is by hash, or fetches nothing; none builds with what it fetches."""
    files = ("Makefile", "units/install.mk", "units/package.mk")
    makefiles = "".join((ROOT / name).read_text() for name in files).replace("\\\n", " ")
    commands = re.findall(r"\$\(PIP(?:_INSTALL\w*)?\) (.*)$", makefiles, re.M)
    assert len(commands) == len(re.findall(r"\$\(PIP", makefiles)) >= 9
    assert len(re.findall(r"-m pip", makefiles)) == 4, "those variables, and nothing else"
    for command in commands:
        words = set(command.split())
        by_hash = {"--require-hashes", "--only-binary"} <= words
        assert by_hash or {"--no-index", "--no-deps", "--no-build-isolation"} <= words, command
        assert "--no-binary" not in words or "--no-build-isolation" in words, command


NASTY = "e\x1b]0;owned\x07\r\n\x9b31m\u202e\udcff\u2028\u2029\u200b\u061c\u00ad\ue000\u0378\u3164"


def test_a_log_line_is_one_line_whatever_is_in_a_name() -> None:
    record = logging.LogRecord("netuned", logging.INFO, "", 0, "Set %s: %s", (NASTY, NASTY), None)
    assert _Plain("%(message)s").format(record) == f"Set {escape(NASTY)}: {escape(NASTY)}"
    assert escape(NASTY).isprintable()
    assert escape(NASTY).isascii()


def test_what_is_not_to_be_seen_is_shown_by_its_number() -> None:
    unseen = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    points = (*range(0x3000), *range(0xD7F0, 0xF900, 7), *range(0xFE00, 0x110000, 61))
    for character in map(chr, points):
        shown = escape(character)
        if unicodedata.category(character) in unseen:
            assert re.fullmatch(r"\\[nrt]|\\x..|\\u.{4}|\\U.{8}", shown), ascii(character)
        assert shown.isprintable()
        assert escape(shown) == shown
    assert escape("Zürich 東京 ok") == "Zürich 東京 ok"
    assert escape("a\u00a0\u2003b\u3164\ufe0f\u115f") == r"a\xa0\u2003b\u3164\ufe0f\u115f"


def test_a_file_that_is_swapped_is_judged_as_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "edge.yaml", tmp_path / "other"
    path.write_text("judged")
    path.chmod(0o644)
    other.write_text("not judged")
    fstat = os.fstat

    def swap(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and other.exists():
            other.replace(path)
        return status

    monkeypatch.setattr(os, "fstat", swap)
    assert read_trusted(str(path), os.getuid()) == b"judged"
    assert path.read_text() == "not judged"


@pytest.mark.parametrize("swap_at", range(1, 16))
def test_a_link_that_is_swapped_is_judged_as_it_was_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap_at: int
) -> None:
    """Before whichever step another directory is put up, what is read is what was judged."""
    good, bad, link = tmp_path / "good", tmp_path / "bad", tmp_path / "link"
    for directory, mode, text in ((good, 0o755, "judged"), (bad, 0o777, "not judged")):
        directory.mkdir()
        (directory / "edge.yaml").write_text(text)
        directory.chmod(mode)
    link.symlink_to(good)
    opening, opened = os.open, itertools.count(1)

    def swap(*words: Any, **more: Any) -> int:
        if next(opened) == swap_at:
            link.unlink()
            link.symlink_to(bad)
        return opening(*words, **more)

    monkeypatch.setattr(os, "open", swap)
    with contextlib.suppress(ProfileError):
        assert read_trusted(str(link / "edge.yaml"), os.getuid()) == b"judged"


def test_every_test_that_is_promised_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    for row in re.findall(r"^\| .* \| (`tests/.*) \|$", text, re.MULTILINE):
        path = ""
        for name in re.findall(r"`([^`]+)`", row):
            if name.endswith(".py"):
                path = name
                assert (ROOT / path).is_file(), path
            elif name.startswith("test_"):
                assert f"def {name}(" in (ROOT / path).read_text(), name
