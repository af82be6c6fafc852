"""Diff: what changes, and in an order the kernel accepts."""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.planning.diff import diff
from netuned.tunables.rss import spread
from netuned.values import ChannelCounts, Qdisc, RssTable, State


def because(tunable: str, key: str) -> str:
    return "test"


def names(wanted: dict[str, State], found: dict[str, State]) -> list[str]:
    return [f"{c.tunable} {c.key}".rstrip() for c in diff("en0", wanted, found, because)]


def state(channels: int, table: tuple[int, ...]) -> dict[str, State]:
    return {
        "rss": {"": RssTable(table)},
        "channels": {"": ChannelCounts(0, 0, channels)},
        "irq": {"rxtx-0": CpuSet(channels)},
    }


def test_shrinking_moves_the_table_off_the_dying_queues_first() -> None:
    assert names(state(2, (0, 1)), state(4, (0, 3))) == ["rss", "channels", "irq rxtx-0"]


def test_growing_brings_the_queues_first() -> None:
    assert names(state(4, (0, 3)), state(2, (0, 1))) == ["channels", "rss", "irq rxtx-0"]


def test_nothing_to_do() -> None:
    assert names(state(4, (0, 3)), state(4, (0, 3))) == []


def test_only_what_was_observed_is_compared() -> None:
    assert names(state(4, (0, 3)), {"irq": {"rxtx-0": CpuSet(1)}}) == ["irq rxtx-0"]


def test_a_qdisc_is_right_when_every_named_parameter_is() -> None:
    wanted: dict[str, State] = {"qdisc": {"tx-0": Qdisc.of("fq", {"flow_limit": 1000})}}
    more = Qdisc.of("fq", {"flow_limit": 1000, "quantum": 3028})
    assert names(wanted, {"qdisc": {"tx-0": more}}) == []
    assert names(wanted, {"qdisc": {"tx-0": Qdisc.of("fq", {"flow_limit": 100})}}) == ["qdisc tx-0"]
    assert names(wanted, {"qdisc": {"tx-0": Qdisc.of("fq_codel", {})}}) == ["qdisc tx-0"]


def test_cake_with_autorate_chooses_its_bandwidth() -> None:
    asked = Qdisc.of("cake", {"autorate": 1, "bandwidth": 9})
    wanted: dict[str, State] = {"qdisc": {"root": asked}}
    found = Qdisc.of("cake", {"autorate": 1, "bandwidth": 5})
    assert names(wanted, {"qdisc": {"root": found}}) == []


def test_an_automatic_mq_is_enough_until_a_leaf_must_be_written() -> None:
    wanted: dict[str, State] = {"qdisc": {"root": Qdisc("mq"), "tx-0": Qdisc("fq")}}
    automatic, fq, other = Qdisc("mq", default=True), Qdisc("fq"), Qdisc("fq_codel")
    assert names(wanted, {"qdisc": {"root": automatic, "tx-0": fq}}) == []
    both = ["qdisc root", "qdisc tx-0"]
    assert names(wanted, {"qdisc": {"root": automatic, "tx-0": other}}) == both
    assert names(wanted, {"qdisc": {"root": Qdisc("mq", handle=1 << 16), "tx-0": fq}}) == []


def test_under_the_kernels_own_root_no_leaf_is_written() -> None:
    """igb after channels went from 8 to 4 and back: the new queues' leaves are of another kind."""
    recorded: dict[str, State] = {
        "qdisc": {"root": Qdisc("mq", default=True), "tx-4": Qdisc("pfifo_fast")}
    }
    found = {"root": Qdisc("mq", handle=1 << 16), "tx-4": Qdisc("fq")}
    assert names(recorded, {"qdisc": found}) == ["qdisc root"]
    restored = {"root": Qdisc("mq", default=True), "tx-4": Qdisc("fq_codel")}
    assert names(recorded, {"qdisc": restored}) == []


def test_a_default_table_is_any_that_is_even_over_all_queues() -> None:
    wanted: dict[str, State] = {"rss": {"": RssTable((), 2)}}
    assert names(wanted, {"rss": {"": RssTable((0, 1, 0, 1))}}) == []
    assert names(wanted, {"rss": {"": RssTable((0, 0, 0, 0))}}) == ["rss"]
    assert names(wanted, {"rss": {"": RssTable((0, 0, 1, 1))}}) == []
    assert names(wanted, {"rss": {"": RssTable((0, 0, 0, 1))}}) == ["rss"]
    assert names(wanted, {"rss": {"": RssTable((1, 1, 2, 2))}}) == ["rss"]


def test_spread_is_even_and_interleaved() -> None:
    assert spread((0, 1, 2), (1, 1, 1), 8) == (0, 1, 2, 0, 1, 2, 0, 1)
    weighted = spread((0, 5), (3, 1), 128)
    assert weighted.count(0) == 96
    assert weighted.count(5) == 32
    assert weighted[:4].count(0) == 3


def test_a_key_that_does_not_exist_yet_has_no_before() -> None:
    (change,) = diff("en0", {"rps": {"rx-4": CpuSet(1)}}, {"rps": {}}, because)
    assert change.before is None
