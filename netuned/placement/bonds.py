"""Pure: the last bit of order in a small bond: queue *n* of each card on the same CPU, moved least.

That a bond's cards should agree couples them in a way that no flow describes. So a layout is
improved by trying: one queue elsewhere, two queues exchanged, and the same for whole queue numbers
and whole CPUs of the bond. What nothing of this improves stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from netuned.cpuset import CpuSet
from netuned.placement.objective import Card, Layout, Places, Score, score

LIMIT = 1024
"""Pairs of queues times CPUs beyond which trying would be felt."""

LOADS = Score._fields.index("unaligned")
"""How many terms come before the bond's: those are as they should be."""


def agree(
    places: Places,
    cards: Sequence[Card],
    layouts: Sequence[Layout],
    open_queues: Sequence[set[int]],
) -> list[Layout]:
    """Improve layouts of cards that are laid out together by moving their ``open_queues``."""
    best = list(layouts)
    reached = score(places, list(zip(cards, best, strict=True)))
    queues = sum(len(queues) for queues in open_queues)
    cpus = CpuSet.of(cpu for card in cards for cpu in card.near)
    if queues * queues * len(cpus) > LIMIT or not any(reached[LOADS:]):
        return best
    improved = True
    while improved:
        improved = False
        for moves in _moves(best, cards, open_queues, cpus):
            if any(cpus - cards[card].near for (card, _), cpus in moves.items()):
                continue
            trial = _moved(best, moves)
            now = score(places, list(zip(cards, trial, strict=True)))
            if now < reached and now[:LOADS] == reached[:LOADS]:
                best, reached, improved = trial, now, True
                break
    return best


Spot = tuple[int, int]
"""A card's index and a queue."""

Moves = dict[Spot, CpuSet]


def _moved(layouts: Sequence[Layout], moves: Moves) -> list[Layout]:
    return [
        tuple(moves.get((card, queue), cpus) for queue, cpus in enumerate(layout))
        for card, layout in enumerate(layouts)
    ]


def _moves(
    layouts: Sequence[Layout],
    cards: Sequence[Card],
    open_queues: Sequence[set[int]],
    cpus: CpuSet,
) -> Iterator[Moves]:
    """All there is to try, whether or not it helps."""
    spots = [(card, queue) for card, queues in enumerate(open_queues) for queue in sorted(queues)]
    at = {(card, queue): layouts[card][queue] for card, queue in spots}
    places = [CpuSet(1 << cpu) for cpu in cpus]
    for spot in spots:
        yield from ({spot: place} for place in places)
    for one, other in combinations(spots, 2):
        yield {one: at[other], other: at[one]}
    for bond in dict.fromkeys(card.group for card in cards if card.group):  # in the cards' order
        members = [spot for spot in spots if cards[spot[0]].group == bond]
        numbers = sorted({queue for _, queue in members})
        for number in numbers:
            together = [spot for spot in members if spot[1] == number]
            yield from (dict.fromkeys(together, place) for place in places)
            yield from (_brought(at, together, place) for place in places)
        for one_number, other_number in combinations(numbers, 2):
            pairs = [
                ((card, one_number), (card, other_number))
                for card, queue in members
                if queue == one_number and (card, other_number) in at
            ]
            yield {spot: at[twin] for pair in pairs for spot, twin in (pair, pair[::-1])}
        for here, there in combinations(places, 2):
            names = {here: there, there: here}
            yield {spot: names[at[spot]] for spot in members if at[spot] in names}


def _brought(at: Moves, together: Sequence[Spot], place: CpuSet) -> Moves:
    """Bring a queue number of all cards to one CPU, in exchange with whatever queues are there."""
    moves = dict(at)
    for spot in together:
        if moves[spot] != place:
            there = (other for other in moves if moves[other] == place and other not in together)
            other = min(there, key=lambda other: (other[0] != spot[0], other), default=spot)
            moves[spot], moves[other] = moves[other], moves[spot]
    return moves
