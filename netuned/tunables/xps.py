"""Transmit packet steering: on which queue each CPU sends.

Source: Documentation/networking/scaling.rst, "XPS Configuration": one CPU per queue where there
are as many, else CPUs that share a cache with the one that handles the queue's completions.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.placement.objective import Places
from netuned.tunables import masks
from netuned.tunables.base import NOT_ASKED, Limits, Target, Tunable, View, Writers
from netuned.values import State

NAME = "xps"
FILE = "xps_cpus"


def read(view: View, file: str = FILE) -> State:
    try:
        return masks.read(view, *masks.queue_files("tx", view.nic.tx_queues, file))
    except KernelError as error:
        # of a card that has a single queue, not only one open, the kernel refuses to read it
        if view.nic.tx_queues > 1 or (error.operation, error.errno) != ("read", errno.ENOENT):
            raise
        return {}


def check_many(name: str, count: int) -> None:
    """Raises: UnsupportedError, where there is one transmit queue to choose from."""
    if count < 2:
        raise UnsupportedError(name, "the card has a single transmit queue")


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    spec = target.profile.xps
    assert spec is not None
    count = target.queues(nic).tx_queues
    check_many(NAME, count)
    keys, _ = masks.queue_files("tx", count, FILE)
    if spec == "default" or spec.cpus == "none":
        return dict.fromkeys(keys, CpuSet())
    senders = target.topology.online if target.xps_cpus is None else target.xps_cpus
    served = [target.queue_cpus[queue % len(target.queue_cpus)] for queue in range(count)]
    return dict(zip(keys, nearest_queues(target.places, senders, served), strict=True))


def nearest_queues(places: Places, senders: CpuSet, served: Sequence[CpuSet]) -> tuple[CpuSet, ...]:
    """Give every CPU of ``senders`` exactly one queue, the one served nearest to it.

    Nearest: the same CPU, its core, its L3 domain, its node, then anywhere. Queues that are equally
    near get equally many CPUs, those of one queue next to each other in the machine, so that they
    share a cache. ``served[n]`` are the CPUs of queue *n*'s interrupt.
    """
    masks_of = [0] * len(served)
    senders_in_order = places.in_order(senders)
    waiting = set(senders_in_order)
    alike: dict[CpuSet, int] = {}  # many queues have the same CPUs: look those up once
    numbers = [alike.setdefault(cpus, len(alike)) for cpus in served]
    sets = [tuple(cpus) for cpus in alike]
    for level, members in zip(places.levels, places.members, strict=True):
        queues_at = _queues_at(level, sets, numbers)
        near = [
            (cpus, queues)
            for at, queues in queues_at.items()
            if (cpus := [cpu for cpu in members.get(at, ()) if cpu in waiting])
        ]
        near.sort(key=lambda pair: places.rank[pair[0][0]])
        for cpus, queues in near:
            _deal(masks_of, queues, cpus)
            waiting.difference_update(cpus)
        if not waiting:
            break
    else:
        anywhere = [queue for queue, number in enumerate(numbers) if sets[number]]
        if anywhere:
            _deal(masks_of, anywhere, [cpu for cpu in senders_in_order if cpu in waiting])
    return tuple(map(CpuSet, masks_of))


def _queues_at(
    level: Sequence[int], sets: Sequence[tuple[int, ...]], served: Sequence[int]
) -> dict[int, list[int]]:
    """Part of the machine -> the queues served in it, ascending; ``sets`` are the CPUs of each."""
    parts = [{level[cpu] for cpu in cpus} for cpus in sets]
    queues_at: dict[int, list[int]] = {}
    for queue, number in enumerate(served):
        for part in parts[number]:
            queues_at.setdefault(part, []).append(queue)
    return queues_at


def _deal(masks_of: list[int], queues: Sequence[int], cpus: Sequence[int]) -> None:
    """Level the queues' numbers of CPUs, each taking neighbours of the order given.

    ``queues`` are in ascending order.
    """
    had = [masks_of[queue].bit_count() for queue in queues]
    raised, total = 0, len(cpus)  # so many queues come to be level, with so many CPUs together
    for count in sorted(had):
        if count * raised > total:
            break
        raised, total = raised + 1, total + count
    each, more = divmod(total, raised)
    left = iter(cpus)
    for queue, count in zip(queues, had, strict=True):
        if count > each:
            continue
        bits, more = 0, more - 1
        for cpu in itertools.islice(left, each - count + (more >= 0)):
            bits |= 1 << cpu
        masks_of[queue] |= bits


def write(view: View, found: State, values: State, file: str = FILE) -> None:
    for key, value in values.items():
        masks.write(view, masks.path(key, file), value)


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.xps
    if spec is None:
        return NOT_ASKED
    if spec == "default" or spec.cpus == "none":
        return "off: the queue follows the flow's hash"
    if target.xps_cpus is not None:
        return f"the CPUs of {spec.cpus}, each on the queue nearest to it"
    return "auto: every CPU on the queue nearest to it"


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    return masks.explained(state, f"tx-{queue}")


XPS = Tunable(
    name=NAME,
    holds=(CpuSet,),
    accepts=masks.queue_key(masks.TX),
    read=read,
    write=write,
    desired=desired,
    why=why,
    fresh=CpuSet(),
    ends_with=masks.ends_with,
    within=masks.within,
    captured=masks.captured,
    watched=masks.watched(masks.TX, FILE),
    writers=Writers(files=masks.ending(FILE), google=True),
    column=NAME,
    queues=masks.queues,
    explained=explained,
    in_table=True,
)
