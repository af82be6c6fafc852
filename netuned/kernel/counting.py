"""Counting: asks a running host for what it counts. Nothing is asked but by a call.

Measured (6.18, 2 CPUs, busy): see ``docs/benchmarks.md``, "counters".
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
from collections.abc import Mapping

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import counts
from netuned.kernel.counts import Counts, Queue
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.genl import Client
from netuned.kernel.messages import NETDEV
from netuned.kernel.netlink import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NetlinkSocket,
    decoding,
)
from netuned.kernel.tables import GENERIC_HEADER, Table, Type, frame

_RTM_GETQDISC, _RTM_GETSTATS = 38, 94
_TCMSG_SIZE = 20
_IF_STATS = struct.Struct("=BBHII")
_LINK_64 = 1 << 0
_QSTATS_GET = 12
_QSTATS = Table(("scope", 4, Type.UINT))
_BY_QUEUE = 1
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_STATISTICS = 1
"""ETH_SS_STATS."""
_NAME_SIZE = 32
_SSET = struct.Struct("=IIQI")
_HEAD = struct.Struct("=II")
_STRINGS = struct.Struct("=III")
_MOST = 1 << 16


class Counting(Client):
    """What the cards of the calling thread's network namespace count."""

    NAME = NETDEV

    def __init__(self) -> None:
        super().__init__()
        self._route = NetlinkSocket(0)
        self._ioctl = Ethtool()
        self._places: dict[tuple[int, int], counts.Places] = {}
        """Of a card with so many statistics: which they are changes with the number of queues."""

    def links(self) -> Mapping[int, Counts]:
        """``counts.LINK`` of all cards, in one request. Raises: KernelError."""
        content = _IF_STATS.pack(0, 0, 0, 0, _LINK_64)
        told = self._route.request(_dump(_RTM_GETSTATS, content), "list", "statistics of links")
        with decoding("statistics of links"):
            return counts.links(told)

    def qdiscs(self) -> Mapping[int, Mapping[tuple[int, int], tuple[str, Counts]]]:
        """As ``counts.qdiscs``, of all cards, in one request. Raises: KernelError."""
        request = _dump(_RTM_GETQDISC, bytes(_TCMSG_SIZE))
        told = self._route.request(request, "list", "statistics of qdiscs")
        with decoding("statistics of qdiscs"):
            return counts.qdiscs(told)

    def queues(self) -> Mapping[int, Mapping[Queue, Counts]]:
        """``counts.QUEUE`` of the queues of all cards whose driver has them, in one request.

        Empty before Linux 6.9. Raises: KernelError.
        """
        content = _QSTATS.encode({"scope": _BY_QUEUE})
        try:
            message = frame(self._resolve().id, _QSTATS_GET, NLM_F_DUMP, content)
            told = self._socket.request(message, "list", "statistics of queues")
        except UnsupportedError:
            return {}
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return {}
        with decoding("statistics of queues"):
            return counts.queues(told, GENERIC_HEADER)

    def of_driver(
        self, ifindex: int, *, queues_alone: bool = False
    ) -> tuple[Counts, Mapping[Queue, Counts]]:
        """What the driver counts (``ethtool -S``): the card's by its names, and its queues'.

        Empty where it has none; the card's with ``queues_alone``, too. Raises: KernelError.
        """
        with contextlib.suppress(UnsupportedError), decoding(f"statistics of ifindex {ifindex}"):
            answer = self._ioctl_of(ifindex, _SSET.pack(_GSSET_INFO, 0, 1 << _STATISTICS, 0))
            count = _SSET.unpack_from(answer)[3] if _SSET.unpack_from(answer)[2] else 0
            if not 0 < count <= _MOST:
                return {}, {}
            placed = self._places.get((ifindex, count))
            names = self._read_names(ifindex, count) if placed is None else ()
            answer = self._ioctl_of(ifindex, _HEAD.pack(_GSTATS, count) + bytes(8 * count))
            numbers = struct.unpack_from(f"={count}Q", answer, _HEAD.size)
            if placed is None:
                placed = self._places[ifindex, count] = counts.places(names, numbers)
            return counts.of_driver(placed, numbers, queues_alone=queues_alone)
        return {}, {}

    def _read_names(self, ifindex: int, count: int) -> tuple[str, ...]:
        head = _STRINGS.pack(_GSTRINGS, _STATISTICS, count)
        data = self._ioctl_of(ifindex, head + bytes(_NAME_SIZE * count))[_STRINGS.size :]
        raw = (data[at : at + _NAME_SIZE] for at in range(0, _NAME_SIZE * count, _NAME_SIZE))
        return tuple(name.partition(b"\0")[0].decode("utf-8", "replace") for name in raw)

    def _ioctl_of(self, ifindex: int, content: bytes) -> bytes:
        request = ctypes.create_string_buffer(content, len(content))
        return self._ioctl._call(ifindex, "statistics", request).raw


def _dump(kind: int, content: bytes) -> bytes:
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return HEADER.pack(HEADER.size + len(content), kind, flags, 0, 0) + content
