"""The host's table of flows: what cards make of it, and what it was is never lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.kernel import Kernel
from netuned.placement.objective import Places
from netuned.profiles.profile import Profile
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.contention import LIMITS
from netuned.reconcile.dispute import Dispute, Search
from netuned.reconcile.hostwide import (
    HostKeeper,
    Wanted,
    plan_of_host,
    reconcile_host,
    wanted_of_host,
)
from netuned.reconcile.work import Work
from netuned.snapshots.described import machine
from netuned.status import DEGRADED, DRIFTED, IN_SYNC
from netuned.tunables.base import Steering, Target
from netuned.tunables.rfs import HOST_FILE
from netuned.values import FlowTable
from tests.unit.machines import topology

SMALL, LARGE = Wanted(FlowTable(4096), "small"), Wanted(FlowTable(65536), "large")
NOBODY = Wanted(None)


class Host:
    """A root directory with the kernel's file, and a daemon's view of it that can be restarted."""

    def __init__(self, root: Path, entries: int = 256) -> None:
        self.root = root
        self.file = root / HOST_FILE.lstrip("/")
        self.file.parent.mkdir(parents=True)
        self.entries = entries
        self.restart()

    @property
    def entries(self) -> int:
        return int(self.file.read_text())

    @entries.setter
    def entries(self, count: int) -> None:
        self.file.write_text(f"{count}\n")

    def restart(self) -> None:
        self.kernel = Kernel(str(self.root))
        self.baseline = Baseline(self.root / "baseline.json", "boot")
        self.baseline.load()

    def look(self, wanted: Wanted) -> tuple[list[str], list[str]]:
        """The states and the changes of one look."""
        settings, changes = reconcile_host(self.kernel, self.baseline, wanted)
        return [setting.state for setting in settings], [str(change) for change in changes]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def target(rfs: Any, enforce: str = "yes") -> Target:
    profile = Profile.model_validate({"name": "p", "rfs": rfs, "policy": {"enforce": enforce}})
    none = CpuSet()
    machine = topology()
    return Target(
        profile=profile,
        topology=machine,
        channels=None,
        pool=none,
        queue_cpus=(none,),
        steering=Steering(none, none, none),
        rps_cpus=None,
        xps_cpus=None,
        default_affinity=none,
        places=Places(machine),
    )


@pytest.mark.parametrize(
    ("cards", "size", "enforce"),
    [
        ({}, None, True),
        ({"a": target("keep"), "b": target("default")}, None, True),
        ({"a": target({"entries": "none"})}, None, True),
        ({"a": target({})}, 32768, True),
        ({"a": target({"entries": 1000}), "b": target({"entries": 3000})}, 4096, True),
        ({"a": target({"entries": 8}), "b": target({"entries": 64}, "no")}, 8, True),
        ({"a": target({"entries": "none"}), "b": target({"entries": 64}, "no")}, 64, False),
    ],
)
def test_the_largest_that_a_card_asks_for(
    cards: dict[str, Target], size: int | None, enforce: bool
) -> None:
    wanted = wanted_of_host(cards)
    assert wanted.size == (None if size is None else FlowTable(size))
    assert wanted.enforce is enforce
    assert not wanted_of_host(cards, held="paused").writable


def test_what_was_before_comes_back_when_nobody_asks_any_more(host: Host) -> None:
    assert host.look(SMALL) == ([IN_SYNC], ["host rfs: 256 flows -> 4096 flows"])
    assert host.look(LARGE) == ([IN_SYNC], ["host rfs: 4096 flows -> 65536 flows"])
    assert host.look(SMALL)[1] == ["host rfs: 65536 flows -> 4096 flows"]
    assert host.look(SMALL) == ([IN_SYNC], [])
    assert host.look(NOBODY) == ([], ["host rfs: 4096 flows -> 256 flows"])
    assert host.entries == 256
    host.entries = 512
    assert host.look(NOBODY) == ([], [])
    assert host.entries == 512


def test_what_was_before_is_on_disk_before_the_first_write(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: str, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(host.kernel.files, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        host.look(SMALL)
    host.restart()
    host.entries = 4096  # the write had reached the kernel
    host.look(LARGE)
    host.restart()
    host.look(NOBODY)
    assert host.entries == 256


def test_what_is_right_already_is_recorded_all_the_same(host: Host) -> None:
    host.entries = 4096
    assert host.look(SMALL) == ([IN_SYNC], [])
    host.entries = 8
    host.look(SMALL)
    host.look(NOBODY)
    assert host.entries == 4096


def test_nothing_is_written_where_it_may_not(host: Host) -> None:
    assert host.look(Wanted(FlowTable(4096), "", enforce=False)) == ([DRIFTED], [])
    assert host.entries == 256
    host.look(SMALL)
    assert host.look(Wanted(None, enforce=False)) == ([], [])
    assert host.look(Wanted(None, restore=False)) == ([], [])
    assert host.entries == 4096
    assert not plan_of_host(host.kernel, host.baseline, Wanted(None, restore=False)).changes
    host.look(NOBODY)
    assert host.entries == 256


def test_the_plan_says_what_would_be_written(host: Host) -> None:
    (change,) = plan_of_host(host.kernel, host.baseline, SMALL).changes
    assert (change.ifname, change.tunable, change.why) == ("", "rfs", "small")
    host.look(SMALL)
    assert not plan_of_host(host.kernel, host.baseline, SMALL).changes
    (change,) = plan_of_host(host.kernel, host.baseline, NOBODY).changes
    assert (change.after, change.why) == (FlowTable(256), NOBODY.why)


def test_a_namespace_without_the_table_is_none_of_the_hosts_business(host: Host) -> None:
    host.file.unlink()
    assert host.look(SMALL) == ([], [])
    assert plan_of_host(host.kernel, host.baseline, SMALL).changes == ()


def test_a_described_machine_has_the_table(tmp_path: Path) -> None:
    (change,) = plan_of_host(machine("cores: 4"), Baseline(tmp_path / "b", "boot"), SMALL).changes
    assert (change.before, change.after) == (FlowTable(0), FlowTable(4096))


def refuse(path: str, data: bytes) -> None:
    raise KernelError("write", path, 12)


def ignore(path: str, data: bytes) -> None:
    pass


@pytest.mark.parametrize(("write", "said"), [(refuse, "ENOMEM"), (ignore, "256 flows")])
def test_a_failure_is_a_status_and_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, write: Callable[[str, bytes], None], said: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.files, "write", write)
        ((setting,), changes) = reconcile_host(host.kernel, host.baseline, SMALL)
        assert (setting.state, changes) == (DEGRADED, ())
        assert said in setting.reason
    assert host.look(SMALL)[0] == [IN_SYNC]
    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.files, "write", write)
        assert host.look(NOBODY)[0] == [DEGRADED]
    host.look(NOBODY)
    assert host.entries == 256


def test_what_is_no_number_is_a_status_and_a_problem(host: Host) -> None:
    host.file.write_text("many\n")
    assert host.look(SMALL) == ([DEGRADED], [])
    (problem,) = plan_of_host(host.kernel, host.baseline, SMALL).problems
    assert "many" in problem.message


def test_the_log_tells_a_new_profile_from_drift(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(workers: ThreadPoolExecutor) -> None:
        nobody = Dispute(LIMITS, Search(Work()), lambda: None, lambda: None)
        keeper = HostKeeper(host.kernel, host.baseline, workers, nobody)
        await keeper.look(SMALL)
        host.entries = 8
        await keeper.look(SMALL)
        await keeper.look(SMALL)
        await keeper.look(LARGE)
        await keeper.look(NOBODY)

    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(1) as workers:
        asyncio.run(work(workers))
    assert [record.getMessage() for record in caplog.records] == [
        "Set host rfs: 256 flows -> 4096 flows",
        "Repaired host rfs: found 8 flows, put back 4096 flows",
        "Set host rfs: 4096 flows -> 65536 flows",
        "Set host rfs: 65536 flows -> 256 flows",
    ]
