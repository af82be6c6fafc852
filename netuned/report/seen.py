"""Seen: what a page shows of a host's CPUs, cards and queues, found beside wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from string import ascii_uppercase

from netuned.counters.sample import CardSample, Sample
from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.hardware.sysfs import read_cpus
from netuned.hardware.topology import Topology
from netuned.hardware.vectors import COMBINED, RX, TX, Vector
from netuned.kernel import Kernel
from netuned.planning.explain import Explanation, explain
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile import report
from netuned.reconcile.card import Card
from netuned.records import dataclass
from netuned.snapshots import offline
from netuned.status import QueueStatus, Status
from netuned.tunables import TUNABLES
from netuned.values import RssTable

NONE = CpuSet()
TAKES_OUT = "-"
"""How a step of a CPU set begins that takes CPUs out by name."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One interrupt of a card's queue, or a queue that has none.

    ``role`` is rx, tx or rxtx, ``irq`` -1 where there is none. ``cpus`` are those it may run on,
    ``at`` the one it does run on, -1 where nothing tells. ``wanted`` and ``why`` are the plan's,
    None where a profile leaves interrupts alone. ``rps`` and ``xps`` are the CPUs that take over
    what it receives, and that send by it.
    """

    role: str
    queue: int
    irq: int = -1
    cpus: CpuSet = NONE
    at: int = -1
    wanted: CpuSet | None = None
    why: str = ""
    rps: CpuSet = NONE
    xps: CpuSet = NONE

    @property
    def misplaced(self) -> bool:
        """Whether the plan has it elsewhere."""
        return self.wanted is not None and self.cpus != self.wanted


@dataclass(frozen=True, slots=True)
class CardSeen:
    """One card: ``letter`` stands for it in drawings, ``table`` is its RSS table, if any."""

    letter: str
    nic: Nic
    seats: tuple[Seat, ...]
    table: tuple[int, ...] = ()
    unread: str = ""
    """Why something of it could not be read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A host. ``application`` are the CPUs that a profile keeps its card off, by the step.

    ``what`` is what happened while it was measured, None and ``unmeasured`` (a sentence) where
    nothing was. ``left_out`` is the number of virtual cards without a profile.
    """

    topology: Topology
    cards: tuple[CardSeen, ...]
    application: Mapping[str, CpuSet] = field(default_factory=dict)
    what: Sample | None = None
    unmeasured: str = ""
    left_out: int = 0

    def of_card(self, card: CardSeen) -> CardSample | None:
        """What happened on a card, where that was measured."""
        return self.what.cards.get(card.nic.ifindex) if self.what else None


def see(
    kernel: Kernel,
    profiles: ProfileSet,
    known: tuple[Host, Desired],
    status: Status,
    what: Sample | None = None,
    unmeasured: str = "",
) -> Seen:
    """Look at all cards that are physical, or as ``status`` has it have a profile.

    Raises: KernelError.
    """
    host, desired = known
    seats, limits_of = offline.read_seats(kernel), offline.limits_of(kernel)
    managed = {nic.ifindex for nic in status.nics if nic.profile}
    shown = {i: nic for i, nic in host.nics.items() if nic.kind == PHYSICAL or i in managed}
    letters = _letters()
    cards, application = [], dict[str, CpuSet]()
    for ifindex, nic in shown.items():
        explained = explain(profiles.profiles, host, desired, ifindex, limits_of, seats)
        cards.append(_card(kernel, nic, next(letters), explained, what))
        for step, cpus in _taken_out(explained):
            application[step] = application.get(step, NONE) | cpus
    left_out = len(host.nics) - len(shown)
    return Seen(host.topology, tuple(cards), application, what, unmeasured, left_out)


def _taken_out(explained: Explanation) -> Iterator[tuple[str, CpuSet]]:
    """The CPUs that a card's profile takes out by ``- SET``: somebody else has them."""
    stages = explained.funnel.stages if explained.funnel else ()
    sets = {stage.name: stage.cpus for stage in stages if stage.name}
    for stage in stages:
        if stage.text.startswith(TAKES_OUT):
            name = stage.text.removeprefix(TAKES_OUT).strip().removeprefix("@")
            if cpus := sets.get(name, stage.taken):
                yield f"{explained.profile}: {stage.text}", cpus


def _letters() -> Iterator[str]:
    """A, B, …, Z, AA, AB, …"""
    yield from ascii_uppercase
    for before in _letters():
        yield from (before + letter for letter in ascii_uppercase)


def _card(
    kernel: Kernel, nic: Nic, letter: str, explained: Explanation, what: Sample | None
) -> CardSeen:
    table: tuple[int, ...] = ()
    unread = []
    card = Card(kernel, nic)
    for tunable in TUNABLES:
        if not tunable.column and tunable.holds != (RssTable,):
            continue
        try:
            card.found[tunable.name] = state = tunable.read(card.view())
        except UnsupportedError:
            continue
        except KernelError as error:
            unread.append(str(error))
            continue
        for value in state.values():
            table = value.entries if isinstance(value, RssTable) else table
    card.close()
    sample = what.cards.get(nic.ifindex) if what else None
    found = {
        (queue.kind, queue.index): queue
        for queue in report.queues(card.nic, card.tunables.values(), card.found)
    }
    seats = tuple(_seats(kernel, nic, explained, found, sample))
    return CardSeen(letter, nic, seats, table, "; ".join(unread))


def _seats(
    kernel: Kernel,
    nic: Nic,
    explained: Explanation,
    found: Mapping[tuple[str, int], QueueStatus],
    sample: CardSample | None,
) -> Iterator[Seat]:
    """The queues as they are, then those that are to come."""
    placed = bool(explained.funnel and nic.device)
    reasons = {reason.queue: reason for reason in explained.queues if placed}
    for vector in _served(nic, found):
        queue, roles = vector.queue, _roles(vector.role)
        here = [found[role, queue] for role in roles if (role, queue) in found]
        cpus = CpuSet.parse_list(here[0].cpus) if here and vector.irq >= 0 else NONE
        reason = reasons.get(queue)
        yield Seat(
            vector.role,
            queue,
            vector.irq,
            cpus,
            _runs_on(kernel, vector.irq, cpus, sample) if cpus else -1,
            reason.cpus if reason and vector.irq >= 0 else None,
            reason.why if reason else "to be closed" if reasons else "",
            next((CpuSet.parse_list(one.rps) for one in here if one.rps), NONE),
            next((CpuSet.parse_list(one.xps) for one in here if one.xps), NONE),
        )
    there = {queue for _, queue in found}
    for queue, reason in reasons.items():
        if queue not in there:
            yield Seat(COMBINED, queue, wanted=reason.cpus, why=f"to come: {reason.why}")


def _served(nic: Nic, found: Iterable[tuple[str, int]]) -> list[Vector]:
    """The card's interrupts, and its queues that have none as if they had number -1."""
    without = set(found) - {(r, one.queue) for one in nic.vectors for r in _roles(one.role)}
    both = {queue for _, queue in without if {(RX, queue), (TX, queue)} <= without}
    alone = {(COMBINED if queue in both else role, queue) for role, queue in without}
    vectors = [*nic.vectors, *(Vector(role, queue, -1) for role, queue in alone)]
    return sorted(vectors, key=lambda vector: (vector.queue, vector.role))


def _roles(role: str) -> tuple[str, ...]:
    return (RX, TX) if role == COMBINED else (role,)


def _runs_on(kernel: Kernel, irq: int, cpus: CpuSet, sample: CardSample | None) -> int:
    """The CPU that took most of its interrupts, else the one that the kernel chose of its set."""
    counted = sample.interrupts.get(irq, {}) if sample else {}
    most = max(counted, key=lambda cpu: counted[cpu], default=-1)
    if most >= 0 and counted[most]:
        return most
    chosen = read_cpus(kernel.files, f"/proc/irq/{irq}/effective_affinity") & cpus
    return (chosen or cpus).first
