"""The baseline file: what is recorded comes back, only for this boot, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from netuned.baseline import Baseline
from netuned.cpuset import CpuSet
from netuned.errors import StateFileError
from netuned.values import ChannelCounts, FlowTable, Qdisc, RssTable, State
from tests.unit.machines import nic

FOUND: dict[str, State] = {
    "channels": {"": ChannelCounts(0, 0, 4)},
    "rss": {"": RssTable((0, 0, 3, 3))},
    "irq": {"rxtx-0": CpuSet.parse_list("0-3,40")},
    "rfs": {"rx-0": FlowTable(0), "rx-1": FlowTable(4096)},
    "qdisc": {"root": Qdisc("mq", default=True), "tx-0": Qdisc.of("fq", {"limit": 5})},
}


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
    assert make(tmp_path / "b.json").of(nic()) == {"rps": {"rx-0": CpuSet(1)}}


def test_an_even_table_is_recorded_as_the_kernel_default(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(queues=2), {"rss": {"": RssTable((0, 1, 0, 1))}})
    assert make(tmp_path / "b.json").of(nic())["rss"] == {"": RssTable((), 2)}


def test_a_table_over_some_queues_only_is_recorded_as_it_is(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(queues=4), {"rss": {"": RssTable((0, 1, 0, 1))}})
    assert baseline.of(nic())["rss"] == {"": RssTable((0, 1, 0, 1))}


def test_a_setting_of_the_host_is_recorded_once_until_it_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record_host("rfs", FlowTable(256))
    baseline = make(tmp_path / "b.json")
    baseline.record_host("rfs", FlowTable(32768))
    assert make(tmp_path / "b.json").host() == {"rfs": FlowTable(256)}
    baseline.forget_host("rfs")
    assert make(tmp_path / "b.json").host() == {}


def test_a_file_from_before_there_were_settings_of_the_host(tmp_path: Path) -> None:
    text = '{"version": 1, "boot_id": "boot-1", "cards": {"2": {"irq": {"rxtx-0": {"cpus": "3"}}}}}'
    (tmp_path / "b.json").write_text(text)
    baseline = make(tmp_path / "b.json")
    assert baseline.host() == {}
    assert baseline.of(nic()) == {"irq": {"rxtx-0": CpuSet.parse_list("3")}}


def test_another_boot_starts_afresh(tmp_path: Path) -> None:
    make(tmp_path / "b.json").record(nic(), FOUND)
    assert make(tmp_path / "b.json", "boot-2").of(nic()) == {}


def test_forgetting_one_tunable_and_a_card(tmp_path: Path) -> None:
    baseline = make(tmp_path / "b.json")
    baseline.record(nic(), FOUND)
    baseline.forget(nic().ifindex, ["irq"])
    assert set(make(tmp_path / "b.json").of(nic())) == {"channels", "rss", "rfs", "qdisc"}
    baseline.forget_cards([nic().ifindex])
    assert make(tmp_path / "b.json").of(nic()) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 9}',
        '{"version": 1, "boot_id": "boot-1", "cards": {"2": {"irq": {"": 5}}}}',
        '{"version": 1, "boot_id": "boot-1", "cards": {}, "host": {"rfs": {"absent": true}}}',
        '{"version": 1, "boot_id": "boot-1", "cards": {}, "host": []}',
    ],
)
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    baseline = Baseline(path, "boot-1")
    with pytest.raises(StateFileError, match=r"b\.json"):
        baseline.load()
    assert baseline.of(nic()) == {}
    assert (tmp_path / "b.json.bad").read_text() == text
    baseline.load()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StateFileError, match="not a baseline"):
        Baseline(tmp_path / "b.json", "boot-1").load()


def test_nothing_may_be_written_when_it_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    baseline = Baseline(tmp_path / "file" / "b.json", "boot-1")
    with pytest.raises(StateFileError, match="nothing was changed"):
        baseline.record(nic(), FOUND)
