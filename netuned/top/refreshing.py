"""Refreshing: a sample each time, and the rows of what happened since the one before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from netuned.counters.following import Following
from netuned.counters.sample import Sample, between
from netuned.counters.take import Taker
from netuned.hardware.host import read_nics
from netuned.hardware.nic import Nic
from netuned.hardware.topology import read_topology
from netuned.kernel import Kernel
from netuned.kernel.readers import Readers
from netuned.top.rows import Frame, Known, frame


class Refreshing:
    """Nothing is read but by ``refresh`` and ``cards``; what they need is kept between two."""

    def __init__(self, kernel: Kernel, is_asked: Callable[[Nic], bool]) -> None:
        self._kernel = kernel
        self._is_asked = is_asked
        self._following = Following(kernel, Taker(kernel, brief=True), self._read)
        self._readers = Readers(but=os.getpid())
        self._nics: Mapping[int, Nic] = {}
        self._known = Known(read_topology(kernel.files), {})
        self._before: Sample | None = None

    def refresh(self) -> Frame:
        """What happened since the call before; nothing yet at the first. Raises: KernelError."""
        sample = self._following.take()
        before, self._before = self._before or sample, sample
        # Of a card that has just come all that it ever counted is not of this interval
        before = replace(before, cards={**sample.cards, **before.cards})
        happened = between(before, sample)
        return frame(happened, self._known, self._readers.look())

    def cards(self) -> Mapping[int, Nic]:
        """All cards, asked for or not. Raises: KernelError."""
        self._following.cards()
        return self._nics

    def _read(self) -> Mapping[int, Nic]:
        self._nics = read_nics(self._kernel, {})
        asked = {i: nic for i, nic in self._nics.items() if self._is_asked(nic)}
        self._known = Known(read_topology(self._kernel.files), asked)
        return asked
