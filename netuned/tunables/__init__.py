"""The tunables, one module each, in the order in which they are applied.

A tunable knows its own state and nothing of the others: which CPU serves which queue was decided
before (``placement``), what must come first follows from the order here and from the values
(``diff``). Adding one is adding its module to ``TUNABLES`` and its lines to the profile schema.
"""

from __future__ import annotations

from typing import Final

from netuned.tunables import channels, irq, qdisc, rfs, rps, rss, xps
from netuned.tunables.base import Target, Tunable, View

TUNABLES: Final[tuple[Tunable, ...]] = (channels, rss, irq, rps, rfs, xps, qdisc)
BY_NAME: Final[dict[str, Tunable]] = {tunable.NAME: tunable for tunable in TUNABLES}

__all__ = ["BY_NAME", "TUNABLES", "Target", "Tunable", "View"]
