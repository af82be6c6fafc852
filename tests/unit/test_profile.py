"""The profile's schema: which cards match, what values become, what JSON Schema says."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from netuned.profiles.profile import Match, Profile
from netuned.profiles.qdiscs import QDISCS, in_words
from netuned.profiles.schema import json_schema


@dataclass(frozen=True)
class Card:
    name: str = "enp1s0"
    driver: str = "igb"
    pci: str = "8086:1521"
    mac: str = "52:54:00:00:00:01"
    speed_mbps: int = 10_000
    numa_node: int = 1
    kind: str = "physical"
    altnames: tuple[str, ...] = ()


def profile(**data: Any) -> Profile:
    return Profile.of({"name": "test", **data})


def problem(**data: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        profile(**data)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"])


@pytest.mark.parametrize(
    ("entry", "card", "matches"),
    [
        ({}, Card(), True),
        ({"name": "en*"}, Card(), True),
        ({"name": "eth*"}, Card(), False),
        ({"name": ["eth*", "enp1s?"]}, Card(), True),
        ({"name": ["en*", "!enp1*"]}, Card(), False),
        ({"name": "!enp1*"}, Card(), False),
        ({"name": "!enp2*"}, Card(), True),
        ({"name": ["!enp2*", "eth*"]}, Card(), False),
        ({"name": "lan*"}, Card(altnames=("wan0", "lan0")), True),
        ({"name": ["en*", "!lan*"]}, Card(altnames=("wan0", "lan0")), False),
        ({"name": "!lan*"}, Card(altnames=("wan0",)), True),
        ({"driver": ["ice", "igb"]}, Card(), True),
        ({"driver": "ig"}, Card(), False),
        ({"driver": "!igb"}, Card(), False),
        ({"pci": "8086:1521"}, Card(), True),
        ({"pci": "8086:*"}, Card(), True),
        ({"pci": "15B3:*"}, Card(pci="15b3:1017"), True),
        ({"pci": "8086:*"}, Card(pci=""), False),
        ({"mac": "52:54:00:*"}, Card(), True),
        ({"mac": "AA:*"}, Card(mac="aa:bb:cc:dd:ee:ff"), True),
        ({"speed": ">=10G"}, Card(), True),
        ({"speed": ">10G"}, Card(), False),
        ({"speed": "<25G"}, Card(), True),
        ({"speed": "<=9999M"}, Card(), False),
        ({"speed": "=10G"}, Card(), True),
        ({"speed": "10G"}, Card(), True),
        ({"speed": 10000}, Card(), True),
        ({"speed": "2.5G"}, Card(speed_mbps=2500), True),
        ({"speed": "0.1T"}, Card(speed_mbps=100_000), True),
        ({"speed": [">=10G", "<40G"]}, Card(), True),
        ({"speed": [">=10G", "<40G"]}, Card(speed_mbps=100_000), False),
        ({"speed": ["1G", "10G"]}, Card(), True),
        ({"speed": ["1G", "25G"]}, Card(), False),
        ({"speed": "<100G"}, Card(speed_mbps=0), False),
        ({"speed": ">=1M"}, Card(speed_mbps=-1), False),
        ({"numa_node": 1}, Card(), True),
        ({"numa_node": [0, 2]}, Card(), False),
        ({"numa_node": -1}, Card(numa_node=-1), True),
        ({"name": "en*", "driver": "ice"}, Card(), False),
        # Only physical cards, unless kind or driver is named.
        ({}, Card(kind="veth"), False),
        ({"name": "*"}, Card(kind="bond"), False),
        ({"kind": "veth"}, Card(kind="veth"), True),
        ({"kind": ["bond", "vlan"]}, Card(kind="veth"), False),
        ({"kind": "!physical"}, Card(kind="veth"), True),
        ({"kind": "netkit"}, Card(kind="netkit"), True),
        ({"driver": "veth"}, Card(kind="veth", driver="veth"), True),
    ],
)
def test_match(entry: dict[str, Any], card: Card, matches: bool) -> None:
    assert Match.of(entry).matches(card) == matches
    assert profile(match=[entry]).applies_to(card) == matches


def test_any_entry_matches_and_none_is_a_template() -> None:
    assert profile(match=[{"driver": "ice"}, {"name": "en*"}]).applies_to(Card())
    assert not profile().applies_to(Card())
    assert profile(match={"driver": "igb"}) == profile(match=[{"driver": "igb"}])


def test_keep_is_none_and_what_is_left_out_is_keep() -> None:
    tunables = ("channels", "rss", "irq", "rps", "rfs", "xps", "qdisc")
    kept = profile(**dict.fromkeys(tunables, "keep"), host="keep", policy="keep")
    assert kept == profile()
    assert [getattr(kept, name) for name in tunables] == [None] * 7
    assert kept.host.irqbalance is None
    assert (kept.policy.disruptive, kept.policy.enforce) == ("allow", "yes")
    assert kept.priority == 50


def test_default_where_the_kernel_has_one() -> None:
    tunables = ("rss", "irq", "rps", "rfs", "xps", "qdisc")
    found = profile(**dict.fromkeys(tunables, "default"))
    assert [getattr(found, name) for name in tunables] == ["default"] * 6
    assert problem(channels="default") == (
        "`default` is not allowed here; write a mapping like {combined: auto} or keep"
    )


def test_channels() -> None:
    spec = profile(channels={"combined": "auto", "rx": 2, "tx": "max"}).channels
    assert spec is not None
    assert (spec.rx, spec.tx, spec.combined) == (2, "max", "auto")
    assert problem(channels={"combined": 0, "rx": 0}) == (
        "this leaves the card without receive or transmit queues"
    )


@pytest.mark.parametrize(
    ("queues", "value"),
    [
        ("all", "all"),
        ("0-3,8", (0, 1, 2, 3, 8)),
        ([3], (3,)),
        ("3-3", (3,)),
        ([2, 0, "4-5"], (0, 2, 4, 5)),
    ],
)
def test_rss_queues(queues: Any, value: Any) -> None:
    spec = profile(rss={"queues": queues}).rss
    assert spec is not None
    assert spec != "default"
    assert spec.queues == value
    assert spec.weights == "equal"


def test_rss_weights() -> None:
    spec = profile(rss={"queues": "0-2", "weights": [3, 0, 1]}).rss
    assert spec is not None
    assert spec != "default"
    assert spec.weights == (3, 0, 1)
    assert problem(rss={"weights": [0, 0]}) == (
        "every weight is 0, so no queue would receive anything"
    )
    assert problem(rss={"weights": [1, True]}) == (
        "`true` is not a weight; write whole numbers from 0 to 65536"
    )


def test_steering() -> None:
    found = profile(irq={}, rps={"cpus": "none"}, xps={"cpus": 3})
    assert found.irq is not None
    assert found.irq != "default"
    assert (found.irq.cpus, found.irq.spread) == (None, "one-per-queue")
    assert found.rps is not None
    assert found.rps != "default"
    assert found.rps.cpus == "none"
    assert found.xps is not None
    assert found.xps != "default"
    assert found.xps.cpus == "3"


@pytest.mark.parametrize("entries", ["auto", "none", 1, 65536])
def test_flows(entries: int | str) -> None:
    spec = profile(rfs={"entries": entries}).rfs
    assert spec is not None
    assert spec != "default"
    assert spec.entries == entries


@pytest.mark.parametrize("entries", [0, -1, (1 << 29) + 1, "32k", True])
def test_wrong_numbers_of_flows(entries: Any) -> None:
    assert problem(rfs={"entries": entries}).endswith(
        "; write a whole number from 1 to 536870912, auto or none"
    )


@pytest.mark.parametrize(
    ("irq", "dedicated", "share"),
    [
        ({"spread": "dedicated"}, None, (1, 16)),
        ({"spread": "dedicated", "dedicated": "keep"}, None, (1, 16)),
        ({"spread": "dedicated", "dedicated": "2/8"}, (2, 8), (2, 8)),
        ({"spread": "dedicated", "dedicated": "1024/1024"}, (1024, 1024), (1024, 1024)),
        ({"spread": "pack", "dedicated": "keep"}, None, (1, 16)),
    ],
)
def test_dedicated_cores(
    irq: dict[str, Any], dedicated: tuple[int, int] | None, share: tuple[int, int]
) -> None:
    spec = profile(irq=irq).irq
    assert spec is not None
    assert spec != "default"
    assert (spec.dedicated, spec.share) == (dedicated, share)


@pytest.mark.parametrize("wrong", ["0/16", "3/2", "1/1025", "1 / 16", "16", "1/", "-1/4", "٣/٤"])
def test_wrong_shares_of_dedicated_cores(wrong: str) -> None:
    assert problem(irq={"spread": "dedicated", "dedicated": wrong}) == (
        f"`{wrong}` is not a share; write one like 1/16: N cores of every M, 1 <= N <= M <= 1024"
    )


def test_dedicated_cores_need_their_mode() -> None:
    assert problem(irq={"dedicated": "1/8"}) == (
        "this belongs to spread: dedicated, and spread is one-per-queue; write keep, or leave it "
        "out"
    )
    assert problem(irq={"spread": "dedicated", "dedicated": 16}) == (
        "`16` is not allowed here; write a share like 1/16: N cores of every M, 1 <= N <= M <= 1024"
    )


@pytest.mark.parametrize(
    ("qdisc", "parameters"),
    [
        ({"kind": "fq"}, {}),
        ({"kind": "fq", "flow_limit": 1000, "limit": "keep"}, {"flow_limit": 1000}),
        ({"kind": "fq", "maxrate": "10gbit"}, {"maxrate": 1_250_000_000}),
        ({"kind": "fq", "maxrate": "unlimited"}, {"maxrate": 0xFFFFFFFF}),
        ({"kind": "fq", "maxrate": "2.5Gbit"}, {"maxrate": 312_500_000}),
        ({"kind": "fq", "low_rate_threshold": "550kbit"}, {"low_rate_threshold": 68_750}),
        ({"kind": "fq", "refill_delay": "40ms", "horizon": "10s"},
         {"refill_delay": 40_000, "horizon": 10_000_000}),
        ({"kind": "fq", "ce_threshold": 100}, {"ce_threshold": 100}),
        ({"kind": "fq", "ce_threshold": "off"}, {"ce_threshold": 0xFFFFFFFF}),
        ({"kind": "fq", "timer_slack": "10us"}, {"timer_slack": 10_000}),
        ({"kind": "fq", "pacing": "no", "horizon_drop": "yes"},
         {"pacing": 0, "horizon_drop": 1}),
        ({"kind": "fq", "buckets": 1024, "orphan_mask": 1023},
         {"buckets": 1024, "orphan_mask": 1023}),
        ({"kind": "fq", "quantum": 3028, "initial_quantum": "15KiB"},
         {"quantum": 3028, "initial_quantum": 15_360}),
        ({"kind": "fq_codel", "target": "5ms", "interval": "100ms", "ecn": "no"},
         {"target": 5000, "interval": 100_000, "ecn": 0}),
        ({"kind": "fq_codel", "memory_limit": "32MiB", "flows": 1024, "drop_batch": 64},
         {"memory_limit": 1 << 25, "flows": 1024, "drop_batch": 64}),
        ({"kind": "cake", "bandwidth": "500mbit", "rtt": "100ms", "overhead": -4, "mpu": 64},
         {"bandwidth": 62_500_000, "rtt": 100_000, "overhead": -4, "mpu": 64}),
        ({"kind": "cake", "bandwidth": "unlimited", "diffserv_mode": "diffserv4",
          "flow_mode": "dual-srchost", "ack_filter": "aggressive", "atm": "ptm"},
         {"bandwidth": 0, "diffserv_mode": 1, "flow_mode": 5, "ack_filter": 2, "atm": 2}),
        ({"kind": "cake", "nat": "yes", "wash": "no", "split_gso": "yes"},
         {"nat": 1, "wash": 0, "split_gso": 1}),
        ({"kind": "pfifo_fast"}, {}),
        ({"kind": "noqueue"}, {}),
        ({"kind": "pfifo", "limit": 1000}, {"limit": 1000}),
        ({"kind": "bfifo", "limit": "1MiB"}, {"limit": 1 << 20}),
    ],
)  # fmt: skip
def test_qdisc_parameters(qdisc: dict[str, Any], parameters: dict[str, int]) -> None:
    found = profile(qdisc=qdisc).qdisc
    assert found is not None
    assert found != "default"
    assert found.kind == qdisc["kind"]
    assert found.parameters() == parameters


@pytest.mark.parametrize(
    ("kind", "name", "number", "text"),
    [
        ("fq", "ce_threshold", 0xFFFFFFFF, "off"),
        ("fq", "maxrate", 0xFFFFFFFF, "unlimited"),
        ("fq", "maxrate", 1_250_000_000, "10gbit"),
        ("fq", "low_rate_threshold", 68_750, "550kbit"),
        ("fq", "refill_delay", 40_000, "40ms"),
        ("fq", "timer_slack", 10_000, "10us"),
        ("fq", "horizon", 10_000_000, "10s"),
        ("fq", "horizon", 0, "0us"),
        ("fq", "pacing", 0, "no"),
        ("fq_codel", "target", 4_999, "4999us"),
        ("cake", "bandwidth", 0, "unlimited"),
        ("cake", "diffserv_mode", 0, "diffserv3"),
        ("cake", "ack_filter", 2, "aggressive"),
    ],
)
def test_a_parameter_is_shown_as_it_is_written(
    kind: str, name: str, number: int, text: str
) -> None:
    assert in_words(kind, name, number) == text
    spec = profile(qdisc={"kind": kind, name: text}).qdisc
    assert not isinstance(spec, str)
    assert spec is not None
    assert spec.parameters() == {name: number}


def test_one_is_not_told_as_many() -> None:
    assert problem(rss={"queues": "0-1", "weights": [1]}) == (
        "1 weight does not fit 2 queues; write one weight for each queue"
    )


def test_what_is_a_plain_number_is_shown_so() -> None:
    assert in_words("fq", "flow_limit", 100) == in_words("cake", "target", 1) == ""
    assert in_words("fq", "quantum", 3028) == in_words("sfq", "limit", 1) == ""


def test_a_qdisc_parameter_is_one_the_kernel_module_knows() -> None:
    from netuned.kernel.qdisc_options import PARAMETERS

    for kind, model in QDISCS.items():
        assert set(model.by_key()) - {"kind"} <= set(PARAMETERS[kind])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"qdisc": {"kind": "fq", "maxrate": 10}},
         "`10` cannot be read; write a rate with its unit, like 10gbit or 500mbit, unlimited "
         "or keep"),
        ({"qdisc": {"kind": "fq", "maxrate": "100gbit"}},
         "`100gbit` is out of range: 12500000000 is not a whole number of bytes per second from "
         "1 to 4294967294"),
        ({"qdisc": {"kind": "fq", "horizon": "0.0001us"}},
         "`0.0001us` is not a whole number of microseconds"),
        ({"qdisc": {"kind": "fq", "horizon": "5 minutes"}},
         "`5 minutes` cannot be read; write a time like 5ms or 100us (a plain number is "
         "microseconds) or keep"),
        ({"qdisc": {"kind": "fq", "timer_slack": 10}},
         "`10` cannot be read; write a time with its unit, like 10us or 500ns or keep"),
        ({"qdisc": {"kind": "fq", "buckets": 1000}},
         "`1000` is not allowed here; write a power of two from 2 to 262144, or keep"),
        ({"qdisc": {"kind": "fq_codel", "ecn": True}},
         "`true` is a YAML boolean, here a word is meant: write yes, no or keep"),
        ({"qdisc": {"kind": "cake", "flow_mode": "triple_isolate"}},
         "`triple_isolate` is not allowed here; did you mean `triple-isolate`? Allowed: flowblind, "
         "srchost, dsthost, hosts, flows, dual-srchost, dual-dsthost, triple-isolate or keep"),
        ({"qdisc": "fq"},
         "`fq` is not allowed here (did you mean `{kind: fq}`?); write a mapping like {kind: fq}, "
         "keep or default"),
        ({"qdisc": {"limit": 5}},
         "kind is missing; write one of fq, fq_codel, cake, pfifo_fast, noqueue, pfifo or bfifo"),
        ({"rss": {"queues": "0-x"}},
         "`0-x` is not a queue number or a range like 0-3; write all, or queue numbers like 0-5"),
        ({"rss": {"queues": "al"}},
         "`al` is not allowed here; did you mean `all`? Write all, or queue numbers like 0-5"),
        ({"rss": {"queues": 4}},
         "`4` can mean two things; write [4] for queue 4 alone, or 0-3 for the first 4"),
        ({"rss": {"queues": "1"}},
         "`1` can mean two things; write [1] for queue 1 alone, or [0] for the first"),
        ({"rss": {"queues": 0}},
         "`0` can mean two things; write [0] for queue 0 alone, or all"),
        ({"rss": {"queues": "f0"}},
         "`f0` is a mask, and queue lists are meant here: write 4-7"),
        ({"rss": {"queues": []}}, "no queue is named; write all, or queue numbers like 0-5"),
        ({"priority": "high"},
         "`high` is not allowed here; write a whole number from 0 to 1000"),
        ({"extends": ["../base"]},
         "`../base` is not a profile's name; it begins with a letter or digit and has up to 64 "
         "letters, digits, `-`, `_` and `.`"),
        ({"cpus": {"local": "0"}},
         "`local` means something by itself; choose another name for this set"),
        ({"cpus": {"0-3": "0"}},
         "`0-3` is not a name for a set; it begins with a letter, ends with a letter or digit, and "
         "has only those, `-` and `_` between"),
        ({"match": "igb"},
         '`igb` is not allowed here; write a mapping like {driver: igb, name: "en*"}, or a list '
         "of such"),
        ({"match": ["igb"]},
         '`igb` is not allowed here; write a mapping like {driver: igb, name: "en*"}'),
        ({"match": [{"kind": "phisical"}]},
         "`phisical` is not a kind of link; did you mean `physical`?"),
        ({"match": [{"speed": "fast"}]},
         "`fast` is not a speed; write one like >=10G, <25G, 2.5G or 1000M"),
        ({"match": [{"mac": "eth0"}]},
         "`eth0` is not a MAC address; write one like 52:54:00:12:34:56, or a pattern like "
         "52:54:00:*"),
        ({"match": [{"name": None}]},
         "no value is given; write en*, eth0 or !enp3s0, or leave the key out"),
        ({"host": {"irqbalance": "excluded"}},
         "`excluded` is not allowed here; did you mean `exclude`? Allowed: exclude, stop, leave "
         "or keep"),
    ],
)  # fmt: skip
def test_mistakes_say_what_is_wrong_and_what_is_allowed(data: dict[str, Any], message: str) -> None:
    assert problem(**data) == message


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        profile().priority = 3  # type: ignore[misc]  # as mypy knows


def test_json_schema_covers_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:netuned:profile:1"
    assert schema["properties"].keys() - {"version"} == set(Profile.by_key())
    assert schema["additionalProperties"] is False
    assert all("description" in value for value in schema["properties"].values())
    assert json.loads(json.dumps(schema)) == schema
    text = json.dumps(schema)
    for word in ("one-per-queue", "fq_codel", "irqbalance", "numa_node", "triple-isolate"):
        assert word in text
    assert "required" not in schema
    assert '"default": null' not in text
