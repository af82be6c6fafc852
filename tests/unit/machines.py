"""Described machines for tests: a topology from a few numbers, and cards on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.hardware.topology import Topology
from netuned.hardware.vectors import COMBINED, RX, TX, Vector
from netuned.kernel.contexts import ContextTable
from netuned.kernel.ethtool import Channels
from netuned.kernel.rules import RuleTable
from netuned.snapshots.cards import link_numbers
from netuned.snapshots.drivers import MERGING, TOEPLITZ
from netuned.tunables import contexts, hashing, rules
from netuned.tunables.base import Limits, Tunable


def topology(
    nodes: int = 1,
    l3_per_node: int = 1,
    cores: int = 4,
    threads: int = 2,
    isolated: str = "",
    nohz_full: str = "",
    offline: str = "",
) -> Topology:
    """``cores`` per L3, numbered as Linux does: first threads of all cores, then their siblings."""
    total = nodes * l3_per_node * cores
    of_core = [
        CpuSet.of(core + thread * total for thread in range(threads)) for core in range(total)
    ]

    def join(per: int) -> list[CpuSet]:
        return [
            CpuSet.of(cpu for core in of_core[start : start + per] for cpu in core)
            for start in range(0, total, per)
        ]

    all_cpus = CpuSet.of(range(total * threads))
    online = all_cpus - CpuSet.parse_list(offline)
    by_node = dict(enumerate(join(cores * l3_per_node)))

    def shown(groups: list[CpuSet]) -> tuple[CpuSet, ...]:
        return tuple(group & online for group in groups if group & online)

    return Topology(
        possible=all_cpus,
        present=all_cpus,
        online=online,
        isolated=CpuSet.parse_list(isolated),
        nohz_full=CpuSet.parse_list(nohz_full),
        cores=shown(of_core),
        packages=shown(list(by_node.values())),
        l3_domains=shown(join(cores)),
        nodes={node: cpus & online for node, cpus in by_node.items()},
        distances={(a, b): 10 if a == b else 21 for a in by_node for b in by_node},
        capacity={},
    )


def nic(
    ifindex: int = 2, name: str = "en0", queues: int = 8, node: int = 0, maximum: int = 64
) -> Nic:
    """A card with combined channels and one interrupt per queue from 100·ifindex on."""
    vectors = interrupts((COMBINED,), ifindex, queues)
    return Nic(
        ifindex=ifindex,
        name=name,
        instance=1000 + ifindex,
        driver="ice",
        kind=PHYSICAL,
        pci="8086:1592",
        mac=f"02:00:00:00:00:{ifindex:02x}",
        speed_mbps=100_000,
        numa_node=node,
        device=f"/sys/devices/pci0000:00/0000:00:{ifindex:02x}.0",
        up=True,
        rx_queues=queues,
        tx_queues=queues,
        channels=Channels(0, 0, 1, queues, 0, 0, 1, maximum),
        rss_queues=queues,
        vectors=vectors,
        affinity=(CpuSet.parse_list("0"),) * queues,
        interrupts=tuple(vector.irq for vector in vectors),
    )


def interrupts(roles: tuple[str, ...], ifindex: int, queues: int) -> tuple[Vector, ...]:
    """One interrupt per role and queue."""
    numbers = iter(range(100 * ifindex, 100 * ifindex + len(roles) * queues))
    return tuple(
        sorted(Vector(role, queue, next(numbers)) for queue in range(queues) for role in roles)
    )


def igb(ifindex: int, name: str, queues: int = 8, node: int = 0, maximum: int = 8) -> Nic:
    """An I350: at most 8 channels, an interrupt for both directions of each."""
    card = nic(ifindex, name, queues, node, maximum)
    return replace(card, driver="igb", pci="8086:1521", speed_mbps=1000)


def ixgbe(ifindex: int, name: str, queues: int = 32, node: int = 0, maximum: int = 63) -> Nic:
    """An 82599: many channels, but hashing reaches 16 of their queues only."""
    card = nic(ifindex, name, queues, node, maximum)
    return replace(
        card, driver="ixgbe", pci="8086:10fb", speed_mbps=10_000, rss_queues=min(queues, 16)
    )


def virtio(ifindex: int, name: str, queues: int = 4, node: int = -1, maximum: int = 8) -> Nic:
    """virtio-net without RSS: two interrupts per channel, no indirection table, often no node."""
    vectors = interrupts((RX, TX), ifindex, queues)
    return replace(
        nic(ifindex, name, queues, node, maximum),
        driver="virtio_net",
        pci="1af4:1041",
        speed_mbps=0,
        rss_queues=queues,
        vectors=vectors,
        affinity=(CpuSet.parse_list("0"),) * len(vectors),
        interrupts=tuple(vector.irq for vector in vectors),
    )


def veth(ifindex: int, name: str, queues: int = 4, node: int = -1, maximum: int = 8) -> Nic:
    """A virtual card: rx and tx channels but no combined ones, no interrupts, no RSS."""
    return replace(
        nic(ifindex, name, queues, node),
        driver="veth",
        kind="veth",
        pci="",
        speed_mbps=10_000,
        device="",
        channels=Channels(queues, queues, 0, 0, maximum, maximum, 0, 0),
        vectors=(),
        affinity=(),
        interrupts=(),
    )


def e1000e(ifindex: int, name: str, queues: int = 1, node: int = 0, maximum: int = 1) -> Nic:
    """One queue for good, one interrupt, nothing to set but that and the root qdisc."""
    card = nic(ifindex, name, 1, node, 1)
    return replace(card, driver="e1000e", pci="8086:10d3", speed_mbps=1000, channels=None)


def sender(ifindex: int, name: str, queues: int = 4, node: int = 0, maximum: int = 1) -> Nic:
    """One receive queue with the only interrupt, and more to send by (Allwinner's dwmac-sun8i)."""
    return replace(e1000e(ifindex, name, node=node), driver="st_gmac", tx_queues=queues)


RSS_ENTRIES = {"ice": 128, "igb": 128, "ixgbe": 128, "mlx5_core": 256}
"""By driver, how many entries the RSS indirection table has; those of others have none."""


RULES = {"ice": 1024, "mlx5_core": 1024}
"""By driver, how many flow rules a card has room for."""
CONTEXTS = frozenset({"mlx5_core"})
"""Drivers whose cards have RSS contexts."""

NUMBERS: dict[str, Mapping[str, int]] = {
    "link": link_numbers(131_072),
    "offloads": MERGING,
    "coalesce": {"rx-usecs": 3, "tx-usecs": 50, "adaptive-rx": 1, "tx-frames": 0},
    "rings": {"rx": 512, "tx": 512, "rx-max": 4096, "tx-max": 4096, "rx-push": 0, "tx-push": 0},
}
"""By tunable, what physical cards answer that are asked for numbers by ethtool's names."""


def limits(tunable: Tunable, card: Nic) -> Limits:
    """What the card's hardware has at most. Raises: UnsupportedError."""
    if tunable.name in NUMBERS and card.kind != PHYSICAL:
        raise UnsupportedError(tunable.name, "the driver has no such operation")
    if tunable.name == hashing.NAME:
        if card.driver not in RSS_ENTRIES:
            raise UnsupportedError(tunable.name, "the driver has no such operation")
        return hashing.limits_of(TOEPLITZ)
    if tunable.name == "napi":
        return dict.fromkeys(
            ("defer-hard-irqs", "gro-flush-timeout", "threaded", "threads", "one-by-one"), 1
        )
    if tunable.name == rules.NAME:
        if card.driver not in RULES:
            raise UnsupportedError(tunable.name, "the driver has no such operation")
        entries = {contexts.ENTRIES: RSS_ENTRIES[card.driver]} if card.driver in CONTEXTS else {}
        return {**entries, **rules.limits_of(RuleTable(RULES[card.driver], {}))}
    if tunable.name == contexts.NAME:
        if card.driver not in CONTEXTS:
            raise UnsupportedError(tunable.name, "the driver has no such operation")
        return contexts.limits_of(ContextTable(RSS_ENTRIES[card.driver], {}))
    entries = {"entries": RSS_ENTRIES.get(card.driver, 0)}
    return entries if tunable.name == "rss" else NUMBERS.get(tunable.name, {})


def mlx5(ifindex: int, name: str, queues: int = 8, node: int = 0, maximum: int = 64) -> Nic:
    """As ``nic``, with RSS contexts."""
    return replace(nic(ifindex, name, queues, node, maximum), driver="mlx5_core")


CARDS: dict[str, Callable[..., Nic]] = {
    "ice": nic,
    "mlx5_core": mlx5,
    "igb": igb,
    "ixgbe": ixgbe,
    "virtio_net": virtio,
    "veth": veth,
    "e1000e": e1000e,
    "st_gmac": sender,
}
"""By driver: ``CARDS["igb"](ifindex, name, queues=…, node=…, maximum=…)``."""


def with_channels(card: Nic, rx: int, tx: int, combined: int) -> Nic:
    """The card after it was given these channels: queues and interrupts come and go."""
    has = card.channels
    assert has is not None
    limited = card.rss_queues < card.rx_queues  # by the hardware, whatever is open
    rx_queues, tx_queues = rx + combined, tx + combined
    vectors = interrupts(
        tuple(dict.fromkeys(vector.role for vector in card.vectors)),
        card.ifindex,
        max(rx_queues, tx_queues),
    )
    return replace(
        card,
        rx_queues=rx_queues,
        tx_queues=tx_queues,
        channels=replace(has, rx=rx, tx=tx, combined=combined),
        rss_queues=min(card.rss_queues, rx_queues) if limited else rx_queues,
        vectors=vectors,
        affinity=(CpuSet.parse_list("0"),) * len(vectors),
        interrupts=tuple(vector.irq for vector in vectors),
    )
