"""All findings about a host, the most costly first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netuned.counters.sample import Sample
from netuned.doctor import card, cpus, host, interrupts, own, receive, spread, transmit
from netuned.doctor.facts import Facts
from netuned.doctor.finding import Finding

FINDINGS: tuple[Callable[[Facts, Sample], Iterator[Finding]], ...] = (
    *cpus.FINDINGS,
    *interrupts.FINDINGS,
    *spread.FINDINGS,
    *receive.FINDINGS,
    *transmit.FINDINGS,
    *card.FINDINGS,
    *host.FINDINGS,
    *own.FINDINGS,
)


def examine(facts: Facts, what: Sample) -> tuple[Finding, ...]:
    """``what`` happened between two samples; of one without time only settings are judged."""
    found = (finding for each in FINDINGS for finding in each(facts, what))
    return tuple(sorted(found, key=lambda finding: (-finding.cost, finding.name, finding.card)))
