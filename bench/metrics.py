"""What a scrape of netuned-exporter takes, with a daemon and its 4 cards of 64 queues each.

Interrupts and received packets are made up, as for ``top``; all else is real.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from unittest.mock import patch

from bench.table import Row, percentile
from bench.top import CARDS, CPUS, QUEUES, Busy, count, make_up, with_interrupts
from netuned.kernel import Kernel
from tests.netns.lab import Lab

BOUND_MS = 20.0
PROFILE = """\
match: [{kind: veth, name: "lan*"}]
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo_fast}
"""


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        make_up(lab, Path(directory))
        lab.profile("edge", PROFILE)
        lab.start()
        for name in CARDS:
            lab.wait_state(name, "in-sync", 60)
        words = (sys.executable, "-m", "bench.metrics", directory, str(rounds))
        done = subprocess.run(
            lab.command(*words), env=lab.environment, check=True, capture_output=True, text=True
        )
        told = json.loads(done.stdout)
    cards = f"{len(CARDS)} cards × {QUEUES} queues"
    rows = []
    for what, (took, used, size, largest) in told.items():
        rows += [
            Row(f"scrape {what}", statistics.median(took) * 1e3, "ms", BOUND_MS, cards),
            Row("  p99", percentile(took, 0.99) * 1e3, "ms", None, f"{rounds} in a row"),
            Row("  processor time", used * 1e3, "ms", None, "of both ends of HTTP"),
            Row("  size", size / 1e3, "kB"),
            Row("  resident then", largest, "MB"),
        ]
    rows[-5] = Row(rows[-5].what, rows[-5].value, "ms", BOUND_MS, f"{cards}, {CPUS} CPUs' counts")
    return rows


def _inside(root: str, rounds: str) -> None:
    """In the namespace: serve, and ask."""
    from netuned.metrics import collecting, exporter

    told = {}
    with (
        patch("netuned.kernel.Kernel", partial(Kernel, root)),
        patch("netuned.hardware.host.read_nics", with_interrupts),
        patch("netuned.counters.take.Taker", Busy),
        patch("netuned.metrics.collecting.Counting._is_asked", lambda self, nic: True),
    ):
        for counters in (False, True):
            serving = exporter.server(collecting.collector(counters=counters), "127.0.0.1:0")
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            took, used = [], 0.0
            _scrape(serving.server_port)
            for number in range(int(rounds)):
                count(Path(root), number)
                start, spent = time.perf_counter(), time.process_time()
                size = _scrape(serving.server_port)
                took.append(time.perf_counter() - start)
                used += (time.process_time() - spent) / int(rounds)
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
            told["with counters" if counters else "of the state"] = took, used, size, resident
    print(json.dumps(told))


def _scrape(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200
    return len(text)


if __name__ == "__main__":
    _inside(*sys.argv[1:])
