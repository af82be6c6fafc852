"""What is in the way of a write: shapers and filters that it would remove, kinds that are not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.kernel.once import Once
from netuned.kernel.qdisc_options import has_foreign_options
from netuned.kernel.questions import QDISCS
from netuned.kernel.rtnl import ROOT, QdiscEntry
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from netuned.reconcile.apply import plan_card, reconcile_card, sweep
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.report import lacking
from netuned.values import Number, Qdisc
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: ice, queues: 2}]\n"
MQ = 0x10 << 16


@pytest.fixture
def kernel() -> WritableKernel:
    return WritableKernel(MACHINE)


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return Baseline(tmp_path / "baseline.json", "boot")


def aimed(kernel: WritableKernel, baseline: Baseline, **spec: object) -> Card:
    profile = Profile.of(
        {"name": "edge", "match": [{"name": "en0"}], "rps": {"cpus": "1"}, "qdisc": spec}
    )
    target = plan_host([LoadedProfile(profile, "", {})], read_host(kernel)).targets[2]
    card = Card(kernel, read_nic(kernel, 2, "en0"))
    card.aim(target, baseline)
    return card


def left_alone(kernel: WritableKernel, card: Card, baseline: Baseline) -> str:
    """Bring a card into force whose qdiscs stay as they are. Returns why they do."""
    before = kernel.rtnl.qdiscs()[2]
    changes, withheld = plan_card(card, Once(kernel))
    assert {change.tunable for change in (*changes, *withheld)} == {"rps"}, "as it is planned"
    assert lacking(card).keys() == {"qdisc"}
    outcome = reconcile_card(card, baseline)
    assert (outcome.error, {change.tunable for change in outcome.made}) == (None, {"rps"})
    assert kernel.rtnl.qdiscs()[2] == before
    assert baseline.of(card.nic).keys() == {"rps"}, "it was never netuned's"
    assert not sweep(kernel, [card]), "nor is it looked at again and again"
    return card.barred["qdisc", "root"]


def test_the_resync_asks_of_filters_only_where_they_were_in_the_way(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs besides is looked at, and that look asks: a question for each queue."""
    asked: list[int] = []
    filtered = {MQ}

    def has(ifindex: int, handle: int) -> bool:
        asked.append(handle)
        return handle in filtered

    monkeypatch.setattr(kernel.rtnl, "has_filters", has)
    kernel.answers.cards(QDISCS)[2] = (QdiscEntry("fq_codel", MQ, ROOT, {}),)
    card = aimed(kernel, baseline, kind="pfifo", limit=7)
    assert list(sweep(kernel, [card])) == [card]
    assert not asked, "the look does"
    assert "filters" in left_alone(kernel, card, baseline)
    asked.clear()
    assert not sweep(kernel, [card])
    assert asked
    filtered.clear()
    assert list(sweep(kernel, [card])) == [card], "they went, and no event tells"


def test_a_kind_that_the_kernel_lacks_is_asked_for_before_its_parent_is_made(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def has(kind: str) -> bool:
        asked.append(kind)
        return kind != "fq"

    monkeypatch.setattr(kernel.rtnl, "has_qdisc_kind", has)
    kernel.rtnl.replace_qdisc(2, ROOT, 0, "pfifo", {"limit": 1234})
    card = aimed(kernel, baseline, kind="fq", flow_limit=100)
    assert left_alone(kernel, card, baseline) == "this kernel does not have fq"
    assert asked == ["mq", "fq"] * (len(asked) // 2), "in a look of all queues once"


def test_a_kind_that_is_there_already_is_not_asked_for(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.rtnl, "has_qdisc_kind", lambda kind: kind == "pfifo")
    card = aimed(kernel, baseline, kind="pfifo", limit=7)
    assert reconcile_card(card, baseline).error is None
    assert card.found["qdisc"]["tx-1 pfifo limit"] == Number(7)


@pytest.mark.parametrize("handle", [0, MQ])
def test_filters_that_a_write_would_remove_are_kept(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch, handle: int
) -> None:
    kernel.answers.cards(QDISCS)[2] = (QdiscEntry("fq_codel", handle, ROOT, {}),)
    monkeypatch.setattr(kernel.rtnl, "has_filters", lambda ifindex, of: of == handle)
    card = aimed(kernel, baseline, kind="pfifo", limit=7)
    why = left_alone(kernel, card, baseline)
    assert why == "filters of fq_codel at root could not be put back; remove them first"
    monkeypatch.setattr(kernel.rtnl, "has_filters", lambda ifindex, of: False)  # they are removed
    assert reconcile_card(card, baseline).error is None
    assert card.found["qdisc"]["tx-1"] == Qdisc("pfifo")


def test_a_shaper_of_a_queue_that_is_closed_is_kept_too(
    kernel: WritableKernel, baseline: Baseline
) -> None:
    kernel.rtnl.replace_qdisc(2, ROOT, MQ, "mq", {})
    kernel.rtnl.replace_qdisc(2, MQ | 3, 0, "tbf", {})
    card = aimed(kernel, baseline, kind="noqueue")
    why = left_alone(kernel, card, baseline)
    assert why == "tbf at queue 2 could not be put back; remove it first"


def test_priorities_that_netuned_does_not_write_are_not_lost(
    kernel: WritableKernel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of what netuned does write leaves them; another kind in its place would not."""
    own = [
        QdiscEntry("mq", MQ, ROOT, {}),
        *(QdiscEntry("fq", 0x20 + n << 16, MQ | n + 1, {"flow_limit": 9}, foreign=n == 0)
          for n in range(2)),
    ]  # fmt: skip
    kernel.rtnl.delete_qdisc(2)
    monkeypatch.setattr(kernel.rtnl, "qdiscs", lambda ifindexes=(): {2: tuple(own)})
    monkeypatch.setattr(
        kernel, "dump", lambda question: {2: tuple(own)} if question is QDISCS else {}
    )
    card = aimed(kernel, baseline, kind="fq_codel")
    changes, _ = plan_card(card, Once(kernel))
    assert {change.key for change in changes if change.tunable == "qdisc"} == {"tx-1"}
    assert "priomap or weights of fq at queue 0" in lacking(card)["qdisc"]
    card = aimed(kernel, baseline, kind="fq", flow_limit=77)
    changes, _ = plan_card(card, Once(kernel))
    assert len({change.key for change in changes if change.tunable == "qdisc"}) == 2
    assert lacking(card) == {}


def test_priorities_of_the_kernels_own_are_no_obstacle() -> None:
    start = struct.pack("=HH", 4 + 24 + 16, 2)
    weights = struct.pack("=HH3i", 16, 17, 589824, 196608, 65536)
    priomap = struct.pack("=HHi16B", 24, 16, 3, 1, 2, 2, 2, 1, 2, 0, 0, *[1] * 8)
    assert not has_foreign_options("fq", start + priomap + weights)
    assert has_foreign_options("fq", start + priomap[:-1] + b"\x02" + weights)
    assert has_foreign_options("fq", start + priomap + weights[:-4] + b"\x01\0\0\0")
    assert not has_foreign_options("fq", struct.pack("=HH", 4, 2)), "before Linux 6.7"
    assert not has_foreign_options("pfifo", start + priomap)
