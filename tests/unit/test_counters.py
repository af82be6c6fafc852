"""What hosts count: taken apart as kernels and drivers have it, and what is between two samples."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from netuned.counters.sample import (
    CardSample,
    Sample,
    between,
    from_json,
    interrupts_by_cpu,
    to_json,
)
from netuned.kernel import counts, linkmodes

SOFTNET = "".join(
    " ".join(f"{number:08x}" for number in line) + "\n"
    for line in ([255, 1, 2, *[0] * 6, 7, 3, 4, 0], [16, *[0] * 11, 3])
)
OLD_SOFTNET = "".join(f"{number:08x}{' 00000000' * 10}\n" for number in (10, 11))


def test_softnet_goes_by_the_cpu_that_it_names() -> None:
    """CPUs 1 and 2 are offline."""
    first = {
        "processed": 255,
        "dropped": 1,
        "squeezed": 2,
        "received_rps": 7,
        "flow_limit": 3,
        "backlog": 4,
    }
    found = counts.softnet(SOFTNET)
    assert found.keys() == {0, 3}
    assert found[0] == first
    old = counts.softnet(OLD_SOFTNET)
    assert {cpu: counted["processed"] for cpu, counted in old.items()} == {0: 10, 1: 11}


def test_proc_texts() -> None:
    stat = "cpu  3 0 3 3 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu9 1 1 1 1 1 1 1 1 0 0\nctxt 4\n"
    assert counts.cpu_times(stat)[0] == dict(zip(counts.TIMES, range(1, 9), strict=True))
    assert counts.cpu_times(stat).keys() == {0, 9}
    softirqs = "       CPU0  CPU2\n NET_TX:  1  2\n NET_RX: 30 40\n    RCU: 9 9\n"
    assert counts.softirqs(softirqs) == {
        0: {"net_tx": 1, "net_rx": 30},
        2: {"net_tx": 2, "net_rx": 40},
    }
    snmp = "Tcp: RtoMin RetransSegs MaxConn\nTcp: 200 7 -1\nUdp: InErrors\nUdp: 3\n"
    found = {"TcpRtoMin": 200, "TcpRetransSegs": 7, "TcpMaxConn": -1, "UdpInErrors": 3}
    assert counts.protocols(snmp) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", {}), (b"0\n", {}), (b"0,0,0\n", {}), (b"7\n", {0: 7}), (b"120,0,0\n", {0: 120}),
     (b"0,0,10\n", {2: 10}), (b"0,100,0,3,0,2000,0,0\n", {1: 100, 3: 3, 5: 2000})],
)  # fmt: skip
def test_interrupts_by_cpu(content: bytes, found: dict[int, int]) -> None:
    assert counts.per_cpu(content) == found


def of_driver(
    names: list[str], numbers: list[int]
) -> tuple[dict[str, int], dict[counts.Queue, dict[str, int]]]:
    """As they come at first; whose they are is known then."""
    placed = counts.places(names, numbers)
    assert counts.of_driver(placed, numbers, queues_alone=True)[0] == {}
    card, queues = counts.of_driver(placed, numbers)
    return card, dict(queues)


@pytest.mark.parametrize(
    ("name", "place", "what"),
    [
        ("rx_queue_0_packets", ("rx", 0), "packets"),  # igb, ixgbe, ice
        ("tx_queue_11_bytes", ("tx", 11), "bytes"),
        ("rx3_packets", ("rx", 3), "packets"),  # mlx5, virtio_net
        ("rx-2.packets", ("rx", 2), "packets"),  # i40e
        ("queue_4_rx_cnt", ("rx", 4), "packets"),  # ena
        ("tx_bytes[7]", ("tx", 7), "bytes"),  # gve
        ("[12]: rx_ucast_packets", ("rx", 12), "packets"),  # bnxt
        ("rx_queue_5_drops", ("rx", 5), "drops"),
    ],
)
def test_a_queues_numbers_are_found_by_drivers_names(
    name: str, place: counts.Queue, what: str
) -> None:
    assert of_driver([name], [9]) == ({}, {place: {what: 9}})


def test_what_no_queue_has_is_the_cards() -> None:
    names = ["rx_missed_errors", "rx_queue_0_what", "tx1024_packets_phy", "rx_64_bytes_phy"]
    assert of_driver(names, [1, 2, 3, 4])[1] == {}
    assert of_driver(names, [1, 2, 3, 4])[0].keys() == {*names}


def test_a_name_that_is_there_twice_is_summed() -> None:
    names = ["rx_packets", "rx0_packets", "rx_packets", "rx_queue_0_packets"]
    assert of_driver(names, [1, 2, 3, 4]) == ({"rx_packets": 4}, {("rx", 0): {"packets": 6}})


def test_headings_are_vmxnet3s() -> None:
    names = ["Tx Queue#", "  ucast pkts tx", "  ring full", "Rx Queue#", "  ucast pkts rx",
             "  mcast pkts rx", "  pkts rx OOB", "tx timeout count"]  # fmt: skip
    card, queues = of_driver(names, [1, 5, 6, 1, 7, 8, 2, 0])
    assert queues == {
        ("tx", 1): {"packets": 5, "stops": 6},
        ("rx", 1): {"packets": 15, "overruns": 2},
    }
    assert card == {"tx timeout count": 0}


def attribute(number: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def test_a_qdisc_tells_the_packets_that_64_bits_count_and_fq_its_own() -> None:
    own = struct.pack("=7Q", 1, 2, 3, 4, 55, 6, 7)
    stats = attribute(1, struct.pack("=QI", 1000, 9)) + attribute(8, struct.pack("=Q", 1 << 33))
    stats += attribute(3, struct.pack("=5I", 1, 2, 3, 4, 5)) + attribute(4, own)
    head = struct.pack("=BBHiIII", 0, 0, 0, 2, 0x10000, 0xFFFFFFFF, 2)
    payload = head + attribute(1, b"fq\0") + attribute(7, stats)
    kind, found = counts.qdiscs([payload])[2][0x10000, 0xFFFFFFFF]
    assert (kind, found["packets"], found["bytes"], found["drops"]) == ("fq", 1 << 33, 1000, 3)
    assert (found["throttled"], found["flows_plimit"]) == (4, 55)


def test_a_link_tells_what_both_ends_can_do() -> None:
    """1000baseT and 2500baseT here, of which 1000baseT is told; there 100baseT to 2500baseT."""

    def bits(*modes: int) -> bytes:
        whole = sum(1 << mode for mode in modes)
        return struct.pack("=2I", whole & 0xFFFFFFFF, whole >> 32)

    size = attribute(2, struct.pack("=I", 64))
    ours = size + attribute(4, bits(5)) + attribute(5, bits(5, 6, 7, 47))
    peer = attribute(1, b"") + size + attribute(4, bits(3, 5, 47))
    speed = attribute(2, b"\1") + attribute(5, struct.pack("=I", 1000))
    told = linkmodes.decode(bytes(4) + attribute(3, ours) + attribute(4, peer) + speed)
    assert told == {"autoneg": 1, "speed": 1000, "common": 2500}
    down = attribute(2, b"\0") + attribute(5, b"\xff" * 4)
    assert linkmodes.decode(bytes(4) + down) == {"autoneg": 0, "speed": 0, "common": 0}


BEFORE = Sample(
    10.0,
    {0: {"softirq": 100, "idle": 5, "processed": (1 << 32) - 10, "backlog": 9, "ksoftirqd": 50}},
    {2: CardSample("lan 0", {"rx_packets": 7}, {}, {0: {"packets": 5}}, interrupts={30: {0: 4}})},
    {"TcpRetransSegs": 3, "conntrack": 90},
)
AFTER = Sample(
    12.0,
    {0: {"softirq": 250, "idle": 55, "processed": 20, "backlog": 4, "ksoftirqd": 90}},
    {
        2: CardSample(
            "lan 0", {"rx_packets": 3}, {}, {0: {"packets": 9}, 1: {"packets": 4}},
            {0: {"packets": 1}}, {"tx-0": {"bytes": 4, "qlen": 2}}, {"tx-0": "fq"},
            {30: {0: 6, 1: 2}},
        )
    },
    {"TcpRetransSegs": 5, "conntrack": 80},
)  # fmt: skip


def test_a_difference_knows_gauges_wraps_and_what_began_anew() -> None:
    found = between(BEFORE, AFTER)
    cpu, card = found.cpus[0], found.cards[2]
    assert (found.seconds, found.share(0, "softirq"), found.share(0, "idle")) == (2.0, 0.75, 0.25)
    assert (cpu["processed"], cpu["backlog"], cpu["ksoftirqd"]) == (30, 4, 40)
    assert card.totals == {"rx_packets": 3}, "its driver was loaded again"
    assert card.rx == {0: {"packets": 4}, 1: {"packets": 4}}
    assert (found.host["TcpRetransSegs"], found.host["conntrack"]) == (2, 80)
    assert interrupts_by_cpu(card) == {0: 2, 1: 2}
    assert found.rate(10) == 5.0
    assert between(AFTER, AFTER).rate(10) == 0.0


def test_where_no_queue_sends_its_qdisc_does() -> None:
    card = AFTER.cards[2]
    assert card.queues("tx") == {0: {"packets": 1}}
    assert replace(card, tx={}).queues("tx") == {0: {"bytes": 4, "qlen": 2}}
    assert card.queues("rx") is card.rx


@pytest.mark.parametrize("sample", [BEFORE, AFTER, between(BEFORE, AFTER), Sample(0.0)])
def test_a_sample_survives_json(sample: Sample) -> None:
    assert from_json(json.loads(json.dumps(to_json(sample)))) == sample


@pytest.mark.parametrize(
    "change",
    [{"at": "1"}, {"cpus": {"x": {}}}, {"cpus": {"1": {"a": True}}}, {"host": [1]},
     {"host": {"a": 1 << 65}}, {"cards": {"1": {"name": 3}}}, {"missing": {"a": 1}},
     {"at": float("nan")}, {"cpus": {"65536": {}}}, {"cpus": {"1": {"a": -1}}},
     {"cards": {"4294967296": {}}}],
)  # fmt: skip
def test_what_is_no_sample_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        from_json({**to_json(Sample(1.0)), **change})
