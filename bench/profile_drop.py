"""Profile drop to in sync, against a shell script that makes the same writes with tools."""

from __future__ import annotations

import statistics
import time

from bench.table import Row
from tests.netns.lab import Lab

QUEUES = 8
ROUNDS = 21
PROFILE = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: 0-1}
qdisc: {kind: pfifo, limit: 500}
"""
SCRIPT = """\
ethtool -L lan0 rx 8 tx 8
for q in 0 1 2 3 4 5 6 7; do
    echo 3 > /sys/class/net/lan0/queues/rx-$q/rps_cpus
done
echo 1 > /sys/class/net/lan0/queues/tx-0/xps_cpus
echo 2 > /sys/class/net/lan0/queues/tx-1/xps_cpus
tc qdisc replace dev lan0 root handle 1: mq
for q in 1 2 3 4 5 6 7 8; do
    tc qdisc replace dev lan0 parent 1:$q pfifo limit 500
done
"""


def measure() -> list[Row]:
    """Each round: a fresh pair for the script, a fresh pair for the daemon."""
    ours, script = [], []
    with Lab() as lab:
        lab.start()
        for _ in range(ROUNDS):
            _fresh(lab)
            start = time.perf_counter()
            lab.run("sh", "-ec", SCRIPT)
            script.append(1000 * (time.perf_counter() - start))
            lab.run("ip", "link", "del", "lan0")
            _fresh(lab)
            lab.wait_state("lan0", "unmanaged")
            start = time.perf_counter()
            path = lab.profile("edge", PROFILE)
            lab.wait(lambda: "In force: lan0" in lab.log.read_text(), "In force", every_s=0.001)
            ours.append(1000 * (time.perf_counter() - start))
            path.unlink()
            lab.wait_state("lan0", "unmanaged")
            lab.run("ip", "link", "del", "lan0")
            lab.log.write_text("")
    ratios = [a / b for a, b in zip(ours, script, strict=True)]
    quarter, ratio, most = statistics.quantiles(ratios, n=4)
    spread = f"median of pairs, half of them {quarter:.2f} to {most:.2f}"
    what = f"{QUEUES} queues, {ROUNDS} rounds in turn"
    return [
        Row("profile drop to in sync", statistics.median(ours), "ms", None, what),
        Row(
            "  shell script, same writes",
            statistics.median(script),
            "ms",
            None,
            "ethtool, tc, echo",
        ),
        Row("  drop / script", ratio, "×", 1.0, spread),
    ]


def _fresh(lab: Lab) -> None:
    lab.add_pair("lan0", "peer0", queues=QUEUES)
    lab.run("ethtool", "-L", "lan0", "rx", "2", "tx", "2")
