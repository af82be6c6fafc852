"""Taking a sample of this host: what it counts now, of some cards or of all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from netuned.counters.sample import CardSample, Sample, by_queue
from netuned.errors import KernelError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX, TX
from netuned.kernel import Kernel, counts
from netuned.kernel.counting import Counting
from netuned.kernel.counts import Counts, Queue
from netuned.kernel.files import KeptFiles
from netuned.kernel.netlink import decoding
from netuned.kernel.rtnl import ROOT
from netuned.ondemand import OnDemand

A = TypeVar("A")
_LIMIT = 1 << 22
"""Bytes of /proc/stat and the like, on the largest hosts."""
KEPT_MOST = 256
"""Files of threads that are kept open: a process may have 1,024 open."""
_CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_"
_THREAD = "ksoftirqd/"


class Taker:
    """Takes samples of this host; keeps what does not change between them.

    Reading is all that it does, and what a user may not read is ``missing`` of the sample. What
    nobody sees at a glance is not in one that is ``brief``: the protocols' counts, and those that
    drivers have names of their own for, but queues'.
    """

    def __init__(self, kernel: Kernel, *, brief: bool = False) -> None:
        self._kernel = kernel
        self._brief = brief
        self._counting = Counting()
        self._files = KeptFiles(kernel.files)
        self._paths: dict[tuple[int, ...], tuple[str, ...]] = {}
        self._threads: dict[int, int] | None = None

    def take(self, nics: Mapping[int, Nic]) -> Sample:
        """The CPUs', the host's and these cards' counts. Raises: KernelError."""
        at = time.monotonic()
        missing: dict[str, str] = {}

        def tried(what: str, ask: Callable[[], Mapping[int, A]]) -> Mapping[int, A]:
            try:
                return ask()
            except KernelError as error:
                missing[what] = str(error)
                return {}

        links = tried("statistics of links", self._counting.links)
        qdiscs = tried("statistics of qdiscs", self._counting.qdiscs)
        queues = tried("statistics of queues", self._counting.queues)
        cards = {}
        for ifindex, nic in nics.items():
            try:
                card, told = self._counting.of_driver(ifindex, queues_alone=self._brief)
            except KernelError as error:
                missing[f"statistics of {nic.label}"] = str(error)
                card, told = {}, {}
            if ifindex in queues:
                told = _both(told, queues[ifindex])
            leaves, kinds = _leaves(qdiscs.get(ifindex, {}))
            cards[ifindex] = CardSample(
                nic.name,
                links.get(ifindex, {}),
                card,
                by_queue(told, RX),
                by_queue(told, TX),
                leaves,
                kinds,
                self._interrupts(nic),
            )
        return Sample(at, self._cpus(missing), cards, {} if self._brief else self._host(), missing)

    def _interrupts(self, nic: Nic) -> Mapping[int, Mapping[int, int]]:
        """Read from files kept open, a tenth of opening them again; idle ones are not parsed."""
        if nic.interrupts not in self._paths:
            names = (f"/sys/kernel/irq/{irq}/per_cpu_count" for irq in nic.interrupts)
            self._paths[nic.interrupts] = tuple(names)
        paths = self._paths[nic.interrupts]
        found: dict[int, bytes] = {}
        try:
            contents = self._files.sweep(paths, list) if paths else []
        except KernelError:  # one has left
            contents = [b""] * len(paths)
        for irq, path, content in zip(nic.interrupts, paths, contents, strict=True):
            if not content.endswith(b"\n"):  # cut off, or of another file now
                content = self._kernel.files.read_text(path, "").encode()
            if content:
                found[irq] = content

        def by_cpu(irq: int) -> Mapping[int, int]:
            try:
                return self._files.same(irq, found[irq], counts.per_cpu)
            except ValueError:  # no numbers
                return {}

        return OnDemand(found, by_cpu)

    def _cpus(self, missing: dict[str, str]) -> dict[int, Counts]:
        found: dict[int, dict[str, int]] = {}
        for path, parse in (
            ("/proc/stat", counts.cpu_times),
            ("/proc/softirqs", counts.softirqs),
            ("/proc/net/softnet_stat", counts.softnet),
        ):
            try:
                text = self._text(path)
                with decoding(path):
                    told = parse(text)
            except KernelError as error:
                missing[path] = str(error)
                continue
            for cpu, counted in told.items():
                found.setdefault(cpu, {}).update(counted)
        for cpu, ran in self._ran().items():
            if cpu in found:
                found[cpu]["ksoftirqd"] = ran
        return {**found}

    def _ran(self) -> dict[int, int]:
        """CPU -> nanoseconds that its ksoftirqd ran, as far as that can be read."""
        threads = self._ksoftirqd()
        paths = tuple(f"/proc/{pid}/schedstat" for pid in threads.values())
        contents: list[bytes] = []
        if len(paths) <= KEPT_MOST:
            with contextlib.suppress(KernelError):  # a CPU's that went offline, or no room
                contents = self._files.sweep(paths, list) if paths else []
        if not contents:
            contents = [self._kernel.files.read_text(path, "").encode() for path in paths]
        found = {}
        for cpu, content in zip(threads, contents, strict=True):
            with contextlib.suppress(ValueError, IndexError):
                found[cpu] = int(content.split(None, 1)[0])
        return found

    def _ksoftirqd(self) -> dict[int, int]:
        """CPU -> the thread, which it keeps for as long as it is online."""
        if self._threads is None:
            self._threads = {}
            for pid in filter(str.isdigit, self._kernel.files.listdir("/proc")):
                name = self._kernel.files.read_text(f"/proc/{pid}/comm", "")
                if name.startswith(_THREAD) and name.removeprefix(_THREAD).isdigit():
                    self._threads[int(name.removeprefix(_THREAD))] = int(pid)
        return self._threads

    def _host(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in ("/proc/net/snmp", "/proc/net/netstat"):
            with contextlib.suppress(KernelError), decoding(path):
                found |= counts.protocols(self._text(path))
        for name, path in (("conntrack", "count"), ("conntrack_max", "max")):
            if (number := self._kernel.files.read_int(_CONNTRACK + path, -1)) >= 0:
                found[name] = number
        return found

    def _text(self, path: str) -> str:
        return self._kernel.files.read_long(path, _LIMIT).decode("ascii", "replace")


def _both(driver: Mapping[Queue, Counts], netlink: Mapping[Queue, Counts]) -> dict[Queue, Counts]:
    """What a driver counts of its queues for ethtool and for netlink, whose numbers go first."""
    return {
        queue: {**driver.get(queue, {}), **netlink.get(queue, {})}
        for queue in sorted(driver.keys() | netlink.keys())
    }


def _leaves(
    qdiscs: Mapping[tuple[int, int], tuple[str, Counts]],
) -> tuple[Mapping[str, Counts], Mapping[str, str]]:
    """By place: what each counts, and of which kind it is."""
    places = {_place(*at): at for at in qdiscs}
    places.pop("", None)
    return (
        OnDemand(places, lambda place: qdiscs[places[place]][1]),
        OnDemand(places, lambda place: qdiscs[places[place]][0]),
    )


@lru_cache(1 << 12)
def _place(handle: int, parent: int) -> str:
    """``root``, the queue below it of an mq (``tx-3``), or nothing: netuned shows no deeper ones.

    Below an automatic mq the parent's major number is 0.
    """
    if parent == ROOT:
        return "root"
    minor = parent & 0xFFFF
    return f"{TX}-{minor - 1}" if minor and not (handle and handle & 0xFFFF) else ""
