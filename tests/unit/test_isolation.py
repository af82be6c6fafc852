"""Isolation: what is kept apart by the boot, by cgroup partitions, and from the daemon itself."""

from __future__ import annotations

import pytest

from netuned.cpuset import CpuSet
from netuned.hardware.isolation import Isolation, read_isolation
from netuned.kernel.recorded import File, RecordedFiles, Tree

CPU = "/sys/devices/system/cpu"
CGROUP = "/sys/fs/cgroup"
ROOT = {f"{CGROUP}/cpuset.cpus.effective": "0-15"}
SLICE = f"{CGROUP}/system.slice"
SERVICE = f"{SLICE}/netuned.service"


def files(texts: dict[str, str]) -> RecordedFiles:
    tree = Tree()
    for path, text in texts.items():
        tree.add(path, File(f"{text}\n".encode()))
    return RecordedFiles(tree)


def isolated(texts: dict[str, str]) -> str:
    return str(read_isolation(files(texts)).isolated)


def allowed(texts: dict[str, str]) -> str:
    return str(read_isolation(files(texts)).allowed)


def partition(path: str, kind: str, cpus: str) -> dict[str, str]:
    return {
        f"{CGROUP}/{path}/cpuset.cpus.partition": kind,
        f"{CGROUP}/{path}/cpuset.cpus.effective": cpus,
    }


def test_a_host_that_tells_nothing() -> None:
    found = read_isolation(files({f"{CPU}/online": "0-3"}))
    assert found == Isolation(CpuSet(), CpuSet(), CpuSet())


@pytest.mark.parametrize("nohz_full", ["(null)", ""])
def test_an_unset_nohz_full(nohz_full: str) -> None:
    assert not read_isolation(files({f"{CPU}/nohz_full": nohz_full})).nohz_full


def test_isolcpus_and_partitions_together() -> None:
    texts = {f"{CPU}/isolated": "12-15", f"{CGROUP}/cpuset.cpus.isolated": "4-5"}
    assert isolated(texts) == "4-5,12-15"


def test_partitions_before_linux_6_7() -> None:
    texts = ROOT | partition("latency.slice", "isolated", "4-7")
    texts |= partition("system.slice", "member", "0-3")
    texts |= partition("machine.slice", "root", "8-11")
    texts |= partition("machine.slice/vm.scope", "isolated", "10-11")
    assert isolated(texts) == "4-7,10-11"


@pytest.mark.parametrize(
    "kind", ["member", "root", "root invalid", "isolated invalid (Cpu list in cpuset.cpus empty)"]
)
def test_what_is_no_isolated_partition(kind: str) -> None:
    assert isolated(ROOT | partition("a.slice", kind, "4-7")) == ""


def test_below_a_cgroup_that_is_no_partition_there_is_none() -> None:
    texts = ROOT | partition("a.slice", "member", "0-15")
    texts |= partition("a.slice/b.slice", "isolated", "4-7")  # the kernel calls it invalid
    assert isolated(texts) == ""


@pytest.mark.parametrize(
    ("texts", "cpus"),
    [
        ({f"{SERVICE}/cpuset.cpus.effective": "0-3"}, "0-3"),
        ({f"{SLICE}/cpuset.cpus.effective": "0-7"}, "0-7"),
        ({f"{SLICE}/cpuset.cpus.effective": "0-15"}, ""),
        ({f"{SERVICE}/cgroup.procs": "7"}, ""),
    ],
    ids=["of the service", "of its slice", "all", "without the controller"],
)
def test_allowed_cpus(texts: dict[str, str], cpus: str) -> None:
    assert allowed(ROOT | texts) == cpus


def test_allowed_is_of_the_cgroup_the_daemon_is_in() -> None:
    texts = ROOT | {
        "/proc/self/cgroup": "0::/net.slice/netuned.service",
        f"{CGROUP}/net.slice/netuned.service/cpuset.cpus.effective": "2-3",
        f"{SERVICE}/cpuset.cpus.effective": "0-1",
    }
    assert allowed(texts) == "2-3"


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/user.slice/user-0.slice/session-1.scope",
        "12:cpuset:/netuned.service",
        "0::/../other/netuned.service",
        "",
    ],
    ids=["the CLI's own", "version 1", "outside the namespace", "none"],
)
def test_allowed_is_the_services_whoever_asks(cgroup: str) -> None:
    texts = {
        "/proc/self/cgroup": cgroup,
        f"{CGROUP}/user.slice/cpuset.cpus.effective": "9",
        f"{SERVICE}/cpuset.cpus.effective": "0-1",
    }
    assert allowed(ROOT | texts) == "0-1"
