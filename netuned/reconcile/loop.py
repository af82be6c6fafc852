"""The loop: events say "look again", each look compares all that is wanted with all that is.

Runs on the asyncio loop; whatever touches the kernel runs in worker threads, one at a time per
card, so that a driver that takes seconds holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from netuned.errors import (
    NetunedError,
    StartingError,
    StateFileError,
)
from netuned.hardware.host import Host
from netuned.hardware.links import is_as
from netuned.hardware.nic import HOST, Nic
from netuned.kernel import Kernel
from netuned.kernel.irqbalance import Irqbalance
from netuned.kernel.linkinfo import parse_link
from netuned.planning.neighbours import Governed, Neighbours, governed_by
from netuned.planning.planner import Desired
from netuned.profiles.compiled import NAME as COMPILED
from netuned.profiles.loader import ProfileSet
from netuned.profiles.settings import DEFAULT_PATH, Settings
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.cards import Cards
from netuned.reconcile.contention import LIMITS, Limits
from netuned.reconcile.context import Context
from netuned.reconcile.dispute import Dispute, Search
from netuned.reconcile.host import HostPart
from netuned.reconcile.listener import Listener
from netuned.reconcile.loading import Loading
from netuned.reconcile.lookout import POLL_S, Lookout
from netuned.reconcile.passes import Passes
from netuned.reconcile.pauses import NAME as PAUSED
from netuned.reconcile.pauses import Pauses
from netuned.reconcile.report import manager_status
from netuned.reconcile.resync import finds, look_over, poll, poll_finds, silent_tunables
from netuned.reconcile.slot import Slot
from netuned.reconcile.survey import Survey
from netuned.reconcile.telling import Telling
from netuned.reconcile.trialfile import NAME as TRIALS
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.trials import Trials
from netuned.reconcile.work import Work
from netuned.records import dataclass
from netuned.status import STARTING, ManagerStatus, NicStatus, Status
from netuned.tunables import TUNABLES, tunables_of
from netuned.tunables.base import Wanted

log = logging.getLogger(__name__)

START_WAIT_S = 10.0
"""Who asks before the first plan waits for it so long: as long as READY waits for all of it."""


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
        self.work = Work()
        boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id", "")
        self._baseline = Baseline(options.state_directory / "baseline.json", boot_id)
        self._look_again = False
        self.loading = Loading(
            options.profile_directories,
            options.settings_path,
            lambda: self._survey.possible(),
            answered=self.touch_profiles,
            kept_at=options.state_directory / COMPILED,
        )
        self._due = False
        self._published = asyncio.Event()
        self._first_looks: asyncio.Task[None] | None = None
        self._starting = True
        self._context = context = Context(kernel, self.work, self._baseline, listener, {}, self)
        self._survey = Survey(context, self.loading, options.runtime_directory, self)
        self.passes = Passes(context)
        trials = TrialFile(options.state_directory / TRIALS, boot_id)
        self.trials = Trials(context, trials, self.passes)
        self.pauses = Pauses(options.runtime_directory / PAUSED, self.work)
        self.cards = Cards(context, self.passes, self.trials, self.pauses, self._slot_of)
        kernel.irqbalance = Irqbalance(options.runtime_directory)
        self._search = Search(self.work)
        self.host = HostPart(self._slot_of(HOST), context, self.passes, self.cards, self.trials)
        self._neighbours = Neighbours(kernel.files)
        self._neighbours_due = False
        self._notes: tuple[str, ...] = ()
        self._deaf = ""
        self._telling = Telling(
            self.work,
            self.cards,
            self._manager,
            listener,
            deaf=lambda: bool(self._deaf),
            starting=lambda: self._starting,
        )
        self._first_reads: deque[Callable[[], Awaitable[None]]] = deque(
            (
                self._load_baseline,
                lambda: self.work.in_worker(self.pauses.load),
                self.trials.start,
                self.host.start,
            )
        )
        """What an earlier process left; until it is read, what was there before would be lost."""
        self._lookout = Lookout(
            self.work, options.resync_s, self.resync_finds, self._poll_finds, lambda: self.is_quiet
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    # What the daemon calls

    async def start(self) -> None:
        """Load profiles, find cards, and bring them into force for the first time.

        After an error it is to be called again: what was read by then is not read again.
        """
        while self._first_reads:
            try:
                await self._first_reads[0]()
            except NetunedError as error:
                self._notes = (*self._notes, str(error))
                log.error("%s", error)
            self._first_reads.popleft()
        await self.reload()

    async def _load_baseline(self) -> None:
        """Raises: StateFileError, also where values were lost before an earlier start."""
        await self.work.in_worker(self._baseline.load)
        if self._baseline.lost:
            raise StateFileError(self._baseline.lost)

    async def run(self) -> None:
        """The slow resync, for what raises no event, and polls. Runs until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._lookout.start()
        try:
            await asyncio.gather(self._resyncs(), self._follow_silent(), self._polls())
        finally:
            self._lookout.close()

    async def _follow_silent(self) -> None:
        """Have the lookout poll what cards come to have wanted and this kernel is silent about."""
        silent: dict[str, bool] = {}
        """By tunable, as far as some card has had it: a kernel's answer stays as it is."""
        while True:
            await self._published.wait()
            self._published.clear()
            await asyncio.sleep(POLL_S)
            wanted = {name for slot in self.cards.slots.values() for name in slot.card.wanted}
            try:
                if new := wanted - silent.keys():
                    told = await self.work.in_worker(partial(silent_tunables, self._kernel, new))
                    silent |= {name: name in told for name in new}
                self._lookout.follow(frozenset(name for name in wanted if silent[name]))
            except NetunedError as error:
                log.error("%s, trying again in %g s", error, POLL_S)
                self._published.set()
            except Exception:  # the loop's edge: the resync sees it, too
                log.exception("Internal error at a poll, going on")

    async def _polls(self) -> None:
        while True:
            await self._lookout.poll_due.wait()
            self._lookout.poll_due.clear()
            try:
                await self.poll(self._lookout.polled)
            except NetunedError as error:
                log.error("%s, trying again in %g s", error, POLL_S)
            except Exception:  # the loop's edge: the resync sees it, too
                log.exception("Internal error at a poll, going on")

    async def _resyncs(self) -> None:
        while True:
            await self._lookout.resync_due.wait()
            self._lookout.resync_due.clear()
            for look in (
                self.look_at_profiles,
                self.resync,
                self.look_at_isolation,
                self._look_at_neighbours,
            ):
                try:
                    await look()
                except NetunedError as error:
                    log.error("%s, trying again at the next resync", error)
                except Exception:  # the loop's edge: a bug ends no other look, and no resync
                    log.exception("Internal error at the resync, trying again at the next")

    async def close(self) -> None:
        """Stop; settings stay as they are. Transactions under way get ``CLOSE_S`` to end."""
        await self.passes.close(self.host.slot)
        self.host.slot.leave()
        self.loading.close()
        self.work.close()

    def status(self) -> Status:
        return self._telling.status

    @property
    def unread(self) -> str:
        """Why the host cannot be read, and the plan in force may be an old one; else empty."""
        return self._survey.unread

    async def known(self) -> None:
        """Wait until cards and profiles are known: what is said before would not be so.

        Raises: StartingError.
        """
        try:
            async with asyncio.timeout(START_WAIT_S):
                await self._survey.planned.wait()
        except TimeoutError:
            why = self.unread or "it has not read the host and its profiles yet"
            raise StartingError(f"netuned is starting: {why}; ask again") from None
        await self.told()

    async def told(self) -> None:
        """Wait until all has been told that was published."""
        await self._telling.told()

    async def reload(self) -> None:
        """Read all profiles again and bring what changed into force."""
        await self.loading.load()
        self._neighbours.forget()
        await self.replan()
        self.publish()  # what is wrong with a file, too, where no card changes
        await self.until_quiet()
        await self.trials.concluded()

    # What events call: all of them only say "look again"

    def touch(self, ifindex: int, tunable: str | None = None) -> None:
        """Look at one tunable of a card, or at the card's facts and all of it."""
        slot = self._slot(ifindex)
        if slot is None or slot.card.nic.unread:
            if tunable is None:
                if slot is None:
                    self._survey.early.add(ifindex)
                self.rescan()
            return
        if tunable is None:
            self.passes.look(slot, facts=True)
        elif tunable in slot.card.wanted:
            always = self.is_paused(slot) or slot.leaves(tunable)
            look = partial(self._look_at, slot, tunable)
            if not slot.dispute.damp(tunable, look, always=always):
                self._look_at(slot, tunable, time.monotonic())

    def touch_shape(self, ifindex: int, tunable: str) -> None:
        """As ``touch``, at all of a card; one that makes it anew is looked at before its facts."""
        slot = self.cards.slots.get(ifindex)
        if slot is not None and tunable in slot.card.wanted:
            slot.mark_first(tunable, time.monotonic())
        self.touch(ifindex)

    def _slot(self, ifindex: int) -> Slot | None:
        """A card's place, or the host's."""
        return self.host.slot if ifindex == HOST.ifindex else self.cards.slots.get(ifindex)

    def _look_at(self, slot: Slot, tunable: str, event_at: float = 0.0) -> None:
        slot.mark(tunable, event_at=event_at)
        self.passes.start(slot)

    def hear(self, ifindex: int, tunable: str) -> None:
        """The kernel tells that a tunable was set, by netuned or by somebody else."""
        if slot := self.cards.slots.get(ifindex):
            slot.hear(tunable)

    def touch_by(self, ifindex: int, tunable: str, sender: int) -> None:
        """As ``touch``; most often the process with the pid ``sender`` made the change."""
        if slot := self.cards.slots.get(ifindex):
            slot.dispute.heard(tunable, sender)
        self.touch(ifindex, tunable)

    def is_known(self, ifindex: int, link: bytes) -> bool:
        """Whether an event tells nothing new: of an unread card only its place and name matter."""
        slot = self.cards.slots.get(ifindex)
        return slot is not None and slot.card.nic.unread and is_as(slot.card.nic, parse_link(link))

    def left(self, ifindex: int) -> None:
        """A card left."""
        self.cards.note_left(ifindex)
        self.rescan()

    def rescan(self) -> None:
        """Cards came or went."""
        if not self._due:
            self._due = True
            self.work.spawn(self._rescan())

    async def _rescan(self) -> None:
        await self._survey.rest()
        self._due = False
        look_again, self._look_again = self._look_again, False
        await self.replan()
        if look_again:
            for ifindex in tuple(self.cards.slots):
                self.touch(ifindex)

    def touch_topology(self) -> None:
        """CPUs went on- or offline or were isolated: read anew, look at what depends on it."""
        self._survey.forget_topology()
        self._look_again = True
        self.rescan()

    def touch_profiles(self) -> None:
        """Profiles were dropped, changed or removed."""
        self.work.spawn(self.reload())

    async def look_at_profiles(self) -> None:
        """Read profiles again if others are there: not all that is done raises an event."""
        if await self.loading.differs():
            self.touch_profiles()

    def tell_deaf(self, problem: str) -> None:
        """Why not everything that others write raises an event; empty: it does."""
        if problem != self._deaf:
            self._deaf = problem
            log.warning("%s", problem or "Instances and watches of inotify are there again")
            self.publish()

    def touch_irqbalance(self) -> None:
        """irqbalance started, stopped or was restarted; what one refused another may take."""
        self.host.slot.forgive()
        self.touch(HOST.ifindex)

    def touch_everything(self) -> None:
        """Events were lost: nothing that is known can be trusted."""
        self.touch_topology()

    # Planning, for all cards together

    async def replan(self) -> None:
        """Find cards, match profiles, place queues, and start a pass where something changed."""
        await self._survey.plan()

    @property
    def may_plan(self) -> bool:
        """Whether all that a plan goes by was read; without profiles cards would be put back."""
        return not self._first_reads and bool(self.loading.loaded_at)

    def adopt(self, host: Host, desired: Desired, profiles: ProfileSet, settings: Settings) -> None:
        """Bring a plan into force that was made for these profiles and settings."""
        self.cards.adopt(host, desired, profiles, settings.confirm_timeout_s)
        for ifindex in self._outdated(host):
            self.touch(ifindex)
        self.follow_host()
        if self._first_looks is None:
            self._first_looks = self.work.spawn(self._end_start())

    def adopted(self) -> None:
        """It is, and the next may be made."""
        self.trials.catch_up()
        self.publish()  # cards that nobody asks for are looked at by nobody
        if not self._neighbours_due:
            self._neighbours_due = True
            self.work.spawn(self._look_at_neighbours_once_quiet())

    async def _end_start(self) -> None:
        """Wait for the first look at each card, and at the host."""
        slots = (self.host.slot, *self.cards.slots.values())
        if looks := {slot.task for slot in slots if slot.task is not None}:
            await asyncio.wait(looks)
        self._starting = False
        self.publish()
        await self._telling.told()

    def _outdated(self, host: Host) -> set[int]:
        """Cards that changed while they were read first, or without an event."""
        slots = self.cards.slots
        known = {ifindex: slots[ifindex].card.nic for ifindex in host.nics}
        others = {
            ifindex
            for ifindex, nic in host.nics.items()
            if (known[ifindex].name, known[ifindex].instance) != (nic.name, nic.instance)
        }
        return others | (self._survey.early & slots.keys())

    def _slot_of(self, nic: Nic) -> Slot:
        def again() -> None:
            self.passes.look(slot)

        dispute = Dispute(self._options.contention, self._search, again, self.publish)
        card = Card(self._kernel, nic, tuple(tunables_of(nic).values()))
        slot = Slot(card, dispute, self._listener)
        return slot

    def is_paused(self, slot: Slot) -> bool:
        """Whether a card is to be left alone."""
        return self.cards.is_paused(slot)

    # The host

    async def resync(self) -> None:
        """Look at every idle card at once; act only where needed. Raises: KernelError."""
        names, due = await look_over(self._context, self.host.slot)
        for slot in due:
            self.passes.look(slot, facts=True)
        if names != self._survey.names:
            self.rescan()

    def resync_finds(self) -> bool:
        """Look in this thread; whether the loop has to look, too. Raises: KernelError."""
        differ, shown = finds(self._context, self.host.slot, self._survey.names)
        self._tell_shown(shown)
        return (
            differ
            or self._survey.isolation_differs()
            or self._neighbours.differ(*self._governed())
            or self.loading.look()
        )

    def _poll_finds(self, silent: frozenset[str]) -> bool:
        differ, shown = poll_finds(self._context, silent)
        self._tell_shown(shown)
        return differ

    def _tell_shown(self, shown: bool) -> None:
        """What a card cannot have shows in a look of the lookout, too."""
        if shown and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.publish)

    async def poll(self, silent: frozenset[str]) -> None:
        """Look at what this kernel raises no event for."""
        for slot in await poll(self._context, silent):
            for tunable in silent & slot.card.wanted.keys():
                self._look_at(slot, tunable, time.monotonic())

    async def look_at_isolation(self) -> None:
        """No event tells that a cgroup took CPUs for itself."""
        if await self._survey.isolates_others():
            self.touch_topology()

    async def _look_at_neighbours_once_quiet(self) -> None:
        """All processes are read for it, in the way of those that bring the plan into force."""
        await self.cards.until_quiet()
        self._neighbours_due = False
        await self._look_at_neighbours()

    def _governed(self) -> tuple[tuple[Governed, ...], str | None, Mapping[str, Wanted]]:
        """What a neighbour may be in the way of, as ``Neighbours.look`` has it."""
        slots = tuple(self.cards.slots.values())
        kept = governed_by((slot.card.nic for slot in slots), self.cards.desired)
        host = self.host.target.values if self.host.target else {}
        return kept, self.cards.desired.irqbalance, host

    async def _look_at_neighbours(self) -> None:
        governed = self._governed()
        new = await self.work.in_worker(lambda: self._neighbours.look(*governed))
        for conflict in new:
            log.warning("In the way: %s", conflict)
        self.publish()

    def follow_host(self) -> None:
        """Cards, trials or pauses are others now: the host may be to be another, too."""
        self.host.follow(restore=not self.loading.profiles.errors)

    def stirred(self) -> None:
        """irqbalance was told something: until it has heeded that it may move interrupts."""
        stirred = [tunable.name for tunable in TUNABLES if tunable.writers.irqbalance]
        for slot in self.cards.slots.values():
            for name in stirred:
                self.touch(slot.card.nic.ifindex, name)

    async def until_quiet(self) -> None:
        """Wait until no card, nor the host, is being looked at and all has been told."""
        await self.cards.until_quiet()
        while self.host.slot.task is not None:
            await asyncio.wait({self.host.slot.task})
            await self.cards.until_quiet()  # irqbalance may have stirred them
        if self._first_looks is not None:
            await asyncio.wait({self._first_looks})
        await self._telling.told()

    @property
    def is_quiet(self) -> bool:
        """Whether no card is being looked at, nor the host."""
        slots = (self.host.slot, *self.cards.slots.values())
        return all(slot.task is None for slot in slots)

    # Status

    def publish(self) -> None:
        """Tell how everything is, if that has changed; what comes together is told together."""
        self._published.set()
        self._telling.publish()

    def _manager(self, nics: tuple[NicStatus, ...]) -> ManagerStatus:
        status = manager_status(
            self.loading.profiles,
            self.cards.desired,
            nics,
            self.host.slot.status(paused=False, deaf=bool(self._deaf)),
            (
                *self._notes,
                *map(str, self.loading.settings.errors),
                *filter(None, [self._deaf, self.unread]),
            ),
            self._contended(),
            self._kernel.writes,
            self.trials.pending(),
            self.loading.loaded_at,
        )
        return replace(status, state=STARTING) if self._starting else status

    def _contended(self) -> tuple[str, ...]:
        slots = (self.host.slot, *self.cards.slots.values())
        contended = (text for slot in slots for text in slot.contended)
        wanted = self.host.target.conflicts if self.host.target else ()
        return (*wanted, *contended, *self._neighbours.conflicts)
