"""From the daemon's start until all cards are in force: it grows in proportion to the cards.

Against a shell script that makes the same writes with tools.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

import psutil

from bench.profile_drop import script
from bench.table import Row
from bench.told import in_force_at
from netuned.errors import BusError
from tests.netns.lab import Lab

CARDS = (50, 100, 200)
QUEUES = 8
EXPONENT = 1.1
"""Of both times over the number of cards."""
RATIO = 0.5
"""Of the most cards."""
MOST_S = 120.0
PROFILE = """\
match:
  - {kind: veth}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""


def measure() -> Iterator[Row]:
    """One start with each number of cards, of which no setting is yet as the profile says."""
    starts = []
    for cards in CARDS:
        in_force_s, used_s = _start(cards)
        starts.append((in_force_s, used_s))
        what = f"{cards} cards × {QUEUES} queues"
        each = f"one start; {1000 * in_force_s / cards:.1f} ms a card"
        yield Row(f"start: {what} in force", in_force_s, "s", None, each)
        yield Row("  processor time until at rest", used_s, "s", None, "others' load is not in it")
    for name, times in zip(("in force", "processor time"), zip(*starts, strict=True), strict=True):
        against = (
            "cards to the power of this: in proportion is 1, the interpreter's start makes it less"
        )
        yield Row(f"  {name}, exponent", exponent(CARDS, times), "", EXPONENT, against)
    script_s, (last_s, _) = _script(CARDS[-1]), starts[-1]
    what = f"{CARDS[-1]} cards, same writes: tc, echo"
    yield Row("  shell script", script_s, "s", None, what)
    yield Row("  start / script", last_s / script_s, "×", RATIO, "one of each")


def exponent(counts: tuple[int, ...], times: tuple[float, ...]) -> float:
    """Of the power of the count by which the time grows: least squares, both logarithmic."""
    return statistics.linear_regression([*map(math.log, counts)], [*map(math.log, times)]).slope


def _cards(cards: int) -> list[tuple[str, str]]:
    return [(f"lan{number}", f"plan{number}") for number in range(cards // 2)]


def _script(cards: int) -> float:
    with Lab() as lab:
        lab.add_pairs(_cards(cards), QUEUES)
        text = "".join(script(name, QUEUES) for pair in _cards(cards) for name in pair)
        (file := lab.directory / "script").write_text(text)
        start = time.perf_counter()
        lab.run("sh", "-e", str(file))
        return time.perf_counter() - start


def _start(cards: int) -> tuple[float, float]:
    """Seconds from exec until every card is in force, and of processor time until it is at rest.

    The daemon is not asked meanwhile, so that nothing but the start is measured: its log says it.
    """
    with Lab() as lab:
        lab.start_bus()
        lab.add_pairs(_cards(cards), QUEUES)
        lab.profile("edge", PROFILE)
        start = time.time()
        lab.start(bus=False, wait=False)
        assert lab.daemon
        with lab.log.open("rb") as log:
            in_force = 0

            def all_in_force() -> bool:
                nonlocal in_force
                in_force += log.read().count(b"In force: ")
                return in_force >= cards

            lab.wait(all_in_force, "all cards in force", MOST_S)
        took = max(in_force_at(lab.logged())) - start
        used = _used_until_at_rest(psutil.Process(lab.daemon.pid))
        lab.wait(lambda: all_in_sync(lab, cards), "all cards in sync")
    return took, used


def _used_until_at_rest(process: psutil.Process) -> float:
    """Processor time, in seconds, when it has used less than two ticks for a second."""
    used = -1.0
    deadline = time.monotonic() + MOST_S
    while time.monotonic() < deadline:
        before, times = used, process.cpu_times()
        used = times.user + times.system
        if used - before < 0.02:
            break
        time.sleep(1)
    return used


def all_in_sync(lab: Lab, cards: int) -> bool:
    """Whether so many cards are, as the daemon says."""
    try:
        states = [nic["state"] for nic in lab.status()["nics"]]
    except BusError:  # not on the bus yet
        return False
    return states.count("in-sync") == cards
