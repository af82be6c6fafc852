"""Described machines for tests: a topology from a few numbers, and cards on it."""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.kernel.ethtool import Channels
from netuned.nic import PHYSICAL, Nic
from netuned.topology import Topology
from netuned.vectors import COMBINED, Vector


def topology(
    nodes: int = 1, l3_per_node: int = 1, cores: int = 4, threads: int = 2, isolated: str = ""
) -> Topology:
    """``cores`` per L3, numbered as Linux does: first threads of all cores, then their siblings."""
    total = nodes * l3_per_node * cores
    of_core = [CpuSet.of(range(core, total * threads, total)) for core in range(total)]

    def join(per: int) -> list[CpuSet]:
        return [
            CpuSet.of(cpu for core in of_core[start : start + per] for cpu in core)
            for start in range(0, total, per)
        ]

    all_cpus = CpuSet.of(range(total * threads))
    by_node = dict(enumerate(join(cores * l3_per_node)))
    return Topology(
        possible=all_cpus,
        present=all_cpus,
        online=all_cpus,
        isolated=CpuSet.parse_list(isolated),
        nohz_full=CpuSet(),
        cores=tuple(of_core),
        packages=tuple(by_node.values()),
        l3_domains=tuple(join(cores)),
        nodes=by_node,
        distances={(a, b): 10 if a == b else 21 for a in by_node for b in by_node},
        capacity={},
    )


def nic(
    ifindex: int = 2, name: str = "en0", queues: int = 8, node: int = 0, maximum: int = 64
) -> Nic:
    """A card with combined channels and one interrupt per queue from 100·ifindex on."""
    first = 100 * ifindex
    vectors = tuple(Vector(COMBINED, queue, first + queue) for queue in range(queues))
    return Nic(
        ifindex=ifindex,
        name=name,
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
        rss_entries=128,
        rss_queues=queues,
        vectors=vectors,
        affinity=(CpuSet.parse_list("0"),) * queues,
        interrupts=tuple(vector.irq for vector in vectors),
    )
