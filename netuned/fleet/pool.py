"""A pool of processes, each with one host at a time; what comes of them streams, in their order."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from netuned.errors import NetunedError

A = TypeVar("A")
B = TypeVar("B")

AT_ONCE = 8
"""Hosts that a process is given together: asking for them one by one is 1 % of the time."""


def each(work: Callable[[A], B], items: Sequence[A], jobs: int) -> Iterator[B]:
    """What ``work`` makes of each, in their order; with one job, here.

    Raises: NetunedError where one of the processes was ended.
    """
    jobs = min(jobs, -(-len(items) // AT_ONCE))
    if jobs < 2:
        yield from map(work, items)
        return
    # Forked, a process has its imports at once; there is no other thread here that it could harm
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin)
    try:
        yield from pool.map(work, items, chunksize=AT_ONCE)
    except BrokenProcessPool:
        raise NetunedError(
            "a process of the pool was ended, as for want of memory: fewer --jobs take less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In each process: Ctrl-C is for the first, and with it all of them end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(20_000)  # a host is 30,000 things, and nearly none of them in a cycle
    gc.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process that is killed cannot tell the others, which would wait for more for ever."""
    if parent := multiprocessing.parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)
