"""Answers out of kept bytes: the same as dbus-fast's own encoding, fresh, and one at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dbus_fast import DBusError, Message, MessageFlag, MessageType, Variant

from netuned.bus import reading, wire
from netuned.bus.callers import Callers
from netuned.bus.connection import _PatientSocket
from netuned.bus.incoming import Incoming
from netuned.bus.interfaces import Manager, Nic
from netuned.bus.reading import Readers
from netuned.status import Applied, ManagerStatus, NicStatus, QueueStatus

CARD = NicStatus(
    *(2, "e\x1b[31m\udcff", "igb", "edge", "in-sync", (QueueStatus("rx", 0, 60, "4"),)),
    last_change=Applied(1.5, "irq", "rx-0", "0-7", "4", "drift"),
)


class Wire:
    """In place of a connection: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def give_way(self, began: float, root_waits: Callable[[], object]) -> None:
        """Nobody does."""

    def send(self, message: Message) -> asyncio.Future[None]:
        self.sent.append(message)
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent


def readers(nics: dict[int, Nic]) -> tuple[Readers, Wire]:
    bus: Any = Wire()
    controller: Any = None
    return Readers(bus, Manager(bus, controller, ManagerStatus("1", "in-sync")), nics), bus


def call(member: str = "GetManagedObjects", interface: str = wire.OBJECT_MANAGER) -> Message:
    arguments: dict[str, Any] = {}
    if member == "GetAll":
        interface = reading.PROPERTIES
        arguments = {"signature": "s", "body": [wire.MANAGER]}
    return Message(
        *(wire.SERVICE, wire.ROOT, interface, member), serial=7, sender=":1.5", **arguments
    )


def encoded(signature: str, value: object) -> bytes:
    """As dbus-fast encodes the same reply."""
    reply = Message.new_method_return(call(), signature, [value])
    reply.flags = MessageFlag.NO_REPLY_EXPECTED
    return bytes(reply._marshall(False))


async def answered(shown: Readers, bus: Wire, *calls: Message) -> list[bytes]:
    for one in calls:
        assert shown.take(one)
    while len(bus.sent) < len(calls):
        await asyncio.sleep(0)
    return [bytes(message._marshall(False)) for message in bus.sent]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_bytes_are_those_of_the_library(count: int) -> None:
    cards = [replace(CARD, ifindex=n, driver="d" * n, queues=CARD.queues * n) for n in range(count)]
    nics = {card.ifindex: Nic(card) for card in cards}
    shown, bus = readers(nics)
    (found,) = asyncio.run(answered(shown, bus, call()))
    whole = {wire.nic_path(i): {wire.NIC: reading._properties(nic)} for i, nic in nics.items()}
    assert found == encoded(reading.OBJECTS_SIGNATURE, whole)


def test_the_managers_properties() -> None:
    shown, bus = readers({})
    (found,) = asyncio.run(answered(shown, bus, call("GetAll")))
    expected = reading._properties(shown._manager)
    assert expected["State"] == Variant("s", "in-sync")
    assert found == encoded(reading.PROPERTIES_SIGNATURE, expected)


def test_a_changed_card_is_shown_as_it_is_now() -> None:
    nics = {2: Nic(CARD), 3: Nic(replace(CARD, ifindex=3))}
    shown, bus = readers(nics)

    async def check() -> None:
        (before,) = await answered(shown, bus, call())
        nics[2].status = replace(CARD, state="drifted")
        del nics[3]
        bus.sent.clear()
        (after,) = await answered(shown, bus, call())
        assert b"drifted" not in before
        assert b"drifted" in after
        assert b"/nic/3" in before
        assert b"/nic/3" not in after

    asyncio.run(check())


def test_too_many_readers_are_refused() -> None:
    async def check() -> None:
        shown, _ = readers({})
        for _ in range(reading.WAITING_MOST):
            assert shown.take(call())
        with pytest.raises(DBusError, match="1000 others wait"):
            shown.take(call())
        shown.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    "other",
    [
        call(interface="org.netuned1.Manager"),
        call("Reload"),
        Message(wire.SERVICE, wire.ROOT, reading.PROPERTIES, "GetAll", signature="s", body=["x"]),
        Message(wire.SERVICE, wire.ROOT, reading.PROPERTIES, "GetAll"),
        Message(message_type=MessageType.METHOD_RETURN, reply_serial=1),
    ],
)
def test_other_messages_are_left_to_others(other: Message) -> None:
    shown, bus = readers({})
    assert not shown.take(other)
    assert bus.sent == []


def test_a_full_socket_is_not_a_lost_one() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        nobody: Any = None
        patient = _PatientSocket(near, Incoming(Callers(nobody)))
        while patient.send(memoryview(bytes(1 << 16))):
            pass
        assert patient.send(memoryview(b"more")) == 0
        far.recv(1 << 16)
        far.close()
        with pytest.raises(OSError, match="Broken pipe"):
            patient.send(memoryview(b"more"))
