"""The RSS hash: the order in which a symmetric one is set, and a key that nobody is shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from netuned.bus import records
from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel import hashing as kernel_hashing
from netuned.kernel.hashing import FLOWS, HashValues, key_of
from netuned.kernel.questions import HASHING
from netuned.kernel.recorded import File
from netuned.planning.planner import plan_host
from netuned.profiles import rss
from netuned.profiles.loader import LoadedProfile, load
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.report import _settings
from netuned.reconcile.tally import Tallies
from netuned.reconcile.writing import Outcome
from netuned.snapshots import offline, snapshot
from netuned.tunables.hashing import state_of
from tests.unit.writable import WritableKernel

MACHINE = "cores: 2\ncards: [{name: en0, driver: ice, queues: 2}]\n"
SECRET = bytes(range(0xA0, 0xA0 + 40))
KEY = SECRET.hex(":")
ONE_SIDED = 0x10


@pytest.fixture
def kernel() -> WritableKernel:
    return WritableKernel(MACHINE)


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def card_of(kernel: WritableKernel) -> Card:
    return Card(kernel, read_nic(kernel, 2, "en0"))


def tune(card: Card, baseline: Baseline, said: Mapping[str, Any] | None) -> Outcome:
    """Bring a profile that says this of the hash into force; None: the profile is gone."""
    data = {"name": "edge", "match": [{"name": "en0"}], "rss": {"queues": "keep", **(said or {})}}
    loaded = [] if said is None else [LoadedProfile(Profile.of(data), "", {})]
    card.aim(plan_host(loaded, read_host(card.kernel)).targets.get(2), baseline)
    return reconcile_card(card, baseline)


def shown(kernel: WritableKernel) -> dict[str, str]:
    return {key: str(value) for key, value in state_of(kernel.get(HASHING, 2)).items()}


def test_names_of_profiles_are_the_kernels() -> None:
    assert tuple(FLOWS) == rss.FLOWS
    assert kernel_hashing.content_of({"esp6": 0x30})["fields"] == bytes(
        [8, 0, 13, 0, 0x30, 0, 0, 0]
    )


@pytest.mark.parametrize("symmetric", ["xor", "or-xor"])
def test_fields_come_before_a_symmetric_hash_and_go_after_it(
    kernel: WritableKernel, baseline: Baseline, symmetric: str
) -> None:
    """The kernel refuses either in another order, also where it is put back."""
    kernel.ethtool_netlink.set_hashing(2, {"udp4": ONE_SIDED})
    before = shown(kernel)
    card = card_of(kernel)
    said = {"symmetric": symmetric, "fields": {"udp4": ["dst", "src"]}}
    outcome = tune(card, baseline, said)
    assert (outcome.error, outcome.requests["hashing"]) == (None, 1)
    assert shown(kernel) == {**before, "symmetric": symmetric, "fields udp4": "src dst"}
    back = {"symmetric": "off", "fields": {"udp4": ["dst"]}}
    assert tune(card, baseline, back).error is None
    assert shown(kernel) == {**before, "fields udp4": "dst"}
    assert tune(card, baseline, said).error is None
    assert tune(card, baseline, None).error is None
    assert shown(kernel) == before
    assert not baseline.of(card.nic)


def test_what_a_key_is_dropped_from_goes_back_alone(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    before, card = shown(kernel), card_of(kernel)
    assert tune(card, baseline, {"function": "crc32", "key": KEY}).error is None
    assert tune(card, baseline, {"function": "crc32", "key": "keep"}).error is None
    assert shown(kernel) == {**before, "function": "crc32"}
    assert tune(card, baseline, {"key": "default", "function": "default"}).error is None
    assert shown(kernel) == before


def test_what_fails_between_two_messages_is_undone(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    kernel.ethtool_netlink.set_hashing(2, {"udp4": ONE_SIDED})
    before, card = shown(kernel), card_of(kernel)
    said = {"symmetric": "xor", "fields": {"udp4": ["dst", "src"]}}
    for fails in (1, 2):
        kernel.writes, kernel.fails = 0, dict.fromkeys(range(fails, fails + 4), 12)
        assert isinstance(tune(card, baseline, said).error, KernelError)
        kernel.fails = {}
        assert tune(card, baseline, said).error is None
        assert tune(card, baseline, None).error is None
        assert shown(kernel) == before


def test_nobody_is_shown_a_key(
    kernel: WritableKernel, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kernel.ethtool_netlink.set_hashing(2, {"key": SECRET[::-1]})
    card = card_of(kernel)
    outcome = tune(card, baseline, {"key": KEY})
    (change,) = outcome.made
    assert (str(change.before), str(change.after)) == (
        f"40 bytes ({key_of(SECRET[::-1]).digest[:8]})",
        f"40 bytes ({key_of(SECRET).digest[:8]})",
    )
    told = _settings(card, {}, "", Tallies())
    said = [
        *(repr(change), str(change), repr(outcome), repr(card.found), repr(card.wanted)),
        *(repr(asdict(setting)) for setting in told),
        *(repr(records.settings(told)), caplog.text, *(str(r.__dict__) for r in caplog.records)),
    ]
    known = [form for key in (SECRET, SECRET[::-1]) for form in _forms(key)]
    assert not [text for text in said for form in known if form in text]


def _forms(key: bytes) -> list[str]:
    """Texts that would tell a quarter of a key."""
    part = key[:10]
    return [part.hex(), part.hex(":"), repr(part)[2:-1], str(list(part))[1:-1]]


@pytest.mark.parametrize("macs", [False, True])
def test_a_snapshot_has_no_key_and_plans_the_same(
    kernel: WritableKernel, tmp_path: Path, macs: bool
) -> None:
    boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id")
    own = Baseline(tmp_path / "b.json", boot_id)
    kernel.ethtool_netlink.set_hashing(2, {"key": SECRET, "function": 2})
    there = read_nic(kernel, 2, "en0")
    before = {key: v for key, v in state_of(kernel.get(HASHING, 2)).items() if key != "symmetric"}
    kernel.ethtool_netlink.set_hashing(2, {"key": SECRET[::-1], "function": 1})
    own.record(there, {"hashing": before})
    directory = tmp_path / "profiles.d"
    directory.mkdir()
    (directory / "edge.yaml").write_text(f"match: {{name: en9}}\nrss: {{key: '{KEY.upper()}'}}\n")
    kernel.tree.add(snapshot.BASELINE, File((tmp_path / "b.json").read_bytes()))
    path = tmp_path / "a.tar"
    taken = snapshot.take(kernel, (str(directory),), macs=macs)
    snapshot.write(taken, str(path))
    held = path.read_bytes().lower()
    for key in (SECRET, SECRET[::-1]):
        assert not [form for form in (key[:10], *map(str.encode, _forms(key))) if form in held]
    replayed = snapshot.read(str(path)).kernel
    plan = [(c.key, str(c.after)) for c in offline.plan(replayed, load(())).changes]
    assert plan == [("function", "xor"), ("key", str(key_of(SECRET)))]


WRAPPED = f"{KEY[:60]}\\\n      {KEY[60:]}"


FORMS = (
    (f'rss: {{key: "{WRAPPED}", function: xor}}', "keep", ""),
    (f'rss:\n  key: "{WRAPPED}" # {KEY}\n  function: xor', "keep", ""),
    ('rss: {"k\\x65y": "' + KEY.replace(":", "\\x3a") + '", function: xor}', "keep", ""),
    (f"rss:\n  key: >-\n    {KEY}\n  function: xor", "keep", ""),
    (f"# old: {KEY[:60]}\n#   {KEY[60:]}\nrss: {{function: xor}}", "xor", ""),
    (f"description: 'é😀 {KEY}'\nrss: {{key: '{KEY}', function: xor}}", "keep", ""),
    (f"rss: {{key: '{KEY[:90]}', function: xor}}", "hidden", "rss.key: this is not a hash key"),
    (f"rss: {{key: '{KEY.replace(':', '')}'}}", "hidden", "rss.key: this is not a hash key"),
    (f"rss: {{key: [{KEY.replace(':', ', ')}]}}", "hidden", "rss.key: this is not a hash key"),
    (f'rss: {{? "{WRAPPED}" : 1}}', "1", "rss.a hash key: unknown key"),
    (f'rss: {{key: &a "{WRAPPED}"}}\nname: *a', "", "`&a` is a YAML anchor"),
    (f'rss: {{key: !!str "{WRAPPED}"}}', "", "is a YAML tag"),
    (f'rss: {{key: "{WRAPPED}", key: "{WRAPPED}"}}', "", "this key is already on line"),
    (f'rss: {{key: "{WRAPPED}"\nname: b', "", "not valid YAML"),
)
"""What a profile says, what stands for the key in a snapshot (nothing: the file is left out), and
what is wrong with it."""


def test_a_snapshot_has_no_key_in_any_form(kernel: WritableKernel, tmp_path: Path) -> None:
    directory = tmp_path / "profiles.d"
    directory.mkdir()
    for number, (said, _, _) in enumerate(FORMS):
        (directory / f"f{number}.yaml").write_text(f"match: {{name: en0}}\n{said}\n")
    path = tmp_path / "a.tar"
    snapshot.write(snapshot.take(kernel, (str(directory),), macs=True), str(path))
    held = path.read_bytes().lower()
    assert not [form for form in _pieces() if form.encode() in held]
    taken = snapshot.read(str(path))
    recorded = snapshot.recorded_profiles(taken, (str(directory),))
    here, there = load((str(directory),)), load((str(directory),), recorded=recorded)
    for errors in (here.errors, there.errors):
        assert not [form for form in _pieces() if form in str(errors)]
        for number, (_, _, why) in enumerate(FORMS):
            told = [str(error) for error in errors if error.path.endswith(f"/f{number}.yaml")]
            assert why in " ".join(told)
            assert bool(told) == bool(why)
    for number, (_, kept, _) in enumerate(FORMS):
        file = directory / f"f{number}.yaml"
        if not kept:
            with pytest.raises(KernelError):
                taken.kernel.files.read_long(str(file), 1 << 12)
            continue
        content = taken.kernel.files.read_long(str(file), 1 << 12).decode()
        assert f": {kept}" in content
        assert content.count("\n") == file.read_text().count("\n")


def _pieces() -> list[str]:
    """Any six bytes of the key, by what may stand between two."""
    pairs = KEY.split(":")
    return [
        between.join(pairs[start : start + 6])
        for start in range(0, len(pairs) - 6, 6)
        for between in (":", "", ", ", "\\x3a")
    ]


def test_a_damaged_baseline_is_not_mended_by_a_snapshot(kernel: WritableKernel) -> None:
    for content in (b'{"secret": "a0a1"}', b'{"version": 3, "checksum": "0", "secret": "a0a1"}'):
        kernel.tree.add_directory("/var/lib/netuned")["baseline.json"] = File(content)
        taken = snapshot.take(kernel, ()).kernel
        assert taken.files.read_long(snapshot.BASELINE, 99) == b"{}"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (f"key: {KEY[:47]}", "rss.key: this is not a hash key; write 24 to 256 bytes"),
        (f"key: '{KEY.replace(':', '')}'", "rss.key: this is not a hash key"),
        (f"function: '{KEY}'", "rss.function: a hash key is not allowed here"),
        (f"queues: '{KEY}'", "rss.queues: "),
        (f"function: '{KEY.replace(':', ': ')}'", "rss.function: a hash key is not allowed here"),
        (f"hash-key: '{KEY.replace(':', '-')}'", "rss.hash-key: unknown key"),
        (f"'{KEY}': 1", "rss.a hash key: unknown key"),
        (f"'{KEY}': 1, '{KEY}': 1", "rss.a hash key: this key is already on line 2"),
        ("fields: {tcp4: [sorc]}", "rss.fields.tcp4: `sorc` is no field of a packet"),
        ("fields: {tcp: [src]}", "rss.fields.tcp: `tcp` is no kind of flow; did you mean `tcp6`?"),
        ("fields: [src]", "rss.fields: a list is not allowed here; write a mapping like"),
        ("symmetric: xor, fields: {udp4: [src]}", "rss.fields: src is not the same for both"),
        ("symmetric: or-xor, fields: {ip6: [src, dst, label]}", "rss.fields: src, dst, label is"),
        ("symmetric: yes", "rss.symmetric: "),
    ],
)
def test_mistakes_are_named_and_tell_no_key(tmp_path: Path, said: str, wrong: str) -> None:
    (tmp_path / "edge.yaml").write_text(f"match: {{name: en0}}\nrss: {{{said}}}\n")
    errors = [str(error) for error in load([str(tmp_path)]).errors]
    assert wrong in " ".join(errors)
    assert KEY[:29] not in json.dumps(errors)


def test_one_kind_of_flow_that_a_driver_refuses_keeps_no_other_from_it(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kernel.ethtool_netlink.set_hashing

    def refusing(ifindex: int, values: HashValues) -> None:
        if "udp6" in values:
            named = "udp6" if len(values) == 1 else ""
            raise KernelError("set", "hashing", 22, "this card does not", named)
        whole(ifindex, values)

    monkeypatch.setattr(kernel.ethtool_netlink, "set_hashing", refusing)
    before, card = shown(kernel), card_of(kernel)
    outcome = tune(card, baseline, {"fields": {"udp4": ["src"], "udp6": ["src"]}})
    assert outcome.error is None
    assert shown(kernel) == {**before, "fields udp4": "src"}
    (setting,) = _settings(card, {}, "", Tallies())
    assert setting.state == "unsupported"
    assert "this card does not" in setting.reason
