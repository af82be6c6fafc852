"""Pure: how often a setting may be repaired that somebody else changes again and again.

Two programs that each put a setting right never end. So a setting has a budget of repairs; once
that is used up it is contended: repaired once a minute, until nobody changes it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from netuned.plan import Change
from netuned.tunables import EVERY
from netuned.tunables.base import CARD
from netuned.values import Setting

SHOWN = 3
"""Keys that a sentence names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """At most ``repairs`` in any ``window_s``, then one every ``backoff_s``.

    From ``suspect`` repairs in a window on it is worth knowing who makes them necessary: one who
    only answers netuned's writes is silent once it backs off.
    After ``quiet_s`` in which it was never found changed a setting is as any other.
    """

    repairs: int = 5
    suspect: int = 3
    window_s: float = 10.0
    backoff_s: float = 60.0
    quiet_s: float = 120.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Past:
    """When a setting was repaired, oldest first, and last found changed; ``contended`` since."""

    repaired: tuple[float, ...] = ()
    changed: float = 0.0
    contended: bool = False


class Budget:
    """The repairs of one card's settings. Times are seconds on any clock that does not go back.

    Whatever has been quiet is forgotten: it holds no more than what is being changed now, and of
    each setting no more than ``Limits.repairs`` times. Its table is replaced, never changed: one
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
            or sum(now - at < limits.window_s for at in past.repaired) >= limits.suspect
        )

    def held(self, changed: Iterable[Setting], now: float) -> frozenset[Setting]:
        """Of settings just found changed, those that must not be repaired now."""
        limits, table = self._limits, dict(self._past)
        held = set()
        for setting in changed:
            past = table.get(setting, _Past())
            recent = [at for at in past.repaired if now - at < limits.window_s]
            contended = past.contended or len(recent) >= limits.repairs
            if contended and now - past.repaired[-1] < limits.backoff_s:
                held.add(setting)
            if past.repaired:
                table[setting] = replace(past, changed=now, contended=contended)
        self._past = table
        return frozenset(held)

    def repaired(self, setting: Setting, now: float) -> None:
        """Count one write that put a setting back."""
        past = self._past.get(setting, _Past())
        repaired = (*past.repaired, now)[-self._limits.repairs :]
        self._past = {**self._past, setting: replace(past, repaired=repaired, changed=now)}

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
                again = past.repaired[-1] + self._limits.backoff_s
                times.append(again if again > now else self._ends(past))
        return min(times, default=None)

    def _ends(self, past: _Past) -> float:
        return past.changed + (self._limits.quiet_s if past.contended else self._limits.window_s)


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
