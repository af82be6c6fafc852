"""The connection to the bus: what netuned needs of dbus-fast that its public interface has not.

The one module of the program that uses dbus-fast's private parts, which any minor version may
change; pyproject.toml allows the one that they were read in. For each the reason:

- ``MessageBus._writer`` (its ``sock``, ``messages``, ``schedule_write``): a full socket must not
  end the connection, and signals of one turn of the loop are one system call.
- ``Message._marshall``: to have the bytes of a signal, and to send a reply whose bytes are made.
- ``_private.marshaller.Marshaller``: to make those, piece by piece.

Source: dbus-fast 5.2.0, aio/message_bus.py, message.py, _private/marshaller.py
"""

from __future__ import annotations

import asyncio
import socket

from dbus_fast import Message, MessageFlag, MessageType, Variant
from dbus_fast._private.marshaller import Marshaller
from dbus_fast.aio import MessageBus

from netuned.bus import wire

HEADER_SIGNATURE = "yyyyuua(yv)"
LITTLE_ENDIAN = ord("l")
PROTOCOL_VERSION = 1
REPLY_SERIAL, DESTINATION, SIGNATURE = 5, 6, 8


class Connection(MessageBus):
    """A bus connection that can be lost while methods are being served.

    Signals of one turn of the loop go out in one system call: after each the loop's thread waits
    for the interpreter, and where hundreds of cards change there are thousands of signals.
    """

    async def connect(self) -> MessageBus:
        self._signals = bytearray()
        bus = await super().connect()
        assert self._writer is not None
        assert self._writer.sock is not None
        self._writer.sock = _PatientSocket(self._writer.sock)  # type: ignore[assignment]
        return bus

    def send(self, msg: Message) -> asyncio.Future[None]:  # type: ignore[override]  # as MessageBus
        if not self.connected:
            # dbus-fast would watch the closed descriptor's number, by now perhaps another file's
            dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            dropped.set_result(None)
            return dropped
        if msg.message_type is MessageType.SIGNAL:
            return self._send_soon(msg)
        self._send_signals()
        sent: asyncio.Future[None] = super().send(msg)
        sent.add_done_callback(asyncio.Future.exception)  # that the connection is lost, run() sees
        return sent

    def _send_soon(self, signal: Message) -> asyncio.Future[None]:
        if signal.interface == wire.OBJECT_MANAGER:
            # The D-Bus specification has the manager send these, dbus-fast the object that comes
            signal.path = wire.ROOT
        loop = asyncio.get_running_loop()
        if not self._signals:
            loop.call_soon(self._send_signals)
        signal.serial = self.next_serial()
        self._signals += signal._marshall(False)
        sent: asyncio.Future[None] = loop.create_future()
        sent.set_result(None)
        return sent

    def _send_signals(self) -> None:
        signals, self._signals = self._signals, bytearray()
        if signals and self.connected:
            assert self._writer is not None
            self._writer.messages.append((signals, None, None))
            self._writer.schedule_write()


class _PatientSocket:
    """What dbus-fast's writer sends on: a full socket takes nothing now, it is not lost.

    dbus-fast 5.2 disconnects on EAGAIN, as its ancestor did (altdesktop/python-dbus-next #153).
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0


class Encoded(Message):
    """A reply whose body is bytes already."""

    def __init__(self, call: Message, signature: str, encoded: bytes) -> None:
        super().__init__(
            message_type=MessageType.METHOD_RETURN,
            flags=MessageFlag.NO_REPLY_EXPECTED,
            destination=call.sender,
            reply_serial=call.serial,
            signature=signature,
        )
        self._encoded = encoded

    def _marshall(self, negotiate_unix_fd: bool) -> bytearray:
        fields = [
            [REPLY_SERIAL, Variant("u", self.reply_serial)],
            [DESTINATION, Variant("s", self.destination)],
            [SIGNATURE, Variant("g", self.signature)],
        ]
        kind, flags = self.message_type.value, self.flags.value
        head = [LITTLE_ENDIAN, kind, flags, PROTOCOL_VERSION, len(self._encoded), self.serial]
        header = Marshaller(HEADER_SIGNATURE, [*head, fields]).marshall()
        return bytearray().join((header, bytes(-len(header) % 8), self._encoded))


def encode(signature: str, value: object) -> bytes:
    """A value of this D-Bus type as it stands in a message."""
    return bytes(Marshaller(signature, [value]).marshall())
