"""Coalescing: what a driver makes of a number, and what it only says that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netuned.errors import VerifyError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.questions import COALESCE, A, Setting
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.report import _settings
from netuned.reconcile.tally import Tallies
from netuned.reconcile.writing import Outcome
from netuned.tunables.coalesce import COALESCE as TUNABLE
from netuned.values import Number
from tests.unit.writable import WritableKernel

MACHINE = "cores: 2\ncards: [{name: en0, driver: igb, queues: 2}]\n"


class Coalescing(WritableKernel):
    """A machine whose driver counts in steps of 8 µs, rounding down, or ignores what is set."""

    def __init__(self) -> None:
        super().__init__(MACHINE)
        self.ignores = False
        self.most = 1 << 32

    def set(self, setting: Setting[A], ifindex: int, values: Any) -> None:
        found = self.get(COALESCE, ifindex)
        steps = {name: min(n // 8 * 8, self.most) for name, n in values.items()}
        made = {name: found[name] for name in values} if self.ignores else steps
        super().set(setting, ifindex, made)

    @property
    def usecs(self) -> int:
        return self.get(COALESCE, 2)["rx-usecs"]

    def show(self, usecs: int) -> None:
        """Have it so, whoever set it."""
        found = self.get(COALESCE, 2)
        self.answers.cards(COALESCE)[2] = {**found, "rx-usecs": usecs}


@pytest.fixture
def kernel() -> Coalescing:
    return Coalescing()


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def card_of(kernel: Coalescing) -> Card:
    return Card(kernel, read_nic(kernel, 2, "en0"))


def tune(card: Card, baseline: Baseline, usecs: int | None) -> Outcome:
    """Bring a profile that says this of rx-usecs into force; None: the profile is gone."""
    data = {"name": "edge", "match": [{"name": "en0"}], "coalesce": {"rx-usecs": usecs}}
    loaded = [] if usecs is None else [LoadedProfile(Profile.of(data), "", {})]
    card.aim(plan_host(loaded, read_host(card.kernel)).targets.get(2), baseline)
    return reconcile_card(card, baseline)


def state(card: Card) -> tuple[str, str]:
    (setting,) = _settings(card, {}, "", Tallies())
    return setting.state, setting.reason


@pytest.mark.parametrize(
    ("wanted", "found", "taken"),
    [
        (100, 96, True),
        (3, 2, True),
        (5, 8, True),
        (100, 112, True),
        (100, 50, True),
        (100, 49, False),
        (100, 3, False),
        (100, 200, False),
        (1, 0, False),
        (0, 3, False),
    ],
)
def test_a_driver_rounds_so_far_and_no_farther(wanted: int, found: int, taken: bool) -> None:
    pair = Number(wanted, "µs"), Number(found, "µs")
    assert TUNABLE.within("rx-usecs", *pair) is taken


def test_what_a_driver_rounds_is_in_sync(kernel: Coalescing, baseline: Baseline) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, 100).error is None
    assert kernel.usecs == 96
    assert state(card)[0] == "in-sync"


def test_what_an_earlier_daemon_wrote_is_known_again(
    kernel: Coalescing, baseline: Baseline
) -> None:
    """A second write changes nothing either, and still it is what became of the value."""
    tune(card_of(kernel), baseline, 100)
    card = card_of(kernel)
    assert tune(card, baseline, 100).error is None
    assert (kernel.usecs, state(card)[0]) == (96, "in-sync")


@pytest.mark.parametrize("before", [3, 96])
def test_what_a_driver_ignores_is_said(kernel: Coalescing, baseline: Baseline, before: int) -> None:
    """Also where what it keeps could be what it makes of the value."""
    kernel.show(before)
    kernel.ignores = True
    card = card_of(kernel)
    assert tune(card, baseline, 100).error is None
    assert kernel.usecs == before
    shown, why = state(card)
    assert shown == "unsupported"
    assert f"the driver takes it and keeps {before} µs" in why


def test_what_a_driver_makes_something_else_of_is_said(
    kernel: Coalescing, baseline: Baseline
) -> None:
    """As tun's rx-frames, of which it takes 64 at most."""
    before, kernel.most = kernel.usecs, 64
    card = card_of(kernel)
    assert tune(card, baseline, 1000).error is None
    assert state(card) == (
        "unsupported",
        "1 of 1 cannot be set: rx-usecs: the driver makes 64 µs of 1000 µs",
    )
    tune(card, baseline, None)
    assert kernel.usecs == before // 8 * 8


def test_what_a_driver_does_not_take_back_stays_on_record(
    kernel: Coalescing, baseline: Baseline
) -> None:
    kernel.show(104)
    card = card_of(kernel)
    tune(card, baseline, 56)
    kernel.ignores = True
    assert tune(card, baseline, None).error is None
    assert kernel.usecs == 56
    assert baseline.of(card.nic)["coalesce"] == {"rx-usecs": Number(104, "µs")}
    kernel.ignores = False
    tune(card_of(kernel), baseline, None)
    assert kernel.usecs == 104
    assert baseline.of(card.nic) == {}


class Answered(Coalescing):
    """A machine whose driver takes all as it is, and somebody who answers some writes at once."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def set(self, setting: Setting[A], ifindex: int, values: Any) -> None:
        before = self.usecs
        WritableKernel.set(self, setting, ifindex, values)
        if self.left:
            self.left -= 1
            self.show(before)


def test_who_answers_the_first_writes_is_not_taken_for_the_driver(baseline: Baseline) -> None:
    kernel = Answered(3)
    card = card_of(kernel)
    outcome = tune(card, baseline, 100)
    assert isinstance(outcome.error, VerifyError)
    assert state(card)[0] != "unsupported"
    assert tune(card, baseline, 100).error is None
    assert (kernel.usecs, state(card)[0]) == (100, "in-sync")
