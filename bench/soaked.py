"""The daemon with a heartbeat in its loop, and a socket that makes it resync and tells figures.

The parent is ``bench.soak``. Production code is as it is: the heartbeat is one more task, and the
handles of asyncio's loop are timed from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.events import Handle
from collections.abc import Callable
from typing import Any

from netuned import daemon

PERIOD_S = 0.005


class Meter:
    """The longest waits of a loop since they were last asked for; milliseconds."""

    def __init__(self) -> None:
        self.late_ms = 0.0
        self.blocked_ms = 0.0
        self.callback_ms = 0.0
        self.callback = ""

    async def beat(self) -> None:
        """Be woken every few milliseconds and note by how much it was later than that.

        ``blocked_ms`` leaves out how long the thread was ready and others had the processors.
        """
        while True:
            due, waited_ms = time.monotonic() + PERIOD_S, _waited_ms()
            await asyncio.sleep(PERIOD_S)
            late_ms = 1000 * (time.monotonic() - due)
            self.late_ms = max(self.late_ms, late_ms)
            self.blocked_ms = max(self.blocked_ms, late_ms - _waited_ms() + waited_ms)

    def watch_callbacks(self) -> None:
        """Time each callback of the loop, by the processor time of the loop's thread."""
        run: Callable[[Handle], None] = Handle._run

        def timed(handle: Handle) -> None:
            start = time.thread_time()
            run(handle)
            used_ms = 1000 * (time.thread_time() - start)
            if used_ms > self.callback_ms:
                self.callback_ms, self.callback = used_ms, _name(handle)

        Handle._run = timed  # type: ignore[method-assign,assignment]  # there is no public hook

    def take(self) -> dict[str, Any]:
        """The figures; from now on they are counted anew."""
        taken = dict(vars(self))
        self.late_ms = self.blocked_ms = self.callback_ms = 0.0
        self.callback = ""
        return taken


def _waited_ms() -> float:
    """How long this thread has waited for a processor.

    Source: Documentation/scheduler/sched-stats.rst.
    """
    with open("/proc/thread-self/schedstat", "rb") as file:
        return int(file.read().split()[1]) / 1e6


def _name(handle: Handle) -> str:
    """Whose callback it is; its whole representation would hold all that a future brings."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        callback = task.get_coro()
    return str(getattr(callback, "__qualname__", type(callback).__name__))


class SoakedDaemon(daemon.Daemon):
    """The daemon, and what is measured of it."""

    async def serve(self) -> int:
        self._meter = Meter()
        self._meter.watch_callbacks()
        await asyncio.start_unix_server(self._answer, os.environ["NETUNED_SOAK_SOCKET"])
        beat = asyncio.create_task(self._meter.beat())
        try:
            return await super().serve()
        finally:
            beat.cancel()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """``N`` on a line: look at all cards N times as the timer does; then tell the figures."""
        while line := await reader.readline():
            for _ in range(int(line)):
                await self._reconciler.resync()
                await self._reconciler.look_at_isolation()
            writer.write(json.dumps(self._meter.take()).encode() + b"\n")
            await writer.drain()


async def _bare() -> None:
    """A loop with nothing but the heartbeat: what this machine does to anybody's."""
    meter = Meter()
    beat = asyncio.create_task(meter.beat())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    beat.cancel()
    print(meter.late_ms, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--bare"]:
        asyncio.run(_bare())
    else:
        daemon.Daemon = SoakedDaemon  # type: ignore[misc]
        daemon.main()
