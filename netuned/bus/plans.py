"""Answers to ``Plan``: one plan at a time, made and encoded once for all who wait for it.

A plan reads every card and, of 200 cards, takes a fifth of a second to encode. Who comes while one
is made shares the next with all who came meanwhile, for the one under way may have read already
what has changed since. So however many ask, there are never more than two to be made.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Iterable

from dbus_fast import Message, MessageType

from netuned.bus import records, wire
from netuned.bus.callers import is_roots
from netuned.bus.connection import Connection, Encoded, encode
from netuned.bus.interfaces import Controller, error_name
from netuned.errors import NetunedError
from netuned.plan import Plan

PARTS = ("(ssssssb)", "(ss)", "(vv)", "(ssssssbvvs)")
"""Of what each of the four arrays of the answer is made."""
SIGNATURE = "".join(f"a{part}" for part in PARTS)
FAILED = "org.freedesktop.DBus.Error.Failed"

log = logging.getLogger(__name__)


class Planners:
    """Those who called Plan and wait."""

    def __init__(self, bus: Connection, controller: Controller) -> None:
        self._bus = bus
        self._controller = controller
        self._waiting: list[Message] = []
        self._roots: list[Message] = []
        self._task: asyncio.Task[None] | None = None

    def take(self, call: Message) -> bool:
        """A message handler: whether this call will be answered here."""
        if call.message_type is not MessageType.METHOD_CALL or not _asks_for_plan(call):
            return False
        (self._roots if is_roots() else self._waiting).append(call)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer())
        return True

    def close(self) -> None:
        """The connection is gone, and who waits with it."""
        self._waiting.clear()
        self._roots.clear()
        if self._task is not None:
            self._task.cancel()

    async def _answer(self) -> None:
        try:
            while asked := [*self._roots, *self._waiting]:
                count = len(self._roots)
                self._waiting, self._roots = [], []
                try:
                    encoded = await asyncio.to_thread(encode_plan, await self._controller.plan())
                except NetunedError as error:
                    self._fail(asked, error_name(error), wire.sentence(error))
                    continue
                except Exception:  # a bug; who waits is told, as of any method's
                    log.exception("Internal error over a plan")
                    self._fail(asked, FAILED, "there was an internal error; the log has it")
                    continue
                for number, call in enumerate(asked):
                    if number >= count and self._roots:
                        self._waiting[:0] = asked[number:]  # they get root's plan
                        break
                    began = time.monotonic()
                    await asyncio.wait({self._bus.send(Encoded(call, SIGNATURE, encoded))})
                    if number >= count:
                        await self._bus.give_way(began, lambda: self._roots)
        finally:
            self._task = None

    def _fail(self, asked: Iterable[Message], error: str, why: str) -> None:
        for call in asked:
            self._bus.send(Message.new_error(call, error, why))


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
