"""The lookout wakes up the loop only where there is something to do, and takes no card in use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from netuned.errors import KernelError
from netuned.reconcile import lookout
from netuned.reconcile.hold import Hold
from netuned.reconcile.lookout import Lookout
from netuned.reconcile.work import Work


def test_a_task_waits_for_the_thread_and_the_thread_takes_nothing_from_a_task() -> None:
    async def check() -> None:
        hold = Hold()
        assert hold.take()
        assert hold.locked()
        assert not hold.take()

        async def task() -> None:
            async with hold:
                assert not hold.take()

        waiting = asyncio.create_task(task())
        await asyncio.sleep(0.005)
        assert not waiting.done()
        hold.give()
        await waiting
        assert not hold.locked()

    asyncio.run(check())


def test_a_task_that_is_cancelled_while_it_waits_leaves_no_lock() -> None:
    async def check() -> None:
        hold = Hold()
        assert hold.take()
        waiting = asyncio.create_task(hold.__aenter__())
        await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait({waiting})
        hold.give()
        async with hold:
            pass
        assert not hold.locked()

    asyncio.run(check())


def test_a_thread_says_whether_it_has_what_it_takes_for_a_while() -> None:
    hold = Hold()
    with hold.taken() as free:
        assert free
        with hold.taken() as again:
            assert not again
        assert hold.locked()
    assert not hold.locked()


def watch(
    resync: Callable[[], bool], poll: Callable[[frozenset[str]], bool], resync_s: float = 0.001
) -> Lookout:
    return Lookout(Work(), resync_s, resync, poll, lambda: True)


async def until(seen: threading.Event) -> None:
    assert await asyncio.to_thread(seen.wait, 10)


def test_the_loop_hears_only_of_a_look_that_finds_something() -> None:
    finds, looked = threading.Event(), threading.Event()

    def resync() -> bool:
        looked.set()
        return finds.is_set()

    async def check() -> None:
        look = watch(resync, lambda polled: False)
        look.start()
        await until(looked)
        looked.clear()
        await until(looked)
        assert not look.resync_due.is_set()
        finds.set()
        async with asyncio.timeout(10):
            await look.resync_due.wait()
        assert not look.poll_due.is_set()
        look.close()

    asyncio.run(check())


@pytest.mark.parametrize("error", [KernelError("read", "/sys", 5), ValueError("a bug")])
def test_the_loop_looks_where_the_lookout_failed(error: Exception) -> None:
    def resync() -> bool:
        raise error

    async def check() -> None:
        look = watch(resync, lambda polled: False)
        look.start()
        async with asyncio.timeout(10):
            await look.resync_due.wait()
        look.close()

    asyncio.run(check())


def test_what_is_polled_is_what_is_followed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "POLL_S", 0.001)
    asked: list[frozenset[str]] = []

    def poll(polled: frozenset[str]) -> bool:
        asked.append(polled)
        return True

    async def check() -> None:
        look = watch(lambda: False, poll, resync_s=60)
        look.start()
        await asyncio.sleep(0.02)
        assert not asked
        assert not look.resync_due.is_set()
        look.follow(frozenset({"rss"}))
        async with asyncio.timeout(10):
            await look.poll_due.wait()
        look.close()

    asyncio.run(check())
    assert set(asked) == {frozenset({"rss"})}
