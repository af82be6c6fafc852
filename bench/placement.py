"""How good: netuned's placement against what others compute, measured by the objective's terms."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machines import LARGE, MACHINES, large
from bench.rivals import RIVALS, Rival
from bench.table import Row
from netuned.errors import UnsupportedError
from netuned.hardware.host import read_host
from netuned.hardware.topology import Topology
from netuned.placement.objective import Card, Layout, Places, Score, score
from netuned.placement.place import Request, place
from netuned.planning.planner import plan_host
from netuned.profiles.loader import LoadedProfile, load
from netuned.snapshots.described import machine

PROFILE = """\
match: [{driver: "*"}]
irq: {spread: one-per-queue}
"""
TERMS = [term for term in Score._fields if term != "moved"]
"""Nothing was anywhere before."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A layout of all cards of a machine: queues on the busiest core and thread, and the terms."""

    core: int
    thread: int
    score: Score


@dataclass(frozen=True, slots=True)
class Pair:
    """A rival on a machine; ``why`` not empty: it gives no layout.

    ``ours_there`` is what netuned makes of the CPUs that the rival takes, ``theirs_there`` what the
    rival does, as if those were the ones that the profile permits.
    """

    machine: str
    rival: str
    ours: Judged
    theirs: Judged | None = None
    ours_there: Judged | None = None
    theirs_there: Judged | None = None
    why: str = ""

    def lost(self) -> str:
        """The first term in which the rival is worse; empty where it is in none."""
        return next(iter(self._worse(self.theirs, self.ours)), "")

    def given_up(self) -> list[str]:
        """The terms in which netuned is worse."""
        return self._worse(self.ours, self.theirs)

    @staticmethod
    def _worse(one: Judged | None, other: Judged | None) -> list[str]:
        if one is None or other is None:
            return []
        return [term for term in TERMS if getattr(one.score, term) > getattr(other.score, term)]


def compare(names: Sequence[str] = (*MACHINES, LARGE)) -> list[Pair]:
    """Every rival on every machine."""
    with tempfile.TemporaryDirectory() as directory:
        profiles = load_profile(Path(directory), PROFILE)
    return [
        pair
        for name in names
        for pair in _on_machine(name, large() if name == LARGE else MACHINES[name], profiles)
    ]


def measure() -> list[Row]:
    """Print every machine's table and return the claim's rows."""
    pairs = compare()
    print(shown(pairs), "\n")
    return rows(pairs)


def load_profile(directory: Path, text: str) -> tuple[LoadedProfile, ...]:
    """The profile, as the daemon would load it."""
    (directory / "bench.yaml").write_text(text)
    loaded = load([str(directory)], owner=directory.stat().st_uid)
    assert not loaded.errors, loaded.errors
    return loaded.profiles


def _on_machine(name: str, text: str, profiles: Sequence[LoadedProfile]) -> Iterator[Pair]:
    host = read_host(machine(text))
    topology, places = host.topology, Places(host.topology)
    desired = plan_host(profiles, host)
    requests = list(desired.requests.values())
    assert not desired.problems, desired.problems
    ours = _judge(topology, places, requests, _placed(topology, requests))
    for rival in RIVALS:
        try:
            yield Pair(name, rival.name, ours, *_against(rival, topology, places, requests))
        except UnsupportedError as error:
            yield Pair(name, rival.name, ours, why=error.why)


def _against(
    rival: Rival, topology: Topology, places: Places, requests: Sequence[Request]
) -> tuple[Judged, Judged, Judged]:
    """The rival's layout as the profile sees it; ours and the rival's among the rival's CPUs."""
    scoped = rival.scope(topology, requests)
    theirs = rival.layouts(topology, scoped)
    return (
        _judge(topology, places, requests, theirs),
        _judge(topology, places, scoped, _placed(topology, scoped)),
        _judge(topology, places, scoped, theirs),
    )


def _placed(topology: Topology, requests: Sequence[Request]) -> list[Layout]:
    layouts = place(topology, requests).layouts
    return [layouts[request.ifindex] for request in requests]


def _judge(
    topology: Topology, places: Places, requests: Sequence[Request], layouts: Sequence[Layout]
) -> Judged:
    cards = [
        Card(request.pool, topology.nearest(request.pool, request.node), request.group)
        for request in requests
    ]
    threads = Counter(cpus.first for layout in layouts for cpus in layout)
    cores: Counter[int] = Counter()
    for cpu, queues in threads.items():
        cores[places.core[cpu]] += queues
    judged = score(places, list(zip(cards, layouts, strict=True)))
    return Judged(max(cores.values()), max(threads.values()), judged)


def rows(pairs: Sequence[Pair]) -> list[Row]:
    """The claim, counted over the pairs in which the rival gives a layout."""
    laid_out = [pair for pair in pairs if pair.theirs]
    behind = sum(_is_behind(pair.ours, pair.theirs) for pair in laid_out)
    there = sum(_is_behind(pair.ours_there, pair.theirs_there) for pair in laid_out)
    ahead = sum(bool(pair.lost()) for pair in laid_out)
    unequal = sum(bool(pair.given_up()) for pair in laid_out)
    of = f"{len({pair.machine for pair in pairs})} machines × {len(RIVALS)} rivals"
    return [
        Row("placements by others", len(laid_out), "", against=f"{of}, where they give one"),
        Row("  netuned is worse", behind, "", 0, "the objective's terms, in their order"),
        Row("  netuned is worse among the rival's CPUs", there, "", 0, "its own choice of CPUs"),
        Row("  netuned is better", ahead, "", None, "at the first term that differs"),
        Row("  netuned is equal", len(laid_out) - ahead, "", None, "in every term"),
        Row(
            "  netuned is worse in some later term",
            unequal,
            "",
            None,
            "given up for an earlier one, listed",
        ),
    ]


def _is_behind(ours: Judged | None, theirs: Judged | None) -> bool:
    return ours is not None and theirs is not None and ours.score > theirs.score


def shown(pairs: Sequence[Pair]) -> str:
    """A table for each machine, what netuned gave up, and a table of them all."""
    by_machine: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_machine.setdefault(pair.machine, []).append(pair)
    tables = [_table(name, own) for name, own in by_machine.items()]
    return "\n\n".join([*tables, given_up(pairs), f"First term lost:\n\n{summary(pairs)}"])


def _table(name: str, pairs: Sequence[Pair]) -> str:
    lines = [
        f"{name}:",
        "",
        f"| layout | busiest core | thread | {' | '.join(TERMS)} | first lost |",
        f"|---|{'---:|' * (len(TERMS) + 2)}---|",
        _line("netuned", pairs[0].ours, ""),
    ]
    for pair in pairs:
        if pair.theirs:
            lines.append(_line(pair.rival, pair.theirs, pair.lost()))
        else:
            lines.append(f"| {pair.rival} |{' |' * (len(TERMS) + 2)} none: {pair.why} |")
    return "\n".join(lines)


def _line(name: str, judged: Judged, lost: str) -> str:
    terms = " | ".join(str(getattr(judged.score, term)) for term in TERMS)
    return f"| {name} | {judged.core} | {judged.thread} | {terms} | {lost} |"


def given_up(pairs: Sequence[Pair]) -> str:
    """Where a rival is better in some term, and the earlier one that netuned gave it up for."""
    lines = ["Given up for an earlier term:", ""]
    groups: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        if terms := pair.given_up():
            groups.setdefault((pair.rival, ", ".join(terms), pair.lost()), []).append(pair.machine)
    for (rival, given, lost), machines in groups.items():
        lines.append(f"- {rival}: {given} for {lost or 'nothing'} ({'; '.join(machines)})")
    return "\n".join(lines)


def summary(pairs: Sequence[Pair]) -> str:
    """Machines by rivals: the first term that the rival loses."""
    found: Mapping[tuple[str, str], Pair] = {(pair.machine, pair.rival): pair for pair in pairs}
    names = [rival.name for rival in RIVALS]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for name in dict.fromkeys(pair.machine for pair in pairs):
        own = [found[name, rival] for rival in names]
        cells = [(pair.lost() or "equal") if pair.theirs else "none" for pair in own]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
