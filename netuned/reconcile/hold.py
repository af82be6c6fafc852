"""Who has a card: a task of the loop, or the thread that looks without waking the loop up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_FIRST_S, WAIT_MOST_S = 0.0005, 0.02
"""A task asks again after this, then after twice that: a thread has a card for a millisecond."""


class Hold:
    """A lock of tasks that wait for each other, and of a thread that takes what nobody has."""

    def __init__(self) -> None:
        self._tasks = asyncio.Lock()
        self._anybody = threading.Lock()

    def locked(self) -> bool:
        """Whether a task or a thread has it."""
        return self._tasks.locked() or self._anybody.locked()

    def take(self) -> bool:
        """Take it in this thread, without waiting. Says whether nobody had it."""
        return self._anybody.acquire(blocking=False)

    def give(self) -> None:
        """Give it back in the thread that took it."""
        self._anybody.release()

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Have it in this thread meanwhile, if nobody has it: that is said."""
        took = self.take()
        try:
            yield took
        finally:
            if took:
                self.give()

    async def __aenter__(self) -> None:
        await self._tasks.acquire()
        wait_s = WAIT_FIRST_S
        try:
            while not self._anybody.acquire(blocking=False):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, WAIT_MOST_S)
        except asyncio.CancelledError:
            self._tasks.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._anybody.release()
        self._tasks.release()
