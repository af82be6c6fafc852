"""What runs beside the loop: worker threads for all that touches the kernel, and tasks."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from netuned.errors import NetunedError

log = logging.getLogger(__name__)

WORKERS = 4

T = TypeVar("T")


class Work:
    """Threads and tasks of one loop, and their end."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="card")
        self._line = ThreadPoolExecutor(1, thread_name_prefix="line")
        self._tasks: set[asyncio.Task[object]] = set()
        self._begun: dict[int, tuple[float, str]] = {}
        """By thread: since when it is at its present work, and at what."""

    async def in_worker(self, work: Callable[[], T]) -> T:
        """Run in a thread, for a driver may take seconds."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, self.do, work)

    async def attempt(self, work: Callable[[], object]) -> None:
        """As ``in_worker``, for what others go on without: that it failed is logged."""
        try:
            await self.in_worker(work)
        except NetunedError as error:
            log.error("%s, going on", error)

    def in_line(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Run in a thread, one after the other in this order: short work that belongs together."""
        return asyncio.get_running_loop().run_in_executor(self._line, self.do, work)

    def do(self, work: Callable[[], T]) -> T:
        """Do it in this thread, a worker; the watchdog sees how long it takes."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic(), _name(work)
        try:
            return work()
        finally:
            del self._begun[thread]

    def longest(self) -> tuple[str, float]:
        """What a thread is at for longest, and for how many seconds; not what waits for one."""
        begun = min(tuple(self._begun.values()), default=None)
        return ("", 0.0) if begun is None else (begun[1], time.monotonic() - begun[0])

    def spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Run beside the rest; an error that nobody awaits is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def close(self) -> None:
        """Cancel tasks; threads end when their present work does."""
        for task in tuple(self._tasks):
            task.cancel()
        for threads in (self.threads, self._line):
            threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error, exc_info=None if isinstance(error, NetunedError) else error)


def _name(work: object) -> str:
    """Which function it is."""
    while isinstance(work, partial):
        work = work.func
    return str(getattr(work, "__qualname__", type(work).__name__))
