"""Pure: what the objective says of a queue on another CPU, all else as it is.

The difference in :func:`netuned.placement.objective.score` is computed from what the queue leaves
and what it comes to, so that all CPUs of a large machine can be asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.placement.objective import BOOT_CORE, Card, Layout, Places, Score


class Seated(NamedTuple):
    """One card of a placement."""

    name: str
    card: Card
    layout: Layout


class Elsewhere:
    """A placement, by ifindex, of all cards that the objective looks at together."""

    def __init__(self, places: Places, seated: Mapping[int, Seated]) -> None:
        self.places = places
        self.seated = seated
        self.at: dict[int, list[tuple[str, int]]] = {}
        """CPU -> the queues, (card, queue), that it alone serves."""
        self._kept: Counter[int] = Counter()
        self._bonds: dict[str, list[int]] = {}
        for ifindex, (name, card, layout) in seated.items():
            if card.group:
                self._bonds.setdefault(card.group, []).append(ifindex)
            for queue, cpus in enumerate(layout):
                if len(cpus) == 1:
                    self.at.setdefault(cpus.first, []).append((name, queue))
                    self._kept[places.core[cpus.first]] += queue in card.kept
        self.loads = tuple(Counter[int]() for _ in places.levels)
        """Queues of each CPU, core, L3 domain and node, by its lowest CPU."""
        for cpu, queues in self.at.items():
            for level, load in zip(places.levels, self.loads, strict=True):
                load[level[cpu]] += len(queues)
        self._covered = {ifindex: self._cover(one.layout) for ifindex, one in seated.items()}

    def _cover(self, layout: Layout) -> tuple[Counter[int], ...]:
        """How many of a card's queues each CPU, core, domain and node serves."""
        levels = self.places.levels
        return tuple(Counter(level[cpu] for cpus in layout for cpu in cpus) for level in levels)

    def change(self, ifindex: int, queue: int, cpu: int) -> Score:
        """How the score changes if a queue that one CPU serves moves to an online CPU."""
        _, card, layout = self.seated[ifindex]
        here = layout[queue].first
        home = card.homes[queue] if queue < len(card.homes) else -1
        cores, threads, domains = (self._squares(level, here, cpu) for level in (1, 0, 2))
        return Score(
            excluded=(cpu not in card.pool) - (here not in card.pool),
            remote=(cpu not in card.near) - (here not in card.near),
            disturbed=self._disturbed(queue in card.kept, here, cpu),
            cores=cores,
            threads=threads,
            domains=domains,
            unaligned=self._unaligned(ifindex, queue, cpu),
            transmit=self._transmit(ifindex, here, cpu),
            moved=(0 <= home != cpu) - (0 <= home != here),
            boot=(self.places.core[cpu] == BOOT_CORE) - (self.places.core[here] == BOOT_CORE),
        )

    def _squares(self, level: int, here: int, there: int) -> int:
        of, load = self.places.levels[level], self.loads[level]
        if of[here] == of[there]:
            return 0
        return 2 * (load[of[there]] - load[of[here]] + 1)

    def _disturbed(self, kept: bool, here: int, there: int) -> int:
        core, load = self.places.core, self.loads[1]
        old, new = core[here], core[there]
        if old == new:
            return 0

        def disturbed(at: int, change: int) -> int:
            has_kept = self._kept[at] + change * kept > 0
            return has_kept * (load[at] + change - 1)

        return disturbed(old, -1) + disturbed(new, 1) - disturbed(old, 0) - disturbed(new, 0)

    def partners(self, ifindex: int, queue: int) -> dict[str, CpuSet]:
        """Where the same queue of the bond's other cards is, by their names."""
        group = self.seated[ifindex].card.group
        others = (self.seated[other] for other in self._bonds.get(group, ()) if other != ifindex)
        return {one.name: one.layout[queue] for one in others if queue < len(one.layout)}

    def _unaligned(self, ifindex: int, queue: int, cpu: int) -> int:
        if not self.seated[ifindex].card.group:
            return 0
        others = self.partners(ifindex, queue).values()
        here = self.seated[ifindex].layout[queue]
        return len({*others, CpuSet(1 << cpu)}) - len({*others, here})

    def _transmit(self, ifindex: int, here: int, there: int) -> int:
        farther = 0
        covered = self._covered[ifindex]
        for level, sizes, count in zip(self.places.levels, self.places.size, covered, strict=True):
            old, new = level[here], level[there]
            if old != new:
                farther += sizes[old] * (count[old] == 1) - sizes[new] * (count[new] == 0)
        return farther
