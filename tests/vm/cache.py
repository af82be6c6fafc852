"""What the lab keeps between runs: folders named by the hash of what they were made from."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

UNFINISHED = "unfinished-"


def place() -> Path:
    """Where the cache is, or would be: below XDG_CACHE_HOME, which counts if it is absolute."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(home if os.path.isabs(home) else Path.home() / ".cache", "netuned-lab")


def folder() -> Path:
    """The cache, made if it is not there."""
    path = place()
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove() -> str:
    """Remove all of it, unless a build is under way. Returns a sentence on what was done."""
    path = place()
    if not path.is_dir():
        return f"There is no cache at {path}."
    with open(path / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{path} is in use: something is being built there.")
        size = sum(file.lstat().st_blocks for file in path.rglob("*")) * 512
        shutil.rmtree(path)
    return f"Removed {path} ({size / 1e6:.0f} MB)."


def entry(name: str, build: Callable[[Path], None]) -> Path:
    """The entry of this name (`kind-hash`), which `build` makes in a folder if it is not there.

    Of one entry there is one build at a time on this machine; others go on beside it. The folder of
    a build that failed stays, with its logs, until the next build.
    """
    final = folder() / name
    with open(folder() / "lock", "w") as whole, open(folder() / f"lock-{name}", "w") as own:
        with suppress(BlockingIOError):
            fcntl.flock(whole, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for stale in folder().glob(f"{UNFINISHED}*"):
                shutil.rmtree(stale)
        fcntl.flock(whole, fcntl.LOCK_SH)
        fcntl.flock(own, fcntl.LOCK_EX)
        if not final.exists():
            work = Path(mkdtemp(prefix=f"{UNFINISHED}{name}-", dir=folder()))
            # chroot and mmdebstrap drop to unprivileged users in there
            work.chmod(0o755)
            build(work)
            work.rename(final)
        _use(final)
    return final


def _use(path: Path, keep: int = 6) -> None:
    """Mark an entry as used and drop the longest unused ones of its kind."""
    os.utime(path)
    kind = path.name.partition("-")[0]
    entries = sorted(folder().glob(f"{kind}-*"), key=lambda entry: entry.stat().st_mtime)
    for old in entries[:-keep]:
        shutil.rmtree(old)
        (folder() / f"lock-{old.name}").unlink(missing_ok=True)


def walk(root: Path) -> list[Path]:
    """All files below a folder, sorted, relative to it."""
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def digest(*parts: bytes) -> str:
    """A short hash over parts, each with its length so that they cannot run into each other."""
    total = hashlib.sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()[:16]


def contents(root: Path, files: Iterable[Path]) -> Iterator[bytes]:
    """What makes files what they are, for `digest`: name, mode, bytes."""
    for file in files:
        yield f"{file} {(root / file).stat().st_mode:o}".encode()
        yield (root / file).read_bytes()


def copy(root: Path, files: Iterable[Path], target: Path) -> None:
    """Copy files with their modes; the folders they stand in are made anew."""
    target.mkdir()
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, target / file)


if __name__ == "__main__":
    print(remove())
