"""What status says of settings: never that one is in sync which is not, and all that is amiss."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from netuned.errors import KernelError, StateFileError
from netuned.hardware.nic import HOST
from netuned.kernel.questions import COALESCE, Question
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.lookout import POLL_S
from netuned.reconcile.loop import Options
from netuned.reconcile.report import Contention, _settings, manager_status
from netuned.reconcile.tally import Tallies
from netuned.reconcile.writing import Outcome
from netuned.status import (
    AT_ONCE,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    PARTIAL,
    POLLED,
    RESYNCED,
    UNSUPPORTED,
    WITHHELD,
    ManagerStatus,
    SettingStatus,
    Status,
    in_sync,
)
from netuned.tunables import EVERY, HOST_TUNABLES, TUNABLES
from netuned.tunables.base import HostTarget, Wanted
from netuned.tunables.rfs import HOST_FILE
from netuned.values import Balancer, Exclusion, FlowTable, Number, Sysctl
from tests.unit.parts import MACHINE as BOTH
from tests.unit.parts import Parts, on, profile
from tests.unit.test_contract import ASKED, MACHINE, aim, card_of, gentle, opened
from tests.unit.writable import WritableKernel

ROOT = Path(__file__).parents[2]
CARDS = {tunable.name: (tunable.name, *gentle(tunable)[:2]) for tunable in TUNABLES}
"""Each tunable among others, so that there is something to undo."""


class Balance:
    """An irqbalance that does at once what it is told, and tells so."""

    def __init__(self, kernel: WritableKernel) -> None:
        self.told = Exclusion("leave")
        self.refuses = False
        self._kernel = kernel

    def is_told(self) -> bool:
        return False

    def look(self) -> Balancer:
        if self.refuses:
            raise KernelError("ask", "irqbalance's socket", errno.ECONNREFUSED)
        return Balancer(self.told, running=True, asks_policy=True)

    def exclude(self, devices: Collection[str], interrupts: frozenset[int]) -> None:
        self._kernel.begin_write("irqbalance")
        self.told = Exclusion("exclude", frozenset(devices), interrupts)

    def stop(self) -> None:
        self._kernel.begin_write("irqbalance")
        self.told = Exclusion("stop")

    def leave(self) -> None:
        self._kernel.begin_write("irqbalance")
        self.told = Exclusion("leave")


def told(card: Card, outcome: Outcome) -> dict[str, SettingStatus]:
    """The settings as a slot has them shown after a look."""
    failed = outcome.failed.tunable if outcome.failed else ""
    shown = _settings(card, {}, failed, Tallies(), str(outcome.error or ""))
    return {setting.tunable: setting for setting in shown}


def lies(card: Card, shown: Mapping[str, SettingStatus]) -> list[str]:
    """Settings that are said to be in sync, and are not as the kernel shows them now."""
    wrong = []
    for name, setting in shown.items():
        tunable, wanted = card.tunables[name], card.wanted.get(name, {})
        if setting.state == IN_SYNC:
            found = tunable.read(card.view())
            wanted = card.restorable(name, wanted, found)  # of queues that are open
            wrong += [
                f"{name} {key}"
                for key in wanted
                if key not in found or not tunable.same(key, wanted, found)
            ]
    return wrong


def subject(names: Collection[str], path: Path) -> tuple[WritableKernel, Card, Baseline]:
    """The card with a profile that sets these, or without any the host with all that is its."""
    kernel, baseline = WritableKernel(MACHINE), opened(path)
    if names:
        card = card_of(kernel)
        aim(card, baseline, *names)
        return kernel, card, baseline
    kernel.irqbalance = Balance(kernel)
    kernel.put(HOST_FILE, b"256\n")
    card = Card(kernel, HOST, HOST_TUNABLES)
    exclusion = Exclusion("exclude", frozenset({"/sys/devices/en0"}))
    values: dict[str, Wanted] = {"rfs": {"": FlowTable(4096)}, "irqbalance": {"": exclusion}}
    kernel.put("/proc/sys/net/core/netdev_budget", b"300\n")
    values["sysctl"] = {"net.core.netdev_budget": Sysctl("600")}
    values["hugepages"] = {"2M/node0": Number(5)}
    card.aim(HostTarget(values, {name: {"": ""} for name in values}), baseline)
    return kernel, card, baseline


@pytest.mark.parametrize("also", [0, 1, 100], ids=["once", "twice", "from then on"])
@pytest.mark.parametrize("names", [*CARDS.values(), tuple(ASKED), ()], ids="-".join)
def test_nothing_is_in_sync_that_a_failure_left_otherwise(
    names: tuple[str, ...], also: int, tmp_path: Path
) -> None:
    kernel, card, baseline = subject(names, tmp_path / "0.json")
    assert reconcile_card(card, baseline).error is None
    writes, failures = kernel.writes, 0
    assert writes
    for number in range(1, writes + 1):
        kernel, card, baseline = subject(names, tmp_path / f"{number}.json")
        kernel.fails = dict.fromkeys(range(number, number + also + 1), errno.ENOMEM)
        outcome = reconcile_card(card, baseline)
        shown = told(card, outcome)
        assert lies(card, shown) == [], f"after a failure of write {number}"
        failures += outcome.error is not None
        if outcome.error is not None and not also:
            assert {s.state for s in shown.values()} <= {DEGRADED, DRIFTED, IN_SYNC}
            assert DEGRADED in {s.state for s in shown.values()}
        kernel.fails = {}
        assert reconcile_card(card, baseline).error is None
        assert {s.state for s in told(card, Outcome()).values()} == {IN_SYNC}
    # of settings that go in one request each is tried by itself where that fails once
    assert failures or (not also and names and all(len(ASKED[name]) > 1 for name in names))


def test_what_cannot_be_read_after_an_undo_is_not_shown_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, card, baseline = subject(("xps", "rps"), tmp_path / "b.json")
    kernel.fails = {2: errno.ENOMEM}
    observe, looks = Card.observe, iter([True])

    def once(self: Card, *asked: Any) -> set[str]:
        if next(looks, False):
            return observe(self, *asked)
        raise KernelError("read", "en0", errno.EIO)

    monkeypatch.setattr(Card, "observe", once)
    shown = told(card, reconcile_card(card, baseline))
    assert {s.state for s in shown.values()} == {DEGRADED}
    assert {s.found for s in shown.values()} == {""}


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOMEM, errno.ENODEV])
@pytest.mark.parametrize("at", range(1, 7))
def test_what_was_told_in_part_is_not_in_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: int
) -> None:
    """One question fails, which may be while the card is told what is wanted of it."""

    async def scenario(parts: Parts) -> None:
        get, calls = parts.kernel.get, 0

        def fails_once(question: Question[Any], ifindex: int) -> Any:
            nonlocal calls
            if question is COALESCE:
                calls += 1
                if calls == at:
                    raise KernelError("get", "coalesce", error)
            return get(question, ifindex)

        monkeypatch.setattr(parts.kernel, "get", fails_once)
        await parts.plan("match: [{name: en0}]\ncoalesce: {rx-usecs: 51}\n")
        for _ in range(4):
            card = parts.shown()
            wrong = get(COALESCE, 2)["rx-usecs"] != 51
            assert not (wrong and card.state == IN_SYNC), card
            parts.passes.look_now(parts.slot())
            await parts.quiet()
        assert parts.shown().state == IN_SYNC
        assert get(COALESCE, 2)["rx-usecs"] == 51

    on(tmp_path, scenario)


def coalesce(card: Card, baseline: Baseline, usecs: int) -> SettingStatus:
    """Its setting under a profile that wants this, adopted over one that wanted something else."""
    with pytest.MonkeyPatch.context() as patch:
        fields = {"rx-usecs": usecs, "tx-usecs": 30}
        patch.setattr("tests.unit.test_contract.ASKED", {"coalesce": fields})
        other = card_of(cast("WritableKernel", card.kernel))
        aim(other, baseline, "coalesce")
    card.aim(other.target, baseline)
    return told(card, reconcile_card(card, baseline))["coalesce"]


def test_a_refused_value_is_forgotten_with_its_wish(tmp_path: Path) -> None:
    kernel, baseline = WritableKernel(MACHINE), opened(tmp_path / "b.json")
    card, put = card_of(kernel), kernel.set

    def set(setting: Any, ifindex: int, values: Mapping[str, int]) -> None:
        if values.get("rx-usecs") == 5000:
            raise KernelError("set", setting.what, errno.EINVAL, "too long", "rx-usecs")
        put(setting, ifindex, values)

    kernel.set = set  # type: ignore[method-assign]  # a driver with a most of its own
    shown = coalesce(card, baseline, 5000)
    assert (shown.state, shown.reason) == (
        UNSUPPORTED,
        "1 of 2 cannot be set: rx-usecs: too long",
    )
    assert coalesce(card, baseline, 5000).state == UNSUPPORTED
    shown = coalesce(card, baseline, 50)
    assert (shown.state, shown.reason) == (IN_SYNC, "")
    assert "rx-usecs 50 µs" in shown.found
    assert card.verdicts.refused == {}


def test_what_is_withheld_is_not_hidden_by_what_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, baseline = WritableKernel(MACHINE), opened(tmp_path / "b.json")
    card = card_of(kernel)
    asked = {"rings": {"rx": 1024, "cqe-size": 64}}
    monkeypatch.setattr("tests.unit.test_contract.ASKED", asked)
    aim(card, baseline, "rings", disruptive="deny")
    shown = told(card, reconcile_card(card, baseline))["rings"]
    assert shown.state == WITHHELD
    withheld, unsupported = shown.reason.split("; ")
    assert withheld == "policy.disruptive is deny: rx 1024 entries is not set"
    assert unsupported.startswith("1 of 2 cannot be set: cqe-size: ")
    who = {"rings": Contention("somebody", "cat")}
    contended = _settings(card, who, "rings", Tallies(), "EIO")[0]
    assert (contended.state, contended.writer) == ("contended", "cat")
    assert contended.reason == f"somebody; EIO; {shown.reason}"


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ("rings: {rx: 99999}", {"rings": UNSUPPORTED}),
        ("rss: {queues: [0]}", {"rss": UNSUPPORTED}),
        ("priority: 60", {}),
    ],
)
def test_a_card_with_a_profile_is_managed_whatever_it_can_have(
    says: str, shown: dict[str, str], tmp_path: Path
) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(f"match: [{{name: en0}}]\n{says}\n")
        state = PARTIAL if shown else IN_SYNC
        assert (parts.shown().profile, parts.shown().state) == ("edge", state)
        assert {s.tunable: s.state for s in parts.shown().settings} == shown
        await parts.plan(f"match: [{{name: en1}}]\n{says}\n")
        assert parts.shown().state == "unmanaged"

    on(tmp_path, scenario, WritableKernel(BOTH.replace("ice, queues: 4", "r8169")))


# When others' changes are seen


def seen(parts: Parts, *, deaf: bool = False) -> dict[str, str]:
    shown = parts.slot().status(paused=False, deaf=deaf)
    return {setting.tunable: setting.seen for setting in shown.settings}


def test_status_says_how_soon_it_sees_others_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = WritableKernel(BOTH)
    asks = profile("0-1") + "channels: {combined: 4}\nrss: {queues: all}\n"
    files = {"irq", "rps", "xps"}

    async def told(parts: Parts) -> None:
        await parts.plan(asks)
        now = seen(parts)
        assert now.keys() >= {"channels", "rss", "xps"}
        assert set(now.values()) == {AT_ONCE}
        for name, word in seen(parts, deaf=True).items():
            assert word == (RESYNCED if name in files else AT_ONCE)

    async def untold(parts: Parts) -> None:
        await parts.plan(asks)
        assert seen(parts) == {**dict.fromkeys(seen(parts), AT_ONCE), "rss": POLLED}

    for name in ("told", "untold"):
        (tmp_path / name).mkdir()
    on(tmp_path / "told", told, kernel)
    kernel = WritableKernel(BOTH)
    monkeypatch.setattr(kernel.ethtool_netlink, "tells_of_rss", lambda: False)
    on(tmp_path / "untold", untold, kernel)


def test_what_is_said_is_how_often_it_is_looked(tmp_path: Path) -> None:
    assert f"every {POLL_S:g} s" == POLLED
    options = Options((), tmp_path, tmp_path)
    assert f"every {options.resync_s:g} s" == RESYNCED
    kernel = WritableKernel(BOTH)
    told = [
        tunable.name
        for tunable in EVERY.values()
        if tunable.events or tunable.is_watched or tunable.silent(kernel)
    ]
    assert {*EVERY} - {*told} == {"irqbalance"}
    text = (ROOT / "docs/cli.md").read_text()
    for word in (AT_ONCE, POLLED, RESYNCED):
        assert f"| {word} |" in text


# The host


def manager(parts: Parts) -> ManagerStatus:
    nics = tuple(parts.shown(name) for name in ("en0", "en1"))
    host = parts.host.slot.status(paused=False, deaf=False)
    return manager_status(ProfileSet(), Desired({}, {}, (), (), None), nics, host, (), (), 0)


HOSTS = profile("0-1") + "rfs: {entries: 4096}\nhost: {irqbalance: exclude}\n"


def test_irqbalance_that_does_not_answer_is_no_sync(tmp_path: Path) -> None:
    kernel = WritableKernel(BOTH)
    balance = kernel.irqbalance = Balance(kernel)
    balance.refuses = True
    said = "host: ask irqbalance's socket: "

    async def scenario(parts: Parts) -> None:
        await parts.plan(HOSTS)
        status = manager(parts)
        assert parts.shown().state == IN_SYNC
        assert status.state == DEGRADED
        assert [p.startswith(said) for p in status.problems] == [True]
        states = {s.tunable: s.state for s in status.settings}
        assert states == {"rfs": DRIFTED, "irqbalance": DEGRADED}
        assert not in_sync(Status(status, (parts.shown(),)))
        balance.refuses = False
        parts.passes.look_now(parts.host.slot)
        await parts.quiet()
        status = manager(parts)
        assert (status.state, status.problems) == (IN_SYNC, ())
        assert {s.state for s in status.settings} == {IN_SYNC}
        assert in_sync(Status(status, (parts.shown(),)))

    on(tmp_path, scenario, kernel)


def test_no_failure_of_the_host_is_silent(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan(profile("0-1") + "rfs: {entries: 4096}\n")
        slot, gone = parts.host.slot, KernelError("read", HOST_FILE, errno.ENODEV)

        def leave_twice() -> None:
            slot.lost(gone)
            slot.lost(gone)

        def break_down() -> None:
            slot.broke(KeyError(5))

        def find_the_disk_full() -> None:
            slot.looked(Outcome(error=StateFileError("disk full")), 0.0)

        for happen in (find_the_disk_full, leave_twice, break_down):
            assert manager(parts).state == IN_SYNC
            happen()
            status = manager(parts)
            assert status.state == DEGRADED
            assert [p.startswith("host: ") for p in status.problems] == [True]
            parts.passes.look_now(slot)
            await parts.quiet()

    on(tmp_path, scenario)


def test_a_host_of_which_nothing_is_asked_changes_no_state(tmp_path: Path) -> None:
    async def scenario(parts: Parts) -> None:
        await parts.plan("match: [{name: other}]\n")
        assert (manager(parts).state, manager(parts).problems) == ("unmanaged", ())

    on(tmp_path, scenario)


def test_what_is_left_alone_reads_well_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(parts: Parts) -> None:
        parts.pauses.begin(None)
        await parts.plan("match: [{name: en0}]\nrfs: {entries: 4096}\n")

    on(tmp_path, scenario)
    said = [record.getMessage() for record in caplog.records]
    why = "left alone while a card is paused"
    assert f"Not set: host rfs: none -> 4096 flows ({why})" in said
