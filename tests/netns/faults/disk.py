"""The disk: any write of a state file may fail."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import netuned.statefile
from tests.netns.faults.calls import Calls

T = TypeVar("T")


class FaultyDisk:
    """What the state files' module calls of ``os``, and ``open``: any of it may fail."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        work = getattr(os, name)
        if name not in ("fsync", "replace", "open"):
            return work
        return lambda *given: self._make(name, lambda: work(*given))

    def open_file(self, path: Path, mode: str = "r", opener: Any = None) -> Any:
        if mode == "rb":
            return open(path, mode, opener=opener)
        opened = self._make("draft", lambda: path.open(mode))
        write = opened.write
        proxy = SimpleNamespace(flush=opened.flush, fileno=opened.fileno)
        proxy.write = lambda data: self._make("write", lambda: write(data))
        return _Closing(opened, proxy)

    def _make(self, name: str, work: Callable[[], T]) -> T:
        def fail(error: int) -> T:
            raise OSError(error, os.strerror(error))

        return self._calls.make("disk", f"disk {name}", work, fail, True)


class _Closing:
    """An open file, shown through what may fail."""

    def __init__(self, opened: Any, shown: Any) -> None:
        self._opened, self._shown = opened, shown

    def __enter__(self) -> Any:
        return self._shown

    def __exit__(self, *_: object) -> None:
        self._opened.close()


@contextlib.contextmanager
def faulty_disk(calls: Calls) -> Iterator[None]:
    """Any write of a state file may fail."""
    module: Any = netuned.statefile
    disk, real = FaultyDisk(calls), module.os
    module.os, module.open = disk, disk.open_file
    try:
        yield
    finally:
        module.os = real
        del module.open
