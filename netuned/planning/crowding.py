"""Pure: which interrupts find no room on the CPU that is to serve them.

An x86 CPU tells interrupts apart by a vector, of which it has 256, the kernel's own among them.
More are refused when they are written (ENOSPC), one after the other. Other architectures have no
such bound.

Source: arch/x86/include/asm/irq_vectors.h; arch/x86/kernel/apic/vector.c, kernel/irq/matrix.c.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.hardware.nic import Nic
from netuned.placement.objective import Layout
from netuned.placement.place import Request

MOST_OF_QUEUE = 4
"""No driver has so many interrupts for one queue."""


class Card(NamedTuple):
    """A card that is laid out; without ``placed`` its interrupts stay, else those of ``fixed``."""

    nic: Nic
    placed: bool
    request: Request
    layout: Layout


class _Seat(NamedTuple):
    moves: bool
    queue: int
    ifindex: int
    cpu: int
    interrupts: int


def crowded(cards: Mapping[int, Card], most: int) -> dict[int, dict[int, str]]:
    """By card, queues whose interrupts stay where they are, and why; ``most`` are for one CPU.

    Those that are on their CPU already, or stay there, have their vectors; the others get theirs by
    the number of the queue, so that all cards have some.
    """
    layouts = chain.from_iterable(card.layout for card in cards.values())
    queues = Counter(map(attrgetter("bits"), layouts))
    if MOST_OF_QUEUE * max(queues.values(), default=0) <= most:
        return {}
    seats = sorted(seat for card in cards.values() for seat in _seats(card))
    asked: Counter[int] = Counter()
    for seat in seats:
        asked[seat.cpu] += seat.interrupts
    found: dict[int, dict[int, str]] = {}
    taken: Counter[int] = Counter()
    for seat in seats:
        if not seat.moves or taken[seat.cpu] + seat.interrupts <= most:
            taken[seat.cpu] += seat.interrupts
            continue
        why = (
            f"CPU {seat.cpu} has vectors for about {most} interrupts of queues, "
            f"{asked[seat.cpu]} were to go there"
        )
        found.setdefault(seat.ifindex, {})[seat.queue] = why
    return found


def left(card: Card, queues: Mapping[int, str], default: CpuSet) -> Layout:
    """The card's layout where the interrupts of these queues stay where they are."""
    if not queues:
        return card.layout
    here = _here(card.nic)
    return tuple(
        (here.get(queue) or default) if queue in queues else cpus
        for queue, cpus in enumerate(card.layout)
    )


def _here(nic: Nic) -> dict[int, CpuSet]:
    """Queue -> where its interrupts may go now."""
    here: dict[int, CpuSet] = {}
    for vector, cpus in zip(nic.vectors, nic.affinity, strict=True):
        here[vector.queue] = here.get(vector.queue, CpuSet()) | cpus
    return here


def _seats(card: Card) -> Iterator[_Seat]:
    """The card's queues that have interrupts, and each one CPU."""
    nic, placed, request, layout = card
    if not request.counts:
        return
    here, own = _here(nic), Counter(vector.queue for vector in nic.vectors)
    to_come = max(1, len({vector.role for vector in nic.vectors}))
    for queue, cpus in enumerate(layout):
        is_open = own and queue < max(nic.rx_queues, nic.tx_queues)
        interrupts = own[queue] if is_open else to_come
        if interrupts and len(cpus) == 1:
            stays = not placed or queue in request.fixed or here.get(queue) == cpus
            yield _Seat(not stays, queue, nic.ifindex, cpus.first, interrupts)
