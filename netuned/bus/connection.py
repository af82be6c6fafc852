"""The connection to the bus: what netuned needs of dbus-fast that its public interface has not.

The one module of the program that uses dbus-fast's private parts, which any minor version may
change; pyproject.toml allows the one that they were read in. For each the reason:

- ``MessageBus._authenticate``, ``_sock``: after it messages come, and are looked at undecoded.
- ``MessageBus._process_message``: a call waits for its turn before it is done.
- ``MessageBus._finalize``: who waits is gone with the connection.
- ``MessageBus._writer`` (its ``sock``, ``buf``, ``messages``, ``schedule_write``): a full socket
  must not end the connection, and what is sent in one turn of the loop is one system call.
- ``Message._marshall``: to have the bytes of a message, and to send a reply whose bytes are made.
- ``_private.marshaller.Marshaller``: to make those, piece by piece.

Source: dbus-fast 5.2.0, aio/message_bus.py, message.py, _private/marshaller.py
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import socket
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from dbus_fast import BusType, Message, MessageFlag, MessageType, Variant
from dbus_fast._private.marshaller import Marshaller
from dbus_fast.aio import MessageBus

from netuned.bus import wire
from netuned.bus.callers import SLICE_S, Callers
from netuned.bus.incoming import Incoming

HEADER_SIGNATURE = "yyyyuua(yv)"
LITTLE_ENDIAN = ord("l")
PROTOCOL_VERSION = 1
REPLY_SERIAL, DESTINATION, SIGNATURE = 5, 6, 8


STUCK_S = 5.0
"""A bus that takes nothing for so long never will: somebody lets it keep what netuned has sent."""
LINE_BYTES = 4096
"""So much is gathered of answers in one turn of the loop, then the bus is to take it first."""
READ_BYTES = 1 << 16
"""Taken at once of what came: 500 calls, of a millisecond or two if none of them is wanted."""

log = logging.getLogger(__name__)


class Connection(MessageBus):
    """A bus connection that can be lost while methods are being served.

    What is sent in one turn of the loop goes out in one system call: after each the loop's thread
    waits for the interpreter, and where hundreds of cards change there are thousands of signals.
    """

    def __init__(self, address: str | None, auth_timeout: float | None = None) -> None:
        super().__init__(address, BusType.SYSTEM, auth_timeout=auth_timeout)
        self.callers = Callers(self)
        self._unsent = bytearray()
        self._watching: asyncio.TimerHandle | None = None

    async def _authenticate(self) -> None:
        await super()._authenticate()
        assert self._writer is not None
        assert self._sock is not None
        patient: Any = _PatientSocket(self._sock, Incoming(self.callers))
        self._sock = self._writer.sock = patient

    def _process_message(self, msg: Message) -> None:
        if msg.message_type is MessageType.METHOD_CALL:
            self.callers.take(msg)
        else:
            super()._process_message(msg)

    def serve(self, call: Message) -> None:
        """Have a call done and answered, now that it has its turn."""
        super()._process_message(call)

    def _finalize(self, err: Exception | None = None) -> None:
        super()._finalize(err)
        self.callers.close()
        if self._watching is not None:
            self._watching.cancel()

    def send(self, msg: Message) -> asyncio.Future[None]:  # type: ignore[override]  # as MessageBus
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[None] = loop.create_future()
        sent.set_result(None)
        if not self.connected:
            # dbus-fast would watch the closed descriptor's number, by now perhaps another file's
            return sent
        if isinstance(msg, Encoded):
            self._send_unsent()
            self.callers.answered(msg, msg.size)
            sent = super().send(msg)
            sent.add_done_callback(asyncio.Future.exception)  # that it is lost, run() sees
            return sent
        if msg.interface == wire.OBJECT_MANAGER and msg.message_type is MessageType.SIGNAL:
            # The D-Bus specification has the manager send these, dbus-fast the object that comes
            msg.path = wire.ROOT
        if not self._unsent:
            loop.call_soon(self._send_unsent)
        msg.serial = msg.serial or self.next_serial()
        encoded = msg._marshall(False)
        self._unsent += encoded
        if msg.reply_serial:
            self.callers.answered(msg, len(encoded))
        return sent

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and self.connected:
            assert self._writer is not None
            self._writer.messages.append((unsent, None, None))
            self._writer.schedule_write()
            if self._watching is None:
                self._watch(self._taken)

    @property
    def is_clogged(self) -> bool:
        """Whether the bus has not yet taken what was sent to it."""
        writer = self._writer
        if writer is None:
            return False
        if len(self._unsent) > LINE_BYTES or writer.messages or writer.buf is not None:
            return True
        return self.connected and bool(_untaken_bytes(writer))

    async def give_way(self, began: float, root_waits: Callable[[], object]) -> None:
        """After a large answer to another than root, begun at this time: leave a gap for root's.

        It is as long as the bus took for the answer, for a bus that is flooded takes seconds.
        """
        while self.is_clogged and not root_waits():
            await asyncio.sleep(SLICE_S)
        until = 2 * time.monotonic() - began
        while time.monotonic() < until and not root_waits():
            await asyncio.sleep(SLICE_S)

    @property
    def _taken(self) -> int:
        """Bytes that the bus has taken."""
        sock = self._sock
        return sock.taken if isinstance(sock, _PatientSocket) else 0

    def _watch(self, before: int) -> None:
        """Look after a while whether the bus has taken more."""

        def look() -> None:
            self._watching = None
            writer = self._writer
            if not self.connected or writer is None or not (writer.messages or writer.buf):
                return
            if self._taken == before:
                log.warning("D-Bus has taken nothing for %.0f s, connecting again", STUCK_S)
                self.disconnect()
            else:
                self._watch(self._taken)

        self._watching = asyncio.get_running_loop().call_later(STUCK_S, look)


def _untaken_bytes(writer: Any) -> int:
    """What is in the socket and not read at the other end. Source: unix(7), SIOCOUTQ."""
    return int.from_bytes(fcntl.ioctl(writer.fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class _PatientSocket:
    """What dbus-fast reads from and sends on.

    A full socket takes nothing now, it is not lost: dbus-fast 5.2 disconnects on EAGAIN, as its
    ancestor did (altdesktop/python-dbus-next #153). What is read are whole messages, and those that
    are wanted.
    """

    def __init__(self, sock: socket.socket, incoming: Incoming) -> None:
        self._sock = sock
        self._incoming = incoming
        self.taken = 0
        """Bytes that were sent."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def send(self, data: memoryview) -> int:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        self.taken += sent
        return sent

    def recv(self, _size: int) -> bytes:
        data = self._sock.recv(READ_BYTES)
        wanted = self._incoming.take(data)
        if data and not wanted:
            raise BlockingIOError(errno.EAGAIN, "nothing that is wanted")
        return wanted


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

    @property
    def size(self) -> int:
        """Bytes, without the header's."""
        return len(self._encoded)

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
