"""Transmit packet steering by receive queue: what answers a packet is sent where that came in.

It goes before the CPUs' own (:mod:`netuned.tunables.xps`) wherever the socket knows the queue that
its packets come by; where it does not, those count.

Source: Documentation/networking/scaling.rst, "XPS using receive queues map"; net/core/dev.c,
get_xps_queue().
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.hardware.nic import Nic
from netuned.tunables import masks, xps
from netuned.tunables.base import NOT_ASKED, Limits, Seen, Target, Words, Writers, exactly
from netuned.values import State

NAME = "rxqs"
FILE = "xps_rxqs"


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    """Each receive queue with the transmit queue of its number, or in turn where those are less.

    Its masks are of receive queues. Raises: UnsupportedError.
    """
    queues = target.queues(nic)
    xps.check_many(NAME, queues.tx_queues)
    return {
        f"tx-{queue}": CpuSet.of(range(queue, queues.rx_queues, queues.tx_queues))
        for queue in range(queues.tx_queues)
    }


def why(target: Target, nic: Nic, key: str) -> str:
    if target.profile.rxqs is None:
        return NOT_ASKED
    return "by rxqs: answers leave by the queue of the number by which they were asked for"


def captured(seen: Seen) -> Iterator[Words]:
    """That there are maps; without any sending goes by CPUs, as where nobody says."""
    if any(seen.state.values()):
        yield {"by": "rxqs"}


RXQS = replace(
    xps.XPS,
    name=NAME,
    read=lambda view: xps.read(view, FILE),
    write=lambda view, found, values: xps.write(view, found, values, FILE),
    desired=desired,
    why=why,
    within=exactly,  # nothing is left out of what was written
    watched=masks.watched(masks.TX, FILE),
    writers=Writers(files=masks.ending(FILE)),
    captured=captured,
    captured_in=xps.NAME,
    captured_beside=("cpus", "none"),
    column="",
    in_table=False,
)
