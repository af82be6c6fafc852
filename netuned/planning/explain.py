"""Pure: how one card comes to its profile, its CPUs, its queues and their places.

Everything here is derived from what the planner made of the host; :mod:`netuned.planning.claims`
tells of the profile, :mod:`netuned.planning.funnel` of the CPU set, :mod:`netuned.planning.whynot`
of queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError, UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic, why_no_vectors
from netuned.placement.pools import local_cpus
from netuned.placement.seats import NOBODY, Seats
from netuned.planning.claims import Claim, Miss, claims, misses
from netuned.planning.funnel import Funnel, funnel, place_of
from netuned.planning.planner import Desired
from netuned.planning.whynot import Judge, Verdict, elsewhere_of
from netuned.profiles.loader import LoadedProfile
from netuned.records import dataclass
from netuned.tunables import TUNABLES
from netuned.tunables.base import Boot, Limits, Target, Tunable, Wanted


@dataclass(frozen=True, slots=True)
class Steered:
    """What a tunable does for a queue, and why; ``value`` is None where it is left alone.

    ``data`` is the value for programs. ``asked`` says whether the profile sets it at all,
    ``in_table`` that it has a column of its own.
    """

    value: str | None
    why: str
    asked: bool = True
    in_table: bool = False
    data: object = field(default=None, compare=False)


LimitsOf = Callable[[Tunable, Nic], Limits]
"""Reads what a card's hardware has at most."""


@dataclass(frozen=True, slots=True)
class QueueReason:
    """One queue. ``irqs`` are its interrupts by role (rx, tx, rxtx), ``why`` the rule of its CPUs.

    ``core``, ``l3`` and ``node`` are of its CPU; empty and -1 where it may run on several.
    """

    queue: int
    irqs: Mapping[str, int]
    cpus: CpuSet
    core: CpuSet
    l3: CpuSet
    node: int
    why: str
    steered: Mapping[str, Steered]
    """By tunable: those that say which packets come to a queue, or where from it is sent on."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One card, whole.

    ``profile`` is the one in force, empty for none; ``claims`` are all profiles that match, that
    one first; ``misses`` the entries that do not. ``through`` are the cards an upper one is tuned
    through. Without a target (no profile, or a ``problem``) there are no queues.
    """

    nic: Nic
    profile: str
    claims: tuple[Claim, ...]
    misses: tuple[Miss, ...]
    through: tuple[str, ...] = ()
    follows: str = ""
    """The cards below of whose profile it has what is for those above, too."""
    problem: str = ""
    funnel: Funnel | None = None
    channels: str = ""
    irq: str = ""
    queues: tuple[QueueReason, ...] = ()
    judge: Judge | None = None

    def queue(self, number: int) -> QueueReason:
        """One queue. Raises: NetunedError saying how many there are."""
        self.check()
        if number >= len(self.queues):
            last = f"one of 0-{len(self.queues) - 1}" if len(self.queues) > 1 else "0"
            raise NetunedError(f"{self.nic.name} has no queue {number}; name {last}")
        return self.queues[number]

    def check(self) -> None:
        """Raises: NetunedError where nothing is placed for this card, saying why."""
        if self.queues:
            return
        name = self.nic.name
        if self.through:
            raise NetunedError(
                f"{name} has no queues of its own, it is tuned through {', '.join(self.through)}; "
                "explain one of those"
            )
        if self.follows:
            raise NetunedError(f"{name} only has the sizes of {self.follows}; explain that")
        raise NetunedError(
            self.problem
            or f"no profile matches {name}, so nothing is placed: "
            f"`netunedctl enable PROFILE {name}`"
        )

    def verdict(self, queue: int, cpu: int) -> Verdict:
        """Why a queue is not on a CPU. Raises: NetunedError where nothing is placed."""
        self.queue(queue)
        assert self.judge is not None
        return self.judge.verdict(queue, cpu)


def explain(
    profiles: Sequence[LoadedProfile],
    host: Host,
    desired: Desired,
    ifindex: int,
    limits_of: LimitsOf,
    before: Seats = NOBODY,
) -> Explanation:
    """Explain one of the host's cards. ``before`` is where queues sat before the plan."""
    nic = host.nics[ifindex]
    through, loaded = desired.through.get(ifindex), desired.profiles.get(ifindex)
    name = through.profile if through else loaded.profile.name if loaded else ""
    held = sorted(claims(profiles, host.nics, ifindex), key=lambda claim: claim.profile != name)
    common = (nic, name, tuple(held), misses(profiles, nic))
    request, target = desired.requests.get(ifindex), desired.targets.get(ifindex)
    follows = target.follows if target else ""
    if through:
        below = tuple(host.nics[card].name for card in through.cards)
        return Explanation(*common, through=below, follows=follows)
    if loaded is None or follows:
        return Explanation(*common, follows=follows)
    way = funnel(loaded, nic, host.topology, local_cpus(nic, host.topology), request)
    placed = loaded.profile.irq not in (None, "default")
    if target is None or request is None:
        problems = (found.message for found in desired.problems if found.ifname == nic.name)
        problem = next(problems, "the card cannot be planned")
        return Explanation(*common, problem=problem, funnel=way)
    elsewhere = elsewhere_of(desired, host, ifindex, before)
    judge = Judge(nic, target, request, way, elsewhere)
    return Explanation(
        *common,
        funnel=way if placed else None,
        channels=_channels(loaded, nic, target),
        irq=_irq(loaded, nic, target),
        queues=_queues(nic, target, judge, limits_of),
        judge=judge,
    )


def _channels(loaded: LoadedProfile, nic: Nic, target: Target) -> str:
    """How many queues, and why."""
    spec, has = target.profile.channels, nic.counts
    count = len(target.queue_cpus)
    if spec is None:
        return f"{count}, as many as are open; the profile does not set channels"
    if has is None or nic.channels is None:
        return f"{count}, a number that the driver {nic.driver} does not let be set"
    said = {"combined": spec.combined, "rx": spec.rx, "tx": spec.tx}
    keys = [f"channels.{key}" for key, value in said.items() if value is not None]
    asked = ", ".join(f"{key}: {value}" for key, value in said.items() if value is not None)
    where = f"channels {{{asked}}} ({place_of(loaded, *keys, 'channels')})"
    if target.no_channels:
        return f"those that are open, {has}: {where} cannot be had, {target.no_channels}"
    if target.withheld:
        place = place_of(loaded, "policy.disruptive", "policy")
        return (
            f"those that are open, {has}: {where} makes {target.withheld}, and setting them drops "
            f"the link, which policy.disruptive: deny ({place}) forbids"
        )
    limit = nic.channels.combined_max or max(nic.channels.rx_max, nic.channels.tx_max)
    now = "as now" if has == target.channels else f"now {has}"
    text = f"{target.channels} ({now}): {where}"
    if "auto" in said.values():
        cpus = len(target.pool)
        text += f" is one for each of {cpus} CPU{'s' if cpus > 1 else ''}"
        text += f", and the card has at most {limit}" if limit < cpus else ""
    elif "max" in said.values():
        text += f" is all the card has, {limit}"
    return text


def _irq(loaded: LoadedProfile, nic: Nic, target: Target) -> str:
    """What is done with interrupts."""
    spec = target.profile.irq
    if spec is None:
        return "left where they are: the profile does not set irq"
    where = f"({place_of(loaded, 'irq.spread', 'irq')})"
    if spec == "default":
        return f"irq: default {where} gives them back to the kernel, on {target.default_affinity}"
    if not nic.vectors:
        return f"{why_no_vectors(nic)}; where queues are placed counts for RPS and XPS"
    return f"irq.spread: {spec.spread} {where}"


def _queues(nic: Nic, target: Target, judge: Judge, limits_of: LimitsOf) -> tuple[QueueReason, ...]:
    irqs: dict[int, dict[str, int]] = {}
    for vector in nic.vectors:
        irqs.setdefault(vector.queue, {})[vector.role] = vector.irq
    steering = {
        tunable: _wanted(tunable, target, nic, limits_of)
        for tunable in TUNABLES
        if tunable.explained
    }
    topology = target.topology
    found = []
    for queue, cpus in enumerate(target.queue_cpus):
        alone = len(cpus) == 1 and target.profile.irq != "default"
        node = topology.node_of(cpus.first) if alone else None
        found.append(
            QueueReason(
                queue,
                irqs.get(queue, {}),
                judge.serving(queue),
                topology.core_of(cpus.first) if alone else CpuSet(),
                topology.l3_of(cpus.first) if alone else CpuSet(),
                -1 if node is None else node,
                judge.why(queue),
                {
                    tunable.name: _steered(tunable, wanted, target, nic, queue)
                    for tunable, wanted in steering.items()
                },
            )
        )
    return tuple(found)


Answer = Wanted | UnsupportedError | None


def _wanted(tunable: Tunable, target: Target, nic: Nic, limits_of: LimitsOf) -> Answer:
    if not tunable.asked(target.profile):
        return None
    try:
        return tunable.desired(target, nic, limits_of(tunable, nic))
    except UnsupportedError as error:
        return error


def _steered(tunable: Tunable, wanted: Answer, target: Target, nic: Nic, queue: int) -> Steered:
    """What one tunable does for a queue."""
    assert tunable.explained is not None
    if tunable.receives and queue >= target.queues(nic).rx_queues:
        return Steered(None, "it only sends")
    if wanted is None:
        return Steered(None, "the profile does not set it", asked=False)
    if isinstance(wanted, UnsupportedError):
        return Steered(None, wanted.why)
    state = {
        key: value
        for key, value in wanted.items()
        if not isinstance(value, UnsupportedError | Boot)
    }
    key, text, data = tunable.explained(state, queue)
    if text is None:
        return Steered(None, f"there is no {key}")
    return Steered(text, tunable.why(target, nic, key), in_table=tunable.in_table, data=data)
