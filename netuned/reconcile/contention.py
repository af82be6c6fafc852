"""Pure: how often a setting may be repaired that somebody else changes again and again.

Two programs that each put a setting right never end, whether they meet every millisecond or every
half hour. So a setting has a budget of repairs; once that is used up it is contended: repaired once
a minute, then less and less often, until nobody changes it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from netuned.plan import Change
from netuned.records import dataclass
from netuned.tunables import EVERY
from netuned.tunables.base import CARD
from netuned.values import Setting

SHOWN = 3
"""Keys that a sentence names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a setting is contended, and how often it is then repaired.

    It is after ``repairs`` in ``window_s``. For one who comes every few minutes it is after twice
    as many in ``minutes_s``, or three times in ``hour_s``; and after one more than ``repairs`` at
    the same distance, whatever that is: nothing but a program is so regular.
    Then there is one repair every ``backoff_s``, and after ``patience`` of these each waits twice
    as long as the one before, up to ``most_s``: some drop packets, as that of a root qdisc does.
    From ``suspect`` repairs in ``window_s``, or at the same distance, on it is worth knowing who
    makes them necessary: one who only answers netuned's writes is silent once it backs off. That
    ends where the next does not come in time.
    A setting is as any other once it was found changed neither for ``quiet_s`` nor for three times
    as long as whoever changes it took to do so after a repair; what is not contended after
    ``calm_s``.
    """

    repairs: int = 5
    suspect: int = 3
    window_s: float = 10.0
    minutes_s: float = 600.0
    hour_s: float = 3600.0
    backoff_s: float = 60.0
    patience: int = 10
    most_s: float = 900.0
    quiet_s: float = 120.0
    calm_s: float = 3600.0


LIMITS = Limits()

REMEMBERED = 15
"""Times of repairs that are kept of each setting: three times ``Limits.repairs``."""


@dataclass(frozen=True, slots=True)
class _Past:
    """When a setting was repaired, oldest first, and last found changed; ``contended`` since.

    ``fought`` are the repairs since then, ``answer_s`` is how long after a repair it was changed
    again, at most and of late.
    """

    repaired: tuple[float, ...] = ()
    changed: float = 0.0
    contended: bool = False
    fought: int = 0
    answer_s: float = 0.0

    def within(self, span_s: float, now: float) -> int:
        """How many repairs there were in that time until now."""
        return sum(now - at < span_s for at in self.repaired)

    def alike(self, count: int) -> bool:
        """Whether the last so many came at the same distance, but for a second and a quarter."""
        gaps = self._gaps(count)
        return bool(gaps) and max(gaps) <= _late(min(gaps))

    def is_due(self, count: int, now: float) -> bool:
        """Whether it is not yet late for one more at the distance of the last so many."""
        return self.alike(count) and now - self.repaired[-1] <= _late(max(self._gaps(count)))

    def _gaps(self, count: int) -> list[float]:
        """Between the last so many repairs; none where there were fewer."""
        last = self.repaired[-count:]
        return [after - before for before, after in pairwise(last)] if len(last) == count else []


def _late(gap_s: float) -> float:
    """What still counts as the same distance."""
    return 1.25 * gap_s + 1


class Budget:
    """The repairs of one card's settings. Times are seconds on any clock that does not go back.

    Whatever has been quiet is forgotten: it holds no more than what was changed of late, and of
    each setting no more than ``REMEMBERED`` times. Its table is replaced, never changed: one
    thread may read while another, and only one, writes.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._past: dict[Setting, _Past] = {}

    @property
    def contended(self) -> frozenset[Setting]:
        return frozenset(setting for setting, past in self._past.items() if past.contended)

    def suspected(self, now: float) -> frozenset[Setting]:
        """Contended settings, and those that are about to be."""
        limits = self._limits
        return frozenset(
            setting
            for setting, past in self._past.items()
            if past.contended
            or past.within(limits.window_s, now) >= limits.suspect
            or past.is_due(limits.suspect, now)
        )

    def repairs_since(self, tunable: str, at: float) -> int:
        """How often one and the same setting of this tunable was repaired since then, at most."""
        of_it = (past for (name, _), past in self._past.items() if name == tunable)
        return max((sum(at < time for time in past.repaired) for past in of_it), default=0)

    def answer_s(self, setting: Setting) -> float:
        """How long after a repair a setting was changed again, in seconds; 0: not known."""
        return self._past.get(setting, _Past()).answer_s

    def held(self, changed: Iterable[Setting], now: float) -> frozenset[Setting]:
        """Of settings just found changed, those that must not be repaired now."""
        table = dict(self._past)
        held = set()
        for setting in changed:
            if (past := table.get(setting)) is None:
                continue
            answer_s = past.answer_s
            if past.changed <= past.repaired[-1]:  # the first time since
                answer_s = max(now - past.repaired[-1], answer_s / 2)
            contended = past.contended or self._is_fought(past, now)
            past = replace(past, changed=now, contended=contended, answer_s=answer_s)
            if contended and now - past.repaired[-1] < self._wait_s(past):
                held.add(setting)
            table[setting] = past
        self._past = table
        return frozenset(held)

    def _is_fought(self, past: _Past, now: float) -> bool:
        limits = self._limits
        spans = enumerate((limits.window_s, limits.minutes_s, limits.hour_s), 1)
        many = any(past.within(span_s, now) >= n * limits.repairs for n, span_s in spans)
        return many or past.alike(limits.repairs + 1)

    def repaired(self, setting: Setting, now: float) -> None:
        """Count one write that put a setting back."""
        past = self._past.get(setting, _Past())
        times, fought = (*past.repaired, now)[-REMEMBERED:], past.fought + past.contended
        past = replace(past, repaired=times, changed=now, fought=fought)
        self._past = {**self._past, setting: past}

    def _wait_s(self, past: _Past) -> float:
        """How long after a repair of a contended setting the next may be."""
        limits = self._limits
        doublings = min(max(past.fought - limits.patience, 0), 30)
        return min(limits.backoff_s * 2.0**doublings, max(limits.most_s, limits.backoff_s))

    def forget_quiet(self, now: float) -> None:
        """Let go of what nobody has changed for long enough."""
        self._past = {
            setting: past for setting, past in self._past.items() if now < self._ends(past)
        }

    def forget(self) -> None:
        """Every setting is as one that was never changed: somebody asks for it to be set now."""
        self._past = {}

    def next_at(self, now: float) -> float | None:
        """When a contended setting may be repaired again, or is quiet; None without one."""
        times = []
        for past in self._past.values():
            if past.contended:
                again = past.repaired[-1] + self._wait_s(past)
                times.append(again if again > now else self._ends(past))
        return min(times, default=None)

    def _ends(self, past: _Past) -> float:
        limits = self._limits
        quiet_s = max(limits.quiet_s, 3 * past.answer_s) if past.contended else limits.calm_s
        return past.changed + quiet_s


@dataclass(frozen=True, slots=True)
class Gate:
    """A budget as a card's transaction sees it: which changes must wait, and what was written."""

    budget: Budget
    clock: Callable[[], float]

    def held(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Those that must wait, and those that cannot be made without them."""
        settings = {(change.tunable, change.key) for change in changes}
        held = self.budget.held(settings, self.clock())
        return tuple(
            change
            for change in changes
            if (change.tunable, change.key) in held or _needs(change, held)
        )

    def repaired(self, change: Change) -> None:
        self.budget.repaired((change.tunable, change.key), self.clock())


def _needs(change: Change, held: frozenset[Setting]) -> bool:
    """Whether a change cannot be made without others; what is still to come needs its card's."""
    if held.intersection(EVERY[change.tunable].needs(change.key)):
        return True
    return change.before is None and any(EVERY[n].stale(key) == CARD for n, key in held)


def by_tunable(settings: Iterable[Setting]) -> dict[str, tuple[str, ...]]:
    """Keys by tunable, both sorted; ``rx-2`` before ``rx-10``."""
    grouped: dict[str, list[str]] = {}
    for tunable, key in sorted(
        settings, key=lambda setting: (setting[0], len(setting[1]), setting)
    ):
        grouped.setdefault(tunable, []).append(key)
    return {tunable: tuple(keys) for tunable, keys in grouped.items()}


def named(where: str, tunable: str, keys: tuple[str, ...]) -> str:
    """``eth0 irq rxtx-0, rxtx-1 and 6 more``; ``where`` is a card's name or ``host``."""
    shown = ", ".join(keys[:SHOWN])
    if len(keys) > SHOWN:
        shown += f" and {len(keys) - SHOWN} more"
    return f"{where} {tunable} {shown}".rstrip()
