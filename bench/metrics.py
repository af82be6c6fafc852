"""What a scrape of netuned-exporter takes, with a daemon and its 4 cards of 64 queues each.

Interrupts and received packets are made up, as for ``top``; all else is real.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
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
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""As Prometheus 3 asks, but for what this exporter does not have."""
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
            Row("  processor time", used * 1e3, "ms", None, "the exporter's"),
            Row("  size", size / 1e3, "kB"),
            Row("  resident then", largest, "MB"),
        ]
    rows[-5] = Row(rows[-5].what, rows[-5].value, "ms", BOUND_MS, f"{cards}, {CPUS} CPUs' counts")
    return rows


def _inside(root: str, rounds: str) -> None:
    """In the namespace: have another process serve, and ask."""
    told = {}
    for counters in (False, True):
        reader, writer = os.pipe()
        if not (pid := os.fork()):
            _serve(root, writer, counters=counters)
        port = int(os.read(reader, 8))
        clock = (~pid << 3) | 2  # of that process's processor time, clock_getcpuclockid(3)
        took, used = [], 0.0
        try:
            _scrape(port)
            for number in range(int(rounds)):
                count(Path(root), number)
                start, spent = time.perf_counter(), time.clock_gettime(clock)
                size = _scrape(port)
                took.append(time.perf_counter() - start)
                used += (time.clock_gettime(clock) - spent) / int(rounds)
            resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
        finally:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told["with counters" if counters else "of the state"] = took, used, size, resident
    print(json.dumps(told))


def _serve(root: str, writer: int, *, counters: bool) -> None:
    """As ``netuned-exporter``, and tell the port."""
    from netuned.metrics import collecting, exporter

    with (
        patch("netuned.kernel.Kernel", partial(Kernel, root)),
        patch("netuned.hardware.host.read_nics", with_interrupts),
        patch("netuned.counters.take.Taker", Busy),
        patch("netuned.metrics.collecting.Counting._is_asked", lambda self, nic: True),
    ):
        serving = exporter.server(collecting.collector(counters=counters), "127.0.0.1:0")
        exporter.collect_rarely()
        os.write(writer, f"{serving.server_port}".encode())
        serving.serve_forever()


def _scrape(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics", headers={"Accept": ACCEPT})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200
    return len(text)


if __name__ == "__main__":
    _inside(*sys.argv[1:])
