"""This checkout's packages, built once for all tests and kept in the cache until it changes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from tests.vm import cache, image

ROOT = image.CHECKOUT
TOOLS = ("lintian", "rpm")
"""What looks at packages, besides what `make` brings to build them."""
OUTER = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "SOURCE_DATE_EPOCH")


def missing() -> str:
    """What this machine lacks to build packages; empty if it can."""
    return "" if shutil.which("dpkg") and shutil.which("apt-get") else "dpkg and apt"


def make(targets: str, work: Path, *words: str) -> None:
    """Run make with ``build`` and ``dist`` below a directory. Raises: CalledProcessError."""
    places = (f"BUILT={work / 'build'}", f"DIST={work / 'dist'}")
    environment = {name: value for name, value in os.environ.items() if name not in OUTER}
    command = [*words, "make", "-C", str(ROOT), *targets.split(), *places]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"make {targets}: {done.stdout[-2000:]}{done.stderr[-4000:]}")


def built() -> Path:
    """The directory with all that `make dist` makes."""
    with (cache.folder() / "packages").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([ROOT / "units/apt-ensure", *TOOLS], check=True)
    commit = ("git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "log", "-1", "--format=%ct")
    date = subprocess.run(commit, capture_output=True, check=True).stdout
    files = [file for file in image.source_files(ROOT) if file.parts[0] != "bench"]
    key = cache.digest(date, *cache.contents(ROOT, files))
    return cache.entry(f"packages-{key}", lambda work: make("dist", work)) / "dist"
