"""Run by the throwaway root's own Python, in it: weighs the programs that are there. Prints JSON.

It is no module of netuned's, which is installed there as the others are, and needs what TuneD
brings along (python3-dbus).
"""

from __future__ import annotations

import json
import os
import socket
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


def start(
    *words: str, name: str = "", ready: bool = False
) -> tuple[subprocess.Popen[bytes], float]:
    """Start a program. Returns it, and the milliseconds until its name was on the bus, or ``ready``
    until it told the service manager so."""
    import dbus  # type: ignore[import-not-found]  # of the root's Python

    bus, quiet, place = dbus.SystemBus(), subprocess.DEVNULL, Path("/run/notify")
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(READY_S)
        environment = {**os.environ, **({"NOTIFY_SOCKET": str(place)} if ready else {})}
        began = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet)
        while ready and b"READY=1" not in manager.recv(4096):
            pass
        while name and not bus.name_has_owner(name):
            if time.perf_counter() - began > READY_S or process.poll() is not None:
                raise SystemExit(f"{words[0]} did not come up")
            time.sleep(0.001)
        return process, 1000 * (time.perf_counter() - began)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def tuned(rounds: int, idle_s: float) -> dict[str, object]:
    for name, text in PROFILES.items():
        folder = Path("/etc/tuned", name)
        folder.mkdir(exist_ok=True)
        (folder / "tuned.conf").write_text(text)
    Path("/etc/tuned/active_profile").write_text("loud\n")
    Path("/etc/tuned/profile_mode").write_text("manual\n")
    starts = []
    for number in range(rounds):
        program, took = start("tuned", "-P", name="com.redhat.tuned")
        starts.append(took)
        if number < rounds - 1:
            end(program)
    active = [timed("tuned-adm", "active") for _ in range(rounds)]
    change = [timed("tuned-adm", "profile", name) for _ in range(rounds // 2) for name in PROFILES]
    weight = weigh(program.pid, idle_s)
    end(program)
    return {"start": starts, "active": active, "change": change, "tuned": weight}


def netuned(profile: str, rounds: int, idle_s: float, keeps_s: float) -> dict[str, object]:
    """``keeps_s``: how long after a reload what was compiled is kept, and nothing more is done."""
    file, kept = Path("/etc/netuned/profiles.d/edge.yaml"), Path("/var/lib/netuned/compiled.json")

    def drop(text: str) -> None:
        draft = file.with_name("draft")
        draft.write_text(text)
        draft.rename(file)

    drop(profile)
    program, _ = start("netuned", ready=True)
    while not kept.exists():
        time.sleep(0.1)
    end(program)
    content, starts, named, compiling = kept.read_bytes(), [], [], []
    for number in range(rounds):
        kept.unlink()
        program, took = start("netuned", ready=True)
        compiling.append(took)
        end(program)
        kept.write_bytes(content)
        kept.chmod(0o600)
        program, took = start("netuned", name="org.netuned1")
        named.append(took)
        end(program)
        program, took = start("netuned", ready=True)
        starts.append(took)
        if number < rounds - 1:
            end(program)
    time.sleep(1)
    started = weigh(program.pid, 0.1)
    status = [timed("netunedctl", "status") for _ in range(rounds)]
    change = []
    for number in range(rounds):
        began = time.perf_counter()
        drop(profile.replace("limit: 500", f"limit: {500 + number % 2}"))
        timed("netunedctl", "reload")
        change.append(1000 * (time.perf_counter() - began))
    time.sleep(keeps_s)
    changed = weigh(program.pid, idle_s)
    end(program)
    return {
        "start": starts,
        "named": named,
        "compiling": compiling,
        "status": status,
        "change": change,
        "started": started,
        "changed": changed,
    }


def others(rounds: int, idle_s: float) -> dict[str, object]:
    networkctl = [timed("networkctl", "status") for _ in range(rounds)]
    manager, _ = start("NetworkManager", "-n", name="org.freedesktop.NetworkManager")
    nmcli = [timed("nmcli", "device", "status") for _ in range(rounds)]
    balancer, _ = start("irqbalance", "--foreground")
    time.sleep(1)
    weights = {"NetworkManager": weigh(manager.pid, 1), "irqbalance": weigh(balancer.pid, idle_s)}
    end(manager)
    end(balancer)
    return {"networkctl": networkctl, "nmcli": nmcli, **weights}


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C.UTF-8"
    rounds, idle_s, keeps_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    theirs = {**tuned(rounds, idle_s), **others(rounds, idle_s)}
    print(json.dumps([netuned(sys.argv[4], rounds, idle_s, keeps_s), theirs]))
