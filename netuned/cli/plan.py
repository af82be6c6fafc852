"""``netunedctl plan``: what would be changed, from what, to what, why, and at what price."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.cli import answers, cutoff
from netuned.cli.arguments import add_profiles, add_snapshot, card_name, own_name
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.plan import WHY_WITHHELD, Change, Lack, Plan, Problem, merged
from netuned.records import dataclass
from netuned.status import UNSUPPORTED, WAITING, Status
from netuned.text import escape
from netuned.valuejson import typed
from netuned.values import describe

if TYPE_CHECKING:
    from netuned.bus.client import Client
    from netuned.kernel import Kernel
    from netuned.profiles.loader import Drop

NOTHING = "Nothing to do: every card with a profile is as the profile says.\n"
NOT_ALL = "Nothing would be changed, and not all is as the profiles say.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="FILE|NIC",
        nargs="*",
        help="plan without the daemon, as if this profile were dropped (- is standard input); "
        "or show this card alone. A FILE is there, has a slash, or ends with .yaml or .yml",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 if changes pend")
    parser.add_argument(
        "--as", dest="stdin", metavar="FILE", help="take standard input for this profile's file"
    )
    parser.add_argument(
        "--without",
        dest="gone",
        metavar="FILE",
        action="append",
        default=[],
        help="plan without the daemon, as if this profile's file were taken away",
    )
    add_snapshot(parser)
    add_profiles(parser)


@dataclass(frozen=True, slots=True)
class Matched:
    """What a plan is told of a card by: its profile, and the cards that it is tuned through."""

    profile: str
    through: tuple[str, ...] = ()
    altnames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A plan, and what is said beside it; names of cards are as over D-Bus.

    ``complete`` is false where a profile could not be read, ``useless`` says that the directories
    of profiles that were given are of no use. ``notes`` are sentences about files, ``absent`` one
    that the daemon does not run, whose plan it would be.
    """

    plan: Plan
    cards: Mapping[str, Matched]
    complete: bool = True
    notes: tuple[str, ...] = ()
    absent: str = ""
    useless: bool = False

    def own_names(self, names: Collection[str]) -> list[str]:
        """The cards that are meant, by a name of their own each. Raises: NetunedError."""
        known = {name: card.altnames for name, card in self.cards.items()}
        return [own_name(name, known) for name in names]

    def of(self, names: Collection[str]) -> Answer:
        """The part that is about these cards, and about what stands in the way of all."""
        shown = {*names, *(below for name in names for below in self.cards[name].through)}
        plan = Plan(
            tuple(change for change in self.plan.changes if change.ifname in shown),
            tuple(p for p in self.plan.problems if p.ifname in shown or not p.ifname),
            tuple(change for change in self.plan.withheld if change.ifname in shown),
            tuple(lack for lack in self.plan.unsupported if lack.ifname in shown),
        )
        return replace(self, plan=plan, cards={name: self.cards[name] for name in names})


def run(arguments: argparse.Namespace) -> int:
    files = [word for word in arguments.words if _is_file(word)]
    names = [card_name(word) for word in arguments.words if not _is_file(word)]
    if arguments.stdin and "-" not in files:
        raise NetunedError("--as says which file `-` stands for, and there is no `-`")
    if files or arguments.gone or arguments.snapshot is not None or arguments.profiles:
        known = arguments.stdin or "", arguments.gone
        answer = plan_offline(arguments.snapshot, arguments.profiles, files, *known)
    else:
        answer = _ask()
    if names:
        names = answer.own_names(names)
        answer = answer.of(names)
    plan = answer.plan
    # of another host's routes a snapshot tells nothing
    warnings = cutoff.warnings(plan.changes) if arguments.snapshot is None else []
    if arguments.json:
        notes = [*filter(None, [answer.absent]), *answer.notes]
        more = {"rows": rows_as_json(plan.changes), "notes": notes, "warnings": warnings}
        print_json({**as_json(plan), **more})
    else:
        screen = Screen.of_stdout()
        if answer.absent:
            print(screen.sentence(answer.absent))
        print(show(answer, names, screen), end="")
        for warning in warnings:
            print("\n" + screen.sentence(f"Warning: {warning}"), end="")
    if answer.useless:
        return 1
    if not arguments.exit_code:
        return 0
    if plan.problems or not answer.complete:
        return 1
    return answers.PENDING if plan.changes or plan.withheld or plan.unsupported else 0


def _is_file(word: str) -> bool:
    """Whether a word means a profile's file; else it is the name of a card, which has no slash."""
    return word == "-" or "/" in word or word.endswith((".yaml", ".yml")) or os.path.isfile(word)


def of_daemon(client: Client) -> Answer:
    """The daemon's own plan, with its cards and what they cannot have."""
    plan = client.plan()  # waits, at the start, for what status may not know before
    status = client.status()
    cards = {nic.name: Matched(nic.profile, nic.through, nic.altnames) for nic in status.nics}
    return Answer(replace(plan, unsupported=unsupported(status)), cards)


def _ask() -> Answer:
    """The daemon's own plan, with its cards and what they cannot have.

    Where the daemon does not run it is what it would do if it were started now.
    """

    def alone(absent: str) -> Answer:
        return replace(plan_offline(None, ()), absent=absent)

    return answers.ask(of_daemon, alone)


def unsupported(status: Status) -> tuple[Lack, ...]:
    """The settings that cards and the host cannot have, or not in full."""
    of = [("", status.manager.settings), *((nic.name, nic.settings) for nic in status.nics)]
    return tuple(
        Lack(ifname, setting.tunable, setting.reason)
        for ifname, settings in of
        for setting in settings
        if setting.state in (UNSUPPORTED, WAITING)
    )


def plan_offline(
    path: str | None,
    directories: Sequence[str],
    files: Sequence[str] = (),
    stdin: str = "",
    gone: Sequence[str] = (),
) -> Answer:
    """The plan for a snapshot, a described machine or (None) this host, as if files were dropped.

    ``stdin`` is the file that ``-`` stands for; those of ``gone`` are taken away. Mistakes in
    profiles go to standard error.
    Raises: NetunedError; also if the files have a mistake.
    """
    from netuned.snapshots import offline

    stdin = stdin or offline.STDIN
    found = offline.load_with(files, path, directories, stdin=stdin, gone=gone)
    return plan_drop(*found, directories)


def plan_drop(kernel: Kernel, drop: Drop, directories: Sequence[str]) -> Answer:
    """The plan for a host and what its profiles would be. Raises: as ``plan_offline``."""
    from netuned.planning.dropped import idle, nowhere
    from netuned.profiles.doubts import doubts
    from netuned.snapshots import offline

    profiles = drop.profiles
    errors = drop.refused or profiles.errors
    doubtful = () if drop.refused else (d for loaded in profiles.profiles for d in doubts(loaded))
    templates = offline.where_templates_are(errors, directories)
    for said in (*map(str, errors), *map(str, doubtful), *templates):
        print(escape(said), file=sys.stderr)
    if drop.refused:
        raise NetunedError(
            "nothing is planned, since netuned would not take what is given: mend it, and "
            "`netunedctl check FILE` says when it is right"
        )
    host, desired = offline.host_and_desired(kernel, profiles)
    plan = offline.plan(kernel, profiles, (host, desired))
    notes = [
        f"{file} is empty, and there is no profile in a file of that name to mask."
        for file in drop.void
    ]
    notes += idle(drop.dropped, profiles.profiles, host.nics, desired.profiles)
    given = bool(directories) and not drop.dropped
    if given and not (desired.profiles or profiles.errors):
        notes += nowhere(directories, profiles.profiles, host.nics)
    asked = any(loaded.profile.match for loaded in profiles.profiles) or not profiles.profiles
    cards = {}
    for ifindex, nic in host.nics.items():
        loaded, through = desired.profiles.get(ifindex), desired.through.get(ifindex)
        profile = through.profile if through else loaded.profile.name if loaded else ""
        below = (wire.text(host.nics[card].name) for card in (through.cards if through else ()))
        altnames = tuple(map(wire.text, nic.altnames))
        cards[wire.text(nic.name)] = Matched(profile, tuple(below), altnames)
    return Answer(
        told(plan),
        cards,
        not profiles.errors,
        tuple(map(wire.text, notes)),
        useless=given and bool(profiles.errors or (asked and not desired.profiles)),
    )


def told(plan: Plan) -> Plan:
    """With the names of cards as over D-Bus."""
    return Plan(
        _told(plan.changes),
        tuple(Problem(wire.text(p.ifname), wire.text(p.message)) for p in plan.problems),
        _told(plan.withheld),
        tuple(Lack(*map(wire.text, lack)) for lack in plan.unsupported),
    )


def _told(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(replace(change, ifname=wire.text(change.ifname)) for change in changes)


def show(answer: Answer, names: Sequence[str], screen: Screen) -> str:
    """The plan as people read it, of all cards or of those that were named."""
    plan = answer.plan
    parts = []
    if plan.changes:
        parts.append(show_changes(plan.changes, screen))
        if cards := dict.fromkeys(c.ifname for c in plan.changes if c.disruptive):
            parts.append(
                screen.sentence(f"Disruptive changes drop the link of {', '.join(cards)}.")
            )
    if plan.withheld:
        parts.append(show_withheld(plan.withheld, screen))
    if plan.problems:
        parts.append(show_problems(plan.problems, screen))
    if answer.notes:
        parts.append("".join(map(screen.sentence, answer.notes)))
    if plan.unsupported:
        parts.append(show_unsupported(plan.unsupported, screen))
    if (plan.withheld or plan.unsupported) and not plan.changes:
        parts.insert(0, NOT_ALL)
    elif not (plan.changes or plan.problems) and answer.complete:
        if names:
            parts.insert(0, "".join(screen.sentence(nothing_of(n, answer)) for n in names))
        elif not answer.notes:
            return NOTHING
    return "\n".join(parts)


def nothing_of(name: str, answer: Answer) -> str:
    """That a plan of one card is empty."""
    card = answer.cards[name]
    if not card.profile:
        return f"Nothing to do: {name} has no profile, and there is nothing to put back."
    return f"Nothing to do: {name} is as its profile {card.profile} says."


def show_changes(changes: Iterable[Change], screen: Screen) -> str:
    """Changes as a table in the order they are made, queues with the same one in one row."""
    header = ("CARD", "SETTING", "FROM", "TO", "DISRUPTIVE", "WHY")
    rows = (
        (
            (
                change.ifname or "host",
                setting,
                describe(change.before),
                describe(change.after),
                "yes" if change.disruptive else "no",
            ),
            change.why,
        )
        for setting, change in grouped(changes)
    )
    return screen.table_with_reasons(header, rows)


def show_withheld(changes: Iterable[Change], screen: Screen) -> str:
    """What the policy forbids, as a table."""
    return "Withheld by policy.disruptive: deny\n" + show_changes(changes, screen)


def show_unsupported(lacks: Iterable[Lack], screen: Screen) -> str:
    """What no write would bring about, a sentence for each reason."""
    cards: dict[tuple[str, str], list[str]] = {}
    for lack in lacks:
        cards.setdefault((lack.tunable, lack.why), []).append(lack.ifname or "host")
    return "Cannot be had\n" + "".join(
        screen.sentence(f"{', '.join(names)} {tunable}: {why}")
        for (tunable, why), names in cards.items()
    )


def grouped(changes: Iterable[Change]) -> Iterator[tuple[str, Change]]:
    """The rows of a plan: a setting, ``rps rx 0-7``, and what is to become of it."""
    return ((f"{change.tunable} {change.key}".rstrip(), change) for change in merged(changes))


def show_problems(problems: Iterable[Problem], screen: Screen) -> str:
    """What stands in the way, a paragraph each."""
    return "".join(screen.sentence(f"{item.ifname or 'host'}: {item.message}") for item in problems)


def as_json(plan: Plan) -> dict[str, object]:
    """The documented form."""
    return {
        "changes": [change_as_json(change) for change in plan.changes],
        "withheld": withheld_as_json(plan),
        "problems": [{"ifname": p.ifname, "message": p.message} for p in plan.problems],
        "unsupported": unsupported_as_json(plan),
    }


def rows_as_json(changes: Iterable[Change]) -> list[dict[str, object]]:
    """The changes as people are shown them: queues with the same one in one row."""
    return [
        {
            "ifname": change.ifname,
            "setting": setting,
            "before": describe(change.before),
            "after": describe(change.after),
            "disruptive": change.disruptive,
        }
        for setting, change in grouped(changes)
    ]


def withheld_as_json(plan: Plan) -> list[dict[str, object]]:
    """What the policy forbids, and why."""
    return [{**change_as_json(c), "why_withheld": WHY_WITHHELD} for c in plan.withheld]


def unsupported_as_json(plan: Plan) -> list[dict[str, object]]:
    """What no write would bring about, and why."""
    return [lack._asdict() for lack in plan.unsupported]


def change_as_json(change: Change) -> dict[str, object]:
    """One change of the documented form: its values as text, and for programs."""
    return {
        "ifname": change.ifname,
        "tunable": change.tunable,
        "key": change.key,
        "before": describe(change.before) or None,
        "after": describe(change.after),
        "before_value": typed(change.before),
        "after_value": typed(change.after),
        "why": change.why,
        "disruptive": change.disruptive,
    }
