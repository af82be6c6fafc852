"""What it takes to ask: ``doctor`` beside the tools of it, ``report`` of 1,024 CPUs."""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.table import Row
from netuned.report.page import html
from tests.netns.lab import Lab
from tests.unit import pages

CTL = (sys.executable, "-m", "netuned.cli")
CARD, QUEUES = "lan0", 64
BY_HAND = (("mpstat", "-P", "ALL", "1", "1"), ("ethtool", "-S", CARD), ("cat", "/proc/interrupts"),
           ("cat", "/proc/net/softnet_stat"), ("ethtool", "-S", CARD))  # fmt: skip
"""The counters of a second, as people look at them; mpstat is sysstat's."""
DRAWN_S, PAGE_KIB = 2.0, 1024.0


def measure(rounds: int = 5) -> list[Row]:
    with Lab() as lab:
        lab.add_pair(CARD, "peer0", queues=QUEUES)
        lab.shell(f"tc qdisc replace dev {CARD} root mq")
        rows = _doctor(lab, rounds)
    with tempfile.TemporaryDirectory() as directory:
        return [*rows, *_report(Path(directory), rounds)]


def _doctor(lab: Lab, rounds: int) -> list[Row]:
    """``doctor`` and ``top`` of a second, without a daemon, and the tools of it where they are."""
    used, whole = _median(lab.command(*CTL, "doctor", CARD, "--for", "1s"), rounds)
    once, _ = _median(lab.command(*CTL, "top", CARD, "--once", "--interval", "1"), rounds)
    what = f"{QUEUES} queues; {rounds} runs"
    rows = [
        Row("netunedctl doctor --for 1s", whole, "s", None, what),
        Row("  processor time", used, "s", None, "start, facts, six samples, readers of sockets"),
        Row("netunedctl top --once, processor time", once, "s", None, what),
    ]
    if shutil.which("mpstat"):
        tools = sum(_median(lab.command(*words), rounds)[0] for words in BY_HAND)
        names = "mpstat -P ALL 1 1, ethtool -S twice, /proc/interrupts, softnet_stat"
        rows.append(Row("  by hand, processor time", tools, "s", None, names))
    return rows


def _report(directory: Path, rounds: int) -> list[Row]:
    machine, page = directory / "machine.yaml", directory / "page.html"
    machine.write_text(pages.LARGE)
    words = ("report", "--snapshot", str(machine), "--out", str(page), "--force")
    used, whole = _median([*CTL, *words], rounds)
    large = pages.page(pages.LARGE)
    drawn = []
    for _ in range(rounds):
        start = time.process_time()
        html(large)
        drawn.append(time.process_time() - start)
    what = "1,024 CPUs, 4 cards × 64 queues"
    return [
        Row("netunedctl report --snapshot", whole, "s", None, what),
        Row("  processor time", used, "s", None, what),
        Row("  to draw it", statistics.median(drawn), "s", DRAWN_S, f"{what}, measured load"),
        Row("  size of the page", page.stat().st_size / 1024, "KiB", PAGE_KIB, what),
    ]


def _median(words: Sequence[str], rounds: int) -> tuple[float, float]:
    """Processor time and time of a whole process."""
    used, whole = [], []
    for _ in range(rounds):
        before, start = _children_s(), time.monotonic()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        whole.append(time.monotonic() - start)
        used.append(_children_s() - before)
    return statistics.median(used), statistics.median(whole)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
