"""What a queue needs for zero copy, what is bound to it, and that nobody takes that away."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netuned.errors import UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel import holders, linkinfo, netdev
from netuned.kernel.netlink import NetlinkSocket
from netuned.kernel.once import Once
from netuned.kernel.questions import BOUND, CHANNELS, RINGS, RSS_TABLE, RULES, Question
from netuned.kernel.rules import RuleTable
from netuned.plan import Waiting
from netuned.planning import zerocopy
from netuned.planning.planner import plan_host
from netuned.planning.zerocopy import Condition, Facts
from netuned.profiles.loader import LoadedProfile, ProfileSet
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import reconcile_card, sweep
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.putback import restore
from netuned.reconcile.report import _settings, lacking
from netuned.reconcile.tally import Tallies
from netuned.snapshots import offline
from netuned.status import WAITING
from netuned.tunables import BY_NAME
from netuned.values import FlowRule, Word
from tests.unit.writable import WritableKernel

MACHINE = "cores: 8\ncards: [{name: en0, driver: ice, queues: 8}]\n"
HTTPS = (("dport", "443"),)
READY = Facts(
    queue=7,
    rx_queues=8,
    rings={"tcp-data-split": 2, "hds-thresh": 0},
    table=(0, 1, 2, 3, 4, 5, 6) * 3,
    rules={5: FlowRule("tcp4", HTTPS, "queue 7")},
    xdp={"program": 0, "zero-copy": 1},
    bound={},
)
PROVIDERS = ["dmabuf", "io_uring"]


def unmet(**changes: object) -> dict[str, Condition]:
    """What is not met where these facts are others than those of a queue that can serve all."""
    found = zerocopy.conditions(replace(READY, **changes))  # type: ignore[arg-type]  # any fact
    return {condition.name: condition for condition in found if not condition.met}


def uses(**changes: object) -> list[str]:
    found = zerocopy.conditions(replace(READY, **changes))  # type: ignore[arg-type]  # any fact
    return [use for use in zerocopy.USES if zerocopy.ready(found, use)]


def test_a_queue_that_is_ready() -> None:
    assert uses() == ["dmabuf", "io_uring", "xsk"]
    assert unmet() == {}


@pytest.mark.parametrize(
    ("changes", "name", "left", "todo"),
    [
        ({"queue": 8, "rules": {0: FlowRule("tcp4", HTTPS, "queue 8")}}, "open queues", [], "9"),
        ({"table": (0, 7)}, "out of the RSS table", [], '{queues: "0-6"}'),
        ({"table": "no such operation"}, "out of the RSS table", [], ""),
        ({"rules": {}}, "a flow rule to it", [], "to: queue 7"),
        ({"rules": {1: FlowRule("tcp4", HTTPS, "queue 70")}}, "a flow rule to it", [], "queue 7"),
        ({"rules": "no such operation"}, "a flow rule to it", [], ""),
        ({"rings": {"tcp-data-split": 1}}, "header split", ["xsk"], "tcp-data-split: on"),
        ({"rings": {}}, "header split", ["xsk"], "tcp-data-split: on"),
        ({"rings": "no such operation"}, "header split", ["xsk"], ""),
        (
            {"rings": {"tcp-data-split": 2, "hds-thresh": 9}},
            "hds-thresh 0",
            ["xsk"],
            "{hds-thresh: 0}",
        ),
        ({"xdp": {"program": 4, "zero-copy": 1}}, "no XDP program", ["xsk"], "xdp off"),
        ({"xdp": {"program": 0, "zero-copy": 0}}, "AF_XDP without copies", PROVIDERS, ""),
        ({"bound": {("rx", 7): "xsk"}}, "nothing else bound", ["xsk"], "end AF_XDP"),
        ({"bound": {("rx", 7): "io_uring"}}, "nothing else bound", ["io_uring"], "end io_uring"),
        ({"bound": {("rx", 7): "dmabuf 3"}}, "nothing else bound", ["dmabuf"], "(dmabuf 3)"),
    ],
)
def test_what_is_not_met_is_said(
    changes: dict[str, object], name: str, left: list[str], todo: str
) -> None:
    found = unmet(**changes)
    assert list(found) == [name]
    assert todo in found[name].todo
    assert bool(found[name].todo) is bool(todo)
    assert found[name].why
    assert uses(**changes) == left


def test_a_rule_to_a_context_leads_to_its_queues() -> None:
    rules = {5: FlowRule("tcp4", HTTPS, "context 2")}
    assert unmet(rules=rules, contexts={2: (6, 7)}) == {}
    assert list(unmet(rules=rules, contexts={2: (5, 6), 3: (7,)})) == ["a flow rule to it"]


def test_the_only_queue_of_a_card_has_all_its_packets() -> None:
    found = unmet(queue=0, rx_queues=1, table=(0, 0))
    assert found["open queues"].todo == "channels: {combined: 2}"
    assert found["out of the RSS table"].todo == ""


def test_what_an_old_kernel_does_not_tell_counts_for_nothing() -> None:
    assert uses(bound="no such family", xdp="not held") == ["dmabuf", "io_uring", "xsk"]
    assert uses(xdp={"program": 0}) == ["dmabuf", "io_uring", "xsk"]


def attribute(number: int, data: bytes = b"") -> bytes:
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


def queue(ifindex: int, kind: int, number: int, *more: bytes) -> bytes:
    """An answer as netdev_nl_queue_fill_one() makes it."""
    head = struct.pack("=BBH", 10, 1, 0)
    return head + b"".join((u32(1, number), u32(3, kind), u32(2, ifindex), *more))


def test_what_is_bound_is_read_as_the_kernel_writes_it() -> None:
    """dmabuf: mp_dmabuf_devmem_nl_fill(), a number; io_uring and xsk: empty nests."""
    nested = 0x8000
    told = (
        queue(4, 0, 0, u32(4, 9)),
        queue(4, 0, 1, u32(4, 10), u32(5, 77)),
        queue(4, 0, 2, attribute(6 | nested)),
        queue(4, 0, 3, u32(4, 12), attribute(7 | nested)),
        queue(4, 1, 3, attribute(7 | nested), attribute(8 | nested, u32(1, 2))),
        queue(5, 1, 0),
    )
    assert netdev._bound(told) == {
        4: {
            ("rx", 1): "dmabuf 77",
            ("rx", 2): "io_uring",
            ("rx", 3): "xsk",
            ("tx", 3): "xsk",
        }
    }


def test_xdp_programs_are_read_as_the_kernel_writes_them() -> None:
    """rtnl_xdp_fill(): with several, the one id is left out and those by mode are there."""

    def link(ifindex: int, *nested: bytes) -> bytes:
        return struct.pack("=BBHiII", 0, 0, 1, ifindex, 0, 0) + attribute(43, b"".join(nested))

    one, none = link(2, attribute(2, b"\1"), u32(4, 66), u32(6, 66)), link(3, attribute(2, b"\0"))
    several = link(4, attribute(2, b"\4"), u32(5, 6), u32(6, 7))
    assert linkinfo.xdp_programs([one, none, several]) == {2: 66, 3: 0, 4: 7}


def test_who_has_a_socket_is_read_as_the_kernel_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """xsk_diag_fill(): one that is bound has a place; a process is found by what it has open."""

    def told(inode: int, *more: bytes) -> bytes:
        return struct.pack("=BBHIII", 44, 3, 0, inode, 1, 0) + b"".join(more)

    with socket.socket(socket.AF_UNIX) as own:
        inode = os.fstat(own.fileno()).st_ino
        bound = attribute(1, struct.pack("=II", 2, 3))
        answers = [
            told(inode, bound, u32(2, 0)),
            told(1, attribute(1, struct.pack("=II", 2, 4)), u32(2, 77)),
        ]
        assert holders.parse([*answers, told(9, u32(2, 0))]) == [
            holders.XdpSocket(inode, 2, 3, 0),
            holders.XdpSocket(1, 2, 4, 77),
        ]
        monkeypatch.setattr(NetlinkSocket, "request", lambda *given: answers)
        found = holders.of_queues(2, [3, 4, 5])
        assert f"(pid {os.getpid()}" in found[3]
        assert found[4] == "a process of user 77"
        assert holders.of_queues(3, [3]) == {}
    said = zerocopy.why_held([("rx", 4), ("tx", 4)], {("rx", 4): "xsk", ("tx", 4): "xsk"}, found)
    assert said.startswith("AF_XDP holds queue 4 for a process of user 77, and needs it")


# Nobody takes away what something that is bound to a queue needs


@pytest.fixture
def kernel() -> WritableKernel:
    kernel = WritableKernel(MACHINE)
    found = kernel.get(RINGS, 2)
    rings = {**found, "tcp-data-split": 2, "hds-thresh": 0, "hds-thresh-max": 99}
    kernel.answers.cards(RINGS)[2] = rings
    return kernel


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def bind(kernel: WritableKernel, **what: str) -> None:
    """Bind this to receive queues: ``rx6="xsk"``; nothing: all are free."""
    bound = {("rx", int(name.removeprefix("rx"))): said for name, said in what.items()}
    kernel.answers.put_all(BOUND, {2: bound} if bound else {})


def loaded(**says: object) -> list[LoadedProfile]:
    data = {"name": "edge", "match": [{"name": "en0"}], "rps": {"cpus": "1"}, **says}
    return [LoadedProfile(Profile.of(data), "", {})]


def aim(card: Card, kernel: WritableKernel, baseline: Baseline, **says: object) -> Card:
    host = read_host(kernel)
    host = replace(host, nics={**host.nics, 2: card.nic})
    card.aim(plan_host(loaded(**says), host).targets[2], baseline)
    return card


def card_of(kernel: WritableKernel) -> Card:
    return Card(kernel, read_nic(kernel, 2, "en0"))


CASES = [
    ({"rings": {"tcp-data-split": "off"}}, "rings", "tcp-data-split", "dmabuf 7"),
    ({"rings": {"tcp-data-split": "auto"}}, "rings", "tcp-data-split", "io_uring"),
    ({"rings": {"hds-thresh": 9}}, "rings", "hds-thresh", "io_uring"),
    ({"rss": {"queues": "all"}}, "rss", "", "dmabuf 7"),
    ({"rss": {"queues": "all"}}, "rss", "", "xsk"),
    ({"rss": "default"}, "rss", "", "io_uring"),
    ({"rss": {"queues": "0-5,7"}}, "rss", "", "xsk"),
]


@pytest.mark.parametrize(("says", "tunable", "key", "what"), CASES)
def test_what_is_bound_keeps_what_it_needs_until_it_ends(
    says: dict[str, object],
    tunable: str,
    key: str,
    what: str,
    kernel: WritableKernel,
    baseline: Baseline,
) -> None:
    kernel.answers.cards(RSS_TABLE)[2] = tuple(n % 6 for n in range(128))
    before = kernel.get(RINGS, 2), kernel.get(RSS_TABLE, 2)
    bind(kernel, rx6=what, rx7=what)
    card = aim(card_of(kernel), kernel, baseline, **says)
    outcome = reconcile_card(card, baseline)
    assert (outcome.error, {change.tunable for change in outcome.made}) == (None, {"rps"})
    assert (kernel.get(RINGS, 2), kernel.get(RSS_TABLE, 2)) == before
    assert baseline.of(card.nic).keys() == {"rps"}, "it was never netuned's"
    (setting,) = (s for s in _settings(card, {}, "", Tallies()) if s.tunable == tunable)
    assert setting.state == WAITING
    assert zerocopy.USES[what.partition(" ")[0]] in setting.reason
    assert isinstance(lacking(card)[tunable], Waiting)
    assert not sweep(kernel, [card]), "nor is it looked at again and again"
    bind(kernel)
    assert list(sweep(kernel, [card])) == [card], "it has ended"
    outcome = reconcile_card(card, baseline)
    assert [(change.tunable, change.key) for change in outcome.made] == [(tunable, key)]
    assert not lacking(card)


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ({"rings": {"tcp-data-split": "off"}}, "xsk"),
        ({"rings": {"rx": 4096}}, "dmabuf 7"),
        ({"rss": {"queues": "0-3"}}, "dmabuf 7"),
        ({"channels": {"combined": 7}}, "io_uring"),
    ],
)
def test_what_it_does_not_need_is_set(
    says: dict[str, object], what: str, kernel: WritableKernel, baseline: Baseline
) -> None:
    bind(kernel, rx6=what)
    card = aim(card_of(kernel), kernel, baseline, **says)
    assert reconcile_card(card, baseline).error is None
    assert not lacking(card)


def test_a_card_without_a_difference_is_not_asked_what_is_bound(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = aim(card_of(kernel), kernel, baseline, channels={"combined": 8}, rss={"queues": "all"})
    assert reconcile_card(card, baseline).error is None
    asked: list[str] = []
    once = Once(kernel)
    get = once.get

    def noted(question: Question[Any], ifindex: int) -> Any:
        asked.append(question.name)
        return get(question, ifindex)

    monkeypatch.setattr(once, "get", noted)
    assert not sweep(kernel, [card], asked=once)
    assert asked
    assert BOUND.name not in asked


def test_a_kernel_that_does_not_tell_refuses_by_itself(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    kernel.answers.put_all(BOUND, UnsupportedError("queues", "no such family"))
    card = aim(card_of(kernel), kernel, baseline, rings={"tcp-data-split": "off"})
    assert reconcile_card(card, baseline).error is None
    assert kernel.get(RINGS, 2)["tcp-data-split"] == 1


def test_channels_stay_and_the_rest_is_for_them(kernel: WritableKernel, baseline: Baseline) -> None:
    """Offline, too: what the daemon would not do is not planned."""
    bind(kernel, rx6="xsk")
    says = {"channels": {"combined": 4}, "irq": {"cpus": "0-3"}}
    card = aim(card_of(kernel), kernel, baseline, **says)
    assert reconcile_card(card, baseline).made == []
    assert card.nic.kept == card.unsupported["channels"]
    aim(card, kernel, baseline, **says)
    outcome = reconcile_card(card, baseline)
    assert len([change for change in outcome.made if change.tunable == "irq"]) == 8
    assert kernel.get(CHANNELS, 2).combined == 8
    (setting,) = (s for s in _settings(card, {}, "", Tallies()) if s.tunable == "channels")
    assert (setting.state, "AF_XDP holds queue 6" in setting.reason) == (WAITING, True)
    untouched = WritableKernel(MACHINE)
    bind(untouched, rx6="xsk")
    planned = offline.plan(untouched, ProfileSet(tuple(loaded(**says))))
    assert "channels" not in {change.tunable for change in planned.changes}
    assert [lack[:2] for lack in planned.unsupported] == [("en0", "channels")]
    assert len([change for change in planned.changes if change.tunable == "irq"]) == 8


def test_what_is_to_go_back_waits_and_stays_on_record(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """A profile that goes, and restore."""
    card = aim(card_of(kernel), kernel, baseline, rss={"queues": "0-5"})
    assert reconcile_card(card, baseline).error is None
    table = kernel.get(RSS_TABLE, 2)
    bind(kernel, rx7="dmabuf 1")
    card.aim(None, baseline)
    assert reconcile_card(card, baseline).error is None
    assert kernel.get(RSS_TABLE, 2) == table
    assert baseline.of(card.nic).keys() == {"rss"}, "the rest is back"
    done = restore(card, baseline, frozenset(card.tunables), denies=False)
    assert "devmem TCP (dmabuf 1) holds queue 7" in " ".join(done.problems)
    assert (done.final, kernel.get(RSS_TABLE, 2)) == (False, table)
    card.aim(None, baseline)
    bind(kernel)
    assert reconcile_card(card, baseline).error is None
    found = kernel.get(RSS_TABLE, 2)
    assert max(found) == 7
    assert baseline.of(card.nic) == {}


def test_ntuple_filters_stay_on_under_a_rule_to_a_bound_queue() -> None:
    """Drivers take all rules away with them."""
    found = {"flows": {"rule 0 00000000": FlowRule("tcp4", HTTPS, "queue 7")}}
    bound = {("rx", 7): "io_uring", ("rx", 6): "xsk"}
    ground = BY_NAME["offloads"].ground
    assert ground
    off = ground("rx-ntuple-filter", Word("on"), Word("off"), bound, found)
    assert list(off) == [("rx", 7)]
    assert not list(ground("rx-ntuple-filter", Word("off"), Word("on"), bound, found))
    assert not list(ground("rx-gro", Word("on"), Word("off"), bound, found))


def test_a_rule_in_the_place_of_one_to_a_bound_queue_waits(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """It would be written where the other is."""
    rule = {"match": {"proto": "tcp4", "dport": 443}, "to": "queue 7"}
    card = aim(card_of(kernel), kernel, baseline, flows=[rule])
    assert reconcile_card(card, baseline).error is None
    bind(kernel, rx7="io_uring")
    aim(card, kernel, baseline, flows=[{**rule, "to": "queue 3"}])
    assert reconcile_card(card, baseline).error is None
    assert [held.to for held in kernel.get(RULES, 2).rules.values()] == ["queue 7"]
    assert {name for name, _ in card.waiting} == {"flows"}
    bind(kernel)
    aim(card, kernel, baseline, flows=[{**rule, "to": "queue 3"}])
    assert reconcile_card(card, baseline).error is None
    assert [held.to for held in kernel.get(RULES, 2).rules.values()] == ["queue 3"]


def test_a_default_table_would_come_to_name_all_queues_that_stay_open(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """The profile opened them; as it goes, the channels wait, and so does the table."""
    kernel.ethtool.set_channels(2, combined=4)
    card = aim(card_of(kernel), kernel, baseline, channels={"combined": 8}, rss={"queues": "0-6"})
    assert reconcile_card(card, baseline).error is None
    assert 7 not in kernel.get(RSS_TABLE, 2)
    bind(kernel, rx7="io_uring")
    aim(card, kernel, baseline)
    assert reconcile_card(card, baseline).error is None
    assert 7 not in kernel.get(RSS_TABLE, 2)
    assert "rss" in {name for name, _ in card.waiting}


def test_a_rule_to_a_bound_queue_stays(kernel: WritableKernel, baseline: Baseline) -> None:
    rule = {"match": {"proto": "tcp4", "dport": 443}, "to": "queue 7"}
    other = {"match": {"proto": "tcp4", "dport": 80}, "to": "queue 1"}
    card = aim(card_of(kernel), kernel, baseline, flows=[rule, other])
    assert reconcile_card(card, baseline).error is None
    bind(kernel, rx7="io_uring")
    aim(card, kernel, baseline)
    assert reconcile_card(card, baseline).error is None
    held: RuleTable = kernel.get(RULES, 2)
    assert [rule.to for rule in held.rules.values()] == ["queue 7"], "the other has gone"
    bind(kernel)
    aim(card, kernel, baseline)
    assert reconcile_card(card, baseline).error is None
    assert not kernel.get(RULES, 2).rules
