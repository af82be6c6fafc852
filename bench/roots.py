"""Throwaway Debians with others' packages: built by mmdebstrap, kept in the lab's cache."""

from __future__ import annotations

from pathlib import Path

from tests.vm import cache, host

SUITE = "bookworm"


def root(name: str, packages: tuple[str, ...], *hooks: str) -> Path:
    """A root file system with these packages; ``hooks`` are mmdebstrap's last ones.

    Raises: LabError.
    """

    def build(work: Path) -> None:
        host.run(
            *("unshare", "--mount", "--propagation", "private", "--"),
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--architectures=amd64"),
            f"--include={','.join(packages)}",
            *(f"--customize-hook={hook}" for hook in hooks),
            *(f"--aptopt={line}" for line in host.apt_settings()),
            *(SUITE, work / "root", f"deb {host.debian_mirror()} {SUITE} main"),
            log=work / "mmdebstrap.log",
        )

    words = (SUITE, *packages, *hooks)
    key = cache.digest(*(word.encode() for word in words))
    return cache.entry(f"{name}-{key}", build) / "root"
