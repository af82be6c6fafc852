"""The collection as Ansible's own tools judge it: sanity, units, lint, changelog, archive."""

from __future__ import annotations

import re
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.ansible.controller import ROOT, SOURCE, Controller

MODULES = ("apply", "apply_step", "info", "profile", "snapshot")


@pytest.fixture
def current(tmp_path: Path) -> Controller:
    made = Controller("current", tmp_path)
    made.install()
    return made


def run(controller: Controller, *words: str) -> str:
    return controller.run(*words, cwd=controller.collection)


def test_sanity(controller: Controller) -> None:
    """All tests of this Python; the oldest's pylint says nothing that the newest's does not."""
    less = ("--skip-test", "pylint") if controller.version == "oldest" else ()
    said = run(controller, "ansible-test", "sanity", "--python", "3.11", *less)
    for test in ("validate-modules", "action-plugin-docs", "import", "pep8", "yamllint"):
        assert f'Running sanity test "{test}"' in said


def test_units(controller: Controller) -> None:
    said = run(controller, "ansible-test", "units", "--python", "3.11", "--num-workers", "1")
    assert [int(number) for number in re.findall(r"(\d+) passed", said)] == [22, 41]


def test_lint(current: Controller) -> None:
    said = run(current, "ansible-lint", "--profile", "production")
    assert "Profile 'production' was required, and it passed." in said


def test_changelog(current: Controller) -> None:
    run(current, "antsibull-changelog", "lint")


def test_it_is_built_and_each_module_documented(controller: Controller, tmp_path: Path) -> None:
    out, installed = tmp_path / "out", tmp_path / "installed"
    run(controller, "ansible-galaxy", "collection", "build", "--output-path", str(out))
    (archive,) = out.iterdir()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert archive.name == f"netuned-netuned-{version}.tar.gz"
    with tarfile.open(archive) as opened:
        assert not [name for name in opened.getnames() if "__pycache__" in name]
    words = ("collection", "install", "--offline", "--force", "-p", str(installed), str(archive))
    run(controller, "ansible-galaxy", *words)
    there = Controller(controller.version, installed)
    told = there.run("ansible-doc", *(f"netuned.netuned.{module}" for module in MODULES))
    assert told.count("EXAMPLES:") == len(MODULES)
    assert "netuned_profiles" in there.run("ansible-doc", "-t", "role", "netuned.netuned.netuned")


def test_a_wheel_brings_the_files_that_make_install_brings() -> None:
    there = yaml.safe_load((SOURCE / "roles/netuned/vars/main.yml").read_text())
    placed = (ROOT / "units/install.mk").read_text().partition("define place")[2]
    named = re.findall(r"units/([\w./-]+)", placed.partition("endef")[0])
    assert sorted(file["src"] for file in there["netuned_system_files"]) == sorted(named)
