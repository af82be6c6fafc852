"""Tar archives of a recorded tree: written whole or not at all, read as if an enemy had made them.

Reading happens in memory, header by header: nothing is ever extracted, and every size is bounded
before anything of that size is held. ``tarfile.TarFile`` was rejected for it: it reads extended
headers of any size, and sparse maps without a bound. ``tarfile.TarInfo`` was, because it takes four
times as long for the 2,400 members of a host of 128 CPUs.

Source: POSIX pax (ustar, extended headers); GNU tar's long names.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from netuned.errors import KernelError, NetunedError, SnapshotError
from netuned.kernel.recorded import File, Link, Node, Tree
from netuned.kernel.recording import MAX_FILE
from netuned.text import escape

MAX_BYTES = 1 << 28
MAX_MEMBERS = 200_000
MAX_DOCUMENT = 1 << 24
"""Of the JSON documents; other files end at ``MAX_FILE``."""

MAX_MEMORY = 128 << 20
"""Bytes that a tree takes once it is read; 1,024 CPUs and 64 cards of 128 queues take 60 MB."""

MAX_EXTENDED = 1 << 16
MAX_NAME = 4096
MAX_DEPTH = 64
DECODER_BYTES = 68 << 20
"""xz's own highest setting needs 65 MiB."""

PRESET = 2
"""xz's; 6 makes a snapshot a tenth smaller and takes five times as long."""

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(_BLOCK)
_PIECE = 1 << 16
_XZ, _GZIP = b"\xfd7zXZ\0", b"\x1f\x8b"
_MAGIC = slice(257, 262)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so (512 bytes) is a tar, maybe compressed."""
    return head.startswith((_XZ, _GZIP)) or head[_MAGIC] == b"ustar"


def write_archive(
    path: str, documents: Mapping[str, bytes], tree: Tree, mtime: int, *, force: bool
) -> None:
    """Write documents and a tree to ``path``, xz by its suffix, readable by its owner alone.

    Raises: NetunedError; then there is no such file, or the one that was there before.
    """
    refuse_existing(path, force=force)
    members = [(name, File(data)) for name, data in documents.items()]
    nodes = [(where, node) for where, node in tree.walk() if _is_member(node)]
    try:
        _build(nodes)
    except KernelError:
        raise too_large(path) from None
    with new_file(path) as file:
        _write(file, path, [*members, *nodes], mtime)


def refuse_existing(path: str, *, force: bool) -> None:
    """Raises: NetunedError where something is there that may not be replaced."""
    if not force and os.path.lexists(path):
        raise NetunedError(f"{path} is there already; --force replaces it")


@contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file, readable by its owner alone, that takes this place once it is whole and on disk.

    Raises: NetunedError; then there is no such file, or the one that was there before.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise NetunedError(
            f"{path}: cannot be written: {error.strerror}; name a place where you may"
        ) from None


def _build(nodes: Iterable[tuple[str, Node]]) -> Tree:
    """A tree of these, by their paths. Raises: KernelError, ENOMEM, for one that is too large."""
    tree = Tree(MAX_MEMORY)
    for where, node in nodes:
        if isinstance(node, dict):
            tree.add_directory(where)
        else:
            tree.add(where, node)
    return tree


def too_large(path: str) -> NetunedError:
    """The error for what would not be read back."""
    return NetunedError(
        f"{path}: this host is too large for a snapshot: `netunedctl plan` on it needs none"
    )


def _is_member(node: Node) -> bool:
    """Directories come with what is in them; only an empty one needs a member of its own."""
    return isinstance(node, File | Link) or node == {}


def _write(file: BinaryIO, path: str, members: list[tuple[str, Node]], mtime: int) -> None:
    size = sum(2 * _BLOCK + len(node.content) for _, node in members if isinstance(node, File))
    if len(members) > MAX_MEMBERS or size > MAX_BYTES:
        raise too_large(path)
    with (
        _packing(file, path) as stream,
        tarfile.open(
            fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape"
        ) as archive,
    ):
        for name, node in members:
            info = tarfile.TarInfo(name.lstrip("/"))
            info.mtime = mtime
            if isinstance(node, File):
                info.size, info.mode = len(node.content), node.mode
                archive.addfile(info, io.BytesIO(node.content))
            elif isinstance(node, Link):
                info.type, info.linkname = tarfile.SYMTYPE, node.target
                archive.addfile(info)
            else:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)


def _packing(file: BinaryIO, path: str) -> AbstractContextManager[BinaryIO | lzma.LZMAFile]:
    if not path.endswith(".xz"):
        return nullcontext(file)
    return lzma.LZMAFile(file, "wb", preset=PRESET)


def read_archive(path: str, documents: Mapping[str, object]) -> tuple[dict[str, bytes], Tree]:
    """The documents of these names, and everything else as a tree.

    Raises: SnapshotError that names the file and the member that is refused.
    """
    tree = Tree(MAX_MEMORY)
    found: dict[str, bytes] = {}
    try:
        with open(path, "rb", opener=open_regular) as file:
            for name, node in _Reader(file, path, documents).members():
                if name in documents and isinstance(node, File):
                    if name in found:
                        raise _refused(path, name, "is there twice")
                    found[name] = node.content
                elif node is None:
                    tree.add_directory(f"/{name}")
                else:
                    tree.add(f"/{name}", node)
    except KernelError as error:
        problem = {
            errno.EEXIST: "is there twice",
            errno.ENOTDIR: "is below a file or link",
            errno.ENOMEM: f"is past {MAX_MEMORY >> 20} MB in memory",
        }[error.errno]
        raise _refused(path, error.target.lstrip("/"), problem) from None
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror}") from None
    return found, tree


def open_regular(path: str, flags: int) -> int:
    """An opener that does not wait for whoever would write to a pipe. Raises: SnapshotError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SnapshotError(f"{path}: is not a regular file")
    return descriptor


def _refused(path: str, name: str, problem: str) -> SnapshotError:
    return SnapshotError(f"{path}: {escape(name)}: {problem}")


class _Reader:
    """Walks the headers of one archive."""

    def __init__(self, file: BinaryIO, path: str, documents: Mapping[str, object]) -> None:
        self._path = path
        self._documents = documents
        self._stream = _Stream(file, path)
        self._count = 0

    def members(self) -> Iterator[tuple[str, File | Link | None]]:
        """Checked names, without a slash before or after, and what they are; None: a directory."""
        longer: dict[str, str] = {}
        while (info := self._header()) is not None:
            if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                longer |= self._pax(self._extended(info))
                continue
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                longer[key] = _text(self._extended(info).rstrip(b"\0"))
                continue
            if info.type == tarfile.XGLTYPE:  # about all members: times, comments
                self._extended(info)
                continue
            name = self._name(longer.get("path", info.name))
            target = longer.get("linkpath", info.linkname)
            longer = {}
            if name:  # else the archive's own ./
                yield name, self._member(info, name, target)

    def _header(self) -> Header | None:
        block = self._stream.read(_BLOCK)
        if block == _END:
            return None
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise SnapshotError(f"{self._path}: has more than {MAX_MEMBERS} members")
        try:
            info = parse_header(block)
        except ValueError:
            raise SnapshotError(f"{self._path}: member {self._count} has no tar header") from None
        if info.size < 0:
            raise _refused(self._path, info.name, "has a negative size")
        return info

    def _member(self, info: Header, name: str, target: str) -> File | Link | None:
        if info.type == tarfile.DIRTYPE:
            return None
        if info.type == tarfile.SYMTYPE:
            return Link(self._target(name, target))
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            kind = {
                tarfile.LNKTYPE: "a hard link",
                tarfile.CHRTYPE: "a device",
                tarfile.BLKTYPE: "a device",
                tarfile.FIFOTYPE: "a pipe",
            }.get(info.type, "of an unknown kind")
            raise _refused(self._path, name, f"is {kind}; a snapshot has files, links, directories")
        limit = MAX_DOCUMENT if name in self._documents else MAX_FILE
        if info.size > limit:
            raise _refused(self._path, name, f"is larger than {limit >> 20} MB")
        return File(self._content(info.size), info.mode & 0o777)

    def _name(self, name: str) -> str:
        if name.startswith("/"):
            raise _refused(self._path, name, "is an absolute name")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise _refused(self._path, name, "has `..` in its name")
        if len(name) > MAX_NAME or len(parts) > MAX_DEPTH or "\0" in name:
            raise _refused(self._path, f"{name[:60]}…", "has a name that no host has")
        return "/".join(parts)

    def _target(self, name: str, target: str) -> str:
        """A link's target if it stays in the tree; an absolute one is one in the tree."""
        depth = 0 if target.startswith("/") else name.count("/")
        for part in target.split("/"):
            depth += -1 if part == ".." else part not in ("", ".")
            if depth < 0:
                raise _refused(self._path, name, "is a link that leaves the snapshot")
        if not target or len(target) > MAX_NAME or "\0" in target:
            raise _refused(self._path, name, "is a link that no host has")
        return target

    def _extended(self, info: Header) -> bytes:
        if info.size > MAX_EXTENDED:
            problem = f"has an extended header larger than {MAX_EXTENDED >> 10} KB"
            raise _refused(self._path, info.name, problem)
        return self._content(info.size)

    def _content(self, size: int) -> bytes:
        return self._stream.read(size + -size % _BLOCK)[:size]

    def _pax(self, data: bytes) -> dict[str, str]:
        """Path and link target of records like ``25 path=proc/interrupts``."""
        found = {}
        while data:
            digits, space, _ = data[:12].partition(b" ")
            length = int(digits) if digits.isdigit() else 0
            key, _, value = data[len(digits) + 1 : length - 1].partition(b"=")
            if not space or not len(digits) + 1 < length <= len(data):
                raise SnapshotError(f"{self._path}: member {self._count} has a wrong pax header")
            if key in (b"path", b"linkpath"):
                found[key.decode()] = _text(value)
            elif key.startswith((b"GNU.sparse", b"size")):
                problem = "is sparse or has no plain size; a snapshot has plain files"
                raise _refused(self._path, f"member {self._count}", problem)
            data = data[length:]
        return found


class Header(NamedTuple):
    """What is looked at of a member's header."""

    name: str
    mode: int
    size: int
    type: bytes
    linkname: str


def parse_header(block: bytes) -> Header:
    """The fields of a member's header that are looked at. Raises: ValueError if it is none."""
    # Adler's first sum is that of all bytes and one, modulo a prime; the checksum's own eight
    # count as spaces
    bytes_sum = zlib.adler32(block[:148] + b" " * 8 + block[156:]) & 0xFFFF
    if bytes_sum != (_number(block[148:156]) + 1) % 65521:
        raise ValueError("checksum")
    name, kind = _string(block[:100]), block[156:157]
    prefix = _string(block[345:500]) if block[345] else ""
    if kind == tarfile.AREGTYPE and name.endswith("/"):  # before there was a type for directories
        kind = tarfile.DIRTYPE
    if prefix and kind not in tarfile.GNU_TYPES:
        name = f"{prefix}/{name}"
    mode, size = _number(block[100:108]), _number(block[124:136])
    return Header(name, mode, size, kind, _string(block[157:257]))


def _string(field: bytes) -> str:
    return _text(field.partition(b"\0")[0])


def _number(field: bytes) -> int:
    """Octal digits, or what GNU writes for large numbers. Raises: ValueError."""
    digits = field.rstrip(b"\0 ")
    if digits.isdigit():
        return int(digits, 8)
    if field[0] in (0o200, 0o377):
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0o200 else value - (1 << 8 * (len(field) - 1))
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


class _Stream:
    """An archive's bytes, unpacked piece by piece; at most ``MAX_BYTES`` of them."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._path = path
        self._pieces = self._unpacked(file)
        self._piece = b""
        self._at = 0
        self._left = MAX_BYTES

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises: SnapshotError."""
        self._left -= size
        if self._left < 0:
            raise SnapshotError(f"{self._path}: unpacks to more than {MAX_BYTES >> 20} MB")
        part = self._piece[self._at : self._at + size]
        self._at += len(part)
        if len(part) == size:
            return part
        parts, missing = [part], size - len(part)
        while missing:
            self._piece = next(self._pieces, b"")
            if not self._piece:
                raise SnapshotError(f"{self._path}: is cut off")
            parts.append(self._piece[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def _unpacked(self, file: BinaryIO) -> Iterator[bytes]:
        data = file.read(_PIECE)
        try:
            if data.startswith(_XZ):
                yield from _unpack_xz(file, data)
            elif data.startswith(_GZIP):
                yield from _unpack_gzip(file, data)
            else:
                while data:
                    yield data
                    data = file.read(_PIECE)
        except (lzma.LZMAError, zlib.error) as error:
            raise SnapshotError(f"{self._path}: cannot be unpacked: {error}") from None


def _unpack_xz(file: BinaryIO, data: bytes) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_BYTES)
    while not decoder.eof:
        piece = decoder.decompress(data, _PIECE)
        data = b""
        if piece:
            yield piece
        elif decoder.needs_input and not decoder.eof:
            data = file.read(_PIECE)
            if not data:
                return


def _unpack_gzip(file: BinaryIO, data: bytes) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof:
        piece = decoder.decompress(data, _PIECE)
        data = decoder.unconsumed_tail
        if piece:
            yield piece
        elif not data:
            data = file.read(_PIECE)
            if not data:
                return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
