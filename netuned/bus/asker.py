"""Who asks for a change: the log has it, before what is changed.

The bus says the user and the process once, when a name on it first calls, so nothing is asked for
this. What the process was started with is read in a thread that is left behind where it does not
come, and then its name alone is told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from netuned.bus.callers import CREDENTIALS
from netuned.bus.names import NOBODY
from netuned.history import REQUEST, Caller
from netuned.kernel.writers import glimpse, words_of

WORDS_S = 0.5
"""How long what a process was started with is waited for."""

_reading = threading.BoundedSemaphore(4)
"""So many threads may wait for it; then nothing more is read."""

log = logging.getLogger(__name__)

T = TypeVar("T")


async def begin(
    work: Callable[[], Coroutine[Any, Any, T]], what: str, *ifnames: str, tunable: str = ""
) -> T:
    """Do what the caller of the method being served asks for, of these cards or of all.

    The log has it before what is changed. It has nothing of what is refused at once, without
    waiting for anything: that changes nothing. Raises: whatever the work does.
    """
    who = CREDENTIALS.get(NOBODY)
    command = await _command(who.pid) if who.pid else ""
    caller = Caller(who.uid, who.pid, command)
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    if not (task.done() and task.exception()):
        about: dict[str, object] = {"kind": REQUEST, "ifname": ifnames or "", "cause": what}
        about |= {"tunable": tunable} if tunable else {}
        about |= {"caller_uid": who.uid, "caller_pid": who.pid, "object_pid": who.pid}
        about |= {"caller_command": command} if command else {}
        text = " ".join(filter(None, (what, *ifnames[:1], tunable)))
        log.info("Asked for by %s: %s", caller, text, extra=about)
    return await task


async def _command(pid: int) -> str:
    """What a process was started with, or its name; empty if it has ended."""
    seen = glimpse(pid)
    if seen is None or not _reading.acquire(blocking=False):
        return seen.command if seen else ""
    loop = asyncio.get_running_loop()
    words: asyncio.Future[str] = loop.create_future()

    def tell(found: str) -> None:
        if not words.done():
            words.set_result(found)

    def read() -> None:
        try:
            found = words_of(pid)
        finally:
            _reading.release()
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=read, name="asker", daemon=True).start()
    with suppress(TimeoutError):
        return await asyncio.wait_for(words, WORDS_S) or seen.command
    return seen.command
