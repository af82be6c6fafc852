"""What status says is so when it is asked, whoever learnt it: a pass, a resync or a plan."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from netuned.cli.plan import unsupported
from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.questions import QDISCS, RSS_TABLE
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.reconcile import passes, survey
from netuned.reconcile.card import Card
from netuned.reconcile.dispute import DAMPED_S
from netuned.reconcile.passes import Passes
from netuned.reconcile.slot import Slot
from netuned.status import in_sync
from tests.unit.daemon import Daemon, on

TABLE = "match: [{name: en0}]\nrss: {queues: 0-1}\n"
PFIFO = "match: [{name: en0}]\nqdisc: {kind: pfifo, limit: 7}\n"
TOO_MANY = "match: [{name: en0}]\npolicy: {enforce: no}\nchannels: {combined: 99}\n"
FOREIGN = QdiscEntry("fq_codel", 0x10 << 16, ROOT, {})


def lose_table(daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
    """From now on the driver has no indirection table, as after other firmware was loaded."""
    ask = daemon.kernel.get

    def get(question: object, *rest: object) -> object:
        if question is RSS_TABLE:
            raise UnsupportedError("rss", "the driver has none")
        return ask(question, *rest)  # type: ignore[arg-type]

    patch.setattr(daemon.kernel, "get", get)


def attach_filters(daemon: Daemon, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Somebody's own root qdisc, with filters; returns what takes the filters away."""
    has = [True]
    patch.setattr(daemon.kernel.rtnl, "has_filters", lambda ifindex, handle: has[0])
    daemon.kernel.answers.cards(QDISCS)[2] = (FOREIGN,)
    return partial(has.__setitem__, 0, False)


def test_a_resync_tells_what_a_card_no_longer_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(daemon: Daemon) -> None:
        assert daemon.state() == "in-sync"
        lose_table(daemon, monkeypatch)
        await daemon.loop.resync()
        await daemon.loop.until_quiet()
        status = daemon.ask.status()
        assert (daemon.state(), in_sync(status)) == ("partial", False)
        assert [lack.why for lack in unsupported(status)] == ["the driver has none"]

    on(tmp_path, scenario, text=TABLE)


def test_a_plan_names_at_once_what_a_card_no_longer_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(daemon: Daemon) -> None:
        lose_table(daemon, monkeypatch)
        await daemon.ask.plan()
        assert [lack.ifname for lack in unsupported(daemon.ask.status())] == ["en0"]
        assert daemon.state() == "partial"

    on(tmp_path, scenario, text=TABLE)


def test_what_cannot_be_had_is_partial_though_nothing_is_enforced(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        assert daemon.state() == "partial"

    on(tmp_path, scenario, text=TOO_MANY)


def test_a_qdisc_with_filters_is_told_of_by_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(daemon: Daemon) -> None:
        attach_filters(daemon, monkeypatch)
        plan, status = await daemon.ask.plan(), daemon.ask.status()
        assert not plan.changes
        assert len(unsupported(status)) == 1
        assert (daemon.state(), in_sync(status)) == ("partial", False)

    on(tmp_path, scenario, text=PFIFO)


def test_what_becomes_possible_is_no_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(daemon: Daemon) -> None:
        free = attach_filters(daemon, monkeypatch)
        daemon.drop(PFIFO)
        await daemon.ask.reload()
        assert daemon.state() == "partial"
        free()
        daemon.loop.touch(2, "qdisc")
        await daemon.loop.until_quiet()
        nic = next(nic for nic in daemon.ask.status().nics if nic.name == "en0")
        assert nic.state == "in-sync"
        assert nic.last_change is not None
        assert nic.last_change.cause == "profile"
        assert [setting.repairs for setting in nic.settings] == [0]

    on(tmp_path, scenario)


def test_a_card_that_was_lost_once_is_not_in_sync_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "LOST_FIRST_S", 0.1)
    aim, lost = Card.aim, [KernelError("read", "/sys/class/net/en0", errno.ENOENT)]

    def lose_once(card: Card, *rest: object, **named: object) -> object:
        if card.nic.name == "en0" and lost:
            raise lost.pop()
        return aim(card, *rest, **named)  # type: ignore[arg-type]

    async def scenario(daemon: Daemon) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Card, "aim", lose_once)
            daemon.drop("match: [{name: en0}]\nxps: {cpus: 2-3}\n")
            await daemon.ask.reload()
            assert not lost
            assert (daemon.state(), in_sync(daemon.ask.status())) == ("applying", False)
            while daemon.state() != "in-sync":
                await asyncio.sleep(0.01)
        assert daemon.masks() == ["0", "0", "4", "8"]

    on(tmp_path, scenario)


def test_a_host_that_cannot_be_read_is_asked_again_by_one_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*_: object) -> None:
        asked.append(1)
        raise KernelError("read", "/sys/class/net", errno.EIO)

    async def scenario(daemon: Daemon) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(survey, "REREAD_S", 0.1)
            patch.setattr(survey, "read_host", refuse)
            for _ in range(20):
                daemon.loop.rescan()
                await asyncio.sleep(0.005)
            asked.clear()
            await asyncio.sleep(0.35)
            assert 1 <= len(asked) <= 4
        daemon.loop.rescan()

    on(tmp_path, scenario)


def test_a_paused_card_whose_setting_somebody_keeps_writing_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, observe = [], Passes._observe

    async def count(self: Passes, slot: Slot) -> None:
        looks.append(slot)
        await observe(self, slot)

    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("en0")
        monkeypatch.setattr(Passes, "_observe", count)
        begun = time.monotonic()
        for _ in range(100):
            daemon.disturb()
            daemon.loop.touch(2, "xps")
            await asyncio.sleep(0.001)
        assert len(looks) <= (time.monotonic() - begun) / DAMPED_S + 2

    on(tmp_path, scenario)
