"""A profile that says what a card is now, so that a plan of it has nothing to do.

Each tunable offers words for what was found, the plainest first; the planner tells which of them
come to the same. So what is captured is never more than what a profile can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from netuned.errors import UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import HOST, Nic
from netuned.kernel import Kernel
from netuned.placement.seats import Seats
from netuned.planning import cpuwords
from netuned.planning.planner import plan_host
from netuned.profiles.loader import load
from netuned.profiles.match import PHYSICAL
from netuned.profiles.yamlwriting import dump
from netuned.reconcile import report
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.snapshots import offline
from netuned.tunables import TUNABLES
from netuned.tunables.base import Seen, Tunable, Words

FILE = "captured.yaml"
PATTERN = frozenset("*?[]!")
"""What makes a name a pattern."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A profile's keys and values, and of what is not in it, why: tunable -> one sentence."""

    profile: Mapping[str, Words]
    left: Mapping[str, str]

    def text(self) -> str:
        """As YAML."""
        return dump(self.profile)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What each attempt is planned on."""

    kernel: Kernel
    host: Host
    nic: Nic
    seats: Seats
    baseline: Baseline


def capture(kernel: Kernel, host: Host, nic: Nic, *, whole: bool = False) -> Captured:
    """What a card is set to. With ``whole`` also what is as the kernel has it by default.

    So is always, of what netuned set before, what would else be put back. Raises: KernelError.
    """
    baseline, _ = offline.read_baseline(kernel)
    ground = _Ground(kernel, host, nic, offline.read_seats(kernel), baseline)
    profile: dict[str, Words] = {"match": [selecting(nic)]}
    left: dict[str, str] = {}
    for tunable in TUNABLES:
        owed = _against(ground, profile, tunable)  # what would be put back if nobody named it
        try:
            seen = _seen(ground, tunable, whole=whole or bool(owed))
        except UnsupportedError:  # the card has none
            continue
        why = next(iter(owed.values()), "")
        for words in tunable.captured(seen):
            chosen, why = _fitting(ground, profile, tunable, words)
            if chosen is not None:
                profile[tunable.name] = chosen
                break
        if why:
            left[tunable.name] = why
    return Captured(profile, left)


def selecting(nic: Nic) -> dict[str, str]:
    """What selects this card alone: its name, if that is no pattern, else its MAC address."""
    own = {"mac": nic.mac} if PATTERN & set(nic.name) else {"name": nic.name}
    return own if nic.kind == PHYSICAL else {"kind": nic.kind, **own}


def _seen(ground: _Ground, tunable: Tunable, *, whole: bool) -> Seen:
    """Raises: UnsupportedError, KernelError."""
    nic, topology = ground.nic, ground.host.topology
    card = Card(ground.kernel, nic, (tunable,))
    try:
        view = card.view()
        return Seen(
            nic,
            tunable.read(view),
            tunable.limits(view),
            len(topology.online),
            ground.host.default_affinity & topology.online or topology.online,
            partial(cpuwords.exactly, topology, nic),
            partial(cpuwords.around, topology, nic),
            whole,
        )
    finally:
        card.close()


def _fitting(
    ground: _Ground, profile: Mapping[str, Words], tunable: Tunable, words: Words
) -> tuple[Words | None, str]:
    """The words, or of several keys those that hold; None and why where none does."""
    against = _against(ground, {**profile, tunable.name: words}, tunable)
    if against and tunable.by_key and isinstance(words, dict) and against.keys() < words.keys():
        words = {key: said for key, said in words.items() if key not in against}
        against = _against(ground, {**profile, tunable.name: words}, tunable)
    return (None, next(iter(against.values()))) if against else (words, "")


def _against(ground: _Ground, profile: Mapping[str, Words], tunable: Tunable) -> Mapping[str, str]:
    """What a profile would change of a tunable, or cannot have: key -> one sentence."""
    dropped = {FILE: dump(profile).encode()}
    loaded = load((), possible=ground.host.topology.possible, dropped=dropped)
    if loaded.errors:
        return {"": loaded.errors[0].problem}
    desired = plan_host(loaded.profiles, ground.host, ground.seats)
    if problems := [p.message for p in desired.problems if p.ifname in ("", ground.nic.name)]:
        return {"": problems[0]}
    found: dict[str, str] = {}
    known = (ground.host, desired)
    for look in offline.looks(ground.kernel, loaded, known, ground.baseline):
        if look.card.nic is HOST or look.card.nic.ifindex != ground.nic.ifindex:
            continue
        if why := report.lacking(look.card).get(tunable.name):
            found[""] = why
        found |= {
            change.key: str(change)
            for change in (*look.changes, *look.withheld)
            if change.tunable == tunable.name
        }
    return found
