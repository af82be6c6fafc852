"""Described machines: what ten lines expand to, read as any host, and every mistake's place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError, SnapshotError
from netuned.hardware.host import Host, read_host
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.hardware.vectors import COMBINED, RX, TX
from netuned.kernel.files import KeptFiles
from netuned.kernel.questions import COALESCE
from netuned.snapshots.described import CARD_KEYS, MACHINE_KEYS, UPPER_KEYS, machine
from netuned.snapshots.drivers import DRIVERS

TWO_NODES = """\
nodes: 2
l3s: 2
cores: 8
threads: 2
isolated: 4-7
cards:
  - {name: eth0, driver: ice, node: 0, queues: 16, maximum: 64, speed: 100G}
  - {name: eth1, driver: ice, node: 1, count: 4}
  - {name: bond0, kind: bond, over: [eth0, eth1]}
"""


def host(text: str) -> Host:
    return read_host(machine(text))


def card(line: str, rest: str = "cores: 16") -> Nic:
    return host(f"{rest}\ncards: [{line}]\n").nics[2]


def cpus(text: str) -> CpuSet:
    return CpuSet.parse_list(text)


def test_cpus_are_numbered_as_linux_does() -> None:
    found = host(TWO_NODES).topology
    assert (len(found.online), len(found.cores), len(found.l3_domains)) == (64, 32, 4)
    assert found.core_of(0) == cpus("0,32")
    assert found.l3_of(9) == cpus("8-15,40-47")
    assert found.nodes == {0: cpus("0-15,32-47"), 1: cpus("16-31,48-63")}
    assert found.packages == tuple(found.nodes.values())
    assert found.distance(0, 1) == 21
    assert found.isolated == cpus("4-7")
    assert found.first_threads == cpus("0-31")


def test_siblings_may_be_adjacent() -> None:
    found = host("nodes: 2\ncores: 2\nthreads: 2\nnumbering: adjacent\n").topology
    assert found.core_of(0) == cpus("0-1")
    assert found.nodes == {0: cpus("0-3"), 1: cpus("4-7")}


def test_offline_cpus_are_in_no_group() -> None:
    found = host("cores: 4\nthreads: 2\noffline: 1,4\nnohz_full: 2-3\n").topology
    assert (found.possible, found.online) == (cpus("0-7"), cpus("0,2-3,5-7"))
    assert found.core_of(0) == cpus("0")
    assert found.l3_domains == (found.online,)
    assert found.housekeeping == cpus("0,5-7")


def test_a_hybrid_has_efficiency_cores() -> None:
    found = host("cores: 2\nthreads: 2\nefficiency: 4\n").topology
    assert found.efficiency == cpus("2-5")
    assert found.performance == cpus("0-1,6-7")
    assert len(found.cores) == 6


def test_nodes_without_cpus_and_distances() -> None:
    found = host(
        "nodes: 2\nnodes_without_cpus: 1\ncores: 2\npackages: 1\n"
        "distances: [[10, 12, 40], [12, 10, 41], [40, 41, 10]]\n"
    ).topology
    assert found.nodes[2] == CpuSet()
    assert found.distance(1, 2) == 41
    assert found.packages == (cpus("0-3"),)


def test_cards_are_as_described() -> None:
    nics = host(TWO_NODES).nics
    assert [nic.name for nic in nics.values()] == [*(f"eth{n}" for n in range(5)), "bond0"]
    eth0, eth4, bond = nics[2], nics[6], nics[7]
    assert (eth0.rx_queues, eth0.speed_mbps, eth0.numa_node) == (16, 100_000, 0)
    assert eth0.channels is not None
    assert eth0.channels.combined_max == 64
    assert len(set(eth0.interrupts)) == 17
    assert (eth4.numa_node, eth4.rx_queues) == (1, 64)
    assert (bond.kind, bond.driver, bond.lowers, eth0.master) == ("bond", "bonding", (2, 3), 7)


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_every_driver_shows_its_interrupts_by_its_own_names(driver: str) -> None:
    nic = card(f"{{name: eth0, driver: {driver}}}, {{name: eth1, driver: {driver}}}")
    own = {"veth": (), "hv_netvsc": (), "virtio_net": (RX, TX), "gve": (RX, TX)}
    roles = own.get(driver, (COMBINED,))
    served = sorted((vector.role, vector.queue) for vector in nic.vectors)
    assert served == sorted((role, queue) for role in roles for queue in range(nic.rx_queues))
    assert nic.driver == driver
    assert nic.rx_queues == nic.tx_queues == min(DRIVERS[driver].maximum, 16)


def test_a_card_on_hyper_v_has_no_interrupts_and_can_be_spread_all_the_same() -> None:
    nic = card("{name: eth0, driver: hv_netvsc, node: 0}")
    assert (nic.kind, nic.pci, nic.numa_node, nic.interrupts) == (PHYSICAL, "", 0, ())
    assert nic.channels is not None
    assert (nic.channels.combined_max, nic.rss_queues) == (64, 16)


def test_a_single_queue_driver_says_nothing_of_channels() -> None:
    nic = card("{name: eth0, driver: r8169}")
    assert (nic.channels, len(nic.interrupts)) == (None, 1)


def test_interrupts_may_sit_on_some_cpus() -> None:
    nic = card("{name: eth0, driver: ixgbe, queues: 8, irqs: 0-3}")
    assert nic.affinity == tuple(cpus(str(queue % 4)) for queue in range(8))


def test_vlans_and_virtual_cards() -> None:
    nics = host(
        "cards:\n  - {name: lan, driver: veth, count: 2}\n"
        "  - {name: lan0.5, kind: vlan, over: lan0}\n"
    ).nics
    assert [(nic.name, nic.kind) for nic in nics.values()] == [
        ("lan0", "veth"),
        ("lan1", "veth"),
        ("lan0.5", "vlan"),
    ]
    assert nics[4].lowers == (2,)


def test_the_documents_machine_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs/snapshots.md").read_text()
    shown = text.partition("```yaml machine\n")[2].partition("```")[0]
    assert len(host(shown).nics) == 6
    assert {*MACHINE_KEYS, *CARD_KEYS, *UPPER_KEYS} - set(re.findall(r"`(\w+)`", text)) == set()
    assert set(DRIVERS) <= set(re.findall(r"`(\w+)`", text))


def test_nothing_can_be_written() -> None:
    kernel = machine(TWO_NODES)
    writes: tuple[Callable[[], None], ...] = (
        lambda: kernel.files.write("/proc/irq/64/smp_affinity", b"1"),
        lambda: kernel.ethtool.set_rss_table(2, [0]),
        lambda: kernel.ethtool_netlink.set_channels(2, combined=1),
        lambda: kernel.rtnl.delete_qdisc(2),
        lambda: kernel.set(COALESCE, 2, {"rx-usecs": 1}),
    )
    for write in writes:
        with pytest.raises(SnapshotError, match="a snapshot cannot be written"):
            write()


def test_kept_files_and_qdiscs_are_read_as_on_a_host() -> None:
    kernel = machine(TWO_NODES)
    paths = tuple(f"/proc/irq/{irq}/smp_affinity" for irq in (64, 65))
    kept = KeptFiles(kernel.files)
    first = kept.sweep(paths, tuple)
    assert first == (b"ffffffff,ffffffff\n",) * 2
    assert kept.sweep(paths, tuple) is first
    assert [entry.kind for entry in kernel.rtnl.qdiscs()[2]] == ["mq"] + ["pfifo_fast"] * 16
    assert kernel.card_name(7) == "bond0"


def test_the_largest_machine_is_made() -> None:
    cards = "".join(
        f"  - {{name: p{node}n0, driver: mlx5_core, node: {node}, count: 8, queues: 128}}\n"
        for node in range(8)
    )
    found = host(f"nodes: 8\nl3s: 8\ncores: 8\nthreads: 2\ncards:\n{cards}")
    assert (len(found.topology.online), len(found.nics)) == (1024, 64)
    assert sum(len(nic.vectors) for nic in found.nics.values()) == 64 * 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- cores: 8", "m.yaml:1:1: a described machine is a mapping"),
        ("core: 8", "m.yaml:1:1: core: unknown key; did you mean `cores`?"),
        ("cores: many", "m.yaml:1:8: cores: `many` is not a whole number from 1 to 4096"),
        ("cores: yes", "m.yaml:1:8: cores: `yes` is not a whole number"),
        ("cores: [8]", "m.yaml:1:8: cores: a single value is meant here"),
        ("nodes: 2\npackages: 3", "m.yaml:2:11: packages: `3` is not a whole number from 1 to 2"),
        ("nodes: 64\ncores: 65", "m.yaml:2:8: cores: these are 4160 CPUs, at most 4096"),
        ("cores: 4\nisolated: 3-4", "m.yaml:2:11: isolated: CPUs 4 are not there"),
        ("cores: 4\noffline: 0-3", "m.yaml:2:10: offline: at least one CPU is online"),
        ("cores: 4\noffline: 0x3", "m.yaml:2:10: offline: '0x3' is not a CPU number"),
        (
            "cards: [{name: 0x1f, driver: igb}]",
            "m.yaml:1:16: cards[0].name: a card has a name of 1 "
            "to 15 characters, like eth0; put `0x1f` in quotes",
        ),
        ("cores: 4\noffline: 3-", "m.yaml:2:10: offline: '3-' is not a CPU number"),
        ("nodes: 2\ndistances: [[10, 21]]", "m.yaml:2:12: distances: these are 1 rows"),
        ("distances: [[21]]", "m.yaml:1:12: distances: the distance of node 0 to itself is 10"),
        ("distances: [[ten]]", "m.yaml:1:13: distances: a row is a list of 1 distances"),
        ("numbering: random", "m.yaml:1:12: numbering: `random` is not known here"),
        ("cards: eth0", "m.yaml:1:8: cards: a list of cards is meant here"),
        ("cards: [eth0]", "m.yaml:1:9: cards[0]: a card is a mapping"),
        ("cards: [{name: eth0}]", "m.yaml:1:9: cards[0].driver: a card has a driver (bnx2x,"),
        ("cards: [{driver: igb}]", "m.yaml:1:9: cards[0].name: a card has a name"),
        (
            "cards: [{name: eth0, driver: tulip}]",
            "m.yaml:1:30: cards[0].driver: `tulip` is not known here; write bnx2x, bnxt_en, e1000e",
        ),
        ("cards: [{name: eth0, driver: icee}]", "did you mean `ice`?"),
        ("cards: [{name: eth0, driver: igb, node: 1}]", "cards[0].node: `1` is not a whole number"),
        (
            "cards: [{name: eth0, driver: igb, queues: 9, maximum: 8}]",
            "m.yaml:1:43: cards[0].queues: 9 is more than the maximum of 8",
        ),
        ("cards: [{name: eth0, driver: e1000e, queues: 2}]", "e1000e has 1 at most"),
        ("cards: [{name: eth0, driver: igb, queues: 4096}]", "not a whole number from 1 to 2048"),
        ("cards: [{name: eth0, driver: igb, speed: fast}]", "`fast` is not a speed like 25G"),
        ("cards: [{name: eth0, driver: igb, mac: 5}]", "`5` is not an address"),
        ("cards: [{name: a/b, driver: igb}]", "cards[0].name: a card has a name"),
        ("cards: [{name: lo, driver: igb}]", "there is a card `lo` already"),
        (
            "cards: [{name: a, driver: igb}, {name: a, driver: igb}]",
            "cards[1].name: there is a card",
        ),
        ("cards: [{name: a, driver: igb, count: 1025}]", "not a whole number from 1 to 1024"),
        (
            "cards: [{name: a, driver: igb, count: 1000}, {name: b, driver: igb, count: 25}]",
            "m.yaml:1:46: cards[1]: more than 1024 cards",
        ),
        (
            "cards: [{name: a, driver: ice, count: 64, queues: 2000}]",
            "m.yaml:1:9: cards[0]: more than 65536 queues in all",
        ),
        ("cards: [{name: b, kind: bond, over: [x]}]", "m.yaml:1:38: cards[0].over: `x` is no card"),
        ("cards: [{name: b, kind: bund, over: [x]}]", "did you mean `bond`?"),
        (
            "cards: [{name: a, driver: igb, count: 2}, {name: v, kind: vlan, over: [a0, a1]}]",
            "cards[1].over: a vlan is over one card",
        ),
        (
            "cards: [{name: a, driver: igb}, {name: b, kind: bond, over: a},"
            " {name: c, kind: team, over: a}]",
            "cards[2].over: a is a port of another card already",
        ),
        ("cores: 8\n\tthreads: 2", "m.yaml:2:1: not valid YAML: a tab cannot indent"),
        ("cores: 8\ncores: 9", "m.yaml:2:1: cores: this key is already on line 1"),
    ],
)
def test_mistakes_have_their_place(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        machine(text, "m.yaml")
    assert message in str(caught.value)
