"""``netunedctl doctor --try``: for each finding the experiment that would prove its cure."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.cli import cutoff, dropping, experiment, turns
from netuned.cli.parser import make_parser
from netuned.cli.plan import told
from netuned.errors import NetunedError
from netuned.experiment.offer import Unproven, offer
from netuned.plan import Plan
from netuned.records import dataclass
from netuned.status import NOT_RUNNING
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.cli.text import Screen
    from netuned.counters.sample import Sample
    from netuned.doctor.facts import Facts
    from netuned.doctor.finding import Finding
    from netuned.hardware.nic import Nic
    from netuned.plan import Change
    from netuned.planning.planner import Desired

LIVE, LOAD = "--live", "--load"
NO_CARD = "."
"""What no card is called (net/core/dev.c, dev_valid_name())."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An experiment: the ``words`` after netunedctl, what it is about, how long it takes at least.

    ``warnings`` are clauses on what it has consent to, ``notes`` on what is not in it.
    """

    words: tuple[str, ...]
    metric: str
    seconds: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """For a shell."""
        return shlex.join(("netunedctl", *self.words))


def words(text: str) -> tuple[str, ...]:
    """Words for all experiments, with what they measure.

    Raises: SystemExit for what is no experiment's, once argparse has said why.
    """
    try:
        said = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; quote it as for a shell") from None
    arguments = _parsed(("experiment", experiment.NONE, "--card", NO_CARD, *_with_traffic(said)))
    if arguments.card != NO_CARD or arguments.settings:
        raise argparse.ArgumentTypeError("the card and what is tried are those of each finding")
    if arguments.json or arguments.html:
        raise argparse.ArgumentTypeError("what came out is told here; run the command for a file")
    try:
        experiment.check(arguments)
    except NetunedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return said


def _with_traffic(said: Sequence[str]) -> tuple[str, ...]:
    given = {word.partition("=")[0] for word in said}
    return (*said,) if given & {LIVE, LOAD} else (LIVE, *said)


def made(
    findings: Collection[Finding],
    facts: Facts,
    what: Sample,
    more: Sequence[str],
    snapshot: str | None,
) -> list[Offered | Unproven]:
    """The experiment of each finding, with ``more`` words; of this host, or of a snapshot's."""
    return [_made(finding, facts, what, _with_traffic(more), snapshot) for finding in findings]


def _made(
    finding: Finding, facts: Facts, what: Sample, more: Sequence[str], snapshot: str | None
) -> Offered | Unproven:
    live = LIVE in more
    usual = experiment.LIVE if live else experiment.WITH_LOAD
    found = offer(finding, facts, what, live=live, usual=usual)
    if isinstance(found, Unproven):
        return found
    if facts.status is None:  # no daemon says which profile is in force
        found = replace(found, profile=_in_force(finding.card, more, snapshot))
    nic = next(card.nic for card in facts.cards.values() if card.nic.name == finding.card)
    name = wire.text(nic.name)
    extends = [f'extends=["{found.profile}"]'] * bool(found.profile)
    command = ["experiment", found.profile or experiment.NONE, "--set", *extends, *found.settings]
    # what begins with a dash is an option unless it is joined to one
    command += [f"--card={name}"] if name.startswith("-") else ["--card", name]
    command += ["--metric", found.metric or usual, *more]
    if escape(name) != name:
        return Unproven("a terminal would not show its name as it is")
    try:
        if facts.status and facts.status.manager.state != NOT_RUNNING:
            turns.check_status(facts.status, name)
        plan = _plan(_parsed(command), nic, snapshot)
    except NetunedError as error:
        return Unproven(f"it would be refused: {error}")
    if plan.problems or not plan.changes:
        return Unproven(_why_not(plan))
    consent = _consent(plan.changes, is_here=snapshot is None)
    notes = [f"{key} is the host's, so it is not tried: set it before" for key in found.apart]
    notes += [f"{lack.tunable}: {lack.why}; that is not tried" for lack in plan.unsupported]
    if snapshot is not None:
        notes.append(
            f"whether the host is reached over {name} no snapshot tells: then it takes "
            f"{turns.OWN_LINK}, too"
        )
    arguments = _parsed(command := [*command, *(flag for flag in consent if flag not in more)])
    arms = len(arguments.arms) + len(arguments.settings)
    turn_s = arguments.settle + arguments.warm_up + arguments.seconds
    return Offered(
        tuple(command),
        arguments.metric,
        arms * arguments.runs * turn_s,
        tuple(consent.values()),
        tuple(notes),
    )


def _in_force(name: str, more: Sequence[str], snapshot: str | None) -> str:
    """The profile of a card by the files that are there; empty where none is for it."""
    from netuned.snapshots import offline

    arguments = _parsed(("experiment", experiment.NONE, "--card", NO_CARD, *more))
    try:
        kernel, drop = offline.load_texts({}, snapshot, arguments.profiles, templates=True)
        host, desired = offline.host_and_desired(kernel, drop.profiles)
    except NetunedError:  # as `_plan` will say
        return ""
    ifindex = next((i for i, nic in host.nics.items() if nic.name == name), -1)
    return _winning(desired, ifindex)


def _winning(desired: Desired, ifindex: int) -> str:
    """The profile of a card, or of those through which it is tuned; empty where none is for it."""
    through, loaded = desired.through.get(ifindex), desired.profiles.get(ifindex)
    return through.profile if through else loaded.profile.name if loaded else ""


def _plan(arguments: argparse.Namespace, nic: Nic, snapshot: str | None) -> Plan:
    """What the last arm would do to the card. Raises: NetunedError where it would be refused."""
    from netuned.profiles.profile import MAX_PRIORITY
    from netuned.snapshots import offline
    from netuned.snapshots.capturing import selecting

    *_, arm = experiment.arms_of(arguments.arms, arguments.settings)
    stage = turns.stage_of(
        arguments.card,
        (*arguments.profiles, turns.DIRECTORY)[0],
        link_loss=arguments.link_loss,
        own_link=arguments.own_link,
    )
    text = turns.text_of(arm.content, selecting(nic), MAX_PRIORITY)
    kernel, drop = offline.load_texts(
        {stage.path: text.encode()}, snapshot, arguments.profiles, templates=True
    )
    if drop.refused:
        raise drop.refused[0]
    host, desired = offline.host_and_desired(kernel, drop.profiles)
    won = _winning(desired, nic.ifindex) or "no profile"
    if won != stage.profile:
        raise NetunedError(f"{won} would be in force instead; try it with a lower priority")
    plan = offline.plan(kernel, drop.profiles, (host, desired))
    through = desired.through.get(nic.ifindex)
    shown = {nic.name, *(host.nics[i].name for i in (through.cards if through else ()))}
    return told(
        Plan(
            tuple(change for change in plan.changes if change.ifname in shown),
            tuple(problem for problem in plan.problems if problem.ifname in shown),
            tuple(change for change in plan.withheld if change.ifname in shown),
            tuple(lack for lack in plan.unsupported if lack.ifname in shown),
        )
    )


def _consent(changes: Collection[Change], *, is_here: bool) -> dict[str, str]:
    """The options that allow these changes, and what each warns of."""
    consent = {}
    if losing := next((change for change in changes if change.disruptive), None):
        consent[turns.LINK_LOSS] = (
            f"{losing.ifname} loses its link for a while with each turn ({losing})"
        )
    for warning in cutoff.warnings(changes, tried=True, any_change=True) if is_here else ():
        consent[turns.OWN_LINK] = warning.rstrip(".")
    return consent


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    return make_parser(["experiment"]).parse_args(words)


def _why_not(plan: Plan) -> str:
    if plan.problems:
        return f"it would be refused: {plan.problems[0].message}"
    if plan.withheld:
        return "the profile in force forbids what it would change (policy.disruptive is deny)"
    if plan.unsupported:
        return f"the card cannot have it: {plan.unsupported[0].why or plan.unsupported[0].tunable}"
    return "the card has it so already, or cannot have more"


def needed(facts: Facts) -> Iterator[str]:
    """What this host lacks to run an experiment: clauses with what to do."""
    if facts.status is None or facts.status.manager.state == NOT_RUNNING:
        yield "the daemon has to run (`systemctl start netuned`)"
    if find_spec("scipy") is None:
        yield experiment.NO_SCIPY
    if os.geteuid():
        yield "only root may write the profiles that take turns"


def show(one: Offered | Unproven, screen: Screen) -> str:
    """What stands below a finding."""
    if isinstance(one, Unproven):
        return screen.sentence(f"No experiment: {one.why}.", "   ")
    text = f"   Experiment ({one.metric}, {_lasting(one)} at least):\n     {escape(one.command)}\n"
    said = [f"Warning: {warning}." for warning in one.warnings] + [f"{n}." for n in one.notes]
    return text + "".join(screen.sentence(sentence, "     ") for sentence in said)


def _lasting(one: Offered) -> str:
    return f"{-(-one.seconds // 60)} min" if one.seconds >= 60 else f"{one.seconds} s"


def told_below(
    made: Collection[Offered | Unproven], lacks: Collection[str], snapshot: str | None
) -> str:
    """Why none can be run, as a sentence; empty where one can."""
    if not any(isinstance(one, Offered) for one in made):
        return "There is no experiment that would prove a cure."
    if snapshot is not None:
        return "Run experiments on the host that this was taken of."
    return f"Before an experiment can run: {'; '.join(lacks)}." if lacks else ""


def ask(made: Collection[Offered | Unproven]) -> int:
    """Ask of each whether to run it, and do. Returns the exit status, 1 if one failed."""
    status = 0
    for number, one in enumerate(made, 1):
        if isinstance(one, Unproven):
            continue
        print()
        if dropping.agreed(f"Run {number}? It takes {_lasting(one)} at least", yes=False):
            try:
                status |= experiment.run(_parsed(one.words))
            except NetunedError as error:
                print(f"netunedctl: {escape(error.whole())}", file=sys.stderr)
                status = 1
    return status


def as_json(one: Offered | Unproven) -> dict[str, object]:
    """The documented form, as fields of a finding."""
    if isinstance(one, Unproven):
        return {"experiment": None, "no_experiment": one.why}
    fields = {
        "command": one.command,
        "metric": one.metric,
        "seconds": one.seconds,
        "warnings": one.warnings,
        "notes": one.notes,
    }
    return {"experiment": fields, "no_experiment": ""}
