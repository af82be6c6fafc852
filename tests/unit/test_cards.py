"""A plan is adopted: cards come, go and get names, profiles change, are paused or cannot be had."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.hardware.host import read_host
from netuned.planning.planner import plan_host
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import ALL, RESTORED, Hold
from netuned.status import card_in_sync
from tests.unit.machines import nic
from tests.unit.parts import Parts, on, profile


def test_a_plan_is_in_force_and_a_second_look_writes_nothing(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        assert parts.shown().state == "in-sync"
        assert parts.masks() == ["1", "2", "0", "0"]
        assert parts.armed == {"en0": {"irq", "xps"}, "en1": frozenset(), "": frozenset()}
        writes = parts.kernel.writes
        parts.passes.look_now(parts.slot())
        await parts.plan()
        assert parts.kernel.writes == writes
        assert parts.shown("en1").state == "unmanaged"

    on(tmp_path, scenario)


def test_what_somebody_changed_is_repaired(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.kernel.put("/sys/class/net/en0/queues/tx-1/xps_cpus", b"f\n")
        parts.slot().mark("xps")
        parts.passes.start(parts.slot())
        await parts.quiet()
        assert parts.drifts == ["2 xps tx-1: 0-3 -> 1"]
        assert parts.masks() == ["1", "2", "0", "0"]

    on(tmp_path, scenario)


def test_what_no_profile_names_any_more_is_put_back(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan("match: [{name: en0}]\nchannels: {combined: 2}\nqdisc: {kind: fq}\n")
        assert parts.shown().state == "in-sync"
        assert len(parts.masks()) == 2
        await parts.plan("match: [{name: none}]\n")
        assert parts.masks() == ["0"] * 4
        assert [entry.kind for entry in parts.kernel.rtnl.qdiscs()[2]] == ["mq"] + [
            "pfifo_fast"
        ] * 4
        assert parts.baseline.of(parts.slot().card.nic) == {}
        assert parts.shown().state == "unmanaged"

    on(tmp_path, scenario)


def test_a_card_may_have_lost_its_profile_to_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        (parts.profiles / "edge.yaml").unlink()
        await parts.plan("match: [{name: en0}]\nxps: {cpus: 77\n", "broken")
        assert parts.slot().aim.target is None
        assert not parts.slot().aim.restore
        assert parts.masks() == ["1", "2", "0", "0"]
        (parts.profiles / "broken.yaml").unlink()
        await parts.plan("match: [{name: none}]\n")
        assert parts.masks() == ["0"] * 4

    on(tmp_path, scenario)


def test_what_cannot_be_planned_leaves_in_force_what_was(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        target = parts.slot().aim.target
        await parts.plan(profile("0 & 1"))
        assert parts.shown().state == "degraded"
        assert "empty" in parts.shown().last_error
        assert parts.slot().aim.target is target
        await parts.plan(profile("0-1"))
        assert parts.shown().state == "in-sync"

    on(tmp_path, scenario)


def test_a_card_that_never_had_a_profile_is_not_put_back_because_of_a_problem(
    tmp_path: Path,
) -> None:
    async def first(parts: Parts) -> None:
        await parts.plan(profile("0-1"))

    before = on(tmp_path, first)

    async def restarted(parts: Parts) -> None:
        await parts.plan(profile("0 & 1"))
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.masks() == ["1", "2", "0", "0"]
        assert parts.baseline.of(parts.slot().card.nic).keys() == {"irq", "xps"}

    on(tmp_path, restarted, before.kernel)


def test_a_card_that_left_and_one_that_came(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        slot = parts.slot()
        card = parts.kernel.remove("en0")
        await parts.plan()
        assert slot.gone
        assert list(parts.context.slots) == [3]
        parts.kernel.add("en0", card)
        await parts.plan()
        assert parts.slot() is not slot
        assert parts.shown().state == "in-sync"
        assert parts.baseline.of(parts.slot().card.nic)["xps"].keys() == {
            f"tx-{queue}" for queue in range(4)
        }

    on(tmp_path, scenario)


def test_a_card_that_goes_while_it_is_looked_at_is_looked_for_again(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.kernel.remove("en0")
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.rescans == 1
        assert (parts.slot().failures, parts.shown().state) == (1, "in-sync")
        assert parts.slot().retry is not None

    on(tmp_path, scenario)


def test_a_failed_write_is_undone_and_tried_again(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        parts.kernel.fails = {5: 16}
        await parts.plan(profile("0-1"))
        assert parts.shown().state == "degraded"
        assert "EBUSY" in parts.shown().last_error
        assert parts.masks() == ["0"] * 4
        slot = parts.slot()
        assert slot.retry is not None
        slot.mark("xps")
        parts.passes.start(slot)  # its own writes raise events, which wait for the retry
        assert slot.task is None
        parts.passes.look_now(slot)
        await parts.quiet()
        assert parts.shown().state == "in-sync"

    on(tmp_path, scenario)


def test_a_paused_card_is_left_alone_under_any_name(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.pauses.begin(parts.slot().card.nic)
        await parts.plan(profile("2-3").replace("en0", '"*n0"'))
        assert parts.masks() == ["1", "2", "0", "0"]
        parts.kernel.rename("en0", "wan0")
        parts.passes.look(parts.slot(), facts=True)
        await parts.quiet()
        assert parts.shown("wan0").state == "paused"
        parts.pauses.end(parts.slot("wan0").card.nic)
        parts.passes.look_now(parts.slot("wan0"))
        await parts.quiet()
        assert parts.masks(name="wan0") == ["0", "0", "4", "8"]

    on(tmp_path, scenario)


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_paused_card_shows_is_so(tmp_path: Path, *, restart: bool) -> None:
    mask = "/sys/class/net/en0/queues/tx-2/xps_cpus"

    async def look(parts: Parts) -> tuple[str, str, bool]:
        """Its state, that of its masks, and whether `status --exit-code` is 0."""
        parts.passes.look(parts.slot())
        await parts.quiet()
        shown = parts.shown()
        states = {setting.tunable: setting.state for setting in shown.settings}
        return shown.state, states.get("xps", ""), card_in_sync(shown)

    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.pauses.begin(parts.slot().card.nic)
        assert await look(parts) == ("paused", "in-sync", True)
        parts.kernel.put(mask, b"f\n")
        assert await look(parts) == ("paused", "drifted", False)
        parts.kernel.put(mask, b"0\n")
        assert await look(parts) == ("paused", "in-sync", True)
        await parts.plan(profile("2-3"))
        assert await look(parts) == ("paused", "drifted", False)
        parts.remove("edge")
        await parts.plan()
        await look_at_what_is_left(parts)
        if not restart:
            await resume(parts)

    async def look_at_what_is_left(parts: Parts) -> None:
        assert await look(parts) == ("paused", "", False)
        assert parts.shown().profile == ""
        assert parts.masks() == ["1", "2", "0", "0"]

    async def again(parts: Parts) -> None:
        parts.pauses.begin(read_host(parts.kernel).nics[2])
        await parts.plan()
        await look_at_what_is_left(parts)
        await resume(parts)

    async def resume(parts: Parts) -> None:
        parts.pauses.end(parts.slot().card.nic)
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.masks() == ["0"] * 4
        assert parts.shown().state == "unmanaged"

    kernel = on(tmp_path, scenario).kernel
    if restart:
        on(tmp_path, again, kernel)


def test_a_restored_link_that_no_profile_names_any_more_is_held_no_longer(tmp_path: Path) -> None:
    """Not even one that is not read: the profile may come back, and is meant then."""

    async def scenario(parts: Parts) -> None:
        link = replace(nic(9, "veth9"), kind="veth", unread=True)
        parts.file.hold([Hold(RESTORED, "", CardId.of(link), ALL, "abc")])
        host = read_host(parts.kernel)
        host = replace(host, nics={**host.nics, 9: link})
        for _ in range(2):
            parts.cards.adopt(host, plan_host((), host), ProfileSet(), 0)
            await parts.quiet()
        async with asyncio.timeout(10):
            while parts.file.holds:
                await asyncio.sleep(0.001)
        assert parts.context.slots[9].state == "unmanaged"
        slot = parts.context.slots[9]
        parts.passes.look_now(slot)
        assert slot.task is None, "nothing of it is read"

    on(tmp_path, scenario)
