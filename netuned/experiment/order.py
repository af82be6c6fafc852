"""In which order arms take turns: in blocks, in each of which every arm has one."""

from __future__ import annotations

import random
from collections.abc import Iterable

ABBA, RANDOM = "abba", "random"
ORDERS = (ABBA, RANDOM)


def blocks(arms: int, runs: int, order: str, seed: int) -> tuple[tuple[int, ...], ...]:
    """``runs`` blocks, each of the numbers 0 to ``arms`` - 1 once.

    ``abba``: forth and back, so that what drifts evenly is the same for all after two blocks.
    ``random``: each block shuffled, always alike for a seed.

    Raises: ValueError for fewer than two arms or an order there is none of.
    """
    if arms < 2 or order not in ORDERS:
        raise ValueError(f"{arms} arms in order {order!r}")
    forth = tuple(range(arms))
    if order == ABBA:
        return tuple(forth[::-1] if number % 2 else forth for number in range(runs))
    chance = random.Random(seed)
    return tuple(tuple(chance.sample(forth, arms)) for _ in range(runs))


def turns(blocks: Iterable[Iterable[int]]) -> tuple[tuple[int, int], ...]:
    """(block, arm), one after the other."""
    return tuple((number, arm) for number, block in enumerate(blocks) for arm in block)
