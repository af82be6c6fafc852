"""Many at once: drifts over 200 cards for ten seconds, and a thousand profiles to be read again."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.drift import UnboundedLab
from bench.starting import PROFILE, QUEUES, all_in_sync
from bench.table import Row
from tests.netns.lab import Lab

CARDS = 200
DRIFTS = 2000
DRIFTS_S = 10.0
SETTLED_S = 1.0
PROFILES = 1000
RELOADS = 7
RELOAD_S = 0.5
OTHER = """\
description: Of no card here
priority: 7
match:
  - {{driver: [ice, mlx5_core], name: "en{number}*"}}
channels: {{combined: auto}}
rss: {{queues: all}}
irq: {{spread: one-per-queue}}
xps: {{cpus: auto}}
qdisc: {{kind: fq, flow_limit: 1000}}
"""


def measure() -> list[Row]:
    return [*_drifts(), *_reloads()]


def _drifts() -> list[Row]:
    names = [name for number in range(CARDS // 2) for name in (f"lan{number}", f"plan{number}")]
    with UnboundedLab() as lab:
        lab.add_pairs(zip(names[::2], names[1::2], strict=True), QUEUES)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.wait(lambda: all_in_sync(lab, CARDS), "all cards in sync", 120)
        words = (sys.executable, "-m", "bench.many", str(DRIFTS), str(DRIFTS_S), *names)
        made_s, settled_s = map(float, lab.run(*words).stdout.split())
    against = f"{DRIFTS} masks of {CARDS} cards × {QUEUES} queues written in {made_s:.1f} s"
    return [Row("drifts: all in sync after the last", settled_s, "s", SETTLED_S, against)]


def _reloads() -> list[Row]:
    """One of them is another each time; a card is looked at by none but its own."""
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.profile("edge", PROFILE)
        for number in range(PROFILES - 1):
            text = OTHER.format(number=number)
            (lab.profiles / f"other{number}.yaml").write_text(text)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        with lab.asking() as client:
            client.reload()
            changed, same = [], []
            for number in range(RELOADS):
                same.append(_timed(client.reload))
                lab.profile(f"other{number}", OTHER.format(number=-number))
                changed.append(_timed(client.reload))
    spread = f"median of {RELOADS}, {min(changed):.2f} to {max(changed):.2f}"
    return [
        Row(
            "reload of 1,000 profiles, one changed",
            statistics.median(changed),
            "s",
            RELOAD_S,
            spread,
        ),
        Row("  none changed", statistics.median(same), "s", None, f"median of {RELOADS}"),
    ]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _write(count: int, over_s: float, names: list[str]) -> None:
    """Inside the namespace: print how long writing took, and from then until all is right."""
    paths = [
        Path(f"/sys/class/net/{name}/queues/{file}")
        for name in names
        for queue in range(QUEUES)
        for file in (f"rx-{queue}/rps_cpus", f"tx-{queue}/xps_cpus")
    ]
    right = {path: path.read_bytes() for path in paths}
    chosen = random.Random(0)
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number * over_s / count - time.monotonic()))
        chosen.choice(paths).write_bytes(b"0")
    made = time.monotonic()
    wrong = paths
    while wrong := [path for path in wrong if path.read_bytes() != right[path]]:
        if time.monotonic() > made + 60:
            raise TimeoutError(f"{wrong[0]} was not put back")
        time.sleep(0.005)
    print(made - start, time.monotonic() - made)


if __name__ == "__main__":
    _write(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
