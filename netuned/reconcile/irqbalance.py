"""irqbalance's part in the host's state: exclude our cards, stop, or leave it alone."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.irqbalance import Exclusion, read_running
from netuned.status import APPLYING, DEGRADED, DRIFTED, IN_SYNC, UNSUPPORTED, SettingStatus

log = logging.getLogger(__name__)

RECHECK_S = 2.0

_PCI = re.compile(r"/[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
"""irqbalance asks its policy script about PCI devices only."""

EXCLUDE = "exclude"
STOP = "stop"
NAME = "irqbalance"


def reconcile_irqbalance(
    exclusion: Exclusion, mode: str | None, cards: Iterable[Nic]
) -> tuple[SettingStatus, str]:
    """Bring irqbalance to ``mode`` for these cards. Returns its status and what was done.

    ``applying`` means it was told and has not confirmed yet: look again in a second.
    """
    owned = _placeable(cards)
    interrupts = _interrupts(owned)
    wanted = _wanted(mode, interrupts)
    done = ""
    try:
        match mode:
            case "exclude":
                done = exclusion.exclude({nic.device for nic in owned}, interrupts)
            case "stop":
                done = exclusion.stop()
            case _:
                done = exclusion.leave()
        found, settled = _found(mode, interrupts) if mode in (EXCLUDE, STOP) else ("", True)
    except UnsupportedError as error:
        return SettingStatus(NAME, UNSUPPORTED, wanted, "", str(error)), done
    except KernelError as error:
        # It answers between its rounds only; that it is slow to is no failure.
        state = APPLYING if error.errno == errno.ETIMEDOUT else DEGRADED
        return SettingStatus(NAME, state, wanted, "", str(error)), done
    state = IN_SYNC if settled and not done else APPLYING
    return SettingStatus(NAME, state, wanted, found, done), done


def _placeable(cards: Iterable[Nic]) -> list[Nic]:
    return [nic for nic in cards if _PCI.search(nic.device)]


def _interrupts(cards: Iterable[Nic]) -> frozenset[int]:
    return frozenset(irq for nic in _placeable(cards) for irq in nic.interrupts)


def _wanted(mode: str | None, interrupts: frozenset[int]) -> str:
    if mode == EXCLUDE:
        return f"exclude {CpuSet.of(interrupts)}" if interrupts else "exclude (no interrupts)"
    return mode or "keep"


def _found(mode: str | None, interrupts: frozenset[int]) -> tuple[str, bool]:
    """What irqbalance says, and whether that is as wanted."""
    running = read_running()
    if running is None:
        return "not running", True
    ours = interrupts & running.balanced
    found = f"running, balances {CpuSet.of(ours)}" if ours else "running, leaves them alone"
    if mode == EXCLUDE:
        return found, not ours
    return "running", False


class IrqbalanceKeeper:
    """Keeps irqbalance as the profiles say, and looks again until it has confirmed."""

    def __init__(self, exclusion: Exclusion, workers: Executor, again: Callable[[], None]) -> None:
        self.settings: tuple[SettingStatus, ...] = ()
        self._exclusion = exclusion
        self._workers = workers
        self._again = again
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    @property
    def due(self) -> bool:
        """Whether to look now and then: it is kept somehow, or was left alone when last asked."""
        return self._held or bool(self.settings)

    def hold(self, mode: str | None, nics: Iterable[Nic], why: str) -> None:
        """Leave irqbalance as it is, and say why where that is not as wanted."""
        self._held = True  # what was done to it before this process began is not known here
        wanted = _wanted(mode, _interrupts(nics))
        if all(setting.wanted != wanted for setting in self.settings) and (mode or self.settings):
            self.settings = (SettingStatus(NAME, DRIFTED, wanted, "", why),)

    async def look(self, mode: str | None, nics: Sequence[Nic]) -> bool:
        """Bring irqbalance to ``mode``. Says whether it may have moved interrupts meanwhile.

        Until it has confirmed it may, and out of a /proc of its own that raises no event.
        """
        loop = asyncio.get_running_loop()
        work = partial(reconcile_irqbalance, self._exclusion, mode, nics)
        async with self._lock:
            self._held = False
            setting, done = await loop.run_in_executor(self._workers, work)
        if done:
            fields = {"tunable": NAME, "after": setting.wanted}
            log.info("irqbalance: %s", done, extra=fields)
        failed = setting.state not in (IN_SYNC, APPLYING)
        if failed and (setting,) != self.settings:
            log.warning("irqbalance: %s, ignoring", setting.reason)
        self.settings = (setting,) if mode else ()
        self.close()
        if setting.state == APPLYING and mode:
            self._timer = loop.call_later(RECHECK_S, self._again)
        return setting.state == APPLYING or bool(done)

    def close(self) -> None:
        """Look no more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
