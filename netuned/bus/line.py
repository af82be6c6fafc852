"""Those who wait for a large answer: one after the other, root's first.

The next waits until the last one's answer is in the socket, so that one answer is held and not
hundreds, and what a bus takes long for is no more than one before root's.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque

from dbus_fast import Message

from netuned.bus.callers import is_roots
from netuned.bus.connection import Connection


class Line(ABC):
    """Calls that wait, each with its number in the order in which they came."""

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self.came = 0
        """How many have come so far."""
        self._waiting: deque[tuple[int, Message]] = deque()
        self._roots: deque[tuple[int, Message]] = deque()
        self._is_roots = False
        """Whether the last to have its turn was root."""
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._roots)

    def join(self, call: Message) -> None:
        """Have a call wait for its turn."""
        self.came += 1
        (self._roots if is_roots() else self._waiting).append((self.came, call))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def close(self) -> None:
        """The connection is gone, and who waits with it."""
        self._waiting.clear()
        self._roots.clear()
        if self._task is not None:
            self._task.cancel()

    def next(self) -> tuple[int, Message]:
        """Take out whose turn it is."""
        self._is_roots = bool(self._roots)
        return (self._roots or self._waiting).popleft()

    @abstractmethod
    async def answer(self) -> Message:
        """Take out whose turn it is, and make the answer; it is sent at once."""

    async def _serve(self) -> None:
        try:
            while self:
                reply = await self.answer()
                began = time.monotonic()
                await asyncio.wait({self._bus.send(reply)})
                await asyncio.sleep(0)
                if not self._is_roots:
                    await self._bus.give_way(began, lambda: self._roots)
        finally:
            self._task = None
