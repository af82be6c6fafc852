"""What a rollback puts back, and what of a trial is on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.errors import StateFileError
from netuned.plan import Change
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import (
    ALL,
    RESTORED,
    ROLLED_BACK,
    Hold,
    Trial,
    Tried,
)
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.undo import undo_of
from netuned.statefile import checksum
from netuned.values import ChannelCounts, FlowTable, Qdisc, RssTable, State
from tests.unit.machines import nic

States = dict[str, State]

BEFORE: States = {
    "channels": {"": ChannelCounts(0, 0, 2)},
    "rss": {"": RssTable((0, 1, 1, 1))},
    "rps": {"rx-0": CpuSet(1), "rx-1": CpuSet(1)},
    "qdisc": {"root": Qdisc("noqueue", default=True)},
}
AFTER: States = {
    "channels": {"": ChannelCounts(0, 0, 4)},
    "rss": {"": RssTable((0, 1, 2, 3))},
    "rps": {f"rx-{n}": CpuSet(3) for n in range(4)},
    "qdisc": {"root": Qdisc("mq"), **{f"tx-{n}": Qdisc("fq") for n in range(4)}},
}


EN0 = CardId(2, "en0", "pci")


def tried(before: States, after: States, *, done: bool = True) -> Tried:
    writes = [
        Change("en0", name, key, None, value, "")
        for name, state in after.items()
        for key, value in state.items()
        if before.get(name, {}).get(key) != value
    ]
    return Tried(EN0, "abc", before, {}, after if done else None).with_writes(writes)


@pytest.mark.parametrize("done", [True, False])
def test_all_goes_back_where_nobody_else_was(done: bool) -> None:
    undo = undo_of(tried(BEFORE, AFTER, done=done), AFTER)
    assert undo.back == BEFORE
    assert undo.foreign == ()


@pytest.mark.parametrize("done", [True, False])
def test_what_is_back_already_stays_so(done: bool) -> None:
    undo = undo_of(tried(BEFORE, AFTER, done=done), BEFORE)
    assert undo.back == BEFORE
    assert undo.foreign == ()


def test_a_setting_somebody_changed_since_stays_as_it_is() -> None:
    found = {**AFTER, "rps": {**AFTER["rps"], "rx-1": CpuSet(8)}}
    undo = undo_of(tried(BEFORE, AFTER), found)
    assert undo.foreign == (("rps", "rx-1"),)
    assert undo.back["rps"] == {"rx-0": CpuSet(1), "rx-1": CpuSet(8)}


def test_a_root_somebody_set_keeps_its_leaves() -> None:
    found = {**AFTER, "qdisc": {"root": Qdisc("htb")}}
    undo = undo_of(tried(BEFORE, AFTER), found)
    assert undo.foreign == (("qdisc", "root"),)
    assert "qdisc" not in undo.back


def test_a_leaf_somebody_set_keeps_the_root_above_it() -> None:
    before: States = {
        "qdisc": {"root": Qdisc("mq", default=True), "tx-0": Qdisc("a"), "tx-1": Qdisc("a")}
    }
    after: States = {
        "qdisc": {"root": Qdisc("mq", handle=5), "tx-0": Qdisc("b"), "tx-1": Qdisc("b")}
    }
    found: States = {"qdisc": {**after["qdisc"], "tx-1": Qdisc("c")}}
    undo = undo_of(tried(before, after), found)
    assert undo.foreign == (("qdisc", "tx-1"),)
    assert undo.back["qdisc"]["root"] is found["qdisc"]["root"]
    assert undo.back["qdisc"]["tx-0"] == Qdisc("a")


def test_a_table_somebody_set_keeps_the_channels_it_names() -> None:
    found = {**AFTER, "rss": {"": RssTable((3, 3, 3, 3))}}
    undo = undo_of(tried(BEFORE, AFTER), found)
    assert undo.foreign == (("rss", ""),)
    assert undo.back["channels"] == AFTER["channels"]
    assert undo.back["rss"] == found["rss"]


def test_channels_somebody_set_take_no_table_that_does_not_fit() -> None:
    found = {**AFTER, "channels": {"": ChannelCounts(0, 0, 1)}, "rss": {"": RssTable((0,) * 4)}}
    before = {**BEFORE, "rss": AFTER["rss"]}
    undo = undo_of(tried(before, AFTER), found)
    assert undo.back["channels"] == found["channels"]
    assert "rss" not in undo.back or undo.back["rss"] == found["rss"]


def test_what_channels_did_to_the_rest_is_put_back_after_a_crash() -> None:
    trial = replace(tried(BEFORE, {**BEFORE, "channels": AFTER["channels"]}), left=None)
    found = {**AFTER, "rss": {"": RssTable((0, 0, 0, 0))}}
    assert undo_of(trial, found).back["rss"] == BEFORE["rss"]


def test_what_was_not_tried_is_not_touched() -> None:
    trial = tried({k: v for k, v in BEFORE.items() if k != "channels"}, {"rps": AFTER["rps"]})
    assert set(undo_of(trial, AFTER).back) == {"rps"}


MASKS = st.dictionaries(
    st.sampled_from([f"rx-{n}" for n in range(4)]), st.integers(0, 7).map(CpuSet), min_size=1
)


@given(MASKS, MASKS, MASKS, st.booleans())
def test_only_what_the_trial_made_goes_back(
    before: dict[str, CpuSet], after: dict[str, CpuSet], others: dict[str, CpuSet], done: bool
) -> None:
    left = {**before, **{key: value for key, value in after.items() if key in before}}
    found = {**left, **{key: value for key, value in others.items() if key in before}}
    trial = tried({"rps": before}, {"rps": left}, done=done)
    undo = undo_of(trial, {"rps": found})
    for key, value in undo.back.get("rps", {}).items():
        ours = found[key] in (left[key], before[key])
        assert value == (before[key] if ours else found[key])
        assert (("rps", key) in undo.foreign) is not ours
    again = undo_of(trial, {"rps": undo.back.get("rps", found)})
    assert again.back == undo.back


# On disk

TRIAL = Trial("a1b2c3", 5 * 10**9, "2026-11-21 12:00:00")


def file(tmp_path: Path, boot: str = "boot-1") -> TrialFile:
    made = TrialFile(tmp_path / "confirm.json", boot)
    made.load()
    return made


def test_a_trial_survives_a_restart(tmp_path: Path) -> None:
    first = file(tmp_path)
    card = replace(tried(BEFORE, AFTER), back=BEFORE)
    first.add(TRIAL, card)
    again = file(tmp_path)
    assert again.trials == first.trials
    assert again.pending(nic(2)) == (replace(TRIAL, cards={2: card}), card)
    again.end("a1b2c3", [2], confirmed=False)
    assert file(tmp_path).trials == {}
    (hold,) = file(tmp_path).holds
    assert hold.kind == ROLLED_BACK
    assert hold.tunables == set(AFTER)
    assert hold.card.is_of(nic(ifindex=2))


def test_another_boot_leaves_alone_what_was_not_confirmed(tmp_path: Path) -> None:
    card = nic(ifindex=2, name="en0")
    first = file(tmp_path)
    first.add(TRIAL, replace(tried(BEFORE, AFTER), card=replace(EN0, device=card.device)))
    first.hold([Hold(RESTORED, "", CardId(3, "en1"), ALL, "x")])
    again = file(tmp_path, "boot-2")
    assert again.trials == {}
    (hold,) = again.holds
    assert hold.card.is_of(replace(card, ifindex=9))
    assert not hold.card.is_of(replace(card, name="en5"))


def test_a_card_that_comes_back_is_another() -> None:
    card = replace(nic(ifindex=2, name="en0"), instance=7)
    id = CardId.of(card)
    assert id == CardId(2, "en0", card.device, 7)
    assert id.is_of(card)
    assert id.is_of(replace(card, ifindex=9, name="en9"))
    assert not id.is_of(replace(card, instance=8))
    assert id.left().is_of(replace(card, ifindex=9, instance=8))
    assert not id.left().is_of(replace(card, name="en9"))
    assert replace(id, device="pci", name="en5").is_of(card)
    assert id.is_of(replace(id, ifindex=9))
    assert not id.is_of(replace(id, instance=8))
    assert id.is_of(replace(id.left(), name="en0"))


def test_confirming_ends_holds_too(tmp_path: Path) -> None:
    made = file(tmp_path)
    made.hold([Hold(ROLLED_BACK, "x", EN0, ALL, "abc")])
    made.add(TRIAL, tried(BEFORE, AFTER))
    made.end("a1b2c3", [2], confirmed=True)
    assert file(tmp_path).holds == ()


def test_restoring_one_setting_leaves_other_holds(tmp_path: Path) -> None:
    made = file(tmp_path)
    made.hold([Hold(ROLLED_BACK, "x", EN0, frozenset({"rps", "xps"}), "abc")])
    made.hold([Hold(RESTORED, "", EN0, frozenset({"rps"}), "abc")])
    assert {(hold.kind, *hold.tunables) for hold in file(tmp_path).holds} == {
        (ROLLED_BACK, "xps"),
        (RESTORED, "rps"),
    }
    made.release(lambda hold: hold.card.is_of(nic(ifindex=2)))
    assert file(tmp_path).holds == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=9),
        lambda data: data.pop("holds"),
        lambda data: data["trials"][0].update(id=5),
        lambda data: data["trials"][0].update(deadline_ns="soon"),
        lambda data: data["trials"][0]["cards"][0].update(before={"etc": {}}),
        lambda data: data["trials"][0]["cards"][0].update(written={"rps": {"rx-0": 5}}),
        lambda data: data["trials"][0]["cards"][0].update(before={"channels": {"": {"cpus": "3"}}}),
        lambda data: data["trials"][0]["cards"][0].update(back={"rps": {"rx-0": {"absent": True}}}),
        lambda data: data["holds"].append({"kind": "other", "tunables": []}),
    ],
)
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    file(tmp_path).add(TRIAL, tried(BEFORE, AFTER))
    path = tmp_path / "confirm.json"
    data = json.loads(path.read_text())
    change(data)
    content = {key: value for key, value in data.items() if key not in ("version", "checksum")}
    path.write_text(json.dumps({**data, "checksum": checksum(content)}))
    with pytest.raises(StateFileError, match=r"confirm\.json"):
        file(tmp_path)
    assert (tmp_path / "confirm.json.bad").exists()
    assert file(tmp_path).trials == {}


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    file(tmp_path).add(TRIAL, tried(BEFORE, AFTER))
    path = tmp_path / "confirm.json"
    path.write_text(path.read_text().replace("2026-11-21", "2036-11-21"))
    with pytest.raises(StateFileError, match="checksum"):
        file(tmp_path)


def test_a_hold_lasts_where_the_disk_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = TrialFile(tmp_path / "file" / "confirm.json", "boot-1")
    with pytest.raises(StateFileError):
        made.hold([Hold(ROLLED_BACK, "x", EN0, ALL, "abc")])
    assert len(made.holds) == 1
    with pytest.raises(StateFileError):
        made.add(TRIAL, tried({}, {"rfs": {"rx-0": FlowTable(8)}}))
    assert made.trials == {}


def test_an_end_lasts_where_the_disk_takes_nothing(tmp_path: Path) -> None:
    made = file(tmp_path)
    made.add(TRIAL, tried(BEFORE, AFTER))
    path = tmp_path / "confirm.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(StateFileError):
        made.revise("a1b2c3", lambda trial: replace(trial, over=True))
    assert made.trials["a1b2c3"].over
    with pytest.raises(StateFileError):
        made.end("a1b2c3", [2], confirmed=True)
    assert "a1b2c3" in made.trials
    with pytest.raises(StateFileError):
        made.end("a1b2c3", [2], confirmed=False)
    assert made.trials == {}
    assert len(made.holds) == 1
    assert made.stale
    path.rmdir()
    made.save()
    assert not made.stale
    assert file(tmp_path).holds == made.holds
