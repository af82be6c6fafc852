"""What others ask of netuned over D-Bus: any call that a bus lets through."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import cache
from typing import Any

from dbus_fast import ErrorType, Message, MessageFlag, MessageType, Variant

from netuned.bus import wire
from netuned.bus.connection import Connection
from netuned.bus.reading import PROPERTIES
from netuned.bus.service import BusService
from netuned.errors import KernelError
from netuned.plan import Plan
from netuned.profiles.timeout import MOST_S
from netuned.status import ManagerStatus, NicStatus, Status
from netuned.text import escape
from tests.fuzz.target import Target

NAMES = ("eth0", "e\x1b[31m\udcff")
STATUS = Status(
    ManagerStatus("1", ""), tuple(NicStatus(n, name, "", "", "") for n, name in enumerate(NAMES, 2))
)
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"

MEMBERS = (*wire.ACTIONS, "Get", "Set", "GetAll", "GetManagedObjects", "Introspect", "Ping", "Nope")
INTERFACES = (
    *(wire.MANAGER, None, wire.NIC, PROPERTIES, wire.OBJECT_MANAGER, INTROSPECTABLE),
    *("org.freedesktop.DBus.Peer", "org.netuned1", "org.freedesktop.DBus.x"),
)
PATHS = (wire.ROOT, wire.nic_path(2), wire.nic_path(99), "/", "/org/netuned1/nic")
SIGNATURES = ("", "s", "ss", "su", "ssv", "u", "us", "as", "v", "(s)", "a{sv}")
FLAGS = (
    MessageFlag.NONE,
    MessageFlag.NO_REPLY_EXPECTED,
    MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION,
)


class _Bus(Connection):
    """A connection without a bus: keeps what is sent, and answers who asks for a user id."""

    def __init__(self) -> None:
        super().__init__("unix:path=/nonexistent")
        self.sent: list[Message] = []

    @property
    def connected(self) -> bool:
        return True

    def send(self, msg: Message) -> asyncio.Future[None]:  # type: ignore[override]  # as MessageBus
        msg.serial = msg.serial or self.next_serial()
        encoded = msg._marshall(False)
        assert encoded
        self.sent.append(msg)
        self.callers.answered(msg, len(encoded))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def call(self, msg: Message) -> Message:
        body = [{"UnixUserID": Variant("u", 0)}]
        return Message(message_type=MessageType.METHOD_RETURN, reply_serial=1, body=body,
                       signature="a{sv}")  # fmt: skip


class _Controller:
    """Takes nothing but what a daemon can be asked for."""

    def status(self) -> Status:
        return STATUS

    async def reload(self) -> None:
        pass

    async def plan(self) -> Plan:
        return Plan(())

    async def reconcile(self, ifname: str) -> None:
        assert ifname in ("", *NAMES)

    resume = reconcile

    async def pause(self, ifname: str) -> None:
        assert ifname in ("", *NAMES)
        raise KernelError("pause", ifname, 22, "\x1b[31m")

    async def begin_trial(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        assert ifname in ("", *NAMES)
        assert 1 <= timeout_s <= MOST_S
        return "a1b2c3", "2026-11-21 12:00:00"

    async def confirm(self, id: str) -> None:
        assert re.fullmatch("[a-z0-9]{1,16}", id)

    async def roll_back(self, id: str) -> None:
        assert re.fullmatch("[a-z0-9]{0,16}", id)

    async def restore(self, ifname: str, tunable: str) -> None:
        assert ifname in ("", *NAMES)
        assert re.fullmatch("[a-z0-9]{0,16}", tunable)


class _Said(logging.Handler):
    """What would be in the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@cache
def _served() -> tuple[asyncio.AbstractEventLoop, _Bus, _Said]:
    loop, said = asyncio.new_event_loop(), _Said()
    logging.getLogger("dbus_fast").addHandler(said)
    logging.getLogger("dbus_fast").propagate = False

    async def export() -> _Bus:
        bus = _Bus()
        await BusService(_Controller())._export(bus)
        return bus

    return loop, loop.run_until_complete(export()), said


def _value(kind: str, text: str, number: int) -> Any:
    """Something of a type, made of a text and a number."""
    match kind:
        case "s":
            return text
        case "u":
            return number
        case "v":
            return Variant("u", number) if number % 2 else Variant("s", text)
        case "as":
            return [text] * (number % 3)
        case "(s)":
            return [text]
        case _:
            return {text: Variant("s", text)}


def _call(data: bytes) -> Message:
    """Five bytes that choose, four of a number, then texts, by line; D-Bus carries no NUL."""
    head, number = data[:5].ljust(5, b"\0"), int.from_bytes(data[5:9], "little")
    texts = data[9:].decode("utf-8", "replace").replace("\0", "").split("\n")
    signature = SIGNATURES[head[3] % len(SIGNATURES)]
    kinds = [signature] if signature in ("as", "(s)", "a{sv}") else list(signature)
    pick = iter(texts * 3)
    return Message(
        message_type=MessageType.METHOD_CALL,
        member=MEMBERS[head[0] % len(MEMBERS)],
        interface=INTERFACES[head[1] % len(INTERFACES)],
        path=PATHS[head[2] % len(PATHS)],
        signature=signature,
        body=[_value(kind, next(pick), number) for kind in kinds],
        flags=FLAGS[head[4] % len(FLAGS)],
        sender=":1.5",
        destination=wire.SERVICE,
        serial=7,
    )


def _dbus_call(data: bytes) -> None:
    """Each call has one answer, or none if none is expected; nothing is logged of any."""
    loop, bus, said = _served()
    call = _call(data)
    bus.sent.clear()
    said.records.clear()

    async def serve() -> None:
        bus._process_message(call)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    loop.run_until_complete(serve())
    assert not said.records, said.records[0].getMessage()
    expected = call.flags is not MessageFlag.NO_REPLY_EXPECTED
    assert len(bus.sent) == expected, bus.sent
    for reply in bus.sent:
        assert (reply.reply_serial, reply.destination) == (7, ":1.5")
        if reply.message_type is MessageType.ERROR:
            assert reply.error_name not in (
                ErrorType.SERVICE_ERROR.value, ErrorType.INTERNAL_ERROR.value
            )  # fmt: skip
            if call.interface == wire.MANAGER:
                assert escape(reply.body[0]) == reply.body[0], ascii(reply.body[0])
                assert len(reply.body[0]) < 1000


def _seed(member: str, interface: str | None, signature: str, texts: bytes, number: int = 60,
          path: str = wire.ROOT, flags: int = 0) -> bytes:  # fmt: skip
    chosen = (
        *(MEMBERS.index(member), INTERFACES.index(interface), PATHS.index(path)),
        *(SIGNATURES.index(signature), flags),
    )
    return bytes(chosen) + number.to_bytes(4, "little") + texts


TARGETS = (
    Target(
        "D-Bus call",
        _dbus_call,
        (
            *(_seed(member, wire.MANAGER, "s", b"eth0") for member in wire.ACTIONS),
            *(_seed(member, wire.MANAGER, "", b"") for member in ("Plan", "Reload")),
            _seed("Try", wire.MANAGER, "su", b"e\x1b[31m\\xff", 60),
            _seed("Try", wire.MANAGER, "su", b"eth0", 1 << 31),
            _seed("Restore", wire.MANAGER, "ss", b"eth0\nrps"),
            _seed("Pause", None, "s", b"nope", flags=1),
            _seed("Pause", wire.MANAGER, "s", b"th0"),
            _seed("Get", PROPERTIES, "ss", wire.MANAGER.encode() + b"\nVersion"),
            _seed("Set", PROPERTIES, "ssv", wire.NIC.encode() + b"\nName", path=PATHS[1]),
            _seed("Get", PROPERTIES, "ss", wire.MANAGER.encode() + b"\nNope", flags=1),
            _seed("GetAll", PROPERTIES, "s", wire.MANAGER.encode()),
            _seed("GetManagedObjects", wire.OBJECT_MANAGER, "", b""),
            _seed("GetManagedObjects", wire.OBJECT_MANAGER, "", b"", path="/"),
            _seed("Introspect", INTROSPECTABLE, "", b"", path=PATHS[4]),
        ),
        (
            b"/",
            b"../",
            b"\\xff",
            b"e" * 4096,
            b"\x1b[2J",
            b"\xe2\x80\xae",
            b"\xff\xff\xff\xff",
            b"\n",
        ),
    ),
)
