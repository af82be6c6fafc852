"""The loop: events say "look again", each look compares all that is wanted with all that is.

Runs on the asyncio loop; whatever touches the kernel runs in worker threads, one at a time per
card, so that a driver that takes seconds holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from netuned import __version__
from netuned.apply import Card, Outcome, plan_card, reconcile_card, sweep
from netuned.baseline import Baseline
from netuned.errors import KernelError, NetunedError
from netuned.host import Host, read_host
from netuned.hostwide import HostKeeper, Wanted, wanted_of_host
from netuned.irqbalance import IrqbalanceKeeper
from netuned.isolation import read_isolation
from netuned.kernel import Kernel
from netuned.kernel.irqbalance import Exclusion
from netuned.loader import ProfileSet, load
from netuned.nic import CLASS_NET
from netuned.plan import Change, Plan, Problem
from netuned.planner import Desired, plan_host
from netuned.report import manager_status, with_uppers
from netuned.seatfile import NAME as SEATS
from netuned.seatfile import read_seats, write_seats
from netuned.slot import Listener, Slot
from netuned.status import (
    APPLYING,
    DEGRADED,
    UNMANAGED,
    ManagerStatus,
    Status,
)
from netuned.topology import Topology, read_topology

log = logging.getLogger(__name__)

WORKERS = 4
CLOSE_S = 1.0
RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """Where netuned reads and keeps things; ``resync_s`` is how often it looks without an event."""

    profile_directories: tuple[str, ...]
    state_directory: Path
    runtime_directory: Path
    resync_s: float = 30.0


class Reconciler:
    """Holds a host's cards in the state its profiles describe."""

    def __init__(self, kernel: Kernel, options: Options, listener: Listener) -> None:
        self._kernel = kernel
        self._options = options
        self._listener = listener
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="card")
        boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id", "")
        self._baseline = Baseline(options.state_directory / "baseline.json", boot_id)
        self._profiles = ProfileSet((), ())
        self._topology: Topology | None = None
        self._topology_events = 0
        self._look_again = False
        self._desired = Desired({}, {}, (), (), None)
        self._seats = read_seats(options.runtime_directory / SEATS)
        self._slots: dict[int, Slot] = {}
        self._loading = asyncio.Lock()
        self._planning = asyncio.Lock()
        self._names: list[str] = []
        self._rescanning = False
        self._closing = False
        exclusion = Exclusion(options.runtime_directory)
        self._irqbalance = IrqbalanceKeeper(exclusion, self._workers, self.touch_irqbalance)
        self._hostwide = HostKeeper(kernel, self._baseline, self._workers)
        self._paused: set[str] = set()
        self._notes: tuple[str, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._status = Status(ManagerStatus(__version__, APPLYING))

    # What the daemon calls

    async def start(self) -> None:
        """Load profiles, find cards, and bring them into force for the first time."""
        try:
            self._baseline.load()
        except NetunedError as error:
            self._notes = (str(error),)
            log.error("%s", error)
        await self.reload()

    async def run(self) -> None:
        """The slow resync, for what raises no event. Runs until cancelled."""
        while True:
            await asyncio.sleep(self._options.resync_s * random.uniform(0.9, 1.1))
            try:
                await self.resync()
                await self.look_at_isolation()
            except NetunedError as error:
                log.error("%s, trying again at the next resync", error)

    async def close(self) -> None:
        """Stop; settings stay as they are. Transactions under way get ``CLOSE_S`` to end."""
        self._closing = True
        self._irqbalance.close()
        for slot in self._slots.values():
            self._end_wait(slot)
        if passes := [slot.task for slot in self._slots.values() if slot.task is not None]:
            await asyncio.wait(passes, timeout=CLOSE_S)
        for task in tuple(self._tasks):
            task.cancel()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def status(self) -> Status:
        return self._status

    async def reload(self) -> None:
        """Read all profiles again and bring what changed into force."""
        async with self._loading:
            before = self._profiles
            topology = self._topology
            if topology is None:
                topology = await self._in_worker(lambda: read_topology(self._kernel.files))
            possible = topology.possible
            directories = self._options.profile_directories
            self._profiles = await self._in_worker(
                lambda: load(directories, possible=possible, previous=before)
            )
        for error in self._profiles.errors:
            if error not in before.errors:
                log.error("%s", error)
        await self.replan()
        await self._until_quiet()

    async def reconcile(self, ifname: str = "") -> None:
        """Look at one card (or all) whole, now, and wait until that pass is done."""
        for slot in self._named(ifname):
            slot.card.refused = {}  # what was refused may be possible now
            slot.aimed = False
            self._look_now(slot)
        await self._until_quiet()
        await self._reconcile_host()

    async def plan(self) -> Plan:
        """What would be written now, without writing."""
        changes: list[Change] = []
        problems = list(self._desired.problems)
        for slot in tuple(self._slots.values()):
            if slot.target is None and not slot.card.wanted:
                continue
            async with slot.lock:
                card = slot.card
                if not slot.aimed:  # a paused card is planned, too
                    await self._aim(slot)
                try:
                    changes += await self._in_worker(partial(plan_card, card))
                except KernelError as error:
                    problems.append(Problem(card.nic.name, str(error)))
        host = await self._hostwide.plan(self._wanted_of_host())
        return Plan((*host.changes, *changes), (*host.problems, *problems))

    async def pause(self, ifname: str) -> None:
        """Make no changes to a card, or to any, until resumed. Waits for a pass under way."""
        slots = self._named(ifname)
        self._paused.add(ifname)
        for slot in slots:
            async with slot.lock:
                pass
        self._publish()

    async def resume(self, ifname: str) -> None:
        """End a pause and look at what happened meanwhile."""
        slots = self._named(ifname)
        if ifname and "" in self._paused:
            raise NetunedError("all cards are paused; `netunedctl resume` without a name ends that")
        if ifname:
            self._paused.discard(ifname)
        else:
            self._paused.clear()
        for slot in slots:
            self._look_now(slot)
        await self._reconcile_host()

    # What events call: all of them only say "look again"

    def touch(self, ifindex: int, tunable: str | None = None) -> None:
        """Look at one tunable of a card, or at the card's facts and all of it."""
        slot = self._slots.get(ifindex)
        if slot is None:
            if tunable is None:
                self.rescan()
            return
        if tunable is None:
            self._mark(slot, facts=True)
        elif tunable in slot.card.wanted:
            if not slot.event_at:
                slot.event_at = time.monotonic()
            slot.scope.add(tunable)
            self._start(slot)

    def rescan(self) -> None:
        """Cards came or went. Many at once are one look."""
        if not self._rescanning:
            self._rescanning = True
            self._spawn(self._rescan())

    async def _rescan(self) -> None:
        async with self._planning:
            self._rescanning = False
            look_again, self._look_again = self._look_again, False
        await self.replan()
        if look_again:
            for slot in self._slots.values():
                self._mark(slot, facts=True)

    def touch_topology(self) -> None:
        """CPUs went on- or offline or were isolated: read anew, look at what depends on it."""
        self._topology_events += 1  # what is being read now may be older than this event
        self._topology = None
        self._look_again = True
        self.rescan()

    def touch_profiles(self) -> None:
        """Profiles were dropped, changed or removed."""
        self._spawn(self.reload())

    def touch_host(self) -> None:
        """A setting of the host was written."""
        self._spawn(self._reconcile_host())

    def touch_irqbalance(self) -> None:
        """irqbalance started, stopped or was restarted."""
        self._spawn(self._reconcile_irqbalance())

    def touch_everything(self) -> None:
        """Events were lost: nothing that is known can be trusted."""
        self.touch_topology()

    # Planning, for all cards together

    async def replan(self) -> None:
        """Find cards, match profiles, place queues, and start a pass where something changed."""
        async with self._planning:
            known = {ifindex: slot.card.nic for ifindex, slot in self._slots.items()}
            profiles, topology = self._profiles.profiles, self._topology
            events = self._topology_events

            def work() -> tuple[list[str], Host, Desired]:
                names = self._kernel.files.listdir(CLASS_NET)
                host = read_host(self._kernel, topology, known)
                desired = plan_host(profiles, host, self._seats)
                if desired.seats != self._seats:
                    write_seats(self._options.runtime_directory / SEATS, desired.seats)
                return names, host, desired

            try:
                self._names, host, desired = await self._in_worker(work)
            except KernelError as error:
                log.error("Cannot read the host: %s, trying again at the next event", error)
                return
            if events == self._topology_events:
                self._topology = host.topology
            self._desired, self._seats = desired, desired.seats
            self._adopt(host, desired)
        await self._reconcile_host()
        self._spawn(self._reconcile_irqbalance())

    def _adopt(self, host: Host, desired: Desired) -> None:
        if gone := self._slots.keys() - host.nics.keys():
            for ifindex in gone:
                self._drop(ifindex)
            self._spawn(self._in_worker(lambda: self._baseline.forget_cards(gone)))
        # A profile that cannot be read may be the one a card without any has: leave it as it is.
        restore = not self._profiles.errors
        problems = {problem.ifname: problem.message for problem in desired.problems}
        for ifindex, nic in host.nics.items():
            slot = self._slots.get(ifindex)
            if slot is None:
                slot = self._slots[ifindex] = Slot(Card(self._kernel, nic))
            loaded = desired.profiles.get(ifindex)
            target = desired.targets.get(ifindex)
            problem = problems.get(nic.name, "")
            slot.profile = loaded.profile.name if loaded else ""
            if problem:
                if problem != slot.problem:
                    log.error("%s: %s", nic.name, problem)
                slot.problem = problem  # what was in force stays in force
                continue
            slot.problem = ""
            if target != slot.target:
                slot.target, slot.aimed, slot.settled = target, False, False
                self._end_wait(slot)
            if target is None and slot.restore != restore:
                slot.aimed = False
            slot.restore = restore
            if not slot.aimed:
                self._mark(slot, everything=True)

    def _drop(self, ifindex: int) -> None:
        slot = self._slots.pop(ifindex)
        slot.gone = True
        self._end_wait(slot)
        self._listener.arm(slot.card.nic, frozenset())
        if slot.task is None:  # else its worker still reads through these descriptors
            slot.card.close()

    # One card

    def _mark(self, slot: Slot, *, everything: bool = False, facts: bool = False) -> None:
        slot.everything |= everything
        slot.facts |= facts
        self._start(slot)

    def _start(self, slot: Slot) -> None:
        if slot.task is None and self._may_look(slot):
            slot.task = self._spawn(self._pass(slot))

    def _may_look(self, slot: Slot) -> bool:
        """After a failure events wait for the retry: a failed pass raises events of its own."""
        held = slot.gone or self._closing or slot.retry is not None or self._is_paused(slot)
        return slot.dirty and not held

    def _end_wait(self, slot: Slot) -> None:
        if slot.retry is not None:
            slot.retry.cancel()
            slot.retry = None

    def _is_paused(self, slot: Slot) -> bool:
        """Whether the card, all, or one that is tuned through it was paused."""
        if not self._paused:
            return False
        ifindex = slot.card.nic.ifindex
        above = {i for i, through in self._desired.through.items() if ifindex in through.cards}
        names = {self._slots[i].card.nic.name for i in (ifindex, *above) if i in self._slots}
        return "" in self._paused or not names.isdisjoint(self._paused)

    async def _pass(self, slot: Slot) -> None:
        """Look at a card until nothing more is marked."""
        try:
            while self._may_look(slot):
                async with slot.lock:
                    await self._look(slot)
        except Exception as error:  # the loop's edge: a bug over one card stops no other
            log.exception("Internal error over %s, leaving it alone", slot.card.nic.name)
            slot.last_error, slot.state = f"internal error: {error!r}; see the log", DEGRADED
            slot.everything = slot.facts = False
            slot.scope.clear()
        finally:
            slot.task = None
            if slot.gone:
                slot.card.close()
        self._publish()

    async def _look(self, slot: Slot) -> None:
        card = slot.card
        # After a failure, and while something is put back, only a look at everything tells.
        whole = slot.everything or slot.facts or slot.failures or card.restoring
        scope = None if whole else frozenset(slot.scope)
        facts, event_at = slot.facts, slot.event_at
        slot.everything = slot.facts = False
        slot.scope.clear()
        slot.event_at = 0.0
        if facts:
            try:
                changed = await self._in_worker(card.refresh)
            except KernelError as error:
                self._lost(slot, error)
                return
            if changed:
                slot.aimed = False
                await self.replan()
        if not slot.aimed:
            await self._aim(slot)
        nic, tunables = card.nic, frozenset(card.wanted)
        if slot.armed is None or slot.armed[0] is not nic or slot.armed[1] != tunables:
            self._listener.arm(nic, tunables)
            slot.armed = nic, tunables
        if not card.wanted:
            slot.pending, slot.last_error, slot.state = (), "", UNMANAGED
            card.close()
            return
        outcome = await self._in_worker(lambda: reconcile_card(card, self._baseline, scope))
        self._note(slot, outcome, event_at)
        if card.nic is not nic:  # restructured by our own writes: what is there now is new
            slot.aimed = False
            await self.replan()

    async def _aim(self, slot: Slot) -> None:
        target, restore = slot.target, slot.restore
        aim = partial(slot.card.aim, target, self._baseline, restore=restore)
        await self._in_worker(aim)
        slot.aimed = target is slot.target and restore is slot.restore

    def _note(self, slot: Slot, outcome: Outcome, event_at: float) -> None:
        """Tell what a look gave, and look again later if it failed."""
        if isinstance(outcome.error, KernelError) and outcome.error.gone:
            slot.tell(outcome, event_at, self._listener)
            self._lost(slot, outcome.error)
            return
        slot.note(outcome, event_at, self._listener)
        if outcome.error is not None:
            self._retry(slot, RETRY_FIRST_S * 2 ** min(slot.failures - 1, 10))

    def _retry(self, slot: Slot, wait_s: float) -> None:
        """Look again later, and at nothing of the card until then but by request."""
        self._end_wait(slot)
        wait_s = min(wait_s, RETRY_MOST_S) * random.uniform(0.8, 1.2)
        slot.retry = asyncio.get_running_loop().call_later(wait_s, self._look_now, slot)

    def _look_now(self, slot: Slot) -> None:
        self._end_wait(slot)
        self._mark(slot, facts=True)

    def _lost(self, slot: Slot, error: KernelError) -> None:
        """Files or the card itself went away: read the facts again, once they are there."""
        slot.failures += 1
        if slot.failures > 1:
            slot.last_error, slot.state = str(error), DEGRADED
        self._retry(slot, 0.01 * 4 ** min(slot.failures, 10))
        self.rescan()

    # The host

    async def resync(self) -> None:
        """Look at every idle card at once, with one dump of all qdiscs; act only where needed."""
        idle = [
            slot
            for slot in self._slots.values()
            if slot.card.wanted and not slot.lock.locked() and not self._is_paused(slot)
        ]
        async with AsyncExitStack() as held:
            for slot in idle:
                await held.enter_async_context(slot.lock)
            cards = [slot.card for slot in idle]
            files = self._kernel.files
            names, differing = await self._in_worker(
                lambda: (files.listdir(CLASS_NET), sweep(self._kernel, cards))
            )
        for slot in idle:
            if slot.card in differing:
                self._mark(slot, facts=True)
        if names != self._names:
            self.rescan()
        await self._reconcile_host()
        if self._irqbalance.settings:
            await self._reconcile_irqbalance()

    async def look_at_isolation(self) -> None:
        """No event tells that a cgroup took CPUs for itself."""
        isolation = await self._in_worker(lambda: read_isolation(self._kernel.files))
        if self._topology is not None and self._topology.isolation != isolation:
            self.touch_topology()

    def _wanted_of_host(self) -> Wanted:
        slots = self._slots.values()
        targets = {s.card.nic.name: s.target for s in slots if s.target is not None}
        restore = not self._profiles.errors
        return wanted_of_host(targets, restore=restore, paused="" in self._paused)

    async def _reconcile_host(self) -> None:
        await self._hostwide.look(self._wanted_of_host())
        self._publish()

    async def _reconcile_irqbalance(self) -> None:
        nics = [
            slot.card.nic
            for slot in self._slots.values()
            if slot.target is not None and slot.target.profile.irq is not None
        ]
        if await self._irqbalance.look(self._desired.irqbalance, nics):
            for slot in self._slots.values():
                self.touch(slot.card.nic.ifindex, "irq")
        self._publish()

    def _named(self, ifname: str) -> list[Slot]:
        """A card and those it is tuned through; all for an empty name. Raises: NetunedError."""
        slots = [s for s in self._slots.values() if ifname in ("", s.card.nic.name)]
        for ifindex in [slot.card.nic.ifindex for slot in slots if ifname]:
            below = self._desired.through.get(ifindex)
            slots += [self._slots[card] for card in below.cards] if below else []
        if ifname and not slots:
            raise NetunedError(f"there is no card {ifname} here; `netunedctl status` lists them")
        return slots

    async def _until_quiet(self) -> None:
        while tasks := [slot.task for slot in self._slots.values() if slot.task is not None]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error, exc_info=None if isinstance(error, NetunedError) else error)

    # Status

    def _publish(self) -> None:
        cards = tuple(slot.status(paused=self._is_paused(slot)) for slot in self._slots.values())
        nics = with_uppers(cards, self._desired.through)
        manager = manager_status(
            self._profiles,
            self._desired,
            nics,
            self._irqbalance.settings + self._hostwide.settings,
            self._notes,
            self._kernel.writes,
        )
        status = Status(manager, nics)
        if status != self._status:
            self._status = status
            self._listener.publish(status)
