"""A described machine in numbers: what its ten lines of YAML say, nothing left out."""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.records import dataclass

NONE = CpuSet()


@dataclass(frozen=True, slots=True)
class CardSpec:
    """One card. ``irqs`` are the CPUs its interrupts are on, dealt in turn; empty: all."""

    name: str
    driver: str
    queues: int
    maximum: int = 0
    node: int = -1
    speed_mbps: int = 0
    irqs: CpuSet = NONE
    mac: str = ""
    kind: str = ""
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine in numbers: ``cores`` and ``efficiency`` cores are per L3, ``l3s`` per node."""

    nodes: int
    l3s: int
    cores: int
    threads: int
    efficiency: int
    packages: int
    bare_nodes: int
    adjacent: bool
    offline: CpuSet = NONE
    isolated: CpuSet = NONE
    nohz_full: CpuSet = NONE
    distances: tuple[tuple[int, ...], ...] = ()
    cards: tuple[CardSpec, ...] = ()

    @property
    def cpus(self) -> CpuSet:
        """All CPUs, offline ones too."""
        count = self.nodes * self.l3s * (self.cores * self.threads + self.efficiency)
        return CpuSet.of(range(count))
