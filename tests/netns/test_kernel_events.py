"""Monitors and FileWatch against this kernel: each change is told, bursts do not hold the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from netuned.errors import KernelError
from netuned.kernel.events import (
    FileWatch,
    monitor_ethtool,
    monitor_rtnl,
    monitor_uevents,
)
from netuned.kernel.rtnl import ROOT, Rtnl
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

RX = "/sys/class/net/v0/queues/rx-0"


def descriptors() -> set[str]:
    """This process's open files, without those that wait for the collector of garbage."""
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


class Heard:
    """Collects what monitors tell, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def __call__(self, *event: object) -> None:
        self.events.append(event)

    async def until(self, *event: object, every_s: float = 0.002) -> None:
        """Wait for this event; fails after ten seconds."""
        deadline = time.monotonic() + 10
        while event not in self.events:
            assert time.monotonic() < deadline, f"{event} not among {self.events}"
            await asyncio.sleep(every_s)

    async def quiet(self) -> None:
        """Let everything under way arrive, then forget it."""
        await asyncio.sleep(0.05)
        self.events.clear()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(main())


async def sh(command: str) -> None:
    process = await asyncio.create_subprocess_shell(command, stderr=subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, f"{command}: {said.decode()}"


def test_links_come_change_and_go(netns: Namespace) -> None:
    async def test() -> None:
        heard, lost = Heard(), Heard()
        monitor = monitor_rtnl(heard, lambda *qdisc: None, lost)
        index = netns.veth()
        await heard.until(index, "new")
        for change in ("mtu 1400", "down", "name w0", "txqueuelen 77"):
            await heard.quiet()
            await sh(f"ip link set v0 {change} || ip link set w0 {change}")
            await heard.until(index, "new")
        await sh("ip link add br0 type bridge && ip link set w0 master br0")
        await heard.quiet()
        await sh("ip link set w0 nomaster")
        await heard.until(index, "new")
        assert (index, "del") not in heard.events, "it left the bridge, not the machine"
        await sh("ip link del w0")
        await heard.until(index, "del")
        monitor.close()
        assert lost.events == []

    run(test)


def test_qdiscs_attached_changed_and_detached(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        index = netns.veth()
        monitor = monitor_rtnl(lambda *link: None, lambda index, _: heard(index), lambda: None)
        for command in (
            "replace dev v0 root handle 1: mq",
            "replace dev v0 parent 1:1 pfifo",
            "change dev v0 parent 1:1 pfifo limit 7",
            "del dev v0 root",
        ):
            await heard.quiet()
            await sh(f"tc qdisc {command}")
            await heard.until(index)
        await heard.quiet()
        Rtnl().replace_qdisc(index, ROOT, 0, "pfifo", {})
        await heard.until(index)
        monitor.close()

    run(test)


def test_ethtool_changes(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        index = netns.veth()
        monitor = monitor_ethtool(heard, lambda: None)
        await sh("ethtool -L v0 rx 2 tx 2")
        await heard.until(index, "channels")
        await sh("ethtool -K v0 gro on && ethtool -K v0 gro off")
        await heard.until(index, "features")
        monitor.close()

    run(test)


def test_uevents_of_cards_and_queues(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        monitor = monitor_uevents(lambda *event: heard(*event[:3]), lambda: None)
        netns.veth(queues=2)
        await heard.until("add", "/devices/virtual/net/v0", "net")
        await heard.until("add", "/devices/virtual/net/v0/queues/rx-1", "queues")
        await sh("ip link set v0 down && ip link set v0 name w0")
        await heard.until("move", "/devices/virtual/net/w0", "net")
        await sh("ip link del w0")
        await heard.until("remove", "/devices/virtual/net/w0", "net")
        monitor.close()

    run(test)


def test_uevent_fields(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        monitor = monitor_uevents(lambda *event: heard(event[3].get("INTERFACE")), lambda: None)
        netns.veth(queues=1)
        await heard.until("v0")
        monitor.close()

    run(test)


def test_a_burst_does_not_hold_the_loop(netns: Namespace) -> None:
    async def test() -> None:
        heard, lost = Heard(), Heard()
        netns.veth()
        monitor = monitor_rtnl(heard, heard, lost)
        changes = "link set v0 mtu 1400\nlink set v0 mtu 1500\n" * 1000
        subprocess.run(["ip", "-batch", "-"], input=changes.encode(), check=True)
        most = before = 0
        while len(heard.events) < 2000 and not lost.events:
            await asyncio.sleep(0)
            most, before = max(most, len(heard.events) - before), len(heard.events)
        assert not lost.events
        assert most <= 200, f"{most} events were handled while the loop waited"
        monitor.close()

    run(test)


def test_lost_events_are_told_and_reading_goes_on(netns: Namespace) -> None:
    async def test() -> None:
        heard, lost = Heard(), Heard()
        index = netns.veth()
        monitor = monitor_rtnl(heard, lambda *qdisc: None, lost)
        monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        netns.sh("for i in $(seq 50); do ip link set v0 mtu $((1400 + i)); done")
        await lost.until()
        await heard.quiet()
        await sh("ip link set v0 mtu 1500")
        await heard.until(index, "new")
        monitor.close()

    run(test)


def test_a_closed_monitor_leaves_nothing_open(netns: Namespace) -> None:
    async def test() -> None:
        before = descriptors()
        for _ in range(3):
            heard = Heard()
            monitors = (
                monitor_rtnl(heard, heard, heard),
                monitor_ethtool(heard, heard),
                monitor_uevents(heard, heard),
                FileWatch(heard, heard),
            )
            for monitor in monitors:
                monitor.close()
        assert descriptors() == before

    run(test)


@pytest.mark.parametrize(
    "write",
    [
        "echo 1 > {}",
        "echo 1 | dd of={} conv=notrunc status=none",
        "echo 1 | tee {}",
        'python3 -c \'import os; os.write(os.open("{}", os.O_WRONLY), b"1")\'',
    ],
)
def test_every_way_to_write_is_told(netns: Namespace, write: str) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth()
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, ("v0", 0))
        await sh(write.format(f"{RX}/rps_cpus"))
        await heard.until(("v0", 0), "rps_cpus")
        await heard.quiet()
        await sh(f"cat {RX}/rps_cpus")
        await asyncio.sleep(0.05)
        assert heard.events == [], "reading is no event"
        watch.close()

    run(test)


def test_one_write_through_a_kept_descriptor_is_one_event(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth()
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, 0)
        kept = os.open(f"{RX}/rps_cpus", os.O_WRONLY)
        for mask in (b"1", b"0", b"1"):
            os.pwrite(kept, mask, 0)
            await heard.until(0, "rps_cpus")
            await asyncio.sleep(0.01)
            assert len(heard.events) == 1
            heard.events.clear()
        os.close(kept)
        await asyncio.sleep(0.01)
        assert heard.events == []
        watch.close()

    run(test)


def test_a_watch_outlives_the_dropping_of_caches(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        watch = FileWatch(heard, lambda: None)
        watch.watch("/proc/sys/net/core", "core")
        await sh("echo 2 > /proc/sys/vm/drop_caches")
        await sh("cd /proc/sys/net/core; v=$(cat somaxconn); echo $v > somaxconn")
        await heard.until("core", "somaxconn")
        watch.close()

    run(test)


def test_unwatched_and_vanished_directories_are_silent(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth()
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, "rx")
        watch.watch(RX.replace("rx-0", "tx-0"), "tx")
        watch.unwatch("rx")
        watch.unwatch("rx")
        await sh(f"echo 1 > {RX}/rps_cpus")
        await sh("ip link del v0")
        netns.veth()
        with pytest.raises(KernelError) as missing:
            watch.watch(f"{RX}9", "none")
        assert missing.value.gone
        watch.watch(RX.replace("rx-0", "tx-0"), "tx")
        await sh("echo 1 > /sys/class/net/v0/queues/tx-0/xps_cpus")
        await heard.until("tx", "xps_cpus")
        assert {event[0] for event in heard.events} == {"tx"}
        watch.close()

    run(test)


def test_a_directory_that_is_watched_again_misses_nothing(netns: Namespace) -> None:
    async def test() -> None:
        heard, done = Heard(), threading.Event()
        netns.veth()
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, "rx")
        open_before = len(descriptors())

        def again() -> None:
            while not done.is_set():
                watch.watch(RX, "rx")

        watching = asyncio.create_task(asyncio.to_thread(again))
        file = os.open(f"{RX}/rps_cpus", os.O_WRONLY)
        try:
            for number in range(2000):
                os.pwrite(file, b"%d" % (number % 2), 0)
                await heard.until("rx", "rps_cpus", every_s=0)
                heard.events.clear()
        finally:
            done.set()
            await watching
        os.close(file)
        assert len(descriptors()) == open_before
        watch.close()

    run(test)


def test_a_renamed_card_has_one_watch(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth(up=False)
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, "old")
        netns.sh("ip link set v0 name w0")
        watch.watch(RX.replace("v0", "w0"), "new")
        watch.unwatch("old")
        await sh(f"echo 1 > {RX.replace('v0', 'w0')}/rps_cpus")
        await heard.until("new", "rps_cpus")
        assert {event[0] for event in heard.events} == {"new"}
        watch.close()

    run(test)


def test_a_directory_that_came_back_is_watched_instead(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth(queues=4)
        watch = FileWatch(heard, lambda: None)
        third = RX.replace("rx-0", "rx-3")
        watch.watch(third, "rx")
        open_before = len(descriptors())
        for _ in range(3):
            await sh("ethtool -L v0 rx 2 && ethtool -L v0 rx 4")
            watch.watch(third, "rx")
            await heard.quiet()
            await sh(f"echo 1 > {third}/rps_cpus")
            await heard.until("rx", "rps_cpus")
        assert len(descriptors()) == open_before
        watch.close()

    run(test)


def test_what_cannot_be_watched_again_stays_watched(netns: Namespace) -> None:
    async def test() -> None:
        heard = Heard()
        netns.veth()
        watch = FileWatch(heard, lambda: None)
        watch.watch(RX, "rx")
        with pytest.raises(KernelError):
            watch.watch(f"{RX}9", "rx")
        await sh(f"echo 1 > {RX}/rps_cpus")
        await heard.until("rx", "rps_cpus")
        watch.close()

    run(test)


class Late(dict[int, object]):
    """Lets another thread go first, once, wherever the loop's thread has looked up a watch."""

    def __init__(self, known: dict[int, object], first: Callable[[], None]) -> None:
        super().__init__(known)
        self._first: Callable[[], None] | None = first
        self._loop = threading.current_thread()

    def get(self, wd: int, *default: Any) -> Any:
        return self._after(super().get(wd, *default))

    def pop(self, wd: int, *default: Any) -> Any:
        return self._after(super().pop(wd, *default))

    def _after(self, found: Any) -> Any:
        if self._first is not None and threading.current_thread() is self._loop:
            thread, self._first = threading.Thread(target=self._first), None
            thread.start()
            thread.join(0.2)  # it may have to wait for the loop's
        return found


def test_a_watch_that_ends_takes_no_new_one_along(netns: Namespace) -> None:
    """The kernel ended one; before the loop has dealt with that, another thread makes it again."""

    async def test() -> None:
        heard = Heard()
        netns.veth()
        watch: FileWatch[object] = FileWatch(heard, lambda: None)
        watch.watch(RX, "rx")
        watch._keys = Late(watch._keys, lambda: watch.watch(RX, "rx"))
        watch._inotify.remove(next(iter(watch._keys)))
        await asyncio.sleep(0.5)
        await sh(f"echo 1 > {RX}/rps_cpus")
        await heard.until("rx", "rps_cpus")
        watch.close()

    run(test)


def test_more_writes_than_the_queue_holds_are_an_overflow(netns: Namespace) -> None:
    async def test() -> None:
        heard, lost = Heard(), Heard()
        netns.veth(queues=2)
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        watch = FileWatch(heard, lost)
        files = [os.open(f"/sys/class/net/v0/queues/rx-{n}/rps_cpus", os.O_WRONLY) for n in (0, 1)]
        for queue in (0, 1):
            watch.watch(f"/sys/class/net/v0/queues/rx-{queue}", queue)
        for number in range(limit + 10):  # equal events in a row are one
            os.pwrite(files[number % 2], b"0", 0)
        await lost.until()
        await heard.until(1, "rps_cpus")
        await heard.quiet()
        os.pwrite(files[0], b"0", 0)
        await heard.until(0, "rps_cpus")
        for file in files:
            os.close(file)
        watch.close()

    run(test)
