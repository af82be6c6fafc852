"""Pure: the CPUs that may serve a card, from its profile's sets."""

from __future__ import annotations

from itertools import zip_longest

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError, ProfileError
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.profiles import expression
from netuned.profiles.loader import LoadedProfile


def local_cpus(nic: Nic, topology: Topology) -> CpuSet:
    """The online CPUs of the card's NUMA node; the nearest ones if it has none of its own."""
    return topology.nearest(topology.online, nic.numa_node)


class Sets:
    """Evaluates one profile's CPU sets for one card; errors carry the profile's line."""

    def __init__(self, loaded: LoadedProfile, topology: Topology, local: CpuSet) -> None:
        self._loaded = loaded
        self._topology = topology
        self._local = local
        self._named = {name: expression.parse(text) for name, text in loaded.profile.cpus.items()}

    def irq_pool(self, text: str) -> CpuSet:
        """CPUs for interrupts: online, and isolated ones only where the profile names them.

        Raises: ProfileError.
        """
        cpus = self._evaluate(text, "irq.cpus")
        if expression.names_isolated(expression.parse(text), self._named):
            return cpus
        if not cpus & self._topology.housekeeping:
            raise self._error(
                "irq.cpus",
                f"all CPUs of {text!r} ({cpus}) are {self._why_not(cpus)}; to have interrupts "
                "there, name them (`isolated`, or a CPU list), else use `housekeeping`",
            )
        return cpus & self._topology.housekeeping

    def _why_not(self, cpus: CpuSet) -> str:
        topology = self._topology
        apart = cpus - topology.isolated - topology.nohz_full
        return "outside of netuned's AllowedCPUs" if apart == cpus else "isolated"

    def steering(self, text: str, key: str) -> CpuSet | None:
        """The set of an rps or xps key; None for auto, empty for none. Raises: ProfileError."""
        if text == "auto":
            return None
        return CpuSet() if text == "none" else self._evaluate(text, key)

    def _evaluate(self, text: str, key: str) -> CpuSet:
        try:
            return expression.evaluate(
                expression.parse(text), self._topology, self._local, self._named
            )
        except ExpressionError as error:
            raise self._error(key, str(error)) from None

    def _error(self, key: str, problem: str) -> ProfileError:
        origin = self._loaded.origins.get(key)
        if origin is None:
            return ProfileError(self._loaded.path, 0, 0, key, problem)
        return ProfileError(origin.path, origin.line, origin.column, key, problem)


def dedicated(topology: Topology, pool: CpuSet, share: tuple[int, int]) -> CpuSet:
    """Of a pool, the CPUs of N cores of every M, on each NUMA node for itself, at least one core.

    On a node the cores are taken from its L3 domains in turn, the lowest first. Both threads of a
    core serve, as far as they are in the pool.
    """
    count, of = share
    nodes: dict[int | None, dict[CpuSet, list[CpuSet]]] = {}
    for core in topology.cores:
        if usable := core & pool:
            domains = nodes.setdefault(topology.node_of(core.first), {})
            domains.setdefault(topology.l3_of(core.first), []).append(usable)
    chosen = CpuSet()
    for domains in nodes.values():
        cores = [core for turn in zip_longest(*domains.values()) for core in turn if core]
        for core in cores[: -(-len(cores) * count // of)]:
            chosen |= core
    return chosen
