"""What a sample costs: a card of 64 queues on 128 CPUs.

The card, with 64 qdiscs and what its driver counts, is a real one in a namespace. The texts of 128
CPUs and 64 interrupts are as such a host shows them, in a directory of files: the kernel's time to
write those down is not in it. Every interrupt was on every CPU, which is the most there can be.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.table import Row, percentile
from tests.netns.lab import Lab

QUEUES = 64
CPUS = 128
ROUNDS = 300
SETTLE = 10
FIRST_IRQ = 64

_SAMPLE = f"""
import gc, json, sys, time
from dataclasses import replace
from netuned.counters.sample import between
from netuned.counters.take import Taker
from netuned.hardware.host import read_host
from netuned.kernel import Kernel
nics = {{i: n for i, n in read_host(Kernel()).nics.items() if n.name == "lan0"}}
irqs = tuple(range({FIRST_IRQ}, {FIRST_IRQ} + {QUEUES}))
nics = {{i: replace(nic, interrupts=irqs) for i, nic in nics.items()}}
taker = Taker(Kernel(sys.argv[1]))
def whole(sample):
    for card in sample.cards.values():
        for told in (card.rx, card.tx, card.qdiscs, card.kinds, card.interrupts):
            [*told.values()]
    [*sample.cpus.values()]
    return sample
sample = whole(taker.take(nics))
gc.collect()
gc.freeze()
took, told = [], []
for _ in range({ROUNDS}):
    start = time.thread_time()
    after = whole(taker.take(nics))
    taken = time.thread_time()
    whole(between(sample, after))
    took.append(taken - start)
    told.append(time.thread_time() - taken)
    sample = after
card = next(iter(sample.cards.values()))
assert len(sample.cpus) == {CPUS} and len(card.interrupts) == {QUEUES}, sample.missing
assert len(card.qdiscs) == {QUEUES} + 1 and all("ksoftirqd" in c for c in sample.cpus.values())
print(json.dumps([took, told]))
"""


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        write_host(Path(directory))
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.shell("tc qdisc replace dev lan0 root mq")
        took, told = json.loads(lab.run(sys.executable, "-c", _SAMPLE, directory).stdout)
    what = f"{QUEUES} queues, {CPUS} CPUs, {QUEUES} interrupts; {ROUNDS} in a row"
    return [
        Row("one sample, processor time", statistics.median(took) * 1e3, "ms", 5.0, what),
        Row("  p99", percentile(took, 0.99) * 1e3, "ms", None, what),
        Row("  what is between two", statistics.median(told) * 1e3, "ms", None, what),
    ]


def write_host(root: Path) -> None:
    """The files of /proc and /sys that a sample reads, of ``CPUS`` CPUs."""
    cpus = range(CPUS)
    times = " ".join(str(10**7 + n) for n in range(10))
    softnet = " ".join(f"{10**6 + n:08x}" for n in range(12))
    row = "".join(f"{10**8:11d}" for _ in cpus)
    names = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
             "RCU")  # fmt: skip
    intr = " ".join(["1000"] * 4096)
    stat = [f"cpu  {times}", *(f"cpu{cpu} {times}" for cpu in cpus), f"intr {intr}", "ctxt 1"]
    softirqs = [
        "".join(f"       CPU{cpu}" for cpu in cpus),
        *(f"{name:>10}:{row}" for name in names),
    ]
    _write(root / "proc/stat", stat)
    _write(root / "proc/softirqs", softirqs)
    _write(root / "proc/net/softnet_stat", (f"{softnet} {c:08x} 00000000 00000000" for c in cpus))
    for name in ("snmp", "netstat"):
        _write(root / "proc/net" / name, Path(f"/proc/net/{name}").read_text().splitlines())
    for cpu in cpus:
        _write(root / f"proc/{1000 + cpu}/comm", [f"ksoftirqd/{cpu}"])
        _write(root / f"proc/{1000 + cpu}/schedstat", ["123456789 98765 4321"])
    for irq in range(FIRST_IRQ, FIRST_IRQ + QUEUES):
        _write(root / f"sys/kernel/irq/{irq}/per_cpu_count", [",".join(["1234567"] * CPUS)])


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
