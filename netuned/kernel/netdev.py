"""NetdevNetlink: queues, NAPI instances, their settings and the interrupts behind them.

Source: Documentation/netlink/specs/netdev.yaml.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import holders, threads
from netuned.kernel.genl import Client, Numbers, unsupported
from netuned.kernel.messages import DEVICES, NAPIS, NETDEV, QUEUES, Message
from netuned.kernel.netlink import NLM_F_DUMP, decoding
from netuned.kernel.tables import GENERIC_HEADER

_QUEUE_TYPES = {0: "rx", 1: "tx"}

QueueInterrupts = dict[tuple[str, int], int]
"""The interrupt behind each queue: ("rx" or "tx", queue) -> number."""

Bound = Mapping[tuple[str, int], str]
"""What is bound to queues: ("rx" or "tx", queue) -> ``XSK``, ``IO_URING``, ``DMABUF`` and id."""

XSK, IO_URING, DMABUF = "xsk", "io_uring", "dmabuf"

_XSK_ZERO_COPY = 8
"""NETDEV_XDP_ACT_XSK_ZEROCOPY."""

SETTINGS = ("defer-hard-irqs", "gro-flush-timeout", "irq-suspend-timeout", "threaded")
"""What can be set of a NAPI instance; times are nanoseconds."""

THREADS = "threads"
"""The CPUs on which an instance's kernel thread may run, as bits."""

_Dump = tuple[bytes, ...]
_Place = tuple[int, str]
"""A NAPI instance: its card, and the queue by which it goes."""


class NetdevNetlink(Client):
    """The netdev family: queues, NAPI instances and their interrupts. In Linux since 6.8."""

    NAME = NETDEV

    def __init__(self, wrote: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._wrote = wrote
        self._told: tuple[_Dump, _Dump, dict[int, QueueInterrupts]] | None = None
        self._bound: tuple[_Dump, Mapping[int, Bound]] | None = None
        self._set: tuple[_Dump, _Dump, Mapping[int, Numbers], Mapping[_Place, int]] | None = None
        self._pinned: tuple[Mapping[int, Numbers], Mapping[_Place, int], Mapping[int, Numbers]]
        self._pinned = {}, {}, {}

    def napi_interrupts(self, ifindex: int) -> QueueInterrupts:
        """The interrupt behind each queue of a card.

        Empty where the driver does not tell (virtio_net), and while the card is down.

        Raises: UnsupportedError where this kernel lacks the family or the commands; KernelError.
        """
        with decoding(f"queues of ifindex {ifindex}"):
            napis = self._list(NAPIS, "NAPI instances", ifindex)
            if not any("irq" in napi for napi in napis):
                return {}
            queues = self._list(QUEUES, "queues", ifindex)
            return _by_queue(napis, queues).get(ifindex, {})

    def all_napi_interrupts(self) -> Mapping[int, QueueInterrupts]:
        """As ``napi_interrupts``, of all cards that have some, in two requests; the same object
        while nothing has changed. Raises: as that.
        """
        told = self._dump(NAPIS, "NAPI instances"), self._dump(QUEUES, "queues")
        last = self._told
        if last is None or last[0] is not told[0] or last[1] is not told[1]:
            with decoding("queues"):
                last = self._told = *told, _by_queue(*_numbers(told))
        return last[2]

    def bound(self) -> Mapping[int, Bound]:
        """What is bound to queues, of all cards that have some, in one request; the same object
        while nothing has changed.

        An AF_XDP socket that copies counts, too. Kernels before 6.15 tell of none, but for dmabufs
        from 6.12 on. Raises: UnsupportedError where this kernel does not list queues; KernelError.
        """
        told, last = self._dump(QUEUES, "queues"), self._bound
        if last is None or last[0] is not told:
            with decoding("queues"):
                last = self._bound = told, _bound(told)
        return last[1]

    def holders(self, ifindex: int, queues: Iterable[int]) -> Mapping[int, str]:
        """Who holds the AF_XDP sockets of these queues. Raises: as ``holders.of_queues``."""
        return holders.of_queues(ifindex, queues)

    def zero_copy(self) -> Mapping[int, bool]:
        """Whether a driver lets AF_XDP do without copies, by card. Raises: as ``bound``."""
        with decoding("devices"):
            told = [
                DEVICES.table.numbers(payload, GENERIC_HEADER)
                for payload in self._dump(DEVICES, "devices")
            ]
            return {at["ifindex"]: bool(at["xdp-features"] & _XSK_ZERO_COPY) for at in told}

    def lists_napis(self) -> bool:
        """Whether the kernel lists NAPI instances and their threads, since Linux 6.8.

        It tells nobody when they change. Raises: KernelError.
        """
        return self._can(NAPIS.get)

    def sets_napis(self) -> bool:
        """Whether it tells what is set of each, and sets it, since 6.13. Raises: KernelError."""
        return self._can(NAPIS.set)

    def _can(self, command: int) -> bool:
        try:
            return command in self._resolve().commands
        except UnsupportedError:
            return False

    def napi_settings(self) -> Mapping[int, Numbers]:
        """What is set of NAPI instances: ifindex -> ``rx-0 defer-hard-irqs``, … -> number.

        Of all cards that have some, in two requests; the same object while nothing has changed. An
        instance goes by the first queue that it serves, a receive queue if there is one, for its id
        is another each time the card goes up. Of most drivers the kernel tells which that is; of
        one of which it tells nothing (veth), and that has an instance for each receive queue, they
        are in the order in which it made them. Others are left out. Beside ``SETTINGS``, as far as
        this kernel has them, there are its ``THREADS`` while it has one.

        Raises: UnsupportedError where this kernel does not list instances; KernelError.
        """
        told = self._dump(NAPIS, "NAPI instances"), self._dump(QUEUES, "queues")
        last = self._set
        if last is None or last[0] is not told[0] or last[1] is not told[1]:
            with decoding("NAPI instances"):
                found, pids = _settings(*_numbers(told))
            mine = {place: pid for place, pid in pids.items() if threads.is_napi(pid)}
            last = self._set = *told, found, mine
        _, _, settings, pids_of = last
        masks = {place: threads.affinity(pid) for place, pid in pids_of.items()}
        pinned = self._pinned
        if pinned[0] is not settings or pinned[1] != masks:
            whole = {ifindex: dict(numbers) for ifindex, numbers in settings.items()}
            for (ifindex, queue), mask in masks.items():
                if mask:
                    whole[ifindex][f"{queue} {THREADS}"] = mask
            pinned = self._pinned = settings, masks, whole
        return pinned[2]

    def set_napis(self, ifindex: int, values: Numbers) -> None:
        """Set NAPI instances of a card, by the names that ``napi_settings`` has.

        Raises: UnsupportedError; KernelError (ENOENT where a queue has none), with the name as the
        ``attribute`` where the kernel says which it refuses.
        """
        with decoding(f"NAPI instances of ifindex {ifindex}"):
            napis = self._list(NAPIS, "NAPI instances", ifindex)
            ids = _places(napis, self._list(QUEUES, "queues", ifindex))
        of_queue: dict[str, dict[str, int]] = {}
        for key, number in values.items():
            queue, _, name = key.rpartition(" ")
            of_queue.setdefault(queue, {})[name] = number
        instances = {queue: number for number, queue in ids.items()}
        pids = {napi["id"]: napi.get("pid", 0) for napi in napis}
        for queue, named in of_queue.items():
            target = f"NAPI of {queue} of ifindex {ifindex}"
            if queue not in instances:
                raise KernelError("set", target, errno.ENOENT)
            try:
                if THREADS in named:
                    threads.pin(pids[instances[queue]], named.pop(THREADS), target)
                if named:
                    content = NAPIS.table.encode({"id": instances[queue], **named}, target)
                    self._ask(NAPIS.table, NAPIS.set, 0, content, "set", target)
            except KernelError as error:
                error.attribute = f"{queue} {error.attribute}" if error.attribute else ""
                raise
            self._wrote()

    def _list(self, message: Message, what: str, ifindex: int) -> list[dict[str, int]]:
        content = message.table.encode({"ifindex": ifindex})
        target = f"{what} of ifindex {ifindex}"
        try:
            payloads = self._ask(message.table, message.get, NLM_F_DUMP, content, "list", target)
        except KernelError as error:
            raise unsupported(error, what, "this kernel does not tell") from None
        return [message.table.numbers(payload, GENERIC_HEADER) for payload in payloads]


def _by_queue(
    napis: Sequence[Mapping[str, int]], queues: Sequence[Mapping[str, int]]
) -> dict[int, QueueInterrupts]:
    """Raises: LookupError for an answer without what it should have."""
    irqs = {napi["id"]: napi["irq"] for napi in napis if "irq" in napi}
    found: dict[int, QueueInterrupts] = {}
    for queue in queues:
        irq = irqs.get(queue["napi-id"]) if "napi-id" in queue else None
        if irq is not None:
            place = _QUEUE_TYPES[queue["type"]], queue["id"]
            found.setdefault(queue["ifindex"], {})[place] = irq
    return found


def _bound(payloads: _Dump) -> dict[int, dict[tuple[str, int], str]]:
    """Raises: ValueError, LookupError."""
    found: dict[int, dict[tuple[str, int], str]] = {}
    for payload in payloads:
        there = QUEUES.table.raw(payload, GENERIC_HEADER).keys()
        if not there.isdisjoint(("dmabuf", "io-uring", "xsk")):
            queue = QUEUES.table.numbers(payload, GENERIC_HEADER)
            provider = IO_URING if "io-uring" in there else XSK
            what = f"{DMABUF} {queue['dmabuf']}" if "dmabuf" in there else provider
            found.setdefault(queue["ifindex"], {})[_QUEUE_TYPES[queue["type"]], queue["id"]] = what
    return found


def _numbers(told: tuple[_Dump, _Dump]) -> tuple[list[dict[str, int]], ...]:
    """What was told of NAPI instances, and of queues. Raises: ValueError."""
    return tuple(
        [message.table.numbers(payload, GENERIC_HEADER) for payload in payloads]
        for message, payloads in zip((NAPIS, QUEUES), told, strict=True)
    )


def _settings(
    napis: Sequence[Mapping[str, int]], queues: Sequence[Mapping[str, int]]
) -> tuple[dict[int, dict[str, int]], dict[_Place, int]]:
    """What is set of each card's instances, and the pids of their threads.

    Raises: LookupError for an answer without what it should have.
    """
    pids: dict[_Place, int] = {}
    instances = {napi["id"]: napi for napi in napis}
    found: dict[int, dict[str, int]] = {}
    for number, place in _places(napis, queues).items():
        if napi := instances.get(number):
            told = {f"{place} {name}": napi[name] for name in SETTINGS if name in napi}
            if "pid" in napi:
                pids[napi["ifindex"], place] = napi["pid"]
            found.setdefault(napi["ifindex"], {}).update(told)
    return found, pids


def _places(
    napis: Sequence[Mapping[str, int]], queues: Sequence[Mapping[str, int]]
) -> dict[int, str]:
    """NAPI instance, by id -> the queue by which it goes. Raises: LookupError."""
    places: dict[int, str] = {}
    receiving: Counter[int] = Counter()
    named = {queue["ifindex"] for queue in queues if "napi-id" in queue}
    for queue in sorted(queues, key=lambda queue: (queue["type"], queue["id"])):
        kind = _QUEUE_TYPES[queue["type"]]
        if "napi-id" in queue:
            places.setdefault(queue["napi-id"], f"{kind}-{queue['id']}")
        elif kind == "rx" and queue["ifindex"] not in named:
            receiving[queue["ifindex"]] += 1
    for ifindex, count in receiving.items():
        instances = sorted(napi["id"] for napi in napis if napi["ifindex"] == ifindex)
        if len(instances) == count:
            places |= {number: f"rx-{queue}" for queue, number in enumerate(instances)}
    return places
