"""A link as rtnetlink tells of it: its names, kind, address, and what is above and below.

Source: net/core/rtnetlink.c, rtnl_fill_ifinfo(); rtnetlink(7).
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator

from netuned.kernel.netlink import ATTRIBUTE, attributes
from netuned.kernel.rtmessages import message_class
from netuned.records import dataclass

LOOPBACK = 1
"""The ifindex of ``lo`` in every network namespace (include/linux/netdevice.h)."""

_IFINFOMSG = (("family", "B"), ("pad", "B"), ("type", "H"), ("index", "i"), ("flags", "I"),
              ("change", "I"))  # fmt: skip
_IFINFOMSG_SIZE = 16
_FLAGS = struct.Struct("=I")
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1
_IFLA_NUM_TX_QUEUES = 31
_IFLA_NUM_RX_QUEUES = 32
_IFLA_LINK_NETNSID = 37
_IFLA_EXT_MASK = 29
_IFLA_XDP = 43
_IFLA_XDP_PROG_ID = 4
_IFLA_XDP_PROGS = (5, 6, 7)
"""Of the generic one, the driver's and the device's, where there are several."""
_IFLA_PROP_LIST = 52
"""Its attributes all are IFLA_ALT_IFNAME."""
RTEXT_FILTER_SKIP_STATS = 1 << 3
LINK_MESSAGE = message_class("ifinfmsg", (_IFLA_EXT_MASK, "ext_mask", "uint32"), fields=_IFINFOMSG)


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One link. ``kind`` is rtnetlink's (veth, vlan, bond, …), empty for hardware and loopback.

    ``lower`` is the ifindex of the link below (of a veth: its peer), 0 without one or where it is
    in another network namespace; ``master`` that of the bridge or bond above, 0 without one.
    """

    name: str
    kind: str
    up: bool
    running: bool
    master: int
    lower: int
    mac: str
    rx_queues: int
    tx_queues: int
    altnames: tuple[str, ...] = ()
    """Alternative names (``ip link property add``), in the kernel's order (Linux 5.5)."""


def measure_link(payload: bytes) -> int:
    """All of it. Raises: OSError for a message that is cut off."""
    if len(payload) < _IFINFOMSG_SIZE:
        raise OSError(errno.EMSGSIZE, "a netlink message is cut off")
    return len(payload)


def parse_link(payload: bytes) -> LinkInfo:
    """A link as a dump or an event tells of it, from its struct ifinfomsg on. Raises: OSError."""
    (flags,) = _FLAGS.unpack_from(payload, 8)
    found = attributes(payload, _IFINFOMSG_SIZE)

    def raw(attribute: int) -> bytes:
        start, end = found.get(attribute, (0, 0))
        return payload[start:end]

    def number(attribute: int) -> int:
        return int.from_bytes(raw(attribute), sys.byteorder)

    info = raw(_IFLA_LINKINFO)
    start, end = attributes(info, 0).get(_IFLA_INFO_KIND, (0, 0))
    return LinkInfo(
        name=os.fsdecode(raw(_IFLA_IFNAME).rstrip(b"\0")),
        kind=info[start:end].rstrip(b"\0").decode("ascii", "replace"),
        up=bool(flags & _IFF_UP),
        running=bool(flags & _IFF_RUNNING),
        master=number(_IFLA_MASTER),
        lower=0 if _IFLA_LINK_NETNSID in found else number(_IFLA_LINK),
        mac=raw(_IFLA_ADDRESS).hex(":"),
        rx_queues=number(_IFLA_NUM_RX_QUEUES),
        tx_queues=number(_IFLA_NUM_TX_QUEUES),
        altnames=tuple(_strings(raw(_IFLA_PROP_LIST))),
    )


def xdp_programs(messages: Iterable[bytes]) -> dict[int, int]:
    """The XDP program of each link, by ifindex: its id, 0 without; of several one.

    Source: net/core/rtnetlink.c, rtnl_xdp_fill().
    """
    found = {}
    for payload in messages:
        start, end = attributes(payload, _IFINFOMSG_SIZE).get(_IFLA_XDP, (0, 0))
        nest = payload[start:end]
        ids = [
            int.from_bytes(nest[begin:stop], sys.byteorder)
            for number, (begin, stop) in attributes(nest, 0).items()
            if number in (_IFLA_XDP_PROG_ID, *_IFLA_XDP_PROGS)
        ]
        found[int.from_bytes(payload[4:8], sys.byteorder)] = max(ids, default=0)
    return found


def _strings(nest: bytes) -> Iterator[str]:
    """The texts in a nest of attributes that are all of one kind."""
    at = 0
    while at + ATTRIBUTE.size <= len(nest):
        length, _ = ATTRIBUTE.unpack_from(nest, at)
        if length < ATTRIBUTE.size:
            return
        yield os.fsdecode(nest[at + ATTRIBUTE.size : at + length].rstrip(b"\0"))
        at += length + 3 & ~3
