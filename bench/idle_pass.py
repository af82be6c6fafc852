"""A pass that finds nothing to do: 4 cards of 64 queues, against C reading the same attributes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row
from tests.netns.lab import Lab

CARDS = tuple(f"lan{n}" for n in range(4))
QUEUES = 64
ROUNDS = 301
PROFILE = """\
match:
  - {kind: veth, name: "lan*"}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""


def measure() -> list[Row]:
    """The median of one process's passes and of the C program's, taken in turn."""
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        floor = Path(directory) / "floor"
        source = Path(__file__).with_name("floor.c")
        subprocess.run(["gcc", "-O2", "-o", str(floor), str(source)], check=True)
        for name in CARDS:
            lab.add_pair(name, f"p{name}", queues=QUEUES)
        lab.profile("edge", PROFILE)
        lab.start()
        for name in CARDS:
            lab.wait_state(name, "in-sync", timeout_s=60)
        lab.stop()
        paths = "".join(
            f"/sys/class/net/{name}/queues/{kind}-{n}/{file}\n"
            for name in CARDS
            for kind, file in (("rx", "rps_cpus"), ("tx", "xps_cpus"))
            for n in range(QUEUES)
        )
        ours: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        for _ in range(3):
            answer = lab.run(sys.executable, "-m", "bench.idle_pass", str(lab.profiles)).stdout
            ours.append(json.loads(answer))
            printed = subprocess.run(
                lab.command(str(floor)), input=paths, capture_output=True, text=True, check=True
            ).stdout.split()
            theirs.append({printed[0]: float(printed[1]), printed[2]: float(printed[3])})
    middle = statistics.median
    whole, dump = middle(o["pass"] for o in ours), middle(o["dump"] for o in ours)
    full = middle(o["full"] for o in ours)
    files, c_dump = middle(t["files"] for t in theirs), middle(t["qdiscs"] for t in theirs)
    what = f"{len(CARDS)} cards × {QUEUES} queues"
    return [
        Row("pass without work (resync)", whole, "µs", None, what),
        Row("  its qdisc dump", dump, "µs", None, f"C receives the same dump in {c_dump:.0f} µs"),
        Row("  C over the same attributes", files, "µs", None, "kept descriptors, pread"),
        Row("  (pass − dump) / C", (whole - dump) / files, "×", 2.0, "one run, medians"),
        Row("apply without work, facts read anew", full, "µs", None, what),
    ]


def _pass(profiles: str) -> None:
    """Inside the namespace: time the resync of a real loop, in a process without its D-Bus."""
    import asyncio

    from netuned.kernel import Kernel
    from netuned.reconcile.loop import Options, Reconciler
    from netuned.reconcile.requests import Requests
    from tests.netns.listener import Silent

    async def passes() -> dict[str, float]:
        kernel = Kernel()
        directory = Path(profiles).parent
        options = Options((profiles,), directory / "state", directory / "run")
        loop = Reconciler(kernel, options, Silent())
        requests = Requests(loop)
        await loop.start()
        states = [nic.state for nic in loop.status().nics if nic.profile]
        if states != ["in-sync"] * len(CARDS):
            raise SystemExit(f"the cards are not in sync: {states}")
        resync, full, dump = [], [], []
        writes = kernel.writes
        for _ in range(ROUNDS):
            start = time.perf_counter()
            await loop.resync()
            middle = time.perf_counter()
            kernel.rtnl.qdiscs()
            dump.append(1e6 * (time.perf_counter() - middle))
            resync.append(1e6 * (middle - start))
        for _ in range(21):
            start = time.perf_counter()
            await requests.reconcile("")
            full.append(1e6 * (time.perf_counter() - start))
        assert kernel.writes == writes
        await loop.close()
        median = statistics.median
        return {"pass": median(resync), "dump": median(dump), "full": median(full)}

    print(json.dumps(asyncio.run(passes())))


if __name__ == "__main__":
    _pass(sys.argv[1])
