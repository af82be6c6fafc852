"""A controller: an ansible-core in an environment of its own, and the collection."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "ansible"
ENVIRONMENTS = ROOT / ".venv" / "ansible"
"""Below it, by name, what the makefile's target `ansible-core` makes."""
VERSIONS = ("oldest", "current")
PIPS = ("21_3_1", "24_2")
"""Those that the versions' ansible-test brings into an environment, from a place of its own."""
COLLECTION = Path("ansible_collections", "netuned", "netuned")


@dataclass(frozen=True)
class Controller:
    """One of `VERSIONS`, that keeps all of its files below ``place``."""

    version: str
    place: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def collection(self) -> Path:
        return self.place / COLLECTION

    @property
    def environment(self) -> dict[str, str]:
        path = f"{ENVIRONMENTS / self.version / 'bin'}:{os.environ['PATH']}"
        return {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")
            },
            "PATH": path,
            "HOME": str(self.place),
            "ANSIBLE_COLLECTIONS_PATH": str(self.place),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "LC_ALL": "C.UTF-8",
            **self.extra,
        }

    def install(self) -> None:
        """Lay the collection where Ansible looks for it, as it is in this tree."""
        shutil.copytree(SOURCE, self.collection, dirs_exist_ok=True)
        pips = self.place / ".ansible/test/cache"
        pips.mkdir(parents=True)
        for version in PIPS:  # Python's own serves as well, and nothing is fetched for it
            bootstrap = "import ensurepip\n\nensurepip.bootstrap()\n"
            (pips / f"get_pip_{version}.py").write_text(bootstrap)

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        before: Sequence[str] = (),
        check: bool = True,
    ) -> str:
        """Run one of its programs, below the command ``before``; what it said.

        Raises: AssertionError with that, where ``check`` is set and it failed, or not set and it
        did not.
        """
        done = subprocess.run(
            [*before, *map(str, words)],
            cwd=cwd or self.place,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is check, f"{words}: {done.returncode}\n{done.stdout}"
        return done.stdout
