"""RecordingKernel: passes every question on and remembers the answer.

A snapshot is what netuned's own readers asked, so a replay answers them as the host did. What was
asked once is not asked again: the snapshot is one moment, as far as the kernel has one.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Mapping
from functools import partial

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import Kernel
from netuned.kernel.answers import Answers, Failure
from netuned.kernel.files import READ_SIZE, FileTree, Kept
from netuned.kernel.irqbalance import Unknown
from netuned.kernel.questions import QUESTIONS, Question, Setting
from netuned.kernel.recorded import (
    MAX_LINKS,
    A,
    File,
    Link,
    Node,
    RecordedCalls,
    RecordedFiles,
    Refused,
    Tree,
    cannot_be_written,
)

MAX_FILE = 1 << 22
"""A larger file is left out of a snapshot, and refused in one."""


class RecordingFiles(FileTree):
    """Reads files and puts what it saw into a tree: links as links, files where they really are."""

    def __init__(self, asked: FileTree, tree: Tree) -> None:
        self._asked = asked
        self._tree = tree
        self._recorded = RecordedFiles(tree)
        self._read: dict[str, File] = {}
        self._real: dict[str, str] = {"": ""}

    def read(self, path: str) -> bytes:
        return self.read_long(path, READ_SIZE)

    def read_long(self, path: str, limit: int) -> bytes:
        real = self._follow(path)
        known = self._read.get(real)
        if known is None:
            try:
                content = self._asked.read_long(real, MAX_FILE + 1)
            except KernelError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                    self._put(real, Refused(error.errno, self._mode(real)))
                raise
            if len(content) > MAX_FILE:
                self._put(real, Refused(errno.EFBIG, self._mode(real)))
                raise KernelError("read", path, errno.EFBIG)
            known = self._read[real] = File(content, self._mode(real))
            self._put(real, known)
        return known.content[:limit]

    def write(self, path: str, data: bytes) -> None:
        self._recorded.write(path, data)

    def listdir(self, path: str) -> list[str]:
        real = self._follow(path)
        names = self._asked.listdir(real)
        for name in names:
            self._note(f"{real}/{name}")
        self._tree.add_directory(real)
        return names

    def exists(self, path: str) -> bool:
        try:
            return self._note(self._follow(path))
        except KernelError:  # a circle of links
            return False

    def readlink(self, path: str, default: str = "") -> str:
        parent, _, name = path.rpartition("/")
        self._note(f"{self._follow(parent)}/{name}")
        return self._recorded.readlink(path, default)

    def resolve(self, path: str) -> str:
        real = self._follow(path)
        self._note(real)
        return real

    def mode(self, path: str) -> int:
        real = self._follow(path)
        return self._asked.mode(real) if self._note(real) else 0

    def keep(self, paths: tuple[str, ...]) -> Kept:
        for path in paths:
            self.read(path)
        return self._recorded.keep(paths)

    def _put(self, real: str, node: Node) -> None:
        directory, _, name = real.rpartition("/")
        self._tree.add_directory(directory)[name] = node

    def _note(self, real: str) -> bool:
        """Remember that something is there, not what it holds. Says if there is, as exists()."""
        directory, _, name = real.rpartition("/")
        target = self._asked.readlink(real)
        mode = 0 if target else self._asked.mode(real)
        if not target and not mode:
            return False
        if stat.S_ISDIR(mode):
            self._tree.add_directory(real)
        else:
            node = Link(target) if target else Refused(mode=stat.S_IMODE(mode))
            self._tree.add_directory(directory).setdefault(name, node)
        return True

    def _follow(self, path: str, links: int = 0) -> str:
        """The path without links, all of which are remembered. Raises: KernelError, ELOOP."""
        known = self._real.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition("/")
        at = self._follow(parent, links)
        real = f"{at}/{name}" if name else at
        if target := self._asked.readlink(real) if name else "":
            if links == MAX_LINKS:
                raise KernelError("find", path, errno.ELOOP)
            self._note(real)
            real = self._walk("" if target.startswith("/") else at, target, links + 1)
        if self._asked.mode(real):  # what is not there may come
            self._real[path] = real
        return real

    def _walk(self, real: str, target: str, links: int) -> str:
        for name in target.split("/"):
            if name == "..":
                real = real.rpartition("/")[0]
            elif name not in ("", "."):
                real = self._follow(f"{real}/{name}", links)
        return real

    def _mode(self, real: str) -> int:
        return stat.S_IMODE(self._asked.mode(real))


class RecordingKernel(Kernel):
    """A kernel that is asked through this one, which remembers ``tree`` and ``answers``.

    What one request tells of all cards is asked at the start. Nothing can be written.
    """

    def __init__(self, asked: Kernel) -> None:
        self.writes = 0
        self.tree = Tree()
        self.answers = Answers()
        self.files = RecordingFiles(asked.files, self.tree)
        self.ethtool = self.ethtool_netlink = self.netdev = self.rtnl = RecordedCalls(self)
        self.irqbalance = Unknown()
        self._asked = asked
        for question in QUESTIONS:
            if question.dumps:
                self.answers.put_all(question, _answer(partial(asked.dump, question)))

    def get(self, question: Question[A], ifindex: int) -> A:
        answers = self.answers.cards(question)
        if question.ask is not None and ifindex not in answers:
            answers[ifindex] = _answer(lambda: self._asked.get(question, ifindex))
        return self.answers.get(question, ifindex)

    def dump(self, question: Question[A]) -> Mapping[int, A]:
        return self.answers.dump(question)

    def set(self, setting: Setting[A], ifindex: int, values: Mapping[str, int]) -> None:
        raise cannot_be_written()

    def card_name(self, ifindex: int) -> str:
        return self._asked.card_name(ifindex)


def _answer(ask: Callable[[], A]) -> A | Failure:
    try:
        return ask()
    except (KernelError, UnsupportedError) as error:
        return error
