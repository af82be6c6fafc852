"""Topology: equal to what lscpu prints of real machines' /proc and /sys trees."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netuned.counters.sample import Sample
from netuned.cpuset import CpuSet
from netuned.doctor.examine import examine
from netuned.doctor.facts import CardFacts, Facts
from netuned.hardware.topology import Topology, read_topology
from netuned.kernel.recorded import File, RecordedFiles, Tree
from tests.unit.doctored import LOADS, loaded
from tests.unit.machines import nic

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "lscpu"
MACHINES = sorted(path.name[: -len(".tar.gz")] for path in FIXTURES.glob("dumps/*.tar.gz"))


@dataclass(frozen=True)
class Printed:
    """What lscpu prints: its summary, and columns with CPUs by number, empty cells left out."""

    summary: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, CpuSet]] = field(default_factory=dict)
    physical: dict[str, dict[str, CpuSet]] = field(default_factory=dict)

    def groups(self, column: str) -> set[str]:
        return {str(cpus) for cpus in self.columns.get(column, {}).values()}


def parse(text: str) -> Printed:
    """The summary, and the two tables: with lscpu's numbers, then with the kernel's."""
    printed = Printed()
    tables = [printed.physical, printed.columns]
    table: dict[str, dict[str, CpuSet]] = {}
    names: list[str] = []
    for line in text.splitlines():
        if line.startswith("# CPU,"):
            names, table = line[2:].split(","), tables.pop()
        elif line[:1].isdigit():
            cells = line.split(",")
            for name, cell in zip(names, cells, strict=True):
                if name and cell not in ("", "-"):
                    column = table.setdefault(name, {})
                    column[cell] = column.get(cell, CpuSet()) | CpuSet(1 << int(cells[0]))
        elif ":" in line:
            name, _, value = line.partition(":")
            printed.summary[name] = value.strip()
    return printed


@pytest.fixture(scope="module", params=MACHINES or [""])
def machine(request: pytest.FixtureRequest) -> tuple[Topology, Printed]:
    name: str = request.param
    if not name:
        pytest.skip(f"no machines in {FIXTURES}: the fixtures are not beside this checkout")
    expected = (FIXTURES / "expected" / f"lscpu-{name}").read_text()
    return topology_of(name), parse(expected)


def topology_of(name: str) -> Topology:
    """A real machine's, as netuned reads it."""
    tree = Tree()
    with tarfile.open(FIXTURES / "dumps" / f"{name}.tar.gz") as archive:
        for member in archive:
            path = member.name.removeprefix(name)
            if member.isfile() and _concerns_cpus(path):
                file = archive.extractfile(member)
                assert file is not None
                tree.add(path, File(file.read()))
    return read_topology(RecordedFiles(tree))


def _concerns_cpus(path: str) -> bool:
    """Whether the topology can depend on it: the archives hold thousands of other files."""
    parts = path.split("/")
    return len(parts) < 8 or bool({"topology", "cache", "node"} & set(parts))


def strings(groups: Iterable[CpuSet]) -> set[str]:
    return {str(cpus) for cpus in groups}


def cpulist(text: str) -> str:
    """The kernel's form of lscpu's list, which writes every second of a range as ``0-62:2``."""
    return str(CpuSet.parse_list(re.sub(r":(\d+)", r":1/\1", text)))


def test_cpus(machine: tuple[Topology, Printed]) -> None:
    topology, printed = machine
    assert str(topology.online) == cpulist(printed.summary["On-line CPU(s) list"])
    offline = topology.present - topology.online
    assert str(offline) == cpulist(printed.summary.get("Off-line CPU(s) list", ""))
    assert len(topology.present) == int(printed.summary["CPU(s)"])
    assert strings(CpuSet(1 << cpu) for cpu in topology.online) == printed.groups("CPU")


def test_cores_and_packages(machine: tuple[Topology, Printed]) -> None:
    topology, printed = machine
    assert strings(topology.cores) == printed.groups("Core")
    assert strings(topology.packages) == printed.groups("Socket")
    threads = int(printed.summary["Thread(s) per core"])
    assert max(len(core) for core in topology.cores) == threads


def test_packages_are_in_the_order_of_the_kernels_numbers(
    machine: tuple[Topology, Printed],
) -> None:
    topology, printed = machine
    numbers = printed.physical.get("Socket", {})
    if numbers:
        in_order = [str(numbers[number]) for number in sorted(numbers, key=int)]
        assert [str(cpus) for cpus in topology.packages] == in_order


def test_nodes(machine: tuple[Topology, Printed]) -> None:
    topology, printed = machine
    nodes = {str(node): cpus & topology.online for node, cpus in topology.nodes.items()}
    assert {node: str(cpus) for node, cpus in nodes.items() if cpus} == {
        node: str(cpus) for node, cpus in printed.columns.get("Node", {}).items()
    }
    listed = {
        name.removeprefix("NUMA node").removesuffix(" CPU(s)"): cpulist(value)
        for name, value in printed.summary.items()
        if name.startswith("NUMA node") and name != "NUMA node(s)"
    }
    assert {str(node): str(cpus) for node, cpus in topology.nodes.items()} == listed


def test_caches(machine: tuple[Topology, Printed]) -> None:
    topology, printed = machine
    columns = printed.columns.keys() - {"CPU", "Core", "Socket", "Node"}
    assert topology.caches.keys() == columns
    for name in columns:
        assert strings(topology.caches[name]) == printed.groups(name)
    assert strings(topology.l2_domains) == printed.groups("L2")
    if "L3" in columns:
        assert strings(topology.l3_domains) == printed.groups("L3")


def test_every_online_cpu_is_somewhere(machine: tuple[Topology, Printed]) -> None:
    topology, _ = machine
    groups: Mapping[str, tuple[CpuSet, ...]] = {
        "cores": topology.cores,
        "packages": topology.packages,
        "l3_domains": topology.l3_domains,
    }
    for name, sets in groups.items():
        assert sum(map(len, sets)) == len(topology.online), name
        assert CpuSet.of(cpu for cpus in sets for cpu in cpus) == topology.online, name


@pytest.mark.parametrize("load", LOADS)
def test_the_doctor_finds_nothing_where_cards_are_placed_well(
    machine: tuple[Topology, Printed], load: str
) -> None:
    assert [finding.name for finding in examine(*healthy(machine[0], load))] == []


def healthy(topology: Topology, load: str) -> tuple[Facts, Sample]:
    """Two cards placed well on a machine."""
    queues = min(len(topology.first_threads), 8)
    cards = {
        i: CardFacts(nic(i, f"en{i}", queues, -1), table=(*range(queues),) * 16) for i in (2, 3)
    }
    facts = Facts(topology, cards)
    return facts, loaded(facts, load)
