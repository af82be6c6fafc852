"""A pass that finds nothing to do: 4 cards of 64 queues, against C reading the same attributes.

And the same with all in force that such a card has, with how often the kernel is asked in it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.table import Row
from tests.netns.lab import Lab

CARDS = tuple(f"lan{n}" for n in range(4))
QUEUES = 64
PROCESSES = 3
BLOCKS = 5
ROUNDS = 61
"""Of each block, and of C's beside it."""
PROFILE = """\
match:
  - {kind: veth, name: "lan*"}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""
EVERY = f"""\
{PROFILE}
offloads: {{gro: on, tso: off}}
link: {{gro-max-size: 32K, gso-max-segs: 99, txqueuelen: 500, upper: follow}}
napi: {{defer-hard-irqs: 2, gro-flush-timeout: 20us, queues: {{0-7: {{gro-flush-timeout: 9us}}}}}}
host:
  sysctl: {{net.core.somaxconn: ">=8192", net.ipv4.tcp_wmem: "4096 65536 16777216"}}
"""
"""All that a veth card has, and of the host what a namespace has."""


def measure() -> list[Row]:
    few, all_ = _passes(PROFILE, PROCESSES), _passes(EVERY, 1)
    found = {name: statistics.median(block[name] for block in few) for name in few[0]}
    ratios = [(block["pass"] - block["dump"]) / block["files"] for block in few]
    spread = f"median of {len(ratios)} blocks in turn, {min(ratios):.2f} to {max(ratios):.2f}"
    c_dump = f"C receives the same dump in {found['qdiscs']:.0f} µs"
    what = f"{len(CARDS)} cards × {QUEUES} queues"
    every = statistics.median(block["pass"] for block in all_)
    beside = f"{every / found['pass']:.2f} × that without"
    kinds, most = (max(block[name] for block in all_) for name in ("kinds", "most"))
    return [
        Row("pass without work (resync)", found["pass"], "µs", None, what),
        Row("  its qdisc dump", found["dump"], "µs", None, c_dump),
        Row("  C over the same attributes", found["files"], "µs", None, "kept descriptors, pread"),
        Row("  (pass − dump) / C", statistics.median(ratios), "×", 1.5, spread),
        Row("apply without work, facts read anew", found["full"], "µs", None, what),
        Row("pass with every tunable a veth has", every, "µs", None, beside),
        Row("  netlink requests of a kind in it", most, "", 1, f"the most; of {kinds:.0f} kinds"),
    ]


def _passes(profile: str, processes: int) -> list[dict[str, float]]:
    """Blocks of passes and of C's rounds take turns: what slows one down does so to both."""
    with tempfile.TemporaryDirectory() as directory, Lab() as lab:
        floor = Path(directory) / "floor"
        source = Path(__file__).with_name("floor.c")
        subprocess.run(["gcc", "-O2", "-o", str(floor), str(source)], check=True)
        for name in CARDS:
            lab.add_pair(name, f"p{name}", queues=QUEUES)
        lab.profile("edge", profile)
        lab.start()
        for name in CARDS:
            lab.wait_state(name, "in-sync", timeout_s=60)
        lab.stop()
        paths = "".join(
            f"/sys/class/net/{name}/queues/{kind}-{n}/{file}\n"
            for name in CARDS
            for kind, file in (("rx", "rps_cpus"), ("tx", "xps_cpus"))
            for n in range(QUEUES)
        )
        (asked := Path(directory) / "paths").write_text(paths)
        words = ("-m", "bench.idle_pass", str(lab.profiles), str(floor), str(asked))
        blocks: list[dict[str, float]] = []
        for _ in range(processes):
            blocks += json.loads(lab.run(sys.executable, *words).stdout)
    return blocks


def _blocks(profiles: str, floor: str, paths: str) -> None:
    """Inside the namespace: time the resync of a real loop, in a process without its D-Bus."""
    import asyncio

    from netuned.kernel import Kernel
    from netuned.kernel.netlink import NetlinkSocket
    from netuned.reconcile.loop import Options, Reconciler
    from netuned.reconcile.requests import Requests
    from tests.netns.listener import Silent

    def by_c() -> dict[str, float]:
        with Path(paths).open() as asked:
            printed = subprocess.check_output([floor], stdin=asked, text=True).split()
        return dict(zip(printed[::2], map(float, printed[1::2]), strict=True))

    asked: Counter[tuple[str, bytes]] = Counter()
    exchange = NetlinkSocket.exchange

    def counted(opened: NetlinkSocket, message: bytes, *more: Any) -> Any:
        """By the message's type, and of generic ones the command."""
        asked[str(opened._protocol), message[4:6] + message[16:17]] += 1
        return exchange(opened, message, *more)

    def timed(once: Callable[[], object]) -> float:
        start = time.perf_counter()
        once()
        return 1e6 * (time.perf_counter() - start)

    async def passes() -> list[dict[str, float]]:
        kernel = Kernel()
        directory = Path(profiles).parent
        options = Options((profiles,), directory / "state", directory / "run")
        loop = Reconciler(kernel, options, Silent())
        requests = Requests(loop)
        await loop.start()
        states = [nic.state for nic in loop.status().nics if nic.profile]
        if states != ["in-sync"] * len(CARDS):
            raise SystemExit(f"the cards are not in sync: {states}")

        async def applied() -> float:
            start = time.perf_counter()
            await requests.reconcile("")
            return 1e6 * (time.perf_counter() - start)

        writes = kernel.writes
        blocks = []
        for _ in range(BLOCKS):
            rounds = [(timed(loop.resync_finds), timed(kernel.rtnl.qdiscs)) for _ in range(ROUNDS)]
            resyncs, dumps = zip(*rounds, strict=True)
            full = [await applied() for _ in range(5)]
            kinds = {"pass": resyncs, "dump": dumps, "full": full}
            medians = {name: statistics.median(taken) for name, taken in kinds.items()}
            blocks.append({**medians, **by_c()})
        with patch.object(NetlinkSocket, "exchange", counted):
            assert not loop.resync_finds()
        for block in blocks:
            block |= {"kinds": len(asked), "most": max(asked.values())}
        assert kernel.writes == writes
        await loop.close()
        return blocks

    print(json.dumps(asyncio.run(passes())))


if __name__ == "__main__":
    _blocks(*sys.argv[1:])
