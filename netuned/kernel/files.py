"""Reading and writing the kernel's own files (/proc, /sys) under a relocatable root."""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from netuned.errors import KernelError
from netuned.regularfile import open_regular

READ_SIZE = 1 << 16
"""Enough for any file read once; /proc files past it are not read here."""

ATTRIBUTE_SIZE = 448
"""Kept attributes are masks, 288 bytes for 1,024 CPUs; Python's quick allocator ends at 512."""

T = TypeVar("T")
R = TypeVar("R")


class Kept(Protocol):
    """A group of files that is read over and over."""

    def contents(self) -> list[bytes]:
        """What each file holds now. Raises: KernelError."""

    def close(self) -> None: ...


class FileTree(ABC):
    """A host's files by their absolute paths there: this host's, or what a snapshot holds."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content, at most ``READ_SIZE`` bytes of it. Raises: KernelError."""

    @abstractmethod
    def read_long(self, path: str, limit: int) -> bytes:
        """The content up to ``limit`` bytes, in as many reads as it takes. Raises: KernelError."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write in one call, as the kernel's attributes want it. Raises: NetunedError."""

    @abstractmethod
    def listdir(self, path: str) -> list[str]:
        """Entry names, sorted. Raises: KernelError."""

    @abstractmethod
    def exists(self, path: str) -> bool: ...

    @abstractmethod
    def readlink(self, path: str, default: str = "") -> str:
        """The target of a symbolic link as written; ``default`` where there is none."""

    @abstractmethod
    def resolve(self, path: str) -> str:
        """The path without symbolic links."""

    @abstractmethod
    def mode(self, path: str) -> int:
        """Type and permission bits, 0 where there is no such file."""

    def inode(self, path: str) -> int:
        """The number of the file or directory a path leads to; 0 where that is not known."""
        return 0

    @abstractmethod
    def keep(self, paths: tuple[str, ...]) -> Kept:
        """Open these files for reading over and over. Raises: KernelError."""

    def changed_ns(self, path: str) -> int:
        """When a file or directory was last changed; 0 where it does not exist or never is."""
        return 0

    def read_text(self, path: str, default: str | None = None) -> str:
        """The content without surrounding white space; ``default`` where the file cannot be read.

        Raises: KernelError when there is no default, or the kernel had no memory for it.
        """
        try:
            return self.read(path).decode("utf-8", "replace").strip()
        except KernelError as error:
            if default is None or error.exhausted:
                raise
            return default

    def read_int(self, path: str, default: int) -> int:
        """The number in a file; ``default`` where it cannot be read or is not a number.

        Raises: KernelError when the kernel had no memory for it.
        """
        try:
            return int(self.read_text(path, ""), 0)
        except ValueError:
            return default


class Files(FileTree):
    """The files under ``root``, where the described host's ``/`` is."""

    def __init__(self, root: str = "/", wrote: Callable[[], None] = lambda: None) -> None:
        self._root = root.rstrip("/")
        self._wrote = wrote

    def read(self, path: str) -> bytes:
        try:
            with open(self._root + path, "rb", buffering=0) as file:
                return file.read(READ_SIZE) or b""
        except OSError as error:
            raise _refused("read", path, error) from None

    def read_long(self, path: str, limit: int) -> bytes:
        content = b""
        try:
            with open(self._root + path, "rb", buffering=0, opener=open_regular) as file:
                # sysctl files refuse large buffers with ENOMEM
                while part := file.read(min(limit - len(content), READ_SIZE)):
                    content += part
        except OSError as error:
            raise _refused("read", path, error) from None
        return content

    def write(self, path: str, data: bytes) -> None:
        try:
            with open(self._root + path, "wb", buffering=0) as file:
                file.write(data)
        except OSError as error:
            raise _refused("write", path, error) from None
        self._wrote()

    def listdir(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self._root + path))
        except OSError as error:
            raise _refused("list", path, error) from None

    def exists(self, path: str) -> bool:
        return os.path.exists(self._root + path)

    def readlink(self, path: str, default: str = "") -> str:
        try:
            return os.readlink(self._root + path)
        except OSError:
            return default

    def resolve(self, path: str) -> str:
        return os.path.realpath(self._root + path)[len(self._root) :]

    def mode(self, path: str) -> int:
        try:
            return os.stat(self._root + path).st_mode
        except OSError:
            return 0

    def inode(self, path: str) -> int:
        try:
            return os.stat(self._root + path).st_ino
        except OSError:
            return 0

    def changed_ns(self, path: str) -> int:
        try:
            return os.stat(self._root + path).st_mtime_ns
        except OSError:
            return 0

    def keep(self, paths: tuple[str, ...]) -> Kept:
        return _Descriptors(self._root, paths)


class _Descriptors:
    """Files of this host, open: a kept sysfs or procfs descriptor returns fresh values."""

    def __init__(self, root: str, paths: tuple[str, ...]) -> None:
        self._paths = paths
        self._descriptors: list[int] = []
        for path in paths:
            try:
                self._descriptors.append(os.open(root + path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                self.close()
                raise _refused("open", path, error) from None

    def contents(self) -> list[bytes]:
        pread = os.pread
        try:
            contents = [pread(descriptor, ATTRIBUTE_SIZE, 0) for descriptor in self._descriptors]
            if len(contents[-1]) == ATTRIBUTE_SIZE:  # masks of one host are equally long
                contents = [pread(descriptor, READ_SIZE, 0) for descriptor in self._descriptors]
        except OSError as error:
            paths = self._paths
            what = paths[0] if len(paths) == 1 else f"{paths[0]} …"
            raise _refused("read", what, error) from None
        return contents

    def close(self) -> None:
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.pop())


class KeptFiles:
    """One card's attributes, kept open: a re-read costs 1 µs instead of 9.

    One worker uses it at a time.
    """

    def __init__(self, files: FileTree) -> None:
        self._files = files
        self._kept: dict[tuple[str, ...], Kept] = {}
        self._built: dict[object, tuple[object, object]] = {}

    def sweep(self, paths: tuple[str, ...], build: Callable[[Sequence[bytes]], T]) -> T:
        """Read all ``paths`` and return ``build(contents)``.

        The very same object is returned while no content has changed, so that a caller sees
        "nothing new" by identity. Raises: KernelError; the group is then reopened next time.
        """
        kept = self._kept.get(paths)
        if kept is None:
            kept = self._kept[paths] = self._files.keep(paths)
        try:
            contents = kept.contents()
        except KernelError:
            self._forget(paths)
            raise
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
        """Close every file; the next sweep opens anew."""
        for paths in list(self._kept):
            self._forget(paths)

    def _forget(self, paths: tuple[str, ...]) -> None:
        self._built.pop(paths, None)
        kept = self._kept.pop(paths, None)
        if kept is not None:
            kept.close()


def _refused(operation: str, path: str, error: OSError) -> KernelError:
    return KernelError(operation, path, error.errno or errno.EIO)
