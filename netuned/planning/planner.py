"""Pure: profiles and a host give the target of every card, and what stands in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import Literal

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError, UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.hardware.stacking import groups
from netuned.hardware.topology import Topology
from netuned.hardware.vectors import TX
from netuned.placement.objective import Layout
from netuned.placement.place import ALL, DEDICATED, ONE_PER_QUEUE, Request, place
from netuned.placement.pools import Sets, dedicated, local_cpus
from netuned.placement.seats import NOBODY, Seats
from netuned.plan import Problem
from netuned.planning.crowding import Card, crowded, left
from netuned.planning.following import followers
from netuned.planning.matching import Through, match_cards
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import ChannelsSpec, Profile
from netuned.profiles.scalars import listed
from netuned.profiles.specs import RpsSpec, XpsSpec
from netuned.records import dataclass
from netuned.tunables.base import Steering, Target
from netuned.values import ChannelCounts

FEW_CPUS = 4
"""Of so many no core is dedicated: it would be a quarter of the machine, or more, that receives
all, and that applications lose."""


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
    requests: Mapping[int, Request] = field(default_factory=dict)
    """What each card with a target asked of the placement; of those above others, nothing."""
    seats: Seats = NOBODY
    """Where queues sit now, for the next plan."""


def plan_host(
    profiles: Sequence[LoadedProfile],
    host: Host,
    seats: Seats = NOBODY,
    override: Mapping[int, LoadedProfile] | None = None,
) -> Desired:
    """Match profiles to cards, count channels, and lay out all queues together.

    ``seats`` is where queues sat before, so that no more of them move than must. ``override`` gives
    cards, by ifindex, a profile whatever matches, as ``match_cards`` says.
    """
    topology = host.topology
    matched = match_cards(profiles, host.nics, override)
    chosen = matched.profiles
    bonds = groups(host.nics)
    drafts: dict[int, _Draft] = {}
    problems: list[Problem] = []
    for ifindex, loaded in chosen.items():
        nic = host.nics[ifindex]
        try:
            drafts[ifindex] = _draft(loaded, nic, topology, bonds.get(ifindex, ""))
        except NetunedError as error:
            problems.append(Problem(nic.name, str(error)))
    placed = place(topology, [draft.request for draft in drafts.values()], seats)
    cards = {
        ifindex: Card(host.nics[ifindex], draft.placed, draft.request, placed.layouts[ifindex])
        for ifindex, draft in drafts.items()
    }
    crowd = crowded(cards, host.cpu_vectors)
    default = host.default_affinity & topology.online or topology.online
    layouts = {i: left(card, crowd.get(i, {}), default) for i, card in cards.items()}
    steering = _steering(host, drafts, layouts)
    targets = {
        ifindex: Target(
            profile=chosen[ifindex].profile,
            topology=topology,
            places=placed.places,
            channels=draft.channels,
            pool=topology.nearest(draft.request.pool, draft.request.node),
            queue_cpus=layouts[ifindex],
            steering=steering,
            rps_cpus=draft.rps_cpus,
            xps_cpus=draft.xps_cpus,
            thread_cpus=draft.thread_cpus,
            default_affinity=default,
            no_channels=draft.no_channels,
            withheld=draft.withheld,
            crowded=crowd.get(ifindex, {}),
        )
        for ifindex, draft in drafts.items()
    }
    above = followers(host.nics, chosen)
    for ifindex, follower in above.items():
        targets[ifindex] = Target(
            profile=follower.loaded.profile,
            topology=topology,
            places=placed.places,
            channels=None,
            pool=CpuSet(),
            queue_cpus=(),
            steering=steering,
            rps_cpus=None,
            xps_cpus=None,
            default_affinity=default,
            follows=listed((host.nics[card].name for card in follower.cards), "and"),
        )
    return Desired(
        profiles={**chosen, **{i: follower.loaded for i, follower in above.items()}},
        targets=targets,
        problems=tuple(problems),
        conflicts=matched.conflicts,
        irqbalance=_irqbalance(chosen),
        through=matched.through,
        requests={ifindex: draft.request for ifindex, draft in drafts.items()},
        seats=placed.seats,
    )


def _priority(loaded: LoadedProfile) -> int:
    return loaded.profile.priority


@dataclass(frozen=True, slots=True)
class _Draft:
    channels: ChannelCounts | None
    withheld: ChannelCounts | None
    no_channels: str
    request: Request
    placed: bool
    """Whether the profile places its interrupts."""
    rps_cpus: CpuSet | None
    xps_cpus: CpuSet | None
    thread_cpus: CpuSet | None


def _draft(loaded: LoadedProfile, nic: Nic, topology: Topology, bond: str) -> _Draft:
    """What one card needs of the common placement. Raises: ProfileError."""
    profile = loaded.profile
    sets = Sets(loaded, topology, local_cpus(nic, topology))
    asked, counts = profile.irq, profile.channels
    irq = None if asked == "default" else asked
    # by default the local housekeeping CPUs, others only where all of the card's node is isolated
    pool = sets.irq_pool(irq.cpus) if irq and irq.cpus else topology.housekeeping
    spread = irq.spread if irq else ALL if asked == "default" else ONE_PER_QUEUE
    if irq and spread == DEDICATED:
        if len(topology.nearest(pool, nic.numa_node)) > FEW_CPUS:
            pool = dedicated(topology, pool, irq.share)
        else:
            spread = ONE_PER_QUEUE
    channels = withheld = None
    no_channels = ""
    if nic.channels is not None and counts is not None:
        try:
            near = topology.nearest(pool, nic.numa_node)
            channels = wanted_channels(counts, nic, near)
            no_channels = nic.why_not(channels)
        except UnsupportedError as error:
            no_channels = str(error)
        if no_channels:
            channels = nic.open_counts
        if profile.policy.disruptive == "deny" and channels != nic.counts:
            channels, withheld = nic.counts, channels
    rx = channels.rx_queues if channels else nic.rx_queues
    tx = channels.tx_queues if channels else nic.tx_queues
    request = Request(
        place=(nic.device, nic.name),
        ifindex=nic.ifindex,
        queues=max(rx, tx, 1),
        pool=pool,
        node=nic.numa_node,
        spread=spread,
        fixed=_fixed_affinity(nic, profile),
        kept=profile.queues_apart(rx),
        group=bond,
        counts=bool(nic.device),
    )
    return _Draft(
        channels,
        withheld,
        no_channels,
        request,
        irq is not None,
        sets.steering(_steered(profile.rps), "rps.cpus"),
        sets.steering(_steered(profile.xps), "xps.cpus"),
        sets.steering(profile.thread_set, "napi.threads"),
    )


def _steered(spec: RpsSpec | XpsSpec | Literal["default"] | None) -> str:
    """The expression for the CPUs of a kind of packet steering."""
    return "auto" if spec is None or spec == "default" else spec.cpus


def _fixed_affinity(nic: Nic, profile: Profile) -> dict[int, CpuSet]:
    """Queue -> where its interrupts stay: all of them if the profile keeps them, else the managed.

    Empty where a profile keeps interrupts and where they are is not known of every queue.
    """
    fixed: dict[int, CpuSet] = {}
    all_stay = profile.irq is None
    if not all_stay and not nic.managed:
        return {}
    for vector, cpus in zip(nic.vectors, nic.affinity, strict=True):
        if all_stay or vector.irq in nic.managed:
            fixed[vector.queue] = fixed.get(vector.queue, CpuSet()) | cpus
    if all_stay and not all(fixed.get(queue) for queue in range(max(fixed, default=-1) + 1)):
        return {}
    return {queue: cpus for queue, cpus in fixed.items() if cpus}


def _working(nic: Nic, draft: _Draft) -> Collection[int]:
    """The queues that keep the CPUs that serve them busy: those that receive or have an interrupt.

    Another is worked on by whoever sends, where that runs. Where all that send have an interrupt,
    those that are to come will, too.
    """
    rx = draft.channels.rx_queues if draft.channels else nic.rx_queues
    own = {vector.queue for vector in nic.vectors}
    if any(vector.role == TX for vector in nic.vectors) and len(own) >= nic.tx_queues:
        return range(draft.request.queues)
    return own.union(range(rx))


def _steering(host: Host, drafts: Mapping[int, _Draft], layouts: Mapping[int, Layout]) -> Steering:
    """The cores that are worth steering received packets to, and those of them without a queue.

    A CPU is worth using when it is the first of a core that is not isolated: its sibling adds no
    memory bandwidth and little throughput for protocol work (scaling.rst: hyperthreading has shown
    no benefit for interrupts). Cores kept for interrupts, and those of queues that an application
    serves, are not for others' packets.
    """
    kept, serving = CpuSet(), set[int]()
    for ifindex, draft in drafts.items():
        request = draft.request
        if request.spread == DEDICATED:
            kept |= request.pool
        layout = layouts[ifindex] if request.counts else ()
        for queue in _working(host.nics[ifindex], draft):
            cpus = layout[queue] if queue < len(layout) else CpuSet()
            if queue in request.kept:
                kept |= cpus
            elif (cpu := cpus.only) >= 0:  # what may run anywhere keeps no CPU busy
                serving.add(cpu)
    busy = CpuSet.of(serving)
    useful = idle = CpuSet()
    for core in host.topology.cores:
        usable = core & host.topology.housekeeping
        if usable and not core & kept:
            first = CpuSet(1 << usable.first)
            useful |= first
            if not core & busy:
                idle |= first
    return Steering(useful, idle)


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


def _irqbalance(chosen: Mapping[int, LoadedProfile]) -> str | None:
    """The host's setting: of the profiles in force that name it, the one that would win a card."""
    naming = [loaded for loaded in chosen.values() if loaded.profile.host.irqbalance]
    if not naming:
        return None
    first = min(naming, key=lambda loaded: (-_priority(loaded), loaded.profile.name))
    return first.profile.host.irqbalance
