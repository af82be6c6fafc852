"""Profile drop to in sync, against a shell script that makes the same writes with tools."""

from __future__ import annotations

import statistics
import time

from bench.table import Row
from bench.told import in_force_at
from tests.netns.lab import Lab

ROUNDS = {8: 21, 64: 11}
"""By queues."""
RATIO = 0.8
FIRST = "8 queues, once: what compiles profiles is imported for it"
PROFILE = """\
match:
  - {kind: veth, name: lan0}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: 0-1}
qdisc: {kind: pfifo, limit: 500}
"""


def script(card: str, queues: int) -> str:
    """The writes to one card after its channels; its queues are written out, no process counts."""
    numbers = " ".join(map(str, range(queues)))
    classes = " ".join(f"{number:x}" for number in range(1, queues + 1))
    return f"""\
for q in {numbers}; do
    echo 3 > /sys/class/net/{card}/queues/rx-$q/rps_cpus
done
echo 1 > /sys/class/net/{card}/queues/tx-0/xps_cpus
echo 2 > /sys/class/net/{card}/queues/tx-1/xps_cpus
tc qdisc replace dev {card} root handle 1: mq
for q in {classes}; do
    tc qdisc replace dev {card} parent 1:$q pfifo limit 500
done
"""


def measure() -> list[Row]:
    with Lab() as lab:
        lab.start()
        _fresh(lab, 8)
        first = Row("the first profile drop after a start", _drop(lab), "ms", None, FIRST)
        return [
            first,
            *(row for queues, rounds in ROUNDS.items() for row in _rows(lab, queues, rounds)),
        ]


def _rows(lab: Lab, queues: int, rounds: int) -> list[Row]:
    """Each round: a fresh pair for the script, a fresh pair for the daemon."""
    ours, tools = [], []
    text = f"ethtool -L lan0 rx {queues} tx {queues}\n{script('lan0', queues)}"
    for _ in range(rounds):
        _fresh(lab, queues)
        start = time.perf_counter()
        lab.run("sh", "-ec", text)
        tools.append(1000 * (time.perf_counter() - start))
        lab.run("ip", "link", "del", "lan0")
        _fresh(lab, queues)
        ours.append(_drop(lab))
    ratios = [a / b for a, b in zip(ours, tools, strict=True)]
    quarter, ratio, most = statistics.quantiles(ratios, n=4)
    spread = f"median of pairs, half of them {quarter:.2f} to {most:.2f}"
    what = f"{queues} queues, {rounds} rounds in turn"
    return [
        Row("profile drop to in sync", statistics.median(ours), "ms", None, what),
        Row(
            "  shell script, same writes", statistics.median(tools), "ms", None, "ethtool, tc, echo"
        ),
        Row("  drop / script", ratio, "×", RATIO, spread),
    ]


def _drop(lab: Lab) -> float:
    """Milliseconds from the drop of a profile until its card is in force; both are gone then."""
    lab.wait_state("lan0", "unmanaged")
    lab.log.write_text("")
    began = time.time()
    path = lab.profile("edge", PROFILE)
    lab.wait(lambda: in_force_at(lab.log.read_text()), "In force")
    took_s = in_force_at(lab.log.read_text())[0] - began
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    lab.run("ip", "link", "del", "lan0")
    return 1000 * took_s


def _fresh(lab: Lab, queues: int) -> None:
    lab.add_pair("lan0", "peer0", queues=queues)
    lab.run("ethtool", "-L", "lan0", "rx", "2", "tx", "2")
