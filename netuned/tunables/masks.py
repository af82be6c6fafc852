"""CPU masks in the kernel's files: what irq, rps and xps share."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.tunables.base import View
from netuned.values import State, Value


@lru_cache(maxsize=4096)
def parse(content: bytes) -> CpuSet:
    """The mask in a file. Raises: KernelError when it is none, or cut short."""
    try:
        if not content.endswith(b"\n"):
            raise ValueError
        return CpuSet.parse_mask(content.decode("ascii"))
    except ValueError:
        raise KernelError("read", f"cpumask {content[:40]!r}", errno.EPROTO) from None


def read(view: View, keys: tuple[str, ...], paths: tuple[str, ...]) -> State:
    """Read one mask per key. Raises: KernelError."""

    def build(contents: Sequence[bytes]) -> State:
        return dict(zip(keys, map(parse, contents), strict=True))

    return view.kept.sweep(paths, build)


def write(view: View, path: str, mask: CpuSet) -> None:
    """Write one mask. Raises: KernelError."""
    view.kernel.files.write(path, mask.to_mask().encode())


def write_queue(view: View, queue: str, file: str, value: Value) -> None:
    """Write one queue's mask. Raises: KernelError."""
    assert isinstance(value, CpuSet)
    write(view, f"/sys/class/net/{view.nic.name}/queues/{queue}/{file}", value)


def within(wanted: Value, found: Value) -> bool:
    """CPUs that are offline or isolated are left out, and some interrupts show the one they use.

    All may be left out. Source: rps_cpumask_housekeeping(); irq-affinity.rst, effective_affinity.
    """
    assert isinstance(wanted, CpuSet)
    assert isinstance(found, CpuSet)
    return not found - wanted


@lru_cache(maxsize=4096)
def queue_files(
    ifname: str, kind: str, count: int, file: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys and paths of one attribute over all queues of a kind (rx or tx)."""
    keys = tuple(f"{kind}-{index}" for index in range(count))
    return keys, tuple(f"/sys/class/net/{ifname}/queues/{key}/{file}" for key in keys)
