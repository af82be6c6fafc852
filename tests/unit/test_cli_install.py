"""make install into a directory for packaging, and make uninstall, with stand-ins for programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = """\
#!/bin/sh
# Stands in for the venv's: notes what it is asked, and installs scripts as pip does.
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
        for name in ("units", "profiles"):
            shutil.copytree(ROOT / name, self.source / name)
        shutil.copy(ROOT / "Makefile", self.source)
        (folder / "bin").mkdir()
        self.path = f"{folder}/bin:{os.environ['PATH']}"
        self._program(folder / "bin/systemctl", f'#!/bin/sh\necho "systemctl $*" >>"{self.log}"\n')
        (self.venv / "lib").mkdir(parents=True)
        (self.venv / "bin").mkdir()
        self._program(self.venv / "bin/python", PYTHON.format(log=self.log, venv=self.venv))
        (self.venv / "pyvenv.cfg").write_text(f"command = python3 -m venv {self.venv}\n")

    def make(self, target: str, destination: str | None = None) -> list[str]:
        """Run make. Returns what programs it ran."""
        stage = destination or str(self.stage)
        words = ["make", target, f"DESTDIR={stage}", "OFFLINE=1", "SUDO="]
        words.append(f"SYSTEM_PYTHON={sys.executable}")
        environment = {**os.environ, "PATH": self.path}
        self.log.unlink(missing_ok=True)
        subprocess.run(words, check=True, capture_output=True, cwd=self.source, env=environment)
        return self.log.read_text().splitlines() if self.log.exists() else []

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
    compiled = f"-m compileall -q -f -s {tree.stage} -p / {tree.venv}/lib"
    assert compiled in ran
    assert not any("daemon-reload" in line for line in ran)


def test_uninstall_leaves_a_host_alone_that_it_does_not_take_anything_from(tree: Tree) -> None:
    tree.make("install")
    assert tree.make("uninstall") == []
    assert not list(tree.stage.rglob("*netuned1*"))
    assert not tree.venv.exists()


def test_uninstall_starts_an_irqbalance_that_a_profile_had_stopped(tree: Tree) -> None:
    stopped = tree.stage / "run/netuned/irqbalance.stopped"
    stopped.parent.mkdir(parents=True)
    stopped.touch()
    assert tree.make("uninstall") == ["systemctl start irqbalance.service"]
    assert not stopped.exists()


@pytest.mark.parametrize("excluded", [True, False])
def test_uninstall_tells_systemd_and_gives_irqbalance_back(tree: Tree, excluded: bool) -> None:
    environment = tree.stage / "run/netuned/irqbalance.env"
    environment.parent.mkdir(parents=True)
    (tree.stage / "run/systemd/system").mkdir(parents=True)
    if excluded:
        environment.write_text("IRQBALANCE_ARGS=--policyscript=/nonexistent\n")
    restarted = ["systemctl try-restart irqbalance.service"] if excluded else []
    assert tree.make("uninstall") == [
        "systemctl disable --now netuned.service",
        "systemctl daemon-reload",
        *restarted,
    ]
    assert not environment.exists()
