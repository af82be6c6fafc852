"""The host's settings: what cards make of them, and what was there before is never lost."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.hardware.nic import HOST
from netuned.kernel import Kernel
from netuned.kernel.irqbalance import Unknown
from netuned.kernel.once import Once
from netuned.placement.objective import Places
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import plan_card, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import NOTHING_HELD, Card
from netuned.reconcile.host import host_target
from netuned.reconcile.writing import Outcome
from netuned.snapshots.described import machine
from netuned.tunables import HOST_TUNABLES
from netuned.tunables.base import HostTarget, Steering, Target
from netuned.tunables.rfs import HOST_FILE
from netuned.values import Balancer, Exclusion, FlowTable
from tests.unit.machines import nic, topology
from tests.unit.parts import Parts

SMALL = HostTarget({"rfs": {"": FlowTable(4096)}}, {"rfs": {"": "small"}})
LARGE = HostTarget({"rfs": {"": FlowTable(65536)}}, {"rfs": {"": "large"}})


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
        self.card = Card(self.kernel, HOST, HOST_TUNABLES)
        self.baseline = Baseline(self.root / "baseline.json", "boot")
        self.baseline.load()

    def look(
        self,
        target: HostTarget | None,
        *,
        restore: bool = True,
        held: Mapping[str, str] = NOTHING_HELD,
    ) -> Outcome:
        self.card.aim(target, self.baseline, restore=restore, held=held)
        return reconcile_card(self.card, self.baseline)

    def made(self, target: HostTarget | None, **how: Any) -> list[str]:
        return [str(change) for change in self.look(target, **how).made]

    def planned(self, target: HostTarget | None, *, restore: bool = True) -> list[str]:
        self.card.aim(target, self.baseline, restore=restore)
        allowed, _ = plan_card(self.card, Once(self.kernel, many=False))
        return [f"{change}; {change.why}" for change in allowed]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def target(rfs: Any, enforce: str = "yes") -> Target:
    profile = Profile.of({"name": "p", "rfs": rfs, "policy": {"enforce": enforce}})
    none = CpuSet()
    machine = topology()
    return Target(
        profile=profile,
        topology=machine,
        channels=None,
        pool=none,
        queue_cpus=(none,),
        steering=Steering(none, none),
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
    wanted, observed = host_target(cards, None, ())
    assert (wanted.values["rfs"][""] if wanted else None) == (size and FlowTable(size))
    assert not observed if enforce else observed == {"rfs"}


def test_irqbalance_is_told_the_cards_whose_interrupts_are_placed() -> None:
    card = nic(2, "en0", 2)
    wanted, _ = host_target({}, "exclude", [card])
    assert wanted is not None
    assert wanted.values["irqbalance"][""] == Exclusion(
        "exclude", frozenset({card.device}), frozenset(card.interrupts)
    )
    assert str(wanted.values["irqbalance"][""]).startswith("exclude ")
    wanted, _ = host_target({}, "stop", [card])
    assert wanted is not None
    assert wanted.values == {"irqbalance": {"": Exclusion("stop")}}


def test_what_was_before_comes_back_when_nobody_asks_any_more(host: Host) -> None:
    assert host.made(SMALL) == ["host rfs: 256 flows -> 4096 flows"]
    assert host.made(LARGE) == ["host rfs: 4096 flows -> 65536 flows"]
    assert host.made(SMALL) == ["host rfs: 65536 flows -> 4096 flows"]
    assert host.made(SMALL) == []
    assert host.made(None) == ["host rfs: 4096 flows -> 256 flows"]
    assert host.entries == 256
    host.entries = 512
    assert host.made(None) == []
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
    host.look(None)
    assert host.entries == 256


def test_what_is_right_already_is_recorded_all_the_same(host: Host) -> None:
    host.entries = 4096
    assert host.made(SMALL) == []
    host.entries = 8
    host.look(SMALL)
    host.look(None)
    assert host.entries == 4096


def test_nothing_is_written_where_it_may_not(host: Host) -> None:
    outcome = host.look(SMALL, held={"rfs": "waits"})
    assert (outcome.made, len(outcome.pending), host.entries) == ([], 1, 256)
    host.look(SMALL)
    assert host.made(None, restore=False) == []
    assert host.entries == 4096
    assert host.planned(None, restore=False) == []
    host.look(None)
    assert host.entries == 256


def test_the_plan_says_what_would_be_written(host: Host) -> None:
    assert host.planned(SMALL) == ["host rfs: 256 flows -> 4096 flows; small"]
    host.look(SMALL)
    assert host.planned(SMALL) == []
    assert host.planned(None) == [
        "host rfs: 4096 flows -> 256 flows; no profile asks for it: as it was before netuned"
    ]


def test_a_namespace_without_the_table_is_none_of_the_hosts_business(host: Host) -> None:
    host.file.unlink()
    assert host.made(SMALL) == []
    assert "first network namespace" in host.card.unsupported["rfs"]
    assert host.planned(SMALL) == []


def test_a_described_machine_has_the_table(tmp_path: Path) -> None:
    card = Card(machine("cores: 4"), HOST, HOST_TUNABLES)
    card.aim(SMALL, Baseline(tmp_path / "b", "boot"))
    ((change,), _) = plan_card(card, Once(card.kernel, many=False))
    assert (change.before, change.after) == (FlowTable(0), FlowTable(4096))


def refuse(path: str, data: bytes) -> None:
    raise KernelError("write", path, 12)


def ignore(path: str, data: bytes) -> None:
    pass


@pytest.mark.parametrize(("write", "said"), [(refuse, "ENOMEM"), (ignore, "256 flows")])
def test_a_failure_is_told_and_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, write: Callable[[str, bytes], None], said: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.files, "write", write)
        outcome = host.look(SMALL)
        assert outcome.made == []
        assert said in str(outcome.error)
    assert host.look(SMALL).error is None
    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.files, "write", write)
        assert host.look(None).error is not None
    host.look(None)
    assert host.entries == 256


def test_what_is_no_number_is_told(host: Host) -> None:
    host.file.write_text("many\n")
    assert "many" in str(host.look(SMALL).error)
    assert host.file.read_text() == "many\n"


def test_one_that_fails_leaves_the_other_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two settings that have nothing to do with each other."""

    class Failing(Unknown):
        def look(self) -> Balancer:
            return Balancer(Exclusion("leave"), running=True)

        def stop(self) -> None:
            raise KernelError("StopUnit", "irqbalance.service", errno.ETIMEDOUT)

    async def work() -> None:
        parts = Parts(tmp_path)
        parts.kernel.irqbalance = Failing()
        await parts.plan(PROFILE.format(name="en0", entries=4096) + "host: {irqbalance: stop}\n")
        assert parts.kernel.files.read_text(HOST_FILE).strip() == "4096"
        assert "StopUnit" in parts.host.slot.last_error
        await parts.passes.close(parts.host.slot)
        parts.work.close()

    asyncio.run(work())


def test_a_table_that_fails_leaves_irqbalance_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table comes first; its error is what status shows, and is tried again."""
    stopped: list[bool] = []

    class Running(Unknown):
        def look(self) -> Balancer:
            return Balancer(Exclusion("stop" if stopped else "leave"), running=not stopped)

        def stop(self) -> None:
            stopped.append(True)

    async def work() -> None:
        parts = Parts(tmp_path)
        parts.kernel.irqbalance = Running()
        write = parts.kernel.files.write

        def fails(path: str, data: bytes) -> None:
            if path == HOST_FILE:
                raise KernelError("write", path, errno.ENOMEM)
            write(path, data)

        monkeypatch.setattr(parts.kernel.files, "write", fails)
        await parts.plan(PROFILE.format(name="en0", entries=4096) + "host: {irqbalance: stop}\n")
        assert stopped
        assert HOST_FILE in parts.host.slot.last_error
        assert parts.host.slot.retry is not None
        await parts.passes.close(parts.host.slot)
        parts.work.close()

    asyncio.run(work())


def test_a_look_under_way_is_waited_for_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()

    async def work() -> None:
        parts = Parts(tmp_path)
        write = parts.kernel.files.write

        def slow(path: str, data: bytes) -> None:
            began.set()
            time.sleep(0.2)
            write(path, data)

        monkeypatch.setattr(parts.kernel.files, "write", slow)
        parts.drop(PROFILE.format(name="en0", entries=4096))
        await parts.replan()
        await parts.until(began.is_set)
        await parts.passes.close(parts.host.slot)
        assert parts.host.slot.task is None
        parts.work.close()

    asyncio.run(work())


PROFILE = "match: [{{name: {name}}}]\nrfs: {{entries: {entries}}}\n"


def test_the_log_tells_a_new_profile_from_drift(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        parts = Parts(tmp_path)
        await parts.plan(PROFILE.format(name="en0", entries=4096))
        parts.kernel.put(HOST_FILE, b"8\n")
        await parts.look_at_host()
        await parts.look_at_host()
        await parts.plan(PROFILE.format(name="en1", entries=65536), name="large")
        parts.remove("large")
        parts.remove("edge")
        await parts.plan()

    caplog.set_level(logging.INFO)
    asyncio.run(work())
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "host" in line] == [
        "Set host rfs: none -> 4096 flows",
        "Repaired host rfs: found 8 flows, put back 4096 flows",
        "Set host rfs: 4096 flows -> 65536 flows",
        "Set host rfs: 65536 flows -> none",
    ]
