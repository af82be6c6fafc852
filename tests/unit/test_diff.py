"""Diff: what changes, and in an order the kernel accepts."""

from __future__ import annotations

from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.planning.diff import diff
from netuned.tunables import BY_NAME
from netuned.tunables.rss import spread
from netuned.values import ABSENT, ChannelCounts, Number, Qdisc, RssTable, State, Word


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


def test_the_cards_own_gro_comes_before_the_split_of_headers_and_goes_after_it() -> None:
    def split(word: str) -> dict[str, State]:
        return {"rings": {"tcp-data-split": Word(word)}, "offloads": {"rx-gro-hw": Word(word)}}

    order = ["rings tcp-data-split", "offloads rx-gro-hw"]
    assert names(split("on"), split("off")) == order[::-1]
    assert names(split("off"), split("on")) == order


def test_nothing_to_do() -> None:
    assert names(state(4, (0, 3)), state(4, (0, 3))) == []


def test_only_what_was_observed_is_compared() -> None:
    assert names(state(4, (0, 3)), {"irq": {"rxtx-0": CpuSet(1)}}) == ["irq rxtx-0"]


def fq(**parameters: int) -> State:
    named = {f"tx-0 fq {name}": Number(value) for name, value in parameters.items()}
    return {"tx-0": Qdisc("fq"), **named}


def test_a_qdisc_is_right_when_every_named_parameter_is() -> None:
    wanted: dict[str, State] = {"qdisc": fq(flow_limit=1000)}
    assert names(wanted, {"qdisc": fq(flow_limit=1000, quantum=3028)}) == []
    assert names(wanted, {"qdisc": fq(flow_limit=100)}) == ["qdisc tx-0 fq flow_limit"]
    other: State = {"tx-0": Qdisc("fq_codel"), "tx-0 fq_codel limit": Number(1)}
    assert names(wanted, {"qdisc": other}) == ["qdisc tx-0", "qdisc tx-0 fq flow_limit"]


def test_cake_with_autorate_chooses_its_bandwidth() -> None:
    def cake(bandwidth: int) -> dict[str, State]:
        numbers = {"autorate": 1, "bandwidth": bandwidth}
        named = {f"root cake {name}": Number(value) for name, value in numbers.items()}
        return {"qdisc": {"root": Qdisc("cake"), **named}}

    assert names(cake(9), cake(5)) == []


def test_what_may_come_and_go_is_wanted_absent_and_made_anew() -> None:
    tunables = (replace(BY_NAME["rps"], fresh=ABSENT),)

    def changes(wanted: State, found: State) -> list[tuple[object, object]]:
        made = diff("en0", {"rps": wanted}, {"rps": found}, because, tunables)
        return [(change.before, change.after) for change in made]

    assert changes({"rx-0": ABSENT}, {}) == []
    assert changes({"rx-0": ABSENT}, {"rx-0": CpuSet(1)}) == [(CpuSet(1), ABSENT)]
    assert changes({"rx-0": CpuSet(1)}, {}) == [(ABSENT, CpuSet(1))]


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
