"""LinkNumbers: what rtnetlink has of a link as numbers: sizes of merged packets, length of a queue.

Names are those of ip-link(8), with dashes. No event tells of a change of the sizes.

Source: net/core/rtnetlink.c, do_setlink(), validate_linkmsg(); net/core/dev.h,
netif_set_gso_max_size(); include/linux/netdevice.h, GRO_MAX_SIZE.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import field

from netuned.kernel.netlink import HEADER, NLM_F_ACK, NLM_F_REQUEST, NetlinkSocket, decoding
from netuned.kernel.rtnl import Rtnl
from netuned.kernel.tables import Table, Type
from netuned.records import dataclass

Numbers = Mapping[str, int]

LEGACY_SIZE = 65536
"""GSO_LEGACY_MAX_SIZE: a size up to it is set for IPv4, too."""

MAX_SIZE = 8 * 65535
"""GRO_MAX_SIZE and GSO_MAX_SIZE since Linux 5.19."""

_NETLINK_ROUTE = 0
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_IFINFOMSG = struct.Struct("=BBHiII")
_U32 = Type.U32

TABLE = Table(
    *(("txqueuelen", 13, _U32), ("gso-max-segs", 40, _U32), ("gso-max-size", 41, _U32)),
    *(("gro-max-size", 58, _U32), ("tso-max-size", 59, _U32), ("tso-max-segs", 60, _U32)),
    *(("gso-ipv4-max-size", 63, _U32), ("gro-ipv4-max-size", 64, _U32)),
)
_SKIP_STATS = Table(("ext-mask", 29, _U32)).encode({"ext-mask": 1 << 3})


@dataclass(frozen=True, slots=True)
class _Last:
    """The last dump: its messages, and the numbers of each."""

    messages: tuple[bytes, ...] = ()
    parsed: Mapping[bytes, Numbers] = field(default_factory=dict)
    by_ifindex: Mapping[int, Numbers] = field(default_factory=dict)


class LinkNumbers:
    """Of the links of the calling thread's network namespace; ``wrote`` is called after a write.

    ``NAME-max`` is how much a link can have of NAME.
    """

    def __init__(self, rtnl: Rtnl, wrote: Callable[[], None] = lambda: None) -> None:
        self._rtnl = rtnl
        self._wrote = wrote
        self._socket = NetlinkSocket(_NETLINK_ROUTE)
        self._last = _Last()

    def all(self) -> Mapping[int, Numbers]:
        """By ifindex, in one dump; the very same object while nothing changed.

        Raises: KernelError.
        """
        messages, last = self._rtnl.link_messages(), self._last
        if messages is not last.messages:
            parsed = {data: last.parsed.get(data) or _parse(data) for data in messages}
            by_ifindex = {_IFINFOMSG.unpack_from(data)[3]: found for data, found in parsed.items()}
            last = self._last = _Last(messages, parsed, by_ifindex)
        return last.by_ifindex

    def get(self, ifindex: int) -> Numbers:
        """One link's. Raises: KernelError; ``gone`` where it is not there."""
        target = f"link of ifindex {ifindex}"
        found: Numbers = {}
        for data in self._socket.request(_frame(_RTM_GETLINK, ifindex, _SKIP_STATS), "get", target):
            found = _parse(data)
        return found

    def set(self, ifindex: int, values: Numbers) -> None:
        """Set numbers in one message; one that the kernel refuses is the error's ``attribute``.

        A GSO or GRO size up to ``LEGACY_SIZE`` is set for IPv4, too, but where that has a value of
        its own in the same message. Raises: KernelError.
        """
        if not values:
            return
        target = f"link of ifindex {ifindex}"
        message = _frame(_RTM_SETLINK, ifindex, TABLE.encode(values, target))

        def name_at(offset: int) -> str:
            return TABLE.name_at(message, offset, HEADER.size + _IFINFOMSG.size)

        self._socket.request(message, "set", target, name_at)
        self._wrote()


def _frame(command: int, ifindex: int, content: bytes) -> bytes:
    size = HEADER.size + _IFINFOMSG.size + len(content)
    header = HEADER.pack(size, command, NLM_F_REQUEST | NLM_F_ACK, 0, 0)
    return header + _IFINFOMSG.pack(0, 0, 0, ifindex, 0, 0) + content


def _parse(message: bytes) -> Numbers:
    """What a message tells, from its struct ifinfomsg on. Raises: KernelError."""
    with decoding("link"):
        found = TABLE.numbers(message, _IFINFOMSG.size)
    merged = MAX_SIZE if "tso-max-size" in found else LEGACY_SIZE  # both are of Linux 5.19
    sent = found.pop("tso-max-size", LEGACY_SIZE)
    limits = {
        "gso-max-segs": found.pop("tso-max-segs", 65535),
        **dict.fromkeys(("gso-max-size", "gso-ipv4-max-size"), sent),
        **dict.fromkeys(("gro-max-size", "gro-ipv4-max-size"), merged),
    }
    return found | {f"{name}-max": limits[name] for name in limits if name in found}
