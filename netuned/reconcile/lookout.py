"""Looks that no event asks for, by a thread with a clock of its own.

It wakes up the loop only where there is something to do, which the loop then sees for itself: so
at rest a resync is one wakeup, where to hand it to a worker and back would be eight.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

from netuned.errors import NetunedError
from netuned.reconcile.work import Work

POLL_S = 3.0
"""What raises no event is read so often: 0.1 ms for the RSS table of a card."""

COLLECT_S = 45.0
"""Full garbage collection, which stops every thread for 20 ms with 200 cards: at every second
resync, or where these are rare after twice this."""

log = logging.getLogger(__name__)


class Lookout:
    """Says on the loop when a resync, or a poll, has something to do."""

    def __init__(
        self,
        work: Work,
        resync_s: float,
        resync: Callable[[], bool],
        poll: Callable[[frozenset[str]], bool],
        is_quiet: Callable[[], bool],
    ) -> None:
        """``resync`` and ``poll`` run in the thread and say whether the loop has to look itself.

        ``poll`` is told the tunables that are polled.
        """
        self.resync_due = asyncio.Event()
        self.poll_due = asyncio.Event()
        self.polled: frozenset[str] = frozenset()
        self._work = work
        self._resync_s = resync_s
        self._resync = resync
        self._poll = poll
        self._is_quiet = is_quiet
        self._told = threading.Event()
        self._closed = False
        self._collected = time.monotonic()

    def start(self) -> None:
        """Begin, for the running loop."""
        run = partial(self._run, asyncio.get_running_loop())
        threading.Thread(target=run, name="lookout", daemon=True).start()

    def close(self) -> None:
        """Begin no other look."""
        self._closed = True
        self._told.set()

    def follow(self, polled: frozenset[str]) -> None:
        """Poll these tunables from now on; none: no timer is set for it."""
        if polled != self.polled:
            self.polled = polled
            self._told.set()

    # In the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._finds(self._resync)  # what it opens is open from now on; nothing is new yet
        resync_at, poll_at = self._next_resync(), inf
        while not self._closed:
            until = min(resync_at, poll_at, self._collected + 2 * COLLECT_S)
            if self._told.wait(max(until - time.monotonic(), 0)):
                self._told.clear()
                poll_at = time.monotonic() if self.polled else inf
                continue
            now = time.monotonic()
            with suppress(RuntimeError):  # the loop has ended
                if now >= poll_at:
                    poll_at = now + POLL_S
                    if self._finds(partial(self._poll, self.polled)):
                        loop.call_soon_threadsafe(self.poll_due.set)
                if now >= resync_at:
                    resync_at = self._next_resync()
                    if self._finds(self._resync):
                        loop.call_soon_threadsafe(self.resync_due.set)
            self._collect()

    def _next_resync(self) -> float:
        return time.monotonic() + self._resync_s * random.uniform(0.9, 1.1)

    def _finds(self, look: Callable[[], bool]) -> bool:
        """What the look says; after an error the loop looks, and tells what is wrong."""
        try:
            return self._work.do(look)
        except NetunedError:
            return True
        except Exception:  # the thread's edge: a bug ends no other look
            log.exception("Internal error at the lookout, leaving it to the loop")
            return True

    def _collect(self) -> None:
        since_s = time.monotonic() - self._collected
        if since_s >= COLLECT_S and (self._is_quiet() or since_s >= 2 * COLLECT_S):
            gc.collect()
            self._collected = time.monotonic()
