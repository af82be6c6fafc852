"""What a card was set to in a profile's words: what netuned itself set comes out as it was said."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import yaml

from netuned.cli.main import run
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.questions import HASHING, NAPIS, RSS_TABLE
from netuned.kernel.questions import RULES as RULES_OF
from netuned.kernel.recorded import File
from netuned.planning import cpuwords
from netuned.planning.planner import plan_host
from netuned.profiles import expression
from netuned.profiles.loader import load
from netuned.profiles.yamlwriting import dump
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.snapshots import offline
from netuned.snapshots.capturing import Captured, capture
from netuned.tunables.hashing import RANDOM_KEY
from netuned.values import FlowRule
from tests.unit.daemon import Daemon, on
from tests.unit.machines import topology
from tests.unit.parts import MACHINE
from tests.unit.writable import WritableKernel

SAID = [
    "irq: {spread: all, cpus: 0-2}",
    "irq: {spread: one-per-queue, cpus: local & housekeeping}\nxps: {cpus: auto}",
    "irq: {spread: one-per-queue, cpus: 1-2}\nrps: {cpus: 0-1}",
    "rss: {queues: 0-2}",
    "rss: {queues: 0-1, weights: [3, 1]}",
    "qdisc: {kind: fq, flow_limit: 7}",
    "xps: {by: rxqs, cpus: none}",
    "bql: {max: 5000, min: 3000}",
    "napi: {defer-hard-irqs: 2, gro-flush-timeout: 20us, queues: {'2-3': {defer-hard-irqs: 9}}}",
    "flows: [{match: {proto: ether, type: 35063, src: '52:54:00:00:00:01'}, to: drop}]",
    "rss: {queues: keep, symmetric: xor, fields: {udp4: [src, dst], udp6: [src, dst]}}",
]


def of(kernel: WritableKernel, *, whole: bool = False, secrets: bool = False) -> Captured:
    host = read_host(kernel)
    nic = next(nic for nic in host.nics.values() if nic.name == "en0")
    return capture(kernel, host, nic, whole=whole, secrets=secrets)


def nothing_to_do(kernel: WritableKernel, found: Captured) -> None:
    plan = offline.plan(kernel, load((), dropped={"captured.yaml": found.text().encode()}))
    assert (plan.changes, plan.withheld, plan.unsupported, plan.problems) == ((), (), (), ())


@pytest.mark.parametrize("said", SAID)
def test_what_was_set_is_said_again(tmp_path: Path, said: str) -> None:
    async def scenario(daemon: Daemon) -> None:
        assert daemon.state() == "in-sync"
        for whole in (False, True):
            found = of(daemon.kernel, whole=whole)
            assert {one.what for one in found.left} <= {"hashing key", *[NTUPLE] * whole}
            daemon.drop(found.text())
            await daemon.ask.reload()
            plan = await daemon.ask.plan()
            assert (plan.changes, daemon.state()) == ((), "in-sync")
            for key, words in yaml.safe_load(said).items():
                there = found.profile[key]
                assert (
                    there == words
                    or whole
                    or (isinstance(there, dict) and there.items() >= words.items())
                )

    on(tmp_path, scenario, text=f"match: [{{name: en0}}]\n{said}\n")


def test_of_a_card_as_it_comes_there_is_little_to_say() -> None:
    found = of(WritableKernel(MACHINE))
    assert found.profile.keys() - {"rings", "coalesce", "channels", "offloads", "rss"} == {"match"}
    assert found.profile["rss"] == {
        "queues": "keep",
        "fields": {flow: ["src", "dst"] for flow in ("udp4", "udp6")},
    }


MLX5 = "cores: 4\ncards: [{name: en0, driver: mlx5_core, queues: 4}]\n"
RULES = {
    3: FlowRule("tcp4", (("src", "10.0.0.0/8"), ("dport", "443")), "queue 2"),
    7: FlowRule("tcp6", (("dst", "2001:db8::1"),), "drop"),
    9: FlowRule("0x12", (("form", "0badcafe"),), "queue 1"),
    11: FlowRule("udp4", (("dport", "4789"),), "context 1"),
    12: FlowRule("udp4", (("dport", "53"),), "vf 0 queue 1"),
}


def test_rules_of_others_are_said_and_stay_where_they_are() -> None:
    """Their contexts are not: netuned makes its own. What would make the same is named."""
    kernel = WritableKernel(MLX5)
    size = len(kernel.get(RSS_TABLE, 2))
    kernel.ethtool_netlink.create_context(2, 1, (1, 1, 1, 3) * (size // 4))
    kernel.answers.cards(RULES_OF)[2] = replace(kernel.get(RULES_OF, 2), rules=RULES)
    found = of(kernel)
    assert found.profile["flows"] == [
        {"match": {"proto": "tcp4", "src": "10.0.0.0/8", "dport": 443}, "to": "queue 2"},
        {"match": {"proto": "tcp6", "dst": "2001:db8::1"}, "to": "drop"},
    ]
    why = {one.what: one.why for one in found.left}
    assert why.keys() >= {"contexts context 1", "flows rule 9", "flows rule 11", "flows rule 12"}
    assert '{"c1": {"queues": "1,3", "weights": [3, 1]}}' in why["contexts context 1"]
    nothing_to_do(kernel, found)


def test_what_netuned_has_as_its_own_is_said_with_its_contexts(tmp_path: Path) -> None:
    kernel = WritableKernel(MLX5)
    contexts = {"app": {"queues": [2]}, "web": {"queues": "2-3"}}
    rule = {"match": {"proto": "udp6", "dport": 53, "vlan": 5}, "to": "context web"}
    said = {"match": [{"name": "en0"}], "rss": {"queues": "0-1", "contexts": contexts}}
    text = dump({**said, "flows": [rule]}).encode()
    (target,) = plan_host(
        load((), dropped={"a.yaml": text}).profiles, read_host(kernel)
    ).targets.values()
    boot = kernel.files.read_text("/proc/sys/kernel/random/boot_id")
    baseline = Baseline(tmp_path / "baseline.json", boot)
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    card.aim(target, baseline)
    assert reconcile_card(card, baseline).error is None
    record = (tmp_path / "baseline.json").read_bytes()
    kernel.tree.add_directory("/var/lib/netuned")["baseline.json"] = File(record)
    found = of(kernel)
    assert {one.what for one in found.left} <= {"hashing key"}
    table = found.profile["rss"]
    assert isinstance(table, dict)
    assert table["queues"] == "0-1"
    assert table["contexts"] == {"c1": {"queues": [2]}, "c2": {"queues": "2-3"}}
    assert found.profile["flows"] == [{**rule, "to": "context c2"}]
    nothing_to_do(kernel, found)


KEY = bytes(range(1, 41))
NTUPLE = "offloads rx-ntuple-filter"


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("random", [False, True])
def test_the_key_is_for_who_asks_for_it(*, whole: bool, random: bool) -> None:
    kernel = WritableKernel(MACHINE)
    kernel.ethtool_netlink.set_hashing(2, {"key": KEY})
    told = KEY if random else bytes(len(KEY))
    kernel.put(RANDOM_KEY, f"{told.hex(':')}:00:00\n".encode())
    asked, unasked = of(kernel, whole=whole, secrets=True), of(kernel, whole=whole)
    shown = whole or not random
    table = asked.profile["rss"]
    assert isinstance(table, dict)
    assert table.get("key") == (KEY.hex(":") if shown else None)
    assert (KEY.hex(":") in asked.text(), KEY[:8].hex(":") in unasked.text()) == (shown, False)
    left = [one.what for one in unasked.left if one.what != NTUPLE]
    assert ["hashing key"] * shown == left
    assert KEY[:8].hex(":") not in str(unasked)
    nothing_to_do(kernel, asked)
    nothing_to_do(kernel, unasked)


@pytest.mark.parametrize(
    ("said", "changed", "lost"),
    [
        (f"rss: {{function: xor, key: '{KEY.hex(':')}'}}", None, "hashing key"),
        ("bql: {max: 5000, min: 3000}", ("tx-1/byte_queue_limits/limit_max", b"9\n"), "bql max"),
    ],
)
def test_what_cannot_be_said_takes_nothing_else_along(
    tmp_path: Path, said: str, changed: tuple[str, bytes] | None, lost: str
) -> None:
    """Though what is left out would be put back, for netuned set it."""

    async def scenario(daemon: Daemon) -> None:
        record = (tmp_path / "state/baseline.json").read_bytes()
        daemon.kernel.tree.add_directory("/var/lib/netuned")["baseline.json"] = File(record)
        if changed:
            daemon.kernel.put(f"/sys/class/net/en0/queues/{changed[0]}", changed[1])
        found = of(daemon.kernel)
        assert lost in {one.what for one in found.left}
        (key, words), *_ = yaml.safe_load(said).items()
        there = found.profile[key]
        assert isinstance(there, dict)
        assert {word for word in words if word not in lost} <= there.keys()

    on(tmp_path, scenario, text=f"match: [{{name: en0}}]\n{said}\n")


def test_who_is_not_root_does_not_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text(MACHINE)
    words = ["capture", "en0", "--snapshot", str(machine)]
    assert run(words) == 0
    assert "left out: hashing key: root alone is told it" in capsys.readouterr().out
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run([*words, "--key"]) == 1
    assert "root alone" in capsys.readouterr().err


def test_what_queues_have_unlike_is_named() -> None:
    kernel = WritableKernel(MACHINE)
    queues = "/sys/class/net/en0/queues"
    kernel.put(f"{queues}/tx-1/byte_queue_limits/limit_max", b"9000\n")
    for queue in range(4):
        kernel.put(f"{queues}/tx-{queue}/byte_queue_limits/limit_min", b"7\n")
    kernel.put(f"{queues}/tx-1/xps_rxqs", b"3\n")
    found = of(kernel)
    assert found.profile["bql"] == {"min": 7}
    assert {one.what for one in found.left} - {"hashing key"} == {"bql max", "rxqs"}
    nothing_to_do(kernel, found)


def test_what_a_profile_refuses_beside_the_rest_is_named() -> None:
    """A limit below a packet, and a wait that nothing comes of without another."""
    kernel = WritableKernel(MACHINE)
    for queue in range(4):
        kernel.put(f"/sys/class/net/en0/queues/tx-{queue}/byte_queue_limits/limit_max", b"9\n")
    napis = cast("dict[int, Mapping[str, int]]", kernel.answers.cards(NAPIS))
    suspended = {key: 5000 for key in napis[2] if key.endswith("irq-suspend-timeout")}
    napis[2] = {**napis[2], **suspended}
    for whole in (False, True):
        found = of(kernel, whole=whole)
        assert {one.what for one in found.left} - {"hashing key", NTUPLE} == {
            "bql max" if whole else "bql"
        }
        assert found.profile.get("bql") == ({"min": "default"} if whole else None)
        polls = found.profile["napi"]
        assert isinstance(polls, dict)
        assert polls["irq-suspend-timeout"] == "5us", "though beside a wait of 0 it is refused"
        nothing_to_do(kernel, found)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_somebody_set_there_is_nothing_to_do(seed: int) -> None:
    choice = random.Random(seed)
    kernel = WritableKernel(MLX5)
    size = len(kernel.get(RSS_TABLE, 2))
    weights = [choice.randint(0, 3) for _ in range(3)] + [1]
    table = choice.choices(range(4), weights, k=size)
    kernel.ethtool_netlink.set_rss_table(2, choice.choice((table, ())))
    for number in range(1, choice.randint(1, 3)):
        kernel.ethtool_netlink.create_context(2, number, choice.choices(range(4), k=size))
    targets = ("queue 3", "drop", "context 1", "context 1 queue 1", "vf 1 queue 0", "wake")
    matches = (("dport", "443"), ("src", "10.0.0.0/8"), ("vlan", "7"))
    rules = {
        choice.randrange(1024): FlowRule(
            choice.choice(("tcp4", "udp4", "0x21")),
            tuple(choice.sample(matches, choice.randint(0, 3))),
            choice.choice(targets),
        )
        for _ in range(choice.randint(0, 9))
    }
    kernel.answers.cards(RULES_OF)[2] = replace(kernel.get(RULES_OF, 2), rules=rules)
    hashed = kernel.get(HASHING, 2)
    fields = {flow: choice.choice((0, 0x30, 0xF0, 0x10, 1 << 31)) for flow in hashed.fields}
    hash_function = choice.choice((1, 2, 4, 8))
    kernel.answers.cards(HASHING)[2] = replace(hashed, function=hash_function, fields=fields)
    napis = cast("dict[int, Mapping[str, int]]", kernel.answers.cards(NAPIS))
    napis[2] = {
        key: choice.choice((0, 0, 1)) if "thread" in key else choice.choice((0, 0, 7, 20000))
        for key in napis[2]
    }
    queues = "/sys/class/net/en0/queues"
    for which in ("max", "min"):
        limits = choice.choice(([9000], [9000, 7]))
        for queue in range(4):
            path = f"{queues}/tx-{queue}/byte_queue_limits/limit_{which}"
            kernel.put(path, f"{choice.choice(limits)}\n".encode())
    for queue in range(4) if choice.random() < 0.5 else ():
        kernel.put(f"{queues}/tx-{queue}/xps_rxqs", f"{1 << queue:x}\n".encode())
    for whole in (False, True):
        nothing_to_do(kernel, of(kernel, whole=whole, secrets=True))


def test_a_set_of_cpus_has_its_plainest_name() -> None:
    machine = topology(nodes=2, cores=4, threads=2)
    nic = next(iter(read_host(WritableKernel(MACHINE)).nics.values()))
    for text in ("online", "first-threads", "node:1", "node:1 & first-threads", "0,3"):
        local = machine.nodes[max(nic.numa_node, 0)]
        meant = expression.evaluate(expression.parse(text), machine, local)
        assert next(cpuwords.exactly(machine, nic, meant)) == text
