"""Pure: profiles and a host give the target of every card, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netuned import expression
from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError, NetunedError, ProfileError, UnsupportedError
from netuned.host import Host
from netuned.loader import LoadedProfile
from netuned.matching import Through, match_cards
from netuned.nic import Nic
from netuned.placement import ALL, ONE_PER_QUEUE, Request, near, place
from netuned.plan import Problem
from netuned.profile import ChannelsSpec, Profile
from netuned.topology import Topology
from netuned.tunables.base import Target
from netuned.values import ChannelCounts


@dataclass(frozen=True, slots=True)
class Desired:
    """What is wanted of the host.

    ``profiles`` says which profile a card has (by ifindex), ``targets`` what that makes of it; a
    card in ``profiles`` but not in ``targets`` has a problem. ``irqbalance`` is exclude, stop,
    leave, or None when no profile in force says.
    """

    profiles: Mapping[int, LoadedProfile]
    targets: Mapping[int, Target]
    problems: tuple[Problem, ...]
    conflicts: tuple[str, ...]
    irqbalance: str | None
    through: Mapping[int, Through] = field(default_factory=dict)
    """Cards that are tuned through the physical ones below them, by ifindex."""


def plan_host(profiles: Sequence[LoadedProfile], host: Host) -> Desired:
    """Match profiles to cards, count channels, and lay out all queues together."""
    matched = match_cards(profiles, host.nics)
    chosen = matched.profiles
    drafts: dict[int, _Draft] = {}
    problems: list[Problem] = []
    for ifindex, loaded in chosen.items():
        nic = host.nics[ifindex]
        try:
            drafts[ifindex] = _draft(loaded, nic, host.topology)
        except NetunedError as error:
            problems.append(Problem(nic.name, str(error)))
    layouts = place(host.topology, (draft.request for draft in drafts.values()))
    targets = {
        ifindex: Target(
            profile=chosen[ifindex].profile,
            topology=host.topology,
            channels=draft.channels,
            pool=near(draft.request.pool, draft.request.local),
            queue_cpus=layouts[ifindex],
            rps_cpus=draft.rps_cpus,
            xps_cpus=draft.xps_cpus,
            default_affinity=host.default_affinity & host.topology.online or host.topology.online,
            no_channels=draft.no_channels,
            withheld=draft.withheld,
        )
        for ifindex, draft in drafts.items()
    }
    irqbalance = _irqbalance(chosen)
    return Desired(chosen, targets, tuple(problems), matched.conflicts, irqbalance, matched.through)


def _priority(loaded: LoadedProfile) -> int:
    return loaded.profile.priority


@dataclass(frozen=True, slots=True)
class _Draft:
    channels: ChannelCounts | None
    withheld: ChannelCounts | None
    no_channels: str
    request: Request
    rps_cpus: CpuSet | None
    xps_cpus: CpuSet | None


def _draft(loaded: LoadedProfile, nic: Nic, topology: Topology) -> _Draft:
    """What one card needs of the common placement. Raises: ProfileError."""
    profile = loaded.profile
    local = local_cpus(nic, topology)
    sets = _Sets(loaded, topology, local)
    irq = profile.irq if profile.irq is not None and profile.irq != "default" else None
    # by default the local housekeeping CPUs, others only where all of the card's node is isolated
    pool = sets.irq_pool(irq.cpus) if irq and irq.cpus else near(topology.housekeeping, local)
    channels = withheld = None
    no_channels = ""
    if nic.channels is not None and profile.channels is not None:
        try:
            channels = wanted_channels(profile.channels, nic, near(pool, local))
        except UnsupportedError as error:
            channels, no_channels = nic.counts, str(error)
        if profile.policy.disruptive == "deny" and channels != nic.counts:
            channels, withheld = nic.counts, channels
    rx = channels.rx_queues if channels else nic.rx_queues
    tx = channels.tx_queues if channels else nic.tx_queues
    request = Request(
        place=(nic.device, nic.name),
        ifindex=nic.ifindex,
        queues=max(rx, tx, 1),
        pool=pool,
        local=local,
        spread=irq.spread if irq else ALL if profile.irq == "default" else ONE_PER_QUEUE,
        fixed=_kept_affinity(nic, profile),
        counts=bool(nic.device),
    )
    rps = profile.rps.cpus if profile.rps and profile.rps != "default" else "auto"
    xps = profile.xps.cpus if profile.xps and profile.xps != "default" else "auto"
    return _Draft(
        channels,
        withheld,
        no_channels,
        request,
        sets.steering(rps, "rps.cpus"),
        sets.steering(xps, "xps.cpus"),
    )


def local_cpus(nic: Nic, topology: Topology) -> CpuSet:
    """The online CPUs of the card's NUMA node; all where it has none or the node has no CPU."""
    return topology.nodes.get(nic.numa_node, CpuSet()) & topology.online or topology.online


class _Sets:
    """Evaluates one profile's CPU sets for one card; errors carry the profile's line."""

    def __init__(self, loaded: LoadedProfile, topology: Topology, local: CpuSet) -> None:
        self._loaded = loaded
        self._topology = topology
        self._local = local
        self._named = {name: expression.parse(text) for name, text in loaded.profile.cpus.items()}

    def irq_pool(self, text: str) -> CpuSet:
        """CPUs for interrupts: online, and isolated ones only where the profile names them."""
        cpus = self._evaluate(text, "irq.cpus")
        if expression.names_isolated(expression.parse(text), self._named):
            return cpus
        if not cpus & self._topology.housekeeping:
            raise self._error(
                "irq.cpus",
                f"all CPUs of {text!r} ({cpus}) are isolated; to have interrupts there, name them "
                "(`isolated`, or a CPU list), else use `housekeeping`",
            )
        return cpus & self._topology.housekeeping

    def steering(self, text: str, key: str) -> CpuSet | None:
        """The set of an rps or xps key; None for auto, empty for none."""
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


def wanted_channels(spec: ChannelsSpec, nic: Nic, cpus: CpuSet) -> ChannelCounts:
    """The channel counts a profile makes of a card; what it does not name stays as it is.

    ``auto`` is one per CPU of ``cpus``. A card without combined channels (veth) opens as many rx
    and tx channels instead.
    Raises: UnsupportedError when the profile asks for more than the hardware has.
    """
    has = nic.channels
    assert has is not None
    counts = {"rx": has.rx, "tx": has.tx, "combined": has.combined}
    limits = {"rx": has.rx_max, "tx": has.tx_max, "combined": has.combined_max}
    for kind, wanted in (("combined", spec.combined), ("rx", spec.rx), ("tx", spec.tx)):
        if wanted is None:
            continue
        names = (kind,) if kind != "combined" or limits["combined"] else ("rx", "tx")
        for name in names:
            counts[name] = _count(wanted, limits[name], len(cpus), f"channels.{kind}")
    result = ChannelCounts(**counts)
    if not result.rx_queues or not result.tx_queues:
        key = "combined" if spec.combined is not None else "rx" if not result.rx_queues else "tx"
        raise UnsupportedError(f"channels.{key}", f"{result} leaves no queue in one direction")
    return result


def _count(wanted: int | str, limit: int, cpus: int, key: str) -> int:
    if limit == wanted == 0:
        return 0
    if limit == 0:
        raise UnsupportedError(key, "the card has no such channels")
    if wanted == "max":
        return limit
    if wanted == "auto":
        return min(cpus, limit)
    assert isinstance(wanted, int)
    if wanted > limit:
        raise UnsupportedError(key, f"{wanted} is more than the card's maximum of {limit}")
    return wanted


def _kept_affinity(nic: Nic, profile: Profile) -> tuple[CpuSet, ...]:
    """Where interrupts already are, when the profile keeps them; empty where that is unknown."""
    if profile.irq is not None or not nic.vectors:
        return ()
    queues = max(vector.queue for vector in nic.vectors) + 1
    by_queue = [CpuSet()] * queues
    for vector, cpus in zip(nic.vectors, nic.affinity, strict=True):
        by_queue[vector.queue] |= cpus
    return tuple(by_queue) if all(by_queue) else ()


def _irqbalance(chosen: Mapping[int, LoadedProfile]) -> str | None:
    """The host's setting: of the profiles in force that name it, the one that would win a card."""
    naming = [loaded for loaded in chosen.values() if loaded.profile.host.irqbalance]
    if not naming:
        return None
    first = min(naming, key=lambda loaded: (-_priority(loaded), loaded.profile.name))
    return first.profile.host.irqbalance
