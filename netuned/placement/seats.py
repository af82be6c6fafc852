"""Where queues sat before: what lets a new layout move only what must move.

A queue's home is the CPU it got first. While CPUs are offline, or a profile or the kernel excludes
its home, it may sit somewhere else; it goes home when they return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cache
from itertools import chain, repeat
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.placement.objective import Layout
from netuned.records import dataclass

Place = tuple[str, str]
"""A card: its device's path (empty for a virtual one) and its name."""


class Seat(NamedTuple):
    """One queue's CPUs, -1 for none: ``home``, and where it sits ``now``."""

    home: int
    now: int


NO_SEAT = Seat(-1, -1)


@dataclass(frozen=True, slots=True)
class Seats:
    """Each card's seats by queue; cards that are away keep theirs.

    ``online`` were online when homes were last chosen.
    """

    cards: Mapping[Place, tuple[Seat, ...]] = field(default_factory=dict)
    online: CpuSet = field(default_factory=CpuSet)

    def wishes(self, place: Place, pool: CpuSet) -> dict[int, int]:
        """The CPU each of a card's queues wants to keep, of those that may serve it."""
        wanted = {}
        for queue, seat in enumerate(self.cards.get(place, ())):
            for cpu in seat:
                if cpu >= 0 and cpu in pool:
                    wanted[queue] = cpu
                    break
        return wanted

    def settle(self, online: CpuSet, laid_out: Mapping[Place, tuple[CpuSet, Layout]]) -> Seats:
        """The seats once cards (place -> the CPUs that may serve it, its layout) sit as laid out.

        A queue whose home could serve it and that was put elsewhere has a new home, unless that is
        only while CPUs are offline. One that may run on several CPUs has no seat to lose. Virtual
        cards that are gone are forgotten, for their names need not come again.
        """
        whole = not self.online - online
        cards = {at: rows for at, rows in self.cards.items() if at[0] or at in laid_out}
        for place, (pool, layout) in laid_out.items():
            before = self.cards.get(place, ())
            rows = []
            for cpus, seat in zip(layout, chain(before, repeat(NO_SEAT)), strict=False):
                now = cpus.only
                if now >= 0:
                    stays = seat.home >= 0 and not (whole and seat.home in pool)
                    seat = Seat(seat.home, now) if stays else _at_home(now)
                rows.append(seat)
            cards[place] = (*rows, *before[len(rows) :])
        return Seats(cards, online if whole else self.online)


@cache
def _at_home(cpu: int) -> Seat:
    return Seat(cpu, cpu)


NOBODY = Seats()
