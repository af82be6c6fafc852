"""A local user who calls netuned as fast as the bus lets him: what each flood is made of.

Run as a program it floods until its input ends, on several connections at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from jeepney import DBusAddress, HeaderFields, Message, MessageFlag, new_method_call, new_signal
from jeepney.io.blocking import open_dbus_connection

from netuned.bus import wire

NOBODY = 65534
CONNECTIONS = 8
BATCH = 50
MEGABYTES = 32
SERIAL_AT = 8
FREEDESKTOP = "org.freedesktop.DBus"


@dataclass(frozen=True, slots=True)
class Flood:
    """What is sent again and again, whether answers are awaited, and whether they are read."""

    message: Message
    awaited: bool = True
    reads: bool = False


def call(member: str, signature: str = "", *body: object, interface: str = wire.MANAGER,
          path: str = wire.ROOT) -> Message:  # fmt: skip
    return new_method_call(DBusAddress(path, wire.SERVICE, interface), member, signature, body)


def _nested(levels: int) -> tuple[str, object]:
    """A variant in a variant in a variant."""
    value: tuple[str, object] = ("u", 1)
    for _ in range(levels):
        value = ("v", value)
    return value


def _large_signal() -> Message:
    signal = new_signal(DBusAddress(wire.ROOT, interface=wire.MANAGER), "Drift", "s", (_large(),))
    signal.header.fields[HeaderFields.destination] = wire.SERVICE
    return signal


def _large() -> str:
    return "e" * ((MEGABYTES << 20) - 1024)


EVERYTHING = call("GetManagedObjects", interface=wire.OBJECT_MANAGER)
PROPERTIES = call("GetAll", "s", wire.MANAGER, interface=f"{FREEDESKTOP}.Properties")
INTROSPECTION = call("Introspect", interface=f"{FREEDESKTOP}.Introspectable")

FLOODS: Mapping[str, Callable[[], Flood]] = {
    "Plan unanswered": lambda: Flood(call("Plan"), awaited=False),
    "Plan unread": lambda: Flood(call("Plan")),
    "Plan read": lambda: Flood(call("Plan"), reads=True),
    "Reload refused": lambda: Flood(call("Reload"), reads=True),
    "Reload unanswered": lambda: Flood(call("Reload"), awaited=False),
    "Reload unread": lambda: Flood(call("Reload")),
    "everything unread": lambda: Flood(EVERYTHING),
    "introspection": lambda: Flood(INTROSPECTION, reads=True),
    "properties": lambda: Flood(PROPERTIES, reads=True),
    "32 MB argument": lambda: Flood(call("Pause", "s", _large()), reads=True),
    "32 MB signal": lambda: Flood(_large_signal(), awaited=False),
    "variants": lambda: Flood(call("Pause", "av", [_nested(28)] * 50), reads=True),
}
"""By name; the messages are made when they are sent."""


@contextmanager
def flooded(address: str, name: str) -> Iterator[None]:
    """While nobody floods the bus at this address."""
    words = [sys.executable, "-m", "tests.netns.flooding", address, name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flooding:
        assert flooding.stdin is not None
        assert flooding.stdout is not None
        try:
            assert flooding.stdout.readline() == b"flooding\n"
            yield
        finally:
            flooding.stdin.close()
            flooding.wait()


def _flood(address: str, flood: Flood, until: int) -> None:
    """Send until this can be read: it was closed."""
    connections = [open_dbus_connection(address).sock for _ in range(CONNECTIONS)]
    large = bytearray(flood.message.serialise(serial=1))
    if not flood.awaited:
        large[2] |= MessageFlag.no_reply_expected.value
    count = 1 if len(large) > 1 << 20 else BATCH
    batch, sent = large * count, 0
    pending = dict.fromkeys(connections, memoryview(b""))
    for sock in connections:
        sock.setblocking(False)
    print("flooding", flush=True)
    while True:
        read = connections if flood.reads else []
        readable, writable, _ = select.select(read, connections, [], 0.1)
        if select.select([until], [], [], 0)[0]:
            return
        for sock in readable:
            with contextlib.suppress(BlockingIOError):
                sock.recv(1 << 20)
        for sock in writable:
            if not pending[sock]:
                for number in range(count):
                    struct.pack_into("<I", batch, number * len(large) + SERIAL_AT, 2 + sent)
                    sent += 1
                pending[sock] = memoryview(bytes(batch))
            with contextlib.suppress(BlockingIOError):
                pending[sock] = pending[sock][sock.send(pending[sock]) :]


if __name__ == "__main__":
    chosen = FLOODS[sys.argv[2]]()
    os.setgroups([])
    os.setuid(NOBODY)
    _flood(sys.argv[1], chosen, sys.stdin.fileno())
