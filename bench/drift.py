"""Drift repair: from a foreign write's start to the restored value, while the card has traffic."""

from __future__ import annotations

import subprocess
import sys

from bench.table import Row, percentile
from tests.netns.lab import Lab
from tests.netns.scaled import LIMITS

PROFILE = """\
match:
  - {kind: veth, name: lan0}
rps: {cpus: 0-1}
xps: {cpus: auto}
"""


class UnboundedLab(Lab):
    """What is measured is a repair, so the thousandth is made like the first."""

    module = "tests.netns.scaled"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, LIMITS: '{"repairs": 1000, "suspect": 1000}'}


def measure(writes: int) -> list[Row]:
    """``writes`` foreign writes over the rps_cpus of an 8-queue veth card."""
    with UnboundedLab() as lab:
        lab.add_pair("lan0", "peer0", queues=8)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        traffic = subprocess.Popen(
            lab.command(sys.executable, "-m", "bench.traffic", "lan0", "peer0")
        )
        try:
            answer = lab.run(sys.executable, "-m", "bench.drift", str(writes)).stdout
        finally:
            traffic.terminate()
            traffic.wait()
    took_ms = [float(line) for line in answer.split()]
    against = f"{len(took_ms)} writes, 8-queue veth with traffic"
    return [
        Row("drift repair, p50", percentile(took_ms, 0.5), "ms", 1.0, against),
        Row("drift repair, p99", percentile(took_ms, 0.99), "ms", 10.0, against),
        Row("drift repair, worst", max(took_ms), "ms", None, against),
    ]


def _write(count: int) -> None:
    """Inside the namespace: break queue after queue, print each repair's milliseconds."""
    import time

    from tests.netns.breaker import measure as repair

    for number in range(count):
        path = f"/sys/class/net/lan0/queues/rx-{number % 8}/rps_cpus"
        print(1000 * repair(path, b"1"))
        time.sleep(0.005)


if __name__ == "__main__":
    _write(int(sys.argv[1]))
