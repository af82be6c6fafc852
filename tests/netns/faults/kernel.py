"""This host's kernel, any call of which may fail."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import CLASS_NET
from netuned.kernel import Kernel
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.files import Files, FileTree, Kept
from netuned.kernel.netlink import NetlinkSocket
from tests.netns.faults.calls import SHORT, Calls, raising


class FaultyFiles(Files):
    """The kernel's files, which may fail."""

    def __init__(self, calls: Calls, wrote: Callable[[], None]) -> None:
        super().__init__("/", wrote)
        self._calls = calls

    def read(self, path: str) -> bytes:
        return self._read(path, lambda: super(FaultyFiles, self).read(path))

    def read_long(self, path: str, limit: int) -> bytes:
        return self._read(path, lambda: super(FaultyFiles, self).read_long(path, limit))

    def _read(self, path: str, work: Callable[[], bytes]) -> bytes:
        def fail(error: int) -> bytes:
            if error == SHORT:
                content = work()
                return content[: len(content) // 2]
            raise KernelError("read", path, error)

        own = path.startswith(CLASS_NET) or not path.startswith("/")
        kind = "read" if own else "read elsewhere"
        return self._calls.make(kind, path, work, fail, False)

    def at(self, directory: str) -> FileTree:
        work = super().at
        fail: Callable[[int], FileTree] = raising("open", directory)
        return self._calls.make("list", directory, lambda: work(directory), fail, False)

    def write(self, path: str, data: bytes) -> None:
        work = super().write
        fail = raising("write", path)
        self._calls.make("write", path, lambda: work(path, data), fail, True)

    def listdir(self, path: str) -> list[str]:
        work = super().listdir
        return self._calls.make("list", path, lambda: work(path), raising("list", path), False)

    def exists(self, path: str) -> bool:
        work = super().exists
        return self._calls.make("look", path, lambda: work(path), lambda _: False, False)

    def readlink(self, path: str, default: str = "") -> str:
        work = super().readlink
        return self._calls.make("look", path, lambda: work(path, default), lambda _: default, False)

    def mode(self, path: str) -> int:
        work = super().mode
        return self._calls.make("look", path, lambda: work(path), lambda _: 0, False)

    def inode(self, path: str) -> int:
        work = super().inode
        return self._calls.make("look", path, lambda: work(path), lambda _: 0, False)

    def keep(self, paths: tuple[str, ...]) -> Kept:
        work = super().keep
        kept = self._calls.make(
            "list", paths[0], lambda: work(paths), raising("open", paths[0]), False
        )
        return FaultyKept(self._calls, kept, paths[0])


class FaultyKept:
    """A group of kept files, whose reading may fail."""

    def __init__(self, calls: Calls, kept: Kept, name: str) -> None:
        self._calls = calls
        self._kept = kept
        self._name = name
        self.close = kept.close

    def contents(self) -> list[bytes]:
        def fail(error: int) -> list[bytes]:
            if error == SHORT:
                return [content[: len(content) // 2] for content in self._kept.contents()]
            raise KernelError("read", self._name, error)

        return self._calls.make("read", self._name, self._kept.contents, fail, False)


class FaultyKernel(Kernel):
    """This host's kernel, any call of which may fail."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.files = FaultyFiles(calls, self._wrote)
        self._calls = calls
        assert isinstance(self.ethtool, Ethtool)
        self._guard_ioctl(self.ethtool)
        for client in (self.rtnl, self._sockets.link_numbers, self.ethtool_netlink, self.netdev):
            self._guard_netlink(client._socket)  # type: ignore[union-attr]  # all have one

    def _guard_ioctl(self, ethtool: Ethtool) -> None:
        ask = ethtool._call

        def guarded(ifindex: int, what: str, request: Any, *, write: bool = False) -> Any:
            def fail(error: int) -> Any:
                if error == errno.EOPNOTSUPP:
                    raise UnsupportedError(what, "the driver has no such operation")
                raise KernelError("set" if write else "get", what, error)

            work: Callable[[], Any] = lambda: ask(ifindex, what, request, write=write)  # noqa: E731
            return self._calls.make("ioctl", what, work, fail, write)

        ethtool._call = guarded  # type: ignore[method-assign]

    def _guard_netlink(self, opened: NetlinkSocket) -> None:
        ask = opened.exchange

        def guarded(
            message: bytes, read: Any, operation: str, target: str, namer: Any = None
        ) -> Any:
            given = message, read, operation, target, namer
            writes = operation in ("replace", "delete", "set")
            work: Callable[[], Any] = lambda: ask(*given)  # noqa: E731
            fail = raising(operation, target, "on purpose")
            return self._calls.make("netlink", f"{operation} {target}", work, fail, writes)

        opened.exchange = guarded  # type: ignore[method-assign]
