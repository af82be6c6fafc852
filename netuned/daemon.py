"""The daemon: wires kernel events, the reconcile loop, D-Bus and systemd together."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from netuned import __version__, logs, statefile
from netuned.bus.service import BusService
from netuned.errors import NamespaceError, NetunedError, StateFileError
from netuned.hardware.nic import Nic
from netuned.history import REQUEST
from netuned.kernel import Kernel
from netuned.kernel.systemd import notify
from netuned.leanness import help_formatter
from netuned.plan import Change
from netuned.profiles.loader import DEFAULT_DIRECTORIES
from netuned.profiles.settings import DEFAULT_PATH
from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from netuned.reconcile.watch import Watches
from netuned.status import STARTING, Status
from netuned.watchdog import Watchdog

log = logging.getLogger(__name__)

BUS_CLOSE_S = 0.5
SWITCH_S = 0.0005
"""How long a worker keeps the interpreter from the loop, each time the loop made a system call.

Python's 5 ms add up to a quarter of a second when 200 cards come into force at once.
"""

FIRST_PASS_S = 10.0
"""READY waits this long for the first pass, so that boot is never held up by a slow driver."""
START_AGAIN_S = 1.0
NEVER = 1 << 30
YOUNG = 5000
"""So many new objects, not 700, before they are gone through: a tenth of a start with 200 cards."""


def main() -> None:
    """Entry point of ``netuned``."""
    options = _arguments()
    logs.set_up(logging.DEBUG if options.debug else logging.INFO)
    _raise_descriptor_limit()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what was imported stays
    gc.set_threshold(
        YOUNG, gc.get_threshold()[1], NEVER
    )  # the oldest are gone through when it suits
    gc.enable()
    code = asyncio.run(serve(options))
    logging.shutdown()
    # A worker may sit in a driver for seconds; the interpreter would wait for its thread.
    os._exit(code)


def _arguments() -> argparse.Namespace:
    return make_parser().parse_args()


def make_parser() -> argparse.ArgumentParser:
    """What takes the daemon's command line."""
    parser = argparse.ArgumentParser(
        prog="netuned", description=__doc__, formatter_class=help_formatter
    )
    parser.add_argument("--version", action="version", version=f"netuned {__version__}")
    parser.add_argument(
        "--profiles",
        metavar="DIR",
        action="append",
        help="where profiles are, the most important first (may be given several times)",
    )
    for option, metavar, help in (
        ("--state-directory", "DIR", "where what was there before netuned is kept"),
        ("--runtime-directory", "DIR", "where what is of this boot alone is kept"),
    ):
        parser.add_argument(option, metavar=metavar, type=Path, help=help)
    parser.add_argument(
        "--settings",
        metavar="FILE",
        default=DEFAULT_PATH,
        help="the daemon's settings; their drop-ins are in FILE.d",
    )
    parser.add_argument(
        "--resync",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="how often to look for what no event tells of",
    )
    parser.add_argument("--debug", action="store_true", help="log more")
    return parser


async def serve(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    options = Options(
        profile_directories=tuple(arguments.profiles or DEFAULT_DIRECTORIES),
        state_directory=arguments.state_directory
        or Path(os.environ.get("STATE_DIRECTORY", "/var/lib/netuned")),
        runtime_directory=arguments.runtime_directory
        or Path(os.environ.get("RUNTIME_DIRECTORY", "/run/netuned")),
        settings_path=arguments.settings,
        resync_s=arguments.resync,
    )
    with contextlib.suppress(OSError):
        options.state_directory.mkdir(parents=True, exist_ok=True)
    try:
        with statefile.held(options.state_directory, alone=False):
            return await Daemon(options).serve()
    except StateFileError as error:
        log.error("%s, not starting", error)
        return 1


class Daemon:
    """The listener of the loop: what it tells goes to D-Bus, systemd and the watches."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._reconciler = Reconciler(Kernel(), options, self)
        self._bus = BusService(Requests(self._reconciler))
        self._watches = Watches(self._reconciler)
        self._watchdog = Watchdog(self._reconciler.work, options.runtime_directory)
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._status_line = ""
        self._status = 0

    async def serve(self) -> int:
        """Run until a signal ends it, or where it must not begin. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._watches.start()
        first = asyncio.create_task(self._first_pass())
        tasks = [
            first,
            asyncio.create_task(self._resync_after(first)),
            asyncio.create_task(self._bus.run()),
            asyncio.create_task(self._reload_on_request()),
            asyncio.create_task(self._watchdog.run()),
        ]
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({first, stop}, timeout=FIRST_PASS_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.is_set():
            notify(READY=1)
        await self._stop.wait()
        notify(STOPPING=1, STATUS="Stopping; settings stay as they are")
        for task in tasks:
            task.cancel()
        self._watches.close()
        await self._reconciler.close()
        await asyncio.wait(tasks, timeout=BUS_CLOSE_S)
        return self._status

    async def _first_pass(self) -> None:
        """Start, and where the host cannot be read, until it can: no event would tell."""
        while True:
            try:
                await self._reconciler.start()
                return
            except NamespaceError:  # logged where it was found
                self._status = os.EX_CONFIG
                self._stop.set()
                return
            except NetunedError as error:
                log.error("%s, trying again", error)
            except Exception:  # the daemon's edge: what runs is better than what does not
                log.exception("Internal error at the start, trying again")
            gc.collect()  # once it has started the lookout does that
            await asyncio.sleep(START_AGAIN_S)

    async def _resync_after(self, first: asyncio.Task[None]) -> None:
        await first
        gc.freeze()  # what is there now stays
        await self._reconciler.run()

    async def _reload_on_request(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            about = {"kind": REQUEST, "ifname": "", "cause": "reload"}
            log.info("Asked for by a signal (systemctl reload): reload", extra=about)
            notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
            try:
                await self._reconciler.reload()
            except NetunedError as error:
                log.error("%s", error)
            except Exception:  # as above: systemd waits for the READY
                log.exception("Internal error at a reload")
            notify(READY=1)

    # The listener of the loop

    def publish(self, status: Status) -> None:
        self._bus.publish(status)
        line = _status_line(status)
        if line != self._status_line:
            self._status_line = line
            notify(STATUS=line)

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str) -> None:
        self._bus.drift(ifindex, tunable, key, wanted, found)

    def repaired(self, ifindex: int, tunable: str, key: str, value: str, latency_us: int) -> None:
        self._bus.repaired(ifindex, tunable, key, value, latency_us)

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str]
    ) -> None:
        self._bus.changed(ifindex, cause, changes, writers)

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        self._watches.arm(nic, tunables)


def _status_line(status: Status) -> str:
    """What ``systemctl status netuned`` shows."""
    managed = [nic for nic in status.nics if nic.profile]
    if status.manager.state == STARTING:
        return "Starting"
    if not managed:
        return "No profile matches a card"
    states: dict[str, int] = {}
    for nic in managed:
        states[nic.state] = states.get(nic.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _raise_descriptor_limit() -> None:
    """Descriptors are kept for every queue of every card; the unit has set the limit already."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
