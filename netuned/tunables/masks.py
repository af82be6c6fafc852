"""What a card has one of for each queue, in the kernel's files: masks of CPUs and numbers."""

from __future__ import annotations

import errno
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.hardware.nic import Nic
from netuned.tunables.base import Queue, Seen, View, Watched, Words
from netuned.valuejson import typed
from netuned.values import State, Value, describe

RX, TX = "rx", "tx"


@lru_cache(maxsize=4096)
def parse(content: bytes) -> CpuSet:
    """The mask in a file. Raises: KernelError when it is none, or cut short."""
    try:
        if not content.endswith(b"\n"):
            raise ValueError
        return CpuSet.parse_mask(content.decode("ascii"))
    except ValueError:
        raise KernelError("read", f"cpumask {content[:40]!r}", errno.EPROTO) from None


def number(content: bytes, what: str) -> int:
    """The number in a file. Raises: KernelError when it is none."""
    try:
        return int(content)
    except ValueError:
        raise KernelError("read", f"{what} {content[:40]!r}", errno.EPROTO) from None


def read(
    view: View,
    keys: tuple[str, ...],
    paths: tuple[str, ...],
    parse: Callable[[bytes], Value] = parse,
) -> State:
    """Read one value per key. Raises: KernelError."""

    def build(contents: Sequence[bytes]) -> State:
        return dict(zip(keys, map(parse, contents), strict=True))

    return view.kept.sweep(paths, build)


def write(view: View, path: str, mask: Value) -> None:
    """Write one mask. Raises: KernelError."""
    assert isinstance(mask, CpuSet)
    view.files.write(path, mask.to_mask().encode())


def within(key: str, wanted: Value, found: Value) -> bool:
    """CPUs that are offline or isolated are left out, and some interrupts show the one they use.

    All may be left out. Source: rps_cpumask_housekeeping(); irq-affinity.rst, effective_affinity.
    """
    assert isinstance(wanted, CpuSet)
    assert isinstance(found, CpuSet)
    return not found - wanted


def queue_key(kind: str) -> Callable[[str], bool]:
    """What says whether a text is the key of a queue of this kind: ``rx-3``."""
    return re.compile(rf"{kind}-[0-9]{{1,5}}").fullmatch  # type: ignore[return-value]  # truth


def ends_with(key: str) -> Queue:
    """The queue of a key like ``rx-3``, with which its value goes."""
    kind, _, queue = key.partition("-")
    return kind, int(queue)


def path(key: str, file: str) -> str:
    """An attribute of a queue, from the card's directory."""
    return f"queues/{key}/{file}"


def ending(file: str) -> Callable[[Nic, str], tuple[str, ...]]:
    """How the path of a queue's attribute ends, for whoever looks for its writer."""
    return lambda nic, key: (f"{nic.name}/queues/{key}/{file}",)


def watched(kind: str, file: str) -> Callable[[Nic], Iterator[Watched]]:
    """The attribute of every queue of a kind, by directory."""

    def files(nic: Nic) -> Iterator[Watched]:
        for queue in range(nic.rx_queues if kind == RX else nic.tx_queues):
            yield f"queues/{kind}-{queue}", file

    return files


def queues(nic: Nic, state: State) -> Mapping[Queue, str]:
    """Each queue's value, by keys like ``rx-3``."""
    return {(key[:2], int(key[3:])): str(value) for key, value in state.items()}


def explained(state: State, key: str) -> tuple[str, str | None, object]:
    """For ``explain``: a queue's key, and its value if it has one."""
    value = state.get(key)
    return key, None if value is None else describe(value), typed(value)


@lru_cache(maxsize=4096)
def queue_files(kind: str, count: int, file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys of all queues of a kind (rx or tx), and the paths of an attribute of theirs."""
    keys = tuple(f"{kind}-{index}" for index in range(count))
    return keys, tuple(path(key, file) for key in keys)


def captured(seen: Seen) -> Iterator[Words]:
    """Of masks that are empty by default: ``auto`` where that gives the same, else their CPUs."""
    masks = [mask for mask in seen.state.values() if isinstance(mask, CpuSet)]
    every = union(masks)
    if every:
        yield {"cpus": "auto"}
        for text in seen.sets(every):
            yield {"cpus": text}
    elif seen.whole and masks:
        yield {"cpus": "none"}


def union(masks: Iterable[CpuSet]) -> CpuSet:
    """All CPUs of some masks."""
    return functools.reduce(operator.or_, masks, CpuSet())
