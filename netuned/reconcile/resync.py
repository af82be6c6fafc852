"""Looks that no event asks for: at all that is wanted, and at what this kernel is silent about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

from netuned.hardware.nic import CLASS_NET
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.reconcile.apply import sweep
from netuned.reconcile.card import Card
from netuned.reconcile.context import Context
from netuned.reconcile.slot import Slot
from netuned.tunables import NAMES, TUNABLES


def silent_tunables(kernel: Kernel, names: Collection[str] = NAMES) -> frozenset[str]:
    """The tunables, of those of a card, whose changes this kernel tells nobody.

    Raises: KernelError.
    """
    return frozenset(t.name for t in TUNABLES if t.name in names and t.silent(kernel))


async def look_over(context: Context, host: Slot) -> tuple[list[str], list[Slot]]:
    """Look at every idle card, and the host, at once, with one dump of all qdiscs.

    Returns the names of all links, and those that differ or are due for another try. Raises:
    KernelError.
    """
    kernel = context.kernel
    async with context.looking, _idle(context, (host, *context.slots.values())) as idle:
        cards, seen = [slot.card for slot in idle], _versions(idle)
        names, differing = await context.work.in_worker(
            lambda: (kernel.files.listdir(CLASS_NET), sweep(kernel, cards))
        )
    due = _due(context, idle, differing)
    if _versions(idle) != seen:
        context.loop.publish()  # what a card cannot have shows in a look like this, too
    retried = [s for s in idle if not context.loop.is_paused(s) and s.retry_roundings()]
    return names, [slot for slot in idle if slot in retried or slot in due]


async def poll(context: Context, silent: frozenset[str]) -> list[Slot]:
    """Read what is ``silent`` of every idle card of which it is wanted; those that differ.

    What the last look at a card left as it is does not count, unless it is another by now; nor
    does a card that is to be told anew what is wanted, or over which a bug showed.
    """
    slots = _polled(context, silent)
    if not slots:
        return []
    due, seen = [], _versions(slots)
    kernel, writes, asked = context.kernel, -1, Once(context.kernel, brief=True)
    for slot in slots:  # one by one: a driver that hangs holds up its own card
        async with context.looking, _idle(context, [slot]) as idle:
            cards = [idler.card for idler in idle]
            if kernel.writes != writes:  # what a card reads was asked after its own last write
                writes, asked = kernel.writes, Once(kernel, brief=True)
            look = partial(sweep, kernel, cards, silent, set(slot.pending), asked)
            differing = await context.work.in_worker(look) if cards else {}
        due += _due(context, idle, differing)
    if _versions(slots) != seen:
        context.loop.publish()
    return due


def finds(context: Context, host: Slot, names: list[str]) -> tuple[bool, bool]:
    """Look as ``look_over`` does, in this thread and at what no task has; changes nothing.

    Returns whether the loop has to look, too: ``names`` are no more those of all links, or a card
    differs, or is due for another try. And whether what a card cannot have has shown. Raises:
    KernelError.
    """
    kernel = context.kernel
    slots = (host, *tuple(context.slots.values()))
    with context.looking.taken() as free, _taken(slots if free else ()) as idle:
        seen = _versions(idle)
        differing = sweep(kernel, [slot.card for slot in idle])
        shown = _versions(idle) != seen
        due = bool(differing) or any(slot.roundings_due for slot in idle)
    return due or kernel.files.listdir(CLASS_NET) != names, shown


def poll_finds(context: Context, silent: frozenset[str]) -> tuple[bool, bool]:
    """Look as ``poll`` does, in this thread; what it returns is as of ``finds``."""
    kernel, due, shown = context.kernel, False, False
    writes, asked = kernel.writes, Once(kernel, brief=True)
    for slot in _polled(context, silent):
        with context.looking.taken() as free, _taken((slot,) if free else ()) as idle:
            if kernel.writes != writes:
                writes, asked = kernel.writes, Once(kernel, brief=True)
            seen, cards = _versions(idle), [idler.card for idler in idle]
            due |= bool(sweep(kernel, cards, silent, set(slot.pending), asked))
            shown |= _versions(idle) != seen
    return due, shown


def _polled(context: Context, silent: frozenset[str]) -> list[Slot]:
    return [
        slot
        for slot in tuple(context.slots.values())
        if silent & slot.card.wanted.keys() and slot.aimed and not context.loop.is_paused(slot)
    ]


@contextmanager
def _taken(slots: Iterable[Slot]) -> Iterator[list[Slot]]:
    """Those that no task has, which stays so meanwhile; for a thread."""
    idle = [slot for slot in slots if slot.card.wanted and slot.lock.take()]
    try:
        yield idle
    finally:
        for slot in idle:
            slot.lock.give()
            slot.worked()


def _versions(slots: list[Slot]) -> list[int]:
    return [slot.card.version for slot in slots]


def _due(
    context: Context, idle: list[Slot], differing: Mapping[Card, Exception | None]
) -> list[Slot]:
    """Those to be looked at; one over which a bug showed is left alone, as after a look."""
    due = []
    for slot in idle:
        error = differing.get(slot.card)
        if error is None and slot.card in differing:
            due.append(slot)
        elif error is not None and slot.task is None:
            slot.broke(error)
            context.loop.publish()
    return due


@asynccontextmanager
async def _idle(
    context: Context, slots: tuple[Slot, ...] | list[Slot]
) -> AsyncIterator[list[Slot]]:
    """Those that nobody looks at, which stays so meanwhile."""
    idle = [slot for slot in slots if slot.card.wanted and not slot.lock.locked()]
    try:
        async with AsyncExitStack() as held:
            for slot in idle:
                await held.enter_async_context(slot.lock)
            yield idle
    finally:
        for slot in idle:
            slot.worked()
