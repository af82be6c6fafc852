"""Isolation: which CPUs the operator keeps apart from what runs everywhere, netuned included."""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.hardware.sysfs import Files, listdir, read_cpus, read_text
from netuned.records import dataclass

UNIT = "netuned.service"

_CPU = "/sys/devices/system/cpu"
_CGROUP = "/sys/fs/cgroup"
_EFFECTIVE = "cpuset.cpus.effective"


@dataclass(frozen=True, slots=True)
class Isolation:
    """CPUs out of the scheduler's domains, tickless ones, and those left to the daemon.

    ``allowed`` is what ``AllowedCPUs=`` of the service or a slice above it leaves; empty where
    it leaves all.
    """

    isolated: CpuSet
    nohz_full: CpuSet
    allowed: CpuSet


def read_isolation(files: Files) -> Isolation:
    """Read it anew; about ten small files. What this kernel does not tell is empty.

    Source: Documentation/admin-guide/cgroup-v2.rst (Cpuset), kernel-parameters.txt (isolcpus=,
    nohz_full=); systemd.resource-control(5).
    """
    return Isolation(
        isolated=read_cpus(files, f"{_CPU}/isolated") | _read_partitions(files),
        nohz_full=read_cpus(files, f"{_CPU}/nohz_full"),
        allowed=_read_allowed(files),
    )


def _read_partitions(files: Files) -> CpuSet:
    """CPUs of isolated cgroup partitions, which Linux tells in one file since 6.7.

    Before, the parent of a partition has to be one itself: below others there is none to find.
    """
    if files.exists(f"{_CGROUP}/cpuset.cpus.isolated"):
        return read_cpus(files, f"{_CGROUP}/cpuset.cpus.isolated")
    isolated = CpuSet()
    partitions = [_CGROUP] if files.exists(f"{_CGROUP}/{_EFFECTIVE}") else []
    while partitions:
        parent = partitions.pop()
        for name in listdir(files, parent):
            kind = read_text(files, f"{parent}/{name}/cpuset.cpus.partition")
            if kind in ("root", "isolated"):  # else a member, or "root invalid (…)"
                partitions.append(f"{parent}/{name}")
            if kind == "isolated":
                isolated |= read_cpus(files, f"{parent}/{name}/{_EFFECTIVE}")
    return isolated


def _read_allowed(files: Files) -> CpuSet:
    """The effective CPUs of the daemon's cgroup, or of the nearest above it that tells them.

    A cgroup tells them where its parent hands the cpuset controller down: systemd does as soon
    as a unit there has AllowedCPUs=. What the root does not have none below it has.
    """
    root = read_cpus(files, f"{_CGROUP}/{_EFFECTIVE}")
    cgroup = _own_cgroup(files) if root else ""
    while cgroup:
        if cpus := read_cpus(files, f"{_CGROUP}{cgroup}/{_EFFECTIVE}"):
            return CpuSet() if cpus == root else cpus
        cgroup = cgroup.rpartition("/")[0]
    return CpuSet()


def _own_cgroup(files: Files) -> str:
    """The daemon's cgroup; the unit's usual one for the CLI, and for files of another host."""
    for line in read_text(files, "/proc/self/cgroup").splitlines():
        path = line.removeprefix("0::")
        # A cgroup outside the namespace's root begins with "/..".
        if path != line and path.endswith(f"/{UNIT}") and ".." not in path.split("/"):
            return path
    return f"/system.slice/{UNIT}"
