"""Trials, what is rolled back and what is left alone after them, on a described machine."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.errors import NetunedError
from netuned.kernel.questions import RINGS
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import ALL, RESTORED, ROLLED_BACK, Hold, Trial
from tests.unit.parts import Parts, on, profile

BEFORE, OTHER = ["1", "2", "0", "0"], ["0", "0", "4", "8"]
XPS = "/sys/class/net/en0/queues/tx-2/xps_cpus"


async def tried(parts: Parts) -> Trial:
    """Another profile than the one in force, waiting to be confirmed."""
    await parts.plan(profile("0-1"))
    parts.confirm_timeout_s = 60
    await parts.plan(profile("2-3"))
    assert parts.masks() == OTHER
    (trial,) = parts.file.trials.values()
    return trial


def test_the_first_profiles_are_no_trial_and_others_are(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        assert trial.finished
        assert parts.trials.pending() == f"{trial.id}: en0, until {trial.until}"
        assert parts.trials.waiting() == "left alone until what waits is confirmed"
        word = f"waits to be confirmed: `netunedctl confirm {trial.id}`"
        assert parts.slot().aim.held == {"xps": word}
        assert str(trial.cards[2].before["xps"]["tx-0"]) == "0"

    on(tmp_path, scenario)


def test_what_waits_is_looked_at_and_never_repaired(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await tried(parts)
        parts.kernel.put(XPS, b"f\n")
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.masks()[2] == "f"
        assert parts.shown().state == "drifted"

    on(tmp_path, scenario)


def test_a_confirmed_trial_is_kept_from_then_on(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        with pytest.raises(NetunedError, match="waiting: " + trial.id):
            await parts.trials.confirm("other")
        await parts.trials.confirm(trial.id)
        assert (parts.file.trials, parts.file.holds) == ({}, ())
        assert parts.slot().aim.held == {}
        await parts.quiet()
        parts.kernel.put(XPS, b"f\n")
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.masks() == OTHER

    on(tmp_path, scenario)


def test_a_rollback_puts_back_what_was_but_for_what_others_set(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        parts.kernel.put(XPS, b"f\n")
        await parts.trials.roll_back(trial.id)
        await parts.quiet()
        assert parts.masks() == ["1", "2", "f", "0"]
        assert parts.file.trials == {}
        (hold,) = parts.file.holds
        assert (hold.kind, hold.id) == (ROLLED_BACK, trial.id)
        assert hold.tunables == {"xps"}
        assert hold.foreign == (("xps", "tx-2"),)
        assert "rolled back but for tx-2" in parts.slot().aim.held["xps"]
        assert "changes of en0 were rolled back" in parts.trials.waiting()
        with pytest.raises(NetunedError, match="nothing waits to be confirmed"):
            await parts.trials.roll_back()
        with pytest.raises(
            NetunedError, match=r"^x does not wait to be confirmed; nothing does: `netuned"
        ):
            await parts.trials.confirm("x")

    on(tmp_path, scenario)


def test_the_journal_has_how_a_trial_ended_as_ansible_looks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    looks = (Path(__file__).parents[2] / "ansible/plugins/modules/apply_step.py").read_text()

    async def scenario(parts: Parts) -> None:
        first = await tried(parts)
        await parts.trials.confirm(first.id)
        await parts.plan(profile("0-3"))
        (second,) = parts.file.trials.values()
        await parts.trials.roll_back(second.id)
        causes = [vars(record).get("cause", "") for record in caplog.records]
        for text, trial in (("%s is confirmed", first), ("%s is rolled back: ", second)):
            assert f'"{text}"' in looks
            assert [cause for cause in causes if cause.startswith(text % trial.id)]
        why = "%s was not confirmed and was rolled back"
        assert why in looks
        assert parts.slot().aim.held["xps"].startswith(why % second.id)

    on(tmp_path, scenario)


def test_a_rollback_that_comes_during_a_confirmation_says_so(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        work = parts.trials.confirm(trial.id), parts.trials.roll_back(trial.id)
        confirmed, rolled_back = await asyncio.gather(*work, return_exceptions=True)
        assert confirmed is None
        assert f"{trial.id} does not wait to be confirmed" in str(rolled_back)
        await parts.quiet()
        assert parts.masks() == OTHER

    on(tmp_path, scenario)


def test_a_rollback_is_told_in_few_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        caplog.clear()
        await parts.trials.roll_back(trial.id)
        await parts.quiet()
        said = [record.getMessage() for record in caplog.records]
        (begun,) = [line for line in said if line.startswith("Rolling back")]
        assert begun == f"Rolling back {trial.id}: en0: as asked for"
        assert [line for line in said if line.startswith("Not set")] == [
            f"Not set: en0 xps tx 0-3 ({trial.id} was not confirmed and was rolled back; "
            "`netunedctl apply en0` brings it into force)"
        ]

    on(tmp_path, scenario)


def test_the_deadline_rolls_back(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.confirm_timeout_s = 1
        await parts.plan(profile("2-3"))
        assert parts.masks() == OTHER
        await parts.until(lambda: not parts.file.trials)
        await parts.quiet()
        assert parts.masks() == BEFORE

    on(tmp_path, scenario)


def test_a_rollback_that_fails_says_why_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netuned.reconcile.rollback.RETRY_FIRST_S", 0.05)

    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        parts.kernel.fails = {parts.kernel.writes + 1: errno.EIO}
        with pytest.raises(NetunedError, match=r"EIO.*trying again"):
            await parts.trials.roll_back(trial.id)
        assert "being rolled back: en0 xps tx-0: none -> 0: " in parts.trials.pending()
        assert "EIO" in parts.slot().aim.held["xps"]
        with pytest.raises(NetunedError, match=r"not done yet: en0 xps tx-0: .*EIO"):
            await parts.trials.roll_back(trial.id)
        with pytest.raises(NetunedError, match="too late"):
            await parts.trials.confirm(trial.id)
        await parts.until(lambda: not parts.file.trials)
        await parts.quiet()
        assert parts.masks() == BEFORE

    on(tmp_path, scenario)


def test_a_rollback_ends_where_another_try_would_not_help(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        parts.kernel.fails = {parts.kernel.writes + 1: errno.EOPNOTSUPP}
        with pytest.raises(NetunedError, match=r"not set to 0, refused$"):
            await parts.trials.roll_back(trial.id)
        assert parts.file.trials == {}
        await parts.quiet()
        assert parts.masks()[1:] == BEFORE[1:], "all else is back"
        assert parts.baseline.of(parts.slot().card.nic)["xps"]

    on(tmp_path, scenario)


def test_a_trial_that_fails_is_rolled_back_at_once(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.confirm_timeout_s = 60
        parts.kernel.fails = {parts.kernel.writes + 2: errno.EIO}
        await parts.plan(profile("2-3"))
        assert parts.masks() == BEFORE
        assert parts.file.trials == {}
        (hold,) = parts.file.holds
        assert (hold.kind, hold.tunables) == (ROLLED_BACK, ALL)
        assert "could not be brought into force" in parts.slot().aim.held["xps"]
        assert parts.slot().retry is None

    on(tmp_path, scenario)


def test_a_card_in_a_trial_gets_no_other_profile_until_that_ends(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        with pytest.raises(NetunedError, match=f"already waits to be confirmed .{trial.id}"):
            parts.trials.refuse_second([parts.slot()])
        await parts.plan(profile("0-3"))
        assert parts.masks() == OTHER
        await parts.trials.confirm(trial.id)
        await parts.quiet()
        assert parts.masks() == ["1", "2", "4", "8"]
        (second,) = parts.file.trials.values()
        assert second.id != trial.id

    on(tmp_path, scenario)


def test_another_profile_ends_what_was_left_alone(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        await parts.trials.roll_back(trial.id)
        parts.confirm_timeout_s = 0
        await parts.plan(profile("0-3"))
        assert parts.masks() == ["1", "2", "4", "8"]
        await parts.until(lambda: not parts.file.holds)

    on(tmp_path, scenario)


def test_a_profile_adopted_in_a_pause_is_no_trial_yet(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.confirm_timeout_s = 60
        parts.pauses.begin(None)
        await parts.plan(profile("2-3"))
        assert parts.slot().adopted_in_pause
        assert (parts.masks(), parts.file.trials) == (BEFORE, {})
        parts.pauses.end(None)
        slots = [parts.slot()]
        parts.trials.conclude_later(parts.trials.begin(slots, 60), slots)
        assert not parts.slot().adopted_in_pause
        parts.passes.look_now(parts.slot())
        await parts.quiet()
        assert parts.masks() == OTHER
        assert len(parts.file.trials) == 1

    on(tmp_path, scenario)


def test_a_trial_that_cannot_be_written_does_not_begin(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        (tmp_path / "confirm.json").mkdir()
        slots = [parts.slot()]
        trial = parts.trials.begin(slots, 60)
        with pytest.raises(NetunedError, match=r"confirm\.json"):
            await parts.trials.announce(trial, slots)
        assert parts.slot().recorder is None
        assert parts.trials.waiting() == ""
        await parts.quiet()
        assert parts.shown().state == "in-sync"

    on(tmp_path, scenario)


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async def first(parts: Parts) -> None:
        await tried(parts)

    before = on(tmp_path, first)
    (trial,) = before.file.trials.values()

    async def overdue(parts: Parts) -> None:
        assert before.kernel is parts.kernel
        await parts.work.in_worker(parts.file.load)
        late = replace(trial, deadline_ns=0)
        await parts.work.in_worker(lambda: parts.file.revise(trial.id, lambda _: late))
        await parts.trials.start()
        await parts.plan(profile("2-3"))
        assert parts.file.trials == {}
        assert parts.file.holds[0].tunables == {"xps"}
        assert parts.masks() == BEFORE
        assert "was not confirmed" in parts.slot().aim.held["xps"]

    on(tmp_path, overdue, before.kernel)


def test_a_card_that_left_has_nothing_to_roll_back(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        trial = await tried(parts)
        card = parts.kernel.remove("en0")
        await parts.plan()
        await parts.trials.roll_back(trial.id)
        assert parts.file.trials == {}
        assert parts.file.holds[0].card.name == "en0"
        parts.kernel.add("en0", card)
        parts.kernel.instances["en0"] = 77  # its driver was loaded again
        await parts.plan()
        await parts.quiet()
        assert parts.slot().aim.held.keys() == {"xps"}

    on(tmp_path, scenario)


def test_a_pass_writes_nothing_of_a_trial_that_has_ended(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        trial = parts.trials.begin([parts.slot()], 60)
        recorder = parts.slot().recorder
        assert recorder is not None
        await parts.trials.conclude(trial, [parts.slot()])
        with pytest.raises(NetunedError, match="was rolled back meanwhile"):
            recorder(parts.slot().card, ())

    on(tmp_path, scenario)


# What is restored


def test_what_is_restored_is_as_before_netuned_and_left_alone(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        holds, slot = parts.trials.holds, parts.slot()
        with pytest.raises(NetunedError, match="no setting named xpss; did you mean `xps`"):
            await holds.restore([slot], "xpss")
        await holds.restore(list(parts.context.slots.values()), "xps")
        await parts.quiet()
        assert parts.masks() == ["0"] * 4
        (hold,) = parts.file.holds
        assert (hold.kind, hold.card.name) == (RESTORED, "en0")
        assert holds.restored(slot.card.nic, slot.aim.digest, "xps")
        assert not holds.restored(slot.card.nic, slot.aim.digest, "irq")
        assert not holds.restored(slot.card.nic, "other", "xps")
        assert parts.shown().state == "drifted"
        await holds.release([slot])
        holds.renew(slot)
        await parts.quiet()
        assert parts.masks() == BEFORE

    on(tmp_path, scenario)


def test_what_cannot_be_restored_is_said(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        parts.kernel.fails = {parts.kernel.writes + 1: errno.EIO}
        with pytest.raises(NetunedError, match=r"en0: .*EIO"):
            await parts.trials.holds.restore([parts.slot()], "xps")
        await parts.quiet()
        assert parts.masks() == ["1", "0", "0", "0"]

    on(tmp_path, scenario)


def test_what_was_to_be_restored_is_after_a_restart(tmp_path: Path) -> None:
    async def first(parts: Parts) -> None:
        await parts.plan(profile("0-1"))
        await parts.trials.holds.restore([parts.slot()], "xps")
        parts.kernel.put(XPS, b"f\n")
        await parts.quiet()

    before = on(tmp_path, first)

    async def second(parts: Parts) -> None:
        await parts.trials.start()
        await parts.plan(profile("0-1"))
        assert parts.slot().aim.held.keys() == {"xps"}
        assert parts.masks() == ["0", "0", "f", "0"]

    on(tmp_path, second, before.kernel)


RINGS_PROFILE = "match: [{name: en0}]\nrings: {rx: 1024}\npolicy: {disruptive: DISRUPTIVE}\n"


def rings(parts: Parts) -> int:
    return parts.kernel.get(RINGS, 2)["rx"]


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_what_drops_the_link_is_restored_at_the_start_only_if_the_profile_lets(
    tmp_path: Path, policy: str
) -> None:
    allowing = RINGS_PROFILE.replace("DISRUPTIVE", "allow")
    now = RINGS_PROFILE.replace("DISRUPTIVE", policy)

    async def first(parts: Parts) -> None:
        was = rings(parts)
        await parts.plan(allowing)
        assert rings(parts) == 1024 != was
        await parts.plan(now)
        hold = Hold(RESTORED, "", CardId.of(parts.slot().card.nic), ALL, parts.slot().aim.digest)
        await parts.work.in_worker(lambda: parts.file.hold([hold]))

    before = on(tmp_path, first)

    async def second(parts: Parts) -> None:
        await parts.trials.start()
        await parts.plan(now)
        assert (rings(parts) == 1024) is (policy == "deny")

    on(tmp_path, second, before.kernel)


def test_a_profile_that_is_adopted_in_a_pause_says_what_may_be_restored(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(RINGS_PROFILE.replace("DISRUPTIVE", "allow"))
        parts.pauses.begin(parts.slot().card.nic)
        await parts.plan(RINGS_PROFILE.replace("DISRUPTIVE", "deny"))
        with pytest.raises(NetunedError, match="is deny"):
            await parts.trials.holds.restore([parts.slot()], "rings")
        assert rings(parts) == 1024

    on(tmp_path, scenario)


def test_an_overdue_trial_is_rolled_back_as_the_profile_of_now_lets(tmp_path: Path) -> None:
    async def first(parts: Parts) -> None:
        await parts.plan(RINGS_PROFILE.replace("DISRUPTIVE", "allow").replace("1024", "512"))
        await parts.plan()
        slot = parts.slot()
        parts.drop(RINGS_PROFILE.replace("DISRUPTIVE", "allow"))
        parts.confirm_timeout_s = 60
        await parts.plan()
        assert parts.file.trials
        assert rings(parts) == 1024
        assert slot is parts.slot()

    before = on(tmp_path, first)
    (trial,) = before.file.trials.values()

    async def second(parts: Parts) -> None:
        await parts.work.in_worker(parts.file.load)
        late = replace(trial, deadline_ns=0)
        await parts.work.in_worker(lambda: parts.file.revise(trial.id, lambda _: late))
        await parts.trials.start()
        await parts.plan(RINGS_PROFILE.replace("DISRUPTIVE", "deny"))
        assert rings(parts) == 1024
        assert "is deny" in parts.trials.pending()

    on(tmp_path, second, before.kernel)
