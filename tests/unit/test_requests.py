"""What people ask of the loop: the whole daemon but D-Bus and events, on a described machine."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, NetunedError, StartingError
from netuned.history import CHANGE
from netuned.kernel.questions import Question
from netuned.reconcile import loop, survey
from netuned.reconcile.aim import Look
from netuned.reconcile.resync import poll, silent_tunables
from netuned.reconcile.slot import Slot
from tests.unit.daemon import XPS, Daemon, on
from tests.unit.parts import profile

WANTED = ["1", "2", "0", "0"]


def test_of_a_host_that_cannot_be_read_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("read", "/sys/class/net", errno.EIO)

    async def run() -> None:
        daemon = Daemon(tmp_path)
        daemon.drop(profile("0-1"))
        ask = daemon.ask
        assert ask.status().manager.state == "starting"
        with monkeypatch.context() as broken:
            broken.setattr(loop, "START_WAIT_S", 0.01)
            broken.setattr(survey, "read_host", refuse)
            await daemon.loop.start()
            for asked in (ask.plan(), ask.reconcile(""), ask.reconcile("en0"), ask.pause("")):
                with pytest.raises(StartingError, match="the host cannot be read: read /sys"):
                    await asked
            manager = ask.status().manager
            assert (manager.state, len(manager.problems)) == ("starting", 1)
        await ask.reload()
        manager = ask.status().manager
        assert (daemon.masks(), manager.state, manager.problems) == (WANTED, "in-sync", ())
        assert not (await ask.plan()).changes
        monkeypatch.setattr(survey, "read_host", refuse)
        await ask.reload()
        assert "cannot be read" in (await ask.plan()).problems[0].message
        assert "cannot be read" in ask.status().manager.problems[0]
        await daemon.loop.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "read",
    [
        "baseline.Baseline.load",
        "pauses.Pauses.load",
        "trialfile.TrialFile.load",
        "host.is_left_over",
    ],
)
def test_nothing_is_written_before_what_an_earlier_process_left_is_read(
    tmp_path: Path, read: str
) -> None:
    """An error that nobody expects, while the baseline says that the first queue had CPU 3."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        daemon = Daemon(tmp_path)
        daemon.kernel.put("/proc/sys/kernel/random/boot_id", b"a boot\n")
        loop = daemon.again()
        daemon.kernel.put(XPS.format(0), b"8\n")
        daemon.drop(profile("0-1"))
        await loop.start()
        await loop.close()
        daemon.drop(profile("2-3"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"netuned.reconcile.{read}", fail)
            loop = daemon.again()
            for _ in range(2):
                with pytest.raises(ZeroDivisionError):
                    await loop.start()
            await loop.reload()
            assert daemon.masks() == WANTED
        await loop.start()
        assert daemon.masks() == ["0", "0", "4", "8"]
        (daemon.profiles / "edge.yaml").unlink()
        await loop.reload()
        assert daemon.masks() == ["8", "0", "0", "0"]
        await loop.close()

    asyncio.run(run())


def test_a_plan_says_what_a_reconcile_then_does(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        assert (daemon.masks(), daemon.state()) == (WANTED, "in-sync")
        assert not (await daemon.ask.plan()).changes
        daemon.disturb()
        (change,) = (await daemon.ask.plan()).changes
        assert str(change) == "en0 xps tx-2: 0-3 -> none"
        assert daemon.masks()[2] == "f", "planning writes nothing"
        await daemon.ask.reconcile("en0")
        assert daemon.masks() == WANTED
        assert not (await daemon.ask.plan()).changes

    on(tmp_path, scenario)


def test_a_paused_card_is_planned_and_left_alone(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("en0")
        daemon.disturb()
        await daemon.ask.reconcile("en0")
        assert (daemon.masks()[2], daemon.state()) == ("f", "paused")
        assert len((await daemon.ask.plan()).changes) == 1
        await daemon.ask.resume("en0")
        assert (daemon.masks(), daemon.state()) == (WANTED, "in-sync")

    on(tmp_path, scenario)


def test_a_trial_is_confirmed_or_goes_back(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("")
        daemon.drop(profile("2-3"))
        await daemon.ask.reload()
        with pytest.raises(NetunedError, match="all cards are paused"):
            await daemon.ask.begin_trial("en0", 60)
        id, until = await daemon.ask.begin_trial("", 60)
        assert id in daemon.ask.status().manager.pending_confirm
        assert until
        assert daemon.masks() == ["0", "0", "4", "8"]
        with pytest.raises(NetunedError, match=id):
            await daemon.ask.begin_trial("en0", 60)
        await daemon.ask.roll_back(id)
        assert daemon.masks() == WANTED
        id, _ = await daemon.ask.begin_trial("en0", 60)
        await daemon.ask.confirm(id)
        assert daemon.masks() == ["0", "0", "4", "8"]
        assert daemon.state() == "in-sync"

    on(tmp_path, scenario)


def test_what_was_restored_is_left_alone_until_it_is_asked_for(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.restore("en0", "xps")
        assert daemon.masks() == ["0"] * 4
        await daemon.loop.resync()
        await daemon.loop.until_quiet()
        assert daemon.masks() == ["0"] * 4
        await daemon.ask.reconcile("en0")
        assert daemon.masks() == WANTED
        with pytest.raises(NetunedError, match="en7"):
            await daemon.ask.restore("en7", "")

    on(tmp_path, scenario)


def test_the_resync_finds_what_no_event_told(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        daemon.disturb()
        await daemon.loop.resync()
        await daemon.loop.until_quiet()
        assert daemon.masks() == WANTED
        status = next(nic for nic in daemon.ask.status().nics if nic.name == "en0")
        (xps,) = (setting for setting in status.settings if setting.tunable == "xps")
        assert (xps.repairs, xps.failures) == (1, 0)

    on(tmp_path, scenario)


def test_what_a_kernel_is_silent_about_is_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.17 no event tells of RSS; nothing else is looked at so often."""

    async def scenario(daemon: Daemon) -> None:
        daemon.drop(profile("0-1") + "rss: {queues: all}\n")
        await daemon.ask.reload()
        ethtool, files = daemon.kernel.ethtool, daemon.kernel.files
        table = ethtool.rss_table(2)
        assert set(table) == {0, 1, 2, 3}
        assert silent_tunables(daemon.kernel) == {"flows", "link"}, "no kernel tells of all of them"
        monkeypatch.setattr(ethtool, "tells_of_rss", lambda: False)
        silent = silent_tunables(daemon.kernel)
        assert silent == {"contexts", "flows", "hashing", "link", "rss"}
        ethtool.set_rss_table(2, (0,) * len(table))
        monkeypatch.setattr(files, "read_text", lambda *_: pytest.fail("a file was read"))
        slot = daemon.loop.cards.slots[2]
        assert await poll(daemon.loop._context, silent) == [slot]
        monkeypatch.undo()
        await daemon.loop.poll(silent)
        await daemon.loop.until_quiet()
        assert ethtool.rss_table(2) == table
        assert await poll(daemon.loop._context, silent) == []

    on(tmp_path, scenario)


def test_a_bug_over_one_card_keeps_no_other_from_the_resync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of that card, and an error over the profiles keeps none from it either."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def scenario(daemon: Daemon) -> None:
        slots = daemon.loop.cards.slots
        daemon.drop(profile("0-1").replace("en0", "en*"))
        await daemon.ask.reload()
        monkeypatch.setattr(slots[3].card, "observe", fail)
        monkeypatch.setattr(daemon.loop.loading, "differs", fail)
        slots[3].card.view()
        daemon.disturb()
        task = asyncio.create_task(daemon.loop.run())
        while daemon.masks() != WANTED or daemon.state("en1") != "degraded":
            await asyncio.sleep(0.001)
        task.cancel()
        assert "ZeroDivisionError" in slots[3].last_error

    on(tmp_path, scenario, resync_s=0.01)


def test_what_a_worker_had_is_closed_after_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that leaves during the resync is closed at its end."""
    closed: list[str] = []

    async def scenario(daemon: Daemon) -> None:
        slot = daemon.loop.cards.slots[2]

        def leave(*_: object) -> list[str]:
            slot.leave()
            monkeypatch.setattr(slot.card, "close", lambda: closed.append("en0"))
            raise ZeroDivisionError

        monkeypatch.setattr(daemon.kernel.files, "listdir", leave)
        with pytest.raises(ZeroDivisionError):
            await daemon.loop.resync()
        assert closed == ["en0"]

    on(tmp_path, scenario)


def test_all_cards_of_a_poll_have_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(daemon: Daemon) -> None:
        daemon.drop("match: [{name: en*}]\nnapi: {defer-hard-irqs: 2}\n")
        await daemon.ask.reload()
        asked: list[str] = []
        dump = daemon.kernel.dump

        def counted(question: Question[Any]) -> Mapping[int, Any]:
            asked.append(question.name)
            return dump(question)

        monkeypatch.setattr(daemon.kernel.netdev, "sets_napis", lambda: True)
        monkeypatch.setattr(daemon.kernel, "dump", counted)
        wanting = [s for s in daemon.loop.cards.slots.values() if "napi" in s.card.wanted]
        assert len(wanting) > 1
        assert await poll(daemon.loop._context, frozenset({"napi"})) == []
        assert asked.count("napis") == 1

    on(tmp_path, scenario)


def test_what_differs_on_purpose_is_looked_at_again_only_if_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll comes every three seconds; a look at a card reads all of it."""

    async def scenario(daemon: Daemon) -> None:
        ethtool, silent = daemon.kernel.ethtool, frozenset({"rss"})
        looks: list[object] = []
        take_look = Slot.take_look

        def counted(slot: Slot) -> Look:
            looks.append(slot)
            return take_look(slot)

        monkeypatch.setattr(Slot, "take_look", counted)

        async def polled() -> int:
            looks.clear()
            await daemon.loop.poll(silent)
            await daemon.loop.until_quiet()
            return len(looks)

        def disturb(queue: int) -> None:
            ethtool.set_rss_table(2, (queue,) * len(ethtool.rss_table(2)))

        def found() -> str:
            (nic,) = (nic for nic in daemon.ask.status().nics if nic.name == "en0")
            return next(s.found for s in nic.settings if s.tunable == "rss")

        rss = profile("0-1") + "rss: {queues: 0-1}\n"
        daemon.drop(rss)
        await daemon.ask.reload()
        await daemon.ask.restore("en0", "rss")
        assert [await polled(), await polled()] == [0, 0], "it was restored"
        daemon.drop(rss + "policy: {enforce: no}\n")
        await daemon.ask.reload()
        for queue in (2, 3):
            disturb(queue)
            assert [await polled(), await polled()] == [1, 0], "it is not enforced"
            assert str(queue) in found()

    on(tmp_path, scenario)


def test_many_that_ask_for_a_plan_at_once_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[object] = []

    async def scenario(daemon: Daemon) -> None:
        adopt = daemon.loop.cards.adopt

        def counted(*of: object) -> None:
            plans.append(of)
            adopt(*of)  # type: ignore[arg-type]  # as it was called

        monkeypatch.setattr(daemon.loop.cards, "adopt", counted)
        await asyncio.gather(*(daemon.loop.replan() for _ in range(50)))
        assert len(plans) == 1
        first = asyncio.ensure_future(daemon.loop.replan())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(first, *(daemon.loop.replan() for _ in range(50)))
        assert len(plans) in (2, 3), "one that has begun may have read what was before"

    on(tmp_path, scenario)


def test_what_changes_together_is_told_together_and_nothing_twice(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        told = daemon.told.statuses
        before = len(told)
        for _ in range(20):
            daemon.loop.publish()
        await daemon.loop.until_quiet()
        assert len(told) == before, "nothing has changed"
        await daemon.ask.pause("en0")
        for _ in range(20):
            daemon.loop.publish()
        await daemon.loop.until_quiet()
        assert len(told) == before + 1
        changed = [a.name for a, b in zip(told[-1].nics, told[-2].nics, strict=True) if a is not b]
        assert changed == ["en0"]
        assert daemon.ask.status() is told[-1]

    on(tmp_path, scenario)


def test_what_was_left_alone_and_is_asked_for_is_not_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what was in force can be repaired."""
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        for tunable in ("", "xps"):
            await daemon.ask.restore("en0", tunable)
            assert daemon.masks() == ["0"] * 4
            caplog.clear()
            await daemon.ask.reconcile("en0")
            assert daemon.masks() == WANTED
            assert causes(caplog) == {"apply"}
            assert "Set en0 xps tx-0: none -> 0, as asked for" in caplog.text
            assert "In force: en0 has profile edge" in caplog.text
        setting = next(nic for nic in daemon.ask.status().nics if nic.name == "en0").settings[-1]
        assert (setting.tunable, setting.repairs) == ("xps", 0)
        daemon.disturb()
        await daemon.ask.reconcile("en0")
        assert "Repaired en0 xps tx-2: found 0-3, put back none" in caplog.text

    on(tmp_path, scenario)


def test_what_was_rolled_back_and_is_asked_for_is_not_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("en0")
        daemon.drop(profile("2-3"))
        await daemon.ask.reload()
        id, _ = await daemon.ask.begin_trial("en0", 60)
        assert causes(caplog) >= {"apply"}
        caplog.clear()
        await daemon.ask.roll_back(id)
        assert causes(caplog) == {"rollback"}
        caplog.clear()
        await daemon.ask.reconcile("en0")
        assert daemon.masks() == ["0", "0", "4", "8"]
        assert causes(caplog) == {"apply"}

    on(tmp_path, scenario)


def test_what_was_restored_and_has_another_profile_is_not_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not one that asks for anything else, either."""
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.restore("en0", "")
        daemon.disturb()
        await daemon.loop.resync()
        caplog.clear()
        daemon.drop(profile("0-1") + "description: as before\n")
        await daemon.ask.reload()
        assert daemon.masks() == WANTED
        assert causes(caplog) == {"profile"}

    on(tmp_path, scenario)


def test_what_others_changed_while_it_was_not_confirmed_is_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was in force: the trial had set it."""
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("en0")
        daemon.drop(profile("1-2"))
        await daemon.ask.reload()
        id, _ = await daemon.ask.begin_trial("en0", 60)
        daemon.disturb()
        await daemon.loop.resync()
        await daemon.loop.until_quiet()
        assert "Not set: en0 xps tx-2" in caplog.text
        caplog.clear()
        await daemon.ask.confirm(id)
        await daemon.loop.until_quiet()
        assert causes(caplog) == {"drift"}

    on(tmp_path, scenario)


def test_what_could_not_be_set_and_is_asked_for_is_not_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        slot = next(s for s in daemon.loop.cards.slots.values() if s.card.nic.name == "en0")
        slot.card.verdicts.refuse(("xps", "tx-2"), CpuSet(), "refused")
        slot.aim_anew()
        daemon.disturb()
        await daemon.loop.resync()
        await daemon.loop.until_quiet()
        assert daemon.masks()[2] == "f"
        caplog.clear()
        await daemon.ask.reconcile("en0")
        assert daemon.masks() == WANTED
        assert causes(caplog) == {"apply"}

    on(tmp_path, scenario)


def test_what_a_later_profile_sets_was_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A paused card is not looked at, whoever asks."""
    caplog.set_level("INFO")

    async def scenario(daemon: Daemon) -> None:
        await daemon.ask.pause("en0")
        await daemon.ask.reconcile("en0")
        daemon.drop(profile("2-3"))
        await daemon.ask.reload()
        caplog.clear()
        await daemon.ask.resume("en0")
        assert daemon.masks() == ["0", "0", "4", "8"]
        assert causes(caplog) == {"profile"}

    on(tmp_path, scenario)


def causes(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Why settings were changed, as the journal has it."""
    changes = (vars(r) for r in caplog.records if vars(r).get("kind") == CHANGE)
    found = {change["cause"] for change in changes}
    assert ("Repaired" in caplog.text) == ("drift" in found)
    return found
