"""The files that a described machine's kernel would show of its CPUs, caches and nodes.

Source: Documentation/admin-guide/cputopology.rst
"""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.kernel.recorded import File, Link, Tree
from netuned.records import dataclass
from netuned.snapshots.smallfiles import line, mask, mask_and_list
from netuned.snapshots.spec import MachineSpec

CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"
BOOT_ID = "00000000-0000-4000-8000-000000000000"
CACHES = ((1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K"))
"""Of each core, as level, type and size; the L3 is the next index."""


@dataclass(frozen=True, slots=True)
class _Core:
    cpus: CpuSet
    l3: int
    node: int
    efficient: bool


def _cores(machine: MachineSpec) -> list[_Core]:
    """All cores with their CPUs, in the order of nodes, L3 domains, performance before efficiency.

    Linux numbers the first threads of all cores, then the second ones; firmware that lists a
    core's threads side by side has them numbered ``adjacent``.
    """
    places = [
        (node * machine.l3s + l3, node, core >= machine.cores)
        for node in range(machine.nodes)
        for l3 in range(machine.l3s)
        for core in range(machine.cores + machine.efficiency)
    ]
    threads = [1 if efficient else machine.threads for _, _, efficient in places]
    seats = [(core, thread) for core, count in enumerate(threads) for thread in range(count)]
    if not machine.adjacent:
        seats.sort(key=lambda seat: seat[1])
    cpus: list[list[int]] = [[] for _ in places]
    for cpu, (core, _) in enumerate(seats):
        cpus[core].append(cpu)
    return [_Core(CpuSet.of(own), *place) for own, place in zip(cpus, places, strict=True)]


def _join(groups: dict[int, CpuSet], number: int, cpus: CpuSet) -> None:
    groups[number] = groups.get(number, CpuSet()) | cpus


def add_cpus(tree: Tree, machine: MachineSpec) -> None:
    everything = machine.cpus
    online = everything - machine.offline
    cores = _cores(machine)
    l3s: dict[int, CpuSet] = {}
    nodes: dict[int, CpuSet] = {}
    packages: dict[int, CpuSet] = {}
    per_package = machine.nodes // machine.packages
    for core in cores:
        _join(l3s, core.l3, core.cpus & online)
        _join(nodes, core.node, core.cpus & online)
        _join(packages, core.node // per_package, core.cpus & online)
    for name, cpus in (
        ("possible", everything),
        ("present", everything),
        ("online", online),
        ("offline", machine.offline),
        ("isolated", machine.isolated),
        ("nohz_full", machine.nohz_full),
    ):
        tree.add(f"{CPU}/{name}", line(cpus))
    width = len(everything)
    for number, core in enumerate(cores):
        package = core.node // per_package
        files = {
            **mask_and_list("topology/core_cpus", core.cpus & online, width),
            **mask_and_list("topology/thread_siblings", core.cpus & online, width),
            **mask_and_list("topology/package_cpus", packages[package], width),
            **mask_and_list("topology/core_siblings", packages[package], width),
            **mask_and_list("topology/die_cpus", packages[package], width),
            "topology/core_id": line(number),
            "topology/die_id": line(0),
            "topology/physical_package_id": line(package),
        }
        for index, (level, kind, size) in enumerate(CACHES):
            files |= _cache(index, level, kind, size, number, core.cpus & online, width)
        files |= _cache(len(CACHES), 3, "Unified", "32768K", core.l3, l3s[core.l3], width)
        for cpu in core.cpus:
            tree.add(f"{CPU}/cpu{cpu}/online", line(int(cpu in online)))
            if cpu in online:  # the kernel shows no topology of others
                for name, file in files.items():
                    tree.add(f"{CPU}/cpu{cpu}/{name}", file)
                tree.add(f"{CPU}/cpu{cpu}/node{core.node}", Link(f"../../node/node{core.node}"))
    if machine.efficiency:
        for name, wanted in (("cpu_core", False), ("cpu_atom", True)):
            kind_cpus = CpuSet.of(
                c for core in cores if core.efficient == wanted for c in core.cpus
            )
            tree.add(f"/sys/devices/{name}/cpus", line(kind_cpus))
    _add_nodes(tree, machine, nodes, width)
    _add_settings(tree, machine, width)


def _add_nodes(tree: Tree, machine: MachineSpec, nodes: dict[int, CpuSet], width: int) -> None:
    numbers = CpuSet.of(range(machine.nodes + machine.bare_nodes))
    for name in ("online", "possible", "has_memory", "has_normal_memory"):
        tree.add(f"{NODE}/{name}", line(numbers))
    tree.add(f"{NODE}/has_cpu", line(CpuSet.of(node for node, cpus in nodes.items() if cpus)))
    for node in numbers:
        cpus = nodes.get(node, CpuSet())
        tree.add(f"{NODE}/node{node}/cpulist", line(cpus))
        for kb in (2048, 1 << 20):
            tree.add(f"{NODE}/node{node}/hugepages/hugepages-{kb}kB/nr_hugepages", line("0"))
        tree.add(f"{NODE}/node{node}/cpumap", mask(cpus, width))
        tree.add(f"{NODE}/node{node}/distance", line(" ".join(map(str, machine.distances[node]))))


SYSCTLS = {
    "net/core/default_qdisc": "pfifo_fast",
    "net/core/rps_sock_flow_entries": "0",
    "net/core/rmem_max": "4194304",
    "net/core/rmem_default": "212992",
    "net/core/wmem_max": "4194304",
    "net/core/wmem_default": "212992",
    "net/core/optmem_max": "131072",
    "net/core/netdev_max_backlog": "1000",
    "net/core/netdev_budget": "300",
    "net/core/netdev_budget_usecs": "8000",
    "net/core/dev_weight": "64",
    "net/core/busy_poll": "0",
    "net/core/busy_read": "0",
    "net/core/somaxconn": "4096",
    "net/core/flow_limit_table_len": "4096",
    "net/ipv4/tcp_rmem": "4096\t131072\t33554432",
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
    "net/ipv4/tcp_congestion_control": "cubic",
    "net/ipv4/tcp_mtu_probing": "0",
    "net/ipv4/tcp_slow_start_after_idle": "1",
    "net/ipv4/ip_forward": "0",
    "vm/max_map_count": "65530",
    "vm/swappiness": "60",
    "vm/stat_interval": "1",
    "vm/min_free_kbytes": "67584",
    "vm/zone_reclaim_mode": "0",
}
"""As Linux 6.18 has them."""


def _add_settings(tree: Tree, machine: MachineSpec, width: int) -> None:
    words = ["ro"]
    if machine.isolated:
        words.append(f"isolcpus={machine.isolated}")
    if machine.nohz_full:
        words.append(f"nohz_full={machine.nohz_full}")
    tree.add("/proc/cmdline", line(" ".join(words)))
    tree.add("/proc/sys/kernel/random/boot_id", line(BOOT_ID))
    for path, value in SYSCTLS.items():
        tree.add(f"/proc/sys/{path}", line(value))
    tree.add("/proc/irq/default_smp_affinity", mask(machine.cpus, width))


def _cache(
    index: int, level: int, kind: str, size: str, number: int, cpus: CpuSet, width: int
) -> dict[str, File]:
    directory = f"cache/index{index}"
    return {
        f"{directory}/level": line(level),
        f"{directory}/type": line(kind),
        f"{directory}/size": line(size),
        f"{directory}/id": line(number),
        f"{directory}/shared_cpu_list": line(cpus),
        f"{directory}/shared_cpu_map": mask(cpus, width),
    }
