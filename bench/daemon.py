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
from bench.told import in_force_at
from netuned.profiles.compiled import NAME as COMPILED
from tests.netns.lab import Lab

QUEUES = 8
STARTS = 7
STATUSES = 21


class CalmLab(Lab):
    """Directories on the way to profiles are watched: each temporary file would wake it up."""

    above = "/run"


def measure(idle_s: float) -> list[Row]:
    """4 cards of 8 queues in force."""
    status = []
    with CalmLab() as lab:
        lab.start_bus()
        for number in range(4):
            lab.add_pair(f"lan{number}", f"plan{number}", queues=QUEUES)
        lab.profile("edge", PROFILE)
        starts = Starts(lab)
        in_force = [_in_force_after_ready(lab) for _ in range(STARTS)]
        compiling, ready = starts.in_turn(STARTS)
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
    turns = f"{STARTS} of each in turn"
    fresh = f"4 cards × {QUEUES} queues, none set; {min(in_force):.0f} to {max(in_force):.0f}"
    return [
        Row("daemon: start to READY", statistics.median(ready), "ms", 300, "exec to in force"),
        Row("  of profiles not compiled before", statistics.median(compiling), "ms", None, turns),
        Row("  cards in force after READY", statistics.median(in_force), "ms", 150, fresh),
        Row("daemon: resident", memory, "MB", 45, "4 cards × 8 queues"),
        Row("daemon: idle CPU", max(100 * used / idle_s, 0.0), "%", 0.05, ticks),
        Row("daemon: descriptors gained", grown, "", 0, f"over {idle_s:.0f} s"),
        Row("netunedctl status", statistics.median(status), "ms", 60, f"{STATUSES} runs, whole"),
    ]


class Starts:
    """Starts of a daemon whose profiles it has compiled before, and of one that has not."""

    def __init__(self, lab: Lab) -> None:
        """The first start, after which what was compiled is kept."""
        self._lab = lab
        self._kept = lab.directory / "state" / COMPILED
        lab.start()
        lab.wait(self._kept.exists, "what was compiled, kept")
        lab.stop()

    def in_turn(self, rounds: int) -> tuple[list[float], list[float]]:
        """Milliseconds to READY: without what was compiled, and with it. The last one stays."""
        content = self._kept.read_bytes()
        compiling, ready = [], []
        for number in range(rounds):
            self._kept.unlink()
            compiling.append(self._start_ms())
            self._lab.stop()
            self._kept.write_bytes(content)
            self._kept.chmod(0o600)
            ready.append(self._start_ms())
            if number < rounds - 1:
                self._lab.stop()
        return compiling, ready

    def _start_ms(self) -> float:
        began = time.perf_counter()
        self._lab.start(bus=False)
        return 1000 * (time.perf_counter() - began)


def _in_force_after_ready(lab: Lab) -> float:
    """Milliseconds from READY until the last of four cards is in force; none where that is first.

    They are made anew for it.
    """
    for number in range(4):
        lab.run("ip", "link", "del", f"lan{number}")
        lab.add_pair(f"lan{number}", f"plan{number}", queues=QUEUES)
    lab.log.write_text("")
    lab.start(bus=False)
    ready = time.time()
    lab.wait(lambda: len(in_force_at(lab.log.read_text())) >= 4, "all cards in force")
    after_s = max(in_force_at(lab.log.read_text())) - ready
    lab.stop()
    return max(1000 * after_s, 0.0)
