"""What every tunable keeps to, generated over all of them: its keys on disk, and its policy."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netuned import statefile
from netuned.cpuset import CpuSet
from netuned.errors import KernelError, StateFileError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.hashing import key_of
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile import baseline as baseline_file
from netuned.reconcile import trialfile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline, CardRecord
from netuned.reconcile.card import Card
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import Trial, Tried
from netuned.reconcile.putback import restore, roll_back
from netuned.reconcile.report import _settings, card_state
from netuned.reconcile.tally import Tallies
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.writing import Outcome
from netuned.status import IN_SYNC, PARTIAL, WITHHELD
from netuned.tunables import TUNABLES, Tunable
from netuned.values import (
    ABSENT,
    ChannelCounts,
    FlowRule,
    FlowTable,
    HashKey,
    Number,
    Qdisc,
    RssTable,
    State,
    Value,
    Word,
)
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: mlx5_core, queues: 4}]\n"
ASKED: Mapping[str, Any] = {
    "channels": {"combined": 2},
    "rings": {"rx": 1024, "tx": 256},
    "offloads": {"gro": "off", "rx-udp-gro-forwarding": "on"},
    "link": {"gso-max-size": "96K", "gro-max-size": "32K", "txqueuelen": 2000},
    "coalesce": {"rx-usecs": 20, "adaptive-rx": "off"},
    "hashing": {"function": "xor", "key": ":".join(["6d"] * 40), "fields": {"udp4": ["src"]}},
    "rss": {"queues": [0]},
    "contexts": {"contexts": {"app": {"queues": [1]}}},
    "napi": {
        "threaded": "on",
        "defer-hard-irqs": 2,
        "queues": {"1": {"irq-suspend-timeout": "1ms"}},
    },
    "flows": [{"match": {"proto": "tcp4", "dport": 443}, "to": "queue 1"}],
    "irq": {"spread": "one-per-queue"},
    "rps": {"cpus": "0-1"},
    "rfs": {"entries": 4096},
    "xps": {"cpus": "auto"},
    "rxqs": {"by": "rxqs", "cpus": "auto"},
    "bql": {"max": "100K"},
    "qdisc": {"kind": "fq", "flow_limit": 200},
}
"""Of each tunable what makes a difference on this machine; one that is added needs its line."""

PARTS = {"contexts": "rss", "hashing": "rss", "rxqs": "xps"}
"""Where a tunable is asked for in another one's part of a profile."""

VALUES: Mapping[type[Value], tuple[Value, ...]] = {
    CpuSet: (CpuSet(), CpuSet.parse_list("0-3,40"), CpuSet.parse_list("0-4095")),
    ChannelCounts: (ChannelCounts(0, 0, 63), ChannelCounts(4, 2, 0)),
    RssTable: (RssTable((0, 0, 3, 3)), RssTable((), 4)),
    FlowTable: (FlowTable(0), FlowTable(32768)),
    Qdisc: (Qdisc("fq"), Qdisc("mq", default=True), Qdisc("", default=True)),
    Number: (Number(0), Number((1 << 64) - 1, "µs"), Number(-1), Number(4, text="off")),
    Word: (Word("on"), Word("auto")),
    FlowRule: (FlowRule("tcp4", (("dport", "443"),), "queue 1"), FlowRule("0x5", (), "drop")),
    HashKey: (key_of(bytes(range(40))), key_of(bytes(52)), HashKey(40, "ab")),
}
OLDER: Mapping[type[Value], tuple[dict[str, object], Value]] = {
    CpuSet: ({"cpus": "0-3"}, CpuSet.parse_list("0-3")),
    ChannelCounts: ({"channels": [1, 2, 3]}, ChannelCounts(1, 2, 3)),
    RssTable: ({"table": [0, 1], "queues": 0}, RssTable((0, 1))),
    FlowTable: ({"flows": 8}, FlowTable(8)),
    Qdisc: ({"qdisc": "mq", "parameters": {}, "default": True}, Qdisc("mq", default=True)),
    Number: ({"number": 5}, Number(5)),
    Word: ({"word": "on"}, Word("on")),
    FlowRule: (
        {"proto": "udp4", "match": {"dport": "53"}, "to": "drop"},
        FlowRule("udp4", (("dport", "53"),), "drop"),
    ),
    HashKey: ({"hash_key": [1, "0f"], "secret": "6d"}, HashKey(1, "0f", b"m")),
}
"""As the first version that had such a value wrote it, and what it means."""

every_tunable = pytest.mark.parametrize("tunable", TUNABLES, ids=lambda tunable: tunable.name)


# The machine


def card_of(kernel: WritableKernel, *tunables: Tunable) -> Card:
    """The card, with some tunables as they are given here."""
    given = {tunable.name: tunable for tunable in tunables}
    nic = read_nic(kernel, 2, "en0")
    return Card(kernel, nic, tuple(given.get(tunable.name, tunable) for tunable in TUNABLES))


def aim(card: Card, baseline: Baseline, *names: str, disruptive: str = "allow") -> None:
    """Want what a profile says that sets these tunables, under this policy."""
    data: dict[str, Any] = {
        "name": "edge",
        "match": [{"name": "en0"}],
        "policy": {"disruptive": disruptive},
    }
    for name in names:
        if (part := PARTS.get(name, name)) == "rss":
            data[part] = {"queues": "keep", **data.get(part, {}), **ASKED[name]}
        else:
            data[part] = ASKED[name]
    loaded = [LoadedProfile(Profile.of(data), "", {})]
    card.verdicts.forget_refusals()  # as a new profile has it
    card.aim(plan_host(loaded, read_host(card.kernel)).targets[2], baseline)


def tune(card: Card, baseline: Baseline, *names: str, disruptive: str = "allow") -> Outcome:
    aim(card, baseline, *names, disruptive=disruptive)
    return reconcile_card(card, baseline)


def state_of(kernel: WritableKernel, tunable: Tunable) -> State:
    """What the machine shows of a tunable."""
    card = card_of(kernel)
    card.refresh()
    return tunable.read(card.view())


def shown(card: Card, name: str) -> tuple[str, str]:
    """A setting's state in status, and why."""
    (found,) = [s for s in _settings(card, {}, "", Tallies()) if s.tunable == name]
    return found.state, found.reason


class Watched:
    """A tunable that tells what is written of it; ``when`` says what of it drops the link."""

    def __init__(self, tunable: Tunable, when: Callable[[str, Value | None, Value], bool]) -> None:
        self.writes: list[State] = []
        self.then: Callable[[], None] = lambda: None
        """Called after each write."""
        self._write = tunable.write
        self.tunable = replace(tunable, write=self.write, disruptive=when)

    def write(self, view: Any, found: State, values: State) -> None:
        self.writes.append(dict(values))
        self._write(view, found, values)
        self.then()


@pytest.fixture
def kernel() -> WritableKernel:
    return WritableKernel(MACHINE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "baseline.json"


def opened(path: Path) -> Baseline:
    baseline = Baseline(path, "boot")
    baseline.load()
    return baseline


def samples(tunable: Tunable) -> State:
    """Keys that the machine has and that are wanted of it, and under them all kinds of values."""
    kernel = WritableKernel(MACHINE)
    keys = {*state_of(kernel, tunable)}
    assert tune(card_of(kernel), Baseline(Path("/nowhere/b.json"), "boot")).error is None
    card = card_of(kernel)
    aim(card, Baseline(Path("/nowhere/b.json"), "boot"), tunable.name)
    keys |= {*card.wanted[tunable.name]}
    values = [value for kind in tunable.holds for value in VALUES[kind]]
    assert keys
    assert all(map(tunable.accepts, keys))
    return {key: values[n % len(values)] for n, key in enumerate(sorted(keys))}


def everything(tunable: Tunable) -> list[State]:
    """States that have each kind of value under each key."""
    first = samples(tunable)
    values = [value for kind in tunable.holds for value in VALUES[kind]]
    return [first, *({**first, next(iter(first)): value} for value in values)]


# On disk


@every_tunable
def test_keys_and_values_come_back_from_the_baseline(tunable: Tunable, tmp_path: Path) -> None:
    nic = read_nic(WritableKernel(MACHINE), 2, "en0")
    for number, state in enumerate(everything(tunable)):
        path = tmp_path / f"{number}.json"
        opened(path).record(nic, {tunable.name: state})
        kept = {key: tunable.recorded(nic, value) for key, value in state.items()}
        found = opened(path).of(nic)[tunable.name]
        assert found == kept
        assert {k: str(v) for k, v in found.items()} == {k: str(v) for k, v in kept.items()}


@every_tunable
def test_what_was_not_there_comes_back_as_that(tunable: Tunable, path: Path) -> None:
    nic = read_nic(WritableKernel(MACHINE), 2, "en0")
    wanted = samples(tunable)
    opened(path).record(nic, {tunable.name: {}}, {tunable.name: wanted})
    kept = opened(path)._of(nic).settings.get(tunable.name, {})
    comes_with_it = wanted if baseline_file._comes_and_goes(tunable) else ()
    assert kept == dict.fromkeys(comes_with_it, ABSENT)
    assert all(
        value == tunable.fresh for value in opened(path).of(nic).get(tunable.name, {}).values()
    )


def trial_of(card: CardId, tunable: Tunable, state: State) -> tuple[Trial, Tried]:
    states = {tunable.name: state}
    foreign = tuple((tunable.name, key) for key in state)
    tried = Tried(card, "abc", states, states, states, states, "", foreign)
    return Trial("a1", 5 * 10**9, "2026-11-21 12:00:00"), tried


def trials(path: Path) -> TrialFile:
    made = TrialFile(path, "boot")
    made.load()
    return made


EN0 = CardId(2, "en0", "pci", 7)


@every_tunable
def test_keys_and_values_come_back_from_a_trial(tunable: Tunable, tmp_path: Path) -> None:
    for number, state in enumerate(everything(tunable)):
        path = tmp_path / f"{number}.json"
        trial, tried = trial_of(EN0, tunable, state)
        trials(path).add(trial, tried)
        (found,) = trials(path).trials.values()
        assert found.cards == {2: tried}
        assert str(found.cards[2].before) == str(tried.before)


def unfit(tunable: Tunable) -> list[State]:
    """What would not be read back: keys that are none, values of another kind."""
    good = samples(tunable)
    key, value = next(iter(good.items()))
    others = [kind for kind in VALUES if kind not in tunable.holds]
    return [
        *({**good, bad: value} for bad in ("no such key", f"{key} ", key + "x" * 300)),
        {**good, key: VALUES[others[0]][0]},
        {**good, key: Word("x" * 65)},
        {**good, key: Word("\0")},
        {**good, key: Number(1 << 70)},
    ]


@every_tunable
def test_what_could_not_be_read_back_is_refused_and_nothing_lost(
    tunable: Tunable, tmp_path: Path
) -> None:
    """A file with one such key would be set aside whole at the next start."""
    nic = read_nic(WritableKernel(MACHINE), 2, "en0")
    made, tried_path = tmp_path / "baseline.json", tmp_path / "confirm.json"
    opened(made).record(replace(nic, instance=5), {tunable.name: samples(tunable)})
    trial, tried = trial_of(EN0, tunable, samples(tunable))
    trials(tried_path).add(trial, tried)
    before = made.read_bytes(), tried_path.read_bytes()
    for state in unfit(tunable):
        with pytest.raises(StateFileError, match="cannot be kept; nothing was changed"):
            opened(made).record(nic, {tunable.name: state})
        for part in ("before", "written", "left", "back"):
            bad: Any = {part: {tunable.name: state}}
            with pytest.raises(StateFileError, match="cannot be kept; nothing was changed"):
                trials(tried_path).add(trial, replace(tried, **bad))
    assert (made.read_bytes(), tried_path.read_bytes()) == before
    assert opened(made).of(replace(nic, instance=5))
    assert trials(tried_path).trials


@every_tunable
def test_an_older_versions_file_is_read(tunable: Tunable, tmp_path: Path) -> None:
    nic = read_nic(WritableKernel(MACHINE), 2, "en0")
    of_kind = dict(zip(samples(tunable), map(OLDER.__getitem__, tunable.holds), strict=False))
    states = {tunable.name: {key: encoded for key, (encoded, _) in of_kind.items()}}
    meant = {tunable.name: {key: value for key, (_, value) in of_kind.items()}}

    card = {"ifindex": 2, "settings": states, "parameters": {}}
    content = {"boot_id": "boot", "host": {}, "lost": "", "cards": {str(nic.instance): card}}
    path = tmp_path / "baseline.json"
    path.write_bytes(statefile.encode(baseline_file.VERSION, content))
    assert opened(path)._of(nic) == CardRecord(2, meant)

    trial, tried = trial_of(EN0, tunable, samples(tunable))
    path = tmp_path / "confirm.json"
    trials(path).add(trial, tried)
    data = json.loads(path.read_bytes())
    data["trials"][0]["cards"][0].update(
        before=states, written=states, left=states, back=None, foreign=[]
    )
    body = {key: value for key, value in data.items() if key not in ("version", "checksum")}
    path.write_bytes(statefile.encode(trialfile.VERSION, body))
    (found,) = trials(path).trials.values()
    assert found.cards[2].before == found.cards[2].written == found.cards[2].left == meant


# Deny means deny


def always(key: str, before: Value | None, after: Value) -> bool:
    return True


def gentle(tunable: Tunable) -> list[str]:
    """The other tunables, without those that drop the link by themselves."""
    some = Number(1)
    return [t.name for t in TUNABLES if t is not tunable and not t.disruptive("", some, some)]


@every_tunable
def test_what_is_denied_is_not_applied(
    tunable: Tunable, kernel: WritableKernel, path: Path
) -> None:
    name, before = tunable.name, state_of(kernel, tunable)
    watched = Watched(tunable, always)
    card, baseline = card_of(kernel, watched.tunable), opened(path)
    outcome = tune(card, baseline, *ASKED, disruptive="deny")
    assert (outcome.error, watched.writes) == (None, [])
    assert state_of(kernel, tunable) == before
    assert shown(card, name)[0] == WITHHELD
    assert "policy.disruptive is deny: " in shown(card, name)[1]
    assert card_state(card, outcome.pending) == PARTIAL
    assert {other: shown(card, other)[0] for other in gentle(tunable)} == dict.fromkeys(
        gentle(tunable), IN_SYNC
    )
    withheld = {change.key for change in card.withheld if change.tunable == name}
    kept = opened(path).of(card.nic).get(name, {})
    assert withheld
    assert not withheld & kept.keys(), "it was never netuned's"
    assert reconcile_card(card, baseline).made == []

    assert tune(card, baseline, *ASKED).error is None
    assert watched.writes
    assert state_of(kernel, tunable) != before
    assert shown(card, name)[0] == IN_SYNC
    assert card_state(card, ()) == IN_SYNC
    assert name in opened(path).of(card.nic)


def in_force(
    kernel: WritableKernel, tunable: Tunable, path: Path
) -> tuple[Watched, Card, Baseline]:
    """A card on which this tunable was set while the policy let it be."""
    watched = Watched(tunable, always)
    card, baseline = card_of(kernel, watched.tunable), opened(path)
    assert tune(card, baseline, tunable.name, *gentle(tunable)[:1]).error is None
    assert watched.writes
    watched.writes.clear()
    return watched, card, baseline


def on_record(path: Path, card: Card, *names: str) -> dict[str, State]:
    """All that is on record, but for what queues of nobody's took along that these have ended."""
    return {
        name: state
        for name, state in opened(path).of(card.nic).items()
        if name in names or not card.tunables[name].ends_with
    }


@every_tunable
def test_what_is_denied_is_not_put_back_where_no_profile_names_it(
    tunable: Tunable, kernel: WritableKernel, path: Path
) -> None:
    name, before = tunable.name, state_of(kernel, tunable)
    watched, card, baseline = in_force(kernel, tunable, path)
    wanted, record = state_of(kernel, tunable), opened(path).of(card.nic)[name]
    left = gentle(tunable)[1]
    outcome = tune(card, baseline, left, disruptive="deny")
    assert (outcome.error, watched.writes) == (None, [])
    assert state_of(kernel, tunable) == wanted
    assert shown(card, name) == (WITHHELD, "policy.disruptive is deny: not put back")
    assert shown(card, left)[0] == IN_SYNC
    assert card_state(card, outcome.pending) == PARTIAL
    kept = on_record(path, card, name, left)
    assert kept == {left: opened(path).of(card.nic)[left], name: record}

    assert tune(card, baseline, left).error is None
    assert like(tunable, state_of(kernel, tunable), before)
    assert name not in opened(path).of(card.nic)


def like(tunable: Tunable, found: State, before: State) -> bool:
    """Whether all is as it was, whatever the order of an RSS table or a qdisc's handle is."""
    return found.keys() == before.keys() and all(tunable.same(key, before, found) for key in before)


@every_tunable
def test_what_is_denied_is_not_restored(
    tunable: Tunable, kernel: WritableKernel, path: Path
) -> None:
    name, before = tunable.name, state_of(kernel, tunable)
    watched, card, baseline = in_force(kernel, tunable, path)
    record, others = opened(path).of(card.nic)[name], frozenset(gentle(tunable)[:1])
    done = restore(card, baseline, others | {name}, denies=True)
    assert watched.writes == []
    assert done.problems
    assert all(f"en0 {name}" in said and "is deny" in said for said in done.problems)
    assert on_record(path, card, name) == {name: record}, "the others are back"

    aim(card, baseline, name)
    assert restore(card, baseline, frozenset({name}), denies=False).problems == []
    assert like(tunable, state_of(kernel, tunable), before)
    assert on_record(path, card) == {}, "what it took along goes back at the next look"


@every_tunable
def test_what_is_denied_is_not_rolled_back(
    tunable: Tunable, kernel: WritableKernel, path: Path
) -> None:
    name, before = tunable.name, state_of(kernel, tunable)
    watched, card, baseline = in_force(kernel, tunable, path)
    after = state_of(kernel, tunable)
    (other,) = gentle(tunable)[:1]
    now = {n: state_of(kernel, t) for n, t in card.tunables.items() if n in (name, other)}
    gone = {key: ABSENT for key in after if key not in before and tunable.fresh is ABSENT}
    was = {name: {**before, **gone}, other: state_of(WritableKernel(MACHINE), card.tunables[other])}
    writes = {
        n: {key: value for key, value in state.items() if was[n].get(key) != value}
        for n, state in now.items()
    }
    tried = Tried(CardId.of(card.nic), "abc", was, writes, now)
    done = roll_back(card, baseline, tried, lambda decided: None, denies=True)
    assert watched.writes == []
    assert done.problems
    assert all(f"en0 {name}" in said and "is deny" in said for said in done.problems)
    assert done.foreign == ()
    assert state_of(kernel, tunable) == after
    assert state_of(kernel, card.tunables[other]) == was[other]
    assert name in opened(path).of(card.nic)

    aim(card, baseline, name)
    assert roll_back(card, baseline, tried, lambda decided: None, denies=False).problems == []
    assert like(tunable, state_of(kernel, tunable), before)


@every_tunable
def test_what_is_denied_is_not_undone(
    tunable: Tunable, kernel: WritableKernel, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that drops the link on its way back alone, so that it could be set."""
    before = state_of(kernel, tunable)
    watched = Watched(tunable, lambda key, was, comes: comes == before.get(key, tunable.fresh))

    def fail() -> None:
        raise KernelError("set", tunable.name, errno.ENOMEM)

    watched.then = fail
    card, baseline = card_of(kernel, watched.tunable), opened(path)
    outcome = tune(card, baseline, tunable.name, disruptive="deny")
    assert isinstance(outcome.error, KernelError)
    assert watched.writes
    assert all(before.get(key) != value for made in watched.writes for key, value in made.items())
    assert state_of(kernel, tunable) != before
    assert "the policy forbids it, going on" in caplog.text
    assert tunable.name in opened(path).of(card.nic)
