"""The tunables, one module each, in the order in which they are applied.

A tunable knows its own state and nothing of the others: which CPU serves which queue was decided
before (:mod:`netuned.placement.place`), what must come first follows from the order here and from
the values (:mod:`netuned.planning.diff`). Adding one is adding its declaration to ``TUNABLES`` and
its lines to the profile schema.
"""

from __future__ import annotations

from typing import Final

from netuned.hardware.nic import HOST, Nic
from netuned.tunables.base import Target, Tunable, View
from netuned.tunables.bql import BQL
from netuned.tunables.channels import CHANNELS
from netuned.tunables.coalesce import COALESCE
from netuned.tunables.contexts import CONTEXTS
from netuned.tunables.flows import FLOWS
from netuned.tunables.hashing import HASHING
from netuned.tunables.hugepages import HUGEPAGES
from netuned.tunables.irq import IRQ
from netuned.tunables.irqbalance import IRQBALANCE
from netuned.tunables.link import LINK
from netuned.tunables.napi import NAPI
from netuned.tunables.offloads import OFFLOADS
from netuned.tunables.qdisc import QDISC
from netuned.tunables.rfs import RFS
from netuned.tunables.rings import RINGS
from netuned.tunables.rps import RPS
from netuned.tunables.rss import RSS
from netuned.tunables.rules import RULES
from netuned.tunables.rxqs import RXQS
from netuned.tunables.sysctl import SYSCTL
from netuned.tunables.xps import XPS

TUNABLES: Final[tuple[Tunable, ...]] = (
    *(CHANNELS, RINGS, OFFLOADS, LINK, COALESCE, HASHING, RSS, CONTEXTS),
    *(RULES, NAPI, IRQ, RPS, RFS, XPS, RXQS, BQL, QDISC),
)
HOST_TUNABLES: Final[tuple[Tunable, ...]] = (FLOWS, SYSCTL, HUGEPAGES, IRQBALANCE)
"""What is no single card's: the tunables of the host."""
BY_NAME: Final[dict[str, Tunable]] = {tunable.name: tunable for tunable in TUNABLES}
HOST_BY_NAME: Final[dict[str, Tunable]] = {tunable.name: tunable for tunable in HOST_TUNABLES}
EVERY: Final[dict[str, Tunable]] = {**HOST_BY_NAME, **BY_NAME}
"""By name, a card's where the host has one of the same name, which is as that."""
NAMES: Final = frozenset(BY_NAME)


def tunables_of(nic: Nic) -> dict[str, Tunable]:
    """By name: a card's, or the host's."""
    return HOST_BY_NAME if nic is HOST else BY_NAME


__all__ = [
    "BY_NAME",
    "EVERY",
    "HOST_BY_NAME",
    "HOST_TUNABLES",
    "NAMES",
    "TUNABLES",
    "Target",
    "Tunable",
    "View",
    "tunables_of",
]
