"""What comes over the bus, cut into messages before anything is decoded.

Anybody may send anything to a name on the system bus that its policy lets through: a signal or an
argument of 32 MB, variants in variants. To decode that takes the loop a second, and where dbus-fast
is stricter than the bus it ends the connection. So who calls what is read of the header alone, and
only what will be answered is decoded at all.

Source: https://dbus.freedesktop.org/doc/dbus-specification.html, Message Protocol
"""

from __future__ import annotations

import struct
from typing import Protocol

from netuned.records import dataclass

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED = 1

CALL_MOST = 4096
"""Bytes of a call; one with a card's name has 300."""
ANSWER_MOST = 1 << 20
"""Bytes of an answer to netuned; a caller's credentials have all its groups, at most 65,536."""

_FIXED = 16
"""Bytes of each message's beginning, in which its sizes are."""
_SENDER, _SIGNATURE = 7, 8
_SENDER_FIELD = bytes((_SENDER,)) + b"\1s\0"
_ORDER = {ord("l"): "<", ord("B"): ">"}
_UNPACK = {first: struct.Struct(f"{order}III").unpack_from for first, order in _ORDER.items()}
"""By a message's first byte."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of a method call, what is known before it is decoded; ``size`` is the message's, in bytes."""

    sender: str
    serial: int
    signature: str
    awaited: bool
    size: int


class Gate(Protocol):
    """Who says which calls are wanted."""

    def has_room(self, name: str) -> bool:
        """Whether another call of somebody can wait; asked of each call, so it costs little."""

    def admit(self, header: Header) -> bool:
        """Whether a call is to be decoded; who is refused is told so."""


class Incoming:
    """The messages of one connection, in the bytes that come over it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._held = bytearray()
        self.to_skip = 0
        """Bytes still to come of a message that is not wanted."""

    def take(self, data: bytes) -> bytes:
        """Of what came, the messages that are to be decoded, whole.

        Those are answers to netuned and the calls that are admitted, not signals: netuned listens
        to none. At most ``ANSWER_MOST`` bytes of a message that is not whole yet are held.
        """
        if self.to_skip >= len(data):
            self.to_skip -= len(data)
            return b""
        held, wanted, at = self._held, bytearray(), self.to_skip
        held += data
        while (end := len(held)) - at >= _FIXED:
            kind, flags = held[at + 1], held[at + 2]
            unpack = _UNPACK[held[at]]
            body, serial, fields = unpack(held, at + 4)
            start = _FIXED + fields + -fields % 8
            size = start + body
            whole = end - at >= size
            if kind == METHOD_CALL:
                if end - at < min(start, CALL_MOST):
                    break
                small = size <= CALL_MOST
                if small and not whole:
                    break
                is_wanted = start <= CALL_MOST and self._is_wanted(at, start, flags, serial, size)
            elif kind == SIGNAL or size > ANSWER_MOST:
                is_wanted = False
            elif whole:
                is_wanted = True
            else:
                break
            if is_wanted:
                wanted += held[at : at + size]
            at += size
        self.to_skip = max(0, at - len(held))
        del held[:at]
        return bytes(wanted)

    def _is_wanted(self, at: int, start: int, flags: int, serial: int, size: int) -> bool:
        """Whether the call that begins there is to be decoded."""
        held, awaited = self._held, not flags & NO_REPLY_EXPECTED
        if not awaited:
            # Nobody is to be told, so a glance at the sender will do, thousands of times a second.
            # Who pretends to another's is found out when the call is to wait.
            found = held.find(_SENDER_FIELD, at, at + start) + len(_SENDER_FIELD) + 4
            if not self._gate.has_room(held[found : held.find(0, found)].decode("ascii", "ignore")):
                return False
        sender, signature = _caller(bytes(held[at : at + start]))
        return self._gate.admit(Header(sender, serial, signature, awaited, size))


def _caller(head: bytes) -> tuple[str, str]:
    """The sender and the signature in a header's fields; each is empty where it is not there.

    The bus daemon has looked whether the fields are well formed. One of a type that the protocol
    does not have yet ends the reading, for its end is not known.
    """
    order = _ORDER[head[0]]
    sender, signature, at = "", "", _FIXED
    (end,) = struct.unpack_from(f"{order}I", head, 12)
    while at < _FIXED + end:
        at += -at % 8
        code, kind = head[at], head[at + 1 : at + 4]
        at += 4
        if kind == b"\1g\0":
            size = head[at]
            text = head[at + 1 : at + 1 + size]
            at += size + 2
        elif kind in (b"\1s\0", b"\1o\0"):
            at += -at % 4
            (size,) = struct.unpack_from(f"{order}I", head, at)
            text = head[at + 4 : at + 4 + size]
            at += size + 5
        elif kind == b"\1u\0":
            at += -at % 4 + 4
            continue
        else:
            break
        if code == _SENDER:
            sender = text.decode()
        elif code == _SIGNATURE:
            signature = text.decode()
    return sender, signature
