"""Where the lab keeps its disks, and that they go when that is asked for."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import cache

ROOT = Path(__file__).parents[2]


def clean(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``make clean-lab`` as somebody whose home this is."""
    words = [
        "make",
        "--no-print-directory",
        "-C",
        str(ROOT),
        "clean-lab",
        "SUDO=",
        f"PYTHON={sys.executable}",
    ]
    given = {"PATH": os.environ["PATH"], "HOME": str(home), **environment}
    return subprocess.run(words, check=False, capture_output=True, text=True, env=given)


def test_it_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache.folder() == tmp_path / "elsewhere/netuned-lab"
    for relative in ("elsewhere", ""):  # which the specification has ignored
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache.folder() == tmp_path / ".cache/netuned-lab"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_it_goes_and_nothing_else_does(tmp_path: Path, elsewhere: bool) -> None:
    base = tmp_path / ("elsewhere" if elsewhere else ".cache")
    environment = {"XDG_CACHE_HOME": str(base)} if elsewhere else {}
    (base / "netuned-lab/disk-1/deep").mkdir(parents=True)
    (base / "netuned-lab/disk-1/deep/image").write_bytes(b"1" * 2_000_000)
    (base / "netuned-lab/dangling").symlink_to("/nonexistent")
    (base / "other").mkdir()
    first = clean(tmp_path, **environment)
    assert first.stdout.startswith(f"Removed {base}/netuned-lab (2 MB)"), first
    assert [path.name for path in base.iterdir()] == ["other"]
    again = clean(tmp_path, **environment)
    assert (again.returncode, again.stdout) == (0, f"There is no cache at {base}/netuned-lab.\n")


def test_what_is_being_built_stays(tmp_path: Path) -> None:
    path = tmp_path / ".cache/netuned-lab"
    path.mkdir(parents=True)
    with open(path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = clean(tmp_path)
        assert done.returncode != 0
        assert "in use" in done.stderr
    assert (path / "lock").exists()


def test_an_entry_is_built_once_and_others_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cache.folder() / "unfinished-base-2-x").mkdir()
    built: list[str] = []

    def inner(work: Path) -> None:
        built.append("disk-1")

    def outer(work: Path) -> None:
        built.append("base-1")
        (work / "file").touch()
        cache.entry("disk-1", inner)

    for _ in range(2):
        assert (cache.entry("base-1", outer) / "file").exists()
    assert built == ["base-1", "disk-1"]
    kinds = sorted(path.name for path in cache.folder().iterdir() if path.is_dir())
    assert kinds == ["base-1", "disk-1"]


def test_the_longest_unused_of_a_kind_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(8):
        os.utime(cache.entry(f"disk-{number}", lambda work: None), (number, number))
    assert not (cache.folder() / "disk-0").exists()
    left = {path.name.removeprefix("lock-") for path in cache.folder().glob("*disk-*")}
    assert left == {f"disk-{number}" for number in range(2, 8)}


def test_sudo_drops_nothing_that_the_lab_asks_for() -> None:
    given = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": "/x y", "NETUNED_LAB_MIRROR": "/m"}
    words = ["make", "-n", "-C", str(ROOT), "SUDO=sudo", "clean-lab", "lab", "vm"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, env=given).stdout
    lines = [line for line in said.splitlines() if line.startswith("sudo ") and "tests" in line]
    assert len(lines) == 3
    assert all('XDG_CACHE_HOME="/x y" NETUNED_LAB_MIRROR="/m"' in line for line in lines)
