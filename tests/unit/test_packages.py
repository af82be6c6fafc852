"""What `make deb` builds: what is in it, what it carries, and that each build is the same."""

from __future__ import annotations

import email.parser
import re
import shlex
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import netuned
from tests import packages
from tests.unit.test_security import locked
from tests.unit.test_units import skip

ROOT = packages.ROOT
MODULES = "usr/lib/netuned/venv/lib/python3/site-packages"
DEBIANS = {"python3-yaml": "pyyaml", "python3-systemd": "systemd-python"}
"""Names of packages of Debian's that are not python3- and the project's."""


@pytest.fixture(scope="module")
def dist() -> Path:
    if lacks := packages.missing():
        skip(f"{lacks}, by which packages are built")
    return packages.built()


@pytest.fixture(scope="module")
def deb(dist: Path) -> Path:
    (found,) = dist.glob(f"netuned_{netuned.__version__}_*.deb")
    return found


@pytest.fixture(scope="module")
def tree(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """netuned's package, unpacked."""
    place = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "--extract", deb, place], check=True)
    return place


def variable(name: str) -> list[str]:
    """The words of one of units/package.mk's variables."""
    text = (ROOT / "units/package.mk").read_text()
    (value,) = re.findall(rf"^{name} := (.*)$", text, re.MULTILINE)
    return shlex.split(value)


def depends(text: str) -> dict[str, str]:
    """Project -> least version, of Debian's Python packages in a list of dependencies."""
    found = re.findall(r"(python3-[a-z0-9-]+) \(>= ([0-9.]+)\)", text)
    return {DEBIANS.get(name, name.removeprefix("python3-")): least for name, least in found}


def test_what_netuned_needs_is_carried_or_depended_on() -> None:
    """All of the lock, but for what builds and what Debian's packages themselves bring."""
    control = (ROOT / "units/debian/control").read_text()
    needed = depends(control.split("\nPackage: ")[1].partition("Recommends:")[0])
    carried = set(variable("CARRIED_ALONG"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = map(Requirement, project["dependencies"])
    direct: dict[str, Requirement] = {canonicalize_name(one.name): one for one in asked}
    assert needed.keys() | carried >= direct.keys()
    assert not needed.keys() & carried
    for name, least in needed.items():
        assert least in direct[name].specifier, name
    wanted = {name for name in carried if name in direct}
    for name in carried & direct.keys():
        wanted |= {canonicalize_name(one) for one in needs(name)}
    for name in list(wanted - direct.keys()):
        wanted |= {canonicalize_name(one) for one in needs(name)}
    assert carried == wanted


def needs(project: str) -> list[str]:
    """Names of what a project needs."""
    asked = (Requirement(one) for one in metadata.requires(project) or ())
    return [one.name for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]


def test_what_extras_need_is_suggested_or_depended_on() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    control = (ROOT / "units/debian/control").read_text()
    for extra in ("top", "report", "metrics"):
        (asked,) = map(Requirement, extras[extra])
        assert depends(control)[canonicalize_name(asked.name)] in asked.specifier


def test_lintian_has_nothing_to_say(dist: Path) -> None:
    debs = sorted(dist.glob("*.deb"))
    assert len(debs) == 2
    words = ["lintian", "--allow-root", "--fail-on", "error,warning", *map(str, debs)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_override_has_its_reason() -> None:
    text = (ROOT / "units/debian/netuned.lintian-overrides").read_text()
    assert re.fullmatch(r"(# [^\n]+\n[^#\n]+\n)+", text)


def test_all_of_netuned_is_there_and_nothing_is_compiled(tree: Path) -> None:
    sources = [path for path in (ROOT / "netuned").rglob("*.py") if "build" not in path.parts]
    for path in sources:
        assert (tree / MODULES / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert not list(tree.rglob("*.pyc")), "that is made where it is installed"
    for name in ("pip", "setuptools", "tests", "bench", "pages"):
        assert not (tree / MODULES / name).exists()
    for program in ("netuned", "netunedctl", "netuned-exporter"):
        line = (tree / "usr/lib/netuned/venv/bin" / program).read_text().splitlines()[0]
        assert line == "#!/usr/lib/netuned/venv/bin/python"


def test_what_is_carried_is_what_is_locked(tree: Path) -> None:
    lock = locked(ROOT / "requirements.lock")
    found = {}
    for path in (tree / MODULES).glob("*.dist-info/METADATA"):
        about = email.parser.HeaderParser().parsestr(path.read_text())
        found[canonicalize_name(about["Name"])] = about["Version"]
    wanted = {name: lock[name] for name in variable("CARRIED_ALONG")}
    assert found == wanted | {"netuned": netuned.__version__}


def test_extension_modules_are_there_for_each_python(tree: Path) -> None:
    pythons = variable("DEB_PYTHONS")
    modules = list((tree / MODULES).rglob("*.so"))
    names = {path.name.partition(".cpython-")[0] for path in modules}
    assert "_pydantic_core" in names
    assert len(modules) == len(pythons) * len(names)
    for python in pythons:
        tag = f".cpython-{python.replace('.', '')}-"
        assert {path.name.partition(tag)[0] for path in modules if tag in path.name} == names
        assert (tree / MODULES).samefile(
            tree / f"usr/lib/netuned/venv/lib/python{python}/site-packages"
        )


def test_conffiles_and_what_is_where(deb: Path, tree: Path) -> None:
    words = ("dpkg-deb", "--info", deb, "conffiles")
    assert subprocess.run(words, capture_output=True, check=True).stdout.split() == [
        b"/etc/apparmor.d/netuned"
    ]
    for unit in ("netuned.service", "irqbalance.service.d/50-netuned.conf"):
        assert (tree / "usr/lib/systemd/system" / unit).read_bytes() == (
            ROOT / "units" / unit
        ).read_bytes()
    assert not (tree / "lib").exists()
    assert list((tree / "etc/netuned").rglob("*")) == [tree / "etc/netuned/profiles.d"]


def test_two_builds_are_identical(dist: Path, tmp_path: Path) -> None:
    """Elsewhere, with another mask, in another time zone and language."""
    wheels = f"PIP_FIND_LINKS={dist.parent / 'build/deb/netuned/wheels'}"  # what was fetched once
    elsewhere = ("env", "TZ=Pacific/Chatham", "LC_ALL=C", "PIP_NO_INDEX=1", wheels)
    packages.make("deb", tmp_path, *elsewhere, "sh", "-c", 'umask 027; exec "$@"', "sh")
    again = tmp_path / "dist"
    names = sorted(path.name for path in dist.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (dist / name).read_bytes() == (again / name).read_bytes(), name
