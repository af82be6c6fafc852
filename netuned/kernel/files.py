"""Reading and writing the kernel's own files (/proc, /sys) under a relocatable root."""

from __future__ import annotations

import contextlib
import copy
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Protocol, TypeVar

from netuned.errors import KernelError
from netuned.regularfile import open_regular

READ_SIZE = 1 << 16
"""Enough for any file read once; /proc files past it are not read here."""

ATTRIBUTE_SIZE = 448
"""Kept attributes are masks, 288 bytes for 1,024 CPUs; Python's quick allocator ends at 512."""

IRQ_DIRECTORY = "/proc/irq"
"""Where it is read. ProtectKernelTunables= makes it read-only for the service: the unit has the
same directory at another place, to be written there."""

T = TypeVar("T")
R = TypeVar("R")


class Kept(Protocol):
    """A group of files that is read over and over."""

    def contents(self) -> list[bytes]:
        """What each file holds now. Raises: KernelError."""

    def close(self) -> None: ...


class FileTree(ABC):
    """A host's files by their absolute paths there: this host's, or what a snapshot holds.

    Relative paths begin at the directory of ``at``, and lead nowhere without one.
    """

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

    def at(self, directory: str) -> FileTree:
        """The same files, and by relative paths those below a directory; ``.`` is that itself.

        On this host it is the very directory that is there now, whatever name it gets and
        whatever gets its name. Raises: KernelError.
        """
        return _Below(self, directory)

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


class _Below(FileTree):
    """Files of which nothing moves, with relative paths below one directory."""

    def __init__(self, files: FileTree, directory: str) -> None:
        self._files = files
        self._directory = directory

    def read(self, path: str) -> bytes:
        return self._files.read(self._full(path))

    def read_long(self, path: str, limit: int) -> bytes:
        return self._files.read_long(self._full(path), limit)

    def write(self, path: str, data: bytes) -> None:
        self._files.write(self._full(path), data)

    def listdir(self, path: str) -> list[str]:
        return self._files.listdir(self._full(path))

    def exists(self, path: str) -> bool:
        return self._files.exists(self._full(path))

    def readlink(self, path: str, default: str = "") -> str:
        return self._files.readlink(self._full(path), default)

    def resolve(self, path: str) -> str:
        return self._files.resolve(self._full(path))

    def mode(self, path: str) -> int:
        return self._files.mode(self._full(path))

    def inode(self, path: str) -> int:
        return self._files.inode(self._full(path))

    def keep(self, paths: tuple[str, ...]) -> Kept:
        return self._files.keep(tuple(map(self._full, paths)))

    def _full(self, path: str) -> str:
        return self._directory if path == "." else os.path.join(self._directory, path)


class Directory:
    """A directory of this host, open for as long as somebody has this object.

    It stays the same under another name: of a card's in sysfs, all that is opened below it is that
    card's, and nothing is there any more (ENOENT, ENODEV) once the card has left.
    """

    def __init__(self, path: str = "") -> None:
        """Open it; without a path it is none. Raises: OSError."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.number = -1
        self.number = os.open(path, flags) if path else -1

    @property
    def inode(self) -> int:
        return os.fstat(self.number).st_ino

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


NOWHERE = Directory()


class Files(FileTree):
    """The files under ``root``, where the described host's ``/`` is."""

    def __init__(self, root: str = "/", wrote: Callable[[], None] = lambda: None) -> None:
        self._root = root.rstrip("/")
        self._wrote = wrote
        self._directory = NOWHERE
        self._shown = ""
        self._irq = os.environ.get("NETUNED_IRQ_DIRECTORY", IRQ_DIRECTORY)

    def at(self, directory: str) -> FileTree:
        there = copy.copy(self)
        try:
            there._directory = Directory(self._root + directory)
        except OSError as error:
            raise self.refused("open", directory, error) from None
        there._shown = directory
        return there

    def read(self, path: str) -> bytes:
        try:
            descriptor = self.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(descriptor, READ_SIZE)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.refused("read", path, error) from None

    def read_long(self, path: str, limit: int) -> bytes:
        content = b""
        try:
            regular = partial(open_regular, dir_fd=self._directory.number)
            with open(self._place(path), "rb", buffering=0, opener=regular) as file:
                # sysctl files refuse large buffers with ENOMEM
                while part := file.read(min(limit - len(content), READ_SIZE)):
                    content += part
        except OSError as error:
            raise self.refused("read", path, error) from None
        return content

    def write(self, path: str, data: bytes) -> None:
        place = path
        if path.startswith(f"{IRQ_DIRECTORY}/"):
            place = self._irq + path.removeprefix(IRQ_DIRECTORY)
        try:
            # to cut off a file of sysfs, or an interrupt's, changes nothing, and is one more event
            own = not self._root and not path.startswith("/proc/sys/")
            anew = 0 if own else os.O_CREAT | os.O_TRUNC
            descriptor = self.open(place, os.O_WRONLY | os.O_CLOEXEC | anew)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.refused("write", path, error) from None
        self._wrote()

    def listdir(self, path: str) -> list[str]:
        try:
            descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return sorted(os.listdir(descriptor))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.refused("list", path, error) from None

    def exists(self, path: str) -> bool:
        return self._stat(path) is not None

    def readlink(self, path: str, default: str = "") -> str:
        try:
            return os.readlink(self._place(path), dir_fd=self._directory.number)
        except OSError:
            return default

    def resolve(self, path: str) -> str:
        if path.startswith("/"):
            return os.path.realpath(self._root + path)[len(self._root) :]
        try:
            descriptor = self.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return os.path.join(self._shown, path)
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")[len(self._root) :]
        finally:
            os.close(descriptor)

    def mode(self, path: str) -> int:
        found = self._stat(path)
        return found.st_mode if found else 0

    def inode(self, path: str) -> int:
        found = self._stat(path)
        return found.st_ino if found else 0

    def changed_ns(self, path: str) -> int:
        found = self._stat(path)
        return found.st_mtime_ns if found else 0

    def keep(self, paths: tuple[str, ...]) -> Kept:
        return _Descriptors(self, paths)

    def open(self, path: str, flags: int) -> int:
        """A descriptor of a file. Raises: OSError."""
        return os.open(self._place(path), flags, dir_fd=self._directory.number)

    def _place(self, path: str) -> str:
        """Where a file is for this process; a relative path stays so."""
        return self._root + path if path.startswith("/") else path

    def _stat(self, path: str) -> os.stat_result | None:
        """Type, inode and times; None where they cannot be had."""
        try:
            return os.stat(self._place(path), dir_fd=self._directory.number)
        except OSError:
            return None

    def refused(self, operation: str, path: str, error: OSError) -> KernelError:
        """What netuned raises for an error over a file."""
        target = os.path.join(self._shown, path)
        return KernelError(operation, target, error.errno or errno.EIO)


class _Descriptors:
    """Files of this host, open: a kept sysfs or procfs descriptor returns fresh values."""

    def __init__(self, files: Files, paths: tuple[str, ...]) -> None:
        self._files = files
        self._paths = paths
        self._descriptors: list[int] = []
        self._size = ATTRIBUTE_SIZE
        for path in paths:
            try:
                self._descriptors.append(files.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                self.close()
                raise files.refused("open", path, error) from None

    def contents(self) -> list[bytes]:
        try:
            contents = self._read()
            if len(contents[-1]) == self._size < READ_SIZE:  # masks of one host are equally long
                self._size = READ_SIZE
                contents = self._read()
        except OSError as error:
            refused = self._files.refused("read", self._paths[0], error)
            if len(self._paths) > 1:
                refused.target += " …"
            raise refused from None
        return contents

    def _read(self) -> list[bytes]:
        # a loop of Python's around each takes a fifth more
        return list(map(os.pread, self._descriptors, repeat(self._size), repeat(0)))

    def close(self) -> None:
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.pop())

    __del__ = close  # of a card that left while a worker read through them


class KeptFiles:
    """One card's attributes, kept open: a re-read costs 1 µs instead of 9.

    ``files`` are at the card's directory. One worker sweeps at a time.
    """

    def __init__(self, files: FileTree) -> None:
        self.files = files
        self._kept: dict[tuple[str, ...], Kept] = {}
        self._built: dict[object, tuple[object, object]] = {}

    def sweep(self, paths: tuple[str, ...], build: Callable[[Sequence[bytes]], T]) -> T:
        """Read all ``paths`` and return ``build(contents)``.

        The very same object is returned while no content has changed, so that a caller sees
        "nothing new" by identity. Raises: KernelError; the group is then reopened next time.
        """
        kept = self._kept.get(paths)
        if kept is None:
            kept = self._kept[paths] = self.files.keep(paths)
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

    def last(self, key: object) -> object | None:
        """What ``same`` gave last under ``key``; None: nothing yet."""
        return self._built.get(key, (None, None))[1]

    def close(self) -> None:
        """Close every file; the next sweep opens anew."""
        for paths in list(self._kept):
            self._forget(paths)

    def _forget(self, paths: tuple[str, ...]) -> None:
        self._built.pop(paths, None)
        kept = self._kept.pop(paths, None)
        if kept is not None:
            kept.close()
