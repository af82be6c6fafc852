"""Files of netuned's own state, and snapshots."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from netuned import statefile
from netuned.cli import doctor
from netuned.cli.text import Screen
from netuned.counters.sample import CardSample, Sample, between, from_json, to_json
from netuned.cpuset import CpuSet
from netuned.doctor.examine import examine
from netuned.doctor.facts import CardFacts, Facts
from netuned.errors import NetunedError
from netuned.hardware.nic import HOST
from netuned.hardware.topology import Topology
from netuned.placement import seatfile
from netuned.profiles.timeout import MOST_S
from netuned.reconcile import baseline, pauses
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import ROLLED_BACK, Hold, Trial, Tried, now_ns
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.undo import undo_of
from netuned.snapshots import snapshot
from netuned.values import ChannelCounts, FlowTable, Number, Qdisc, RssTable, State, describe
from tests.fuzz.target import Target, sound
from tests.unit.machines import nic


@cache
def _directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="netuned-fuzz-", dir="/dev/shm"))


def _with_checksum(data: bytes) -> bytes:
    """With the checksum that belongs to it, else nothing but that would be tried."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        content = json.loads(data)
        if isinstance(content, dict) and "checksum" in content:
            rest = {k: v for k, v in content.items() if k not in ("version", "checksum")}
            content["checksum"] = statefile.checksum(rest)
            return json.dumps(content).encode()
    return data


def _baseline(data: bytes) -> None:
    """What is read can be written, and is then the same; it says what is to be put back."""
    path = _directory() / "baseline.json"
    path.write_bytes(_with_checksum(data))
    try:
        read = baseline.Baseline(path, "boot")
        read.load()
    except NetunedError as error:
        sound(error)
        return
    for card in (CARD, replace(CARD, instance=0)):
        shown(read.of(card))
    read.record(CARD, {"irq": {"rx-9": CpuSet()}})
    again = baseline.Baseline(path, "boot")
    again.load()
    assert again.of(CARD) == read.of(CARD)
    assert again.of(HOST) == read.of(HOST)


def shown(states: Mapping[str, State]) -> None:
    for state in states.values():
        assert all(describe(value) for value in state.values())


def _confirm(data: bytes) -> None:
    """What is read can be decided on, shown, and written; it is then the same."""
    path = _directory() / "confirm.json"
    path.write_bytes(_with_checksum(data))
    try:
        read = TrialFile(path, "boot")
        read.load()
    except NetunedError as error:
        sound(error)
        return
    for trial in read.trials.values():
        assert trial.left_s() <= MOST_S
        assert re.fullmatch("[a-z0-9]{1,64}", trial.id)
        assert len(str(trial)) < 100 + 20 * len(trial.cards)
        for ifindex, tried in trial.cards.items():
            found = read.pending(replace(CARD, ifindex=ifindex, instance=tried.card.instance))
            assert found is not None
            assert found[0] in read.trials.values()
            assert 0 < ifindex < 1 << 31
            shown(tried.back or {})
            shown(undo_of(tried, tried.left or tried.written).back)
            assert tried.card.is_of(CARD) in (True, False)
    for hold in read.holds:
        assert all(hold.why(tunable) for tunable in hold.tunables)
    read.save()
    again = TrialFile(path, "boot")
    again.load()
    assert (again.trials, again.holds) == (read.trials, read.holds)
    for id, trial in read.trials.items():
        again.end(id, trial.cards, confirmed=False)
    assert not again.trials


def _seats(data: bytes) -> None:
    try:
        seatfile.parse_seats(data)
    except ValueError as error:
        sound(error)


def _paused(data: bytes) -> None:
    """What is read can be written, and is then the same."""
    try:
        read = pauses.parse_paused(_with_checksum(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    assert pauses.parse_paused(pauses.encode_paused(read)) == read


def _snapshot(data: bytes) -> None:
    path = _directory() / "snapshot.tar"
    path.write_bytes(data)
    try:
        taken = snapshot.read(str(path))
        snapshot.recorded_profiles(taken)
    except NetunedError as error:
        sound(error)


def _packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()[: -8 * tarfile.BLOCKSIZE]


def _counted(data: bytes) -> None:
    """What is read of samples can be told between, judged, and written; it is then the same."""
    path = _directory() / "counted.tar"
    members = ("snapshot.json", MANIFEST), ("answers.json", ANSWERS), ("counters.json", data)
    path.write_bytes(_packed(*members) + bytes(2 * tarfile.BLOCKSIZE))
    try:
        taken = snapshot.read(str(path))
    except NetunedError as error:
        sound(error)
        return
    before, after = taken.samples
    assert from_json(json.loads(json.dumps(to_json(after)))) == after
    topology = Topology(CpuSet(3), CpuSet(3), CpuSet(3), cores=(CpuSet(1), CpuSet(2)))
    facts = Facts(topology, {2: CardFacts(CARD, rings={"rx": 4}, table=(0, 1))})
    what = between(before, after)
    findings = examine(facts, what)
    json.dumps(doctor.as_json(findings, ["eth0"], what.seconds, what.missing))
    assert doctor.show(findings, ["eth0"], what.seconds, what.missing, Screen())


MANIFEST = b'{"format": 1, "taken_at": 1, "refused": {"/proc/stat": ["EACCES", 292]}}'
ANSWERS = b"""{"links": {"2": {"name": "eth0", "kind": "", "up": true, "running": true, "master": 0,
"lower": 0, "mac": "", "rx_queues": 1, "tx_queues": 1}}, "cards": {"2": {"rx_rings": 4}}}"""


CARD = replace(nic(2, "eth0", 4), instance=5)
BEFORE: dict[str, State] = {
    "channels": {"": ChannelCounts(0, 0, 2)},
    "rss": {"": RssTable((0, 1, 1, 1), 2)},
    "rps": {"rx-0": CpuSet(3)},
    "rfs": {"rx-0": FlowTable(8)},
    "qdisc": {"root": Qdisc("mq", default=True), "tx-0": Qdisc("fq"), "tx-0 fq limit": Number(100)},
}
AFTER: dict[str, State] = {"channels": {"": ChannelCounts(0, 0, 4)}, "rps": {"rx-0": CpuSet(1)}}


def _two_samples() -> bytes:
    card = CardSample(
        "eth0",
        {"rx_packets": 5, "rx_missed_errors": 0},
        {"rx_no_buffer_count": 0, "tx_xoff": 0},
        {0: {"packets": 1, "overruns": 0}, 1: {"packets": 0}},
        {0: {"packets": 1, "bytes": 4}},
        {"root": {"packets": 1, "drops": 0}, "tx-0": {"drops": 0, "flows_plimit": 0}},
        {"root": "mq", "tx-0": "fq"},
        {200: {0: 4}},
    )
    cpus = {0: {"softirq": 1, "idle": 9, "processed": 1, "dropped": 0, "ksoftirqd": 5}}
    before = Sample(1.0, cpus, {2: card}, {"TcpRetransSegs": 0, "conntrack_max": 9}, {"x": "y"})
    return json.dumps({"samples": [to_json(before), to_json(replace(before, at=3.0))]}).encode()


def _kept_baseline() -> bytes:
    path = _directory() / "baseline.json"
    path.unlink(missing_ok=True)
    made = baseline.Baseline(path, "boot")
    made.record(HOST, {"rfs": {"": FlowTable(64)}})
    made.record(
        CARD, BEFORE, {"qdisc": {"tx-0": Qdisc("fq"), "tx-0 fq limit": Number(1)}, "xps": {}}
    )
    return path.read_bytes()


def _kept_trials() -> bytes:
    path = _directory() / "confirm.json"
    made = TrialFile(path, "boot")
    card = CardId(2, "eth0", "/sys/devices/pci0", 5)
    tried = Tried(card, "0f", BEFORE, AFTER, {**BEFORE, **AFTER})
    made.add(Trial("a1b2c3", now_ns(), "2026-11-21 12:00:00", {2: tried}))
    going = Tried(
        card=replace(card, ifindex=3),
        profile="0f",
        before=BEFORE,
        written=AFTER,
        back=BEFORE,
        error="x",
        foreign=(("rps", "rx-0"),),
    )
    made.add(Trial("d4e5f6", now_ns(), "2026-11-21 12:00:00", {3: going}, over=True))
    held = CardId(4, "eth2", instance=6)
    made.hold([Hold(ROLLED_BACK, "a1b2c3", held, frozenset({"rps"}), "0f")])
    return path.read_bytes()


TARGETS = (
    Target(
        "baseline",
        _baseline,
        (_kept_baseline(),),
        (b"null", b"[" * 5000, b'{"":', b"1e999", b"NaN", b'"\\ud800"', b"true", b"-1", b'"qdisc"'),
    ),
    Target(
        "confirm.json",
        _confirm,
        (_kept_trials(),),
        (
            *(
                b"null",
                b"[" * 5000,
                b"{}",
                b"1e999",
                b"NaN",
                b'"\\ud800"',
                b"true",
                b"-1",
                b"9" * 30,
            ),
            *(b'"\\u0000"', b'"\\u001b[2J"', b"e" * 10_000, b'"qdisc"', b'"ifindex": 2', b'""'),
            *(b'"trials"', b'"holds"', b'"cards"', b'"left": null', b'{"cpus": "0-99999"}'),
        ),
    ),
    Target(
        "counters.json",
        _counted,
        (_two_samples(),),
        (b"null", b"[" * 5000, b"1e999", b"NaN", b"-1", b"9" * 19, b"0.5", b'"\\u001b[2J"', b'"2"'),
    ),
    Target(
        "seats",
        _seats,
        (
            b'{"version": 1, "online": "0-3", "cards": '
            b'[{"device": "d", "name": "eth0", "home": [1, 2], "now": [1, -1]}]}',
        ),
        (b"null", b"[" * 5000, b"1e999", b"NaN", b'"\\ud800"', b"9" * 5000),
    ),
    Target(
        "paused.json",
        _paused,
        (
            pauses.encode_paused([CardId(0, "eth0", instance=5), CardId(0, "eth1", instance=6)]),
            pauses.encode_paused([pauses.ALL_CARDS]),
        ),
        (
            *(b"null", b"[" * 5000, b"{}", b"1e999", b"NaN", b'"\\ud800"', b"true", b"-1"),
            *(b"9" * 30, b'""', b'"\\u0000"', b"e" * 100, b'"name"', b'"instance": 0'),
        ),
    ),
    Target(
        "snapshot",
        _snapshot,
        (
            _packed(("snapshot.json", MANIFEST), ("answers.json", ANSWERS), ("proc/x", b"1")),
            _packed(("snapshot.json", MANIFEST), ("answers.json", b"{}"), ("a" * 200, b"1")),
        ),
        (b"../", b"/etc/passwd\0", b"ustar", b"[" * 5000, b"7" * 11, b"\x80" + b"\xff" * 11, b"\0"),
    ),
)
