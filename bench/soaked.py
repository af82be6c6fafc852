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
        with open("/proc/thread-self/schedstat", "rb") as schedstat:
            waited_ms = _waited_ms(schedstat.fileno())
            while True:
                due, before_ms = time.monotonic() + PERIOD_S, waited_ms
                await asyncio.sleep(PERIOD_S)
                late_ms = 1000 * (time.monotonic() - due)
                waited_ms = _waited_ms(schedstat.fileno())
                self.late_ms = max(self.late_ms, late_ms)
                self.blocked_ms = max(self.blocked_ms, late_ms - waited_ms + before_ms)

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


def _waited_ms(schedstat: int) -> float:
    """How long a thread has waited for a processor, of its file's descriptor.

    One system call: it is made at each beat, and after each the interpreter is to be waited for.
    Source: Documentation/scheduler/sched-stats.rst.
    """
    return int(os.pread(schedstat, 64, 0).split()[1]) / 1e6


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
        """``N MS`` on a line: look at all cards N times as the timer does, then tell the figures.

        After that the loop is held up for so many milliseconds.
        """
        while line := await reader.readline():
            resyncs, block_ms = map(int, line.split())
            for _ in range(resyncs):
                found = await self._reconciler.work.in_worker(self._reconciler.resync_finds)
                if found:  # as the lookout has it
                    await self._reconciler.resync()
                    await self._reconciler.look_at_isolation()
            writer.write(json.dumps(self._meter.take()).encode() + b"\n")
            if block_ms:
                asyncio.get_running_loop().call_soon(time.sleep, block_ms / 1000)
            await writer.drain()


async def _bare() -> None:
    """A loop with nothing but the heartbeat: what this machine does to anybody's.

    A line tells the figures, counted anew from then on.
    """
    meter = Meter()
    beat = asyncio.create_task(meter.beat())
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        print(json.dumps(meter.take()), flush=True)
    beat.cancel()


if __name__ == "__main__":
    if sys.argv[1:] == ["--bare"]:
        asyncio.run(_bare())
    else:
        daemon.Daemon = SoakedDaemon  # type: ignore[misc]
        daemon.main()
