"""Contended settings at run time: who changes them is looked for, and it is said once.

A card has a ``Dispute``, and the host for its own settings. It belongs to the loop's thread; the
transaction sees of it the ``Gate`` alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.history import CONTENTION
from netuned.kernel.writers import Glimpse, OpenTrace, Writer, describe, glimpse, is_other
from netuned.reconcile.contention import Budget, Gate, Limits, by_tunable, named
from netuned.reconcile.work import Work
from netuned.records import dataclass
from netuned.tunables import EVERY, tunables_of

log = logging.getLogger(__name__)

SEARCH_S = 5.0
LOOKS = 20
SEARCH_MOST_S = 400.0
"""Who comes every few minutes is waited for as long as that takes, once more and a half."""

SEARCH_AGAIN_S = 50.0
"""Less than the time between two repairs: each is an occasion to see who answers it."""

GLIMPSE_S = 0.5
"""Who sends requests in a loop is looked at so often at most."""

_HOW_TO_FIND_A_FILE = "`fatrace -c` in the directory of that file, as root, shows who writes it"

LATE_S = 1.0
"""Who was seen longer before a repair than this may not be who made it necessary."""

DAMPED_S = 0.05
"""A writer in a loop raises an event every 10 µs; of a contended tunable this is how often it is
looked at, for its other keys' sake."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is contended: a card, or the host."""

    nic: Nic

    @property
    def name(self) -> str:
        return self.nic.label

    def files(self, tunable: str, key: str) -> tuple[str, ...]:
        """How the paths of a setting's files end; none where it is no file."""
        return tunables_of(self.nic)[tunable].writers.files(self.nic, key)


class _Seen(NamedTuple):
    """Who asked for a change, and when."""

    at: float
    process: Glimpse


class _Found(NamedTuple):
    """Who changes a setting, and when they were seen to, at the earliest."""

    at: float
    writer: Writer


class Search:
    """Looks for who opens a file, one search at a time for the whole host."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = asyncio.Lock()

    async def writer(self, paths: list[str], for_s: float = SEARCH_S) -> Writer | None:
        """Who opens a file whose path ends so, within ``for_s``."""
        trace = OpenTrace()
        async with self._lock:
            try:
                await self._work.in_worker(lambda: trace.start(paths))
                for _ in range(LOOKS):
                    await asyncio.sleep(for_s / LOOKS)
                    if found := await self._work.in_worker(trace.writer):
                        return found
            except UnsupportedError as error:
                log.debug("%s, ignoring", error)
            finally:
                trace.close()
        return None

    async def sender(self, seen: Callable[[float], Glimpse | None]) -> Writer | None:
        """Who asked for a change over netlink, within ``SEARCH_S`` or ``LATE_S`` before."""
        since = time.monotonic() - LATE_S
        for _ in range(LOOKS):
            await asyncio.sleep(SEARCH_S / LOOKS)
            if process := seen(since):
                return await self._work.in_worker(lambda: describe(process))
        return None

    def begin(self, dispute: Dispute, place: Place, tunable: str, keys: tuple[str, ...]) -> None:
        self._work.spawn(dispute.name_writer(self, place, tunable, keys))


class Dispute:
    """The settings of one card, or of the host, that somebody changes again and again."""

    def __init__(
        self, limits: Limits, search: Search, again: Callable[[], None], tell: Callable[[], None]
    ) -> None:
        """``again``: look at the settings anew; ``tell``: what is shown has changed."""
        self.contended: Mapping[str, tuple[str, ...]] = {}
        """Tunable -> keys, as of the last look."""
        self._budget = Budget(limits)
        self.gate = Gate(self._budget, time.monotonic)
        self._search = search
        self._again = again
        self._tell = tell
        self._writers: dict[str, _Found] = {}
        self._searched: dict[str, float] = {}
        self._searching: set[str] = set()
        self._glimpses: dict[str, _Seen] = {}
        self._others: dict[str, float] = {}
        """When somebody else asked for a change last, or one who had ended: who is not known."""
        self._unsaid: dict[str, Place] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._damped: set[str] = set()

    def forget(self) -> None:
        """Somebody asked for all to be set now."""
        self._budget.forget()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def damp(self, tunable: str, look: Callable[[], None], *, always: bool = False) -> bool:
        """Whether an event is of what is contended: ``look`` is then called for many at once.

        ``always``: also of what is not, for nothing is repaired by which it would be known.
        """
        if tunable not in self.contended and not always:
            return False
        if tunable not in self._damped:
            self._damped.add(tunable)

            def now() -> None:
                self._damped.discard(tunable)
                look()

            asyncio.get_running_loop().call_later(DAMPED_S, now)
        return True

    def follow(self, place: Place) -> None:
        """After a look: say what has begun and ended, and when to look again."""
        now = time.monotonic()
        self._budget.forget_quiet(now)
        contended = by_tunable(self._budget.contended)
        for tunable in contended.keys() - self.contended.keys():
            self._unsaid[tunable] = place
        for tunable, keys in self.contended.items():
            if tunable not in contended:
                self._end(place, tunable, keys)
        self.contended = contended
        suspected = by_tunable(self._budget.suspected(now))
        self._writers = {name: w for name, w in self._writers.items() if name in suspected}
        for tunable, keys in suspected.items():
            if self._worth_searching(tunable, now):
                self._searching.add(tunable)
                self._search.begin(self, place, tunable, keys)
        self._say()
        self.close()
        if (at := self._budget.next_at(now)) is not None:
            wait_s = max(at - now, 0.0)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._again)

    def _worth_searching(self, tunable: str, now: float) -> bool:
        last = self._searched.get(tunable)
        due = last is None or now - last >= SEARCH_AGAIN_S
        found = self._writers.get(tunable)
        gone = found is None or self._budget.repairs_since(tunable, found.at) > 0
        return due and gone and tunable not in self._searching

    async def name_writer(
        self, search: Search, place: Place, tunable: str, keys: tuple[str, ...]
    ) -> None:
        """Look for who changes these, then say what is still to be said."""
        try:
            paths = [path for key in keys for path in place.files(tunable, key)]
            if paths:
                answer_s = max(self._budget.answer_s((tunable, key)) for key in keys)
                for_s = min(max(SEARCH_S, 1.5 * answer_s), SEARCH_MOST_S)
                found, late_s = await search.writer(paths, for_s), for_s / LOOKS
            else:
                found = await search.sender(lambda since: self._glimpse(tunable, since))
                late_s = LATE_S
            if found is not None:
                self._writers[tunable] = _Found(time.monotonic() - late_s, found)
        finally:
            self._searching.discard(tunable)
            self._searched[tunable] = time.monotonic()
        self._say()
        self._tell()

    def heard(self, tunable: str, sender: int) -> None:
        """A change of this tunable was asked for from a netlink port, most often a pid.

        Read at once: most who do so end the next moment.
        """
        if not is_other(sender):
            return
        now, last = time.monotonic(), self._glimpses.get(tunable)
        if last is not None and now - last.at < GLIMPSE_S:
            if sender != last.process.pid:
                self._others[tunable] = now
        elif seen := glimpse(sender):
            self._glimpses[tunable] = _Seen(now, seen)
            if last is not None and last.process.pid != sender:
                self._others[tunable] = max(last.at, self._others.get(tunable, 0.0))
        else:
            self._others[tunable] = now

    def _glimpse(self, tunable: str, since: float) -> Glimpse | None:
        """Who last asked for a change over netlink, if it was since then."""
        seen = self._glimpses.get(tunable)
        return seen.process if seen and seen.at >= since else None

    def sender(self, tunable: str) -> str:
        """Who alone asked for a change over netlink just now; empty where that is not known."""
        seen, late = self._glimpses.get(tunable), time.monotonic() - LATE_S
        if seen is None or seen.at < late or self._others.get(tunable, 0.0) >= late:
            return ""
        return f"{seen.process.command} (pid {seen.process.pid})"

    def _say(self) -> None:
        """One line when it begins, once it is known who it is or that nobody finds out."""
        for tunable in self._unsaid.keys() - self._searching:
            place = self._unsaid.pop(tunable)
            fields = {
                "kind": CONTENTION,
                "ifname": place.nic.name,
                "tunable": tunable,
                "cause": self.reason(tunable),
                "writer": self._named(tunable),
            }
            log.warning("Contended: %s", self.sentence(place, tunable), extra=fields)

    def _end(self, place: Place, tunable: str, keys: tuple[str, ...]) -> None:
        if self._unsaid.pop(tunable, None) is None:
            fields = {
                "kind": CONTENTION,
                "ifname": place.nic.name,
                "tunable": tunable,
                "cause": "no longer contended",
            }
            log.info("No longer contended: %s", named(place.name, tunable, keys), extra=fields)
        self._searched.pop(tunable, None)

    def _named(self, tunable: str) -> str:
        """Who changes this again and again; empty while that is not known."""
        found = self._writers.get(tunable)
        return str(found.writer) if found else ""

    def writer(self, tunable: str) -> str:
        """Who made necessary what was just repaired; empty where that is not known.

        Whoever was seen before an earlier repair may not be who came after it, nor who was seen
        longer ago than anybody is waited for.
        """
        found = self._writers.get(tunable)
        if found is None or time.monotonic() - found.at > SEARCH_MOST_S:
            return ""
        return self._named(tunable) if self._budget.repairs_since(tunable, found.at) <= 1 else ""

    def sentences(self, place: Place) -> tuple[str, ...]:
        """For people, one for each contended tunable: what, by whom, what to do."""
        return tuple(self.sentence(place, tunable) for tunable in self.contended)

    def sentence(self, place: Place, tunable: str) -> str:
        what = named(place.name, tunable, self.contended.get(tunable, ()))
        return f"{what}: {self.reason(tunable)}"

    def program(self, tunable: str) -> str:
        """Who changes this, of whatever pid: a systemd unit, or a program; empty if not known."""
        found = self._writers.get(tunable)
        return found.writer.unit or found.writer.command if found else ""

    def reason(self, tunable: str) -> str:
        found = self._writers.get(tunable)
        if found is None:
            who, hint = "an unknown program", EVERY[tunable].writers.hint or _HOW_TO_FIND_A_FILE
        else:
            writer = found.writer
            who, hint = str(writer), f"end that, or have the profile keep {tunable}"
            if writer.unit.endswith(".service"):
                hint = f"`systemctl status {writer.unit}` shows it; {hint}"
        return f"changed again and again by {who}, repaired once a minute at most; {hint}"
