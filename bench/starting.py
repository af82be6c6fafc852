"""From the daemon's start until all cards are in force: it grows in proportion to the cards."""

from __future__ import annotations

import time
from itertools import pairwise

import psutil

from bench.table import Row
from netuned.errors import BusError
from tests.netns.lab import Lab

CARDS = (50, 100, 200)
QUEUES = 8
IN_FORCE_S = 3.0
"""Of the most cards."""
GROWTH = 2.2
"""Of both times when cards double."""
PROPORTION = "in proportion is 2, the interpreter's start makes it less"
MOST_S = 120.0
PROFILE = """\
match:
  - {kind: veth}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {kind: pfifo, limit: 500}
"""


def measure() -> list[Row]:
    """One start with each number of cards, of which no setting is yet as the profile says."""
    rows, starts = [], []
    for cards in CARDS:
        in_force_s, used_s = _start(cards)
        starts.append((cards, in_force_s, used_s))
        what = f"{cards} cards × {QUEUES} queues"
        bound = IN_FORCE_S if cards == CARDS[-1] else None
        each = f"one start; {1000 * in_force_s / cards:.1f} ms a card"
        rows += [
            Row(f"start: {what} in force", in_force_s, "s", bound, each),
            Row("  processor time until at rest", used_s, "s", None, "others' load is not in it"),
        ]
    for (less, sooner_s, little_s), (more, later_s, much_s) in pairwise(starts):
        rows += [
            Row(f"  {more} cards / {less}, in force", later_s / sooner_s, "×", GROWTH, PROPORTION),
            Row(f"  {more} cards / {less}, used", much_s / little_s, "×", GROWTH, PROPORTION),
        ]
    return rows


def _start(cards: int) -> tuple[float, float]:
    """Seconds from exec until every card is in force, and of processor time until it is at rest.

    The daemon is not asked meanwhile, so that nothing but the start is measured: its log says it.
    """
    with Lab() as lab:
        lab.start_bus()
        pairs = [(f"lan{number}", f"plan{number}") for number in range(cards // 2)]
        lab.add_pairs(pairs, QUEUES)
        lab.profile("edge", PROFILE)
        start = time.perf_counter()
        lab.start(bus=False, wait=False)
        assert lab.daemon
        with lab.log.open("rb") as log:
            in_force = 0

            def all_in_force() -> bool:
                nonlocal in_force
                in_force += log.read().count(b"In force: ")
                return in_force >= cards

            lab.wait(all_in_force, "all cards in force", MOST_S)
        took = time.perf_counter() - start
        used = _used_until_at_rest(psutil.Process(lab.daemon.pid))
        lab.wait(lambda: _all_in_sync(lab, cards), "all cards in sync")
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


def _all_in_sync(lab: Lab, cards: int) -> bool:
    try:
        states = [nic["state"] for nic in lab.status()["nics"]]
    except BusError:  # not on the bus yet
        return False
    return states.count("in-sync") == cards
