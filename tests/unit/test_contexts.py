"""RSS contexts: netuned's own are made, kept and deleted, with the rules to them; no other is."""

from __future__ import annotations

import ctypes
import errno
import json
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.contexts import MOST_PROBED, ContextTable, decode
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.forms import Pool
from netuned.kernel.genl import EthtoolNetlink
from netuned.kernel.once import Once
from netuned.kernel.questions import BOUND, CONTEXTS, RULES
from netuned.plan import Change
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile, load
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import Rounds, plan_card, reconcile_card, sweep
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.before import found_before
from netuned.reconcile.card import Card
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import Tried
from netuned.reconcile.putback import restore, roll_back
from netuned.reconcile.report import lacking
from netuned.reconcile.writing import Outcome
from netuned.values import FlowRule
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: mlx5_core, queues: 4}]\n"
ENTRIES = 256
OTHERS = (3,) * ENTRIES
APP, WEB = {"queues": "2-3"}, {"queues": [1]}
RULE = {"match": {"proto": "tcp4", "dport": 443}, "to": "context app"}

Contexts = Mapping[str, Any] | None


def spread(*queues: int) -> tuple[int, ...]:
    return queues * (ENTRIES // len(queues))


@pytest.fixture
def kernel() -> WritableKernel:
    """On the card is a context of somebody's, 1, and a rule to it."""
    made = WritableKernel(MACHINE)
    made.ethtool_netlink.create_context(2, 1, OTHERS)
    made.ethtool.set_rule(2, 1, FlowRule("udp4", (("dport", "4789"),), "context 1"))
    return made


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def card_of(kernel: WritableKernel) -> Card:
    return Card(kernel, read_nic(kernel, 2, "en0"))


def aim(card: Card, baseline: Baseline, contexts: Contexts, more: Mapping[str, Any] = {}) -> None:
    data = {"name": "edge", "match": [{"name": "en0"}], **more}
    data["rss"] = {"queues": "keep", "contexts": contexts}
    loaded = [] if contexts is None else [LoadedProfile(Profile.of(data), "", {})]
    card.aim(plan_host(loaded, read_host(card.kernel)).targets.get(2), baseline)


def tune(
    card: Card, baseline: Baseline, contexts: Contexts, more: Mapping[str, Any] = {}
) -> Outcome:
    """Bring a profile with these contexts into force; None: the profile is gone."""
    aim(card, baseline, contexts, more)
    return reconcile_card(card, baseline)


def tables(kernel: WritableKernel) -> dict[int, tuple[int, ...]]:
    return dict(kernel.get(CONTEXTS, 2).contexts)


def targets(kernel: WritableKernel) -> dict[int, str]:
    """Where the rules go, by location."""
    return {at: rule.to for at, rule in sorted(kernel.get(RULES, 2).rules.items())}


def test_contexts_are_made_beside_others_and_go_again(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    outcome = tune(card, baseline, {"app": APP, "web": WEB}, rules)
    assert outcome.error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3), 3: spread(1)}
    assert targets(kernel) == {0: "context 2", 1: "context 1"}
    assert [change.tunable for change in outcome.made] == ["contexts", "contexts", "flows"]
    assert tune(card, baseline, {"web": WEB}).error is None
    assert tables(kernel) == {1: OTHERS, 3: spread(1)}, "what stays is not moved"
    assert targets(kernel) == {1: "context 1"}
    outcome = tune(card, baseline, None)
    assert outcome.error is None
    assert tables(kernel) == {1: OTHERS}
    assert not baseline.of(card.nic)


def test_rules_leave_a_context_before_it_goes(kernel: WritableKernel, baseline: Baseline) -> None:
    """The kernel deletes none that a rule goes to."""
    card = card_of(kernel)
    assert tune(card, baseline, {"app": APP}, {"flows": [RULE]}).error is None
    outcome = tune(card, baseline, None)
    assert outcome.error is None
    assert [change.tunable for change in outcome.made] == ["flows", "contexts"]
    assert tables(kernel) == {1: OTHERS}


def test_what_is_bound_keeps_its_context_and_the_rule_to_it(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """They wait, whether the table loses the queue, gets it, or goes with the profile."""
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    assert tune(card, baseline, {"app": APP}, rules).error is None
    kernel.answers.put_all(BOUND, {2: {("rx", 3): "io_uring", ("rx", 0): "dmabuf 4"}})
    for contexts, more in (
        ({"app": {"queues": "2,1"}}, rules),
        ({"app": {"queues": "0,2-3"}}, rules),
        (None, {}),
    ):
        assert tune(card, baseline, contexts, more).error is None
        assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
        assert targets(kernel) == {0: "context 2", 1: "context 1"}
        assert {name for name, _ in card.waiting} >= {"contexts"}
    kernel.answers.put_all(BOUND, {})
    assert tune(card, baseline, None).error is None
    assert (tables(kernel), targets(kernel)) == ({1: OTHERS}, {1: "context 1"})


def test_a_rule_whose_context_waits_waits_too(kernel: WritableKernel, baseline: Baseline) -> None:
    """And the rest is in force all the same."""
    card = card_of(kernel)
    kernel.answers.put_all(BOUND, {2: {("rx", 3): "io_uring"}})
    outcome = tune(card, baseline, {"app": APP}, {"flows": [RULE], "rps": {"cpus": "1"}})
    assert outcome.error is None
    assert tables(kernel) == {1: OTHERS}
    assert targets(kernel) == {1: "context 1"}
    assert "rps" in {change.tunable for change in outcome.made}
    assert {name for name, _ in card.waiting} == {"contexts", "flows"}
    kernel.answers.put_all(BOUND, {})
    assert tune(card, baseline, {"app": APP}, {"flows": [RULE]}).error is None
    assert targets(kernel) == {0: "context 2", 1: "context 1"}


def test_a_driver_that_makes_another_table_of_it_leaves_none_behind(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, made = kernel.ethtool_netlink.create_context, list[int]()

    def rotated(ifindex: int, context: int, entries: Sequence[int]) -> None:
        made.append(context)
        create(ifindex, context, (*entries[:-1], entries[0]))

    monkeypatch.setattr(kernel.ethtool_netlink, "create_context", rotated)
    card = card_of(kernel)
    for _ in range(4):
        tune(card, baseline, {"app": APP}, {"flows": [RULE], "rps": {"cpus": "1"}})
    assert reconcile_card(card, baseline).error is None
    assert made == [2]
    assert (tables(kernel), targets(kernel)) == ({1: OTHERS}, {1: "context 1"})
    assert tune(card, baseline, None).error is None
    assert tables(kernel) == {1: OTHERS}


def test_a_context_whose_new_table_is_refused_stays_under_its_rule(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(ifindex: int, context: int, entries: Sequence[int]) -> None:
        raise KernelError("set", "contexts", errno.EINVAL, "no such table")

    card = card_of(kernel)
    assert tune(card, baseline, {"app": APP}, {"flows": [RULE]}).error is None
    with monkeypatch.context() as patched:
        patched.setattr(kernel.ethtool_netlink, "set_context", refused)
        tune(card, baseline, {"app": WEB}, {"flows": [RULE]})
        assert tune(card, baseline, {"app": WEB}, {"flows": [RULE]}).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
    assert targets(kernel) == {0: "context 2", 1: "context 1"}
    assert "no such table" in " ".join(card.barred.values())
    assert tune(card, baseline, None).error is None
    assert (tables(kernel), targets(kernel)) == ({1: OTHERS}, {1: "context 1"})


def test_no_rule_is_sent_into_a_table_that_waits(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    other = {"match": {"proto": "tcp4", "dport": 80}, "to": "context app"}
    card = card_of(kernel)
    assert tune(card, baseline, {"app": APP}, {"flows": [RULE]}).error is None
    kernel.answers.put_all(BOUND, {2: {("rx", 3): "io_uring"}})
    assert tune(card, baseline, {"app": WEB}, {"flows": [RULE, other]}).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
    assert targets(kernel) == {0: "context 2", 1: "context 1"}
    kernel.answers.put_all(BOUND, {})
    assert tune(card, baseline, {"app": WEB}, {"flows": [RULE, other]}).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(1)}
    assert targets(kernel) == {0: "context 2", 1: "context 1", 2: "context 2"}


def test_a_number_that_others_took_is_left_whatever_is_bound(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    aim(card, baseline, {"web": WEB})
    kernel.ethtool_netlink.create_context(2, 2, spread(3))
    kernel.answers.put_all(BOUND, {2: {("rx", 3): "io_uring"}})
    assert reconcile_card(card, baseline).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(3), 3: spread(1)}
    assert not card.barred


def test_another_table_is_set_in_place(kernel: WritableKernel, baseline: Baseline) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    assert tune(card, baseline, {"app": APP}, rules).error is None
    weighed = {"queues": "0-1", "weights": [3, 1]}
    outcome = tune(card, baseline, {"app": weighed}, rules)
    assert outcome.error is None
    assert {change.tunable for change in outcome.made} == {"contexts"}, "no rule is moved"
    assert tables(kernel)[1] == OTHERS
    assert Counter(tables(kernel)[2]) == {0: 192, 1: 64}
    assert tune(card, baseline, {"other": WEB}).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(1)}
    assert tune(card, baseline, None).error is None
    assert tables(kernel) == {1: OTHERS}


def test_another_daemon_of_the_same_boot_knows_them(
    kernel: WritableKernel, tmp_path: Path, baseline: Baseline
) -> None:
    rules = {"flows": [RULE]}
    assert tune(card_of(kernel), baseline, {"app": APP}, rules).error is None
    again = Baseline(tmp_path / "baseline.json", "boot")
    again.load()
    card, writes = card_of(kernel), kernel.writes
    assert tune(card, again, {"app": APP}, rules).error is None
    assert kernel.writes == writes
    assert tune(card, again, None).error is None
    assert tables(kernel) == {1: OTHERS}


def test_one_like_a_context_of_others_is_made_all_the_same(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """Theirs can change or go whenever they like."""
    card = card_of(kernel)
    assert tune(card, baseline, {"app": {"queues": [3]}}).error is None
    assert tables(kernel) == {1: OTHERS, 2: OTHERS}
    assert tune(card, baseline, None).error is None
    assert tables(kernel) == {1: OTHERS}


def test_a_context_of_others_that_came_after_the_plan_keeps_its_number(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    aim(card, baseline, {"app": APP}, {"flows": [RULE]})
    kernel.ethtool_netlink.create_context(2, 2, spread(0))
    outcome = reconcile_card(card, baseline)
    assert outcome.error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(0), 3: spread(2, 3)}
    assert targets(kernel) == {0: "context 3", 1: "context 1"}, "its rule goes where it is"
    assert not sweep(kernel, [card])
    assert tune(card, baseline, None).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(0)}


def test_a_number_that_came_free_after_the_plan_is_taken(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """The kernel gives the lowest: the plan's would be another's."""
    card = card_of(kernel)
    aim(card, baseline, {"app": APP}, {"flows": [RULE]})
    kernel.ethtool.delete_rule(2, 1)
    kernel.ethtool_netlink.delete_context(2, 1)
    assert reconcile_card(card, baseline).error is None
    assert tables(kernel) == {1: spread(2, 3)}
    assert targets(kernel) == {0: "context 1"}


def test_what_somebody_changes_of_them_is_repaired(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    assert tune(card, baseline, {"app": APP, "web": WEB}, rules).error is None
    before = tables(kernel)
    kernel.ethtool_netlink.set_context(2, 2, spread(0))
    kernel.ethtool_netlink.delete_context(2, 3)
    changes, _ = plan_card(card, Once(kernel))
    assert [str(change.before) for change in changes] == ["256 entries over 0", "none"]
    assert reconcile_card(card, baseline).error is None
    assert tables(kernel) == before
    assert not sweep(kernel, [card])


def test_a_rule_whose_context_has_just_gone_is_tried_again(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    """A look at the rules alone, as every few seconds, may come between the two."""
    card = card_of(kernel)
    assert tune(card, baseline, {"app": APP}, {"flows": [RULE]}).error is None
    kernel.ethtool.delete_rule(2, 0)
    kernel.ethtool_netlink.delete_context(2, 2)
    rounds = Rounds(card, baseline, frozenset(["flows"]))
    while not rounds.turn(Once(kernel)):
        pass
    assert rounds.outcome.error is not None
    assert not lacking(card)
    assert reconcile_card(card, baseline).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
    assert targets(kernel) == {0: "context 2", 1: "context 1"}


def test_a_restore_deletes_none_but_its_own(kernel: WritableKernel, baseline: Baseline) -> None:
    """As ``netunedctl restore`` does where no daemon runs; one that became another stays."""
    assert tune(card_of(kernel), baseline, {"app": APP, "web": WEB}).error is None
    kernel.ethtool_netlink.set_context(2, 2, spread(0))
    done = restore(card_of(kernel), baseline, frozenset(["contexts"]), denies=False)
    assert not done.problems
    assert tables(kernel) == {1: OTHERS, 2: spread(0)}


def test_a_rollback_brings_them_back_and_touches_no_other(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    tried = Tried(CardId.of(card.nic), "")
    assert tune(card, baseline, {"app": APP}, rules).error is None

    def note(card: Card, changes: tuple[Change, ...]) -> None:
        nonlocal tried
        tried = replace(tried, before=found_before(card)).with_writes(changes)

    aim(card, baseline, {"app": WEB, "web": {"queues": [0]}}, rules)
    assert reconcile_card(card, baseline, note).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(1), 3: spread(0)}
    roll_back(card, baseline, tried, lambda tried: None, denies=False)
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
    assert targets(kernel) == {0: "context 2", 1: "context 1"}


def test_a_fault_at_any_write_leaves_nothing_behind(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE]}
    for number in range(1, 5):
        for error in (errno.ENOMEM, errno.EIO, errno.EBUSY):
            kernel.writes, kernel.fails = 0, {number: error}
            tune(card, baseline, {"app": APP, "web": WEB}, rules)
            kernel.fails = {}
            card.verdicts.forget_refusals()
            assert tune(card, baseline, {"app": APP, "web": WEB}, rules).error is None
            assert tables(kernel) == {1: OTHERS, 2: spread(2, 3), 3: spread(1)}
            assert targets(kernel) == {0: "context 2", 1: "context 1"}
            kernel.writes, kernel.fails = 0, {number: error}
            tune(card, baseline, None)
            kernel.fails = {}
            assert tune(card, baseline, None).error is None
            assert tables(kernel) == {1: OTHERS}
            assert targets(kernel) == {1: "context 1"}


def test_contexts_leave_queues_before_these_end(kernel: WritableKernel, baseline: Baseline) -> None:
    card = card_of(kernel)
    assert tune(card, baseline, {"app": {"queues": "2-3"}}, {"flows": [RULE]}).error is None
    kernel.ethtool_netlink.set_context(2, 1, spread(0))
    outcome = tune(card, baseline, {"app": WEB}, {"flows": [RULE], "channels": {"combined": 2}})
    assert outcome.error is None
    made = [change.tunable for change in outcome.made]
    assert made.index("contexts") < made.index("channels")


def test_nothing_is_asked_of_contexts_where_no_profile_wants_any(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whole = kernel.get

    def get(question: Any, ifindex: int) -> Any:
        asked.append(question.name)
        return whole(question, ifindex)

    monkeypatch.setattr(kernel, "get", get)
    card = card_of(kernel)
    to_queue = {**RULE, "to": "queue 1"}
    assert tune(card, baseline, {}, {"flows": [to_queue]}).error is None
    assert not sweep(kernel, [card])
    assert "rules" in asked
    assert "contexts" not in asked
    assert tune(card, baseline, {"app": APP}, {"flows": [to_queue]}).error is None
    assert "contexts" in asked


def test_what_a_card_cannot_have_is_told(kernel: WritableKernel, baseline: Baseline) -> None:
    card = card_of(kernel)
    rules = {"flows": [RULE, {**RULE, "match": {"proto": "tcp4", "dport": 80}, "to": "queue 1"}]}
    assert tune(card, baseline, {"app": {"queues": "3-4"}, "web": WEB}, rules).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(1)}
    assert targets(kernel) == {1: "context 1", 2: "queue 1"}
    told = lacking(card)
    assert "the profile names queue 4, the card reaches queues 0-3" in told["contexts"]
    assert "tcp4 dport 443 to context app" in told["flows"]


def test_one_that_the_kernel_refuses_is_told_and_the_rest_is_had(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kernel.ethtool_netlink.create_context

    def full(ifindex: int, context: int, entries: tuple[int, ...]) -> None:
        if context > 2:
            raise KernelError("set", "contexts", errno.EINVAL, "Out of RSS contexts")
        whole(ifindex, context, entries)

    monkeypatch.setattr(kernel.ethtool_netlink, "create_context", full)
    card = card_of(kernel)
    assert tune(card, baseline, {"app": APP, "web": WEB}, {"flows": [RULE]}).error is None
    assert tables(kernel) == {1: OTHERS, 2: spread(2, 3)}
    assert "Out of RSS contexts" in lacking(card)["contexts"]
    assert tune(card, baseline, None).error is None
    assert tables(kernel) == {1: OTHERS}


# The kernel's form


class Rxfh(Ethtool):
    """An ioctl that answers for contexts; ``gives`` is the number that the next new one gets."""

    def __init__(self, contexts: Mapping[int, tuple[int, ...]], gives: int = 1) -> None:
        super().__init__()
        self.contexts, self.gives = dict(contexts), gives

    def _call(
        self, ifindex: int, what: str, request: ctypes.Array[ctypes.c_char], *, write: bool = False
    ) -> ctypes.Array[ctypes.c_char]:
        command, context, size = struct.unpack_from("=3I", request, 0)
        if command == 0x46 and not size:
            struct.pack_into("=I", request, 8, 4)
        elif command == 0x46 and context not in self.contexts:
            raise KernelError("get", what, errno.ENOENT)
        elif command == 0x46:
            struct.pack_into("=4I", request, 24, *self.contexts[context])
        elif command == 0x47 and context == 0xFFFFFFFF:
            self.contexts[self.gives] = struct.unpack_from("=4I", request, 24)
            struct.pack_into("=I", request, 4, self.gives)
        elif command == 0x47 and not size:
            del self.contexts[context]
        else:
            raise KernelError("get", what, errno.EOPNOTSUPP)
        return request


def test_a_driver_that_chooses_another_number_is_told() -> None:
    """As before Linux 6.11; a context that nobody knows by its number would stay for ever."""
    ioctl = Rxfh({}, gives=7)
    with pytest.raises(KernelError, match="makes it context 7"):
        ioctl.create_context(2, 1, (0, 1, 0, 1))
    assert ioctl.contexts == {}
    ioctl.create_context(2, 7, (0, 1, 0, 1))
    assert ioctl.contexts == {7: (0, 1, 0, 1)}


class OldNetlink(EthtoolNetlink):
    """As before Linux 6.12, where no contexts are listed, nor set by netlink."""

    def _ask(self, *args: Any) -> list[bytes]:
        raise KernelError("list", "contexts", errno.EOPNOTSUPP)


def test_an_older_kernel_is_asked_for_one_after_the_other() -> None:
    there = {number: (number,) * 4 for number in (1, 5, MOST_PROBED)}
    netlink = OldNetlink(ioctl=Rxfh(there), wrote=lambda: None)
    assert netlink.contexts(2) == ContextTable(4, there)


def _told(context: bytes, table: bytes) -> bytes:
    attributes = ((2, context), (4, table))
    return bytes(4) + b"".join(
        struct.pack("=HH", 4 + len(data), at) + data + bytes(-len(data) % 4)
        for at, data in attributes
    )


def test_contexts_of_a_list_are_read() -> None:
    card = bytes(4) + struct.pack("=HH2I", 12, 4, 0, 1)
    told = [card, *(_told(struct.pack("=I", at), struct.pack("=2I", at, 0)) for at in (1, 9))]
    assert decode(told) == {1: (1, 0), 9: (9, 0)}


@pytest.mark.parametrize("context", [b"", bytes(8)])
@pytest.mark.parametrize("table", [bytes(4), bytes(5)])
def test_a_list_in_another_form_is_refused(context: bytes, table: bytes) -> None:
    with pytest.raises(struct.error):
        decode([_told(context, table)])


def test_a_card_without_a_table_has_no_contexts() -> None:
    class Without(Rxfh):
        def _call(self, ifindex: int, what: str, *args: Any, **more: Any) -> Any:
            raise UnsupportedError(what, "the driver has no such operation")

    with pytest.raises(UnsupportedError):
        OldNetlink(ioctl=Without({}), wrote=lambda: None).contexts(2)


@given(st.dictionaries(st.integers(1, 2**32 - 1), st.lists(st.integers(0, 65535)).map(tuple)))
def test_a_snapshot_keeps_them(contexts: dict[int, tuple[int, ...]]) -> None:
    table = ContextTable(128, contexts)
    kept = json.loads(json.dumps(CONTEXTS.form.write(table, Pool()), sort_keys=True))
    assert CONTEXTS.form.read(kept, "contexts", Pool()) == table


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("rss: {contexts: {app: {queues: all}}}", "`all` is not allowed here; write queues like"),
        ("rss: {contexts: {app: {}}}", "rss.contexts.app.queues: "),
        ("rss: {contexts: {9: {queues: 1-2}}}", "is not a name for a context"),
        ("rss: {contexts: [app]}", "write a mapping of names"),
        ("rss: {contexts: {app: {queue: 1-2}}}", "unknown key; did you mean `queues`?"),
        ("rss: {contexts: {app: {queues: 1-2, weights: [1]}}}", "1 weight does not fit 2 queues"),
        ("rss: {contexts: {app: {queues: 1-2}}}\n"
         "flows: [{match: {proto: ip4}, to: context appp}]", "did you mean `app`?"),
        ("flows: [{match: {proto: ip4}, to: context app}]", "define it in rss: {contexts: …}"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "edge.yaml").write_text(f"match: {{name: en0}}\n{text}\n")
    assert wrong in " ".join(str(error) for error in load([str(tmp_path)]).errors)
