"""Puts everything back that netuned changed on this host, once and without the loop.

For a netuned that goes: no daemon may run meanwhile, for it would bring its profiles into force.
Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from netuned import statefile
from netuned.errors import StateFileError
from netuned.hardware.host import read_host
from netuned.hardware.nic import HOST
from netuned.hardware.topology import read_topology
from netuned.kernel import Kernel
from netuned.kernel.irqbalance import Irqbalance
from netuned.plan import Change, Problem
from netuned.planning.asked import may_apply
from netuned.planning.matching import match_cards
from netuned.profiles.loader import load
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.putback import restore
from netuned.reconcile.trialfile import NAME as TRIALS
from netuned.reconcile.trialfile import TrialFile
from netuned.records import dataclass
from netuned.tunables import tunables_of
from netuned.tunables.base import NOT_ASKED


@dataclass(frozen=True, slots=True)
class Retreat:
    """What was put back, and what could not be; a problem of the host has an empty ``ifname``.

    ``away`` is how many cards are on record that are not in this network namespace. They may have
    ended, or may come back with what netuned set.
    """

    made: tuple[Change, ...]
    problems: tuple[Problem, ...]
    away: int


def retreat(
    profile_directories: Sequence[str], state_directory: Path, runtime_directory: Path
) -> Retreat:
    """Put back what was there before netuned, of all cards and the host, as far as it goes.

    What is back needs no record any more, and no setting that cannot be put back keeps another
    from it. What drops the link stays where the card's profile denies that, and where a profile
    that cannot be read may be the card's. What waited to be confirmed is not, from then on.

    Raises: KernelError if the host cannot be read, StateFileError if the record cannot be, or a
    daemon runs.
    """
    with statefile.held(state_directory, alone=True):
        return _retreat(profile_directories, state_directory, runtime_directory)


def _retreat(
    profile_directories: Sequence[str], state_directory: Path, runtime_directory: Path
) -> Retreat:
    kernel = Kernel()
    kernel.irqbalance = Irqbalance(runtime_directory)
    boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id", "")
    baseline = Baseline(state_directory / "baseline.json", boot_id)
    baseline.load()
    topology = read_topology(kernel.files)
    loaded = load(profile_directories, possible=topology.possible)
    host = read_host(
        kernel,
        topology,
        is_asked=lambda nic: may_apply(loaded.profiles, nic) or bool(baseline.of(nic)),
    )
    profiles = match_cards(loaded.profiles, host.nics).profiles
    here = (*host.nics.values(), HOST)
    made: list[Change] = []
    problems = [Problem("", baseline.lost)] if baseline.lost else []
    for nic in here:
        if not baseline.of(nic):
            continue
        own = profiles.get(nic.ifindex)
        denies = own.profile.policy.disruptive == "deny" if own else bool(loaded.errors)
        tunables = tunables_of(nic)
        with closing(Card(kernel, nic, tuple(tunables.values()))) as card:
            done = restore(card, baseline, frozenset(tunables), denies=denies)
            unread = card.unsupported.keys() & baseline.of(nic).keys()
            why = [f"{nic.label} {name}: {card.unsupported[name]}" for name in sorted(unread)]
        made += (replace(change, why=NOT_ASKED) for change in done.made)
        named = (problem.removeprefix(f"{nic.label} ") for problem in (*done.problems, *why))
        problems += (Problem(nic.name, problem) for problem in named)
    try:
        _end_trials(TrialFile(state_directory / TRIALS, boot_id))
    except StateFileError as error:
        problems.append(Problem("", str(error)))
    return Retreat(tuple(made), tuple(problems), baseline.away(here))


def _end_trials(file: TrialFile) -> None:
    """A later daemon would roll back what is back already. Raises: StateFileError."""
    file.load()
    for trial in tuple(file.trials.values()):
        file.end(trial.id, tuple(trial.cards), confirmed=False)
