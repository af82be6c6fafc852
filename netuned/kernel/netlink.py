"""NetlinkSocket: requests, acknowledgements and dumps, with the kernel's own words in every error.

Source: Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from operator import is_not, itemgetter
from typing import TypeVar

from netuned.errors import KernelError
from netuned.records import dataclass
from netuned.text import escape

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
SO_RCVBUFFORCE = 33

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_OVERRUN = 4
_NLMSG_MIN_TYPE = 16
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NLMSGERR_ATTR_OFFS = 2
_CODE = struct.Struct("=i")
_DATAGRAM = 1 << 16
"""Twice what the kernel puts in one datagram of a dump (net/netlink/af_netlink.c, 32 KiB)."""
_RECEIVE_BUFFER = 1 << 22
_DUMP_ATTEMPTS = 4
_MAX_ERRNO = 4095


T = TypeVar("T")
Namer = Callable[[int], str]
"""Names the attribute that starts at this offset of the request."""

Reader = Callable[[Callable[[int], bytes], int], T]
"""Reads the answer to a request: takes how to receive a datagram, and the sequence number."""


def open_socket(protocol: int, groups: int = 0) -> socket.socket:
    """A bound netlink socket with a receive buffer for bursts. Raises: OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        try:
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


class NetlinkSocket:
    """Requests over one netlink protocol; every thread that makes one has a socket of its own.

    A request executes inside the kernel's ``sendmsg``, so it blocks for as long as the kernel
    works or waits for its locks. ``timeout_s`` bounds the wait for an answer after that.
    """

    def __init__(self, protocol: int, timeout_s: int = 10) -> None:
        self._protocol = protocol
        self._timeout = struct.pack("@ll", timeout_s, 0)
        self._thread = threading.local()

    def request(
        self, message: bytes, operation: str, target: str, namer: Namer | None = None
    ) -> list[bytes]:
        """Send ``message`` and return the payloads of its replies, without their netlink headers.

        A dump that the kernel marks as inconsistent (NLM_F_DUMP_INTR) is made again. ``namer``
        names the attribute that the kernel points at when it refuses.

        Raises: KernelError, with the kernel's message as ``extack``; ENOBUFS when replies were
        lost, EAGAIN when a dump never came out consistent, ETIMEDOUT without an answer.
        """
        return self.exchange(message, _read_replies, operation, target, namer)

    def exchange(
        self,
        message: bytes,
        read: Reader[T],
        operation: str,
        target: str,
        namer: Namer | None = None,
    ) -> T:
        """Send ``message`` and return what ``read`` makes of the datagrams; as ``request``."""
        for _ in range(_DUMP_ATTEMPTS):
            ended = False
            try:
                answer = read(*self._send(message))
                ended = True
                return answer
            except _DumpInterrupted:
                ended = True
            except _Refused as refused:
                ended = True
                named = namer(refused.offset) if namer and refused.offset else ""
                raise KernelError(
                    operation, target, refused.number, refused.extack, named
                ) from None
            except OSError as error:
                number = errno.ETIMEDOUT if error.errno == errno.EAGAIN else error.errno
                raise KernelError(operation, target, number or errno.EIO) from None
            finally:
                if not ended:  # what is still under way must not meet the next request
                    self.close()
        raise KernelError(operation, target, errno.EAGAIN, "the dump changed while it was read")

    def close(self) -> None:
        """Close this thread's socket; the next request opens another."""
        opened = getattr(self._thread, "socket", None)
        if opened is not None:
            self._thread.socket = None
            opened.close()

    def _open(self) -> socket.socket:
        opened = open_socket(self._protocol)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            with contextlib.suppress(OSError):
                opened.setsockopt(SOL_NETLINK, option, 1)
        # not settimeout(): that would poll before every receive
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._timeout)
        self._thread.socket = opened
        self._thread.sequence = 0
        return opened

    def _send(self, message: bytes) -> tuple[Callable[[int], bytes], int]:
        """Send under a new sequence number; returns how to receive, and that number."""
        thread = self._thread
        opened: socket.socket = getattr(thread, "socket", None) or self._open()
        sequence: int = thread.sequence + 1 & 0xFFFFFFFF
        thread.sequence = sequence
        opened.send(message[:8] + sequence.to_bytes(4, sys.byteorder) + message[12:])
        return opened.recv, sequence


@contextlib.contextmanager
def decoding(what: str) -> Iterator[None]:
    """Around what takes an answer apart by attributes that should be there.

    Raises: KernelError (EBADMSG) for an answer that cannot be taken apart.
    """
    try:
        yield
    except (struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise KernelError("decode", what, errno.EBADMSG, str(error)) from error


class KeptDump:
    """A dump that is made over and over: what is as it was last time is not even walked.

    ``measure`` gives how much of a payload counts (statistics at its end do not).
    """

    def __init__(
        self, opened: NetlinkSocket, message: bytes, measure: Callable[[bytes], int] = len
    ) -> None:
        self._socket = opened
        self._message = message
        self._measure = measure
        self._kept: tuple[tuple[_Datagram, ...], tuple[bytes, ...]] = ((), ())

    def read(self, operation: str, target: str, *, torn: bool = False) -> tuple[bytes, ...]:
        """The counting part of every payload: the same object while nothing in it has changed.

        With ``torn`` one that the kernel marks as inconsistent will do.
        Raises: KernelError, as ``NetlinkSocket.request``.
        """
        read = partial(self._read, torn=torn)
        return self._socket.exchange(self._message, read, operation, target)

    def _read(
        self, receive: Callable[[int], bytes], sequence: int, *, torn: bool
    ) -> tuple[bytes, ...]:
        kept, heads = self._kept
        datagrams: list[_Datagram] = []
        interrupted = 0
        for expected in chain(kept, repeat(None)):
            data = receive(_DATAGRAM)
            if expected is None or not expected.matches(data, sequence):
                expected, flags = self._walk(data, sequence)
                interrupted |= flags
            datagrams.append(expected)
            if expected.last:
                break
        if interrupted & NLM_F_DUMP_INTR and not torn:
            raise _DumpInterrupted
        if len(datagrams) != len(kept) or any(map(is_not, datagrams, kept)):
            found = tuple(head for datagram in datagrams for head in datagram.heads)
            if found != heads:  # else only the datagrams were cut differently
                heads = found
            self._kept = tuple(datagrams), heads
        return heads

    def _walk(self, data: bytes, sequence: int) -> tuple[_Datagram, int]:
        heads = []
        parts = []
        interrupted = 0
        last = False
        for kind, flags, start, end in _messages(data, sequence):
            interrupted |= flags
            last = _ends(data, kind, flags, start, end)
            size = end - start if last else self._measure(data[start:end])
            parts += [slice(start - 16, start - 8), slice(start, start + size)]
            if not last:
                heads.append(data[start : start + size])
        pick = itemgetter(*parts) if parts else bytes
        return _Datagram(len(data), pick, pick(data), tuple(heads), last), interrupted


@dataclass(frozen=True, slots=True)
class _Datagram:
    """One datagram of a dump: the parts that count (every header's length, type and flags too)."""

    length: int
    pick: Callable[[bytes], object]
    picked: object
    heads: tuple[bytes, ...]
    last: bool

    def matches(self, data: bytes, sequence: int) -> bool:
        return (
            len(data) == self.length
            and data[8:12] == sequence.to_bytes(4, sys.byteorder)
            and self.pick(data) == self.picked
        )


class _DumpInterrupted(Exception):
    """What was dumped changed meanwhile."""


class _Refused(Exception):
    """The kernel's answer is an error."""

    def __init__(self, number: int, extack: str, offset: int) -> None:
        super().__init__(number, extack, offset)
        self.number = number
        self.extack = extack
        self.offset = offset


def _read_replies(receive: Callable[[int], bytes], sequence: int) -> list[bytes]:
    replies = []
    interrupted = 0
    while True:
        data = receive(_DATAGRAM)
        for kind, flags, start, end in _messages(data, sequence):
            interrupted |= flags
            if not _ends(data, kind, flags, start, end):
                replies.append(data[start:end])
            elif interrupted & NLM_F_DUMP_INTR:
                raise _DumpInterrupted
            else:
                return replies


def _messages(data: bytes, sequence: int) -> Iterator[tuple[int, int, int, int]]:
    """The answers to this request in a datagram: (type, flags, start and end of the payload)."""
    offset = 0
    while offset < len(data):
        if offset + HEADER.size > len(data):
            raise OSError(errno.EMSGSIZE, "a netlink header is cut off")
        length, kind, flags, answers, _ = HEADER.unpack_from(data, offset)
        end = offset + length
        if length < HEADER.size or end > len(data):
            raise OSError(errno.EMSGSIZE, "a netlink message is cut off")
        if answers == sequence:
            yield kind, flags, offset + HEADER.size, end
        offset = end + 3 & ~3


def _ends(data: bytes, kind: int, flags: int, start: int, end: int) -> bool:
    """Whether a message is the last of an answer. Raises: _Refused; OSError when some were lost."""
    if kind >= _NLMSG_MIN_TYPE:
        return False
    if kind == _NLMSG_OVERRUN:
        raise OSError(errno.ENOBUFS, "the kernel lost netlink messages")
    code = _CODE.unpack_from(data, start)[0] if end - start >= 4 else 0
    if code < 0:
        number = -code if -code <= _MAX_ERRNO else errno.EBADMSG
        raise _Refused(number, *_extack(data[start:end], kind, flags))
    return kind in (_NLMSG_ERROR, _NLMSG_DONE)


def attributes(
    data: bytes | memoryview, offset: int, *, whole: bool = False
) -> dict[int, tuple[int, int]]:
    """The attributes in ``data`` from ``offset`` on: type -> (start, end) of the payload.

    What is cut off ends them. Raises: ValueError for that, where they are to be ``whole``.
    """
    found = {}
    end = len(data)
    cut_off = offset > end
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & NLA_TYPE_MASK] = (offset + 4, offset + length)
        offset += length + 3 & ~3
    if whole and (cut_off or offset < end):
        raise ValueError("an attribute is cut off")
    return found


def _extack(payload: bytes, kind: int, flags: int) -> tuple[str, int]:
    """The kernel's sentence in an NLMSG_ERROR or NLMSG_DONE, empty when it has none.

    And where in the request the attribute begins that it means; 0 when it means none.
    """
    if not flags & _NLM_F_ACK_TLVS:
        return "", 0
    start = 4
    if kind == _NLMSG_ERROR:  # the request's header comes first, and all of it if not capped
        start += 16 if flags & _NLM_F_CAPPED else HEADER.unpack_from(payload, 4)[0] + 3 & ~3
    found = attributes(payload, start)
    begin, end = found.get(_NLMSGERR_ATTR_MSG, (0, 0))
    said = escape(payload[begin:end].rstrip(b"\0").decode("utf-8", "replace"))
    begin, end = found.get(_NLMSGERR_ATTR_OFFS, (0, 0))
    return said, int.from_bytes(payload[begin:end], sys.byteorder)
