"""Values as the kernel's small files show them."""

from __future__ import annotations

from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.kernel.recorded import File


def mask_and_list(name: str, cpus: CpuSet, width: int) -> dict[str, File]:
    """A set of CPUs in the kernel's two forms."""
    return {name: mask(cpus, width), f"{name}_list": line(cpus)}


@lru_cache(maxsize=1 << 14)
def line(value: object) -> File:
    return File(f"{value}\n".encode())


@lru_cache(maxsize=1 << 14)
def mask(cpus: CpuSet, width: int) -> File:
    """All words that ``width`` CPUs take, as the kernel prints a mask (``%*pb``)."""
    digits = f"{cpus.bits:0{(width + 3) // 4}x}"
    words = [digits[max(end - 8, 0) : end] for end in range(len(digits), 0, -8)]
    return File(f"{','.join(reversed(words))}\n".encode())
