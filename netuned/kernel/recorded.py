"""RecordedKernel: a host's files and answers from memory, be it a snapshot or a described machine.

It answers what it holds. What it does not hold is an error, never this host's answer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from sys import getsizeof
from typing import TypeAlias, TypeVar

from netuned.errors import KernelError, SnapshotError, UnsupportedError
from netuned.kernel import Kernel
from netuned.kernel.answers import NOT_HELD, Answers
from netuned.kernel.ethtool import Channels, DriverInfo
from netuned.kernel.files import READ_SIZE, FileTree, Kept
from netuned.kernel.hashing import Hashing, HashValues
from netuned.kernel.irqbalance import Unknown
from netuned.kernel.linkinfo import LinkInfo
from netuned.kernel.netdev import THREADS
from netuned.kernel.questions import (
    CHANNELS,
    DRIVER_INFO,
    HASHING,
    LINKS,
    NAPI_INTERRUPTS,
    NAPIS,
    QDISCS,
    RSS_TABLE,
    RULES,
    RX_RINGS,
    Question,
    Setting,
)
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.records import dataclass
from netuned.values import FlowRule

A = TypeVar("A")

MAX_LINKS = 40
"""Symbolic links followed for one path, as in the kernel (include/linux/namei.h, MAXSYMLINKS)."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read; ``mode`` are its permission bits."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link. An absolute target is one in the same tree."""

    target: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is there and gave this errno when it was read, or was left out."""

    errno: int = NOT_HELD
    mode: int = 0o644


Node: TypeAlias = "File | Link | Refused | dict[str, Node]"


def memory_of(name: str, node: Node) -> int:
    """Bytes that a name in a directory takes with what it names, at most."""
    text = node.content if isinstance(node, File) else node.target if isinstance(node, Link) else ""
    return (_DIRECTORY if isinstance(node, dict) else _ENTRY) + getsizeof(name) + getsizeof(text)


_ENTRY, _DIRECTORY = 160, 448


class Tree:
    """Files, links and directories by path. Links never lead out of it.

    ``most`` is the memory that it may take, in bytes; 0 is any.
    """

    def __init__(self, most: int = 0) -> None:
        self.root: dict[str, Node] = {}
        self._most = most
        self._taken = 0
        self._directories: dict[str, dict[str, Node]] = {}

    def add(self, path: str, node: File | Link | Refused) -> None:
        """Put a node at a path without links. Raises: KernelError, EEXIST or ENOTDIR."""
        directory, _, name = path.rpartition("/")
        entries = self.add_directory(directory)
        if name in entries:
            raise KernelError("add", path, errno.EEXIST)
        if self._most:
            self._take(path, name, node)
        entries[name] = node

    def _take(self, path: str, name: str, node: Node) -> None:
        """Raises: KernelError, ENOMEM."""
        self._taken += memory_of(name, node)
        if self._taken > self._most:
            raise KernelError("add", path, errno.ENOMEM)

    def add_directory(self, path: str) -> dict[str, Node]:
        """The directory at a path without links, made if it is not there. Raises: as ``add``."""
        known = self._directories.get(path)
        if known is not None:
            return known
        here = self.root
        for name in filter(None, path.split("/")):
            below = here.get(name)
            if below is None:
                below = here[name] = {}
                if self._most:
                    self._take(path, name, below)
            if not isinstance(below, dict):
                raise KernelError("add", path, errno.ENOTDIR)
            here = below
        if self._most:
            self._take(path, path, File(b""))
        self._directories[path] = here
        return here

    def find(self, path: str, *, follow: bool = True) -> tuple[str, Node]:
        """What is at a path, and that path without links; a last link itself unless ``follow``.

        Raises: OSError, as the kernel would give it.
        """
        names: list[str] = []
        nodes: list[Node] = [self.root]
        ahead = path.split("/")[::-1]
        links = 0
        while ahead:
            name = ahead.pop()
            here = nodes[-1]
            if not isinstance(here, dict):
                raise OSError(here.errno if isinstance(here, Refused) else errno.ENOTDIR, path)
            if name in ("", "."):
                continue
            if name == "..":
                if names:
                    names.pop()
                    nodes.pop()
                continue
            node = here.get(name)
            if node is None:
                raise OSError(errno.ENOENT, path)
            if isinstance(node, Link) and (follow or any(ahead)):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, path)
                if node.target.startswith("/"):
                    names, nodes = [], [self.root]
                ahead += node.target.split("/")[::-1]
                continue
            names.append(name)
            nodes.append(node)
        return "/" + "/".join(names), nodes[-1]

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every path and its node, directories before what is in them, sorted by name."""
        ahead: list[tuple[str, Node]] = [("", self.root)]
        while ahead:
            path, node = ahead.pop()
            if path:
                yield path, node
            if isinstance(node, dict):
                ahead += [(f"{path}/{name}", node[name]) for name in sorted(node, reverse=True)]


class RecordedFiles(FileTree):
    """The files of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._parents: dict[str, dict[str, Node]] = {}

    def read(self, path: str) -> bytes:
        return self.read_long(path, READ_SIZE)

    def read_long(self, path: str, limit: int) -> bytes:
        node = self._node("read", path)
        if isinstance(node, File):
            return node.content[:limit]
        raise KernelError("read", path, node.errno if isinstance(node, Refused) else errno.EISDIR)

    def write(self, path: str, data: bytes) -> None:
        raise cannot_be_written()

    def listdir(self, path: str) -> list[str]:
        node = self._node("list", path)
        if isinstance(node, dict):
            return sorted(node)
        raise KernelError("list", path, node.errno if isinstance(node, Refused) else errno.ENOTDIR)

    def exists(self, path: str) -> bool:
        try:
            self._node("find", path)
        except KernelError:
            return False
        return True

    def readlink(self, path: str, default: str = "") -> str:
        try:
            _, node = self._tree.find(path, follow=False)
        except OSError:
            return default
        return node.target if isinstance(node, Link) else default

    def resolve(self, path: str) -> str:
        try:
            return self._tree.find(path)[0]
        except OSError:
            return os.path.normpath(path)

    def mode(self, path: str) -> int:
        try:
            node = self._node("find", path)
        except KernelError:
            return 0
        if isinstance(node, File | Refused):
            return stat.S_IFREG | node.mode
        return stat.S_IFDIR | 0o755

    def keep(self, paths: tuple[str, ...]) -> Kept:
        group = _Group(self, paths)
        group.contents()
        return group

    def _node(self, operation: str, path: str) -> Node:
        """Raises: KernelError. Where a directory is is found once."""
        parent, _, name = path.rpartition("/")
        try:
            entries = self._parents.get(parent)
            if entries is None:
                found = self._tree.find(parent)[1]
                if not isinstance(found, dict):
                    return self._tree.find(path)[1]
                entries = self._parents[parent] = found
            node = entries.get(name)
            if node is None or isinstance(node, Link):
                return self._tree.find(path)[1]
        except OSError as error:
            raise KernelError(operation, path, error.errno or errno.EIO) from None
        return node


class _Group:
    """Files that are read over and over, from memory."""

    def __init__(self, files: RecordedFiles, paths: tuple[str, ...]) -> None:
        self._files = files
        self._paths = paths

    def contents(self) -> list[bytes]:
        return [self._files.read(path) for path in self._paths]

    def close(self) -> None:
        """Nothing is open."""


class RecordedCalls:
    """The calls of a kernel's parts, answered by its ``get`` and ``dump``; none of them writes."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def driver_info(self, ifindex: int) -> DriverInfo:
        return self._kernel.get(DRIVER_INFO, ifindex)

    def channels(self, ifindex: int) -> Channels:
        return self._kernel.get(CHANNELS, ifindex)

    def rss_table(self, ifindex: int) -> tuple[int, ...]:
        return self._kernel.get(RSS_TABLE, ifindex)

    def rx_rings(self, ifindex: int) -> int:
        return self._kernel.get(RX_RINGS, ifindex)

    def hashing(self, ifindex: int) -> Hashing:
        return self._kernel.get(HASHING, ifindex)

    def rule(self, ifindex: int, location: int) -> FlowRule:
        return self._kernel.get(RULES, ifindex).rules[location]

    def rule_places(self, ifindex: int) -> tuple[int, tuple[int, ...]]:
        table = self._kernel.get(RULES, ifindex)
        return table.size, tuple(sorted(table.rules))

    def create_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        raise cannot_be_written()

    def set_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        raise cannot_be_written()

    def delete_context(self, ifindex: int, context: int) -> None:
        raise cannot_be_written()

    def set_rule(self, ifindex: int, location: int, rule: FlowRule) -> None:
        raise cannot_be_written()

    def delete_rule(self, ifindex: int, location: int) -> None:
        raise cannot_be_written()

    def napi_interrupts(self, ifindex: int) -> Mapping[tuple[str, int], int]:
        return self._kernel.get(NAPI_INTERRUPTS, ifindex)

    def holders(self, ifindex: int, queues: Iterable[int]) -> Mapping[int, str]:
        """Not held: processes are nobody's who reads a snapshot."""
        return {}

    def lists_napis(self) -> bool:
        """Nothing here changes."""
        return False

    def sets_napis(self) -> bool:
        """As what was told of them shows."""
        with contextlib.suppress(KernelError, UnsupportedError):
            told = self._kernel.dump(NAPIS).values()
            return any(not key.endswith(f" {THREADS}") for numbers in told for key in numbers)
        return False

    def qdiscs(self, ifindexes: Collection[int] = ()) -> Mapping[int, tuple[QdiscEntry, ...]]:
        found = self._kernel.dump(QDISCS)
        if not ifindexes:
            return found
        return {ifindex: found[ifindex] for ifindex in ifindexes if ifindex in found}

    def links(self, *, torn: bool = False) -> Mapping[int, LinkInfo]:
        return self._kernel.dump(LINKS)

    def can_set_channels(self, ifindex: int) -> bool:
        """Not held; of these drivers it is known."""
        try:
            return self.driver_info(ifindex).driver not in ("vmxnet3", "tun")
        except UnsupportedError:
            return True

    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None:
        raise cannot_be_written()

    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None:
        raise cannot_be_written()

    def set_hashing(self, ifindex: int, values: HashValues) -> None:
        raise cannot_be_written()

    def tells_of_rss(self) -> bool:
        """Nothing here changes without being told."""
        return True

    def replace_qdisc(
        self, ifindex: int, parent: int, handle: int, kind: str, parameters: Mapping[str, int]
    ) -> None:
        raise cannot_be_written()

    def delete_qdisc(self, ifindex: int, parent: int = ROOT, handle: int = 0) -> None:
        raise cannot_be_written()

    def has_qdisc_kind(self, kind: str) -> bool:
        """Not held, and nothing speaks against it."""
        return True

    def has_filters(self, ifindex: int, handle: int) -> bool:
        """Not held, and most qdiscs have none."""
        return False


class RecordedKernel(Kernel):
    """A host from memory: nothing of this one's kernel is asked, nothing can be written.

    ``macs``: whether MAC addresses are in it.
    """

    def __init__(self, tree: Tree, answers: Answers, *, macs: bool = True) -> None:
        self.macs = macs
        self.writes = 0
        self.tree = tree
        self.answers = answers
        self.files = RecordedFiles(tree)
        self.ethtool = self.ethtool_netlink = self.netdev = self.rtnl = RecordedCalls(self)
        self.irqbalance = Unknown()

    def get(self, question: Question[A], ifindex: int) -> A:
        return self.answers.get(question, ifindex)

    def dump(self, question: Question[A]) -> Mapping[int, A]:
        return self.answers.dump(question)

    def set(self, setting: Setting[A], ifindex: int, values: Mapping[str, int]) -> None:
        raise cannot_be_written()

    def card_name(self, ifindex: int) -> str:
        for name in self.files.listdir("/sys/class/net"):
            if self.files.read_int(f"/sys/class/net/{name}/ifindex", 0) == ifindex:
                return name
        raise KernelError("look up", f"card with ifindex {ifindex}", errno.ENXIO)


def cannot_be_written() -> SnapshotError:
    """The error for every write."""
    return SnapshotError("a snapshot cannot be written")
