"""What ``netunedctl top`` costs: a refresh of 4 cards of 64 queues each second, in a terminal.

A namespace's cards have no interrupts and count no received packets by queue: these are made up,
256 interrupts as files of 128 CPUs' counts, of which all change.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from bench.table import Row
from netuned.counters import take
from netuned.counters.sample import Sample
from netuned.cpuset import CpuSet
from netuned.hardware.host import read_nics
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import COMBINED, Vector
from netuned.kernel import Kernel
from tests.netns.lab import Lab

CARDS = tuple(f"lan{n}" for n in range(4))
QUEUES = 64
CPUS = 128
BOUND_PERCENT = 1.0
"""Of a CPU, at one refresh each second."""
WARM_S = 4.0
SIZES = {"80 × 24": (80, 24), "200 × 60": (200, 60)}
COUNT = "sys/kernel/irq/{}/per_cpu_count"


def measure(seconds: float) -> list[Row]:
    """Processor time of whole processes; their start is not in it."""
    rows = []
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        root = Path(directory)
        make_up(lab, root)
        for form, size in (("tables", (80, 24)), *SIZES.items()):
            options = ("--plain",) if form == "tables" else ()
            took = _run(lab, root, size, seconds, options)
            what = (
                f"{len(CARDS)} cards × {QUEUES} queues, {CPUS} CPUs' counts; refreshed each second"
            )
            rows.append(Row(f"top, {form}: of a CPU", 100 * took, "%", BOUND_PERCENT, what))
    return rows


def make_up(lab: Lab, root: Path) -> None:
    """The cards, and a directory where they have interrupts."""
    for name in ("proc", "sys/class", "sys/devices"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(f"/{name}")
    for irq in range(len(CARDS) * QUEUES):
        (root / COUNT.format(irq)).parent.mkdir(parents=True)
        (root / COUNT.format(irq)).touch()
    count(root, 0)
    for name in CARDS:
        lab.add_pair(name, f"p{name}", queues=QUEUES)
        lab.shell(f"tc qdisc replace dev {name} root mq")


def count(root: Path, number: int) -> None:
    """All interrupts have come so often on each of two CPUs; no file is ever seen cut off."""
    for irq in range(len(CARDS) * QUEUES):
        counts = ["0"] * CPUS
        counts[irq % 2] = counts[irq % CPUS] = str(number * (irq + 1))
        with (root / COUNT.format(irq)).open("r+") as file:
            file.write(f"{','.join(counts)}\n")


def _run(
    lab: Lab, root: Path, size: tuple[int, int], seconds: float, options: tuple[str, ...]
) -> float:
    """Seconds of a CPU that each refresh takes."""
    told = root / "took"
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("=4H", size[1], size[0], 0, 0))
    words = lab.command(
        sys.executable, "-m", "bench.top", str(root), str(told), str(seconds), *options
    )
    environment = {**os.environ, "TERM": "xterm-256color"}
    top = subprocess.Popen(words, stdin=far, stdout=far, stderr=far, env=environment)
    os.close(far)

    def read() -> None:
        with contextlib.suppress(OSError):  # it has ended
            while os.read(near, 1 << 16):
                pass

    threading.Thread(target=read, daemon=True).start()
    for number in itertools.count(1):
        count(root, number)
        try:
            top.wait(0.5)
            break
        except subprocess.TimeoutExpired:
            continue
    os.close(near)
    return float(told.read_text())


class Busy(take.Taker):
    """Of queues all that veth counts nothing of."""

    counted = itertools.count(1)

    def take(self, nics: Mapping[int, Nic]) -> Sample:
        sample = super().take(nics)
        n = next(self.counted)
        rx = {q: {"packets": n * q, "bytes": n * q * 999, "drops": 0} for q in range(QUEUES)}
        return replace(sample, cards={i: replace(c, rx=rx) for i, c in sample.cards.items()})


def with_interrupts(kernel: Kernel, known: Mapping[int, Nic], *_: object) -> dict[int, Nic]:
    """The cards as ``read_nics`` finds them, with interrupts that are made up."""
    nics = {i: nic for i, nic in read_nics(kernel, known).items() if nic.name in CARDS}
    for at, (ifindex, nic) in enumerate(nics.items()):
        irqs = tuple(range(at * QUEUES, (at + 1) * QUEUES))
        vectors = tuple(Vector(COMBINED, q, irq) for q, irq in enumerate(irqs))
        nics[ifindex] = replace(
            nic, vectors=vectors, interrupts=irqs, affinity=(CpuSet(1),) * QUEUES
        )
    return nics


def _inside(root: str, told: str, seconds: str, *options: str) -> None:
    """In the namespace and a terminal: ``top``, until it was measured for so long."""
    from netuned.cli import main

    def watch() -> None:
        time.sleep(WARM_S)
        refreshes, spent = next(Busy.counted), time.process_time()
        time.sleep(float(seconds))
        took = (time.process_time() - spent) / (next(Busy.counted) - refreshes - 1)
        Path(told).write_text(str(took))
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    with (
        patch("netuned.kernel.Kernel", partial(Kernel, root)),
        patch("netuned.top.refreshing.read_nics", with_interrupts),
        patch("netuned.top.refreshing.Taker", Busy),
    ):
        main.run(["top", *CARDS, "--by", "queue", *options])


if __name__ == "__main__":
    _inside(*sys.argv[1:])
