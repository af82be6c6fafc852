"""What ``netunedctl fleet plan`` takes for the snapshots of 2,000 hosts of 64 CPUs, on two cores.

They are copies of twenty: nothing is planned once for several of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.table import Row
from netuned.snapshots import snapshot
from netuned.snapshots.described import machine

JOBS = 2
HOST = """\
nodes: 2
cores: 16
threads: 2
cards:
  - {{name: eth0, driver: {driver}, node: 0, queues: {queues}, maximum: 64, irqs: {irqs}}}
  - {{name: eth1, driver: {driver}, node: 1, queues: {queues}, maximum: 64, irqs: {irqs}}}
"""
DRIVERS, QUEUES = ("mlx5_core", "ice"), (16, 32)
IRQS = ("0-31", "32-63", "0-15", "1-30", "40-63")
PROFILE = """\
match: [{driver: [ice, mlx5_core]}]
channels: {combined: auto}
irq: {cpus: local}
rps: {cpus: auto}
xps: {cpus: auto}
qdisc: {kind: fq}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: seconds, processor seconds of all its processes, MB of the largest of them, and kB
    that it printed."""

    took: float
    used: float
    largest: float
    printed: float


def measure(hosts: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "profiles").mkdir()
        (root / "profiles/edge.yaml").write_text(PROFILE)
        kinds = [
            _written(root / f"kind{n}.tar.xz", *kind)
            for n, kind in enumerate(product(DRIVERS, QUEUES, IRQS))
        ]
        size = max(kind.stat().st_size for kind in kinds) / 1e3
        few, many = (_plan(root, kinds, number) for number in (hosts // 10, hosts))
        page = _plan(root, kinds, hosts, "--html")
    what = f"{hosts:,} hosts of 64 CPUs and 2 cards, {JOBS} processes"
    return [
        Row("fleet plan", many.took, "s", 60.0 * hosts / 2000, what),
        Row("  rate", hosts / many.took, "hosts/s", None, what),
        Row("  processor time a host", many.used / hosts * 1e3, "ms", None, what),
        Row("  its largest process", many.largest, "MB", None, what),
        Row("    that / of a tenth of the hosts", many.largest / few.largest, "×", 1.2, "flat: 1"),
        Row("fleet plan --html", page.took, "s", 60.0 * hosts / 2000, what),
        Row("  the page", page.printed, "kB", None, f"the groups of {hosts:,} hosts"),
        Row("  a host's snapshot", size, "kB", 100.0, "the largest"),
    ]


def _written(path: Path, driver: str, queues: int, irqs: str) -> Path:
    text = HOST.format(driver=driver, queues=queues, irqs=irqs)
    snapshot.write(snapshot.take(machine(text)), str(path))
    return path


def _plan(root: Path, kinds: list[Path], hosts: int, *options: str) -> Run:
    """Plan so many, by whole processes."""
    place = root / str(hosts)
    if not place.exists():
        place.mkdir()
        for number in range(hosts):
            os.link(kinds[number % len(kinds)], place / f"web{number:04}.tar.xz")
    words = ("fleet", "plan", str(place), "--profiles", str(root / "profiles"), "--jobs", str(JOBS))
    command = [sys.executable, "-m", "netuned.cli", *words, *options]
    start = time.monotonic()
    with (root / "printed").open("wb") as printed:
        with subprocess.Popen(command, stdout=printed) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - start
        assert process.returncode == 0
        size = printed.seek(0, os.SEEK_END) / 1e3
    return Run(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, size)
