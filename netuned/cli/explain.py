"""``netunedctl explain``: how a card comes to its profile, its CPUs and each queue's place."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.cli.arguments import add_profiles, add_snapshot, card_name, nic_named
from netuned.cli.text import Screen, print_json
from netuned.cpuset import MAX_CPU, CpuSet
from netuned.errors import NetunedError
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.kernel import Kernel
    from netuned.planning.claims import Claim
    from netuned.planning.explain import Explanation, QueueReason, Steered
    from netuned.planning.funnel import Funnel, Stage
    from netuned.planning.zerocopy import Facts
    from netuned.profiles.loader import ProfileSet

MISSES_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nic", metavar="NIC", type=card_name, help="the card")
    parser.add_argument(
        "queue", metavar="QUEUE", nargs="?", type=_number, help="show this queue in full"
    )
    parser.add_argument(
        "--why-not",
        metavar="CPU",
        type=_number,
        help="say why this CPU does not serve the card, or the queue",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_snapshot(parser)
    add_profiles(parser)


def _number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else MAX_CPU
    if number >= MAX_CPU:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number like 5")
    return number


def run(arguments: argparse.Namespace) -> int:
    from netuned.snapshots import offline

    kernel, profiles = offline.load(arguments.snapshot, arguments.profiles)
    hints = offline.where_templates_are(profiles.errors, arguments.profiles)
    for said in (*map(str, profiles.errors), *hints):
        print(escape(said), file=sys.stderr)
    found = look(kernel, profiles, arguments.nic)
    if arguments.json:
        print_json(as_json(found, kernel, arguments.queue, arguments.why_not))
    else:
        text = show(found, kernel, arguments.queue, arguments.why_not, Screen.of_stdout())
        print(text, end="")
    return 1 if arguments.profiles and profiles.errors else 0


def look(kernel: Kernel, profiles: ProfileSet, name: str) -> Explanation:
    """The explanation of a card of this name. Raises: NetunedError naming the cards there are."""
    from netuned.planning.explain import explain
    from netuned.snapshots import offline

    host, desired = offline.host_and_desired(kernel, profiles)
    ifindex = nic_named(name, host.nics.values()).ifindex
    limits_of = offline.limits_of(kernel)
    seats = offline.read_seats(kernel)
    found = explain(profiles.profiles, host, desired, ifindex, limits_of, seats)
    return replace(found, nic=replace(found.nic, name=wire.text(found.nic.name)))


def show(
    found: Explanation, kernel: Kernel, queue: int | None, cpu: int | None, screen: Screen
) -> str:
    """What people read of a card, one of its queues, or a CPU that does not serve it."""
    if cpu is not None:
        return show_why_not(found, queue, cpu, screen)
    if queue is None:
        return show_card(found, screen)
    irqs = found.queue(queue).irqs.values()
    actions = {n: kernel.files.read_text(f"/sys/kernel/irq/{n}/actions", "") for n in irqs}
    shown = show_queue(found, queue, actions, screen)
    return f"{shown}\n{show_zero_copy(_zero_copy(found, kernel, queue), screen)}"


def _zero_copy(found: Explanation, kernel: Kernel, queue: int) -> Facts:
    from netuned.planning import zerocopy

    return zerocopy.read(kernel, found.nic, queue)


def show_card(found: Explanation, screen: Screen) -> str:
    """A card: profile, CPUs, number of queues, and where they are."""
    parts = ["".join(_head(found, screen))]
    if found.funnel:
        parts.append(_set(found.funnel, screen))
    if found.queues:
        counts = screen.sentence(f"Queues: {found.channels}.")
        interrupts = screen.sentence(f"Interrupts: {found.irq}.")
        parts += [counts + interrupts, _table(found, screen), "".join(_steering(found, screen))]
    return "\n".join(parts)


def _head(found: Explanation, screen: Screen) -> Iterator[str]:
    nic = found.nic
    node = f"NUMA node {nic.numa_node}" if nic.numa_node >= 0 else "no NUMA node"
    yield screen.sentence(f"{nic.name}: {nic.driver or nic.kind}, {node}")
    if found.through:
        below = " and ".join(found.through)
        yield screen.sentence(f"It is tuned through {below}, where the interrupts are.")
    if found.follows:
        says = f"Profile {found.profile} is in force on {found.follows} below it"
        yield screen.sentence(f"{says}, and gives it the same sizes (link.upper is follow).")
        return
    if not found.profile:
        yield from _no_profile(found, screen)
        return
    won, *others = found.claims
    keys = f"{{{won.keys}}}" if won.keys else "every physical card"
    over = f" on {won.via} above it" if won.above else ""
    says = f"matches {keys}{over}, with priority {won.priority}"
    yield screen.sentence(f"Profile {won.profile}: {won.place} {says}.")
    for claim in others:
        yield screen.sentence(f"Not {claim.profile} ({claim.place}): {_lost(claim, won)}.")
    if found.problem:
        yield screen.sentence(f"It cannot be brought into force: {found.problem}")


def _lost(claim: Claim, won: Claim) -> str:
    """Why a profile that matches a card is not in force on it."""
    if claim.priority > won.priority:
        return "it matches too, but is in force on none of the cards below"
    if claim.priority < won.priority:
        return f"it matches too, with priority {claim.priority}"
    if claim.above and not won.above:
        return f"its priority is the same, but it matches {claim.via} and not the card itself"
    return "its priority is the same; the first by name is used"


def _no_profile(found: Explanation, screen: Screen) -> Iterator[str]:
    for claim in found.claims:
        why = "matches it, but the cards below have profiles that come first"
        yield screen.sentence(f"Profile {claim.profile} ({claim.place}) {why}.")
    if found.claims:
        return
    if not found.misses:
        yield screen.sentence("There is no profile with a match, so netuned leaves it alone.")
        return
    yield screen.sentence("No profile matches it, so netuned leaves it alone. Nearest are:")
    for miss in found.misses[:MISSES_SHOWN]:
        yield screen.sentence(f"{miss.profile} ({miss.place}): {'; '.join(miss.failing)}", "  ")
    more = len(found.misses) - MISSES_SHOWN
    if more > 0:
        yield screen.sentence(f"and {more} more (--json shows all)", "  ")


def _set(way: Funnel, screen: Screen) -> str:
    """The CPU set, step by step; a bare reference to a set that is shown is left out."""
    named = {stage.name for stage in way.stages}
    rows = [
        (_step(stage), str(stage.cpus) or "none", str(stage.taken), stage.why)
        for stage in way.stages
        if stage.name or stage.text.removeprefix("@") not in named
    ]
    header = ("STEP", "LEAVES", "TAKES AWAY", "WHY")
    return screen.sentence(_may_serve(way)) + screen.table(header, rows, keep_last=True)


def _may_serve(way: Funnel) -> str:
    said = "the default, as it is not set" if way.default else way.places[""]
    return f"CPUs that may serve it: {way.cpus or 'none'}, by irq.cpus: {way.texts['']} ({said})"


def _step(stage: Stage) -> str:
    if stage.text[:1] in ("&", "|", "-"):
        return f"  {stage.text}"
    return f"{stage.name}: {stage.text}" if stage.name else stage.text


def _table(found: Explanation, screen: Screen) -> str:
    """The queues, those with the same reason together."""
    by_reason: dict[str, list[QueueReason]] = {}
    for queue in found.queues:
        by_reason.setdefault(queue.why, []).append(queue)
    columns = _columns(found)
    rows = [
        (
            (
                str(queue.queue),
                ",".join(str(irq) for irq in queue.irqs.values()),
                str(queue.cpus),
                str(queue.core),
                str(queue.l3),
                str(queue.node) if queue.node >= 0 else "",
                *(queue.steered[name].value or "" for name in columns),
            ),
            why,
        )
        for why, queues in by_reason.items()
        for queue in queues
    ]
    header = ("QUEUE", "IRQ", "CPU", "CORE", "L3", "NODE", *map(str.upper, columns), "WHY")
    return screen.table_with_reasons(header, rows)


def _columns(found: Explanation) -> list[str]:
    """The tunables that have a column of the table, where one of its queues has a value."""
    names = found.queues[0].steered
    return [
        name
        for name in names
        if any(q.steered[name].in_table and q.steered[name].value for q in found.queues)
    ]


def _steering(found: Explanation, screen: Screen) -> Iterator[str]:
    """What else is set, queues with the same value together, without values that have a column."""
    for name in found.queues[0].steered:
        by_value: dict[Steered, list[int]] = {}
        for queue in found.queues:
            steered = queue.steered[name]
            value = None if steered.in_table else steered.value
            by_value.setdefault(replace(steered, value=value), []).append(queue.queue)
        for steered, queues in by_value.items():
            if not steered.asked:
                continue
            many = f" of queue{'s' if len(queues) > 1 else ''} {CpuSet.of(queues)}"
            yield screen.sentence(f"{name.upper()}{many * (len(by_value) > 1)}: {_said(steered)}.")
    yield from _not_set(found.queues[0], screen)


def _not_set(queue: QueueReason, screen: Screen) -> Iterator[str]:
    names = [name for name, steered in queue.steered.items() if not steered.asked]
    if names:
        yield screen.sentence(f"The profile does not set {', '.join(names)}.")


def _said(steered: Steered) -> str:
    return steered.why if steered.value is None else f"{steered.value} ({steered.why})"


def show_queue(found: Explanation, number: int, actions: Mapping[int, str], screen: Screen) -> str:
    """One queue in full. ``actions`` are the names of interrupts by number."""
    queue = found.queue(number)
    irqs = [
        f"{irq} ({role}, {actions[irq]})" if actions.get(irq) else f"{irq} ({role})"
        for role, irq in queue.irqs.items()
    ]
    none = "none yet, it comes with its channel" if found.nic.vectors else "none"
    where = f"CPU {queue.cpus}" if len(queue.cpus) == 1 else f"CPUs {queue.cpus}"
    facts = [f"{found.nic.name} queue {number} is on {where}: {queue.why}."]
    if found.funnel:
        facts.append(f"{_may_serve(found.funnel)}.")
    if queue.core:
        node = f", NUMA node {queue.node}" if queue.node >= 0 else ""
        facts.append(f"Place: core {queue.core}, L3 domain {queue.l3}{node}.")
    facts += [
        f"Interrupt: {', '.join(irqs) or none}.",
        *(
            f"{name.upper()}: {_said(steered)}."
            for name, steered in queue.steered.items()
            if steered.asked
        ),
    ]
    rows = [(str(cpus), why) for cpus, _, why in _others(found, number)]
    table = screen.table(("CPU", "WHY NOT"), rows) if rows else ""
    text = "".join(map(screen.sentence, facts)) + "".join(_not_set(queue, screen))
    return "\n".join(filter(None, (text, table)))


def show_zero_copy(facts: Facts, screen: Screen) -> str:
    """What a queue can serve without copies as it is now, and what each other use needs."""
    from netuned.planning.zerocopy import USES, bound_to, conditions, ready

    found = conditions(facts)
    use = {name: ready(found, use) for use, name in USES.items()}
    for_, not_for = (", ".join(n for n in use if use[n] is yes) for yes in (True, False))
    said = [f"ready for {for_}" * bool(for_), f"not ready for {not_for}" * bool(not_for)]
    text = f"Zero copy: {'; '.join(filter(None, said))}."
    if bound := bound_to(facts):
        text += f" {bound} is bound to the queue."
    if met := ", ".join(condition.name for condition in found if condition.met):
        text += f" Met: {met}."
    rows = [(c.name, _uses(c.uses), c.why, c.todo) for c in found if not c.met]
    table = screen.table(("IT NEEDS", "FOR", "NOW", "TO DO"), rows) if rows else ""
    return screen.sentence(text) + table


def _uses(uses: Sequence[str]) -> str:
    from netuned.planning.zerocopy import USES

    return "all" if len(uses) == len(USES) else ", ".join(USES[use] for use in uses)


def _others(found: Explanation, number: int) -> list[tuple[CpuSet, str, str]]:
    """All CPUs that do not serve a queue: (CPUs, rule, why), those alike together."""
    from netuned.planning.whynot import SERVES

    found.check()
    assert found.judge is not None
    alike: dict[tuple[str, str], list[int]] = {}
    for cpu in found.judge.topology.possible:
        verdict = found.verdict(number, cpu)
        if verdict.rule != SERVES:
            alike.setdefault((verdict.rule, verdict.kind), []).append(cpu)
    return [(CpuSet.of(cpus), rule, kind) for (rule, kind), cpus in alike.items()]


def show_why_not(found: Explanation, number: int | None, cpu: int, screen: Screen) -> str:
    """Why a CPU does not serve a queue, or any of a card."""
    verdicts = _verdicts(found, number, cpu)
    lines = []
    for queues, rule, text in verdicts:
        if rule == "serves":
            text = f"serves queue{'s' if len(queues) > 1 else ''} {queues}"
        which = f" (queue{'s' if len(queues) > 1 else ''} {queues})" if len(verdicts) > 1 else ""
        lines.append(screen.sentence(f"CPU {cpu}{which} {text}."))
    return "".join(lines)


def _verdicts(found: Explanation, number: int | None, cpu: int) -> list[tuple[CpuSet, str, str]]:
    """(Queues, rule, why), queues that are alike together; of a whole card whom it serves first."""
    found.check()
    assert found.judge is not None
    possible = found.judge.topology.possible
    if cpu not in possible:
        raise NetunedError(f"this host has no CPU {cpu}; name one of {possible}")
    alike: dict[tuple[str, str], list[int]] = {}
    for queue in range(len(found.queues)) if number is None else (number,):
        verdict = found.verdict(queue, cpu)
        alike.setdefault((verdict.rule, verdict.text), []).append(queue)
    verdicts = [(CpuSet.of(queues), rule, text) for (rule, text), queues in alike.items()]
    serving = [verdict for verdict in verdicts if verdict[1] == "serves"]
    return serving or verdicts


def as_json(
    found: Explanation, kernel: Kernel, number: int | None, cpu: int | None
) -> dict[str, object]:
    """The documented form: of a card, of one queue, or of why not a CPU."""
    nic = found.nic
    card: dict[str, object] = {"name": nic.name, "profile": found.profile}
    if cpu is not None:
        return card | {
            "cpu": cpu,
            "verdicts": [
                {**_numbers("queues", queues), "rule": rule, "why": why}
                for queues, rule, why in _verdicts(found, number, cpu)
            ],
        }
    if number is not None:
        others = _others(found, number)
        return card | {
            "queue": _queue_as_json(found.queue(number)),
            "others": [
                {**_numbers("cpus", cpus), "rule": rule, "why": why} for cpus, rule, why in others
            ],
            "zero_copy": _zero_copy_as_json(_zero_copy(found, kernel, number)),
        }
    way = found.funnel
    return card | {
        "driver": nic.driver,
        "numa_node": nic.numa_node,
        "through": list(found.through),
        "problem": found.problem,
        "matches": [asdict(claim) for claim in found.claims],
        "misses": [asdict(miss) for miss in found.misses],
        "cpus": {
            **_numbers("cpus", way.cpus),
            "expression": way.texts[""],
            "default": way.default,
            "place": way.places[""],
            "steps": [
                {
                    "text": stage.text,
                    "set": stage.name,
                    "rule": stage.rule,
                    **_numbers("cpus", stage.cpus),
                    **_numbers("taken", stage.taken),
                    "why": stage.why,
                }
                for stage in way.stages
            ],
        }
        if way
        else None,
        "channels": found.channels,
        "interrupts": found.irq,
        "queues": [_queue_as_json(queue) for queue in found.queues],
    }


def _queue_as_json(queue: QueueReason) -> dict[str, object]:
    return {
        "queue": queue.queue,
        "irqs": dict(queue.irqs),
        **_numbers("cpus", queue.cpus),
        **_numbers("core", queue.core),
        **_numbers("l3", queue.l3),
        "node": queue.node,
        "why": queue.why,
        **{
            name: {"value": steered.value, "why": steered.why, "data": steered.data}
            for name, steered in queue.steered.items()
        },
    }


def _zero_copy_as_json(facts: Facts) -> dict[str, object]:
    from netuned.planning.zerocopy import USES, bound_to, conditions, ready

    found = conditions(facts)
    return {
        "ready": [use for use in USES if ready(found, use)],
        "bound": bound_to(facts) or None,
        "conditions": [asdict(condition) for condition in found],
    }


def _numbers(name: str, numbers: CpuSet) -> dict[str, object]:
    """A set of CPUs or queues, as text and as numbers."""
    return {name: str(numbers), f"{name}_value": list(numbers)}
