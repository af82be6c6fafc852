"""The kernel's own mq comes back as it is for all queues, whatever is closed when it is made."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path

from netuned.errors import KernelError
from netuned.kernel.questions import QDISCS
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from tests.netns.listener import Silent
from tests.unit.writable import WritableKernel, _Calls

MACHINE = "cores: 4\ncards: [{name: en0, driver: ice, queues: 8}]\n"
MATCH = "match: [{name: en0}]\n"
FOUR, EIGHT = MATCH + "channels: {combined: 4}\n", MATCH + "channels: {combined: 8}\n"
OWN = ["fq_codel"] * 8
MIXED = ["fq_codel"] * 4 + ["pfifo_fast"] * 4


class MqKernel(WritableKernel):
    """As sch_mq.c: a new mq has the default kind at open queues, pfifo_fast at the others.

    A leaf stays as it is while its queue is closed, and is not shown then.
    """

    def __init__(self) -> None:
        super().__init__(MACHINE)
        self.open, self.leaves, self.cannot_delete = 8, list(OWN), False
        self.root = QdiscEntry("mq", 0, ROOT, {})
        self.ethtool = self.ethtool_netlink = self.rtnl = _Mq(self)
        self.show()

    def show(self) -> None:
        below = [
            QdiscEntry(kind, 0x9000 + n << 16 if self.root.handle else 0, self.root.handle | n, {})
            for n, kind in enumerate(self.leaves[: self.open], 1)
        ]
        self.answers.cards(QDISCS)[2] = (self.root, *(below if self.root.kind == "mq" else ()))

    def attach(self, root: QdiscEntry) -> None:
        self.root = root
        self.leaves = ["fq_codel" if n < self.open else "pfifo_fast" for n in range(8)]
        self.show()

    def open_queues(self, ifindex: int, count: int) -> None:
        super().open_queues(ifindex, count)
        self.open = count
        self.show()


class _Mq(_Calls):
    _writable: MqKernel

    def replace_qdisc(
        self, ifindex: int, parent: int, handle: int, kind: str, parameters: Mapping[str, int]
    ) -> None:
        self._writable.begin_write("qdisc")
        if parent == ROOT:
            self._writable.attach(QdiscEntry(kind, handle or 0x80010000, ROOT, {}))
        else:
            self._writable.leaves[(parent & 0xFFFF) - 1] = kind
            self._writable.show()

    def delete_qdisc(self, ifindex: int, parent: int = ROOT, handle: int = 0) -> None:
        self._writable.begin_write("qdisc")
        if self._writable.cannot_delete:
            raise KernelError("delete", "qdisc", errno.ENOBUFS)
        self._writable.attach(QdiscEntry("mq", 0, ROOT, {}))


class Daemon:
    def __init__(self, kernel: MqKernel, directory: Path) -> None:
        self.kernel, self.profiles = kernel, directory / "profiles.d"
        self.profiles.mkdir()
        places = (directory / "state", directory / "run", str(directory / "none"))
        self.loop = Reconciler(kernel, Options((str(self.profiles),), *places), Silent())
        self.ask = Requests(self.loop)

    async def drop(self, text: str) -> None:
        path = self.profiles / "edge.yaml"
        path.write_text(text) if text else path.unlink()
        await self.ask.reload()

    def recorded(self) -> Mapping[str, object]:
        return self.loop._baseline.of(self.loop.cards.slots[2].card.nic)


def on(directory: Path, scenario: Callable[[Daemon], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        daemon = Daemon(MqKernel(), directory)
        await daemon.loop.start()
        await scenario(daemon)
        await daemon.loop.close()

    asyncio.run(run())


def test_keys_that_go_one_after_the_other(tmp_path: Path) -> None:
    """Also where another profile opens the queues."""

    async def scenario(daemon: Daemon) -> None:
        for way in ((FOUR, ""), (FOUR, EIGHT, "")):
            await daemon.drop(FOUR + "qdisc: {kind: fq}\n")
            assert daemon.kernel.leaves[:4] == ["fq"] * 4
            await daemon.drop(way[0])
            assert daemon.kernel.leaves == MIXED
            for text in way[1:]:
                await daemon.drop(text)
                assert daemon.kernel.leaves == OWN
            assert (daemon.kernel.root.handle, daemon.recorded()) == (0, {})

    on(tmp_path, scenario)


def test_what_netuned_never_set_stays(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        daemon.kernel.leaves = list(MIXED)  # somebody opened queues after the card was up
        daemon.kernel.show()
        before = daemon.kernel.root
        await daemon.drop(FOUR)
        await daemon.drop("")
        assert (daemon.kernel.leaves, daemon.kernel.root) == (MIXED, before)
        assert daemon.kernel.root is before

    on(tmp_path, scenario)


def test_what_somebody_attached_meanwhile_stays(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.drop(FOUR + "qdisc: {kind: fq}\n")
        await daemon.drop(FOUR)
        theirs = QdiscEntry("cake", 0x80020000, ROOT, {})
        daemon.kernel.attach(theirs)
        await daemon.drop("")
        assert daemon.kernel.root is theirs
        assert daemon.recorded() == {}

    on(tmp_path, scenario)


def test_half_way_it_is_on_record(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.drop(FOUR + "qdisc: {kind: fq}\n")
        await daemon.drop(FOUR)
        daemon.kernel.cannot_delete = True
        await daemon.drop("")
        assert daemon.kernel.root.handle
        daemon.kernel.cannot_delete = False
        await daemon.ask.reconcile("")
        assert (daemon.kernel.leaves, daemon.kernel.root.handle) == (OWN, 0)
        assert daemon.recorded() == {}

    on(tmp_path, scenario)


def test_a_pass_that_fails_is_undone_whole(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        daemon.kernel.fails = {4: errno.EIO}  # channels, the root and one leaf are written
        await daemon.drop(FOUR + "qdisc: {kind: fq}\n")
        assert daemon.kernel.writes > 4
        assert (daemon.kernel.open, daemon.kernel.leaves) == (8, OWN)
        assert daemon.kernel.root == replace(daemon.kernel.root, handle=0)

    on(tmp_path, scenario)
