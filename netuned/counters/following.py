"""Which cards samples are taken of: read anew where something shows that they are others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from netuned.counters.sample import Sample
from netuned.counters.take import Taker
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.kernel import Kernel

FACTS_S = 60.0
"""How long facts of cards are believed of which nothing shows that they are others now."""


class Following:
    """Takes one sample after the other. Nothing is read but when it is asked."""

    def __init__(self, kernel: Kernel, taker: Taker, read: Callable[[], Mapping[int, Nic]]) -> None:
        """``read`` reads the facts of all cards of which there are to be samples."""
        self._kernel = kernel
        self._taker = taker
        self._read = read
        self.nics: Mapping[int, Nic] = {}
        """Those of the last sample."""
        self._names: list[str] = []
        self._believed_until = 0.0
        self._shape: object = None

    def cards(self) -> Mapping[int, Nic]:
        """Read anew where names or counters tell that they are others, or after long.

        Raises: KernelError.
        """
        now = time.monotonic()
        names = sorted(self._kernel.files.listdir(CLASS_NET))
        if names != self._names or now > self._believed_until:
            self.nics = self._read()
            self._names, self._believed_until = names, now + FACTS_S
        return self.nics

    def doubt(self) -> None:
        """Have the cards read anew at the next sample."""
        self._believed_until = 0.0

    def take(self) -> Sample:
        """What is counted now. Raises: KernelError."""
        nics = self.cards()
        sample = self._taker.take(nics)
        shape = _shape(sample, nics)
        if self._shape not in (None, shape):
            self.doubt()
        self._shape = shape
        return sample


def _shape(sample: Sample, nics: Iterable[int]) -> tuple[object, ...]:
    """What is there to be counted: another when queues, interrupts or CPUs came or left."""
    cards = (sample.cards.get(ifindex) for ifindex in nics)
    each = [(c.interrupts.keys(), c.rx.keys(), c.tx.keys(), c.qdiscs.keys()) for c in cards if c]
    return sample.cpus.keys(), each
