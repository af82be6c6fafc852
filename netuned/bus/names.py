"""What the bus itself says of somebody on it: whose a name is, and what he has not read.

Source: https://dbus.freedesktop.org/doc/dbus-specification.html; dbus 1.14, bus/stats.c
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from dbus_fast import Message, MessageType

from netuned.records import dataclass

TIMEOUT_S = 25.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose a name on the bus is, and which process it was that connected; None: not known."""

    uid: int | None = None
    pid: int | None = None


NOBODY = Credentials()
"""In place of those that are not known."""


class Bus(Protocol):
    """Whom this asks."""

    async def call(self, msg: Message) -> Message:
        """Ask somebody on the bus."""


async def credentials_of(bus: Bus, name: str) -> Credentials:
    """Whose a name is. A name is never another's later, so once is enough."""
    told = await _ask(bus, "org.freedesktop.DBus", "GetConnectionCredentials", name)
    ids = (told.get("UnixUserID"), told.get("ProcessID"))
    return Credentials(*(None if id is None else int(id.value) for id in ids))


async def unread_of(bus: Bus, name: str) -> int:
    """Bytes that the bus keeps for a name; 0 if it has left.

    Also 0 where the bus does not say: dbus-broker ends a connection of which it keeps too much.
    """
    told = await _ask(bus, "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", name)
    unread = told.get("OutgoingBytes")
    return 0 if unread is None else int(unread.value)


async def _ask(bus: Bus, interface: str, member: str, name: str) -> dict[str, Any]:
    """What is told; empty where nothing is."""
    question = Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface=interface,
        member=member,
        signature="s",
        body=[name],
    )
    try:
        reply = await asyncio.wait_for(bus.call(question), TIMEOUT_S)
    except (TimeoutError, OSError, EOFError):
        return {}
    if reply.message_type is not MessageType.METHOD_RETURN:
        return {}
    told: dict[str, Any] = reply.body[0]
    return told
