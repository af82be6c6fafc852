"""Finds the host's cards and plans for all of them together; what is wanted follows from that."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Protocol

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, NamespaceError
from netuned.hardware.host import Host, read_host
from netuned.hardware.isolation import read_isolation
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.topology import Topology, read_topology
from netuned.placement.seatfile import NAME as SEATS
from netuned.placement.seatfile import read_seats, write_seats
from netuned.planning.asked import may_apply
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import LoadedProfile, ProfileSet
from netuned.profiles.settings import Settings
from netuned.reconcile.context import Context
from netuned.reconcile.loading import Loading

log = logging.getLogger(__name__)

REST_MOST_S = 0.5
"""So long at most, and as long as it took, no search for cards follows another."""

REREAD_S = 2.0
"""A host that cannot be read is read again, also without another event."""


class Follower(Protocol):
    """Who goes by the plans."""

    @property
    def may_plan(self) -> bool:
        """Whether all is known that a plan goes by."""

    def adopt(
        self, host: Host, desired: Desired, profiles: ProfileSet, settings: Settings, /
    ) -> None:
        """Bring a plan into force that was made for these profiles and settings."""

    def adopted(self) -> None:
        """It is, and the next may be made."""

    def rescan(self) -> None: ...
    def publish(self) -> None: ...


class Survey:
    """The host as it was read last, and its plans, made one at a time."""

    def __init__(
        self, context: Context, loading: Loading, runtime_directory: Path, follower: Follower
    ) -> None:
        self.topology: Topology | None = None
        self.names: list[str] = []
        """Of all links, when the last plan was made."""
        self.unread = ""
        """Why the host cannot be read, and the plan in force may be an old one."""
        self.planned = asyncio.Event()
        """There was a plan: it is known which cards are here, and what is wanted of them."""
        self._context = context
        self._loading = loading
        self._follower = follower
        self._seats_file = runtime_directory / SEATS
        self._seats = read_seats(self._seats_file)
        self._topology_events = 0
        self._planning = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._judged: tuple[LoadedProfile, ...] | None = None
        """The profiles by which cards were left unread."""
        self._rest_until = 0.0
        """Until then the kernel's lock is others', who may be making links by the thousand."""
        self.early: set[int] = set()
        """Cards that changed before they were known, and perhaps after they were read."""

    def possible(self) -> CpuSet:
        """The CPUs that this host can have; of a described machine, too. Raises: KernelError."""
        return (self.topology or read_topology(self._context.kernel.files)).possible

    def forget_topology(self) -> None:
        """It is another now; what is being read may be older than that."""
        self._topology_events += 1
        self.topology = None

    async def isolates_others(self) -> bool:
        """Whether a cgroup took CPUs for itself or gave some back, which no event tells."""
        return await self._context.work.in_worker(self.isolation_differs)

    def isolation_differs(self) -> bool:
        """As ``isolates_others``, in this thread. Raises: KernelError."""
        isolation, topology = read_isolation(self._context.kernel.files), self.topology
        return topology is not None and topology.isolation != isolation

    async def rest(self) -> None:
        """Wait until others have had the kernel's lock for long enough."""
        await asyncio.sleep(self._rest_until - time.monotonic())

    async def plan(self) -> None:
        """Find cards, match profiles, place queues, and start a pass where something changed.

        A plan that has not begun yet serves all who ask for one. Raises: NamespaceError where not
        even the first could be made, for the daemon was started in the wrong place.
        """
        if self._next is None:
            self._next = self._context.work.spawn(self._plan())
        await asyncio.shield(self._next)

    async def _plan(self) -> None:
        async with self._planning:
            self._next = None
            if not (self._follower.may_plan and await self._make()):
                return
        self._follower.adopted()

    async def _make(self) -> bool:
        """Make one and have it followed. Says whether the host could be read."""
        slots, kernel, baseline = self._context.slots, self._context.kernel, self._context.baseline
        known = {ifindex: slot.card.nic for ifindex, slot in slots.items()}
        topology, events = self.topology, self._topology_events
        loaded, settings = self._loading.profiles, self._loading.settings
        profiles = loaded.profiles
        judged = known if profiles is self._judged else {}
        self.early.clear()

        def is_asked(nic: Nic) -> bool:
            if judged.get(nic.ifindex) is nic:
                return False
            return may_apply(profiles, nic) or bool(baseline.of(nic))

        def work() -> tuple[list[str], Host, Desired]:
            names = kernel.files.listdir(CLASS_NET)
            host = read_host(kernel, topology, known, is_asked)
            desired = plan_host(profiles, host, self._seats)
            if desired.seats != self._seats:
                write_seats(self._seats_file, desired.seats)
            return names, host, desired

        begun = time.monotonic()
        try:
            self.names, host, desired = await self._context.work.in_worker(work)
        except (KernelError, NamespaceError) as error:
            if isinstance(error, NamespaceError) and self._judged is None:
                raise  # it was started in the wrong place
            self._tell_unread(f"the host cannot be read: {error}")
            if self._again is not None:  # one is enough, however many ask for plans
                self._again.cancel()
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(REREAD_S, self._follower.rescan)
            return False
        finally:
            now = time.monotonic()
            self._rest_until = now + min(now - begun, REST_MOST_S)
        self._tell_unread("")
        if events == self._topology_events:
            self.topology = host.topology
        self._seats, self._judged = desired.seats, profiles
        self._follower.adopt(host, desired, loaded, settings)
        self.planned.set()
        return True

    def _tell_unread(self, problem: str) -> None:
        """Why no plan can be made, once; empty: one can."""
        if problem != self.unread:
            self.unread = problem
            if problem:
                log.error("%s, trying again", problem)
            self._follower.publish()
