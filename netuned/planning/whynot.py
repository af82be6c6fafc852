"""Pure: why a queue is on its CPU and not on another, for people.

Said of a layout by comparing it with what it would be with that one queue elsewhere
(:mod:`netuned.planning.elsewhere`): whichever term of the objective gets worse first is the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netuned.cpuset import CpuSet
from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.placement.objective import Card, Score
from netuned.placement.place import ALL, PACK, Request
from netuned.placement.seats import NOBODY, Seats
from netuned.planning.elsewhere import Elsewhere, Seated
from netuned.planning.funnel import HOUSEKEEPING, NOT_ISOLATED, Funnel, Stage, apart
from netuned.planning.planner import Desired
from netuned.records import dataclass
from netuned.tunables.base import Target

SERVES = "serves"
OFFLINE = "offline"
STAYS = "stays"
SET = "set"
MAY = "may"
EQUAL = "equal"
BETTER = "better"
"""A verdict's rule; else ``pack``, or a term of the objective."""

TERMS: Mapping[str, str] = {
    "excluded": "excluded CPUs",
    "remote": "the distance",
    "disturbed": "queues out of the RSS table",
    "cores": "the busiest core",
    "threads": "the busiest thread",
    "domains": "the L3 domains",
    "unaligned": "the bond",
    "transmit": "sending",
    "moved": "movement",
    "boot": "CPU 0",
}
ISOLATED_BY = {"isolated": " (isolcpus= or a cpuset partition)"}
NOT_FOUND = "the search for a layout does not go that far"
"""docs/placement.md says how far."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a queue is not on a CPU: the ``rule``, and a sentence's end after "CPU 5".

    ``kind`` says the same of all CPUs that are alike, without numbers of their own.
    """

    rule: str
    kind: str
    text: str


def elsewhere_of(desired: Desired, host: Host, ifindex: int, before: Seats = NOBODY) -> Elsewhere:
    """The placement as one card sees it: a card with interrupts does not see those without.

    ``before`` is where queues sat before the plan.
    """
    counts = desired.requests[ifindex].counts
    seated = {}
    for other, request in desired.requests.items():
        if counts and not request.counts:
            continue
        target = desired.targets[other]
        wishes = before.wishes(request.place, target.pool)
        homes = tuple(wishes.get(queue, -1) for queue in range(request.queues))
        card = Card(request.pool, target.pool, request.group, homes, request.kept)
        seated[other] = Seated(host.nics[other].name, card, target.queue_cpus)
    return Elsewhere(desired.targets[ifindex].places, seated)


class Judge:
    """Tells of one card with a target."""

    def __init__(
        self, nic: Nic, target: Target, request: Request, way: Funnel, elsewhere: Elsewhere
    ):
        self.nic = nic
        self.topology = target.topology
        self.target = target
        self.irq = target.profile.irq
        self.request = request
        self.funnel = way
        self.elsewhere = elsewhere
        self.near = target.pool
        self.layout = target.queue_cpus

    def stays(self, queue: int) -> str:
        """Why a queue's interrupt is not netuned's to place; empty if it is."""
        if self.irq == "default":
            return "irq: default leaves its interrupt to the kernel"
        if queue in self.request.fixed:
            why = "the kernel manages it" if self.irq else "the profile does not set irq"
            return f"its interrupt stays where it is: {why}"
        if queue in self.target.crowded:
            return f"its interrupt stays where it is: {self.target.crowded[queue]}"
        return "" if self.irq else "counts for RPS and XPS only: the profile does not set irq"

    def serving(self, queue: int) -> CpuSet:
        """The CPUs that serve a queue."""
        if self.irq == "default":
            return self.target.default_affinity
        return self.layout[queue]

    def verdict(self, queue: int, cpu: int) -> Verdict:
        """Why the queue is not on this CPU, one of those that the host can have."""
        cpus = self.serving(queue)
        if cpu not in self.topology.online:
            return Verdict(OFFLINE, "offline", "is offline")
        if cpus == CpuSet(1 << cpu):
            return Verdict(SERVES, "serves it", "serves it")
        if stays := self.stays(queue):
            may = cpu in cpus
            text = f"{'may' if may else 'does not'} serve it: {stays}"
            return Verdict(MAY if may else STAYS, "it may" if may else stays, text)
        if stage := self.funnel.excluding(cpu):
            return self._excluded(cpu, stage)
        if len(cpus) > 1 or self.request.spread == ALL:
            kind = "its interrupt may run there"
            return Verdict(MAY, kind, f"may serve it: its interrupt runs anywhere on {cpus}")
        if self.request.spread == PACK and queue not in self.request.kept:
            return self._not_packed(queue, cpu)
        return self._compared(queue, cpu)

    def _excluded(self, cpu: int, stage: Stage) -> Verdict:
        """The CPU set or a rule beside it leaves the CPU out."""
        place = self.funnel.places[stage.name]
        if self.funnel.default:
            place = "the default of irq.cpus"
        says = f"`{stage.text}` ({place})"
        why = stage.why
        if stage.text in (NOT_ISOLATED, HOUSEKEEPING, f"& {HOUSEKEEPING}"):
            why = apart(self.topology, CpuSet(1 << cpu))
        if stage.text == NOT_ISOLATED:
            kind = f"{why}; irq.cpus does not name it"
            told = f"{why}{ISOLATED_BY.get(why, '')}"
            text = f"is {told}, and `irq.cpus: {self.funnel.texts['']}` ({place}) does not name it"
            return Verdict(SET, kind, text)
        where = self._whereabouts(cpu)
        if stage.rule:
            return Verdict(SET, why, f"is {why}{where}")
        after = f": {why}" if why else ""
        if cpu in stage.taken:
            kind = f"`{stage.text}` takes it out{after}"
            return Verdict(SET, kind, f"is taken out by {says}{after}{where}")
        kind = f"not in `{stage.text}`" + (f" ({why})" if why else "")
        return Verdict(SET, kind, f"is not in {says}{after}{where}")

    def _whereabouts(self, cpu: int) -> str:
        """Where a CPU on another node than the card is."""
        node = self.topology.node_of(cpu)
        if node is None or self.nic.numa_node in (-1, node):
            return ""
        far = self.topology.distance(self.nic.numa_node, node)
        return f"; it is on node {node}, at distance {far}"

    def _not_packed(self, queue: int, cpu: int) -> Verdict:
        cores = CpuSet()
        for cpus in self.layout:
            cores |= self.topology.core_of(cpus.first)
        if cpu not in cores:
            kind = "on a further core; spread: pack uses the fewest"
            return Verdict(PACK, kind, f"is {kind}")
        if cpu in self.elsewhere.at:
            found = self._queues_at(CpuSet(1 << cpu), queue)
            return Verdict(PACK, "has a queue already", f"has a queue already, {found}")
        kind = "a thread of a packed core that is not needed"
        return Verdict(PACK, kind, f"is {kind}")

    def _compared(self, queue: int, cpu: int) -> Verdict:
        """Judge by the objective: the first term that gets worse."""
        term, worse = first_of(self.elsewhere.change(self.nic.ifindex, queue, cpu))
        here = self.layout[queue].first
        if worse < 0:
            kind = f"better for {TERMS[term]}; {NOT_FOUND}"
            return Verdict(BETTER, kind, f"would be {kind}")
        match term:
            case "disturbed":
                return self._disturbed(queue, cpu)
            case "cores":
                return self._fuller(term, 1, "core", queue, cpu)
            case "threads":
                return self._fuller(term, 0, "CPU", queue, cpu)
            case "domains":
                return self._fuller(term, 2, "L3 domain", queue, cpu)
            case "unaligned":
                names = " and ".join(self.elsewhere.partners(self.nic.ifindex, queue))
                kind = f"apart from the same queue of {names} ({self.request.group})"
                return Verdict(term, kind, f"is {kind}")
            case "transmit":
                kind = "CPUs would be farther from the queue they send on"
                return Verdict(term, kind, f"is as good for receiving, but {kind}")
            case "moved":
                kind = "as good, but the queue was where it is before, and moves only for a gain"
                return Verdict(term, kind, f"would be {kind}")
            case "boot":
                kind = (
                    "as good, but of CPU 0's core, where the kernel's own work runs; it comes last"
                )
                return Verdict(term, kind, f"would be {kind}")
        kind = "as good; of equal CPUs the lowest number is taken"
        if queue in self.request.kept:
            kind = "as good; a queue out of the RSS table takes the highest number"
        elif cpu < here:
            kind = "as good; nothing speaks for either"
        return Verdict(EQUAL, kind, f"would be {kind}")

    def _disturbed(self, queue: int, cpu: int) -> Verdict:
        core = self.topology.core_of(cpu)
        found = self._queues_at(core, queue)
        if queue in self.request.kept:
            kind = "its core has other queues; one out of the RSS table has a core to itself"
            text = f"is on core {core}, with {found}; a queue out of the RSS table has a core"
            return Verdict("disturbed", kind, f"{text} to itself")
        kind = "its core is kept for a queue that is out of the RSS table"
        text = f"is on core {core}, which {found} has to itself, being out of the RSS table"
        return Verdict("disturbed", kind, text)

    def _fuller(self, term: str, level: int, what: str, queue: int, cpu: int) -> Verdict:
        """A part of the machine would serve more queues than the one that the queue is in."""
        here = self.layout[queue].first
        of, load = self.elsewhere.places.levels[level], self.elsewhere.loads[level]
        now, then = load[of[here]], load[of[cpu]] + 1
        own = "it" if level == 0 else f"its {what}"
        kind = f"{own} would serve {then} queues, this one's serves {now}"
        part, found = self._part(level, cpu), self._queues_at(self._part(level, cpu), queue)
        there = f", with {found}" if found else ""
        text = f"would put {then} queues on {what} {part}{there}"
        if level == 0:
            text = f"would serve {then} queues{there}"
        return Verdict(term, kind, f"{text}; the {what} it would leave serves {now}")

    def _part(self, level: int, cpu: int) -> CpuSet:
        """The CPUs of the core, … that a CPU is in."""
        if not level:
            return CpuSet(1 << cpu)
        return self.topology.core_of(cpu) if level == 1 else self.topology.l3_of(cpu)

    def _queues_at(self, cpus: CpuSet, besides: int) -> str:
        """The queues on some CPUs but for one of this card: ``queue 3 and queues 4,7 of eth1``."""
        cards: dict[str, list[int]] = {}
        for cpu in cpus:
            for name, queue in self.elsewhere.at.get(cpu, ()):
                if (name, queue) != (self.nic.name, besides):
                    cards.setdefault(name, []).append(queue)
        own = not cards.keys() - {self.nic.name}
        parts = []
        for name, queues in cards.items():
            which = f"queue{'s' if len(queues) > 1 else ''} {CpuSet.of(queues)}"
            parts.append(which if own else f"{which} of {name}")
        if len(parts) > 3:
            return f"{', '.join(parts[:2])} and those of {len(parts) - 2} other cards"
        return " and ".join(parts)

    def why(self, queue: int) -> str:
        """Why a queue that netuned places is on its CPU: the same words for queues alike."""
        if stays := self.stays(queue):
            return stays
        if self.request.spread == ALL:
            return "spread: all lets each interrupt run anywhere on these CPUs"
        core_load = self.elsewhere.loads[1][self.elsewhere.places.core[self.layout[queue].first]]
        if queue in self.request.kept:
            if core_load == 1:
                return "out of the RSS table, so a core to itself"
            return "out of the RSS table; its core is also that of others"
        if self.request.spread == PACK:
            return "packed on the fewest cores, siblings together"
        if len(self.near) == 1:
            return "the only CPU that may serve this card"
        return ", ".join(self._reasons(queue, core_load))

    def _reasons(self, queue: int, core_load: int) -> Iterator[str]:
        """What there is to say for a CPU, by the order of the objective."""
        ifindex, here = self.nic.ifindex, self.layout[queue].first
        changes = [self.elsewhere.change(ifindex, queue, cpu) for cpu in self.near if cpu != here]
        decisive, worse = first_of(min(changes))
        yield "a core of its own" if core_load == 1 else f"{core_load} queues on its core"
        if decisive == "cores":
            yield "no other core is free" if core_load == 1 else "no core has fewer"
        if core_load > 1 and self.elsewhere.loads[0][here] == 1:
            yield "a thread of its own"
        elif decisive == "threads":
            yield "no sibling has fewer"
        if any(first_of(change)[0] == "domains" for change in changes):
            yield "evenly over the L3 domains"
        partners = self.elsewhere.partners(ifindex, queue)
        if together := [name for name, at in partners.items() if at == self.layout[queue]]:
            yield f"on the CPU of the same queue of {' and '.join(together)} ({self.request.group})"
        if worse < 0:
            yield f"though another CPU would be better for {TERMS[decisive]}; {NOT_FOUND}"
        elif decisive == "transmit":
            yield "nearest to the CPUs that send"
        elif decisive == "moved":
            yield "where it was before"
        elif decisive == "boot":
            yield "CPU 0's core comes last"
        elif not decisive:
            yield "the lowest number of those as good"


def first_of(change: Score) -> tuple[str, int]:
    """The first term that differs, and by how much; no name where none does."""
    differing = ((term, by) for term, by in zip(Score._fields, change, strict=True) if by)
    return next(differing, ("", 0))
