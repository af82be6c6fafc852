"""Settings that come and go, on a real kernel: permanent neighbours, by a tunable of this test.

netuned has none yet whose settings may not be there. Wanted, planned, written, undone, restored
and rolled back, "none" is a value like others.
"""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

import pytest

from netuned.cli.plan import show_changes
from netuned.cli.text import Screen
from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.hardware.nic import Nic
from netuned.kernel import Kernel
from netuned.plan import Change
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import plan_card, reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.before import found_before
from netuned.reconcile.card import Card
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import Trial, Tried
from netuned.reconcile.putback import restore, roll_back
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.writing import Outcome
from netuned.records import dataclass
from netuned.tunables import BY_NAME, TUNABLES
from netuned.tunables.base import Limits, Target, Tunable, View
from netuned.values import ABSENT, State, Value, Word
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

NAME = "neighbours"
A, B, C = (f"192.0.2.{n}" for n in (1, 2, 3))
MAC = {key: Word(f"02:00:00:00:00:0{n}") for n, key in enumerate((A, B, C), 1)}
OTHER = Word("02:00:00:00:00:0f")
REFUSED = Word("no address")


def read(view: View) -> State:
    shown = subprocess.check_output(["ip", "-j", "neigh", "show", "dev", view.nic.name])
    entries = [entry for entry in json.loads(shown) if entry["state"] == ["PERMANENT"]]
    return {entry["dst"]: Word(entry["lladdr"]) for entry in entries}


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        words = ["del", key] if value is ABSENT else ["replace", key, "lladdr", str(value)]
        permanent = [] if value is ABSENT else ["nud", "permanent"]
        command = ["ip", "neigh", *words, "dev", view.nic.name, *permanent]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            raise KernelError("set", f"{NAME} {key}", errno.EINVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTheTest(Tunable):
    """What it is asked for is said here, for profiles have no such key."""

    wanted: dict[str, Value] = field(default_factory=dict)

    def asked(self, profile: Profile) -> bool:
        return bool(self.wanted)


class Wants:
    """A card, and what is wanted of its neighbours."""

    def __init__(self, directory: Path, disruptive: str = "allow") -> None:
        self.kernel = Kernel()
        self.wanted: dict[str, Value] = {}

        def desired(target: Target, nic: Nic, limits: Limits) -> Mapping[str, Value]:
            return dict(self.wanted)

        self.tunable = OfTheTest(
            name=NAME,
            holds=(Word,),
            accepts=lambda key: key.startswith("192.0.2."),
            read=read,
            write=write,
            desired=desired,
            why=lambda target, nic, key: "the test's value",
            by_key=True,
            fresh=ABSENT,
            wanted=self.wanted,
        )
        ifindex = next(i for i, link in self.kernel.rtnl.links().items() if link.name == "v0")
        nic = read_nic(self.kernel, ifindex, "v0")
        self.card = Card(self.kernel, nic, (*TUNABLES, self.tunable))
        self.path = directory / "baseline.json"
        self.baseline = Baseline(self.path, "boot")

    def aim(self, **wanted: Value) -> None:
        self.wanted.clear()
        self.wanted |= wanted
        profile = Profile.of({"name": "edge", "match": [{"kind": "veth", "name": "v0"}]})
        planned = plan_host([LoadedProfile(profile, "", {})], read_host(self.kernel))
        self.card.verdicts.forget_refusals()
        self.card.aim(planned.targets[self.card.nic.ifindex], self.baseline)

    def plan(self, wanted: Mapping[str, Value]) -> tuple[Change, ...]:
        self.aim(**wanted)
        return plan_card(self.card, self.card.view().asked)[0]

    def bring(self, wanted: Mapping[str, Value]) -> Outcome:
        self.aim(**wanted)
        return reconcile_card(self.card, self.baseline)

    @property
    def there(self) -> State:
        return read(self.card.view())

    @property
    def recorded(self) -> State:
        """What is on the disk."""
        saved = Baseline(self.path, "boot")
        saved.load()
        return saved.of(self.card.nic).get(NAME, {})


@pytest.fixture
def wants(netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wants:
    """A card with one neighbour, which somebody made before netuned came."""
    netns.veth("v0", 2)
    netns.sh(f"ip neigh add {A} lladdr {MAC[A]} nud permanent dev v0")
    made = Wants(tmp_path)
    monkeypatch.setitem(BY_NAME, NAME, made.tunable)
    assert made.there == {A: MAC[A]}
    return made


def test_what_is_wanted_is_made(wants: Wants) -> None:
    changes = wants.plan({B: MAC[B]})
    assert list(map(str, changes)) == [f"v0 {NAME} {B}: none -> {MAC[B]}"]
    shown = show_changes(changes, Screen(width=120)).splitlines()[1].split()
    assert shown[:5] == ["v0", NAME, B, "none", str(MAC[B])]
    assert wants.bring({B: MAC[B]}).error is None
    assert wants.there == {A: MAC[A], B: MAC[B]}
    assert wants.recorded == {B: ABSENT}
    assert wants.plan({B: MAC[B]}) == ()


def test_what_is_wanted_gone_is_removed(wants: Wants) -> None:
    changes = wants.plan({A: ABSENT, B: ABSENT})
    assert list(map(str, changes)) == [f"v0 {NAME} {A}: {MAC[A]} -> none"]
    shown = show_changes(changes, Screen(width=120)).splitlines()[1].split()
    assert shown[:5] == ["v0", NAME, A, str(MAC[A]), "none"]
    outcome = wants.bring({A: ABSENT, B: ABSENT})
    assert (outcome.error, len(outcome.made)) == (None, 1)
    assert wants.there == {}
    assert wants.recorded == {A: MAC[A], B: ABSENT}
    assert wants.plan({A: ABSENT, B: ABSENT}) == ()


def test_somebody_who_makes_it_again_is_undone(wants: Wants, netns: Namespace) -> None:
    wants.bring({A: ABSENT})
    netns.sh(f"ip neigh add {A} lladdr {OTHER} nud permanent dev v0")
    assert reconcile_card(wants.card, wants.baseline).error is None
    assert wants.there == {}


@pytest.mark.parametrize("removed", [ABSENT, OTHER], ids=["removed", "changed"])
def test_a_later_write_that_fails_undoes_what_came_and_went(
    wants: Wants, removed: Value, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = wants.bring({A: removed, B: MAC[B], C: REFUSED})
    assert isinstance(outcome.error, KernelError)
    assert str(outcome.failed) == f"v0 {NAME} {C}: none -> {REFUSED}"
    assert outcome.undone
    assert wants.there == {A: MAC[A]}
    assert "Cannot undo" not in caplog.text
    assert wants.recorded == {A: MAC[A], B: ABSENT, C: ABSENT}


def test_what_the_profile_drops_comes_back_or_goes(wants: Wants) -> None:
    wants.bring({A: ABSENT, B: MAC[B], C: MAC[C]})
    assert wants.there == {B: MAC[B], C: MAC[C]}
    changes = wants.plan({C: MAC[C]})
    assert sorted(map(str, changes)) == [
        f"v0 {NAME} {A}: none -> {MAC[A]}",
        f"v0 {NAME} {B}: {MAC[B]} -> none",
    ]
    assert wants.bring({C: MAC[C]}).error is None
    assert wants.there == {A: MAC[A], C: MAC[C]}
    assert wants.recorded == {C: ABSENT}
    assert wants.bring({}).error is None
    assert wants.there == {A: MAC[A]}
    assert wants.recorded == {}


def test_restoring_brings_back_what_was_and_removes_what_was_not(wants: Wants) -> None:
    wants.bring({A: OTHER, B: MAC[B]})
    done = restore(wants.card, wants.baseline, frozenset({NAME}), denies=False)
    assert done.problems == []
    assert wants.there == {A: MAC[A]}
    assert wants.recorded == {}


@pytest.mark.parametrize("done", [True, False], ids=["waits", "was cut short"])
def test_a_trial_is_rolled_back(wants: Wants, tmp_path: Path, done: bool) -> None:
    card = wants.card
    wanted: dict[str, Value] = {A: ABSENT, B: MAC[B], C: MAC[C]}
    wants.plan(wanted)
    file = TrialFile(tmp_path / "confirm.json", "boot")
    tried = Tried(CardId.of(card.nic), "abc", found_before(card))
    trial = Trial("a1", 5 * 10**9, "2026-11-21 12:00:00")

    def note(card: Card, changes: tuple[Change, ...]) -> None:
        nonlocal tried
        tried = tried.with_writes(changes)
        file.add(trial, tried)

    assert reconcile_card(card, wants.baseline, recorder=note).error is None
    assert wants.there == {B: MAC[B], C: MAC[C]}
    if done:
        tried = Tried(tried.card, "abc", tried.before, tried.written, {NAME: wants.there})
        file.add(trial, tried)

    again = TrialFile(tmp_path / "confirm.json", "boot")
    again.load()
    (kept,) = again.trials["a1"].cards.values()
    assert kept == tried
    assert kept.before[NAME] == {A: MAC[A], B: ABSENT, C: ABSENT}
    put_back = roll_back(card, wants.baseline, kept, lambda decided: None, denies=False)
    assert (put_back.problems, put_back.foreign) == ([], ())
    assert wants.there == {A: MAC[A]}


def test_what_somebody_else_removed_or_changed_since_is_not_rolled_back(
    wants: Wants, netns: Namespace
) -> None:
    card = wants.card
    wants.plan({A: ABSENT, B: MAC[B], C: MAC[C]})
    tried = Tried(CardId.of(card.nic), "abc", found_before(card))
    tried = tried.with_writes(wants.plan({A: ABSENT, B: MAC[B], C: MAC[C]}))
    assert reconcile_card(card, wants.baseline).error is None
    tried = Tried(tried.card, "abc", tried.before, tried.written, {NAME: wants.there})
    netns.sh(f"ip neigh del {B} dev v0")
    netns.sh(f"ip neigh replace {C} lladdr {OTHER} nud permanent dev v0")
    netns.sh(f"ip neigh add {A} lladdr {OTHER} nud permanent dev v0")
    put_back = roll_back(card, wants.baseline, tried, lambda decided: None, denies=False)
    assert put_back.problems == []
    assert set(put_back.foreign) == {(NAME, A), (NAME, C)}
    assert wants.there == {A: OTHER, C: OTHER}
