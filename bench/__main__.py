"""Run benchmarks, all unless some are named, and print their table.

``--quick`` takes fewer writes and rounds and a shorter idle time.
"""

from __future__ import annotations

import argparse
import platform
import sys
from functools import partial

from bench import (
    asking,
    counters,
    daemon,
    drift,
    effect,
    findings,
    fleet,
    idle_pass,
    many,
    metrics,
    packages,
    peers,
    placement,
    planning,
    profile_drop,
    starting,
    top,
)
from bench.calibration import calibrated
from bench.table import render

PARTS = {
    "drift": lambda quick: drift.measure(100 if quick else 500),
    "idle": lambda quick: idle_pass.measure(),
    "drop": lambda quick: profile_drop.measure(),
    "daemon": lambda quick: daemon.measure(5.0 if quick else 60.0),
    "peers": lambda quick: peers.measure(5.0 if quick else 60.0),
    "starting": lambda quick: starting.measure(),
    "many": lambda quick: many.measure(),
    "counters": lambda quick: counters.measure(),
    "asking": lambda quick: asking.measure(1 if quick else 5),
    "findings": lambda quick: findings.measure(),
    "effect": lambda quick: effect.measure(2 if quick else 6),
    "placement": lambda quick: placement.measure(),
    "top": lambda quick: top.measure(5.0 if quick else 20.0),
    "fleet": lambda quick: fleet.measure(200 if quick else 2000),
    "metrics": lambda quick: metrics.measure(50 if quick else 300),
    "packages": lambda quick: packages.measure(3 if quick else 7),
    "planning": lambda quick: planning.measure(3 if quick else 9),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    rows = calibrated(
        {part: partial(PARTS[part], options.quick) for part in options.parts or PARTS}
    )
    print(f"Linux {platform.release()}, Python {platform.python_version()}\n")
    print(render(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
