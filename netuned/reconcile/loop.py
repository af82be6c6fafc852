"""The loop: events say "look again", each look compares all that is wanted with all that is.

Runs on the asyncio loop; whatever touches the kernel runs in worker threads, one at a time per
card, so that a driver that takes seconds holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netuned import __version__
from netuned.errors import KernelError, NetunedError
from netuned.hardware.host import Host, read_host
from netuned.hardware.isolation import read_isolation
from netuned.hardware.nic import CLASS_NET, Nic
from netuned.hardware.topology import Topology, read_topology
from netuned.kernel import Kernel
from netuned.kernel.irqbalance import Exclusion
from netuned.placement.seatfile import NAME as SEATS
from netuned.placement.seatfile import read_seats, write_seats
from netuned.plan import Change, Plan, Problem
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import ProfileSet, load
from netuned.profiles.settings import DEFAULT_PATH, Settings, load_settings
from netuned.reconcile.apply import Card, plan_card, sweep
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.confirm import digest
from netuned.reconcile.contention import LIMITS, Limits
from netuned.reconcile.dispute import Dispute, Search
from netuned.reconcile.hostwide import HostKeeper, Wanted, wanted_of_host
from netuned.reconcile.irqbalance import IrqbalanceKeeper
from netuned.reconcile.neighbours import Neighbours, kept_by
from netuned.reconcile.passes import Passes
from netuned.reconcile.report import manager_status, with_uppers
from netuned.reconcile.slot import Listener, Slot
from netuned.reconcile.trialfile import NAME as TRIALS
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.trials import Trials
from netuned.reconcile.work import Work
from netuned.status import (
    APPLYING,
    ManagerStatus,
    Status,
)

log = logging.getLogger(__name__)

SLICE_S = 0.005
"""The status of many cards is made for this long before the loop gets a turn."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where netuned reads and keeps things; ``resync_s`` is how often it looks without an event."""

    profile_directories: tuple[str, ...]
    state_directory: Path
    runtime_directory: Path
    settings_path: str = DEFAULT_PATH
    resync_s: float = 30.0
    contention: Limits = LIMITS


class Reconciler:
    """Holds a host's cards in the state its profiles describe."""

    def __init__(self, kernel: Kernel, options: Options, listener: Listener) -> None:
        self._kernel = kernel
        self._options = options
        self._listener = listener
        self._work = Work()
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
        self._loaded = False
        self._names: list[str] = []
        self._rescanning = False
        self._settings = Settings()
        self._passes = Passes(self._work, self._baseline, listener, self)
        trials = TrialFile(options.state_directory / TRIALS, boot_id)
        self._trials = Trials(
            *(kernel, self._work, trials, self._baseline, self._passes, listener, self)
        )
        exclusion = Exclusion(options.runtime_directory)
        self._irqbalance = IrqbalanceKeeper(exclusion, self._work.threads, self.touch_irqbalance)
        self._search = Search(self._work)
        dispute = Dispute(options.contention, self._search, self.touch_host, self.publish)
        self._hostwide = HostKeeper(kernel, self._baseline, self._work.threads, dispute)
        self._neighbours = Neighbours(kernel.files)
        self._paused: set[str] = set()
        self._notes: tuple[str, ...] = ()
        self._status = Status(ManagerStatus(__version__, APPLYING))
        self._untold = False
        self._telling: asyncio.Task[None] | None = None

    # What the daemon calls

    async def start(self) -> None:
        """Load profiles, find cards, and bring them into force for the first time."""
        try:
            self._baseline.load()
        except NetunedError as error:
            self._notes = (str(error),)
            log.error("%s", error)
        try:
            await self._trials.start()
        except NetunedError as error:
            self._notes = (*self._notes, str(error))
            log.error("%s", error)
        await self.reload()

    async def run(self) -> None:
        """The slow resync, for what raises no event. Runs until cancelled."""
        while True:
            await asyncio.sleep(self._options.resync_s * random.uniform(0.9, 1.1))
            try:
                await self.resync()
                await self.look_at_isolation()
                await self._look_at_neighbours()
            except NetunedError as error:
                log.error("%s, trying again at the next resync", error)

    async def close(self) -> None:
        """Stop; settings stay as they are. Transactions under way get ``CLOSE_S`` to end."""
        self._irqbalance.close()
        self._hostwide.close()
        for slot in self._slots.values():
            slot.dispute.close()
        await self._passes.close(self._slots.values())
        self._work.close()

    def status(self) -> Status:
        return self._status

    async def reload(self) -> None:
        """Read all profiles again and bring what changed into force."""
        async with self._loading:
            before, settings = self._profiles, self._settings
            self._settings = await self._work.in_worker(
                lambda: load_settings(self._options.settings_path, settings)
            )
            topology = self._topology
            if topology is None:
                topology = await self._work.in_worker(lambda: read_topology(self._kernel.files))
            possible = topology.possible
            directories = self._options.profile_directories
            self._profiles = await self._work.in_worker(
                lambda: load(directories, possible=possible, previous=before)
            )
            self._loaded = True
        self._neighbours.forget()
        for error in (*self._settings.errors, *self._profiles.errors):
            if error not in (*settings.errors, *before.errors):
                log.error("%s", error)
        await self.replan()
        await self._until_quiet()
        await self._trials.concluded()

    async def reconcile(self, ifname: str = "") -> None:
        """Look at one card (or all) whole, now, and wait until that pass is done.

        What was rolled back or restored is no longer left alone.
        """
        slots = self._named(ifname)
        await self._trials.holds.release(slots)
        for slot in slots:
            slot.card.refused = {}  # what was refused may be possible now
            slot.aimed = False
            slot.dispute.forget()
            self._passes.look_now(slot)
        await self._until_quiet()
        if not ifname:
            self._hostwide.forget_contention()
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
                    await self._passes.aim(slot)
                try:
                    changes += await self._work.in_worker(partial(plan_card, card))
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
        self.publish()

    async def resume(self, ifname: str) -> None:
        """End a pause and look at what happened meanwhile."""
        slots = self._named(ifname)
        if ifname and "" in self._paused:
            raise NetunedError("all cards are paused; `netunedctl resume` without a name ends that")
        if ifname:
            self._paused.discard(ifname)
        else:
            self._paused.clear()
        timeout_s = self._settings.confirm_timeout_s
        if timeout_s and (untried := [slot for slot in slots if slot.untried]):
            self._trials.conclude_later(self._trials.begin(untried, timeout_s), untried)
        for slot in slots:
            self._passes.look_now(slot)
        await self._reconcile_host()

    async def try_out(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        """As ``reconcile``, undone after ``timeout_s`` unless confirmed; a pause of these ends.

        Returns the id and until when; both are empty if nothing was to be changed.
        """
        slots = self._named(ifname)
        if ifname and "" in self._paused:
            raise NetunedError("all cards are paused; `netunedctl resume` without a name ends that")
        self._trials.refuse_second(slots)
        trial = self._trials.begin(slots, timeout_s)
        await self._trials.announce(trial, slots)
        self._paused = self._paused - {ifname} if ifname else set()
        for slot in slots:
            slot.card.refused = {}
            slot.dispute.forget()
            self._passes.look_now(slot)
        concluded = await self._trials.conclude(trial, slots)
        await self._reconcile_host()
        return (concluded.id, concluded.until) if concluded else ("", "")

    async def confirm(self, id: str) -> None:
        """Keep what a trial did."""
        await self._trials.confirm(id)

    async def roll_back(self, id: str) -> None:
        """Undo a trial at once; all that wait if none is named."""
        await self._trials.roll_back(id)
        await self._until_quiet()

    async def restore(self, ifname: str, tunable: str) -> None:
        """Put back what was there before netuned, and leave it alone from then on."""
        await self._trials.restore(self._named(ifname), tunable)
        await self._until_quiet()
        await self._reconcile_host()
        await self._reconcile_irqbalance()

    # What events call: all of them only say "look again"

    def touch(self, ifindex: int, tunable: str | None = None) -> None:
        """Look at one tunable of a card, or at the card's facts and all of it."""
        slot = self._slots.get(ifindex)
        if slot is None:
            if tunable is None:
                self.rescan()
            return
        if tunable is None:
            self._passes.mark(slot, facts=True)
        elif tunable in slot.card.wanted:
            if slot.dispute.damp(tunable, partial(self._look_at, slot, tunable)):
                return
            if not slot.event_at:
                slot.event_at = time.monotonic()
            self._look_at(slot, tunable)

    def _look_at(self, slot: Slot, tunable: str) -> None:
        slot.scope.add(tunable)
        self._passes.start(slot)

    def touch_qdisc(self, ifindex: int, sender: int) -> None:
        """Somebody, most often the process with this pid, changed a qdisc of a card."""
        if slot := self._slots.get(ifindex):
            slot.dispute.heard("qdisc", sender)
        self.touch(ifindex, "qdisc")

    def rescan(self) -> None:
        """Cards came or went. Many at once are one look."""
        if not self._rescanning:
            self._rescanning = True
            self._work.spawn(self._rescan())

    async def _rescan(self) -> None:
        async with self._planning:
            self._rescanning = False
            look_again, self._look_again = self._look_again, False
        await self.replan()
        if look_again:
            for slot in self._slots.values():
                self._passes.mark(slot, facts=True)

    def touch_topology(self) -> None:
        """CPUs went on- or offline or were isolated: read anew, look at what depends on it."""
        self._topology_events += 1  # what is being read now may be older than this event
        self._topology = None
        self._look_again = True
        self.rescan()

    def touch_profiles(self) -> None:
        """Profiles were dropped, changed or removed."""
        self._work.spawn(self.reload())

    def touch_host(self) -> None:
        """A setting of the host was written."""
        self._work.spawn(self._reconcile_host())

    def touch_irqbalance(self) -> None:
        """irqbalance started, stopped or was restarted."""
        self._work.spawn(self._reconcile_irqbalance())

    def touch_everything(self) -> None:
        """Events were lost: nothing that is known can be trusted."""
        self.touch_topology()

    # Planning, for all cards together

    async def replan(self) -> None:
        """Find cards, match profiles, place queues, and start a pass where something changed."""
        if not self._loaded:  # without profiles every card would be put back
            return
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
                self._names, host, desired = await self._work.in_worker(work)
            except KernelError as error:
                log.error("Cannot read the host: %s, trying again at the next event", error)
                return
            if events == self._topology_events:
                self._topology = host.topology
            self._desired, self._seats = desired, desired.seats
            self._adopt(host, desired)
        await self._reconcile_host()
        self._work.spawn(self._reconcile_irqbalance())
        self._work.spawn(self._look_at_neighbours())

    def _adopt(self, host: Host, desired: Desired) -> None:
        if gone := self._slots.keys() - host.nics.keys():
            for ifindex in gone:
                self._drop(ifindex)
            present = list(host.nics.values())
            self._work.spawn(self._work.in_worker(lambda: self._baseline.retire(present)))
        # A profile that cannot be read may be the one a card without any has: leave it as it is.
        restore = not self._profiles.errors
        problems = {problem.ifname: problem.message for problem in desired.problems}
        tried: list[Slot] = []
        certain: dict[int, str] = {}
        for ifindex, nic in host.nics.items():
            slot = self._slots.get(ifindex)
            if slot is None:
                slot = self._slots[ifindex] = self._slot(nic)
            loaded = desired.profiles.get(ifindex)
            target = desired.targets.get(ifindex)
            problem = problems.get(nic.name, "")
            profile = digest(target.profile if target else None)
            if self._trials.waits_with_other(ifindex, profile):
                slot.restore &= slot.digest is not None
                continue  # until that is confirmed or rolled back
            slot.profile = loaded.profile.name if loaded else ""
            if problem:
                if problem != slot.problem:
                    log.error("%s: %s", nic.name, problem)
                slot.problem = problem  # what was in force stays in force
                continue
            slot.problem = ""
            if self._must_be_tried(slot, profile):
                tried.append(slot)
            slot.digest, slot.profiles = profile, self._profiles
            if target is not None or restore:
                certain[ifindex] = profile
            if slot.tries is None and (held := self._trials.holds.held(nic, profile)) != slot.held:
                slot.held, slot.aimed = held, False
            if target != slot.target:
                slot.target, slot.aimed, slot.settled = target, False, False
                self._passes.end_wait(slot)
            if target is None and slot.restore != restore:
                slot.aimed = False
            slot.restore = restore
            if not slot.aimed:
                self._passes.mark(slot, everything=True)
        self._trials.holds.follow(host.nics, certain)
        if tried:
            trial = self._trials.begin(tried, self._settings.confirm_timeout_s)
            self._trials.conclude_later(trial, tried)

    def _must_be_tried(self, slot: Slot, profile: str) -> bool:
        """Whether a card gets another profile because profiles were read anew, not at the start."""
        if slot.digest in (None, profile) or slot.profiles is self._profiles:
            return False
        if not self._settings.confirm_timeout_s:
            return False
        slot.untried = self.is_paused(slot)
        return not slot.untried

    def slot(self, ifindex: int) -> Slot | None:
        """A card's place, if it is here."""
        return self._slots.get(ifindex)

    def _slot(self, nic: Nic) -> Slot:
        def again() -> None:
            self._passes.mark(slot, everything=True)

        dispute = Dispute(self._options.contention, self._search, again, self.publish)
        slot = Slot(Card(self._kernel, nic), dispute)
        return slot

    def _drop(self, ifindex: int) -> None:
        slot = self._slots.pop(ifindex)
        slot.gone = True
        self._passes.end_wait(slot)
        slot.dispute.close()
        self._listener.arm(slot.card.nic, frozenset())
        if slot.task is None:  # else its worker still reads through these descriptors
            slot.card.close()

    def is_paused(self, slot: Slot) -> bool:
        """Whether the card, all, or one that is tuned through it was paused."""
        if not self._paused:
            return False
        ifindex = slot.card.nic.ifindex
        above = {i for i, through in self._desired.through.items() if ifindex in through.cards}
        names = {self._slots[i].card.nic.name for i in (ifindex, *above) if i in self._slots}
        return "" in self._paused or not names.isdisjoint(self._paused)

    # The host

    async def resync(self) -> None:
        """Look at every idle card at once, with one dump of all qdiscs; act only where needed."""
        idle = [
            slot
            for slot in self._slots.values()
            if slot.card.wanted and not slot.lock.locked() and not self.is_paused(slot)
        ]
        async with AsyncExitStack() as held:
            for slot in idle:
                await held.enter_async_context(slot.lock)
            cards = [slot.card for slot in idle]
            files = self._kernel.files
            names, differing = await self._work.in_worker(
                lambda: (files.listdir(CLASS_NET), sweep(self._kernel, cards))
            )
        for slot in idle:
            if slot.card in differing:
                self._passes.mark(slot, facts=True)
        if names != self._names:
            self.rescan()
        if self._hostwide.settings:
            await self._reconcile_host()
        if self._irqbalance.settings:
            await self._reconcile_irqbalance()

    async def look_at_isolation(self) -> None:
        """No event tells that a cgroup took CPUs for itself."""
        isolation = await self._work.in_worker(lambda: read_isolation(self._kernel.files))
        if self._topology is not None and self._topology.isolation != isolation:
            self.touch_topology()

    async def _look_at_neighbours(self) -> None:
        kept = kept_by((slot.card.nic for slot in self._slots.values()), self._desired)
        mode = self._desired.irqbalance
        new = await self._work.in_worker(lambda: self._neighbours.look(kept, mode))
        for conflict in new:
            log.warning("In the way: %s", conflict)
        self.publish()

    def _wanted_of_host(self) -> Wanted:
        slots = self._slots.values()
        targets = {
            s.card.nic.name: s.target
            for s in slots
            if s.target is not None and not self._is_restored(s, "rfs")
        }
        restore = not self._profiles.errors
        return wanted_of_host(targets, restore=restore, paused="" in self._paused)

    async def _reconcile_host(self) -> None:
        await self._hostwide.look(self._wanted_of_host())
        self.publish()

    async def _reconcile_irqbalance(self) -> None:
        nics = [
            slot.card.nic
            for slot in self._slots.values()
            if slot.target is not None
            and slot.target.profile.irq is not None
            and not self._is_restored(slot, "irq")
        ]
        if await self._irqbalance.look(self._desired.irqbalance, nics):
            for slot in self._slots.values():
                self.touch(slot.card.nic.ifindex, "irq")
        self.publish()

    def _is_restored(self, slot: Slot, tunable: str) -> bool:
        return self._trials.holds.restored(slot.card.nic, slot.digest or "", tunable)

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
        if self._telling is not None:
            await asyncio.wait({self._telling})

    # Status

    def publish(self) -> None:
        """Tell how everything is, if that has changed; what comes together is told together."""
        self._untold = True
        if self._telling is None:
            self._telling = self._work.spawn(self._tell())

    async def _tell(self) -> None:
        try:
            while self._untold:
                self._untold = False
                until = time.monotonic() + SLICE_S
                for slot in tuple(self._slots.values()):
                    slot.status(paused=self.is_paused(slot))  # kept until the card changes
                    if time.monotonic() > until:
                        await asyncio.sleep(0)
                        until = time.monotonic() + SLICE_S
                self._tell_now()
        finally:
            self._telling = None

    def _tell_now(self) -> None:
        cards = tuple(slot.status(paused=self.is_paused(slot)) for slot in self._slots.values())
        nics = with_uppers(cards, self._desired.through)
        manager = manager_status(
            self._profiles,
            self._desired,
            nics,
            self._irqbalance.settings + self._hostwide.settings,
            (*self._notes, *map(str, self._settings.errors)),
            self._contended(),
            self._kernel.writes,
            self._trials.pending(),
        )
        status = Status(manager, nics)
        if status != self._status:
            self._status = status
            self._listener.publish(status)

    def _contended(self) -> tuple[str, ...]:
        cards = (text for slot in self._slots.values() for text in slot.contended)
        return (*self._hostwide.contended, *cards, *self._neighbours.conflicts)
