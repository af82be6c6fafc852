"""EthtoolNetlink and NetdevNetlink: the generic netlink families netuned uses.

Source: Documentation/netlink/specs/ethtool.yaml and netdev.yaml;
Documentation/networking/ethtool-netlink.rst; net/ethtool/rss.c;
tools/testing/selftests/drivers/net/hw/rss_api.py.
"""

from __future__ import annotations

import errno
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.netlink import (
    NLA_F_NESTED,
    NLM_F_DUMP,
    NetlinkSocket,
    attribute_class,
    attributes,
    decoding,
    encode,
    generic_class,
)

NETLINK_GENERIC = 16
ETHTOOL = "ethtool"
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_GENL_HEADER = 4

_ETHTOOL_CHANNELS_SET = 18
_ETHTOOL_RSS_SET = 48
_NETDEV_QUEUE_GET = 10
_NETDEV_NAPI_GET = 11
_QUEUE_TYPES = {0: "rx", 1: "tx"}

_GROUP_NAME, _GROUP_ID = 1, 2
_Family = generic_class(
    "Family", (1, "id", "uint16"), (2, "name", "asciiz"), (7, "groups", "cdata")
)
_Header = attribute_class("Header", (1, "ifindex", "uint32"), nla_flags=NLA_F_NESTED)
_Channels = generic_class(
    "Channels",
    (1, "header", "device"),
    (6, "rx", "uint32"),
    (7, "tx", "uint32"),
    (9, "combined", "uint32"),
    device=_Header,
)
_Rss = generic_class("Rss", (1, "header", "device"), (4, "table", "cdata"), device=_Header)
# netlink's "uint" has 4 or 8 bytes: taken raw
_Queue = generic_class(
    "Queue",
    (1, "id", "cdata"),
    (2, "ifindex", "uint32"),
    (3, "type", "cdata"),
    (4, "napi_id", "cdata"),
)
_Napi = generic_class("Napi", (1, "ifindex", "uint32"), (2, "id", "cdata"), (3, "irq", "cdata"))


@dataclass(frozen=True, slots=True)
class Family:
    """A generic netlink family: its number, and its multicast groups by name."""

    id: int
    groups: dict[str, int]


def resolve_family(opened: NetlinkSocket, name: str) -> Family:
    """Ask the kernel for a family.

    Raises: UnsupportedError where this kernel does not have it; KernelError.
    """
    message = _new(_Family, _CTRL_CMD_GETFAMILY, name=name)
    try:
        replies = opened.request(encode(message, _GENL_ID_CTRL), "find", f"netlink family {name}")
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise UnsupportedError(
                f"netlink family {name}", "this kernel does not have it"
            ) from None
        raise
    with decoding(f"netlink family {name}"):
        (payload,) = replies
        found = _decode(_Family, payload)
        groups = map(_decode_group, _nested(found.get("groups", b"")))
        return Family(_uint(found["id"]), dict(groups))


class _Client:
    """Requests to one family, resolved at the first. Threads may share it."""

    NAME = ""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_GENERIC)
        self._family: Family | None = None
        self._resolving = threading.Lock()

    def _ask(
        self, message: Any, flags: int, operation: str, what: str, ifindex: int
    ) -> list[bytes]:
        """Raises: UnsupportedError where this kernel lacks the family; KernelError."""
        with self._resolving:
            family = self._family = self._family or resolve_family(self._socket, self.NAME)
        return self._socket.request(
            encode(message, family.id, flags), operation, f"{what} of ifindex {ifindex}"
        )


class EthtoolNetlink(_Client):
    """Sets what the ethtool family can set, with the kernel's own words where it refuses.

    What this kernel has no command for goes by the ioctl. EOPNOTSUPP may as well be the driver's
    word: then the ioctl says the same. So which it was need not be known, nor kept: what is set
    here is set seldom. ``wrote`` is called after each write; ``ioctl`` counts its own.
    """

    NAME = ETHTOOL

    def __init__(self, ioctl: Ethtool, wrote: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._ioctl = ioctl
        self._wrote = wrote

    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None:
        """Open this many channels; None leaves a count as it is. Drops the link on most drivers.

        Raises: UnsupportedError where the driver's channels are fixed; KernelError with the
        kernel's reason, for example EINVAL while the RSS table uses a queue that would go.
        """
        counts = {"rx": rx, "tx": tx, "combined": combined}
        sent = {name: count for name, count in counts.items() if count is not None}
        if not sent:
            return
        message = _new(_Channels, _ETHTOOL_CHANNELS_SET, header=_header(ifindex), **sent)
        by_ioctl = partial(self._ioctl.set_channels, ifindex, **counts)
        self._set(message, "channels", ifindex, by_ioctl)

    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None:
        """Write the whole RSS indirection table; no entries put the kernel's default back.

        RSS_SET is in Linux since 6.17. The hash key, function and input transformation stay.

        Raises: UnsupportedError where the driver has no table, or none that can be set; KernelError
        with the kernel's reason, for example EINVAL for a queue that the card does not have.
        """
        table = struct.pack(f"={len(entries)}I", *entries)
        message = _new(_Rss, _ETHTOOL_RSS_SET, header=_header(ifindex), table=table)
        by_ioctl = partial(self._ioctl.set_rss_table, ifindex, entries)
        if self._set(message, "rss", ifindex, by_ioctl) and not self._has(ifindex, entries):
            by_ioctl()

    def _has(self, ifindex: int, entries: Sequence[int]) -> bool:
        """Whether the table is as written.

        Up to 7.0 RSS_SET says yes and does nothing where the first quarter of the table is right
        already (8d60141a3287, "ethtool: rss: fix falsely ignoring indir table updates").
        """
        found = self._ioctl.rss_table(ifindex)
        # both ways of setting it repeat a default like this, whatever the driver starts with
        wanted = entries or range(max(self._ioctl.rx_rings(ifindex), 1))
        return found == tuple(islice(cycle(wanted), len(found)))

    def _set(self, message: Any, what: str, ifindex: int, by_ioctl: Callable[[], None]) -> bool:
        """Set it by netlink, else by the ioctl; says if by netlink."""
        said = ""
        try:
            self._ask(message, 0, "set", what, ifindex)
        except UnsupportedError:  # no such family: CONFIG_ETHTOOL_NETLINK is not set
            pass
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            said = error.extack
        else:
            self._wrote()
            return True
        try:
            by_ioctl()
        except UnsupportedError as error:
            raise UnsupportedError(what, said or error.why) from None
        return False


class NetdevNetlink(_Client):
    """The netdev family: queues, NAPI instances and their interrupts. In Linux since 6.8."""

    NAME = "netdev"

    def napi_interrupts(self, ifindex: int) -> dict[tuple[str, int], int]:
        """The interrupt behind each queue: ("rx" or "tx", queue) -> number.

        Empty where the driver does not tell (virtio_net), and while the card is down.

        Raises: UnsupportedError where this kernel lacks the family or the commands; KernelError.
        """
        with decoding(f"queues of ifindex {ifindex}"):
            return self._napi_interrupts(ifindex)

    def _napi_interrupts(self, ifindex: int) -> dict[tuple[str, int], int]:
        napis = self._dump(_Napi, _NETDEV_NAPI_GET, "NAPI instances", ifindex)
        irqs = {_uint(napi["id"]): _uint(napi["irq"]) for napi in napis if "irq" in napi}
        if not irqs:
            return {}
        found = {}
        for queue in self._dump(_Queue, _NETDEV_QUEUE_GET, "queues", ifindex):
            irq = irqs.get(_uint(queue["napi_id"])) if "napi_id" in queue else None
            if irq is not None:
                found[_QUEUE_TYPES[_uint(queue["type"])], _uint(queue["id"])] = irq
        return found

    def _dump(
        self, message_class: Any, command: int, what: str, ifindex: int
    ) -> list[dict[str, bytes]]:
        message = _new(message_class, command, ifindex=ifindex)
        try:
            payloads = self._ask(message, NLM_F_DUMP, "list", what, ifindex)
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise UnsupportedError(what, error.extack or "this kernel does not tell") from None
            raise
        return [_decode(message_class, payload) for payload in payloads]


def _header(ifindex: int) -> dict[str, Any]:
    return {"attrs": [("ifindex", ifindex)]}


def _new(message_class: Any, command: int, **attributes: Any) -> Any:
    message = message_class()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = list(attributes.items())
    return message


def _decode(message_class: Any, payload: bytes) -> dict[str, bytes]:
    """The attributes of a reply by name, raw.

    pyroute2 would not end on some answers that are cut off.
    """
    found = attributes(payload, _GENL_HEADER)
    names = {number: name for number, name, _ in message_class.nla_map}
    return {names[n]: payload[start:end] for n, (start, end) in found.items() if n in names}


def _nested(raw: bytes) -> list[bytes]:
    """The elements of an array of attributes."""
    return [raw[start:end] for start, end in attributes(raw, 0).values()]


def _decode_group(raw: bytes) -> tuple[str, int]:
    found = attributes(raw, 0)
    name, number = (raw[slice(*found[key])] for key in (_GROUP_NAME, _GROUP_ID))
    return name.rstrip(b"\0").decode("ascii"), _uint(number)


def _uint(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)
