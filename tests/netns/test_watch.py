"""Watches made again while others write: whatever is written is seen, without the resync."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netuned.hardware.nic import Nic
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
