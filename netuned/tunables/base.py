"""What every tunable takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netuned.cpuset import CpuSet
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.kernel.rtnl import QdiscEntry
from netuned.placement.objective import Places
from netuned.profiles.profile import Profile
from netuned.values import ChannelCounts, State, Value

Qdiscs = Mapping[int, tuple[QdiscEntry, ...]]


@dataclass(frozen=True, slots=True)
class View:
    """How a tunable looks at one card: its facts, kept descriptors, and one dump of all qdiscs."""

    kernel: Kernel
    nic: Nic
    kept: KeptFiles
    qdiscs: Callable[[], Qdiscs]


@dataclass(frozen=True, slots=True)
class Steering:
    """For packets steered in software: ``useful`` are a CPU of each core of the host worth it.

    ``idle`` are those of them whose core serves no card's receive queue, ``spare`` all CPUs of
    such and other cores that serve none themselves.
    """

    useful: CpuSet
    idle: CpuSet
    spare: CpuSet


@dataclass(frozen=True, slots=True)
class Target:
    """What one card should be, decided for all cards together.

    ``queue_cpus[n]`` are the CPUs that serve queue *n*; ``pool`` all that would; ``rps_cpus`` and
    ``xps_cpus`` the evaluated sets of the profile, None for ``auto``.
    """

    profile: Profile
    topology: Topology
    channels: ChannelCounts | None
    pool: CpuSet
    queue_cpus: tuple[CpuSet, ...]
    steering: Steering
    rps_cpus: CpuSet | None
    xps_cpus: CpuSet | None
    default_affinity: CpuSet
    places: Places = field(compare=False, repr=False)
    """The topology's, made once for all cards."""
    no_channels: str = ""
    """Why the channels the profile wants cannot be had; the card keeps those it has."""
    withheld: ChannelCounts | None = None
    """Channel counts the profile wants and its policy (``disruptive: deny``) forbids to set."""

    def queues(self, nic: Nic) -> ChannelCounts:
        """The queue counts the card will have once its channels are as wanted."""
        return self.channels or ChannelCounts(nic.rx_queues, nic.tx_queues, 0)


def never(key: str, /) -> bool:
    """For tunables whose writes never are disruptive, or never restructure the card."""
    return False


def equal(key: str, wanted: State, found: State, /) -> bool:
    """For tunables whose values read back as they were written."""
    return wanted[key] == found[key]


def always_replaceable(found: State, /) -> str:
    """For tunables whose every state can be written back."""
    return ""


class Tunable(Protocol):
    """The shape of a tunable module."""

    @property
    def NAME(self) -> str:
        """Its key in profiles, plans and status."""

    def read(self, view: View, /) -> State:
        """What the kernel has. Raises: UnsupportedError, KernelError."""

    def desired(self, target: Target, nic: Nic, /) -> State | None:
        """What the profile wants of this card; None to leave the tunable alone."""

    def write(self, view: View, found: State, key: str, value: Value, /) -> None:
        """Write one setting. Raises: UnsupportedError, KernelError."""

    def same(self, key: str, wanted: State, found: State, /) -> bool:
        """Whether what is found under ``key`` is what the wanted value becomes in this kernel."""

    def within(self, wanted: Value, found: Value, /) -> bool:
        """Whether ``found``, read after ``wanted`` was written, can be what became of it.

        ``same`` says what is known beforehand; this, what a driver or the kernel may do besides.
        """

    def why(self, target: Target, nic: Nic, key: str, /) -> str:
        """The reason for the wanted value, a clause for plans."""

    def disruptive(self, key: str, /) -> bool:
        """Whether a write drops the link."""

    def irreplaceable(self, found: State, /) -> str:
        """Why this state, once gone, could not be put back; empty if it could."""

    def restructures(self, key: str, /) -> bool:
        """Whether a write changes what else exists, so that the rest must be observed anew."""
