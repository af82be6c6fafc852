"""The daemon itself: start to READY, memory, idle CPU, descriptors; and ``netunedctl status``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.idle_pass import PROFILE
from bench.table import Row
from tests.netns.lab import Lab

QUEUES = 8
STARTS = 7
STATUSES = 21


def measure(idle_s: float) -> list[Row]:
    """4 cards of 8 queues in force."""
    ready, status = [], []
    with Lab() as lab:
        lab.start_bus()
        for number in range(4):
            lab.add_pair(f"lan{number}", f"plan{number}", queues=QUEUES)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.stop()
        for _ in range(STARTS):
            start = time.perf_counter()
            lab.start(bus=False)
            ready.append(1000 * (time.perf_counter() - start))
            if len(ready) < STARTS:
                lab.stop()
        for number in range(4):
            lab.wait_state(f"lan{number}", "in-sync")
        ctl = [str(Path(sys.executable).with_name("netunedctl")), "status"]
        for _ in range(STATUSES):
            start = time.perf_counter()
            subprocess.run(ctl, env=lab.environment, stdout=subprocess.DEVNULL, check=True)
            status.append(1000 * (time.perf_counter() - start))
        for _ in range(10):  # each of its worker threads opens sockets of its own, once
            lab.ctl("apply")
        assert lab.daemon
        process = psutil.Process(lab.daemon.pid)
        time.sleep(1)
        before, descriptors = process.cpu_times(), process.num_fds()
        time.sleep(idle_s)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        memory = process.memory_info().rss / 1e6
        grown = process.num_fds() - descriptors
    ticks = f"{idle_s:.0f} s, counted in ticks of {1000 / os.sysconf('SC_CLK_TCK'):.0f} ms"
    return [
        Row("daemon: start to READY", statistics.median(ready), "ms", 300, "exec to in force"),
        Row("daemon: resident", memory, "MB", 45, "4 cards × 8 queues"),
        Row("daemon: idle CPU", max(100 * used / idle_s, 0.0), "%", 0.05, ticks),
        Row("daemon: descriptors gained", grown, "", 0, f"over {idle_s:.0f} s"),
        Row("netunedctl status", statistics.median(status), "ms", 60, f"{STATUSES} runs, whole"),
    ]
