"""Pure: which CPU serves which queue, decided once for all cards together.

docs/placement.md has the objective and its reasons, :mod:`netuned.placement.objective` measures it.
Cards are laid out one after the other, each at its optimum (:mod:`netuned.placement.filling`); then
cards exchange CPUs where together they gain (:mod:`netuned.placement.exchange`); then queues take
the CPUs of their card by number (:mod:`netuned.placement.numbering`). The same input gives the same
layout in whatever order cards are enumerated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

from netuned.cpuset import CpuSet
from netuned.hardware.topology import Topology
from netuned.placement.bonds import agree
from netuned.placement.exchange import Party, exchange
from netuned.placement.filling import Loads, fill, pack
from netuned.placement.numbering import Member, number
from netuned.placement.objective import Card, Layout, Places, Score, score
from netuned.placement.seats import NOBODY, Place, Seats
from netuned.records import dataclass

ONE_PER_QUEUE = "one-per-queue"
PACK = "pack"
DEDICATED = "dedicated"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Request:
    """One card that wants CPUs; ``place`` names and orders it.

    ``pool`` are the CPUs that may serve it; of them those nearest to its NUMA ``node`` (-1: none)
    do. ``fixed`` is where interrupts are that stay (queue -> CPUs), ``kept`` the queues that the
    RSS table leaves out. Cards of one ``group`` are of one bond. A card without interrupts
    (``counts`` false) gets CPUs as any other but takes none from the others.
    """

    place: Place
    ifindex: int
    queues: int
    pool: CpuSet
    node: int = -1
    spread: str = ONE_PER_QUEUE
    fixed: Mapping[int, CpuSet] = field(default_factory=dict)
    kept: frozenset[int] = frozenset()
    group: str = ""
    counts: bool = True


class Placement(NamedTuple):
    """A Layout for each card by ifindex, ``queues`` long, and where that seats the queues."""

    layouts: dict[int, Layout]
    seats: Seats
    places: Places


def place(topology: Topology, requests: Iterable[Request], seats: Seats = NOBODY) -> Placement:
    """Lay out every card's queues.

    ``seats`` is where queues sat before: of equally good CPUs they keep those. Cards are laid out
    one after the other, and one that takes an equally good L3 domain can drive others from theirs;
    so the layout in which they stay is made, too, and the better one is taken.
    """
    asked = tuple(requests)
    placed, rough = _place(topology, asked, seats)
    made: list[Placement] = []
    while rough:  # what the next pass would make of it is made at once
        made.append(placed)
        placed, _ = _place(topology, asked, placed.seats)
        layouts = [before.layouts for before in made]
        if placed.layouts in layouts[:-1]:
            # each is made of another in a circle: all who begin in that end with the same one
            circle = [placed, *made[layouts.index(placed.layouts) + 1 :]]
            return min(circle, key=lambda one: _worth(topology, asked, one))
        rough = placed.layouts != layouts[-1]
    return placed


def _worth(
    topology: Topology, requests: Iterable[Request], placed: Placement
) -> tuple[Score, list[int]]:
    """How good it is whoever sat where before; equally good ones are in the order of their CPUs."""
    cards = sorted(requests, key=lambda request: (request.place, request.ifindex))
    layouts = [placed.layouts[card.ifindex] for card in cards]
    judged = [_Card(card, topology, NOBODY).judged() for card in cards]
    masks = [cpus.bits for layout in layouts for cpus in layout]
    return score(placed.places, list(zip(judged, layouts, strict=True))), masks


def _place(topology: Topology, requests: Sequence[Request], seats: Seats) -> tuple[Placement, bool]:
    """Lay out every card's queues; with it whether another time could be better in later terms."""
    loads = Loads(Places(topology))
    done: list[_Card] = []
    rough = False
    for counts in (True, False):
        asked = [request for request in requests if request.counts is counts]
        laid = _lay_out(asked, topology, seats, loads)
        if any(card.moves() for card in laid.cards):
            staying = _lay_out(asked, topology, seats, loads, stay=True)
            if _judge(done, staying) < _judge(done, laid):
                laid = staying
        done += laid.cards
        loads = laid.loads
        rough = rough or laid.rough
    layouts = {card.request.ifindex: card.layout() for card in done}
    sat = {card.request.place: (card.near, layouts[card.request.ifindex]) for card in done}
    return Placement(layouts, seats.settle(topology.online, sat), loads.places), rough


class _Laid(NamedTuple):
    """Cards that are laid out, and with that the loads; ``rough`` as ``exchange`` says."""

    cards: Sequence[_Card]
    loads: Loads
    rough: bool


def _lay_out(
    requests: Sequence[Request],
    topology: Topology,
    seats: Seats,
    loads: Loads,
    *,
    stay: bool = False,
) -> _Laid:
    """Lay out cards beside the ``loads`` there are.

    With ``stay`` only queues move that have to, whatever the others could gain by moving.
    """
    loads = loads.copy()
    bonds = _in_turn(_Card(request, topology, seats) for request in requests)
    everyone = [card for bond in bonds for card in bond]
    for card in everyone:
        loads.add(cpus.first for cpus in card.done.values() if len(cpus) == 1)
    _seat_kept(everyone, topology, loads)
    packed = [card for card in everyone if card.request.spread == PACK]
    for card in sorted(packed, key=lambda card: len(card.near)):
        card.slots = pack(loads, card.pool, len(card.open()))
    for card in everyone:
        if stay and card.request.spread != PACK:
            card.stay(loads)
    _seat(bonds, loads)
    rough = _exchange(bonds, loads)
    _number_all(bonds, loads)
    return _Laid(everyone, loads, rough)


def _judge(done: Sequence[_Card], laid: _Laid) -> Score:
    cards = (*done, *laid.cards)
    return score(laid.loads.places, [(card.judged(), card.layout()) for card in cards])


class _Card:
    """A card while it is laid out."""

    def __init__(self, request: Request, topology: Topology, seats: Seats) -> None:
        self.request = request
        self.near = topology.nearest(request.pool, request.node)
        self.pool = self.near
        """What is left of them once queues that want a core of their own have it."""
        self.wishes = seats.wishes(request.place, self.near)
        self.done = {
            queue: cpus & topology.online
            for queue, cpus in request.fixed.items()
            if queue < request.queues and cpus & topology.online
        }
        """Queues that have got their CPUs."""
        if request.spread == ALL:
            self.done |= dict.fromkeys(self.open(), self.pool)
        self.slots: list[int] = []
        """CPUs, one for each queue that is open."""

    def open(self) -> list[int]:
        """The queues without CPUs yet."""
        if not self.done:
            return list(range(self.request.queues))
        return [queue for queue in range(self.request.queues) if queue not in self.done]

    def layout(self) -> Layout:
        return tuple(map(self.done.__getitem__, range(self.request.queues)))

    def own(self) -> list[int]:
        """The CPUs it has for good."""
        return [cpus.first for cpus in self.done.values() if len(cpus) == 1]

    def stay(self, loads: Loads) -> None:
        """Leave every queue at home that is not there yet, if its home may serve it."""
        for queue in self.open():
            if queue in self.wishes and self.wishes[queue] in self.pool:
                self.done[queue] = CpuSet(1 << self.wishes[queue])
                loads.add((self.wishes[queue],))

    def moves(self) -> bool:
        """Whether a queue that has a choice is not at home, though that may serve it."""
        return self.request.spread not in (PACK, ALL) and any(
            queue not in self.request.fixed and self.done[queue].first != home
            for queue, home in self.wishes.items()
            if queue < self.request.queues
        )

    def judged(self) -> Card:
        """The card as the objective sees it."""
        request = self.request
        homes = tuple(self.wishes.get(queue, -1) for queue in range(request.queues))
        return Card(request.pool, self.near, request.group, homes, request.kept)

    def party(self, partners: Sequence[Mapping[int, int]] = ()) -> Party:
        """Its part in the exchange."""
        return Party(self.pool, self.slots, self.own(), self.wished(), partners)

    def beside(self, other: _Card) -> Counter[int]:
        """CPUs where queues of this card would be beside the same queue of a card of its bond."""
        settled = (other.done.get(queue, CpuSet()) for queue in self.open())
        return Counter([*other.slots, *(cpus.first for cpus in settled if len(cpus) == 1)])

    def member(self) -> Member:
        """Its part in the numbering."""
        settled = {queue: cpus.first for queue, cpus in self.done.items() if len(cpus) == 1}
        return Member(self.open(), self.slots, self.wishes, settled)

    def wished(self) -> Counter[int]:
        """The CPUs that its open queues want to keep."""
        return Counter(
            self.wishes[queue] for queue in self.wishes and self.open() if queue in self.wishes
        )


def _in_turn(cards: Iterable[_Card]) -> list[list[_Card]]:
    """Bonds (a card alone is one) in turn: who has the least choice, who sits already, by place.

    Within a bond who has the least choice is the first, of those who has the most queues.
    """

    def rank(card: _Card) -> tuple[object, ...]:
        return (len(card.pool), not card.wishes, card.request.place, card.request.ifindex)

    bonds: dict[object, list[_Card]] = {}
    for card in sorted(cards, key=rank):
        bonds.setdefault(card.request.group or card.request.ifindex, []).append(card)
    return [
        sorted(bond, key=lambda card: (len(card.near), -card.request.queues))
        for bond in bonds.values()
    ]


def _seat_kept(cards: Sequence[_Card], topology: Topology, loads: Loads) -> None:
    """Give each queue that the RSS table leaves out a core of its own.

    A core remains for the card's other queues if it has two, and CPUs that cards with less choice
    need are taken last; what then is too many shares the cores of its like.
    """
    closed = CpuSet()
    for card in sorted(cards, key=lambda card: len(card.near)):
        kept = card.request.kept & set(card.open())
        if not kept:
            continue
        scarce = Counter(
            cpu for other in cards if len(other.near) < len(card.near) for cpu in other.near
        )
        others = len(card.open()) > len(kept)
        for queue in sorted(kept, reverse=True):
            wish = [card.wishes[queue]] if queue in card.wishes else []
            free = card.near - closed
            if others and free and not free - topology.core_of(free.first):
                free = card.near & closed or free
            free = free or card.near
            (cpu,) = fill(loads, free, 1, own=card.own(), wishes=wish, claims=scarce, from_top=True)
            card.done[queue] = CpuSet(1 << cpu)
            closed |= topology.core_of(cpu)
    for card in cards:
        card.pool = card.pool - closed or card.pool


def _seat(bonds: Sequence[Sequence[_Card]], loads: Loads) -> None:
    """Choose every card's CPUs, given those of the cards before it: who has the least choice first.

    A bond does not change that order: the card that could go anywhere would take what others need.
    Packed cards have theirs already, and all others go round them.
    """
    turns = [(card, bond) for bond in bonds for card in bond if card.request.spread != PACK]
    turns.sort(key=lambda turn: len(turn[0].near))
    claims: Counter[int] = Counter()
    for card, _ in turns:
        claims += card.wished()
    for card, bond in turns:
        wished = card.wished()
        claims -= wished
        card.slots = fill(
            loads,
            card.pool,
            len(card.open()),
            own=card.own(),
            wishes=wished.elements(),
            claims=claims,
            partners=[card.beside(other) for other in bond if other is not card],
        )


def _exchange(bonds: Sequence[Sequence[_Card]], loads: Loads) -> bool:
    """Let cards give each other CPUs; packed queues stay together.

    Those of bonds once as if they were alone, for the loads matter more; then the others of a bond
    once more to be where its first card is, which stands still.
    """
    moving = [
        [card for card in bond if card.slots and card.request.spread != PACK] for bond in bonds
    ]
    rough = exchange(loads, [card.party() for bond in moving for card in bond])
    parties = []
    for bond, movers in zip(bonds, moving, strict=True):
        first = bond[0]
        for card in movers if len(bond) > 1 else ():
            if card is not first:
                parties.append(card.party([card.beside(first)]))
    return exchange(loads, parties) or rough


def _number_all(bonds: Sequence[Sequence[_Card]], loads: Loads) -> None:
    bonded = any(len(bond) > 1 for bond in bonds)
    open_queues = {id(card): set(card.open()) for bond in bonds for card in bond if bonded}
    alone = loads.places.alone
    for bond in bonds:
        for card, numbered in zip(bond, number([card.member() for card in bond]), strict=True):
            card.done |= {queue: alone[cpu] for queue, cpu in numbered.items()}
    if bonded:
        cards = [card for bond in bonds for card in bond]
        judged = [card.judged() for card in cards]
        layouts = [card.layout() for card in cards]
        movable = [
            set() if card.request.spread == PACK else open_queues[id(card)] for card in cards
        ]
        agreed = agree(loads.places, judged, layouts, movable)
        for card, before, layout in zip(cards, layouts, agreed, strict=True):
            moved = [pair for pair in zip(before, layout, strict=True) if pair[0] != pair[1]]
            loads.add((was.first for was, _ in moved), -1)
            loads.add(now.first for _, now in moved)
            card.done = dict(enumerate(layout))
