"""The baseline file: what is recorded comes back, only for this boot, and never half."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned import statefile
from netuned.cpuset import CpuSet
from netuned.errors import StateFileError
from netuned.hardware.nic import HOST
from netuned.reconcile.baseline import DEPARTED, VERSION, Baseline
from netuned.values import ChannelCounts, FlowTable, Number, Qdisc, RssTable, Setting, State
from tests.unit.machines import nic

FOUND: dict[str, State] = {
    "channels": {"": ChannelCounts(0, 0, 4)},
    "rss": {"": RssTable((0, 0, 3, 3))},
    "irq": {"rxtx-0": CpuSet.parse_list("0-3,40")},
    "rfs": {"rx-0": FlowTable(0), "rx-1": FlowTable(4096)},
    "qdisc": {
        "root": Qdisc("mq", default=True),
        "tx-0": Qdisc("fq"),
        "tx-0 fq limit": Number(5),
    },
}


def settings(states: dict[str, State], *names: str) -> list[Setting]:
    """All settings of some tunables."""
    return [(name, key) for name in names or states for key in states[name]]


def make(path: Path, boot: str = "boot-1") -> Baseline:
    baseline = Baseline(path, boot)
    baseline.load()
    return baseline


def test_values_survive_a_restart(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record(nic(), FOUND)
    assert make(tmp_path / "b.json").of(nic()) == FOUND


def test_what_is_recorded_first_stays(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(), FOUND)
    baseline.record(nic(), {"irq": {"rxtx-0": CpuSet(1), "rxtx-1": CpuSet(2)}})
    assert baseline.of(nic())["irq"] == {**FOUND["irq"], "rxtx-1": CpuSet(2)}


def test_what_did_not_exist_is_never_recorded_later(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    wanted: dict[str, State] = {"rps": {"rx-0": CpuSet(3), "rx-1": CpuSet(3)}}
    baseline.record(nic(), {"rps": {"rx-0": CpuSet(1)}}, wanted)
    baseline.record(nic(), wanted, wanted)
    fresh = CpuSet()
    assert make(tmp_path / "b.json").of(nic()) == {"rps": {"rx-0": CpuSet(1), "rx-1": fresh}}


def test_an_even_table_is_recorded_as_the_kernel_default(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(queues=2), {"rss": {"": RssTable((0, 1, 0, 1))}})
    assert make(tmp_path / "b.json").of(nic())["rss"] == {"": RssTable((), 2)}


def test_a_table_over_some_queues_only_is_recorded_as_it_is(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(queues=4), {"rss": {"": RssTable((0, 1, 0, 1))}})
    assert baseline.of(nic())["rss"] == {"": RssTable((0, 1, 0, 1))}


def test_a_table_that_the_driver_has_not_filled_yet_is_the_kernels(tmp_path: Path) -> None:
    """As igb's before the card was ever up; of one that was, zeros are somebody's."""
    baseline = make(tmp_path / "b.json")
    never = replace(nic(queues=4), up=False, opened=False)
    baseline.record(never, {"rss": {"": RssTable((0, 0, 0, 0))}})
    assert baseline.of(never)["rss"] == {"": RssTable((), 4)}
    down = replace(nic(queues=4), up=False, ifindex=8, instance=8)
    baseline.record(down, {"rss": {"": RssTable((0, 0, 0, 0))}})
    assert baseline.of(down)["rss"] == {"": RssTable((0, 0, 0, 0))}


def test_a_setting_of_the_host_is_recorded_once_until_it_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record(HOST, {"rfs": {"": FlowTable(256)}})
    baseline = make(tmp_path / "b.json")
    baseline.record(HOST, {"rfs": {"": FlowTable(32768)}})
    assert make(tmp_path / "b.json").of(HOST) == {"rfs": {"": FlowTable(256)}}
    baseline.forget(HOST, {("rfs", "")})
    assert make(tmp_path / "b.json").of(HOST) == {}


def test_a_card_is_known_by_itself_not_by_its_number_or_name(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record(nic(2), FOUND)
    baseline = make(tmp_path / "b.json")
    assert baseline.of(replace(nic(2), ifindex=7, name="other")) == FOUND
    assert baseline.of(replace(nic(2), instance=5)) == {}, "a driver loaded again is another card"


def test_a_snapshots_card_is_known_by_its_number(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(2), FOUND)
    unknown = replace(nic(2), instance=0)
    assert baseline.of(unknown) == FOUND
    assert baseline.of(replace(nic(3), instance=0)) == {}
    with pytest.raises(StateFileError, match="nothing tells which card"):
        baseline.record(unknown, {"rps": {"rx-0": CpuSet(1)}})


def test_cards_that_left_are_remembered_but_not_all_for_ever(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    irq = {"irq": FOUND["irq"]}
    cards = [nic(ifindex) for ifindex in range(2, 2 + DEPARTED + 3)]
    for card in cards:
        baseline.record(card, irq)
    baseline.retire(cards[:1] + cards[2:])
    baseline.retire(cards[:1])
    assert [card.ifindex for card in cards if not baseline.of(card)] == [3, 4]
    again = make(tmp_path / "b.json")
    assert [card.ifindex for card in cards if not again.of(card)] == [3, 4]


def test_of_cards_that_left_the_last_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order they were recorded, and over a restart."""
    monkeypatch.setattr("netuned.reconcile.baseline.DEPARTED", 3)
    cards = [nic(ifindex) for ifindex in range(2, 7)]
    baseline = make(tmp_path / "b.json")
    for card in cards:
        baseline.record(card, {"irq": FOUND["irq"]})
    baseline.retire(cards[:2] + cards[4:], [cards[3], cards[2]])
    baseline = make(tmp_path / "b.json")
    baseline.retire(cards[:1], [cards[4], cards[1]])
    baseline.retire([], [cards[0]])
    again = make(tmp_path / "b.json")
    assert [card.ifindex for card in cards if again.of(card)] == [2, 3, 6]
    again.retire(cards[4:])
    again.retire([], [cards[4]])
    again.retire([], [nic(9)])
    monkeypatch.setattr("netuned.reconcile.baseline.DEPARTED", 1)
    again.retire([])
    assert again.of(cards[4]), "it was here meanwhile, and left last"


def test_of_many_cards_a_save_encodes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [nic(number) for number in range(1, 21)]
    baseline = make(tmp_path / "b.json")
    for each in cards[:-1]:
        baseline.record(each, FOUND)
    encoded: list[Any] = []
    encode = statefile.encode_part

    def heard(part: Any) -> str:
        encoded.append(part)
        return encode(part)

    monkeypatch.setattr(statefile, "encode_part", heard)
    baseline.record(cards[-1], FOUND)
    assert [part["ifindex"] for part in encoded if isinstance(part, dict) and part] == [20]
    assert all(make(tmp_path / "b.json").of(each) == FOUND for each in cards)
    baseline.forget(cards[0], settings(FOUND))
    assert not make(tmp_path / "b.json").of(cards[0])


def test_what_was_put_back_of_a_tunable_leaves_its_rest(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(), FOUND)
    baseline.forget(nic(), [("qdisc", "tx-0 fq limit")])
    left = {key: value for key, value in FOUND["qdisc"].items() if key != "tx-0 fq limit"}
    assert make(tmp_path / "b.json").of(nic()) == {**FOUND, "qdisc": left}


def test_a_key_that_comes_with_netuneds_own_write_is_recorded_once_it_is_there(
    tmp_path: Path,
) -> None:
    baseline = make(tmp_path / "b.json")
    wanted: dict[str, State] = {"qdisc": {"root": Qdisc("fq"), "root fq limit": Number(7)}}
    baseline.record(nic(), {"qdisc": {"root": Qdisc("mq", default=True)}}, wanted)
    baseline.record(nic(), {"qdisc": {"root": Qdisc("fq"), "root fq limit": Number(9)}}, wanted)
    assert make(tmp_path / "b.json").of(nic()) == {
        "qdisc": {"root": Qdisc("mq", default=True), "root fq limit": Number(9)}
    }


def test_what_was_not_there_and_stays_goes_with_the_last_that_was(tmp_path: Path) -> None:
    """The leaf of a queue that netuned opened is no reason to remember the card."""
    baseline = make(tmp_path / "b.json")
    root: dict[str, State] = {"qdisc": {"root": Qdisc("mq", default=True)}}
    wanted: dict[str, State] = {"qdisc": {"root": Qdisc("mq"), "tx-2": Qdisc("fq")}}
    baseline.record(nic(), root, wanted)
    assert make(tmp_path / "b.json").of(nic()) == root
    baseline.forget(nic(), [("qdisc", "root")])
    again = make(tmp_path / "b.json")
    assert again.of(nic()) == {}
    assert again._of(nic()).settings == {}


def test_a_key_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(), FOUND)
    for state in ({"rx-0 or so": CpuSet(1)}, {"rx-1": FlowTable(4)}):
        with pytest.raises(StateFileError, match="cannot be kept; nothing was changed"):
            baseline.record(nic(), {"rps": state})
    assert make(tmp_path / "b.json").of(nic()) == FOUND


def test_the_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    """Parameters stood in the qdisc's value, and beside it those that netuned had set."""
    before = {
        "qdisc": {
            "root": {"qdisc": "mq", "parameters": {}, "default": True},
            "tx-0": {"qdisc": "fq", "parameters": {"limit": 5}, "default": False},
        },
        "rps": {"rx-0": {"cpus": "0"}, "rx-1": {"absent": True}},
        "rfs": {"rx-0": {"flows": 0}},
    }
    content = sealed(
        host={"rfs": {"flows": 256}}, cards=card(before, parameters={"tx-0": ["limit"]})
    )
    (tmp_path / "b.json").write_text(content)
    assert make(tmp_path / "b.json").of(nic()) == {
        "qdisc": FOUND["qdisc"],
        "rps": {"rx-0": CpuSet(1), "rx-1": CpuSet()},
        "rfs": {"rx-0": FlowTable(0)},
    }
    assert make(tmp_path / "b.json").of(HOST) == {"rfs": {"": FlowTable(256)}}


def test_another_boot_starts_afresh(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record(nic(), FOUND)
    assert make(tmp_path / "b.json", "boot-2").of(nic()) == {}


def test_forgetting_one_tunable_and_a_card(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(), FOUND)
    baseline.forget(nic(), settings(FOUND, "irq"))
    assert set(make(tmp_path / "b.json").of(nic())) == {"channels", "rss", "rfs", "qdisc"}
    baseline.forget(nic(), settings(FOUND))
    assert make(tmp_path / "b.json").of(nic()) == {}


def recorded(tmp_path: Path) -> bytes:
    """A file as netuned writes it."""
    make(tmp_path / "whole.json").record(nic(), FOUND)
    return (tmp_path / "whole.json").read_bytes()


def sealed(**content: Any) -> str:
    """A file with a right checksum over what netuned does not write."""
    content = {"boot_id": "boot-1", "host": {}, "cards": {}, "lost": "", **content}
    return statefile.encode(VERSION, content).decode()


def card(settings: Any, **other: Any) -> dict[str, Any]:
    return {"1002": {"ifindex": 2, "settings": settings, "parameters": {}, **other}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 9}',
        '{"version": 1, "boot_id": "boot-1", "cards": {}}',
        '{"version": 2, "boot_id": "boot-1", "cards": {}, "host": {}}',
        sealed(cards=card({"irq": {"": 5}})),
        sealed(cards=card({"irq": {"rxtx-0": {"flows": 8}}})),
        sealed(cards=card({"irq": {"rxtx-0": {"cpus": "0-99999999"}}})),
        sealed(cards=card({"rings": {"": {"flows": 8}}})),
        sealed(cards=card({"rss": {"": {"table": ["0"], "queues": 1}}})),
        sealed(cards=card({"qdisc": {"root": {"qdisc": "fq", "parameters": {"limit": "1"}}}})),
        sealed(cards=card({}, ifindex="2")),
        sealed(cards={"en0": {}}),
        sealed(cards=[]),
        sealed(host={"rfs": {"absent": True}}),
        sealed(host={"irq": {"flows": 1}}),
        sealed(host=[]),
        "[" * 100_000,
        '{"version": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    baseline = Baseline(path, "boot-1")
    with pytest.raises(
        StateFileError, match=r"b\.json.* cannot be put back.* kept as .*b\.json\.bad"
    ):
        baseline.load()
    assert baseline.of(nic()) == {}
    assert (tmp_path / "b.json.bad").read_text() == text
    baseline.load()


@given(st.data())
def test_no_file_cut_short_or_changed_is_trusted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("baseline")
    whole = recorded(tmp_path)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(st.sampled_from((whole[:at], whole[:at] + b"1" + whole[at + 1 :])))
    path = tmp_path / "b.json"
    path.write_bytes(changed)
    baseline = Baseline(path, "boot-1")
    try:
        baseline.load()
    except StateFileError:
        assert (baseline.of(nic()), make(path).of(nic())) == ({}, {})
        assert make(path).lost == baseline.lost != ""
    else:  # the place held a 1 already, or it became another boot's
        assert baseline.of(nic()) in (FOUND, {})
        assert json.loads(changed)


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("damage", ["cut", "a directory", "a pipe"])
@pytest.mark.parametrize("kill_at", range(6))
def test_that_values_were_lost_outlasts_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, kill_at: int
) -> None:
    """Killed before any call that changes the disk, the next start knows or finds out again."""
    path = tmp_path / "b.json"
    path.write_bytes(recorded(tmp_path)[:-1])
    if damage != "cut":
        path.unlink()
        path.mkdir() if damage == "a directory" else os.mkfifo(path)
    calls = 0

    def killed(call: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > kill_at:
                raise Killed
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch, contextlib.suppress(Killed, StateFileError):
        for name in ("replace", "fsync", "unlink"):
            patch.setattr(os, name, killed(getattr(os, name)))
        make(path)
    with contextlib.suppress(StateFileError):
        make(path)
    again = make(path)
    assert again.lost
    again.record(nic(), FOUND)
    assert make(path).lost == again.lost
    assert make(path, "boot-2").lost == ""


def test_a_draft_that_tells_of_no_loss_is_none_of_ours(tmp_path: Path) -> None:
    """A save that was cut short: nothing was written to the card."""
    path = tmp_path / "b.json"
    path.with_name(".b.json.new").write_bytes(recorded(tmp_path))
    assert make(path).of(nic()) == {}
    os.replace(tmp_path / "whole.json", path)
    assert make(path).of(nic()) == FOUND


def test_where_nothing_can_be_set_aside_every_start_says_so(tmp_path: Path, disk: Full) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(b"{")
    disk.error = errno.ENOSPC
    for _ in range(2):
        with pytest.raises(StateFileError, match="cannot be set aside: No space left"):
            make(path)
    disk.error = 0
    with pytest.raises(StateFileError, match="kept as"):
        make(path)
    assert make(path).lost


@given(st.binary(max_size=200))
def test_no_content_makes_another_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "b.json"
    path.write_bytes(content)
    with pytest.raises(StateFileError):
        Baseline(path, "boot-1").load()


def test_a_value_edited_by_hand_is_not_trusted(tmp_path: Path) -> None:
    text = recorded(tmp_path).decode()
    assert "0-3,40" in text
    (tmp_path / "b.json").write_text(text.replace("0-3,40", "0-3,41"))
    with pytest.raises(StateFileError, match="damaged or edited"):
        make(tmp_path / "b.json")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "b.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StateFileError, match="more than 64 MiB"):
        make(tmp_path / "b.json")


def test_what_cannot_be_read_or_set_aside_is_reported(tmp_path: Path) -> None:
    (tmp_path / "b.json").mkdir()
    (tmp_path / "b.json.bad").write_text("")
    with pytest.raises(StateFileError, match=r"Is a directory.*cannot be set aside"):
        make(tmp_path / "b.json")


class Full:
    """A disk that takes nothing while ``error`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self._fsync(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Full:
    return Full(monkeypatch)


def test_nothing_may_be_written_when_it_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    baseline = Baseline(tmp_path / "file" / "b.json", "boot-1")
    with pytest.raises(StateFileError, match="nothing was changed"):
        baseline.record(nic(), FOUND)


def test_what_several_have_entered_is_saved_in_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Full
) -> None:
    written: list[bytes] = []
    write = statefile.write_of_boot

    def count(path: Path, data: bytes) -> None:
        written.append(data)
        write(path, data)

    monkeypatch.setattr(statefile, "write_of_boot", count)
    baseline = make(tmp_path / "b.json")
    cards = [replace(nic(), ifindex=ifindex, instance=1000 + ifindex) for ifindex in range(2, 6)]
    entries = [baseline.enter(card, FOUND) for card in cards]
    assert all(baseline.of(card) == {} for card in cards), "it is not on disk"
    for entry in entries:
        assert entry
        baseline.save(entry)
    assert len(written) == 1
    read = make(tmp_path / "b.json")
    assert all(baseline.of(card) == read.of(card) == FOUND for card in cards)
    assert baseline.enter(cards[0], FOUND) is None
    disk.error = errno.ENOSPC
    more: dict[str, State] = {"irq": {"rxtx-1": CpuSet(2)}}
    entries = [baseline.enter(card, more) for card in cards]
    for entry in entries:
        assert entry
        with pytest.raises(StateFileError, match=r"ENOSPC.*nothing was changed"):
            baseline.save(entry)
    disk.error = 0
    baseline.record(cards[0], more)
    assert baseline.of(cards[0])["irq"] == {**FOUND["irq"], **more["irq"]}
    assert baseline.of(cards[1]) == make(tmp_path / "b.json").of(cards[1]) == FOUND


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_what_was_not_saved_is_not_remembered(tmp_path: Path, disk: Full, error: int) -> None:
    baseline = make(tmp_path / "b.json")
    disk.error = error
    for _ in range(2):  # the second time, too
        with pytest.raises(StateFileError, match=errno.errorcode[error]):
            baseline.record(nic(), FOUND)
        with pytest.raises(StateFileError, match="nothing was changed"):
            baseline.record(HOST, {"rfs": {"": FlowTable(1)}})
    assert (baseline.of(nic()), baseline.of(HOST)) == ({}, {})
    assert list(tmp_path.iterdir()) == [], "half a file would fill the disk"
    disk.error = 0
    baseline.record(nic(), FOUND)
    baseline.record(HOST, {"rfs": {"": FlowTable(1)}})
    assert make(tmp_path / "b.json").of(nic()) == FOUND
    disk.error = error
    for _ in range(2):
        with pytest.raises(StateFileError, match="settings are as they should be"):
            baseline.forget(nic(), settings(FOUND))
        with pytest.raises(StateFileError, match="settings are as they should be"):
            baseline.forget(HOST, {("rfs", "")})
    assert baseline.of(nic()) == make(tmp_path / "b.json").of(nic()) == FOUND
