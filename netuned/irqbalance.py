"""irqbalance's part in the host's state: exclude our cards, stop, or leave it alone."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.irqbalance import Exclusion, read_running
from netuned.nic import Nic
from netuned.status import APPLYING, DEGRADED, IN_SYNC, UNSUPPORTED, SettingStatus

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
    owned = [nic for nic in cards if _PCI.search(nic.device)]
    interrupts = frozenset(irq for nic in owned for irq in nic.interrupts)
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
