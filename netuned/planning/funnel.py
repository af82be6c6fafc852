"""Pure: how a profile comes to the CPUs that may serve a card, step by step, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.hardware.nic import Nic
from netuned.hardware.topology import Topology
from netuned.placement.place import DEDICATED, Request
from netuned.profiles import expression
from netuned.profiles.expression import Step
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.specs import DEFAULT_IRQ_CPUS
from netuned.records import dataclass

HOUSEKEEPING = "housekeeping"
NOT_ISOLATED = "not isolated"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: what the profile or a ``rule`` says, the CPUs it leaves, and why the others go.

    ``name`` is the profile's set in which it stands, empty in ``irq.cpus`` and for a rule.
    """

    text: str
    name: str
    cpus: CpuSet
    taken: CpuSet
    why: str
    rule: bool = False


@dataclass(frozen=True, slots=True)
class Funnel:
    """``stages`` end with the CPUs that serve.

    ``texts`` and ``places`` (path:line) are what the profile says, by the name of its set; those
    of ``irq.cpus`` stand under the empty name.
    """

    stages: tuple[Stage, ...]
    texts: Mapping[str, str]
    places: Mapping[str, str]
    default: bool
    """Whether the profile says nothing of ``irq.cpus``."""

    @property
    def cpus(self) -> CpuSet:
        return self.stages[-1].cpus

    def excluding(self, cpu: int) -> Stage | None:
        """The step that an online CPU does not come past; None where it may serve the card."""
        return None if cpu in self.cpus else self._excluding("", cpu)

    def _excluding(self, name: str, cpu: int) -> Stage:
        """Of a set's steps the last that takes the CPU, else the first that does not have it."""
        stages = [stage for stage in self.stages if stage.name == name]
        for stage in reversed(stages):
            if cpu in stage.taken:
                return stage
        lacking = next(stage for stage in stages if cpu not in stage.cpus)
        if (reference := lacking.text.removeprefix("@")) in self.texts:
            return self._excluding(reference, cpu)
        if any(stage.text.startswith("|") for stage in stages):  # none of several is to blame
            return replace(lacking, text=self.texts[name], why="")
        return lacking


def place_of(loaded: LoadedProfile, *keys: str) -> str:
    """``path:line`` of the first of these keys that a file says; else the profile's path."""
    for key in keys:
        if origin := loaded.origins.get(key):
            return f"{origin.path}:{origin.line}"
    return loaded.path


def funnel(
    loaded: LoadedProfile, nic: Nic, topology: Topology, local: CpuSet, request: Request | None
) -> Funnel:
    """The steps from all CPUs to those that serve a card.

    ``request`` is what the planner made of it; without one (the set is empty) the steps of the
    profile's set are all there is.
    """
    irq, sets = loaded.profile.irq, loaded.profile.cpus
    spec = irq if irq is not None and irq != "default" else None
    texts = {"": DEFAULT_IRQ_CPUS}
    places = {"": place_of(loaded, "irq.cpus", "irq")}
    stages = []
    default = spec is None or spec.cpus is None
    if spec is None or spec.cpus is None:
        taken = topology.online - topology.housekeeping
        stages.append(Stage(HOUSEKEEPING, "", topology.housekeeping, taken, apart(topology, taken)))
    else:
        texts = {**sets, "": spec.cpus}
        places |= {name: place_of(loaded, f"cpus.{name}") for name in sets}
        named = {name: expression.parse(text) for name, text in sets.items()}
        parsed = expression.parse(spec.cpus)
        words = _Words(nic, topology, local)
        stages += words.stages(expression.steps(parsed, topology, local, named))
        if not expression.names_isolated(parsed, named):
            before = stages[-1].cpus
            kept = before & topology.housekeeping
            why = f"{apart(topology, before - kept)}; irq.cpus does not name them"
            stages.append(Stage(NOT_ISOLATED, "", kept, before - kept, why, True))
    if request is None:
        return Funnel(_shown(stages), texts, places, default)
    before = stages[-1].cpus
    if request.spread == DEDICATED and spec is not None:
        share = "{}/{}".format(*spec.share)
        taken = before - request.pool
        why = "not on a core dedicated to interrupts"
        stages.append(Stage(f"dedicated {share}", "", request.pool, taken, why, True))
        before = request.pool
    near = topology.nearest(request.pool, request.node)
    why = _farther(topology, nic, near)
    stages.append(Stage("nearest node", "", near, before - near, why, True))
    return Funnel(_shown(stages), texts, places, default)


def _shown(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Every step of the set, and of the rules those that take something away."""
    return tuple(stage for stage in stages if stage.taken or not stage.rule)


def apart(topology: Topology, cpus: CpuSet) -> str:
    """Why CPUs are not housekeeping: ``4-5 isolated, 6 tickless (nohz_full)``."""
    isolated = cpus & topology.isolated
    tickless = cpus & topology.nohz_full - isolated
    rest = cpus - isolated - tickless
    kinds = {
        "isolated": isolated,
        "tickless (nohz_full)": tickless,
        "outside netuned's AllowedCPUs": rest,
    }
    found = {what: some for what, some in kinds.items() if some}
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{some} {what}" for what, some in found.items())


def _farther(topology: Topology, nic: Nic, near: CpuSet) -> str:
    """The rule of the nearest node."""
    node = nic.numa_node
    nodes = {at for cpu in near if (at := topology.node_of(cpu)) is not None}
    if nodes == {node}:
        return f"farther away than node {node}, the card's"
    distance = min((topology.distance(node, at) for at in nodes), default=0)
    return f"farther away than node {CpuSet.of(nodes)} (distance {distance})"


class _Words:
    """What the words of an expression mean for one card."""

    def __init__(self, nic: Nic, topology: Topology, local: CpuSet) -> None:
        self.nic = nic
        self.topology = topology
        self.local = local

    def stages(self, steps: Iterable[Step]) -> Iterator[Stage]:
        """A row for the first operand and one for each operator; operands are in its text."""
        steps = list(steps)
        shown: list[Step] = []
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            operand = following and _joined(shown, following)
            if operand and operand[1] == step.text:
                continue
            joined = _joined(shown, step)
            shown.append(step)
            if joined is None:
                yield Stage(step.text, step.name, step.cpus, step.taken, self.about(step))
                continue
            sign, operand_text = joined
            why = self._taken(sign, operand_text, step.taken)
            yield Stage(f"{sign} {operand_text}", step.name, step.cpus, step.taken, why)

    def about(self, step: Step) -> str:
        """What a word by itself means."""
        text = step.text.strip("()")
        if text == "local":
            return self._local()
        if text == HOUSEKEEPING:
            taken = self.topology.online - step.cpus
            return f"all but {taken}: {apart(self.topology, taken)}" if taken else ""
        kind, colon, number = text.partition(":")
        if colon and kind == "l3":
            return f"the CPUs that share CPU {number.strip()}'s last-level cache"
        if colon and kind == "core":
            return f"CPU {number.strip()} and its siblings"
        if step.taken:  # take, first, last
            return "as many as it asks for"
        return {"first-threads": "the first CPU of each core"}.get(text, "")

    def _taken(self, sign: str, operand: str, taken: CpuSet) -> str:
        if not taken:
            return ""
        if sign == "-":
            return ""
        if operand == HOUSEKEEPING:
            return apart(self.topology, taken)
        if operand == "first-threads":
            return "second threads of their cores"
        if operand == "local":
            return f"not on {self._local()}"
        kind, colon, number = operand.partition(":")
        if colon and kind == "l3":
            return f"on another L3 cache than CPU {number.strip()}"
        return f"not in {operand}"

    def _local(self) -> str:
        node = self.nic.numa_node
        if node < 0:
            return "all CPUs, for the card has no NUMA node"
        at = self.topology.node_of(self.local.first)
        if at is None or at == node:
            return f"NUMA node {node}, the card's"
        distance = self.topology.distance(node, at)
        return f"nearest to the card's node {node}, which has no CPU online (distance {distance})"


def _joined(before: Sequence[Step], step: Step) -> tuple[str, str] | None:
    """The operator and its right operand, of a step that goes on from one ``before`` it."""
    heads = [s for s in before if s.name == step.name and len(s.text) < len(step.text)]
    for head in sorted(heads, key=lambda s: -len(s.text)):
        rest = step.text.removeprefix(head.text).strip()
        if step.text.startswith(head.text) and rest[:1] in ("&", "|", "-"):
            return rest[0], rest[1:].strip()
    return None
