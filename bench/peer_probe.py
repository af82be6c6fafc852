"""Run by the throwaway root's own Python, in it: weighs the programs that are there. Prints JSON.

It knows nothing of netuned, and needs what TuneD brings along (python3-dbus).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PROFILES = {
    "quiet": "[main]\nsummary=a\n[net]\ndevices=lan*\nfeatures=tso=on\n",
    "loud": "[main]\nsummary=b\n[net]\ndevices=lan*\nfeatures=tso=off gso=off\n"
    "channels=rx 4 tx 4\n[sysctl]\nnet.core.somaxconn=8192\n",
}
READY_S = 30.0


def weigh(pid: int, seconds: float) -> dict[str, float]:
    """Memory in MB, the share of a CPU that is used, and how often it wakes up in a second."""
    resident = {
        line.split()[0].rstrip(":"): int(line.split()[1]) / 1e3
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    before, start = _ran(pid), time.monotonic()
    time.sleep(seconds)
    after, took = _ran(pid), time.monotonic() - start
    used, woke = (b - a for a, b in zip(before, after, strict=True))
    return {
        "resident": resident["Rss"],
        "proportional": resident["Pss"],
        "percent": 100 * used / 1e9 / took,
        "wakeups": woke / took,
    }


def _ran(pid: int) -> tuple[int, int]:
    """Nanoseconds on a CPU and the times it went to sleep, of all threads that are there."""
    used = woke = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        used += int((thread / "schedstat").read_text().split()[0])
        status = (thread / "status").read_text()
        woke += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return used, woke


def timed(*words: str) -> float:
    """Milliseconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - start)


def main(rounds: int, idle_s: float) -> None:
    import dbus  # type: ignore[import-not-found]  # of the root's Python

    bus = dbus.SystemBus()

    def start(name: str, *words: str) -> tuple[subprocess.Popen[bytes], float]:
        began = time.perf_counter()
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(words, stdout=quiet, stderr=quiet)
        while name and not bus.name_has_owner(name):
            if time.perf_counter() - began > READY_S or process.poll() is not None:
                raise SystemExit(f"{words[0]} did not come up")
            time.sleep(0.001)
        return process, 1000 * (time.perf_counter() - began)

    for name, text in PROFILES.items():
        folder = Path("/etc/tuned", name)
        folder.mkdir(exist_ok=True)
        (folder / "tuned.conf").write_text(text)
    Path("/etc/tuned/active_profile").write_text("loud\n")
    Path("/etc/tuned/profile_mode").write_text("manual\n")
    starts = []
    for number in range(rounds):
        tuned, took = start("com.redhat.tuned", "tuned", "-P")
        starts.append(took)
        if number < rounds - 1:
            tuned.terminate()
            tuned.wait()
    found: dict[str, object] = {"start": starts}
    found["active"] = [timed("tuned-adm", "active") for _ in range(rounds)]
    found["change"] = [
        timed("tuned-adm", "profile", name) for _ in range(rounds // 2) for name in PROFILES
    ]
    found["tuned"] = weigh(tuned.pid, idle_s)
    tuned.terminate()
    found["networkctl"] = [timed("networkctl", "status") for _ in range(rounds)]
    manager, _ = start("org.freedesktop.NetworkManager", "NetworkManager", "-n")
    found["nmcli"] = [timed("nmcli", "device", "status") for _ in range(rounds)]
    balancer, _ = start("", "irqbalance", "--foreground")
    time.sleep(1)
    found["NetworkManager"] = weigh(manager.pid, 1)
    found["irqbalance"] = weigh(balancer.pid, idle_s)
    for process in (manager, balancer):
        process.terminate()
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C.UTF-8"
    main(int(sys.argv[1]), float(sys.argv[2]))
