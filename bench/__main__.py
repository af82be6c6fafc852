"""Run all benchmarks and print their table; ``--quick`` takes fewer writes, a shorter idle time."""

from __future__ import annotations

import argparse
import platform
import sys

from bench import daemon, drift, idle_pass, profile_drop
from bench.table import Row, render


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rows: list[Row] = []
    rows += drift.measure(100 if quick else 500)
    rows += idle_pass.measure()
    rows += profile_drop.measure()
    rows += daemon.measure(5.0 if quick else 60.0)
    print(f"Linux {platform.release()}, Python {platform.python_version()}\n")
    print(render(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
