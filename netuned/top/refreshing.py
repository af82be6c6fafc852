"""Refreshing: a sample each time, and the rows of what happened since the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from netuned.counters.sample import Sample, between
from netuned.counters.take import Taker
from netuned.hardware.host import read_nics
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.topology import read_topology
from netuned.kernel import Kernel
from netuned.kernel.readers import Readers
from netuned.top.rows import Frame, frame

FACTS_S = 60.0
"""How long facts of cards are believed of which nothing shows that they are others now."""


class Refreshing:
    """Nothing is read but by ``refresh`` and ``cards``; what they need is kept between two."""

    def __init__(self, kernel: Kernel, is_asked: Callable[[Nic], bool]) -> None:
        self._kernel = kernel
        self._is_asked = is_asked
        self._taker = Taker(kernel, brief=True)
        self._readers = Readers()
        self._topology = read_topology(kernel.files)
        self._known: Mapping[int, Nic] = {}
        self._asked: Mapping[int, Nic] = {}
        self._names: list[str] = []
        self._believed_until = 0.0
        self._before: Sample | None = None

    def refresh(self) -> Frame:
        """What happened since the call before; nothing yet at the first. Raises: KernelError."""
        self.cards()
        nics = self._asked
        sample = self._taker.take(nics)
        before, self._before = self._before or sample, sample
        # Of a card that has just come all that it ever counted is not of this interval
        before = replace(before, cards={**sample.cards, **before.cards})
        if _shape(sample, nics) != _shape(before, nics):
            self._believed_until = 0.0
        return frame(between(before, sample), self._topology, nics, self._readers.look())

    def cards(self) -> Mapping[int, Nic]:
        """All cards; read anew where names or counters tell that they are others, or after long.

        Raises: KernelError.
        """
        now = time.monotonic()
        names = sorted(self._kernel.files.listdir(CLASS_NET))
        if names != self._names or now > self._believed_until:
            self._topology = read_topology(self._kernel.files)
            self._known = read_nics(self._kernel, {})
            self._asked = {i: nic for i, nic in self._known.items() if self._is_asked(nic)}
            self._names, self._believed_until = names, now + FACTS_S
        return self._known


def _shape(sample: Sample, nics: Iterable[int]) -> tuple[object, ...]:
    """What is there to be counted: another when queues, interrupts or CPUs came or left."""
    cards = (sample.cards.get(ifindex) for ifindex in nics)
    each = [(c.interrupts.keys(), c.rx.keys(), c.tx.keys(), c.qdiscs.keys()) for c in cards if c]
    return sample.cpus.keys(), each
