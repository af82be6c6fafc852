"""Generic netlink: finding a family, asking it, and EthtoolNetlink, the family of cards.

Source: Documentation/netlink/specs/ethtool.yaml;
Documentation/networking/ethtool-netlink.rst; net/ethtool/netlink.c, rss.c;
tools/testing/selftests/drivers/net/hw/rss_api.py.
"""

from __future__ import annotations

import errno
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import cycle, islice

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import contexts, features, linkmodes
from netuned.kernel.contexts import ContextTable
from netuned.kernel.ethtool import NO_OPERATION, Ethtool
from netuned.kernel.hashing import HashValues, content_of
from netuned.kernel.messages import (
    CHANNELS,
    COMMAND,
    CONTEXTS,
    CREATE_CONTEXT,
    DELETE_CONTEXT,
    ETHTOOL,
    FAMILY,
    FEATURES,
    GROUP,
    HEADER,
    LINK_MODES,
    RSS,
    STRINGS,
    Message,
)
from netuned.kernel.netlink import NLM_F_DUMP, KeptDump, NetlinkSocket, attributes, decoding
from netuned.kernel.tables import GENERIC_HEADER, Content, Table, frame
from netuned.records import dataclass

NETLINK_GENERIC = 16
_GENL_ID_CTRL = 16

Numbers = Mapping[str, int]
"""A card's settings by ethtool's names."""


@dataclass(frozen=True, slots=True)
class Family:
    """A generic netlink family: its number, its multicast groups by name, what it can be asked."""

    id: int
    groups: dict[str, int]
    commands: frozenset[int] = frozenset()


def resolve_family(opened: NetlinkSocket, name: str) -> Family:
    """Ask the kernel for a family.

    Raises: UnsupportedError where this kernel does not have it; KernelError.
    """
    message = frame(_GENL_ID_CTRL, FAMILY.get, 0, FAMILY.table.encode({"name": name.encode()}))
    try:
        replies = opened.request(message, "find", f"netlink family {name}")
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise UnsupportedError(
                f"netlink family {name}", "this kernel does not have it"
            ) from None
        raise
    with decoding(f"netlink family {name}"):
        (payload,) = replies
        found = FAMILY.table.raw(payload, GENERIC_HEADER)
        groups = map(_decode_group, _nested(found.get("groups", b"")))
        commands = (_uint(COMMAND.raw(raw)["id"]) for raw in _nested(found.get("ops", b"")))
        return Family(_uint(found["id"]), dict(groups), frozenset(commands))


class Client:
    """Requests to one family, resolved at the first. Threads may share it."""

    NAME = ""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_GENERIC)
        self._family: Family | None = None
        self._resolving = threading.Lock()
        self._dumps: dict[int, KeptDump] = {}

    def _resolve(self) -> Family:
        """The family. Raises: UnsupportedError where this kernel lacks it; KernelError."""
        with self._resolving:
            self._family = self._family or resolve_family(self._socket, self.NAME)
        return self._family

    def _ask(
        self, table: Table, command: int, flags: int, content: bytes, operation: str, target: str
    ) -> list[bytes]:
        """Send one request. Raises: UnsupportedError where this kernel lacks the family;
        KernelError, with the ``attribute`` of ``table`` that the kernel points at.
        """
        message = frame(self._resolve().id, command, flags, content)
        return self._socket.request(message, operation, target, partial(table.name_at, message))

    def _dump(self, message: Message, what: str) -> tuple[bytes, ...]:
        """What the family says of all cards: the same object while nothing has changed.

        Raises: UnsupportedError where this kernel lacks the family or the command; KernelError.
        """
        kept = self._dumps.get(message.get)
        if kept is None:
            content = _header(0, message.flags) if self.NAME == ETHTOOL else b""
            asked = frame(self._resolve().id, message.get, NLM_F_DUMP, content)
            kept = self._dumps[message.get] = KeptDump(self._socket, asked)
        try:
            return kept.read("list", what)
        except KernelError as error:
            raise unsupported(error, what, "this kernel does not tell") from None


class EthtoolNetlink(Client):
    """Gets and sets what the ethtool family can, with the kernel's own words where it refuses.

    Channels and the RSS table, which this kernel may have no command for, are then set by the
    ioctl. EOPNOTSUPP may as well be the driver's word: then the ioctl says the same. So which it
    was need not be known, nor kept: what is set here is set seldom. ``wrote`` is called after each
    write; ``ioctl`` counts its own.
    """

    NAME = ETHTOOL

    def __init__(self, ioctl: Ethtool, wrote: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._ioctl = ioctl
        self._wrote = wrote
        self._told: dict[int, tuple[tuple[bytes, ...], Mapping[int, Numbers]]] = {}
        self._features: tuple[str, ...] = ()
        """This kernel's names of them, by bit."""

    def get(self, message: Message, what: str, ifindex: int) -> Numbers:
        """One card's settings.

        Raises: UnsupportedError where the driver or this kernel has none; KernelError.
        """
        target = f"{what} of ifindex {ifindex}"
        try:
            header = _header(ifindex, message.flags)
            replies = self._ask(message.table, message.get, 0, header, "get", target)
        except KernelError as error:
            raise unsupported(error, what, NO_OPERATION) from None
        with decoding(target):
            (payload,) = replies
            return self._numbers(message, payload)

    def _numbers(self, message: Message, payload: bytes) -> Numbers:
        """An answer's numbers by name. Raises: ValueError, LookupError, KernelError."""
        if message is FEATURES:
            return features.decode(payload, self._feature_names())
        if message is LINK_MODES:
            return linkmodes.decode(payload)
        return message.table.numbers(payload, GENERIC_HEADER)

    def _feature_names(self) -> tuple[str, ...]:
        """Raises: UnsupportedError, KernelError."""
        if not self._features:
            content = _header() + features.ask_names()
            replies = self._ask(STRINGS.table, STRINGS.get, 0, content, "list", "features")
            with decoding("features"):
                (payload,) = replies
                self._features = features.decode_names(payload)
        return self._features

    def dump(self, message: Message, what: str) -> Mapping[int, Numbers]:
        """The settings of all cards whose driver has them, in one request: the same object while
        nothing has changed.

        A single card that refuses with something else than EOPNOTSUPP (ENODEV while its driver
        resets it) ends the kernel's answer for all: then ask card by card.

        Raises: UnsupportedError where this kernel lacks the family or the command; KernelError.
        """
        payloads = self._dump(message, what)
        last = self._told.get(message.get)
        if last is None or last[0] is not payloads:
            with decoding(what):
                found = {_card(p): self._numbers(message, p) for p in payloads}
            last = self._told[message.get] = payloads, found
        return last[1]

    def set(self, message: Message, what: str, ifindex: int, values: Numbers) -> None:
        """Set these and leave the others, in one message; nothing is written without any.

        Raises: UnsupportedError where the driver or this kernel has none of it; KernelError with
        the kernel's reason and the ``attribute`` it points at, if it does. EINVAL is also what one
        parameter of COALESCE gives that the driver does not have, EOPNOTSUPP with an ``attribute``
        one of RINGS. ERANGE is a number too large for its attribute.
        """
        if not values:
            return
        try:
            if message is FEATURES:
                content = _header(ifindex) + features.encode(values, self._feature_names())
                target = f"{what} of ifindex {ifindex}"
                self._ask(message.table, message.set, 0, content, "set", target)
            else:
                self._send(message, what, ifindex, values)
        except KernelError as error:
            raise unsupported(error, what, NO_OPERATION) from None
        self._wrote()

    def can_set_channels(self, ifindex: int) -> bool:
        """Whether the driver lets its channels be set, as vmxnet3 and tun do not; nothing is set.

        A request without a count is refused before it is read where the driver has no such
        operation, and else does nothing and raises no event. Who may not ask is told yes.

        Source: net/ethtool/channels.c, ethnl_set_channels_validate(), ethnl_set_channels().
        """
        try:
            target, header = f"channels of ifindex {ifindex}", _header(ifindex)
            self._ask(CHANNELS.table, CHANNELS.set, 0, header, "ask about", target)
        except UnsupportedError:  # no such family: nothing speaks against it
            return True
        except KernelError as error:
            return error.errno != errno.EOPNOTSUPP
        return True

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
        if sent:
            by_ioctl = partial(self._ioctl.set_channels, ifindex, **counts)
            self._set_either(CHANNELS, "channels", ifindex, sent, by_ioctl)

    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None:
        """Write the whole RSS indirection table; no entries put the kernel's default back.

        RSS_SET is in Linux since 6.17. The hash key, function and input transformation stay.

        Raises: UnsupportedError where the driver has no table, or none that can be set; KernelError
        with the kernel's reason, for example EINVAL for a queue that the card does not have.
        """
        by_ioctl = partial(self._ioctl.set_rss_table, ifindex, entries)
        by_netlink = self._set_either(RSS, "rss", ifindex, {"indir": _packed(entries)}, by_ioctl)
        if by_netlink and not self._has(ifindex, entries):
            by_ioctl()

    def contexts(self, ifindex: int) -> ContextTable:
        """The card's RSS contexts, whoever made them.

        Linux lists them since 6.12; before that those of low numbers are asked for one by one.

        Raises: UnsupportedError where the driver has none; KernelError.
        """
        size = self._ioctl.context_entries(ifindex)
        target = f"contexts of ifindex {ifindex}"
        content = _header(ifindex) + CONTEXTS.table.encode({"start": 1})
        try:
            told = self._ask(CONTEXTS.table, CONTEXTS.get, NLM_F_DUMP, content, "list", target)
        except (UnsupportedError, KernelError) as error:
            if isinstance(error, KernelError) and error.errno != errno.EOPNOTSUPP:
                raise
            numbers = range(1, contexts.MOST_PROBED + 1)
            asked = ((number, self._ioctl.context(ifindex, number, size)) for number in numbers)
            return ContextTable(size, {number: table for number, table in asked if table})
        with decoding(target):
            return ContextTable(size, contexts.decode(told))

    def create_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        """Make an RSS context of this number, the lowest that is free: by the ioctl there is no
        choice. RSS_CREATE_ACT is in Linux since 6.17.

        Raises: UnsupportedError where the driver has none; KernelError with the kernel's reason.
        """
        content: dict[str, Content] = {"context": context, "indir": _packed(entries)}
        by_ioctl = partial(self._ioctl.create_context, ifindex, context, entries)
        self._set_either(CREATE_CONTEXT, "contexts", ifindex, content, by_ioctl)

    def set_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None:
        """Write the whole table of an RSS context, as ``set_rss_table``; it has no default."""
        content: dict[str, Content] = {"context": context, "indir": _packed(entries)}
        by_ioctl = partial(self._ioctl.set_context, ifindex, context, entries)
        by_netlink = self._set_either(RSS, "contexts", ifindex, content, by_ioctl)
        if by_netlink and self._ioctl.context(ifindex, context, len(entries)) != tuple(entries):
            by_ioctl()

    def delete_context(self, ifindex: int, context: int) -> None:
        """Delete an RSS context; EBUSY while a flow rule goes to it (since 6.13, with any driver).

        RSS_DELETE_ACT says yes and does nothing where a driver makes contexts in the way that was
        usual before 6.11: what is there still is deleted by the ioctl.
        """
        by_ioctl = partial(self._ioctl.delete_context, ifindex, context)
        deleted = self._set_either(
            DELETE_CONTEXT, "contexts", ifindex, {"context": context}, by_ioctl
        )
        if deleted and self._ioctl.context(ifindex, context, 0) is not None:
            by_ioctl()

    def set_hashing(self, ifindex: int, values: HashValues) -> None:
        """Set how a card hashes, in one message, and leave the table as it is.

        Fields must be symmetric while ``symmetric`` is not 0, and before it is set so.

        Raises: UnsupportedError where the driver has none of it; KernelError with the kernel's
        reason, and the ``attribute`` where it is of one value.
        """
        by_ioctl = partial(self._ioctl.set_hashing, ifindex, values)
        try:
            self._set_either(RSS, "hashing", ifindex, content_of(values), by_ioctl)
        except KernelError as error:
            if error.errno == errno.EINVAL and len(values) == 1:
                raise replace(error, attribute=next(iter(values))) from None
            raise

    def tells_of_rss(self) -> bool:
        """Whether the kernel notifies of tables that are set: since 6.17, as it has RSS_SET.

        RSS_NTF is sent by RSS_SET and by the ioctl ETHTOOL_SRSSH, which ``ethtool -X`` uses. It is
        sent neither by the older ioctl ETHTOOL_SRXFHINDIR nor by a driver that resets its table:
        such changes wait for the resync. Raises: KernelError.

        Source: net/ethtool/ioctl.c, ethtool_set_rxfh() and ethtool_set_rxfh_indir().
        """
        try:
            return RSS.set in self._resolve().commands
        except UnsupportedError:
            return False

    def _has(self, ifindex: int, entries: Sequence[int]) -> bool:
        """Whether the table is as written.

        Up to 7.0 RSS_SET says yes and does nothing where the first quarter of the table is right
        already (8d60141a3287, "ethtool: rss: fix falsely ignoring indir table updates").
        """
        found = self._ioctl.rss_table(ifindex)
        # both ways of setting it repeat a default like this, whatever the driver starts with
        wanted = entries or range(max(self._ioctl.rx_rings(ifindex), 1))
        return found == tuple(islice(cycle(wanted), len(found)))

    def _set_either(
        self,
        message: Message,
        what: str,
        ifindex: int,
        content: Mapping[str, Content],
        by_ioctl: Callable[[], None],
    ) -> bool:
        """Set it by netlink, else by the ioctl; says if by netlink."""
        said = ""
        try:
            self._send(message, what, ifindex, content)
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

    def _send(
        self, message: Message, what: str, ifindex: int, content: Mapping[str, Content]
    ) -> None:
        target = f"{what} of ifindex {ifindex}"
        attrs = _header(ifindex) + message.table.encode(content, target)
        self._ask(message.table, message.set, 0, attrs, "set", target)


def _packed(entries: Sequence[int]) -> bytes:
    return struct.pack(f"={len(entries)}I", *entries)


def unsupported(error: KernelError, what: str, why: str) -> KernelError | UnsupportedError:
    """What to raise: EOPNOTSUPP that points at no attribute is of the whole."""
    if error.errno == errno.EOPNOTSUPP and not error.attribute:
        return UnsupportedError(what, error.extack or why)
    return error


@lru_cache(maxsize=4096)
def _header(ifindex: int = 0, flags: int = 0) -> bytes:
    """What a message of the ethtool family begins with; 0 stands for all cards, in a dump."""
    has = {"ifindex": ifindex, "flags": flags}
    inner = HEADER.encode({name: number for name, number in has.items() if number})
    return CHANNELS.table.encode({"header": inner})


def _card(payload: bytes) -> int:
    """The ifindex in an answer of the ethtool family."""
    begin, end = attributes(payload, GENERIC_HEADER)[1]
    return HEADER.numbers(payload[begin:end])["ifindex"]


def _nested(raw: bytes) -> list[bytes]:
    """The elements of an array of attributes."""
    return [raw[start:end] for start, end in attributes(raw, 0).values()]


def _decode_group(raw: bytes) -> tuple[str, int]:
    found = GROUP.raw(raw)
    return found["name"].rstrip(b"\0").decode("ascii"), _uint(found["id"])


def _uint(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)
