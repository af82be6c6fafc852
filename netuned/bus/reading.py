"""Answers to those who read everything: one after the other, out of pieces that are kept as bytes.

With dbus-fast's own answers, readers that come together hold up the loop for all of them: it
gathers and encodes everything for each, within one callback. Here a card is encoded once until it
changes, and all cards are their bytes in a row: D-Bus aligns an array's elements to 8 bytes
wherever they stand.

Source: https://dbus.freedesktop.org/doc/dbus-specification.html, Message Protocol
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Mapping

from dbus_fast import DBusError, Message, MessageFlag, MessageType, Variant

from netuned.bus import wire
from netuned.bus.callers import LIMITS_EXCEEDED, UNKNOWN_METHOD
from netuned.bus.connection import Connection, Encoded, encode
from netuned.bus.interfaces import Manager, Nic
from netuned.bus.line import Line
from netuned.status import NicStatus

PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS_SIGNATURE = "a{oa{sa{sv}}}"
PROPERTIES_SIGNATURE = "a{sv}"

SLICE_S = 0.005
"""Many cards are encoded, or told of, for this long before the loop gets a turn."""
WAITING_MOST = 1000
"""Who comes while so many wait is refused."""


class Readers(Line):
    """Those who called GetManagedObjects, or GetAll of the manager, and wait for the answer."""

    def __init__(self, bus: Connection, manager: Manager, nics: Mapping[int, Nic]) -> None:
        super().__init__(bus)
        self._manager = manager
        self._nics = nics
        self._pieces: dict[int, tuple[NicStatus, bytes]] = {}

    def take(self, call: Message) -> bool:
        """A message handler: whether this call will be answered here, or not at all.

        Raises: DBusError.
        """
        if call.message_type is not MessageType.METHOD_CALL:
            return False
        if call.flags.value & MessageFlag.NO_REPLY_EXPECTED.value:
            # To read for nobody is of no use, and what is wrong with it dbus-fast would log
            return not _may_act(call)
        if not _reads_everything(call):
            if (call.interface, call.member) == (wire.OBJECT_MANAGER, "GetManagedObjects"):
                # dbus-fast would gather all objects, whatever the path and the arguments
                raise DBusError(UNKNOWN_METHOD, f"{wire.ROOT} has GetManagedObjects(), no more")
            return False
        if len(self) >= WAITING_MOST:
            raise DBusError(LIMITS_EXCEEDED, f"{WAITING_MOST} others wait for the same answer")
        self.join(call)
        return True

    async def answer(self) -> Message:
        await self._encode_cards()
        # From here to the sending nothing may change: signals of it would be sent before.
        _, call = self.next()
        if call.member == "GetAll":
            body = encode(PROPERTIES_SIGNATURE, _properties(self._manager))
            return Encoded(call, PROPERTIES_SIGNATURE, body)
        return Encoded(call, OBJECTS_SIGNATURE, _array(self._pieces[i][1] for i in self._nics))

    async def _encode_cards(self) -> None:
        """Bring the pieces of all cards up to date; on return all of them are."""
        for ifindex in self._pieces.keys() - self._nics.keys():
            del self._pieces[ifindex]
        while stale := [i for i, nic in self._nics.items() if not self._is_fresh(i, nic)]:
            until = time.monotonic() + SLICE_S
            for ifindex in stale:
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    break
                self._encode_card(ifindex, self._nics[ifindex])

    def _is_fresh(self, ifindex: int, nic: Nic) -> bool:
        return ifindex in self._pieces and self._pieces[ifindex][0] is nic.status

    def _encode_card(self, ifindex: int, nic: Nic) -> None:
        shown = {wire.nic_path(ifindex): {wire.NIC: _properties(nic)}}
        piece = encode(OBJECTS_SIGNATURE, shown)[8:]  # after the array's length
        self._pieces[ifindex] = nic.status, piece


def _may_act(call: Message) -> bool:
    """Whether a call may be more than a look."""
    named = wire.ACTIONS.get(call.member or "") and call.interface in (None, wire.MANAGER)
    return bool(named) and call.path == wire.ROOT


def _reads_everything(call: Message) -> bool:
    if call.path != wire.ROOT:
        return False
    if call.member == "GetManagedObjects":
        return call.interface == wire.OBJECT_MANAGER and not call.signature
    wanted = call.member == "GetAll" and call.interface == PROPERTIES and call.signature == "s"
    return wanted and call.body[0] == wire.MANAGER


def _properties(interface: Manager | Nic) -> dict[str, Variant]:
    """The value of every property, with its signature."""
    signatures = _SIGNATURES.get(type(interface))
    if signatures is None:
        described = interface.introspect().properties
        signatures = _SIGNATURES[type(interface)] = {p.name: p.signature for p in described}
    return {
        name: Variant(kind, getattr(interface, name), False) for name, kind in signatures.items()
    }


_SIGNATURES: dict[type, dict[str, str]] = {}


def _array(pieces: Iterable[bytes]) -> bytes:
    """An array of elements that are aligned to 8 bytes: its length, then each at its place."""
    array = bytearray(8)
    for piece in pieces:
        array += bytes(-len(array) % 8) + piece
    struct.pack_into("<I", array, 0, len(array) - 8)
    return bytes(array)
