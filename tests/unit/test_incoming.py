"""What comes over the bus is cut into messages, and what is not wanted is never decoded."""

from __future__ import annotations

import pytest
from jeepney import DBusAddress, HeaderFields, Message, MessageFlag, new_method_call, new_signal

from netuned.bus import wire
from netuned.bus.incoming import ANSWER_MOST, CALL_MOST, Header, Incoming

MANAGER = DBusAddress(wire.ROOT, wire.SERVICE, wire.MANAGER)


class Gate:
    """Takes whoever has room, and calls of one type alone."""

    def __init__(self, room: bool = True) -> None:
        self.room = room
        self.asked: list[Header] = []

    def has_room(self, name: str) -> bool:
        assert name == ":1.5"
        return self.room

    def admit(self, header: Header) -> bool:
        self.asked.append(header)
        return self.room and header.size <= CALL_MOST and header.signature == "s"


def raw(message: Message, serial: int = 7) -> bytes:
    """As the bus delivers it."""
    message.header.fields[HeaderFields.sender] = ":1.5"
    return bytes(message.serialise(serial=serial))


def call(text: str = "eth0") -> Message:
    return new_method_call(MANAGER, "Pause", "s", (text,))


WANTED = raw(call())
STREAM = (
    WANTED,
    raw(call("e" * CALL_MOST)),
    raw(new_method_call(MANAGER, "Pause", "av", ([("u", 1)],))),
    raw(new_signal(MANAGER, "Drift", "s", ("x" * 100,))),
    WANTED,
)


@pytest.mark.parametrize("size", [1, 7, 16, 100, 1 << 20])
def test_whole_messages_come_out_however_they_come_in(size: int) -> None:
    gate, stream = Gate(), b"".join(STREAM)
    incoming = Incoming(gate)
    pieces = [incoming.take(stream[at : at + size]) for at in range(0, len(stream), size)]
    assert b"".join(pieces) == 2 * WANTED
    assert [(asked.sender, asked.serial, asked.signature) for asked in gate.asked] == [
        (":1.5", 7, signature) for signature in ("s", "s", "av", "s")
    ]
    assert [asked.size for asked in gate.asked] == [len(raw) for raw in STREAM if raw[1] == 1]


def test_of_what_is_too_large_nothing_is_kept() -> None:
    incoming = Incoming(Gate())
    for large in (call("e" * ANSWER_MOST), new_signal(MANAGER, "Drift", "s", ("e" * ANSWER_MOST,))):
        for _ in range(3):
            assert incoming.take(raw(large)[:-1]) == b""
            assert incoming.take(b"\0") == b""
            assert len(incoming._held) == 0
    assert incoming.take(WANTED) == WANTED


def test_who_has_no_room_and_awaits_nothing_is_not_even_read() -> None:
    gate, unanswered = Gate(room=False), call()
    unanswered.header.flags = MessageFlag.no_reply_expected
    assert Incoming(gate).take(raw(unanswered)) == b""
    assert gate.asked == []
    assert Incoming(gate).take(WANTED) == b""
    assert len(gate.asked) == 1, "who awaits an answer is told"
