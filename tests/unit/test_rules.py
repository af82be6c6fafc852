"""Flow rules: netuned's own are set, kept in their order and put back; no other is touched."""

from __future__ import annotations

import ctypes
import errno
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned import statefile, valuejson
from netuned.errors import KernelError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel import rules
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.features import ACTIVE
from netuned.kernel.forms import Pool
from netuned.kernel.once import Once
from netuned.kernel.questions import FEATURES, RULES
from netuned.plan import Change
from netuned.planning.planner import plan_host
from netuned.profiles import flows
from netuned.profiles.loader import LoadedProfile, load
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import plan_card, reconcile_card, sweep
from netuned.reconcile.baseline import Baseline, Entry
from netuned.reconcile.before import found_before
from netuned.reconcile.card import Card
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import Tried
from netuned.reconcile.putback import restore, roll_back
from netuned.reconcile.report import _settings, lacking
from netuned.reconcile.tally import Tallies
from netuned.reconcile.writing import Outcome
from netuned.tunables.rules import RULES as RULES_TUNABLE
from netuned.tunables.rules import rule_of
from netuned.values import ChannelCounts, FlowRule, State
from tests.unit.writable import CLASS_NET, WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: ice, queues: 4}]\n"
OTHERS = FlowRule("udp4", (("dport", "4789"),), "queue 2")
INSERT, DELETE = 0x32, 0x31


def said(port: int, to: str = "queue 1") -> dict[str, Any]:
    return {"match": {"proto": "tcp4", "dport": port}, "to": to}


@pytest.fixture
def kernel() -> WritableKernel:
    made = WritableKernel(MACHINE)
    made.ethtool.set_rule(2, 1, OTHERS)
    return made


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def card_of(kernel: WritableKernel) -> Card:
    return Card(kernel, read_nic(kernel, 2, "en0"))


def tune(
    card: Card, baseline: Baseline, rules: Sequence[Any] | None, more: Mapping[str, Any] = {}
) -> Outcome:
    """Bring a profile with these rules into force; None: the profile is gone."""
    data = {"name": "edge", "match": [{"name": "en0"}], "flows": rules, **more}
    loaded = [] if rules is None else [LoadedProfile(Profile.of(data), "", {})]
    card.aim(plan_host(loaded, read_host(card.kernel)).targets.get(2), baseline)
    return reconcile_card(card, baseline)


def ports(kernel: WritableKernel) -> dict[int, str]:
    """The destination ports of rules by location."""
    found = kernel.get(RULES, 2).rules
    return {at: dict(rule.match)["dport"] for at, rule in sorted(found.items())}


def test_rules_are_set_beside_others_and_go_again(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80), said(22, "drop")]).error is None
    assert ports(kernel) == {0: "443", 1: "4789", 2: "80", 3: "22"}
    assert tune(card, baseline, [said(443), said(22, "drop")]).error is None
    assert ports(kernel) == {0: "443", 1: "4789", 3: "22"}, "what stays is not moved"
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {1: "4789"}
    assert kernel.get(RULES, 2).rules[1] == OTHERS
    assert not baseline.of(card.nic)


def test_another_daemon_of_the_same_boot_knows_them(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline
) -> None:
    assert tune(card_of(kernel), baseline, [said(443), said(80)]).error is None
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    card, writes = card_of(kernel), kernel.writes
    assert tune(card, again, [said(443), said(80)]).error is None
    assert kernel.writes == writes
    assert tune(card, again, []).error is None
    assert ports(kernel) == {1: "4789"}


def test_a_rule_like_one_of_others_is_theirs(kernel: WritableKernel, baseline: Baseline) -> None:
    like = {"match": {"proto": "udp4", "dport": 4789}, "to": "queue 2"}
    card, writes = card_of(kernel), kernel.writes
    assert tune(card, baseline, [like]).error is None
    assert tune(card, baseline, None).error is None
    assert kernel.writes == writes
    assert ports(kernel) == {1: "4789"}


def test_a_rule_of_others_that_came_meanwhile_is_not_written_over(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """What is free is looked for whenever a profile comes, not once with the card's facts."""
    card = card_of(kernel)
    assert tune(card, baseline, [said(443)]).error is None
    kernel.ethtool.set_rule(2, 2, FlowRule("udp4", (("dport", "53"),), "queue 0"))
    assert tune(card, baseline, [said(443), said(80)]).error is None
    assert ports(kernel) == {0: "443", 1: "4789", 2: "53", 3: "80"}
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {1: "4789", 2: "53"}


DNS = FlowRule("udp4", (("dport", "53"),), "queue 0")


def aim(card: Card, baseline: Baseline, rules: Sequence[Any] | None) -> None:
    data = {"name": "edge", "match": [{"name": "en0"}], "flows": rules}
    loaded = [] if rules is None else [LoadedProfile(Profile.of(data), "", {})]
    card.aim(plan_host(loaded, read_host(card.kernel)).targets.get(2), baseline)


def test_a_rule_that_came_after_the_plan_keeps_its_place(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """Between the plan and the writes of a card that is paused, or waits, are hours."""
    card = card_of(kernel)
    aim(card, baseline, [said(443)])
    kernel.ethtool.set_rule(2, 0, DNS)
    planned, _ = plan_card(card, Once(kernel))
    kernel.ethtool.delete_rule(2, 0)
    aim(card, baseline, [said(443)])
    kernel.ethtool.set_rule(2, 0, DNS)
    outcome = reconcile_card(card, baseline)
    assert (outcome.error, outcome.made) == (None, [*planned])
    assert ports(kernel) == {0: "53", 1: "4789", 2: "443"}
    assert not card.barred
    assert not sweep(kernel, [card])
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {0: "53", 1: "4789"}


def test_a_rule_that_comes_between_a_look_and_its_write_keeps_its_place(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found goes to the disk between the two, which takes as long as the disk likes."""
    card, whole, came = card_of(kernel), baseline.save, [0, 2]

    def slow(entry: Entry) -> None:
        whole(entry)
        if came:
            location = came.pop(0)
            rule = FlowRule("udp4", (("dport", f"{6000 + location}"),), "queue 0")
            kernel.ethtool.set_rule(2, location, rule)

    monkeypatch.setattr(baseline, "save", slow)
    outcome = tune(card, baseline, [said(443)])
    assert (outcome.error, not came) == (None, True)
    assert [change.after for change in outcome.made] == [kernel.get(RULES, 2).rules[3]]
    assert ports(kernel) == {0: "6000", 1: "4789", 2: "6002", 3: "443"}
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {0: "6000", 1: "4789", 2: "6002"}
    assert not baseline.of(card.nic)


@pytest.mark.parametrize(
    "rule",
    [
        FlowRule("0x10", (("form", "12345678"),), "queue 1"),
        *(
            FlowRule("tcp4", (("dport", "99"),), to)
            for to in ("context 1 queue 3", "wake", "vf 0 queue 3")
        ),
    ],
)
def test_a_rule_that_could_not_be_put_back_is_not_written_over(
    kernel: WritableKernel, baseline: Baseline, rule: FlowRule
) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443)]).error is None
    table = kernel.get(RULES, 2)
    kernel.answers.cards(RULES)[2] = replace(table, rules={**table.rules, 0: rule})  # ethtool's
    assert reconcile_card(card, baseline).error is None
    found = kernel.get(RULES, 2).rules
    assert (found[0], found[1], dict(found[2].match)["dport"]) == (rule, OTHERS, "443")
    assert not sweep(kernel, [card])
    assert tune(card, baseline, None).error is None
    assert kernel.get(RULES, 2).rules == {0: rule, 1: OTHERS}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_rule_in_the_place_of_one_that_goes_stays(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline, restarted: bool
) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80)]).error is None
    kernel.ethtool.set_rule(2, 0, DNS)
    if restarted:
        card, baseline = card_of(kernel), Baseline(tmp_path / "baseline.json", "boot")
        baseline.load()
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {0: "53", 1: "4789"}
    assert not baseline.of(card.nic)


def test_a_restore_takes_no_rule_but_its_own(kernel: WritableKernel, baseline: Baseline) -> None:
    """As ``netunedctl restore`` does where no daemon runs."""
    assert tune(card_of(kernel), baseline, [said(443), said(80)]).error is None
    kernel.ethtool.set_rule(2, 0, DNS)
    done = restore(card_of(kernel), baseline, frozenset(["flows"]), denies=False)
    assert not done.problems
    assert ports(kernel) == {0: "53", 1: "4789"}


def test_a_rule_that_came_while_no_daemon_ran_keeps_its_place(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline
) -> None:
    assert tune(card_of(kernel), baseline, [said(443), said(80)]).error is None
    kernel.ethtool.set_rule(2, 0, DNS)
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    assert tune(card_of(kernel), again, [said(443), said(80)]).error is None
    assert ports(kernel) == {0: "53", 1: "4789", 2: "443", 3: "80"}
    assert tune(card_of(kernel), again, None).error is None
    assert ports(kernel) == {0: "53", 1: "4789"}


def test_a_rollback_touches_no_rule_of_others(kernel: WritableKernel, baseline: Baseline) -> None:
    """Neither one in the place of a rule that the trial took away, nor one that went meanwhile."""
    card = card_of(kernel)
    tried = Tried(CardId.of(card.nic), "")
    assert tune(card, baseline, [said(443), said(80)]).error is None

    def note(card: Card, changes: tuple[Change, ...]) -> None:
        nonlocal tried
        tried = replace(tried, before=found_before(card)).with_writes(changes)

    aim(card, baseline, [said(80)])
    assert reconcile_card(card, baseline, note).error is None
    assert ports(kernel) == {1: "4789", 2: "80"}
    kernel.ethtool.delete_rule(2, 1)
    kernel.ethtool.set_rule(2, 0, DNS)
    roll_back(card, baseline, tried, lambda tried: None, denies=False)
    assert ports(kernel) == {0: "53", 2: "80"}
    assert tune(card, baseline, [said(443), said(80)]).error is None
    assert ports(kernel) == {0: "53", 1: "443", 2: "80"}


def test_own_rules_make_room_for_each_other_on_a_card_that_is_nearly_full(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline
) -> None:
    kernel.answers.cards(RULES)[2] = rules.RuleTable(8, {1: OTHERS})
    ours = [said(port) for port in range(100, 106)]
    first = card_of(kernel)
    assert tune(first, baseline, ours).error is None
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    for card in (first, card_of(kernel)):
        ours = [said(int(ours[0]["match"]["dport"]) + 900), *ours[1:]]
        outcome = tune(card, again, ours)
        assert outcome.error is None
        assert len(outcome.made) == 2, "one goes, one comes, none is moved"
        assert not lacking(card)
        assert len(ports(kernel)) == 7
        assert kernel.get(RULES, 2).rules[1] == OTHERS
    assert tune(card, again, [*ours, *(said(port) for port in (7, 8, 9))]).error is None
    assert len(ports(kernel)) == 8
    whys = [why for _, why in card.verdicts.refused.values()]
    assert len(whys) == 2, "each is told"
    assert all("none is free for tcp4 dport" in why for why in whys)


def test_a_new_order_is_kept_though_a_card_has_each_rule_once(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80)]).error is None
    assert tune(card, baseline, [said(22), said(80), said(443)]).error is None
    found = [port for port in ports(kernel).values() if port != "4789"]
    assert found == ["22", "80", "443"]
    assert kernel.get(RULES, 2).rules[1] == OTHERS
    writes = kernel.writes
    assert tune(card, baseline, [said(22), said(80), said(443)]).error is None
    assert kernel.writes == writes, "and it stays where it is"
    assert tune(card, baseline, None).error is None
    assert ports(kernel) == {1: "4789"}


def test_what_somebody_changes_of_them_is_repaired(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80)]).error is None
    kernel.ethtool.delete_rule(2, 0)
    kernel.ethtool.set_rule(2, 2, FlowRule("tcp4", (("dport", "8080"),), "drop"))
    assert reconcile_card(card, baseline).error is None
    assert ports(kernel) == {0: "443", 1: "4789", 2: "80"}


def test_what_is_written_over_is_said_and_comes_back_where_the_rest_fails(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    more = {"rps": {"cpus": "1"}}
    assert tune(card, baseline, [said(443), said(80)], more).error is None
    kernel.ethtool.set_rule(2, 2, DNS)
    kernel.put(f"{CLASS_NET}/en0/queues/rx-1/rps_cpus", b"0\n")
    changes, _ = plan_card(card, Once(kernel))
    assert [str(c.before) for c in changes if c.tunable == "flows"] == [str(DNS)]
    kernel.writes, kernel.fails = 0, {3: errno.EIO}
    outcome = reconcile_card(card, baseline)
    kernel.fails = {}
    assert outcome.undone
    assert ports(kernel) == {0: "443", 1: "4789", 2: "53"}
    changes, _ = plan_card(card, Once(kernel))
    assert [str(c.before) for c in changes if c.tunable == "flows"] == [str(DNS)]
    assert reconcile_card(card, baseline).error is None
    assert ports(kernel) == {0: "443", 1: "4789", 2: "80"}


def test_every_few_seconds_only_what_tells_of_ones_own_is_read(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card can have thousands of rules of others, each of which is a question by itself."""
    asked: list[int] = []
    table = cast("dict[int, rules.RuleTable]", kernel.answers.cards(RULES))

    def rule(ifindex: int, location: int) -> FlowRule:
        asked.append(location)
        return table[ifindex].rules[location]

    def places(ifindex: int) -> tuple[int, tuple[int, ...]]:
        return table[ifindex].size, tuple(sorted(table[ifindex].rules))

    def all_rules(question: Any, ifindex: int) -> Any:
        asked.extend(table[ifindex].rules if question is RULES else ())
        return whole(question, ifindex)

    def differs() -> bool:
        asked.clear()
        return bool(sweep(kernel, [card], frozenset(["flows"]), (), Once(kernel, brief=True)))

    for port in range(100):
        other = FlowRule("udp4", (("dport", f"{7000 + port}"),), "queue 2")
        kernel.ethtool.set_rule(2, 200 + port, other)
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80)]).error is None
    whole = kernel.get
    monkeypatch.setattr(kernel.ethtool, "rule", rule)
    monkeypatch.setattr(kernel.ethtool, "rule_places", places)
    monkeypatch.setattr(kernel, "get", all_rules)
    assert not differs()
    assert asked == [0, 2]
    kernel.ethtool.set_rule(2, 50, DNS)
    assert not differs()
    assert len(asked) == 104, "there is another"
    assert not differs()
    assert asked == [0, 2]
    kernel.ethtool.set_rule(2, 2, FlowRule("tcp4", (("dport", "8080"),), "drop"))
    assert differs()
    assert reconcile_card(card, baseline).error is None
    assert not differs()
    kernel.ethtool.delete_rule(2, 0)
    assert differs()


def test_a_full_card_and_a_rule_that_it_refuses_are_told(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kernel.ethtool.set_rule

    def refusing(ifindex: int, location: int, rule: FlowRule) -> None:
        if ("dport", "80") in rule.match:
            raise KernelError("set", "flow rules", errno.EINVAL)
        whole(ifindex, location, rule)

    monkeypatch.setattr(kernel.ethtool, "set_rule", refusing)
    kernel.answers.cards(RULES)[2] = rules.RuleTable(3, {1: OTHERS})
    card = card_of(kernel)
    assert tune(card, baseline, [said(443), said(80), said(22)]).error is None
    assert ports(kernel) == {0: "443", 1: "4789"}
    (setting,) = _settings(card, {}, "", Tallies())
    assert setting.state == "unsupported"
    assert "none is free for tcp4 dport 22 to queue 1" in setting.reason


def test_a_rule_that_the_driver_makes_another_of_is_told_and_goes(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kernel.ethtool.set_rule

    def widening(ifindex: int, location: int, rule: FlowRule) -> None:
        whole(ifindex, location, FlowRule(rule.proto, rule.match[:-1], rule.to))

    monkeypatch.setattr(kernel.ethtool, "set_rule", widening)
    card = card_of(kernel)
    ours = {"match": {"proto": "tcp4", "dport": 443, "vlan": 7}, "to": "queue 1"}
    assert tune(card, baseline, [ours]).error is None
    assert "the driver makes tcp4 dport 443 to queue 1 of it" in lacking(card)["flows"]
    assert ports(kernel) == {1: "4789"}
    assert tune(card, baseline, None).error is None
    assert not baseline.of(card.nic)


def test_rules_leave_queues_before_these_end(kernel: WritableKernel, baseline: Baseline) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, [said(443, "queue 3")]).error is None
    outcome = tune(card, baseline, [said(443, "queue 1")], {"channels": {"combined": 2}})
    assert outcome.error is None
    assert [change.tunable for change in outcome.made] == ["flows", "flows", "channels"]


def test_a_fault_at_any_write_leaves_nothing_behind(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    for number in range(1, 4):
        for error in (errno.ENOMEM, errno.EIO, errno.EBUSY):
            kernel.writes, kernel.fails = 0, {number: error}
            tune(card, baseline, [said(443), said(80)])
            kernel.fails = {}
            assert tune(card, baseline, [said(443), said(80)]).error is None
            assert ports(kernel) == {0: "443", 1: "4789", 2: "80"}
            kernel.writes, kernel.fails = 0, {number: error}
            tune(card, baseline, None)
            kernel.fails = {}
            assert tune(card, baseline, None).error is None
            assert ports(kernel) == {1: "4789"}


# The kernel's form


def networks(bits: int) -> st.SearchStrategy[str]:
    kind = IPv4Network if bits == 32 else IPv6Network

    def network(number: int, length: int) -> str:
        return str(kind((number >> (bits - length) << (bits - length), length)))

    return st.builds(network, st.integers(0, (1 << bits) - 1), st.integers(1, bits))


def specs(proto: str) -> st.SearchStrategy[dict[str, Any]]:
    """What a profile may say of these packets, in any order."""
    macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":").upper())
    address = macs if proto == "ether" else networks(32 if proto.endswith("4") else 128)
    number = st.integers(0, 0xFFFF)
    more = {"src": address, "dst": address, "vlan": st.integers(0, 4095)}
    if proto == "ether":
        more |= {"type": number}
    elif not proto.startswith("ip"):
        more |= {"sport": number, "dport": number}
    return st.fixed_dictionaries({"proto": st.just(proto)}, optional=more)


@given(
    match=st.sampled_from(flows.PROTOS).flatmap(specs),
    to=st.sampled_from(["drop", "queue 0", "queue 63", "context 7"]),
)
def test_what_a_profile_says_is_read_back(match: dict[str, Any], to: str) -> None:
    """From the kernel, from netuned's own files, and from a snapshot: it is the same rule."""
    said = "context app" if to.startswith("context") else to
    rule = rule_of(flows.FlowSpec.of({"match": match, "to": said}))
    rule = replace(rule, to=to)  # of contexts, profiles have the names
    assert rules.decode(rules.encode(INSERT, 7, rule)) == rule
    assert valuejson.decode(json.loads(statefile.encode_part(valuejson.encode(rule)))) == rule
    table = rules.RuleTable(9, {7: rule})
    kept = json.loads(json.dumps(RULES.form.write(table, Pool()), sort_keys=True))
    assert RULES.form.read(kept, "rules", Pool()) == table


@pytest.mark.parametrize(
    "match",
    [
        {"proto": "ether", "dst": "01:1b:19:00:00:00", "src": "52:54:00:00:00:01", "type": 0x88F7},
        {"proto": "tcp4", "vlan": 7, "dport": 443, "dst": "192.0.2.7", "src": "10.0.0.0/8"},
        {"proto": "udp6", "sport": 0, "dst": "::ffff:1.2.3.4", "src": "2001:DB8::/32"},
    ],
)
def test_a_rule_that_is_set_is_as_wanted(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline, match: dict[str, Any]
) -> None:
    ours = [{"match": match, "to": "queue 1"}]
    card = card_of(kernel)
    assert tune(card, baseline, ours).error is None
    assert not lacking(card)
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    writes = kernel.writes
    assert tune(card_of(kernel), again, ours).error is None
    assert kernel.writes == writes


@pytest.mark.parametrize(
    ("cookie", "to"),
    [(0, "queue 0"), (7, "queue 7"), (1 << 32 | 1, "vf 0 queue 1"), (3 << 32, "vf 2 queue 0"),
     ((1 << 64) - 1, "drop"), ((1 << 64) - 2, "wake"), (1 << 40 | 1, "0x10000000001")],
)  # fmt: skip
def test_what_others_rules_do_is_told_as_ethtool_does(cookie: int, to: str) -> None:
    """Only a rule to a queue of the card's own keeps that queue from being closed."""
    answer = bytearray(rules.encode(INSERT, 7, OTHERS))
    struct.pack_into("=Q", answer, 168, cookie)
    rule = rules.decode(bytes(answer))
    assert (rule.proto, rule.match, rule.to) == ("udp4", OTHERS.match, to)
    states: dict[str, State] = {
        "flows": {"rule 7 00000000": rule},
        "channels": {"": ChannelCounts(0, 0, 4)},
    }
    assert RULES_TUNABLE.fits(states) == (to != "queue 7")


class Rxnfc(Ethtool):
    """An ioctl that answers for a table of rules, of which some go while it is read."""

    def __init__(self, there: set[int], counted: set[int], listed: set[int], gone: int) -> None:
        super().__init__()
        self.there, self.counted, self.listed, self.gone = there, counted, listed, gone
        self.calls = 0

    def _call(
        self, ifindex: int, what: str, request: ctypes.Array[ctypes.c_char], *, write: bool = False
    ) -> ctypes.Array[ctypes.c_char]:
        self.calls += 1
        (command,) = struct.unpack_from("=I", request, 0)
        (location,) = struct.unpack_from("=I", request, rules.LOCATION_AT)
        (room,) = struct.unpack_from("=I", request, rules.COUNT_AT)
        if command == 0x2E:
            struct.pack_into("=I", request, rules.COUNT_AT, len(self.counted))
            self.counted = self.there
        elif command == 0x30 and len(self.listed) > room:
            raise KernelError("get", what, errno.EMSGSIZE)
        elif command == 0x30:
            struct.pack_into("=Q", request, 8, 16)
            struct.pack_into(f"={room}I", request, rules.LOCATIONS_AT, *sorted(self.listed))
        elif location not in self.there:
            raise KernelError("get", what, self.gone)
        elif command == 0x2F:
            ctypes.memmove(request, rules.encode(command, location, OTHERS), rules.SIZE)
        return request


@pytest.mark.parametrize("gone", [errno.ENOENT, errno.EINVAL])
def test_a_rule_that_goes_while_all_are_read_is_not_there(gone: int) -> None:
    """With ENOENT the card would be taken for gone."""
    ioctl = Rxnfc({1, 3}, {1, 2, 3}, {1, 2, 3}, gone)
    assert ioctl.rules(2) == rules.RuleTable(16, {1: OTHERS, 3: OTHERS})


def test_a_rule_that_comes_between_the_count_and_the_list_is_there() -> None:
    ioctl = Rxnfc({1, 2, 3}, {1}, {1, 2, 3}, errno.EINVAL)
    assert ioctl.rules(2).rules.keys() == {1, 2, 3}


def test_a_rule_that_went_before_its_deletion_is_as_wanted() -> None:
    Rxnfc(set(), set(), set(), errno.ENOENT).delete_rule(2, 7)


@given(st.binary(min_size=rules.SIZE, max_size=rules.SIZE))
def test_any_answer_is_a_rule_that_can_be_kept(answer: bytes) -> None:
    rule = rules.decode(answer)
    assert valuejson.decode(valuejson.encode(rule)) == rule
    assert len(str(rule)) < 400


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[{match: {proto: tcp4, dport: 443}, to: 3}]", "flows[0].to: `3` is not allowed here; "
         "write queue and its number, context and its name, or drop"),
        ("[{match: {proto: ip4, dport: 443}, to: drop}]", "packets of ip4 have no such field"),
        ("[{match: {proto: tcp6, src: 10.0.0.1}, to: drop}]", "this is no address of tcp6"),
        ("[{match: {proto: tcp4, src: 10.0.0.1/8}, to: drop}]", "no bit beyond its mask"),
        ("[{match: {proto: tcp4, src: 0.0.0.0/0}, to: drop}]", "is every address; leave it out"),
        ("[{match: {proto: tcp6, dst: '::/0'}, to: drop}]", "is every address; leave it out"),
        ("[{match: {proto: tcp6, src: 'fe80::1%en0'}, to: drop}]", "write an address, or"),
        ("[{match: {proto: tcp, dport: 1}, to: drop}]", "did you mean `tcp6`?"),
        ("[{match: {proto: tcp4, dports: 1}, to: drop}]", "unknown key; did you mean `dport`?"),
        ("[{match: {dport: 1}, to: drop}]", "flows[0].match.proto: "),
        ("[{match: {proto: ip4}, to: drop}]\noffloads: {ntuple: off}", "flows: a card has rules"),
        ("{proto: tcp4}", "flows: a mapping is not allowed here; write a list like"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "edge.yaml").write_text(f"match: {{name: en0}}\nflows: {text}\n")
    assert wrong in " ".join(str(error) for error in load([str(tmp_path)]).errors)


def test_names_of_profiles_are_the_kernels() -> None:
    assert set(flows.PROTOS) == set(rules.PROTOS)


def test_ntuple_filters_come_before_the_rules_also_where_channels_shrink(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """Rules leave queues that end, so they come before the channels; new ones need the filters."""
    put = kernel.ethtool.set_rule

    def set_rule(ifindex: int, location: int, rule: FlowRule) -> None:
        if not kernel.get(FEATURES, ifindex)["rx-ntuple-filter"] & ACTIVE:
            raise KernelError("set", "flow rules", errno.EOPNOTSUPP)
        put(ifindex, location, rule)

    kernel.ethtool.set_rule = set_rule  # type: ignore[method-assign]
    more = {"channels": {"combined": 3}, "offloads": {"ntuple": "on"}}
    assert tune(card_of(kernel), baseline, [said(443)], more).error is None
    assert ports(kernel) == {0: "443", 1: "4789"}
