"""Traffic for simulations of RSS: flows with rates, each in an entry of the indirection table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: ``flows`` with rates by Zipf's law, and elephants beside them.

    ``load`` is what all of it takes, of all queues' CPUs together, on average; ``elephants`` are
    shares of one CPU, out of that. ``life_s`` is how long a flow lasts on average before another
    of its rate begins, with another hash; 0: all the time. ``wave`` multiplies all rates, in turn
    for ``wave_s`` each.
    """

    name: str
    flows: int = 10_000
    exponent: float = 1.0
    load: float = 0.6
    elephants: tuple[float, ...] = ()
    life_s: float = 0.0
    jitter: float = 0.3
    wave: tuple[float, ...] = (1.0,)
    wave_s: float = 10.0
    queues: int = 8
    entries: int = 128


TRAFFIC = (
    Traffic("20,000 equal flows", flows=20_000, exponent=0.0),
    Traffic("64 equal flows", flows=64, exponent=0.0),
    Traffic("Zipf 0.8", exponent=0.8),
    Traffic("Zipf 1.0", exponent=1.0),
    Traffic("Zipf 1.2", exponent=1.2),
    Traffic("Zipf 1.0, load 0.4", load=0.4),
    Traffic("Zipf 1.0, load 0.8", load=0.8),
    Traffic("Zipf 1.0, flows of 300 s", life_s=300.0),
    Traffic("Zipf 1.0, flows of 60 s", life_s=60.0),
    Traffic("Zipf 1.0, flows of 30 s", life_s=30.0),
    Traffic("Zipf 1.0, flows of 10 s", life_s=10.0),
    Traffic("Zipf 1.0, flows of 1 s", life_s=1.0),
    Traffic("Zipf 1.0, rates ± 100 %", jitter=0.8),
    Traffic("an elephant", exponent=0.8, elephants=(0.6,)),
    Traffic("four elephants", exponent=0.8, elephants=(0.6, 0.5, 0.4, 0.3)),
    Traffic("an elephant, other load 20 s on and off", exponent=0.8, elephants=(0.6,),
            wave=(0.3, 1.3), wave_s=20.0),
    Traffic("Zipf 1.0, 3 s on and off", wave=(0.2, 1.4), wave_s=3.0),
    Traffic("Zipf 0.7, 64 queues × 512", flows=50_000, exponent=0.7, queues=64, entries=512),
    Traffic("four elephants of 2 s", exponent=0.8, elephants=(0.6, 0.5, 0.4, 0.3), life_s=2.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trace:
    """``loads`` [step, entry] in shares of a CPU; of each step the flows' ``entries`` and rates."""

    traffic: Traffic
    loads: Any = field(repr=False)
    entries: Any = field(repr=False)
    rates: Any = field(repr=False)
    waves: Any = field(repr=False)


def trace(traffic: Traffic, seconds: float, seed: int) -> Trace:
    """A trace of such traffic, in steps of ``STEP_S``."""
    chance = numpy.random.default_rng(seed)
    steps = round(seconds / STEP_S)
    total = traffic.load * traffic.queues
    rest = numpy.arange(1, traffic.flows + 1) ** -traffic.exponent
    rates = numpy.concatenate(
        [traffic.elephants, rest * (total - sum(traffic.elephants)) / rest.sum()]
    )
    waves = _waves(traffic, steps)
    loads = numpy.empty((steps, traffic.entries))
    entries: Any = numpy.empty((steps, len(rates)), dtype=numpy.int16)
    here = chance.integers(traffic.entries, size=len(rates))
    level = chance.standard_normal(len(rates))
    for step in range(steps):
        if traffic.life_s:
            ends = chance.random(len(rates)) < STEP_S / traffic.life_s
            here = numpy.where(ends, chance.integers(traffic.entries, size=len(rates)), here)
        # a flow's rate wanders: half of its deviation goes within a second and a half
        level = 0.95 * level + 0.31 * chance.standard_normal(len(rates))
        now = rates * numpy.exp(traffic.jitter * level - traffic.jitter**2 / 2)
        scale = numpy.full(len(rates), waves[step])
        scale[: len(traffic.elephants)] = 1.0
        loads[step] = numpy.bincount(here, now * scale, minlength=traffic.entries)
        entries[step] = here
    return Trace(traffic, loads, entries, rates, waves)


def _waves(traffic: Traffic, steps: int) -> Sequence[float]:
    turn = round(traffic.wave_s / STEP_S)
    return [traffic.wave[step // turn % len(traffic.wave)] for step in range(steps)]
