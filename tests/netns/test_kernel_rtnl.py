"""Rtnl against this kernel: every parameter of every kind written, read back, compared with tc."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from subprocess import PIPE

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.qdisc_options import OFF, PARAMETERS, decode_options
from netuned.kernel.rtnl import ROOT, QdiscEntry, Rtnl, same_parameter
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

U32 = 0xFFFFFFFF
Attach = Callable[..., QdiscEntry]
VALUES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "fq": {
        "limit": (1, 5000),
        "flow_limit": (1, 1000),
        "quantum": (1514, 9000),
        "initial_quantum": (15140, 90000),
        "pacing": (0, 1),
        "maxrate": (125_000, 1_250_000_000, OFF),
        "buckets": (1, 2, 1000, 65536),
        "refill_delay": (0, 1, 5000, 40_000, 123_457),
        "orphan_mask": (0, 255),
        "low_rate_threshold": (0, 68_750),
        "ce_threshold": (0, 4000, OFF),
        "timer_slack": (0, 10_000, 4_000_000_000),
        "horizon": (1, 10_000_000, U32),
        "horizon_drop": (0, 1),
        "offload_horizon": (0,),
    },
    "fq_codel": {
        "limit": (1, 10_240),
        "flows": (1024,),
        "quantum": (100, 1514, 9000),
        "target": (0, 1, 4999, 5000, 5001, 20_000),
        "interval": (1, 1000, 99_999, 100_000),
        "ce_threshold": (0, 999, 1000, OFF),
        "ecn": (0, 1),
        "memory_limit": (1 << 20, U32),
        "drop_batch": (0, 1, 64),
    },
    "cake": {
        "bandwidth": (0, 12_500_000, 25_000_000_000),
        "diffserv_mode": (0, 1, 2, 3, 4),
        "atm": (0, 1, 2),
        "flow_mode": (0, 1, 2, 3, 4, 5, 6, 7),
        "overhead": (-64, 0, 18, 256),
        "rtt": (0, 1000, 100_000),
        "target": (0, 500, 5000),
        "autorate": (1, 0),  # while on, the bandwidth follows the traffic
        "memlimit": (0, 4 << 20),
        "nat": (0, 1),
        "raw": (1,),
        "wash": (0, 1),
        "mpu": (0, 64, 256),
        "ingress": (0, 1),
        "ack_filter": (0, 1, 2),
        "split_gso": (0, 1),
        "fwmark": (0, 0xFF),
    },
    "pfifo": {"limit": (1, 5000)},
    "bfifo": {"limit": (1, 1_000_000)},
}


@pytest.fixture
def card(netns: Namespace) -> int:
    return netns.veth()


@pytest.fixture
def attach(card: int) -> Attach:
    """Put a root qdisc on the card and return what the kernel then shows."""
    rtnl = Rtnl()

    def attach(kind: str, **parameters: int) -> QdiscEntry:
        rtnl.replace_qdisc(card, ROOT, 0, kind, parameters)
        (entry,) = rtnl.qdiscs()[card]
        return entry

    return attach


def has(kind: str, attach: Attach) -> bool:
    """Whether this kernel has the kind; where it does not, that must be what Rtnl says."""
    try:
        return attach(kind).kind == kind
    except UnsupportedError as error:
        assert error.what == f"qdisc {kind}"  # noqa: PT017 - the tests of the VM have every kind
        return False


def tc_numbers(netns: Namespace, name: str = "v0") -> dict[str, int]:
    options = netns.tc(name)["root"]["options"]
    numbers = {name: int(value) for name, value in options.items() if isinstance(value, int)}
    if options.get("bandwidth") == "unlimited":
        numbers["bandwidth"] = 0
    return numbers


RECORDED = (
    (
        "fq",  # 6.18, with priomap and weights at the end
        "a40002000800010010270000080002006400000008000300d40b000008000400243b0000080005000000000008000700"
        "4059730708000900409c000008000a00ff03000008000b008e0c010008000c00a00f0000080008000c00000008000d00"
        "1027000008000e0080969800080012000000000005000f00010000001800100003000000010202020102000001010101"
        "0101010110001100000009000000030000000100",
        {
            "maxrate": 125_000_000,
            "pacing": 0,
            "buckets": 4096,
            "horizon": 10_000_000,
            "horizon_drop": 1,
        },
    ),
    (
        "fq_codel",  # 6.1
        "4400020008000100871300000800020000280000080003009f860100080004000100000008000600ea05000008000800"
        "4000000008000900000000020800050000040000",
        {"target": 4999, "interval": 99_999, "ce_threshold": OFF, "flows": 1024, "drop_batch": 64},
    ),
    (
        "cake",  # 6.18
        "880002000c00020000ba1dd205000000080005000700000008000700a0860100080008008813000008000a0000004000"
        "080009000000000008000f0000000000080010000000000008000b0001000000080003000000000008000d0000000000"
        "08000600c0ffffff080004000000000008000e0000000000080011000100000008001200ff000000",
        {"bandwidth": 25_000_000_000, "overhead": -64, "nat": 1, "raw": 0, "fwmark": 255},
    ),
)


@pytest.mark.parametrize(("kind", "recorded", "expected"), RECORDED)
def test_options_recorded_on_other_kernels(
    kind: str, recorded: str, expected: Mapping[str, int]
) -> None:
    found = decode_options(kind, bytes.fromhex(recorded))
    assert {name: found[name] for name in expected} == expected
    assert found.keys() >= PARAMETERS[kind].keys() - {
        "ce_threshold_selector",
        "ce_threshold_mask",
        "offload_horizon",
    }


def test_every_parameter_is_covered() -> None:
    codes = {"ce_threshold_selector", "ce_threshold_mask"}
    for kind, table in PARAMETERS.items():
        assert set(table) - codes == set(VALUES.get(kind, {}))


@pytest.mark.parametrize("kind", VALUES)
def test_every_parameter_reads_back_as_written_and_as_tc_shows_it(
    kind: str, netns: Namespace, attach: Attach
) -> None:
    if not has(kind, attach):
        return
    for name, values in VALUES[kind].items():
        for value in values:
            found = attach(kind, **{name: value}).parameters
            if name == "offload_horizon" and name not in found:
                continue  # Linux 6.13
            assert same_parameter(kind, name, value, found[name]), (name, value, found[name])
            for tc_name, number in tc_numbers(netns).items():
                if tc_name in found:
                    assert found[tc_name] == number, (name, value, tc_name)


@pytest.mark.parametrize("kind", VALUES)
def test_what_was_read_can_be_put_back_exactly(kind: str, attach: Attach) -> None:
    if not has(kind, attach):
        return
    default = attach(kind)
    changed = {name: values[-1] for name, values in VALUES[kind].items()}
    other = attach(kind, **changed)
    assert other.parameters != default.parameters
    assert attach(kind, **default.parameters) == default
    assert attach(kind, **other.parameters) == other


def test_fq_codel_times_come_out_exact_where_the_kernel_can_show_them(attach: Attach) -> None:
    if not has("fq_codel", attach):
        return
    inexact = [
        us for us in range(4900, 5100) if attach("fq_codel", target=us).parameters["target"] != us
    ]
    assert len(inexact) <= 5  # 1,000 of 1,024 values exist
    assert all(same_parameter("fq_codel", "target", us, us - 1) for us in inexact)


def test_fq_codel_marks_packets_by_their_ecn_codepoint(attach: Attach) -> None:
    if not has("fq_codel", attach):
        return
    found = attach("fq_codel", ce_threshold=1000, ce_threshold_selector=1, ce_threshold_mask=3)
    assert found.parameters["ce_threshold_selector"] == 1
    assert found.parameters["ce_threshold_mask"] == 3


def test_fq_codel_with_other_flows_becomes_a_new_qdisc(attach: Attach) -> None:
    if not has("fq_codel", attach):
        return
    first = attach("fq_codel", flows=512, limit=100)
    assert attach("fq_codel", flows=512, limit=200).handle == first.handle
    second = attach("fq_codel", flows=2048, limit=300)
    assert second.handle != first.handle
    assert (second.parameters["flows"], second.parameters["limit"]) == (2048, 300)


def test_an_unknown_kind_and_an_unknown_parameter_are_unsupported(attach: Attach) -> None:
    with pytest.raises(UnsupportedError, match="this kernel does not have it"):
        attach("nosuchkind")
    for kind in ("pfifo", "mq", "nosuchkind"):
        with pytest.raises(UnsupportedError, match="it has no parameter depth"):
            attach(kind, depth=3)
    with pytest.raises(UnsupportedError, match="limit -1 is not from 0 to 4294967295"):
        attach("pfifo", limit=-1)


def test_a_same_kind_is_changed_in_place(attach: Attach) -> None:
    first = attach("pfifo", limit=10)
    assert attach("pfifo", limit=20).handle == first.handle


def test_leaves_of_mq_are_replaced_one_by_one(netns: Namespace, card: int) -> None:
    writes: list[int] = []
    rtnl = Rtnl(lambda: writes.append(1))
    rtnl.replace_qdisc(card, ROOT, 0x10 << 16, "mq", {})
    before = rtnl.qdiscs((card,))[card]
    assert [(entry.kind, entry.handle) for entry in before if entry.parent == ROOT] == [
        ("mq", 0x100000)
    ]
    assert sorted(entry.parent for entry in before if entry.handle == 0) == [
        0x100001 + n for n in range(4)
    ]
    for queue in range(4):
        rtnl.replace_qdisc(card, 0x100001 + queue, 0, "pfifo", {"limit": 100 + queue})
    assert len(writes) == 5
    leaves = {entry.parent: entry for entry in rtnl.qdiscs()[card] if entry.parent != ROOT}
    assert {parent: dict(leaf.parameters) for parent, leaf in leaves.items()} == {
        0x100001 + queue: {"limit": 100 + queue} for queue in range(4)
    }
    shown = netns.tc()
    assert [shown[f"10:{queue + 1}"]["options"]["limit"] for queue in range(4)] == [
        100,
        101,
        102,
        103,
    ]
    rtnl.replace_qdisc(card, ROOT, 0x10 << 16, "mq", {})
    kept = {entry.parent: entry for entry in rtnl.qdiscs()[card]}
    assert kept == {ROOT: before[0], **leaves}, "the same mq keeps its leaves"
    rtnl.replace_qdisc(card, ROOT, 0x11 << 16, "mq", {})
    assert {entry.handle for entry in rtnl.qdiscs()[card]} == {0x110000, 0}, "another has new ones"


def test_an_automatic_mq_shows_with_its_leaves_at_handle_0(netns: Namespace) -> None:
    tap = "t0"
    netns.sh(f"ip tuntap add {tap} mode tap multi_queue && ip link set {tap} up")
    entries = Rtnl().qdiscs()[socket.if_nametoindex(tap)]
    assert all(entry.handle == 0 for entry in entries)
    assert entries[0].kind == "mq"
    assert entries[0].parent == ROOT


def test_deleting_the_root_puts_the_default_back(card: int, attach: Attach) -> None:
    attach("pfifo", limit=7)
    rtnl = Rtnl()
    rtnl.delete_qdisc(card)
    assert rtnl.qdiscs()[card] == (QdiscEntry("noqueue", 0, ROOT, {}),)
    with pytest.raises(KernelError) as refused:
        rtnl.delete_qdisc(card)
    assert refused.value.errno == errno.ENOENT
    assert refused.value.extack


def test_a_leaf_cannot_be_deleted_because_its_queue_would_drop_everything(
    netns: Namespace, card: int
) -> None:
    rtnl = Rtnl()
    rtnl.replace_qdisc(card, ROOT, 0x10 << 16, "mq", {})
    rtnl.replace_qdisc(card, 0x100001, 0, "pfifo", {})
    before = rtnl.qdiscs()
    with pytest.raises(UnsupportedError):
        rtnl.delete_qdisc(card, 0x100001)
    assert rtnl.qdiscs() is before
    netns.sh("tc qdisc del dev v0 parent 10:1")  # the reason: no qdisc at all is left there
    assert 0x100001 not in {entry.parent for entry in rtnl.qdiscs()[card]}


def test_whether_a_kind_can_be_had_is_asked_without_a_trace(netns: Namespace, card: int) -> None:
    rtnl = Rtnl()
    for root in ("", "tc qdisc add dev lo root handle 5: pfifo limit 9"):
        netns.sh(root or "true")
        before = netns.sh("tc qdisc show")
        assert [rtnl.has_qdisc_kind(kind) for kind in ("pfifo", "mq", "noqueue")] == [True] * 3
        assert not rtnl.has_qdisc_kind("nosuchkind")
        for kind in PARAMETERS:
            rtnl.has_qdisc_kind(kind)
        assert netns.sh("tc qdisc show") == before


def test_filters_are_told_of_the_qdisc_that_has_them(netns: Namespace, card: int) -> None:
    rtnl = Rtnl()
    assert not rtnl.has_filters(card, 0)
    netns.sh("tc qdisc add dev v0 root handle 1: htb")
    netns.sh("tc class add dev v0 parent 1: classid 1:1 htb rate 1mbit")
    netns.sh("tc qdisc add dev v0 parent 1:1 handle 2: htb")
    assert not rtnl.has_filters(card, 1 << 16)
    netns.sh("tc filter add dev v0 parent 2: protocol ip u32 match u32 0 0 classid 2:1")
    assert (rtnl.has_filters(card, 1 << 16), rtnl.has_filters(card, 2 << 16)) == (False, True)
    netns.sh("tc filter add dev v0 parent 1: protocol ip u32 match u32 0 0 classid 1:1")
    assert rtnl.has_filters(card, 0)


def test_size_tables_are_told_by_handle(netns: Namespace, card: int) -> None:
    rtnl, other = Rtnl(), netns.veth("w0")

    def sized(ifindex: int) -> set[int]:
        return {entry.handle for entry in rtnl.qdiscs().get(ifindex, ()) if entry.sized}

    netns.sh("tc qdisc add dev v0 root handle 1: mq")
    netns.sh("tc qdisc add dev v0 parent 1:2 handle 2: stab overhead 9 pfifo limit 7")
    netns.sh("tc qdisc add dev v0 parent 1:3 handle 3: pfifo limit 7")
    assert sized(card) == {2 << 16}
    assert sized(other) == frozenset()
    rtnl.replace_qdisc(card, 1 << 16 | 2, 0, "pfifo", {"limit": 9})
    assert sized(card) == frozenset(), "the reason: a change without one removes it"


def test_errors_carry_the_kernels_words(card: int) -> None:
    rtnl = Rtnl()
    with pytest.raises(KernelError, match="ENODEV") as gone:
        rtnl.replace_qdisc(9999, ROOT, 0, "pfifo", {})
    assert gone.value.gone
    rtnl.replace_qdisc(card, ROOT, 0x10 << 16, "pfifo", {})
    with pytest.raises(KernelError, match="Invalid qdisc name") as refused:
        rtnl.replace_qdisc(card, ROOT, 0x10 << 16, "bfifo", {})
    assert refused.value.errno == errno.EINVAL
    assert rtnl.qdiscs()[card][0].kind == "pfifo", "the socket still works"


def test_an_unchanged_dump_is_the_same_object_and_traffic_changes_nothing(
    netns: Namespace, card: int, attach: Attach
) -> None:
    attach("pfifo")
    rtnl = Rtnl()
    rtnl.qdiscs()
    first = rtnl.qdiscs()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("v0", 0x88B5))
        sender.send(bytes(64))
    assert "Sent 0 bytes" not in netns.sh("tc -s qdisc show dev v0")
    assert rtnl.qdiscs() is first
    netns.sh("tc qdisc change dev v0 root pfifo limit 5")
    assert rtnl.qdiscs()[card][0].parameters == {"limit": 5}


def test_qdiscs_of_named_cards_only(netns: Namespace, card: int) -> None:
    other = netns.veth("w0")
    rtnl = Rtnl()
    assert set(rtnl.qdiscs((card, 9999))) == {card}
    assert {card, other} <= set(rtnl.qdiscs())
    down = netns.veth("x0", up=False)
    assert down not in rtnl.qdiscs(), "the kernel attaches a default when the card first comes up"


def test_links_tell_what_they_are(netns: Namespace, card: int) -> None:
    netns.sh("ip link add link v0 name mv0 type macvlan")
    netns.sh("ip link add br0 type bridge && ip link set v0p master br0")
    netns.sh("ip link set v0 address 02:00:00:00:00:07")
    links = {link.name: (ifindex, link) for ifindex, link in Rtnl().links().items()}
    ifindex, link = links["v0"]
    assert (ifindex, link.kind, link.mac) == (card, "veth", "02:00:00:00:00:07")
    assert (link.rx_queues, link.tx_queues) == (4, 4)
    assert link.up
    assert link.running
    assert link.lower == links["v0p"][0]
    assert links["v0p"][1].master == links["br0"][0]
    assert (links["mv0"][1].kind, links["mv0"][1].lower) == ("macvlan", card)
    assert links["lo"][1].kind == ""


def test_links_follow_a_rename_and_a_peer_elsewhere(netns: Namespace, card: int) -> None:
    rtnl = Rtnl()
    for _ in range(100):  # a card that has just come up has its carrier a moment later
        if same := rtnl.links() is rtnl.links():
            break
        time.sleep(0.01)
    assert same
    netns.sh("ip link set v0 down && ip link set v0 name w9")
    assert rtnl.links()[card].name == "w9"
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo; read wait"], stdin=PIPE, stdout=PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        netns.sh(f"ip link set v0p netns {other.pid}")
        assert rtnl.links()[card].lower == 0
        other.communicate()


def test_a_dump_that_changes_while_it_is_read_comes_out_whole(netns: Namespace) -> None:
    for number in range(60):  # several datagrams, or the kernel reads it all at once
        netns.veth(f"v{number}", queues=1, up=False)
    churn = (
        "while :; do echo link add x0 type veth peer name x1; echo link del x0; sleep 0.02; done"
    )
    with subprocess.Popen(
        ["sh", "-c", f"({churn}) | ip -batch -"], start_new_session=True
    ) as other:
        rtnl = Rtnl()
        try:
            for _ in range(200):
                names = {link.name for link in rtnl.links().values()}
                assert {f"v{number}" for number in range(60)} <= names
        finally:
            os.killpg(other.pid, signal.SIGKILL)


def test_every_thread_asks_over_its_own_socket(card: int) -> None:
    rtnl = Rtnl()
    expected = rtnl.qdiscs()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(rtnl.qdiscs())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
