"""What the kernel and irqbalance answer, and the kernel's events."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from unittest.mock import MagicMock, patch

from netuned.errors import NetunedError
from netuned.kernel import events, holders, irqbalance
from netuned.kernel.answers import Answers
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.genl import EthtoolNetlink, Family, resolve_family
from netuned.kernel.linknumbers import LinkNumbers
from netuned.kernel.messages import NAPIS
from netuned.kernel.netdev import NetdevNetlink
from netuned.kernel.netlink import HEADER, NetlinkSocket, decoding
from netuned.kernel.qdisc_options import PARAMETERS, decode_options, encode_options
from netuned.kernel.questions import LINK_NUMBERS, QUESTIONS, Question, Setting, Sockets
from netuned.kernel.rtnl import Rtnl
from tests.fuzz.target import Target, sound


class _Answers(NetlinkSocket):
    """Datagrams instead of a kernel."""

    def __init__(self, *datagrams: bytes) -> None:
        super().__init__(0)
        self._datagrams = datagrams

    def _send(self, message: bytes) -> tuple[Callable[[int], bytes], int]:
        left = iter(self._datagrams)

        def receive(size: int) -> bytes:
            try:
                return next(left)[:size]
            except StopIteration:
                raise BlockingIOError(11, "nothing more") from None

        return receive, 1


class _Ioctl(Ethtool):
    """Bytes instead of what a driver says; of tables it has no more entries than there are bytes.

    The kernel never gives a size that is larger than it was asked for.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def _call(
        self, ifindex: int, what: str, request: ctypes.Array[ctypes.c_char], *, write: bool = False
    ) -> ctypes.Array[ctypes.c_char]:
        size = min(len(request), len(self._data))
        ctypes.memmove(request, self._data, size)
        return request

    def _rss_sizes(self, ifindex: int) -> tuple[int, int, int, int]:
        entries, key, function, symmetric = super()._rss_sizes(ifindex)
        return entries % 1024, key % 1024, function, symmetric


def _message(kind: int, payload: bytes, flags: int = 2) -> bytes:
    data = HEADER.pack(HEADER.size + len(payload), kind, flags, 1, 0) + payload
    return data + bytes(-len(data) % 4)


DONE = _message(3, bytes(4))


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _ask_everything(*datagrams: bytes) -> None:
    """Give these as the answer to everything that is asked over netlink."""
    opened = _Answers(*datagrams)
    ioctl = _Ioctl(datagrams[0])
    rtnl = Rtnl()
    sockets = Sockets(ioctl, EthtoolNetlink(ioctl), NetdevNetlink(), rtnl, LinkNumbers(rtnl))
    netlink = sockets.ethtool_netlink, sockets.netdev
    dumps = rtnl._qdisc_dump, rtnl._link_dump
    parts: tuple[Any, ...] = (rtnl, *dumps, sockets.link_numbers, *netlink)
    for part in parts:
        part._socket = opened
    for family in netlink:
        family._family = Family(20, {}, frozenset({NAPIS.set}))
    asked: list[Callable[[], object]] = [
        lambda: resolve_family(opened, "ethtool"),
        lambda: holders.parse(opened.request(DONE, "list", "AF_XDP sockets")),
    ]
    for question in QUESTIONS:
        if question.ask:
            asked.append(partial(_ask_and_keep, question, partial(question.ask, sockets, 2)))
        if question.ask_all:
            asked.append(partial(question.ask_all, sockets))
        if isinstance(question, Setting):
            name = "txqueuelen" if question is LINK_NUMBERS else "rx"
            key = name if question.ask else "rx-0 threaded"
            asked.append(partial(question.write, sockets, 2, {key: 1}))
    for ask in asked:
        try:
            ask()
        except NetunedError as error:
            sound(error)
    ioctl.close()


def _ask_and_keep(question: Question[Any], ask: Callable[[], Any]) -> None:
    """What can be answered can be kept in a snapshot."""
    answers = Answers()
    answers.cards(question)[2] = ask()
    assert Answers.from_json(answers.to_json()) == answers


def _netlink_datagrams(data: bytes) -> None:
    _ask_everything(data, DONE)


def _netlink_payloads(data: bytes) -> None:
    """Each line is a message's payload, in a frame that is right."""
    _ask_everything(b"".join(_message(36, part) for part in data.split(b"\n--\n")), DONE)


QDISC = struct.pack("=BBHiIII", 0, 0, 0, 2, 0x10000, 0xFFFFFFFF, 2)
QDISCS = tuple(
    QDISC + _attribute(1, kind + b"\0") + _attribute(2, options)
    for kind, options in {
        b"mq": b"",
        b"pfifo": struct.pack("=I", 500),
        b"fq": _attribute(1, struct.pack("=I", 10000)) + _attribute(9, struct.pack("=I", 7)),
        b"fq_codel": _attribute(1, struct.pack("=I", 4999)) + _attribute(4, struct.pack("=I", 1)),
    }.items()
)
KINDS = tuple(PARAMETERS)


def _qdisc_options(data: bytes) -> None:
    """The first byte is the kind, the rest its options; what was read can be put back."""
    kind, options = KINDS[data[0] % len(KINDS)] if data else "", data[1:]
    attribute = _attribute(2, options)
    try:
        with decoding(f"qdisc {kind}"):
            found = decode_options(kind, attribute)
    except NetunedError as error:
        sound(error)
    else:
        assert all(type(value) is int for value in found.values()), found
        encode_options(kind, found)
    _ask_everything(_message(36, QDISC + _attribute(1, kind.encode() + b"\0") + attribute), DONE)


def _seed(kind: str, *options: bytes) -> bytes:
    return bytes([KINDS.index(kind)]) + b"".join(options)


LINK = (
    struct.pack("=BBHiII", 0, 0, 1, 2, 0x41, 0)
    + _attribute(3, b"eth0\0")
    + _attribute(18, _attribute(1, b"veth\0"))
    + _attribute(31, struct.pack("=I", 8))
    + b"".join(_attribute(n, struct.pack("=I", 65536)) for n in (13, 40, 41, 58, 59, 60, 63, 64))
)
GENERIC = b"\1\1\0\0" + _attribute(1, b"\x14\0") + _attribute(2, b"ethtool\0")
GENERIC += _attribute(7, _attribute(1, _attribute(1, b"monitor\0") + _attribute(2, bytes(4))))
NAPI = b"\x0b\1\0\0" + b"".join(
    _attribute(n, struct.pack("=I", value)) for n, value in enumerate((2, 2, 0, 2, 5, 6, 7, 1), 1)
)
"""As an instance and as the queue that it serves."""
SETTINGS = b"\x10\1\0\0" + _attribute(1, _attribute(1, struct.pack("=I", 2)))
SETTINGS += b"".join(_attribute(n, struct.pack("=I", n)) for n in range(2, 11))
SETTINGS += _attribute(11, b"\1") + _attribute(13, b"\0")
XDP_SOCKET = struct.pack("=BBHIII", 44, 3, 0, 77, 0, 0)
XDP_SOCKET += _attribute(1, struct.pack("=II", 2, 3)) + _attribute(2, bytes(4))
REFUSED = _message(
    2,
    struct.pack("=i", -22) + bytes(16) + _attribute(1, b"why not\0") + _attribute(2, b"\x24\0\0\0"),
    0x300,
)


@cache
def _takers() -> tuple[Callable[[memoryview], None], ...]:
    """What the monitors do with a datagram."""
    takers: list[Callable[[memoryview], None]] = []

    def keep(opened: object, take: Callable[[memoryview], None], overrun: object) -> MagicMock:
        takers.append(take)
        return MagicMock()

    def heard(*arguments: object) -> None:
        pass

    with (
        patch.object(events, "Monitor", keep),
        patch.object(events, "open_socket"),
        patch.object(events, "resolve_family", return_value=Family(20, {"monitor": 3})),
    ):
        events.monitor_rtnl(heard, heard, heard)
        events.monitor_ethtool(heard, heard)
        events.monitor_uevents(heard, heard)
    return tuple(takers)


def _events(data: bytes) -> None:
    for take in _takers():
        take(memoryview(data))


def _irqbalance(data: bytes) -> None:
    for number in irqbalance.parse_balanced(data):
        assert number < 1 << 31


TARGETS = (
    Target(
        "netlink datagram",
        _netlink_datagrams,
        (
            *(_message(36, qdisc) for qdisc in QDISCS),
            *(
                _message(16, LINK),
                _message(20, GENERIC),
                _message(20, NAPI),
                _message(20, SETTINGS),
            ),
            *(REFUSED, DONE),
        ),
        (b"\0\0\0\0", b"\xff\xff", b"\4\0\1\0", b"\xff\xff\xff\x7f"),
    ),
    Target(
        "netlink payload",
        _netlink_payloads,
        (*QDISCS, LINK, GENERIC, NAPI, SETTINGS, XDP_SOCKET, b"\n--\n".join(QDISCS)),
        (b"\0\0\0\0", b"\xff\xff", b"\4\0\1\0", b"fq\0\0", b"cake\0\0\0\0", b"\n--\n"),
    ),
    Target(
        "qdisc options",
        _qdisc_options,
        (
            _seed("pfifo", struct.pack("=I", 500)),
            _seed("fq", _attribute(8, struct.pack("=I", 10)), _attribute(15, b"\1")),
            _seed("fq_codel", _attribute(4, struct.pack("=I", 1)), _attribute(10, b"\3")),
            _seed("cake", _attribute(2, bytes(8)), _attribute(6, struct.pack("=i", -64))),
            _seed("cake", _attribute(12, b"")),
        ),
        (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\4\0\1\x80", b"\10\0\10\0", b"\3\0", b"\0\0"),
    ),
    Target(
        "kernel events",
        _events,
        (_message(16, LINK), _message(36, QDISCS[0]), b"add@/devices/x\0SUBSYSTEM=cpu\0A=b\0"),
        (b"\0", b"=", b"@", b"\x14\0", b"\xff\xff\xff\xff"),
    ),
    Target(
        "irqbalance",
        _irqbalance,
        (b"TYPE 0 NUMBER 3 LOAD 0 SAVE_MODE 0 IRQ 27 LOAD 0 DIFF 0 CLASS 4 ",),
        (b"IRQ ", b" LOAD", b"9" * 5000, b"-1"),
    ),
)
