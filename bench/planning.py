"""How fast: planning a whole host, from its facts in memory to what is wanted of every card."""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from bench.machines import large
from bench.placement import load_profile
from bench.table import Row
from netuned.errors import UnsupportedError
from netuned.hardware.host import Host, read_host
from netuned.hardware.topology import read_topology
from netuned.kernel import Kernel
from netuned.placement.place import place
from netuned.placement.seats import Seats
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.reconcile.card import Card
from netuned.snapshots import snapshot
from netuned.snapshots.described import machine
from netuned.tunables import TUNABLES
from netuned.tunables.base import Limits

PROFILE = """\
match: [{driver: mlx5_core}]
channels: {combined: max}
rss: {queues: all}
irq: {spread: one-per-queue}
rps: {cpus: auto}
xps: {cpus: auto}
"""
COMMON = """\
nodes: 2
cores: 32
threads: 2
cards:
  - {name: eth0, driver: mlx5_core, node: 0, queues: 64, maximum: 64}
  - {name: eth1, driver: mlx5_core, node: 1, queues: 64, maximum: 64}
"""
ONE_NODE = COMMON.replace("node: 1", "node: 0")
DOUBLED = (16, 32, 64, 128, 256)
DOUBLING = 1.6
WHOLE_MS = 200
EVERY = f"""\
{PROFILE}
rings: {{rx: 4096, tx: max}}
offloads: {{gro: on, tso: on, gso: on, rx-gro-hw: on}}
link: {{gro-max-size: 128K, gso-max-size: 128K, txqueuelen: 1000}}
coalesce: {{adaptive-rx: on, tx-usecs: 16}}
flows: [{{match: {{proto: tcp4, dport: 443}}, to: queue 3}}]
napi: {{gro-flush-timeout: 20us, defer-hard-irqs: 2, queues: {{0-7: {{gro-flush-timeout: 50us}}}}}}
bql: {{max: 500K}}
qdisc: {{kind: fq, flow_limit: 1000}}
"""
MOST_MS = 100
ALL_MS = 150
"""With the values of all tunables of ``EVERY``: what planning alone was once bounded by."""
"""For all cards of the large machine, on which of its shapes ever."""


def measure(rounds: int) -> list[Row]:
    """Medians of so many rounds, all in this process."""
    with tempfile.TemporaryDirectory() as directory:
        profiles = load_profile(Path(directory), PROFILE)
    kernel = machine(large())
    shape = "1,024 CPUs × 64 cards × 128 queues"
    small = "128 CPUs × 2 cards × 64 queues"
    reads = max(rounds // 3, 1)
    return [
        Row(
            "read topology", _median(lambda: read_topology(kernel.files), reads), "ms", None, shape
        ),
        Row(
            "read topology and cards", _median(lambda: read_host(kernel), reads), "ms", None, shape
        ),
        *_planning(profiles, read_host(kernel), rounds, MOST_MS, f"{shape}, 16 nodes"),
        *_planning(profiles, _host(large(nodes=2)), rounds, MOST_MS, f"{shape}, 2 nodes"),
        *_planning(profiles, _host(COMMON), 5 * rounds, 5, small),
        *_planning(profiles, _host(ONE_NODE), 5 * rounds, 5, f"{small}, both on a node"),
        _every(kernel, rounds, shape),
        _whole_process(rounds),
        *_doubled(profiles, rounds, 16),
        *_doubled(profiles, rounds, 2),
    ]


def _every(kernel: Kernel, rounds: int, shape: str) -> Row:
    """Planning, and what each tunable of ``EVERY`` wants of each setting of each card."""
    with tempfile.TemporaryDirectory() as directory:
        profiles = load_profile(Path(directory), EVERY)
    host = read_host(kernel)
    nic = next(iter(host.nics.values()))
    limits: dict[str, Limits] = {}
    for tunable in TUNABLES:
        card = Card(kernel, nic, (tunable,))
        if tunable.asked(profiles[0].profile):
            with contextlib.suppress(UnsupportedError):
                limits[tunable.name] = tunable.limits(card.view())
        card.close()

    def whole() -> int:
        return wanted(plan_host(profiles, host), host, limits)

    against = f"{shape}: {len(limits)} tunables, {whole():,} settings"
    return Row("plan, with all values wanted", _median(whole, rounds), "ms", ALL_MS, against)


def _whole_process(rounds: int) -> Row:
    """``netunedctl plan`` of the small machine's snapshot, with compiled files, as installed."""
    ctl = Path(sys.executable).with_name("netunedctl")
    with tempfile.TemporaryDirectory() as directory:
        profiles, host = Path(directory) / "profiles", Path(directory) / "host.tar.xz"
        profiles.mkdir()
        (profiles / "edge.yaml").write_text(PROFILE)
        snapshot.write(snapshot.take(machine(COMMON)), str(host))
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [str(ctl), "plan", "--snapshot", str(host), "--profiles", str(profiles)]

        def run() -> None:
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

        run()
        took = _median(run, 3 * rounds)
    what = "netunedctl plan --snapshot"
    shape = "128 CPUs × 2 cards × 64 queues, whole process"
    return Row(what, took, "ms", WHOLE_MS, f"{shape}; {3 * rounds} runs")


def _doubled(profiles: Sequence[LoadedProfile], rounds: int, nodes: int) -> list[Row]:
    hosts = [_host(large(queues, nodes)) for queues in DOUBLED]
    took: list[list[float]] = [[] for _ in hosts]
    for _ in range(rounds):  # in turn, so that what else the machine does is in all of them
        for host, each in zip(hosts, took, strict=True):
            each.append(_median(partial(plan_host, profiles, host), 1))
    times = [statistics.median(each) for each in took]
    shape = f"1,024 CPUs × 64 cards, {nodes} nodes"
    against = "least squares, both axes logarithmic"
    steps = [after / before for before, after in pairwise(times)]
    return [
        *(
            Row(f"plan {queues} queues", time_ms, "ms", None, shape)
            for queues, time_ms in zip(DOUBLED, times, strict=True)
        ),
        Row("  factor of doubling queues", doubling(DOUBLED, times), "×", DOUBLING, against),
        Row("  largest step", max(steps), "×", DOUBLING, "from one to the next"),
    ]


def doubling(counts: Sequence[int], times: Sequence[float]) -> float:
    """By how much the time grows when the count doubles."""
    fit = statistics.linear_regression(
        [math.log2(n) for n in counts], [math.log2(t) for t in times]
    )
    return 2**fit.slope


def _planning(
    profiles: Sequence[LoadedProfile], host: Host, rounds: int, bound_ms: float, shape: str
) -> list[Row]:
    desired = plan_host(profiles, host)
    requests = list(desired.requests.values())
    seats = desired.seats

    def whole() -> None:
        wanted(plan_host(profiles, host), host)

    def placing() -> None:
        place(host.topology, requests)

    again = _median(lambda: plan_host(profiles, host, seats), rounds)
    planned = _median(lambda: plan_host(profiles, host), rounds)
    return [
        Row("plan", planned, "ms", bound_ms, shape),
        Row("  its placement alone", _median(placing, rounds), "ms"),
        Row("  and every tunable's values", _median(whole, rounds), "ms"),
        Row("  plan again, from the seats", again, "ms"),
        Row("  queues moved by that", _moved(seats, plan_host(profiles, host, seats).seats), "", 0),
    ]


LIMITS = {"entries": 128}


def wanted(
    desired: Desired, host: Host, limits: Mapping[str, Limits] = MappingProxyType({})
) -> int:
    """How many settings all tunables want of all cards."""
    settings = 0
    for ifindex, target in desired.targets.items():
        for tunable in TUNABLES:
            of = limits.get(tunable.name, LIMITS)
            if tunable.asked(target.profile):
                try:
                    settings += len(tunable.desired(target, host.nics[ifindex], of))
                except UnsupportedError:
                    continue
    return settings


def _moved(before: Seats, after: Seats) -> int:
    return sum(
        old != new
        for card, seats in before.cards.items()
        for old, new in zip(seats, after.cards[card], strict=True)
    )


def _host(text: str) -> Host:
    return read_host(machine(text))


def _median(run: Callable[[], object], rounds: int) -> float:
    """Milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
