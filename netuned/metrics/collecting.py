"""Collecting: at each scrape the daemon is asked, and the kernel where counters are wanted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from netuned.bus.client import Client
from netuned.errors import BusError, KernelError
from netuned.metrics import state
from netuned.status import Status
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.hardware.nic import Nic
    from netuned.kernel import Kernel

log = logging.getLogger(__name__)

DAEMON_S = 3.0
"""For the bus, and for each of two calls: Prometheus waits for 10 s by default."""


class Collecting(Collector):
    """One scrape at a time, whoever asks meanwhile waits."""

    def __init__(self, counting: Counting | None = None) -> None:
        self._counting = counting
        self._lock = threading.Lock()
        self._unanswered = ""

    def describe(self) -> list[Metric]:
        """Nothing, so that nobody is asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            status = self._status()
            found = [*state.families(status)]
            if self._counting is not None:
                found += self._counting.families(status)
        yield from found

    def _status(self) -> Status | None:
        """What the daemon shows; None where it does not answer, and the log says once why."""
        try:
            with Client(DAEMON_S) as client:
                status = client.status(queues=False)
        except BusError as error:
            if str(error) != self._unanswered:
                log.warning("The daemon does not answer: %s", escape(str(error)))
            self._unanswered = str(error)
            return None
        self._unanswered = ""
        return status


class Counting:
    """Counters of physical cards, and of those that have a profile."""

    def __init__(self, kernel: Kernel) -> None:
        from netuned.counters.following import Following
        from netuned.counters.take import Taker

        self._kernel = kernel
        self._managed: frozenset[int] = frozenset()
        self._following = Following(kernel, Taker(kernel, brief=True), self._read)

    def families(self, status: Status | None) -> list[Metric]:
        """What is counted now; nothing where the cards cannot be read, and the log says why."""
        from netuned.metrics import counts

        managed = frozenset(nic.ifindex for nic in status.nics if nic.profile) if status else None
        if managed not in (None, self._managed):
            self._managed = managed or frozenset()
            self._following.doubt()
        try:
            return [*counts.families(self._following.take())]
        except KernelError as error:
            log.warning("Cannot count: %s, ignoring", error)
            return []

    def _is_asked(self, nic: Nic) -> bool:
        return bool(nic.device) or nic.ifindex in self._managed

    def _read(self) -> Mapping[int, Nic]:
        from netuned.hardware.host import read_nics

        nics = read_nics(self._kernel, {}, self._is_asked)
        return {
            ifindex: nic for ifindex, nic in nics.items() if not nic.unread and self._is_asked(nic)
        }


def collector(*, counters: bool) -> Collecting:
    """What collects of this host. Raises: NamespaceError."""
    if not counters:
        return Collecting()
    from netuned.hardware.namespace import check_namespace
    from netuned.kernel import Kernel

    kernel = Kernel()
    check_namespace(kernel)
    return Collecting(Counting(kernel))


def registry(of: Collecting) -> CollectorRegistry:
    """With this collector alone: of Python and the process it tells nothing."""
    made = CollectorRegistry()
    made.register(of)
    return made


def text(of: Collecting) -> bytes:
    """All of it once, as node_exporter's textfile collector reads it."""
    return generate_latest(registry(of))
