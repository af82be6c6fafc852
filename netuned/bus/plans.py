"""Answers to ``Plan``: one plan at a time, made and encoded once for all who wait for it.

A plan reads every card and, of 200 cards, takes a fifth of a second to encode. Who comes while one
is made shares the next with all who came meanwhile, for the one under way may have read already
what has changed since. So however many ask, there are never more than two to be made.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterable

from dbus_fast import Message, MessageType

from netuned.bus import records, wire
from netuned.bus.connection import Connection, Encoded, encode
from netuned.bus.interfaces import Controller, error_name
from netuned.bus.line import Line
from netuned.errors import NetunedError
from netuned.plan import Plan

PARTS = ("(ssssssb)", "(ss)", "(vv)", "(ssssssbvvs)")
"""Of what each of the four arrays of the answer is made."""
SIGNATURE = "".join(f"a{part}" for part in PARTS)
FAILED = "org.freedesktop.DBus.Error.Failed"

log = logging.getLogger(__name__)


class Planners(Line):
    """Those who called Plan and wait."""

    def __init__(self, bus: Connection, controller: Controller) -> None:
        super().__init__(bus)
        self._controller = controller
        self._made: bytes | tuple[str, str] = b""
        """The newest plan, or the name of an error and what it says."""
        self._serves = 0
        """It was begun after so many had come."""

    def take(self, call: Message) -> bool:
        """A message handler: whether this call will be answered here."""
        if call.message_type is not MessageType.METHOD_CALL or not _asks_for_plan(call):
            return False
        self.join(call)
        return True

    async def answer(self) -> Message:
        number, call = self.next()
        if number > self._serves:
            self._serves = self.came
            self._made = await self._make()
        made = self._made
        if not self:
            self._made = b""  # a megabyte that nobody waits for
        if isinstance(made, bytes):
            return Encoded(call, SIGNATURE, made)
        return Message.new_error(call, *made)

    async def _make(self) -> bytes | tuple[str, str]:
        try:
            return await asyncio.to_thread(encode_plan, await self._controller.plan())
        except NetunedError as error:
            return error_name(error), wire.sentence(error)
        except Exception:  # a bug; who waits is told, as of any method's
            log.exception("Internal error over a plan")
            return FAILED, "there was an internal error; the log has it"


def encode_plan(made: Plan) -> bytes:
    """The body of the answer, piece by piece: a call of C's for all would stop every thread."""
    body = bytearray()
    for part, elements in zip(PARTS, records.plan(made), strict=True):
        _append(body, (encode(part, element) for element in elements))
    return bytes(body)


def _append(body: bytearray, elements: Iterable[bytes]) -> None:
    """Add an array of elements that are aligned to 8 bytes, of which its length does not count."""
    body += bytes(-len(body) % 4)
    length_at = len(body)
    body += bytes(4)
    body += bytes(-len(body) % 8)
    start = len(body)
    for element in elements:
        body += bytes(-len(body) % 8) + element
    struct.pack_into("<I", body, length_at, len(body) - start)


def _asks_for_plan(call: Message) -> bool:
    named = call.member == "Plan" and call.interface in (None, wire.MANAGER)
    return named and call.path == wire.ROOT and not call.signature
