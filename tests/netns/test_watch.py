"""Watches made again while others write: whatever is written is seen, without the resync."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netuned.hardware.nic import Nic
from netuned.kernel.inotify import Inotify
from netuned.reconcile import watch
from tests.netns.conftest import Namespace
from tests.netns.test_stacking import Daemon

pytestmark = pytest.mark.netns

QUEUES = 16
PROFILE = "match: [{kind: veth, name: v0}]\nrps: {cpus: 0}\nxps: {cpus: 0}\n"


def queue(number: int) -> Path:
    return Path(f"/sys/class/net/v0/queues/rx-{number}/rps_cpus")


def mask(number: int) -> int:
    return int(queue(number).read_text(), 16)


class Gapped(Daemon):
    """Somebody writes where nothing is watched, just before the watches are in place."""

    written: Callable[[], object] | None = None

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        if self.written is not None and tunables:
            super().arm(nic, frozenset())
            self.written()
            self.written = None
        super().arm(nic, tunables)


def test_what_was_written_before_watches_are_in_place_is_seen(
    netns: Namespace, tmp_path: Path
) -> None:
    index = netns.veth(queues=2)
    daemon = Gapped(tmp_path)
    (daemon.profiles / "edge.yaml").write_text(PROFILE)

    async def scenario(_: Daemon) -> None:
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        await daemon.reconciler.until_quiet()
        slot = daemon.reconciler.cards.slots[index]
        slot._watched = None  # a look at one tunable alone finds that all watches are due
        daemon.written = lambda: queue(1).write_text("2")
        daemon.reconciler.touch(index, "xps")
        await daemon.wait(lambda: daemon.written is None)
        await daemon.wait(lambda: mask(1) == 1)

    asyncio.run(daemon.run(scenario))


def test_no_write_waits_for_the_resync_while_watches_are_made_again(
    netns: Namespace, tmp_path: Path
) -> None:
    """Every change of the card has its facts read and all its watches made again."""
    netns.veth(queues=QUEUES)
    daemon = Daemon(tmp_path)
    (daemon.profiles / "edge.yaml").write_text(PROFILE)
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            netns.sh(f"ip link set v0 txqueuelen {500 + number % 2}")

    def write() -> float:
        """Three times each queue; the longest that one stayed so, in seconds."""
        longest = 0.0
        for number in [*range(QUEUES)] * 3:
            queue(number).write_text("2")
            start = time.monotonic()
            while mask(number) != 1:
                assert time.monotonic() < start + 5, f"rx-{number} waits for the resync"
                time.sleep(0.0005)
            longest = max(longest, time.monotonic() - start)
        return longest

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        changing = asyncio.create_task(asyncio.to_thread(change))
        try:
            assert await asyncio.to_thread(write) < 2
        finally:
            done.set()
            await changing

    asyncio.run(daemon.run(scenario))


def test_where_watches_are_used_up_the_resync_sees_and_events_come_back(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netns.veth(queues=2)
    daemon = Daemon(tmp_path)
    profile = daemon.profiles / "edge.yaml"
    profile.write_text(PROFILE)
    real, full = Inotify.add, threading.Event()

    def add(self: Inotify, path: str, mask: int) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(self, path, mask)

    monkeypatch.setattr(Inotify, "add", add)
    monkeypatch.setattr(watch, "AGAIN_S", 0.05)

    async def scenario(daemon: Daemon) -> None:
        loop = daemon.reconciler
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        await daemon.wait(lambda: len(loop.status().manager.problems) == 1)
        (problem,) = loop.status().manager.problems
        assert problem.startswith("no watches of inotify are left: ")
        await loop.until_quiet()
        queue(0).write_text("2")
        await loop.resync()
        await daemon.wait(lambda: mask(0) == 1)
        profile.write_text(PROFILE.replace("rps: {cpus: 0}", "rps: {cpus: 1}"))
        await loop.look_at_profiles()
        await daemon.wait(lambda: mask(0) == 2)
        await loop.until_quiet()
        full.clear()
        await daemon.wait(lambda: not loop.status().manager.problems)
        await loop.until_quiet()
        queue(0).write_text("1")
        await daemon.wait(lambda: mask(0) == 2)
        profile.write_text(PROFILE)
        await daemon.wait(lambda: mask(0) == 1)

    full.set()
    asyncio.run(daemon.run(scenario))


def test_a_card_is_looked_at_again_once_all_of_it_is_watched_and_not_before(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is no room each look would read the whole card, for nothing new."""
    index = netns.veth(queues=2)
    daemon = Daemon(tmp_path)
    (daemon.profiles / "edge.yaml").write_text(PROFILE)
    real, room = Inotify.add, [0]
    refused: list[str] = []
    touched: list[int] = []

    def add(self: Inotify, path: str, mask: int) -> int:
        if path.startswith("/proc/self/fd/"):
            if not room[0]:
                refused.append(path)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            room[0] -= 1
        return real(self, path, mask)

    async def scenario(daemon: Daemon) -> None:
        loop = daemon.reconciler
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        await daemon.wait(lambda: bool(loop.status().manager.problems))
        await loop.until_quiet()
        monkeypatch.setattr(loop, "touch", lambda ifindex, tunable=None: touched.append(ifindex))
        for some in (0, 1):
            refused.clear()
            room[0] = some
            await daemon.wait(lambda: len(refused) > 12)  # each time, of four directories
            assert not touched
        room[0] = 10_000
        await daemon.wait(lambda: bool(touched) and not loop.status().manager.problems)
        assert set(touched) == {index}

    monkeypatch.setattr(Inotify, "add", add)
    monkeypatch.setattr(watch, "AGAIN_S", 0.01)
    asyncio.run(daemon.run(scenario))


def test_where_there_is_no_room_only_what_is_unwatched_is_tried(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To watch a card of 64 queues anew takes a millisecond, and there is no room each time."""
    netns.veth(queues=2)
    daemon = Daemon(tmp_path)
    (daemon.profiles / "edge.yaml").write_text(PROFILE)
    real, room = Inotify.add, [1]
    refused: list[str] = []
    added: list[str] = []

    def add(self: Inotify, path: str, mask: int) -> int:
        directory = os.path.realpath(path)
        if directory.startswith("/sys/"):
            if not room[0]:
                refused.append(directory)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            room[0] -= 1
            added.append(directory)
        return real(self, path, mask)

    async def scenario(daemon: Daemon) -> None:
        loop = daemon.reconciler
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        await daemon.wait(lambda: len(refused) > 12)
        assert len(set(refused)) == len(added) == 1, "the first of those that are left"
        room[0] = 10_000
        await daemon.wait(lambda: not loop.status().manager.problems)
        assert len(set(added)) == 4

    monkeypatch.setattr(Inotify, "add", add)
    monkeypatch.setattr(watch, "AGAIN_S", 0.01)
    asyncio.run(daemon.run(scenario))


def test_a_card_that_left_before_its_turn_is_not_watched_again(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = netns.veth(queues=2)
    daemon = Daemon(tmp_path)
    (daemon.profiles / "edge.yaml").write_text(PROFILE)
    free = threading.Event()
    touched: list[int] = []

    def hold() -> None:
        free.wait(5)

    async def scenario(daemon: Daemon) -> None:
        loop, watches = daemon.reconciler, daemon._watches
        await daemon.wait(lambda: daemon.card("v0").state == "in-sync")
        await loop.until_quiet()
        nic, _ = watches._wanted[index]
        monkeypatch.setattr(loop, "touch", lambda ifindex, tunable=None: touched.append(ifindex))
        loop.work.in_line(hold)
        loop.work.in_line(lambda: daemon.arm(nic, frozenset()))
        again = asyncio.create_task(watches._arm_again({index}))
        await asyncio.sleep(0)  # its turn is behind that of the card's leaving
        free.set()
        await again
        assert (watches._wanted, watches._files_of, watches._armed) == ({}, {}, {})
        assert not touched

    asyncio.run(daemon.run(scenario))
