"""What a change of profiles would do to the host of a snapshot."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.fleet.files import HostFile
from netuned.fleet.groups import Group, Seen, Unread, digest
from netuned.hardware.topology import read_possible
from netuned.kernel import Kernel
from netuned.plan import MOST, Change, Plan, Problem, merged, merged_keys
from netuned.profiles.loader import ProfileSet
from netuned.profiles.searchpath import Recorded
from netuned.records import dataclass
from netuned.snapshots import offline
from netuned.snapshots.offline import Look
from netuned.values import Told, describe

OWN = "own"
"""In place of a directory: the profiles that the snapshot has."""

KINDS = ("disruptive", "problems", "cannot be had", "changes", "nothing to do", "no profile")
"""How hosts fare, the worst first."""

AS_FOUND = "these profiles leave it as it was found, those compared with do not"


@dataclass(frozen=True, slots=True)
class Question:
    """With which profiles hosts are planned, and with which others that is compared, if any.

    Directories, or none for the snapshot's own.
    """

    profiles: tuple[str, ...] = ()
    against: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A host's plan, in which queues that change alike are one; ``matched``: it has a profile."""

    plan: Plan
    matched: bool

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        plan = self.plan
        holds = (
            any(change.disruptive for change in plan.changes),
            plan.problems,
            plan.withheld or plan.unsupported,
            plan.changes,
            self.matched,
            True,
        )
        return next(kind for kind, one in zip(KINDS, holds, strict=True) if one)


def plan_host(question: Question, file: HostFile) -> Seen[Planned] | Unread:
    """Plan the host of one snapshot, or described machine."""
    try:
        kernel, recorded = offline.find_host(file.path)
        plan, looks, matched = _plan(kernel, recorded, question.profiles)
        if question.against is None:
            group = _towards(plan, looks)
        else:
            before, _, _ = _plan(kernel, recorded, question.against)
            plan = compared(before, plan, _denied(looks))
            group = plan
    except NetunedError as error:
        return Unread(file.path, error.whole())
    short = replace(
        plan, changes=tuple(merged(plan.changes)), withheld=tuple(merged(plan.withheld))
    )
    planned = Planned(short, matched)
    rank = KINDS.index(planned.kind)
    return Seen(file.host, rank, digest((rank, group)), digest(plan), planned)


def _plan(
    kernel: Kernel, recorded: Recorded | None, directories: Sequence[str]
) -> tuple[Plan, tuple[Look, ...], bool]:
    """The plan with these profiles, how cards were found, and whether one of them has a profile."""
    possible = read_possible(kernel.files)
    if directories or recorded is None:
        profiles = _profiles(possible, tuple(directories))
    else:
        profiles = offline.load_found(possible, recorded)
    host, desired = offline.host_and_desired(kernel, profiles)
    plan, looks = offline.plan_and_looks(kernel, profiles, (host, desired))
    mistakes = (Problem("", message) for message in profiles.messages)
    return replace(plan, problems=(*mistakes, *plan.problems)), looks, bool(desired.profiles)


@functools.lru_cache(maxsize=16)
def _profiles(possible: CpuSet, directories: tuple[str, ...]) -> ProfileSet:
    """Read once for all hosts with as many CPUs."""
    return offline.load_found(possible, None, directories)


def _towards(plan: Plan, looks: Iterable[Look]) -> object:
    """What a plan is about, wherever it starts: all that is wanted of what would be changed.

    Interrupts that irqbalance has spread are on other CPUs of each host, some where they are to be.
    """
    changed: dict[tuple[str, str], bool] = {}
    for change in (*plan.changes, *plan.withheld):
        at = change.ifname, change.tunable
        changed[at] = changed.get(at, False) or change.disruptive
    states = {
        (look.card.nic.name, tunable): state
        for look in looks
        for tunable, state in look.card.wanted.items()
    }
    wanted = (
        (at, disruptive, sorted((k, describe(v)) for k, v in states.get(at, {}).items()))
        for at, disruptive in changed.items()
    )
    return [*wanted], plan.problems, plan.unsupported


def _denied(looks: Iterable[Look]) -> Mapping[str, Collection[str]]:
    """Cards whose link no profile may drop -> the tunables that are wanted of each."""
    return {look.card.nic.name: look.card.wanted.keys() for look in looks if look.card.denies}


def compared(before: Plan, after: Plan, denied: Mapping[str, Collection[str]]) -> Plan:
    """What one plan would have otherwise than another, as changes from the one to the other.

    ``denied`` are the cards whose link the second may not drop, with the tunables that it asks for.
    What stands in the way is what does so of the second alone.
    """
    changes: list[Change] = []
    withheld = [*_withheld(before, after.withheld)]
    for change in _between(before.changes, after.changes, {_at(c) for c in after.withheld}):
        if not (change.disruptive and change.ifname in denied):
            changes.append(change)
        elif change.tunable in denied[change.ifname]:
            withheld.append(change)
    return Plan(
        tuple(changes),
        tuple(problem for problem in after.problems if problem not in before.problems),
        tuple(withheld),
        tuple(lack for lack in after.unsupported if lack not in before.unsupported),
    )


def _at(change: Change) -> tuple[str, str, str]:
    return change.ifname, change.tunable, change.key


def _withheld(before: Plan, after: Iterable[Change]) -> Iterator[Change]:
    """What is withheld is left as the profiles before have it."""
    were = {_at(c): c.after for c in before.changes}
    for change in after:
        was = were.get(_at(change), change.before)
        if was != change.after and change not in before.withheld:
            yield replace(change, before=was)


def _between(
    before: Iterable[Change], after: Iterable[Change], withheld: Collection[tuple[str, str, str]]
) -> Iterator[Change]:
    """A setting that is in no plan is left as it was found."""
    were = {_at(c): c for c in before}
    for change in after:
        was = were.pop(_at(change), None)
        if was is None:
            yield change
        elif was.after != change.after:
            yield replace(change, before=was.after)
    for at, was in were.items():
        # none before: it is of a queue that there will not be
        if was.before is not None and at not in withheld:
            yield replace(was, before=was.after, after=was.before, why=AS_FOUND)


def in_short(changes: Iterable[Change]) -> Iterator[Change]:
    """Of a tunable of a card that is set in more than ``MOST`` ways only where it is."""
    for (ifname, tunable), run in groupby(changes, key=lambda c: (c.ifname, c.tunable)):
        of_one = tuple(run)
        if len(of_one) <= MOST:
            yield from of_one
            continue
        keys = ", ".join(merged_keys(change.key for change in of_one))
        # told, as over D-Bus: no value of a setting
        before: Any = Told("each its own")
        after: Any = Told(f"{len(of_one)} values")
        why = "; ".join(dict.fromkeys(change.why for change in of_one))
        disruptive = any(change.disruptive for change in of_one)
        yield Change(ifname, tunable, keys, before, after, why, disruptive)


def others(group: Group[Planned]) -> str:
    """What holds of a group that is shown with its first host's plan, in a sentence."""
    return (
        f"So it is of {group.example.host}. The others come to the same from elsewhere: of them "
        "other queues may be as wanted already."
    )
