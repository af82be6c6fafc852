"""Drift repair: from a foreign write's start to the restored value, while the card has traffic.

Against a C program (``repair.c``) that waits for the same event, reads the same and writes back.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from bench.table import Row, percentile
from tests.netns.lab import Lab
from tests.netns.scaled import LIMITS

QUEUES = 8
BLOCKS = 5
PROFILE = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""
TIMES = 8
"""Of both the median and the 99th of a hundred."""
QUEUE_FILES = "/sys/class/net/lan0/queues"
RPS = tuple(f"{QUEUE_FILES}/rx-{queue}/rps_cpus" for queue in range(QUEUES))
XPS = tuple(f"{QUEUE_FILES}/tx-{queue}/xps_cpus" for queue in range(QUEUES))
KINDS = {"RPS": ("files", *RPS), "XPS": ("files", *XPS), "qdisc": ("qdisc",),
         "channels": ("channels", "lan0")}  # fmt: skip
"""What is broken, and the words for C. The qdisc's is told the ifindex."""
REST_S = {"channels": 0.05}
"""After each repair: what else of the card is put back with its queues."""


class UnboundedLab(Lab):
    """What is measured is a repair, so the thousandth is made like the first."""

    module = "tests.netns.scaled"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, LIMITS: '{"repairs": 100000, "suspect": 100000}'}


def measure(writes: int) -> list[Row]:
    """About ``writes`` foreign writes of each kind to an 8-queue veth card, in turn with C."""
    rows = []
    with tempfile.TemporaryDirectory() as directory, UnboundedLab() as lab:
        program = str(Path(directory) / "repair")
        source = Path(__file__).with_name("repair.c")
        subprocess.run(["gcc", "-O2", "-o", program, str(source)], check=True)
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        traffic = subprocess.Popen(
            lab.command(sys.executable, "-m", "bench.traffic", "lan0", "peer0")
        )
        try:
            for kind, words in KINDS.items():
                each = max(writes // BLOCKS // (4 if kind in REST_S else 1), 4)
                rows += _compared(lab, kind, (program, *words), each)
        finally:
            traffic.terminate()
            traffic.wait()
    return [*rows, Row("drift repair, interrupts and rings", 0, "", None, WITHOUT)]


WITHOUT = "not measured: veth has none, and this kernel no netdevsim"


def _compared(lab: Lab, kind: str, program: tuple[str, ...], each: int) -> list[Row]:
    """Blocks of netuned's repairs and of C's take turns."""
    if kind == "qdisc":
        program = (*program, lab.shell("cat /sys/class/net/lan0/ifindex").strip())
    assert lab.daemon
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(BLOCKS):
        ours.append(_broken(lab, kind, each))
        lab.daemon.send_signal(signal.SIGSTOP)
        try:
            with _repairing(lab, program):
                theirs.append(_broken(lab, kind, each))
        finally:
            lab.daemon.send_signal(signal.SIGCONT)
        time.sleep(REST_S.get(kind, 0))
        lab.wait_state("lan0", "in-sync")
    pairs = zip(ours, theirs, strict=True)
    ratios = [statistics.median(own) / statistics.median(floor) for own, floor in pairs]
    spread = f"{BLOCKS} blocks of {each} in turn, {min(ratios):.2f} to {max(ratios):.2f}"
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        own, floor = (percentile([*chain(*blocks)], share) for blocks in (ours, theirs))
        ratio = statistics.median(ratios) if name == "p50" else own / floor
        against = f"{own:.2f} ms against {floor:.3f} ms" + (f"; {spread}" if name == "p50" else "")
        rows.append(Row(f"drift repair, {kind}: {name} ÷ C", ratio, "×", TIMES, against))
    return rows


@contextlib.contextmanager
def _repairing(lab: Lab, program: tuple[str, ...]) -> Iterator[None]:
    """C in netuned's place."""
    with subprocess.Popen(lab.command(*program), stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            if process.stdout.readline() != b"ready\n":
                raise SystemExit(f"{program[0]} ended with {process.wait()}")
            yield
        finally:
            process.terminate()


def _broken(lab: Lab, kind: str, count: int) -> list[float]:
    printed = lab.run(sys.executable, "-m", "bench.drift", kind, str(count)).stdout
    return [float(line) for line in printed.split()]


def _break(kind: str, count: int) -> None:
    """Inside the namespace: break queue after queue, print each repair's milliseconds."""
    from netuned.kernel import Kernel
    from tests.netns.breaker import measure as repair

    kernel, ifindex = Kernel(), int(Path("/sys/class/net/lan0/ifindex").read_text())

    def until(wrong: Callable[[], object], right: Callable[[], bool]) -> float:
        start = time.perf_counter()
        wrong()
        while not right():
            if time.perf_counter() - start > 5:
                raise TimeoutError(f"{kind} was not put back")
            time.sleep(0.00002)
        return time.perf_counter() - start

    def qdisc(number: int) -> float:
        leaf = [e for e in kernel.rtnl.qdiscs()[ifindex] if e.kind == "pfifo"][number % QUEUES]

        def wrong() -> None:
            kernel.rtnl.replace_qdisc(ifindex, leaf.parent, leaf.handle, "pfifo", {"limit": 77})

        return until(wrong, lambda: leaf in kernel.rtnl.qdiscs()[ifindex])

    def channels(number: int) -> float:
        had = kernel.ethtool.channels(ifindex)

        def wrong() -> None:
            kernel.ethtool.set_channels(ifindex, rx=4, tx=4)

        return until(wrong, lambda: kernel.ethtool.channels(ifindex) == had)

    breaks: dict[str, Callable[[int], float]] = {
        "RPS": lambda number: repair(RPS[number % QUEUES], b"1"),
        "XPS": lambda number: repair(XPS[number % QUEUES], b"3"),
        "qdisc": qdisc,
        "channels": channels,
    }
    for number in range(count):
        print(1000 * breaks[kind](number))
        time.sleep(REST_S.get(kind, 0.005))


if __name__ == "__main__":
    _break(sys.argv[1], int(sys.argv[2]))
