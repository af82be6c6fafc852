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
    files, c_dump = middle(t["files"] for t in theirs), middle(t["qdiscs"] for t in theirs)
    what = f"{len(CARDS)} cards × {QUEUES} queues"
    return [
        Row("pass without work, whole", whole, "µs", None, what),
        Row("  its qdisc dump", dump, "µs", None, f"C receives the same dump in {c_dump:.0f} µs"),
        Row("  C over the same attributes", files, "µs", None, "kept descriptors, pread"),
        Row("  (pass − dump) / C", (whole - dump) / files, "×", 2.0, "one run, medians"),
    ]


def _pass(profiles: str) -> None:
    """Inside the namespace: time passes of the very function the daemon's resync runs."""
    from netuned.apply import Card, sweep
    from netuned.baseline import Baseline
    from netuned.host import read_host
    from netuned.kernel import Kernel
    from netuned.loader import load
    from netuned.planner import plan_host

    kernel = Kernel()
    host = read_host(kernel)
    desired = plan_host(load((profiles,)).profiles, host)
    baseline = Baseline(Path("/nonexistent"), "")
    cards = [Card(kernel, host.nics[ifindex]) for ifindex in desired.targets]
    for card in cards:
        card.aim(desired.targets[card.nic.ifindex], baseline)
    assert len(cards) == len(CARDS)
    if sweep(kernel, cards):
        raise SystemExit("the cards are not in sync")
    whole, dump = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        sweep(kernel, cards)
        middle = time.perf_counter()
        kernel.rtnl.qdiscs()
        dump.append(1e6 * (time.perf_counter() - middle))
        whole.append(1e6 * (middle - start))
    print(json.dumps({"pass": statistics.median(whole), "dump": statistics.median(dump)}))


if __name__ == "__main__":
    _pass(sys.argv[1])
