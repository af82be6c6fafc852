"""Tells systemd that the daemon is alive, while its loop turns and no worker hangs.

A worker that never comes back (a lock that is never released, a file that never answers) takes its
card with it, and four of them take all cards, while the loop turns on. A driver, though, may take
tens of seconds for one request, and a look at a card makes several of them: only what is far beyond
that is a hang. And where a driver hangs for good, to be started again does not help: so each time
the daemon waits twice as long before it gives up again, until the next boot.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
from pathlib import Path

from netuned.kernel.systemd import notify, watchdog_interval_s
from netuned.reconcile.work import Work

HUNG_S = 600.0
"""One piece of work may take so long. The slowest known: to set six of a card's settings, half a
minute for each with the link down and up again; to learn 5,000 links, a minute and a half."""
DOUBLED_MOST = 7
"""Times that it is doubled: at most once in 21 hours."""
NAME = "hung"
"""In the runtime directory: how often the daemon was given up since the boot."""

log = logging.getLogger(__name__)


class Watchdog:
    """Pings while all is well; where it is not, systemd ends the daemon and starts another."""

    def __init__(self, work: Work, runtime_directory: Path) -> None:
        self._work = work
        self._path = runtime_directory / NAME
        self._given_up = 0
        with contextlib.suppress(OSError, ValueError):
            self._given_up = max(0, min(int(self._path.read_text()), DOUBLED_MOST))
        self._hangs = False

    @property
    def patience_s(self) -> float:
        """How long one piece of work may take."""
        return HUNG_S * 2.0**self._given_up

    async def run(self) -> None:
        """Ping until cancelled, as often as the unit asks for; not at all if it does not."""
        interval_s = watchdog_interval_s()
        while interval_s:
            self.beat()
            await asyncio.sleep(interval_s)

    def beat(self) -> None:
        """Ping, unless a worker hangs. One that comes back in time after all changes nothing."""
        name, spent_s = self._work.longest()
        hangs = spent_s > self.patience_s
        if hangs and not self._hangs:
            log.error("%s has not come back for %.0f s, giving up: systemd starts netuned again",
                      name, spent_s)  # fmt: skip
            faulthandler.dump_traceback()
            with contextlib.suppress(OSError):
                self._path.write_text(f"{min(self._given_up + 1, DOUBLED_MOST)}\n")
        self._hangs = hangs
        if not hangs:
            notify(WATCHDOG=1)
