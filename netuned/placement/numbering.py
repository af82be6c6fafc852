"""Pure: which queue of a card gets which of the CPUs chosen for it.

Cards of a bond are numbered together, once the CPUs of all are known: a number that several of them
have gets a CPU that several of them have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Member(NamedTuple):
    """A card: its ``open`` queues, ascending, and ``slots``, a CPU for each of them.

    ``wishes`` is where queues would like to be, ``settled`` those that have a CPU for good.
    """

    open: Sequence[int]
    slots: Sequence[int]
    wishes: Mapping[int, int]
    settled: Mapping[int, int]


def number(bond: Sequence[Member]) -> list[dict[int, int]]:
    """The CPU of each open queue, card by card.

    First the queues that can be on one CPU in all cards and stay there, then those that some cards
    have to move for it, then those of which ever fewer cards agree; what is left stays if it can.
    """
    if len(bond) == 1 and not bond[0].wishes:
        return [dict(zip(bond[0].open, bond[0].slots, strict=True))]
    left = [Counter(member.slots) for member in bond]
    numbered: list[dict[int, int]] = [{} for _ in bond]
    if len(bond) > 1:
        _agree(bond, left, numbered)
    for member, cpus, found in zip(bond, left, numbered, strict=True):
        for queue in member.open:
            cpu = member.wishes.get(queue, -1)
            if queue not in found and cpus[cpu] > 0:
                cpus[cpu] -= 1
                found[queue] = cpu
        turns = iter(member.slots)
        for queue in member.open:
            while queue not in found:
                if cpus[cpu := next(turns)] > 0:
                    cpus[cpu] -= 1
                    found[queue] = cpu
    return numbered


def _agree(
    bond: Sequence[Member], left: Sequence[Counter[int]], numbered: Sequence[dict[int, int]]
) -> None:
    """Number the queues that several cards can have on one CPU."""
    having: dict[int, list[int]] = {}
    for at, member in enumerate(bond):
        for queue in (*member.settled, *member.open):
            having.setdefault(queue, []).append(at)
    shared = sorted(queue for queue, cards in having.items() if len(cards) > 1)

    def able(queue: int, cpu: int) -> list[int]:
        """The cards that have the queue there, or could."""
        return [
            at
            for at in having[queue]
            if (bond[at].settled[queue] == cpu if queue in bond[at].settled else left[at][cpu] > 0)
        ]

    def take(queue: int, cpu: int) -> None:
        shared.remove(queue)
        for at in able(queue, cpu):
            if queue not in bond[at].settled:
                left[at][cpu] -= 1
                numbered[at][queue] = cpu

    def homes(queue: int) -> list[int]:
        return [bond[at].settled.get(queue, bond[at].wishes.get(queue, -1)) for at in having[queue]]

    for all_stay in (True, False):
        for queue in tuple(shared):
            wished = dict.fromkeys(homes(queue))
            if len(wished) == 1 or not all_stay:
                for cpu in wished:
                    if len(able(queue, cpu)) == len(having[queue]):
                        take(queue, cpu)
                        break
    having_left = Counter(cpu for cpus in left for cpu in cpus if cpus[cpu] > 0)
    for apart in range(len(bond) - 1):
        for queue in tuple(shared):
            together = max(len(having[queue]) - apart, 2)
            enough = (cpu for cpu, cards in having_left.items() if cards >= together)
            for cpu in (*homes(queue), *enough):
                if len(able(queue, cpu)) >= together:
                    take(queue, cpu)
                    having_left[cpu] = sum(cpus[cpu] > 0 for cpus in left)
                    break
