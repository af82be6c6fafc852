"""Reading and writing the kernel's own files (/proc, /sys) under a relocatable root."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from netuned.errors import KernelError

READ_SIZE = 1 << 16
"""Enough for any file read once; /proc files past it are not read here."""

ATTRIBUTE_SIZE = 448
"""Kept attributes are masks, 288 bytes for 1,024 CPUs; Python's quick allocator ends at 512."""

T = TypeVar("T")
R = TypeVar("R")


class Files:
    """One-shot access. Paths are absolute as on the host, which is mounted at ``root``."""

    def __init__(self, root: str = "/", wrote: Callable[[], None] = lambda: None) -> None:
        self._root = root.rstrip("/")
        self._wrote = wrote

    def path(self, path: str) -> str:
        """Where ``path`` of the described host is on this one."""
        return self._root + path

    def read(self, path: str) -> bytes:
        """The whole content. Raises: KernelError."""
        try:
            with open(self._root + path, "rb", buffering=0) as file:
                return file.read(READ_SIZE) or b""
        except OSError as error:
            raise _refused("read", path, error) from None

    def read_text(self, path: str, default: str | None = None) -> str:
        """The content without surrounding white space; ``default`` where the file cannot be read.

        Raises: KernelError when there is no default.
        """
        try:
            return self.read(path).decode("utf-8", "replace").strip()
        except KernelError:
            if default is None:
                raise
            return default

    def read_int(self, path: str, default: int) -> int:
        """The number in a file; ``default`` where it cannot be read or is not a number."""
        try:
            return int(self.read_text(path, ""), 0)
        except ValueError:
            return default

    def write(self, path: str, data: bytes) -> None:
        """Write in one call, as the kernel's attributes want it. Raises: KernelError."""
        try:
            with open(self._root + path, "wb", buffering=0) as file:
                file.write(data)
        except OSError as error:
            raise _refused("write", path, error) from None
        self._wrote()

    def listdir(self, path: str) -> list[str]:
        """Entry names, sorted. Raises: KernelError."""
        try:
            return sorted(os.listdir(self._root + path))
        except OSError as error:
            raise _refused("list", path, error) from None

    def exists(self, path: str) -> bool:
        return os.path.exists(self._root + path)

    def mode(self, path: str) -> int:
        """Type and permission bits, 0 where there is no such file."""
        try:
            return os.stat(self._root + path).st_mode
        except OSError:
            return 0

    def readlink(self, path: str, default: str = "") -> str:
        """The target of a symbolic link as written; ``default`` where there is none."""
        try:
            return os.readlink(self._root + path)
        except OSError:
            return default

    def resolve(self, path: str) -> str:
        """The path without symbolic links, as on the described host."""
        return os.path.realpath(self._root + path)[len(self._root) :]


class KeptFiles:
    """Descriptors of one card's attributes, kept open: a re-read costs 1 µs instead of 9.

    A kept sysfs or procfs descriptor returns fresh values. One worker uses it at a time.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._descriptors: dict[tuple[str, ...], list[int]] = {}
        self._built: dict[object, tuple[object, object]] = {}

    def sweep(self, paths: tuple[str, ...], build: Callable[[Sequence[bytes]], T]) -> T:
        """Read all ``paths`` and return ``build(contents)``.

        The very same object is returned while no content has changed, so that a caller sees
        "nothing new" by identity. Raises: KernelError; the group is then reopened next time.
        """
        descriptors = self._descriptors.get(paths)
        if descriptors is None:
            descriptors = self._open(paths)
        pread = os.pread
        try:
            contents = [pread(descriptor, ATTRIBUTE_SIZE, 0) for descriptor in descriptors]
            if len(contents[-1]) == ATTRIBUTE_SIZE:  # masks of one host are equally long
                contents = [pread(descriptor, READ_SIZE, 0) for descriptor in descriptors]
        except OSError as error:
            self._forget(paths)
            what = paths[0] if len(paths) == 1 else f"{paths[0]} …"
            raise _refused("read", what, error) from None
        return self.same(paths, contents, build)

    def same(self, key: object, raw: R, build: Callable[[R], T]) -> T:
        """``build(raw)``, or the very object built last under ``key`` from an equal ``raw``."""
        last = self._built.get(key)
        if last is not None and last[0] == raw:
            return last[1]  # type: ignore[return-value]  # what build() gave under this key
        built = build(raw)
        self._built[key] = (raw, built)
        return built

    def close(self) -> None:
        """Close every descriptor; the next sweep opens anew."""
        for paths in list(self._descriptors):
            self._forget(paths)

    def _open(self, paths: tuple[str, ...]) -> list[int]:
        descriptors: list[int] = []
        self._descriptors[paths] = descriptors
        for path in paths:
            try:
                descriptors.append(os.open(self._files.path(path), os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                self._forget(paths)
                raise _refused("open", path, error) from None
        return descriptors

    def _forget(self, paths: tuple[str, ...]) -> None:
        self._built.pop(paths, None)
        for descriptor in self._descriptors.pop(paths, []):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _refused(operation: str, path: str, error: OSError) -> KernelError:
    return KernelError(operation, path, error.errno or errno.EIO)
