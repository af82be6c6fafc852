"""make install into a directory for packaging, and make uninstall, with stand-ins for programs."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pages.completion import scripts
from pages.manual import pages as pages_of

ROOT = Path(__file__).parents[2]

PYTHON = """\
#!/bin/sh
# Stands in for the venv's: notes what it is asked, and installs scripts as pip does. What is
# installed by hash pip itself judges, with the words that it is given.
case "$*" in
*" --require-hashes "*) exec "{python}" "$@" --dry-run ;;
*" restore "*) echo "$STATE_DIRECTORY $RUNTIME_DIRECTORY $*" >>"{log}"; exec test ! -e "{fails}" ;;
esac
echo "$*" >>"{log}"
here="{venv}"
case "$*" in *" install "*)
    printf '#!%s/bin/python3.11\\nimport netuned\\n' "$here" >"$here/bin/netuned"
    printf '#!/bin/sh\\n'"'''exec' %s/bin/python"' "$0" "$@"\\n' "$here" >"$here/bin/netunedctl"
    printf '#!/usr/bin/env python3\\n' >"$here/bin/other"
esac
"""


class Tree:
    """A copy of what make needs, a directory to install into, and a systemctl that takes notes."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.stage = folder / "stage"
        self.log = folder / "log"
        self.venv = self.stage / "usr/lib/netuned/venv"
        self.said = ""
        for name in ("units", "profiles"):
            shutil.copytree(ROOT / name, self.source / name)
        for name in ("netuned", "pages"):
            (self.source / name).mkdir()
        for name in ("Makefile", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, self.source)
        self.outside = (self.source, folder / "home", folder / "tmp", folder / "wheels")
        for directory in self.outside[1:]:
            directory.mkdir()
        (folder / "bin").mkdir()
        self.path = f"{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        for name in ("systemctl", "apt-get", "dpkg-query", "apparmor_parser"):
            self._program(folder / "bin" / name, f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\n')
        (self.venv / "lib").mkdir(parents=True)
        (self.venv / "bin").mkdir()
        program = PYTHON.format(
            log=self.log, venv=self.venv, fails=folder / "fails", python=sys.executable
        )
        self._program(self.venv / "bin/python", program)
        (self.venv / "pyvenv.cfg").write_text(f"command = python3 -m venv {self.venv}\n")

    def make(
        self,
        target: str,
        destination: str | None = None,
        *,
        keep: str = "",
        fails: str = "",
        offline: str = "1",
        more: list[str] | None = None,
    ) -> list[str]:
        """Run make; with ``fails`` it is to fail saying that. Returns what programs it ran."""
        stage = destination or str(self.stage)
        words = ["make", target, f"DESTDIR={stage}", "SUDO=", f"KEEP={keep}"]
        words += [f"OFFLINE={offline}"] if offline else []
        words += more or []
        words.append(f"SYSTEM_PYTHON={sys.executable}")
        _, home, temporary, wheels = self.outside
        outer = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")  # by which it says that it is another's
        environment = {
            **{name: value for name, value in os.environ.items() if name not in outer},
            "PATH": self.path,
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }
        self.log.unlink(missing_ok=True)
        done = subprocess.run(
            words, check=not fails, capture_output=True, text=True, cwd=self.source, env=environment
        )
        self.said = done.stdout
        assert bool(done.returncode) == bool(fails)
        assert fails in done.stderr
        return self.log.read_text().splitlines() if self.log.exists() else []

    def files(self) -> list[Path]:
        """All that is in the tree."""
        return sorted(self.stage.rglob("*"))

    def files_outside(self) -> list[tuple[Path, int]]:
        """All that is in the other directories that are written to by mistake, and since when."""
        found = (path for directory in self.outside for path in directory.rglob("*"))
        return sorted((path, path.stat().st_mtime_ns) for path in found)

    def lock(self, wheel: bytes, *, kind: str = "-py3-none-any.whl", hashed: bytes = b"") -> None:
        """Have one package to be installed: this file, by the hash of what is ``hashed``."""
        (self.outside[-1] / f"tiny-1.0{kind}").write_bytes(wheel)
        digest = hashlib.sha256(hashed or wheel).hexdigest()
        for name in ("requirements.lock", "pages/requirements.lock"):
            (self.source / name).write_text(f"tiny==1.0 --hash=sha256:{digest}\n")

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize("destination", [None, "../stage", "../stage/"])
def test_what_is_packaged_names_no_staging_path(tree: Tree, destination: str | None) -> None:
    ran = tree.make("install", destination)
    scripts = tree.venv / "bin"
    assert (
        (scripts / "netuned")
        .read_text()
        .startswith("#!/usr/lib/netuned/venv/bin/python3.11\nimport")
    )
    assert "'exec' /usr/lib/netuned/venv/bin/python " in (scripts / "netunedctl").read_text()
    assert (scripts / "other").read_text() == "#!/usr/bin/env python3\n"
    assert str(tree.stage) not in (tree.venv / "pyvenv.cfg").read_text()
    assert f"-m pages {tree.stage}/usr/share" in ran
    compiled = f"-m compileall -q -f -s {tree.stage} -p / {tree.venv}/lib"
    assert compiled in ran
    assert not any("daemon-reload" in line for line in ran)
    installed = {path.name for path in tree.stage.rglob("*") if path.is_file()}
    assert "org.netuned1.policy" in installed
    assert "org.netuned1.service" not in installed
    assert (tree.stage / "etc/apparmor.d/netuned").exists()


def test_what_let_anybody_start_the_daemon_goes_with_an_upgrade(tree: Tree) -> None:
    """D-Bus starts a stopped and disabled service for whoever sends it a message."""
    old = tree.stage / "usr/share/dbus-1/system-services/org.netuned1.service"
    old.parent.mkdir(parents=True)
    old.touch()
    tree.make("install")
    assert not old.exists()


def test_packaging_writes_nowhere_else_and_installs_no_packages(tree: Tree) -> None:
    tree.lock(wheel())
    before = tree.files_outside()
    ran = tree.make("install", offline="")
    assert tree.files_outside() == before
    assert not any(line.startswith(("apt-get", "dpkg-query", "apparmor_parser")) for line in ran)
    assert not (tree.stage / "usr/lib/netuned/build").exists()


def wheel() -> bytes:
    """A package that holds nothing."""
    written, about = io.BytesIO(), "tiny-1.0.dist-info"
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return written.getvalue()


def source() -> bytes:
    """The same as a source, which has to be built."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in (("setup.py", b"raise SystemExit('it ran')\n"), ("PKG-INFO", b"")):
            entry = tarfile.TarInfo(f"tiny-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return written.getvalue()


def test_what_has_another_hash_is_not_installed(tree: Tree) -> None:
    tree.lock(wheel(), hashed=b"what was looked at")
    tree.make("install", offline="", fails="DO NOT MATCH THE HASHES")
    assert not list((tree.venv / "bin").glob("netuned*")), "nor anything else"


def test_what_needs_a_build_is_not_installed(tree: Tree) -> None:
    tree.lock(source(), kind=".tar.gz")
    tree.make("install", offline="", fails="No matching distribution found for tiny==1.0")
    assert not list((tree.venv / "bin").glob("netuned*"))


def test_netuned_itself_is_built_by_what_is_installed(tree: Tree) -> None:
    (built,) = [line for line in tree.make("install") if " install " in line]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(built.split())


def test_what_packages_put_beside_their_environment(tree: Tree) -> None:
    """The same files as `make install`, made by another Python, and no word to systemd."""
    maker = tree.log.parent / "maker"
    tree._program(maker, f'#!/bin/sh\necho "maker $*" >>"{tree.log}"\n')
    ran = tree.make("install-beside", more=[f"MAKER={maker}"])
    assert ran == [f"maker -m pages {tree.stage}/usr/share", "maker -Im netuned.cli schema"]
    beside = tree.files()
    tree.make("install")
    enabled = [path for path in tree.files() if "multi-user" in str(path)]
    assert [path for path in tree.files() if tree.venv not in path.parents] == [
        path for path in beside if tree.venv not in path.parents
    ] + enabled


def test_what_a_package_brought_is_the_packages(tree: Tree) -> None:
    (tree.venv / "pyvenv.cfg").write_text("home = /usr/bin\npackaged = true\n")
    before = tree.files()
    for target in ("install", "uninstall"):
        tree.make(target, fails="by a package: remove that")
        assert tree.files() == before


def test_uninstall_leaves_a_host_alone_that_it_does_not_take_anything_from(tree: Tree) -> None:
    tree.make("install")
    pages = [tree.stage / "usr/share" / place for place in (*pages_of(ROOT), *scripts())]
    for path in pages:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert tree.make("uninstall") == []
    assert not [path for path in pages if path.exists()]
    assert not list(tree.stage.rglob("*netuned1*"))
    assert not (tree.stage / "etc/apparmor.d/netuned").exists()
    assert not tree.venv.exists()


@pytest.mark.parametrize("runs", [True, False])
def test_uninstall_starts_an_irqbalance_that_a_profile_had_stopped(tree: Tree, runs: bool) -> None:
    stopped = tree.stage / "run/netuned/irqbalance.stopped"
    stopped.parent.mkdir(parents=True)
    stopped.touch()
    if runs:
        (tree.stage / "run/systemd/system").mkdir(parents=True)
    tree.make("install")
    told = tree.make("uninstall")
    assert ("systemctl start irqbalance.service" in told) == runs
    assert not stopped.exists()


@pytest.mark.parametrize("excluded", [True, False])
def test_uninstall_tells_systemd_and_gives_irqbalance_back(tree: Tree, excluded: bool) -> None:
    tree.make("install")
    environment = tree.stage / "run/netuned/irqbalance.env"
    metrics = tree.stage / "var/lib/prometheus/node-exporter/netuned.prom"
    for path in (environment, metrics):
        path.parent.mkdir(parents=True)
    metrics.write_text("netuned_up 1\n")
    (tree.stage / "run/systemd/system").mkdir(parents=True)
    if excluded:
        environment.write_text("IRQBALANCE_ARGS=--policyscript=/nonexistent\n")
    restarted = ["systemctl try-restart irqbalance.service"] if excluded else []
    assert tree.make("uninstall") == [
        "systemctl stop netuned.service",
        *restarted,
        "systemctl disable netuned.service",
        *TELLING,
        "systemctl daemon-reload",
    ]
    assert not environment.exists()
    assert not metrics.exists(), "nobody writes it any more"


RESTORE = "-I -m netuned.cli restore --without-daemon"


TELLING = (
    "systemctl disable --now netuned-exporter.service",
    "systemctl disable --now netuned-metrics.timer",
)


def changed(tree: Tree, *, restores: bool = True) -> None:
    """Install on a host that runs, have netuned change something, and say if it can put it back."""
    tree.make("install")
    (tree.stage / "run/systemd/system").mkdir(parents=True)
    record = tree.stage / "var/lib/netuned/baseline.json"
    record.parent.mkdir(parents=True)
    record.touch()
    if not restores:
        (tree.log.parent / "fails").touch()


def test_uninstall_stops_netuned_then_restores_then_removes(tree: Tree) -> None:
    changed(tree)
    state, run = tree.stage / "var/lib/netuned", tree.stage / "run/netuned"
    (state / "compiled.json").touch()
    assert tree.make("uninstall") == [
        "systemctl stop netuned.service",
        f"{state} {run} {RESTORE}",
        "systemctl disable netuned.service",
        *TELLING,
        "systemctl daemon-reload",
    ]
    assert not tree.venv.exists()
    assert os.listdir(state) == ["baseline.json"]


def test_a_tree_without_systemd_is_left_with_no_link_to_the_unit(tree: Tree) -> None:
    tree.make("install")
    link = tree.stage / "etc/systemd/system/multi-user.target.wants/netuned.service"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/usr/lib/systemd/system/netuned.service")  # as systemctl --root makes it
    tree.make("uninstall")
    assert not link.is_symlink()


def test_what_cannot_be_restored_keeps_the_tool_that_could(tree: Tree) -> None:
    changed(tree, restores=False)
    before = tree.files()
    ran = tree.make("uninstall", fails="Not everything could be put back")
    assert ran[-1].endswith(RESTORE), "neither disabled nor removed"
    assert tree.files() == before
    assert tree.make("uninstall", fails="KEEP=1") == ran, "and so the next time"
    kept = tree.make("uninstall", keep="1")
    assert not any(RESTORE in line for line in kept)
    assert not tree.venv.exists()


def test_what_could_restore_and_does_not_run_any_more_is_not_removed(tree: Tree) -> None:
    changed(tree)
    (tree.venv / "bin/python").unlink()
    (tree.venv / "bin/python").symlink_to("/nonexistent/python3")  # as after a release upgrade
    before = tree.files()
    assert tree.make("uninstall", fails="install netuned again") == [
        "systemctl stop netuned.service"
    ]
    assert tree.files() == before


def test_a_netuned_that_cannot_be_stopped_is_not_removed(tree: Tree) -> None:
    changed(tree)
    (tree.log.parent / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    before = tree.files()
    assert tree.make("uninstall", fails="could not be stopped") == []
    assert tree.files() == before


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_a_directory_with_a_space_is_not_taken_for_two(tree: Tree, target: str) -> None:
    other = tree.stage.with_name("st")
    shutil.copytree(tree.stage, other / "usr")
    before = sorted(other.rglob("*")), tree.files()
    assert tree.make(target, f"{other} {tree.stage}", fails="DESTDIR has a space in it") == []
    assert (sorted(other.rglob("*")), tree.files()) == before


@pytest.mark.parametrize("keep", ["", "1"])
def test_a_second_uninstall_and_one_of_nothing_do_nothing(tree: Tree, keep: str) -> None:
    changed(tree)
    tree.make("uninstall", keep=keep)
    before = tree.files()
    assert tree.make("uninstall", keep=keep) == []
    assert tree.said == f"netuned is not installed in {tree.stage}: nothing is removed.\n"
    assert tree.files() == before
