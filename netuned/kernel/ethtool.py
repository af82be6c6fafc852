"""Ethtool: what a driver says and takes through the SIOCETHTOOL ioctl, on every kernel.

Each call takes an ifindex and looks the name up at that moment, so that a renamed card is still
the one that is meant.

Source: include/uapi/linux/ethtool.h; net/ethtool/ioctl.c; ethtool(8).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Sequence
from types import MappingProxyType

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import rules
from netuned.kernel.contexts import MOST_PROBED
from netuned.kernel.hashing import FLOWS, Hashing, HashValues, key_of
from netuned.kernel.rules import RuleTable
from netuned.records import dataclass
from netuned.values import FlowRule

_SIOCGIFNAME = 0x8910
_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x03
_GRXFH = 0x29
_SRXFH = 0x2A
_GRXRINGS = 0x2D
_GRXCLSRLCNT = 0x2E
_GRXCLSRULE = 0x2F
_GRXCLSRLALL = 0x30
_SRXCLSRLDEL = 0x31
_SRXCLSRLINS = 0x32
_GCHANNELS = 0x3C
_SCHANNELS = 0x3D
_GRSSH = 0x46
_SRSSH = 0x47

_IFREQ_DATA = struct.Struct("16sP16x")
_IFREQ_INDEX = struct.Struct("16si20x")
_DRVINFO = struct.Struct("=I32s32s32s32s32s12s5I")
_CHANNELS = struct.Struct("=9I")
_RXNFC_SIZE = 192
_RXNFC_HEAD = struct.Struct("=IIQ")
_RXFH = struct.Struct("=4I2B2xI")
"""struct ethtool_rxfh: cmd, context, indir_size, key_size, hfunc, input_xfrm; then u32 indir[]."""

NO_OPERATION = "the driver has no such operation"
"""Why a question is unsupported that a driver has no answer to."""

_TABLE_NO_CHANGE = 0xFFFFFFFF
_FUNCTION_NO_CHANGE = 0
_XFRM_NO_CHANGE = 0xFF
_XFRM_NONE = 0
_NEW_CONTEXT = 0xFFFFFFFF
_NO_CONTEXT = 0xFFFFFFFE
"""The number of a context that none can have."""
_ENOTSUPP = 524
"""Of the kernel alone; some drivers let it out."""
_NO_RULE = (errno.ENOENT, errno.EINVAL)
"""What drivers say of a location without a rule (mlx5, igb), and of a context that is not there."""

_NOTHING: HashValues = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """Who drives a card. ``bus_info`` is a PCI address such as ``0000:81:00.0``, or empty."""

    driver: str
    bus_info: str
    version: str


@dataclass(frozen=True, slots=True)
class Channels:
    """How many channels are open, and how many the hardware has."""

    rx: int
    tx: int
    other: int
    combined: int
    rx_max: int
    tx_max: int
    other_max: int
    combined_max: int


class Ethtool:
    """The ioctl for cards of the network namespace it was made in. Threads may share it.

    Every call raises: UnsupportedError where the driver has no such operation; KernelError, ENODEV
    when the card is gone. ``wrote`` is called after each write.
    """

    def __init__(self, wrote: Callable[[], None] = lambda: None) -> None:
        self._wrote = wrote
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def driver_info(self, ifindex: int) -> DriverInfo:
        """The driver's name and version and the device's place on its bus."""
        answer = self._call(ifindex, "driver information", _new(_DRVINFO.size, _GDRVINFO))
        _, driver, version, _firmware, bus_info, *_ = _DRVINFO.unpack_from(answer)
        return DriverInfo(_text(driver), _text(bus_info), _text(version))

    def channels(self, ifindex: int) -> Channels:
        """The card's channel counts and their maxima."""
        answer = self._call(ifindex, "channels", _new(_CHANNELS.size, _GCHANNELS))
        _, *most_and_now = _CHANNELS.unpack_from(answer)
        return Channels(*most_and_now[4:], *most_and_now[:4])

    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None:
        """As ``EthtoolNetlink.set_channels``, which comes first as it says why when refused."""
        has = self.channels(ifindex)
        wanted = (
            has.rx if rx is None else rx,
            has.tx if tx is None else tx,
            has.other,
            has.combined if combined is None else combined,
        )
        request = _new(_CHANNELS.size, _SCHANNELS)
        _CHANNELS.pack_into(request, 0, _SCHANNELS, 0, 0, 0, 0, *wanted)
        self._call(ifindex, "channels", request, write=True)
        self._wrote()

    def rss_table(self, ifindex: int) -> tuple[int, ...]:
        """The RSS indirection table: entry *i* is the receive queue of hash index *i*.

        Not by netlink, on no kernel: RSS_GET came with 6.2, and since 6.17 it has the driver tell
        the hash fields of each kind of flow as well, which nobody here asks for.
        """
        size = self._rss_sizes(ifindex)[0]
        if not size:
            raise UnsupportedError("rss", "the driver has no indirection table")
        return self._table(ifindex, "rss", 0, size)

    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None:
        """As ``EthtoolNetlink.set_rss_table``, which comes first as it says why when refused."""
        self._set_rss(ifindex, "rss", len(entries), _packed(entries))

    def context_entries(self, ifindex: int) -> int:
        """How many entries the table of an RSS context has. Whether the driver has contexts shows
        when it is asked for one that cannot be."""
        size = self._rss_sizes(ifindex)[0]
        try:
            self._table(ifindex, "contexts", _NO_CONTEXT, size)
        except KernelError as error:
            if error.errno not in _NO_RULE:
                raise
        return size

    def context(self, ifindex: int, context: int, size: int) -> tuple[int, ...] | None:
        """The table of an RSS context; None if there is none of that number."""
        try:
            return self._table(ifindex, "contexts", context, size)
        except KernelError as error:
            if error.errno not in _NO_RULE:
                raise
        return None

    def create_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        """As ``EthtoolNetlink.create_context``: the kernel gives it the lowest free number.

        Raises: KernelError (EEXIST) where that is another one; it is then deleted again; (ENOSPC)
        for more than are looked for on kernels that do not list them.
        """
        if context > MOST_PROBED:
            why = f"before Linux 6.17 netuned makes none beyond {MOST_PROBED}"
            raise KernelError("set", f"contexts of ifindex {ifindex}", errno.ENOSPC, why)
        made = self._set_rss(
            ifindex, "contexts", len(entries), _packed(entries), context=_NEW_CONTEXT
        )
        if made != context:
            self.delete_context(ifindex, made)
            target, why = f"contexts of ifindex {ifindex}", f"the driver makes it context {made}"
            raise KernelError("set", target, errno.EEXIST, why)

    def set_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        """As ``EthtoolNetlink.set_context``, which comes first as it says why when refused."""
        self._set_rss(ifindex, "contexts", len(entries), _packed(entries), context=context)

    def delete_context(self, ifindex: int, context: int) -> None:
        """As ``EthtoolNetlink.delete_context``, which comes first as it says why when refused."""
        self._set_rss(ifindex, "contexts", 0, b"", context=context)

    def hashing(self, ifindex: int) -> Hashing:
        """How the card hashes; of drivers that tell but a part of it, that part.

        By the ioctl on every kernel, as the table. The kinds of flow that a driver does not know it
        refuses.
        """
        function = symmetric = size = 0
        secret = b""
        with contextlib.suppress(UnsupportedError):
            _, size, function, symmetric = self._rss_sizes(ifindex)
        if size:
            request = _new(_RXFH.size + size, _GRSSH)
            _RXFH.pack_into(request, 0, _GRSSH, 0, 0, size, 0, 0, 0)
            secret = self._call(ifindex, "hashing", request).raw[_RXFH.size :]
        fields = {}
        for name, (flow, _) in FLOWS.items():
            request = _new(_RXNFC_SIZE, _GRXFH)
            _RXNFC_HEAD.pack_into(request, 0, _GRXFH, flow, 0)
            try:
                answer = self._call(ifindex, "hashing", request)
            except UnsupportedError:
                continue
            except KernelError as error:
                if error.errno not in (errno.EINVAL, _ENOTSUPP):
                    raise
                continue
            fields[name] = _RXNFC_HEAD.unpack_from(answer)[2]
        if not (function or size or fields):
            raise UnsupportedError("hashing", NO_OPERATION)
        return Hashing(function, symmetric, key_of(secret), fields)

    def set_hashing(self, ifindex: int, values: HashValues) -> None:
        """As ``EthtoolNetlink.set_hashing``, which comes first as it says why when refused."""
        for name in FLOWS.keys() & values.keys():
            request = _new(_RXNFC_SIZE, _SRXFH)
            _RXNFC_HEAD.pack_into(request, 0, _SRXFH, FLOWS[name][0], values[name])
            self._call(ifindex, "hashing", request, write=True)
            self._wrote()
        if values.keys() - FLOWS.keys():
            self._set_rss(ifindex, "hashing", _TABLE_NO_CHANGE, b"", values)

    def rx_rings(self, ifindex: int) -> int:
        """How many receive queues RSS can reach."""
        answer = self._call(ifindex, "receive rings", _new(_RXNFC_SIZE, _GRXRINGS))
        return int(_RXNFC_HEAD.unpack_from(answer)[2])

    def rules(self, ifindex: int) -> RuleTable:
        """The card's flow rules, whoever made them."""
        size, places = self.rule_places(ifindex)
        found = {}
        for place in places:
            try:
                found[place] = self.rule(ifindex, place)
            except KernelError as error:
                if error.errno not in _NO_RULE:
                    raise  # else it went since the list was made
        return RuleTable(size, found)

    def rule_places(self, ifindex: int) -> tuple[int, tuple[int, ...]]:
        """How many locations the card has for flow rules, and at which there is one, ascending.

        Rules may come and go between the count and the list, which then has no room for them
        (EMSGSIZE), or looks for more than there are (mlx5: EINVAL): it is tried once more.
        """
        try:
            return self._places(ifindex)
        except KernelError as error:
            if error.errno not in (errno.EMSGSIZE, *_NO_RULE):
                raise
        return self._places(ifindex)

    def _places(self, ifindex: int) -> tuple[int, tuple[int, ...]]:
        answer = self._call(ifindex, "flow rules", _new(rules.SIZE, _GRXCLSRLCNT))
        (most,) = struct.unpack_from("=I", answer, rules.COUNT_AT)
        if most > rules.MOST:
            raise KernelError("list", f"flow rules of ifindex {ifindex}", errno.E2BIG)
        request = _new(rules.SIZE + 4 * most, _GRXCLSRLALL)
        struct.pack_into("=I", request, rules.COUNT_AT, most)
        answer = self._call(ifindex, "flow rules", request)
        (count,) = struct.unpack_from("=I", answer, rules.COUNT_AT)
        places = struct.unpack_from(f"={min(count, most)}I", answer, rules.LOCATIONS_AT)
        return rules.HEAD.unpack_from(answer)[2] & 0xFFFFFFFF, tuple(sorted({*places}))

    def rule(self, ifindex: int, location: int) -> FlowRule:
        """The flow rule at a location."""
        request = _new(rules.SIZE, _GRXCLSRULE)
        struct.pack_into("=I", request, rules.LOCATION_AT, location)
        return rules.decode(self._call(ifindex, "flow rules", request).raw)

    def set_rule(self, ifindex: int, location: int, rule: FlowRule) -> None:
        """Insert a flow rule at a location, in place of what is there."""
        if not rules.is_writable(rule):
            why = f"netuned has no words for {rule}"
            raise KernelError("set", "flow rules", errno.EOPNOTSUPP, why)
        request = ctypes.create_string_buffer(rules.encode(_SRXCLSRLINS, location, rule))
        self._call(ifindex, "flow rules", request, write=True)
        self._wrote()

    def delete_rule(self, ifindex: int, location: int) -> None:
        """Take away the flow rule at a location, if there is one."""
        request = _new(rules.SIZE, _SRXCLSRLDEL)
        struct.pack_into("=I", request, rules.LOCATION_AT, location)
        try:
            self._call(ifindex, "flow rules", request, write=True)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        self._wrote()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _rss_sizes(self, ifindex: int) -> tuple[int, int, int, int]:
        """Entries of the table, bytes of the key; the hash function and what comes before it."""
        told = _RXFH.unpack_from(self._call(ifindex, "rss", _new(_RXFH.size, _GRSSH)))
        return told[2], told[3], told[4], told[5]

    def _table(self, ifindex: int, what: str, context: int, size: int) -> tuple[int, ...]:
        request = _new(_RXFH.size + 4 * size, _GRSSH)
        _RXFH.pack_into(request, 0, _GRSSH, context, size, 0, 0, 0, 0)
        return struct.unpack_from(f"={size}I", self._call(ifindex, what, request), _RXFH.size)

    def _set_rss(
        self,
        ifindex: int,
        what: str,
        entries: int,
        table: bytes,
        values: HashValues = _NOTHING,
        context: int = 0,
    ) -> int:
        """Set it, of the card or of a context; returns the number of that."""
        key = values.get("key", b"")
        function = values.get("function", _FUNCTION_NO_CHANGE)
        symmetric = values.get("symmetric", _XFRM_NO_CHANGE)
        assert isinstance(key, bytes)
        request = ctypes.create_string_buffer(bytes(_RXFH.size) + table + key)
        try:
            _RXFH.pack_into(request, 0, _SRSSH, context, entries, len(key), function, symmetric, 0)
            self._call(ifindex, what, request, write=True)
        except (UnsupportedError, KernelError) as error:
            # "no change" came with 6.8 (13e59344fb9d, "net: ethtool: add support for symmetric-xor
            # RSS hash"); before it the byte was reserved and had to be 0
            if isinstance(error, KernelError) and error.errno != errno.EINVAL:
                raise
            if symmetric != _XFRM_NO_CHANGE:
                raise
            _RXFH.pack_into(request, 0, _SRSSH, context, entries, len(key), function, _XFRM_NONE, 0)
            self._call(ifindex, what, request, write=True)
        self._wrote()
        return int(_RXFH.unpack_from(request)[1])

    def _call(
        self, ifindex: int, what: str, request: ctypes.Array[ctypes.c_char], *, write: bool = False
    ) -> ctypes.Array[ctypes.c_char]:
        """Make the ioctl; the kernel answers in ``request``."""
        try:
            named = fcntl.ioctl(self._socket, _SIOCGIFNAME, _IFREQ_INDEX.pack(b"", ifindex))
            fcntl.ioctl(
                self._socket, _SIOCETHTOOL, _IFREQ_DATA.pack(named[:16], ctypes.addressof(request))
            )
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise UnsupportedError(what, NO_OPERATION) from None
            operation = "set" if write else "get"
            raise KernelError(
                operation, f"{what} of ifindex {ifindex}", error.errno or errno.EIO
            ) from None
        return request


def _new(size: int, command: int) -> ctypes.Array[ctypes.c_char]:
    request = ctypes.create_string_buffer(size)
    struct.pack_into("=I", request, 0, command)
    return request


def _packed(entries: Sequence[int]) -> bytes:
    return struct.pack(f"={len(entries)}I", *entries)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
