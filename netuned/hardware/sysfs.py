"""The kernel's small files: what is in them, read through anything that has them."""

from __future__ import annotations

import re
from typing import Protocol

from netuned.cpuset import CpuSet
from netuned.errors import KernelError


class Files(Protocol):
    """Reads the kernel's files under some root. Each method but ``exists`` raises KernelError."""

    def read(self, path: str) -> bytes: ...
    def listdir(self, path: str) -> list[str]: ...
    def exists(self, path: str) -> bool: ...


def read_text(files: Files, path: str) -> str:
    """The file's text; empty if it is not there, as with CPUs that leave meanwhile.

    Raises: KernelError when the kernel had no memory for it: no isolated CPUs are something else
        than none that could be read.
    """
    try:
        return files.read(path).decode("ascii", "replace").strip()
    except KernelError as error:
        if error.exhausted:
            raise
        return ""


def read_int(files: Files, path: str) -> int:
    """The number in the file; -1, the kernel's word for none, where there is none."""
    text = read_text(files, path)
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text, re.ASCII) else -1


def read_cpus(files: Files, path: str) -> CpuSet:
    """The CPUs that a file names: a cpumask if its name ends as one of ``_MASKS``, or a cpulist.

    Empty where there is no such file or none is named; ``(null)`` is how kernels up to 6.2 wrote
    an unset ``nohz_full``.
    """
    text = read_text(files, path)
    try:
        return CpuSet.parse_mask(text) if path.endswith(_MASKS) else CpuSet.parse_list(text)
    except ValueError:
        return CpuSet()


_MASKS = ("map", "_siblings", "_cpus", "_affinity")


def listdir(files: Files, path: str) -> list[str]:
    """The directory's entries; none where it is not there. Raises: KernelError as above."""
    try:
        return files.listdir(path)
    except KernelError as error:
        if error.exhausted:
            raise
        return []


def numbered(files: Files, path: str, prefix: str) -> list[int]:
    """The numbers N of the directory's entries ``prefixN``, ascending; none without directory."""
    names = listdir(files, path)
    found = (re.fullmatch(rf"{prefix}([0-9]{{1,9}})", name, re.ASCII) for name in names)
    return sorted(int(match[1]) for match in found if match)
