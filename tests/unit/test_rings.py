"""Rings: one request, each key by itself, back to what was there before, denied where it is."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.features import ACTIVE
from netuned.kernel.questions import FEATURES, RINGS, A, Setting
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.putback import restore
from netuned.reconcile.report import _settings
from netuned.reconcile.tally import Tallies
from netuned.reconcile.writing import Outcome
from netuned.values import Number
from tests.unit.writable import WritableKernel

MACHINE = "cores: 2\ncards: [{name: en0, driver: igb, queues: 2}]\n"


class Rings(WritableKernel):
    """A machine that counts requests, and whose driver rounds up to a multiple of 8."""

    def __init__(self) -> None:
        super().__init__(MACHINE)
        self.requests: list[dict[str, int]] = []
        self.refuses: dict[str, int] = {}
        self.ignores: frozenset[str] = frozenset()

    def set(self, setting: Setting[A], ifindex: int, values: Any) -> None:
        self.requests.append(dict(values))
        for name in values:
            if name in self.refuses:
                raise KernelError("set", "rings", self.refuses[name], "not here", name)
        made = {name: -(-n // 8) * 8 for name, n in values.items() if name not in self.ignores}
        super().set(setting, ifindex, made)

    @property
    def rings(self) -> dict[str, int]:
        return {k: v for k, v in self.get(RINGS, 2).items() if not k.endswith("-max")}


@pytest.fixture
def kernel() -> Rings:
    return Rings()


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def tune(kernel: Rings, baseline: Baseline, card: Card | None = None, **said: Any) -> Outcome:
    """Bring a profile that says this of rings into force; nothing: the profile is gone."""
    policy = {"disruptive": said.pop("disruptive", "allow")}
    data = {"name": "edge", "match": [{"name": "en0"}], "rings": said, "policy": policy}
    card = card or Card(kernel, read_nic(kernel, 2, "en0"))
    loaded = [LoadedProfile(Profile.of(data), "", {})] if said else []
    card.aim(plan_host(loaded, read_host(kernel)).targets.get(2), baseline)
    return reconcile_card(card, baseline)


def test_all_of_a_card_goes_in_one_request(kernel: Rings, baseline: Baseline) -> None:
    assert tune(kernel, baseline, rx="max", tx=512).error is None
    assert kernel.requests == [{"rx": 4096, "tx": 512}]
    assert kernel.rings == {"rx": 4096, "tx": 512}
    assert tune(kernel, baseline, rx="max", tx=512).made == []


def test_what_a_driver_rounds_is_taken_as_it_makes_it(kernel: Rings, baseline: Baseline) -> None:
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    assert tune(kernel, baseline, card, rx=500).error is None
    assert kernel.rings["rx"] == 504
    assert len(kernel.requests) == 1, "the link is not dropped twice for it"
    (setting,) = _settings(card, {}, "", Tallies())
    assert (setting.state, setting.found) == ("in-sync", "rx 504 entries")


def test_what_the_kernel_names_is_left_out_and_the_rest_set(
    kernel: Rings, baseline: Baseline
) -> None:
    kernel.refuses = {"tx": errno.EINVAL}
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    assert tune(kernel, baseline, card, rx=1024, tx=512).error is None
    assert kernel.requests == [{"rx": 1024, "tx": 512}, {"rx": 1024}]
    assert kernel.rings == {"rx": 1024, "tx": 256}
    (setting,) = _settings(card, {}, "", Tallies())
    assert setting.state == "unsupported"
    assert "tx: not here" in setting.reason


def test_what_a_driver_takes_without_effect_is_said(kernel: Rings, baseline: Baseline) -> None:
    kernel.ignores = frozenset({"tx"})
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    assert tune(kernel, baseline, card, rx=1024, tx=2048).error is None
    assert kernel.rings == {"rx": 1024, "tx": 256}
    (setting,) = _settings(card, {}, "", Tallies())
    assert "tx: the driver takes it and keeps 256 entries" in setting.reason


def test_a_key_that_goes_is_put_back_and_the_others_stay(kernel: Rings, baseline: Baseline) -> None:
    tune(kernel, baseline, rx=1024, tx=512)
    assert tune(kernel, baseline, tx=512).error is None
    assert kernel.rings == {"rx": 256, "tx": 512}
    assert baseline.of(read_nic(kernel, 2, "en0"))["rings"].keys() == {"tx"}
    assert tune(kernel, baseline).error is None
    assert kernel.rings == {"rx": 256, "tx": 256}
    assert baseline.of(read_nic(kernel, 2, "en0")) == {}


def test_default_is_what_was_there_and_is_kept(kernel: Rings, baseline: Baseline) -> None:
    tune(kernel, baseline, rx="default")
    assert kernel.requests == []
    found = kernel.get(RINGS, 2)
    kernel.answers.cards(RINGS)[2] = {**found, "rx": 2048}
    tune(kernel, baseline, rx="default")
    assert kernel.rings["rx"] == 256


def test_what_is_denied_is_withheld_in_every_way(kernel: Rings, baseline: Baseline) -> None:
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    outcome = tune(kernel, baseline, card, rx=1024, disruptive="deny")
    assert (outcome.error, kernel.requests) == (None, [])
    (setting,) = _settings(card, {}, "", Tallies())
    assert (setting.state, setting.found) == ("withheld", "rx 256 entries")
    tune(kernel, baseline, rx=1024, tx=512)
    before = baseline.of(card.nic)
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    tune(kernel, baseline, card, tx=512, disruptive="deny")
    assert kernel.rings == {"rx": 1024, "tx": 512}, "not put back either"
    assert baseline.of(card.nic) == before, "and still on record"


def test_a_failure_undoes_what_a_driver_did_of_it(kernel: Rings, baseline: Baseline) -> None:
    """virtio: of `rx 100 tx 64` that ends with ENOMEM, tx is 64 afterwards."""

    def half(setting: Any, ifindex: int, values: Any) -> None:
        kernel.requests.append(dict(values))
        if values.get("rx") == 100:
            found = kernel.get(RINGS, 2)
            done = {name: number for name, number in values.items() if name != "rx"}
            kernel.answers.cards(RINGS)[2] = {**found, **done}
            raise KernelError("set", "rings", errno.ENOMEM)
        WritableKernel.set(kernel, setting, ifindex, values)

    kernel.set = half  # type: ignore[method-assign]
    outcome = tune(kernel, baseline, rx=100, tx=64)
    assert isinstance(outcome.error, KernelError)
    assert kernel.rings == {"rx": 256, "tx": 256}


def test_a_change_of_the_policy_ends_what_is_withheld(kernel: Rings, baseline: Baseline) -> None:
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    tune(kernel, baseline, card, rx=1024, disruptive="deny")
    assert card.withheld
    tune(kernel, baseline, card, rx=1024)
    assert not card.withheld
    assert kernel.rings["rx"] == 1024


def test_what_the_card_does_not_take_back_is_said_and_tried_again(
    kernel: Rings, baseline: Baseline
) -> None:
    """One that refuses, one that ignores: neither keeps the other from going back."""
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    assert tune(kernel, baseline, card, rx=1024, tx=512).error is None
    kernel.refuses = {"rx": errno.EINVAL}
    done = restore(card, baseline, frozenset({"rings"}), denies=False)
    assert done.problems == ["en0 rings rx: not set to 256 entries, not here"]
    assert kernel.rings == {"rx": 1024, "tx": 256}
    assert baseline.of(card.nic) == {"rings": {"rx": Number(256, "entries")}}
    kernel.refuses, kernel.ignores = {}, frozenset({"rx"})
    (said,) = restore(card, baseline, frozenset({"rings"}), denies=False).problems
    assert "the driver takes it and keeps 1024" in said
    kernel.ignores = frozenset()
    assert restore(card, baseline, frozenset({"rings"}), denies=False).problems == []
    assert kernel.rings == {"rx": 256, "tx": 256}
    assert baseline.of(card.nic) == {}


def test_a_group_taken_apart_tells_what_was_made(kernel: Rings, baseline: Baseline) -> None:
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    tune(kernel, baseline, card, rx=1024, tx=512)

    def only_rx(setting: Any, ifindex: int, values: Any) -> None:
        if "tx" in values:
            raise KernelError("set", "rings", errno.ENOMEM)
        WritableKernel.set(kernel, setting, ifindex, values)

    kernel.set = only_rx  # type: ignore[method-assign]
    done = restore(card, baseline, frozenset({"rings"}), denies=False)
    assert [change.key for change in done.made] == ["rx"]
    assert len(done.problems) == 1
    assert kernel.rings == {"rx": 256, "tx": 512}


def test_what_somebody_else_may_have_set_is_written_once_more(
    kernel: Rings, baseline: Baseline
) -> None:
    """And what then comes out alike is the driver's: its link drops no third time for it."""
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    for requests in (1, 2, 2):
        outcome = tune(kernel, baseline, card, rx=500)
        assert outcome.error is None
        assert outcome.believed == ({"rings"} if outcome.requests else set())
        assert len(kernel.requests) == requests
        card.verdicts.doubt({"rings"})
    (setting,) = _settings(card, {}, "", Tallies())
    assert (setting.state, setting.reason) == ("in-sync", "rx in sync as 504 entries: the driver's")
    assert card.came_out(disruptive=True) == {("rings", "rx")}
    assert not card.came_out(disruptive=False)
    card.verdicts.forget_accepted(card.came_out(disruptive=True))
    tune(kernel, baseline, card, rx=500)
    assert len(kernel.requests) == 3


class Splitting(WritableKernel):
    """Header split as mlx5 has it: with its own GRO on, and told of only once it was set."""

    def __init__(self) -> None:
        super().__init__(MACHINE.replace("igb", "mlx5_core"))
        self.has_it = True

    def set(self, setting: Setting[A], ifindex: int, values: Any) -> None:
        rings = cast("dict[int, Mapping[str, int]]", self.answers.cards(RINGS))
        if setting.name == RINGS.name and "tcp-data-split" in values:
            merges = self.get(FEATURES, ifindex)["rx-gro-hw"] & ACTIVE
            if not self.has_it or (values["tcp-data-split"] == 2 and not merges):
                raise KernelError("set", "rings", errno.EOPNOTSUPP, "no split", "tcp-data-split")
            rings[ifindex] = {**rings[ifindex], "tcp-data-split": 0}
        super().set(setting, ifindex, values)
        if setting.name == RINGS.name:
            told = rings[ifindex].items()
            rings[ifindex] = {key: n for key, n in told if (key, n) != ("tcp-data-split", 0)}


def split(kernel: Splitting, baseline: Baseline, *sections: str) -> tuple[Outcome, Card]:
    """A profile with these sections in force; without any, it goes."""
    profile = {"name": "edge", "match": [{"name": "en0"}]} | {
        name: SPLIT[name] for name in sections
    }
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    loaded = [LoadedProfile(Profile.of(profile), "", {})] if sections else []
    card.aim(plan_host(loaded, read_host(kernel)).targets.get(2), baseline)
    return reconcile_card(card, baseline), card


SPLIT = {"offloads": {"rx-gro-hw": "on"}, "rings": {"tcp-data-split": "on", "hds-thresh": 0}}


def test_header_split_is_set_where_a_card_does_not_tell_of_it_and_goes_back(
    baseline: Baseline,
) -> None:
    kernel = Splitting()
    outcome, card = split(kernel, baseline, "offloads", "rings")
    assert outcome.error is None
    assert kernel.get(RINGS, 2)["tcp-data-split"] == 2
    assert {setting.state for setting in _settings(card, {}, "", Tallies())} == {"in-sync"}
    assert split(kernel, baseline, "offloads", "rings")[0].made == []
    assert split(kernel, baseline)[0].error is None
    assert "tcp-data-split" not in kernel.get(RINGS, 2)
    assert not kernel.get(FEATURES, 2)["rx-gro-hw"] & ACTIVE
    assert baseline.of(card.nic) == {}
    assert split(kernel, baseline)[0].made == []


def test_header_split_that_the_kernel_refuses_is_unsupported(baseline: Baseline) -> None:
    kernel = Splitting()
    kernel.has_it = False
    outcome, card = split(kernel, baseline, "rings")
    assert outcome.error is None
    (setting,) = _settings(card, {}, "", Tallies())
    assert (setting.state, setting.reason) == (
        "unsupported",
        "1 of 1 cannot be set: tcp-data-split: no split",
    )
