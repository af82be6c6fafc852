"""What `make dist` makes: what is in it, what it carries, and that each build is the same."""

from __future__ import annotations

import email.parser
import json
import os
import re
import shlex
import subprocess
import tarfile
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
    for extra in ("top", "report", "metrics", "experiment"):
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


def test_make_install_knows_what_a_package_brought(tree: Path) -> None:
    """By this it lets it be, see `test_what_a_package_brought_is_the_packages`."""
    environment = tree / "usr/lib/netuned/venv/pyvenv.cfg"
    assert "packaged = true" in environment.read_text().splitlines()


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


def test_it_is_compiled_for_whichever_python_there_is(deb: Path) -> None:
    """It fails where none of the versions it is given is installed, and -3.13 is without 3.13."""
    words = ("dpkg-deb", "--info", deb, "postinst")
    script = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (ranged,) = re.findall(r"\tpy3compile .* -V (.*)$", script, re.MULTILINE)
    assert ranged == f"{variable('DEB_PYTHONS')[0]}-"


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
    fetched = (dist.parent / "build").glob("*/*/wheels")
    links = f"PIP_FIND_LINKS={' '.join(map(str, fetched))}"
    elsewhere = ("env", "TZ=Pacific/Chatham", "LC_ALL=C", "PIP_NO_INDEX=1", links)
    packages.make("deb rpm", tmp_path, *elsewhere, "sh", "-c", 'umask 027; exec "$@"', "sh")
    names = [path.name for path in (tmp_path / "dist").iterdir()]
    assert len(names) == 4
    for name in names:
        assert (dist / name).read_bytes() == (tmp_path / "dist" / name).read_bytes(), name


@pytest.fixture(scope="module")
def rpm(dist: Path) -> Path:
    (found,) = dist.glob(f"netuned-{netuned.__version__}-*.rpm")
    return found


def asked(rpm: Path, *words: str) -> str:
    query = ["rpm", "--query", "--package", str(rpm), *words]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout


DEBIANS_OWN = re.compile(
    # AppArmor, debhelper's, lintian's; licences, manual pages and zsh's are at another place there
    r"/etc/apparmor\.d|/usr/share/(doc|licenses|lintian|man|python3|zsh)"
    # of directories those that are the distribution's; of extension modules there are others
    r"|/(etc|usr|usr/(bin|lib|sbin|share)|usr/lib/systemd|usr/lib/systemd/system)$"
    r"|/usr/share/[^/]+(/[a-z1_.-]+)?$|.*\.so$|.*/lib/python3\.1\d$|.*/sboms/.*"
)


def test_the_rpm_has_what_the_deb_has(rpm: Path, tree: Path) -> None:
    debs = {f"/{path.relative_to(tree)}" for path in tree.rglob("*")}
    rpms = set(asked(rpm, "--list").split())
    differ = {path for path in debs ^ rpms if not DEBIANS_OWN.match(path)}
    assert differ == set()
    for page in ("man5/netuned.profile.5", "man8/netuned.8", "man8/netunedctl.8"):
        assert f"/usr/share/man/{page}" in rpms
    assert "/usr/share/zsh/site-functions/_netunedctl" in rpms
    modules = [path for path in rpms if path.endswith(".so")]
    pythons = variable("RPM_PYTHONS")
    for python in pythons:
        tag = f".cpython-{python.replace('.', '')}-"
        assert len([path for path in modules if tag in path]) * len(pythons) == len(modules) > 0


def test_the_rpm_needs_what_the_deb_needs(rpm: Path) -> None:
    control = (ROOT / "units/debian/control").read_text().partition("Recommends:")[0]
    requires = asked(rpm, "--requires").replace("pyyaml", "yaml")
    assert depends(control) == {
        DEBIANS.get(name, name.removeprefix("python3-")): least
        for name, least in re.findall(r"^(python3-\w+) >= ([0-9.]+)$", requires, re.MULTILINE)
    }
    lock = locked(ROOT / "requirements.lock")
    bundled = re.findall(r"bundled\(python3dist\((.*)\)\) = (.*)", asked(rpm, "--provides"))
    assert dict(bundled) == {name: lock[name] for name in variable("CARRIED_ALONG")}
    assert "cpython" not in asked(rpm, "--provides"), "extension modules for nobody else"


@pytest.mark.parametrize(("left", "fails"), [(0, False), (0, True), (1, False)])
def test_an_rpm_goes_when_everything_went_back(
    rpm: Path, tmp_path: Path, left: int, fails: bool
) -> None:
    """``left``: how many versions of it there will be; with one, that is an upgrade."""
    script = asked(rpm, "--queryformat", "%{PREUN}")
    put_back, cached = tmp_path / "lib/put-back", tmp_path / "lib/venv/__pycache__"
    cached.mkdir(parents=True)
    put_back.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit {int(fails)}\n")
    put_back.chmod(0o755)
    script = script.replace("/usr/lib/netuned", str(tmp_path / "lib"))
    done = subprocess.run(["sh", "-c", script, "preun", str(left)], check=False)
    assert bool(done.returncode) == fails
    assert (tmp_path / "asked").exists() == (left == 0)
    assert cached.exists() == (fails or left == 1)


@pytest.mark.parametrize(
    ("kind", "argument", "there", "comes"),
    [
        *(("deb", "install", True, False), ("deb", "install", False, True)),
        *(("deb", "upgrade", True, True), ("rpm", "1", True, False)),
        *(("rpm", "1", False, True), ("rpm", "2", True, True)),
    ],
)
def test_a_package_does_not_come_onto_what_make_install_brought(
    tmp_path: Path, kind: str, argument: str, there: bool, comes: bool
) -> None:
    if kind == "deb":
        script = (ROOT / "units/debian/netuned.preinst").read_text()
    else:
        _, _, script = (ROOT / "units/rpm/netuned.spec").read_text().partition("\n%pre\n")
        script = script.partition("%post")[0]
    if there:
        (tmp_path / "venv").mkdir()
        (tmp_path / "venv/pyvenv.cfg").touch()
    words = ["sh", "-c", script.replace("/usr/lib/netuned", str(tmp_path)), "script", argument]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, "make uninstall KEEP=1" not in done.stderr) == (comes, comes)


def removal(kind: str) -> str:
    """What a package's own script does before it is removed, without what its builder adds."""
    if kind == "deb":
        return (ROOT / "units/debian/netuned.prerm").read_text()
    _, _, text = (ROOT / "units/rpm/netuned.spec").read_text().partition("\n%preun\n")
    return text.partition("%systemd_preun")[0]


@pytest.mark.parametrize(("kind", "argument"), [("deb", "remove"), ("rpm", "0")])
@pytest.mark.parametrize(
    ("changed", "keep", "goes"), [(True, "", False), (True, "1", True), (False, "", True)]
)
def test_a_package_whose_files_are_gone_says_what_to_do(
    tmp_path: Path, kind: str, argument: str, changed: bool, keep: str, goes: bool
) -> None:
    script = removal(kind)
    confmodule, baseline = tmp_path / "confmodule", tmp_path / "baseline.json"
    confmodule.write_text("db_get() { RET=false; }\n")
    if changed:
        baseline.touch()
    script = script.replace("/usr/share/debconf/confmodule", str(confmodule))
    script = script.replace("/usr/lib/netuned", str(tmp_path / "lib"))
    script = script.replace("/var/lib/netuned", str(tmp_path))
    words = ["sh", "-c", script, "script", argument]
    environment = {**os.environ, "KEEP": keep}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stdout) == (goes, "")
    if goes:
        assert done.stderr == ""
    else:
        (sentence,) = done.stderr.splitlines()
        assert sentence.startswith("What netuned changed cannot be put back, for ")
        assert "KEEP=1" in sentence


def test_units_of_the_rpm_are_systemds_to_enable(rpm: Path, dist: Path) -> None:
    (exporter,) = dist.glob("netuned-exporter-*.rpm")
    for package, service, timer in (
        (rpm, "netuned.service", ""),
        (exporter, "netuned-exporter.service", " netuned-metrics.timer"),
    ):
        for part, words in (
            ("POSTIN", f"install-system-units {service}{timer}"),
            ("PREUN", f"remove-system-units {service}{timer}"),
            ("POSTUN", f"mark-restart-system-units {service}"),
        ):
            script = asked(package, "--queryformat", f"%{{{part}}}")
            assert f"systemd-update-helper {words} ||" in script
            subprocess.run(["sh", "-n", "-c", script], check=True)


def test_the_rpm_comes_and_goes_in_a_root_of_its_own(dist: Path, tmp_path: Path) -> None:
    rpm = ("rpm", "--root", str(tmp_path))
    packed = [str(path) for path in dist.glob("*.rpm")]
    subprocess.run(
        [*rpm, "--install", "--nodeps", "--noscripts", "--notriggers", *packed], check=True
    )
    names = ("netuned", "netuned-exporter")
    checked = [*rpm, "--verify", "--nodeps", "--noscripts", *names]
    assert subprocess.run(checked, capture_output=True, check=True).stdout == b""
    profile = tmp_path / "etc/netuned/profiles.d/edge.yaml"
    profile.write_text("name: edge\n")
    subprocess.run([*rpm, "--erase", "--nodeps", "--noscripts", "--notriggers", *names], check=True)
    left = (path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path in left if "rpm" not in str(path)] == [profile.relative_to(tmp_path)]


def test_what_is_released_is_whole(dist: Path) -> None:
    """Checksums of all files; an SBOM of what is locked; a source from which all can be made."""
    sums = (dist / "SHA256SUMS").read_text().splitlines()
    named = {line.split()[1] for line in sums}
    assert named == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist, check=True)
    version = netuned.__version__
    components = json.loads((dist / f"netuned-{version}.cdx.json").read_text())["components"]
    lock = locked(ROOT / "requirements.lock")
    assert {one["name"]: one["version"] for one in components} == lock
    assert all(one["externalReferences"][0]["hashes"] for one in components)
    with tarfile.open(dist / f"netuned-{version}.tar.gz") as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    tracked = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split()
    parts = {name.partition("/")[0] for name in inside}
    assert inside >= {name for name in listed if name.partition("/")[0] in parts}
    assert inside >= {"PKG-INFO", "Makefile", "units/apt-ensure", "tests/release/test_packages.py"}


def test_the_changelog_has_this_version() -> None:
    heads = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert heads[1] == netuned.__version__
