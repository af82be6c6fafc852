"""Topology: what is read from a tree of sysfs files, and the questions it answers."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.hardware.isolation import read_isolation
from netuned.hardware.topology import Topology, read_topology
from netuned.kernel.files import Files

from .machines import topology

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


def write_tree(root: Path, files: dict[str, str]) -> Files:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return Files(str(root))


def cpu_files(cpu: int, core: str, package: str, number: int = 0, **caches: str) -> dict[str, str]:
    """The files of one CPU; ``caches`` maps ``indexN_level`` to the CPUs that share the cache."""
    directory = f"{CPU}/cpu{cpu}"
    found = {
        f"{directory}/topology/core_cpus_list": core,
        f"{directory}/topology/package_cpus_list": package,
        f"{directory}/topology/physical_package_id": str(number),
    }
    for name, shared in caches.items():
        index, _, level = name.partition("_")
        found[f"{directory}/cache/{index}/level"] = level
        found[f"{directory}/cache/{index}/shared_cpu_list"] = shared
    return found


def two_packages() -> dict[str, str]:
    """8 CPUs: packages 1 (CPUs 0-3) and 0 (4-7), SMT pairs, an L3 each, a node without CPUs."""
    files = {
        f"{CPU}/possible": "0-15",
        f"{CPU}/present": "0-7",
        f"{CPU}/online": "0-7",
        f"{CPU}/isolated": "6-7",
        f"{CPU}/nohz_full": "(null)",
        f"{NODE}/node0/cpulist": "0-3",
        f"{NODE}/node1/cpulist": "4-7",
        f"{NODE}/node4/cpulist": "",
        f"{NODE}/node0/distance": "10 21 31",
        f"{NODE}/node1/distance": "21 10 31",
        f"{NODE}/node4/distance": "31 31 10",
    }
    for cpu in range(8):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        package = "0-3" if cpu < 4 else "4-7"
        caches = {"index0_1": pair, "index2_2": pair, "index3_3": package}
        files |= cpu_files(cpu, pair, package, number=int(cpu < 4), **caches)
    return files


def lists(sets: tuple[CpuSet, ...]) -> list[str]:
    return [str(cpus) for cpus in sets]


def test_reads_a_machine(tmp_path: Path) -> None:
    found = read_topology(write_tree(tmp_path, two_packages()))
    assert str(found.possible) == "0-15"
    assert str(found.present) == "0-7"
    assert str(found.online) == "0-7"
    assert str(found.isolated) == "6-7"
    assert str(found.nohz_full) == ""
    assert lists(found.cores) == ["0-1", "2-3", "4-5", "6-7"]
    assert lists(found.packages) == ["4-7", "0-3"]
    assert lists(found.l3_domains) == ["0-3", "4-7"]
    assert {node: str(cpus) for node, cpus in found.nodes.items()} == {0: "0-3", 1: "4-7", 4: ""}
    assert found.distance(0, 4) == 31
    assert found.distance(1, 1) == 10
    assert found.capacity == {}
    assert str(found.housekeeping) == "0-5"
    assert str(found.first_threads) == "0,2,4,6"
    assert str(found.performance) == str(found.efficiency) == "0-7"
    assert [found.node_of(cpu) for cpu in (0, 7, 9)] == [0, 1, None]
    assert str(found.core_of(5)) == "4-5"
    assert str(found.l3_of(5)) == "4-7"
    assert str(found.package_of(5)) == "4-7"
    assert not found.core_of(9)


def test_an_offline_cpu_stays_possible_and_its_sibling_is_the_first_thread(tmp_path: Path) -> None:
    files = two_packages()
    files[f"{CPU}/online"] = "0-3,5-7"
    files |= cpu_files(5, "5", "5-7", 0, index3_3="5-7")
    for name in [name for name in files if "/cpu4/" in name]:
        del files[name]
    found = read_topology(write_tree(tmp_path, files))
    assert 4 in found.possible
    assert lists(found.cores) == ["0-1", "2-3", "5", "6-7"]
    assert str(found.first_threads) == "0,2,5-6"
    assert not found.core_of(4)


def test_everything_isolated_leaves_all_for_housekeeping(tmp_path: Path) -> None:
    files = {**two_packages(), f"{CPU}/isolated": "0-3", f"{CPU}/nohz_full": "4-7"}
    assert str(read_topology(write_tree(tmp_path, files)).housekeeping) == "0-7"


@pytest.mark.parametrize(
    ("isolated", "allowed", "housekeeping"),
    [
        ("", "", "0-7"),
        ("6-7", "0-3", "0-3"),
        ("6-7", "4-7", "4-5"),
        ("4-7", "4-7", "0-3"),
        ("0-7", "4-7", "4-7"),
        ("0-7", "", "0-7"),
        ("0-7", "12", "0-7"),
    ],
    ids=[
        "nothing isolated",
        "of those allowed",
        "isolated though allowed",
        "only isolated ones allowed",
        "all isolated",
        "all isolated, all allowed",
        "only offline ones allowed",
    ],
)
def test_housekeeping(isolated: str, allowed: str, housekeeping: str) -> None:
    eight = CpuSet.parse_list("0-7")
    machine = Topology(
        eight,
        eight,
        eight,
        isolated=CpuSet.parse_list(isolated),
        allowed=CpuSet.parse_list(allowed),
    )
    assert str(machine.housekeeping) == housekeeping


def test_allowed_cpus_of_the_service_are_read(tmp_path: Path) -> None:
    cgroup = "sys/fs/cgroup"
    files = two_packages() | {
        f"{cgroup}/cpuset.cpus.effective": "0-7",
        f"{cgroup}/system.slice/netuned.service/cpuset.cpus.effective": "2-7",
    }
    found = read_topology(write_tree(tmp_path, files))
    assert str(found.allowed) == "2-7"
    assert str(found.housekeeping) == "2-5"
    assert found.isolation == read_isolation(Files(str(tmp_path)))


def test_isolated_partitions_of_the_cpuset_controller_count(tmp_path: Path) -> None:
    files = {**two_packages(), "sys/fs/cgroup/cpuset.cpus.isolated": "2-3"}
    assert str(read_topology(write_tree(tmp_path, files)).isolated) == "2-3,6-7"


def test_a_machine_that_tells_only_its_online_cpus(tmp_path: Path) -> None:
    found = read_topology(write_tree(tmp_path, {f"{CPU}/online": "0-1"}))
    assert str(found.possible) == "0-1"
    assert lists(found.cores) == ["0", "1"]
    assert lists(found.l3_domains) == ["0", "1"]
    assert found.nodes == {}
    assert found.node_of(0) is None
    assert found.distance(0, 0) == 10
    assert found.distance(0, 1) == 20


def test_without_any_cpu_files_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="system/cpu"):
        read_topology(Files(str(tmp_path)))


def test_masks_where_an_old_kernel_has_no_lists(tmp_path: Path) -> None:
    files = {f"{CPU}/cpu{cpu}/topology/thread_siblings": "00000003" for cpu in (0, 1)}
    files |= {f"{CPU}/cpu{cpu}/topology/core_siblings": "3" for cpu in (0, 1)}
    files |= {f"{NODE}/node0/cpumap": "00000000,00000003"}
    found = read_topology(write_tree(tmp_path, files))
    assert str(found.online) == "0-1"
    assert lists(found.cores) == lists(found.packages) == lists(found.l3_domains) == ["0-1"]
    assert {node: str(cpus) for node, cpus in found.nodes.items()} == {0: "0-1"}


def test_offline_cpus_where_no_file_lists_the_online_ones(tmp_path: Path) -> None:
    files = {f"{CPU}/cpu{cpu}/online": str(int(cpu != 2)) for cpu in range(1, 4)}
    files |= {f"{CPU}/cpu0/crash_notes": "", f"{CPU}/cpuidle/current_driver": "none"}
    files |= {f"{CPU}/present": "0-3"}
    found = read_topology(write_tree(tmp_path, files))
    assert str(found.online) == "0-1,3"
    assert str(found.possible) == str(found.present) == "0-3"


def test_no_online_cpu_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cpu/online"):
        read_topology(write_tree(tmp_path, {f"{CPU}/online": ""}))


def test_files_that_make_no_sense_are_as_if_absent(tmp_path: Path) -> None:
    files = two_packages()
    files[f"{NODE}/node0/distance"] = "10 ? 31"
    files[f"{NODE}/node1/cpulist"] = "four"
    files[f"{CPU}/cpu2/topology/core_cpus_list"] = "9-1"
    files[f"{CPU}/cpu2/cache/index3/shared_cpu_list"] = "-"
    found = read_topology(write_tree(tmp_path, files))
    assert lists(found.cores) == ["0-1", "2", "3", "4-5", "6-7"]
    assert lists(found.l3_domains) == ["0-3", "4-7"]
    assert found.distance(0, 4) == 20
    assert not found.nodes[1]


def test_dies_clusters_and_caches(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-7"}
    for cpu in range(8):
        cluster = "0-3" if cpu < 4 else "4-7"
        caches = {"index0_1": str(cpu), "index1_1": str(cpu), "index2_2": cluster}
        files |= cpu_files(cpu, str(cpu), "0-7", 0, **caches, index3_3="0-7")
        files[f"{CPU}/cpu{cpu}/topology/die_cpus_list"] = "0-7"
        files[f"{CPU}/cpu{cpu}/topology/cluster_cpus_list"] = cluster
        for index, kind in enumerate(["Data", "Instruction", "Unified", "Unified"]):
            files[f"{CPU}/cpu{cpu}/cache/index{index}/type"] = kind
    found = read_topology(write_tree(tmp_path, files))
    assert lists(found.dies) == ["0-7"]
    assert lists(found.clusters) == lists(found.l2_domains) == ["0-3", "4-7"]
    assert list(found.caches) == ["L1d", "L1i", "L2", "L3"]
    assert lists(found.caches["L1i"]) == [str(cpu) for cpu in range(8)]
    assert lists(found.l3_domains) == ["0-7"]


def test_what_the_kernel_does_not_tell_is_empty(tmp_path: Path) -> None:
    found = read_topology(write_tree(tmp_path, {f"{CPU}/online": "0-1"}))
    assert (found.dies, found.clusters, found.l2_domains, dict(found.caches)) == ((), (), (), {})


def test_threads_with_an_l1d_each_but_one_l1i(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3"}
    for cpu in range(4):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        files |= cpu_files(cpu, pair, "0-3", 0, index0_1=str(cpu), index1_1=pair, index2_2="0-3")
        files[f"{CPU}/cpu{cpu}/cache/index0/type"] = "Data"
        files[f"{CPU}/cpu{cpu}/cache/index1/type"] = "Instruction"
    caches = read_topology(write_tree(tmp_path, files)).caches
    assert lists(caches["L1d"]) == ["0", "1", "2", "3"]
    assert lists(caches["L1i"]) == ["0-1", "2-3"]
    assert lists(caches["L2"]) == ["0-3"]


def test_little_cores_with_fewer_caches_than_big_ones(tmp_path: Path) -> None:
    """The little ones have no L2: their index 1 is the L3, the big ones' is their L2."""
    files = {f"{CPU}/online": "0-3"}
    for cpu in range(4):
        levels = ["1", "3"] if cpu < 2 else ["1", "2", "3"]
        caches = {
            f"index{index}_{level}": "0-3" if level == "3" else str(cpu)
            for index, level in enumerate(levels)
        }
        files |= cpu_files(cpu, str(cpu), "0-3", 0, **caches)
    found = read_topology(write_tree(tmp_path, files))
    assert lists(found.l2_domains) == ["2", "3"]
    assert lists(found.l3_domains) == ["0-3"]


def test_efficiency_cores_outside_the_l3_share_their_l2(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-5", "sys/devices/cpu_lowpower/cpus": "4-5"}
    for cpu in range(6):
        caches = {"index0_1": str(cpu), "index1_2": str(cpu), "index2_3": "0-3"}
        if cpu > 3:
            caches = {"index0_1": str(cpu), "index1_2": "4-5"}
        files |= cpu_files(cpu, str(cpu), "0-5", 0, **caches)
    found = read_topology(write_tree(tmp_path, files))
    assert lists(found.l3_domains) == ["0-3", "4-5"]
    assert str(found.efficiency) == "4-5"


def test_sparc_tells_sizes_only(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-1"}
    for cpu in range(2):
        for name in ("l1_dcache_size", "l1_icache_size", "l2_cache_size"):
            files[f"{CPU}/cpu{cpu}/{name}"] = "16384"
    found = read_topology(write_tree(tmp_path, files))
    assert {name: lists(sets) for name, sets in found.caches.items()} == {
        "L1d": ["0", "1"],
        "L1i": ["0", "1"],
        "L2": ["0", "1"],
    }


def test_an_l4_is_the_last_level(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3"}
    for cpu in range(4):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        files |= cpu_files(cpu, str(cpu), "0-3", 0, index0_3=pair, index1_4="0-3")
    assert lists(read_topology(write_tree(tmp_path, files)).l3_domains) == ["0-3"]


@pytest.mark.parametrize(
    ("shared", "domains"),
    [("0-1", ["0-1", "2-3"]), ("0", ["0-3"])],
    ids=["an L2 of two cores is a domain", "a core's own L2 is none"],
)
def test_without_an_l3(tmp_path: Path, shared: str, domains: list[str]) -> None:
    files = {f"{CPU}/online": "0-3"}
    for cpu in range(4):
        cluster = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if shared == "0-1" else str(cpu)
        files |= cpu_files(cpu, str(cpu), "0-3", 0, index0_1=str(cpu), index1_2=cluster)
    assert lists(read_topology(write_tree(tmp_path, files)).l3_domains) == domains


def test_without_caches_a_package_is_cut_by_its_nodes(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3"}
    files |= {f"{NODE}/node0/cpulist": "0-1", f"{NODE}/node1/cpulist": "2-3"}
    for cpu in range(4):
        files |= cpu_files(cpu, str(cpu), "0-3")
    assert lists(read_topology(write_tree(tmp_path, files)).l3_domains) == ["0-1", "2-3"]


def test_an_x86_hybrid(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-5", "sys/devices/cpu_core/cpus": "0-3"}
    files |= {"sys/devices/cpu_atom/cpus": "4-5"}
    found = read_topology(write_tree(tmp_path, files))
    assert str(found.performance) == "0-3"
    assert str(found.efficiency) == "4-5"


@pytest.mark.parametrize(
    ("capacities", "performance", "efficiency"),
    [
        ([1024, 1024, 446, 446], "0-1", "2-3"),
        ([446, 446, 871, 1024], "2-3", "0-1"),
        ([1024, 1009, 623, 623], "0-1", "2-3"),
        ([1024, 1024, 970, 970], "0-3", "0-3"),
        ([1024, 1024, 1024, 1024], "0-3", "0-3"),
    ],
)
def test_hybrids_by_capacity(
    tmp_path: Path, capacities: list[int], performance: str, efficiency: str
) -> None:
    files = {f"{CPU}/online": "0-3"}
    files |= {f"{CPU}/cpu{n}/cpu_capacity": str(value) for n, value in enumerate(capacities)}
    found = read_topology(write_tree(tmp_path, files))
    assert dict(found.capacity) == dict(enumerate(capacities))
    assert str(found.performance) == performance
    assert str(found.efficiency) == efficiency


@pytest.mark.parametrize(
    ("pool", "node", "nearest"),
    [
        ("0-7", 0, "0-3"),
        ("2,5", 1, "5"),
        ("4-7", 0, "4-7"),
        ("0-7", 4, "4-7"),
        ("0-3", 4, "0-3"),
        ("0-7", 9, "0-7"),
        ("0-7", -1, "0-7"),
        ("3,9", 1, "3"),
        ("8-9", 0, "8-9"),
        ("", 0, ""),
    ],
    ids=[
        "the node's own CPUs",
        "those of them in the pool",
        "another node's where it has none",
        "the node nearest to one without CPUs",
        "the next nearest",
        "a node the host does not have",
        "no node",
        "CPUs of no node come last",
        "only CPUs of no node",
        "no pool",
    ],
)
def test_nearest(tmp_path: Path, pool: str, node: int, nearest: str) -> None:
    files = two_packages()
    files[f"{NODE}/node1/distance"] = "21 10 25"
    files[f"{NODE}/node4/distance"] = "31 25 10"
    found = read_topology(write_tree(tmp_path, files))
    assert str(found.nearest(CpuSet.parse_list(pool), node)) == nearest


def test_nearest_on_a_host_without_nodes_is_the_pool() -> None:
    four = CpuSet.parse_list("0-3")
    machine = Topology(four, four, four)
    assert str(machine.nearest(CpuSet.parse_list("1-2"), 0)) == "1-2"


def test_equal_machines_are_equal(tmp_path: Path) -> None:
    first = read_topology(write_tree(tmp_path / "a", two_packages()))
    assert first == read_topology(write_tree(tmp_path / "b", two_packages()))
    assert first != topology()


class Counting:
    """Files that count how often they are asked."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.asked = 0

    def read(self, path: str) -> bytes:
        self.asked += 1
        return self.files.read(path)

    def listdir(self, path: str) -> list[str]:
        self.asked += 1
        return self.files.listdir(path)

    def exists(self, path: str) -> bool:
        self.asked += 1
        return self.files.exists(path)


def test_a_group_is_read_once(tmp_path: Path) -> None:
    """64 cores of two threads, 16 to an L3: for each core its list, three caches, and which."""
    files = {f"{CPU}/online": "0-127", f"{CPU}/possible": "0-127"}
    for cpu in range(128):
        pair, quarter = f"{cpu % 64},{cpu % 64 + 64}", cpu % 64 // 16 * 16
        l3 = f"{quarter}-{quarter + 15},{quarter + 64}-{quarter + 79}"
        caches = {f"index{n}_{level}": pair for n, level in enumerate([1, 1, 2])}
        files |= cpu_files(cpu, pair, "0-127", 0, **caches, index3_3=l3)
        for index, kind in enumerate(["Data", "Instruction", "Unified", "Unified"]):
            files[f"{CPU}/cpu{cpu}/cache/index{index}/type"] = kind
    counting = Counting(write_tree(tmp_path, files))
    found = read_topology(counting)
    assert (len(found.cores), len(found.l3_domains)) == (64, 4)
    assert counting.asked < 5 * 64 + 64


def test_questions_cost_little_on_1024_cpus() -> None:
    machine: Topology = topology(nodes=8, l3_per_node=8, cores=8, threads=2)
    assert len(machine.online) == 1024
    begin = time.process_time()
    for cpu in range(1024):
        assert cpu in machine.core_of(cpu)
        assert machine.node_of(cpu) is not None
        assert cpu in machine.l3_of(cpu)
    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.EINTR])
def test_what_cannot_be_read_for_now_is_not_taken_for_absent(number: int) -> None:
    """No isolated CPUs are something else than none that there was memory to read."""

    class Exhausted:
        def read(self, path: str) -> bytes:
            raise KernelError("read", path, number)

        def listdir(self, path: str) -> list[str]:
            raise KernelError("list", path, number)

        def exists(self, path: str) -> bool:
            return True

    for read in (read_topology, read_isolation):
        with pytest.raises(KernelError):
            read(Exhausted())
