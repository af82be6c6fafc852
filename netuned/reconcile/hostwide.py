"""The host's table of receive flow steering, which all cards with ``rfs`` share.

It is as large as the largest that a card in force asks for; when the last one asks for none any
more, it gets back the size it had before netuned. Looked at whole each time, as cards are.

Source: Documentation/networking/scaling.rst, "RFS Configuration"; rps_sock_flow_sysctl().
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from netuned.errors import KernelError, NetunedError, VerifyError
from netuned.kernel import Kernel
from netuned.plan import Change, Plan, Problem
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.contention import Gate
from netuned.reconcile.dispute import Dispute, Place
from netuned.status import CONTENDED, DEGRADED, DRIFTED, IN_SYNC, SettingStatus
from netuned.tunables.base import Target
from netuned.tunables.rfs import HOST_FILE, NAME, OFF, host_table, parse
from netuned.values import FlowTable

log = logging.getLogger(__name__)

HOST = Place()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the table: ``size`` None where no card in force asks for any.

    ``enforce``: whether the policy lets it be written; ``held``: why it is left alone all the
    same; ``restore``: whether what nobody asks for is put back.
    """

    size: FlowTable | None
    why: str = "no profile asks for it: as it was before netuned"
    enforce: bool = True
    held: str = ""
    restore: bool = True

    @property
    def writable(self) -> bool:
        """Whether it may be written now."""
        return self.enforce and not self.held


def wanted_of_host(
    targets: Mapping[str, Target], *, restore: bool = True, held: str = ""
) -> Wanted:
    """What the cards in force (by name) make of the table.

    Cards whose policy is not to enforce count only while no other asks.
    """
    for enforce in ("yes", "no"):
        asking = {
            name: host_table(target.profile)
            for name, target in targets.items()
            if target.profile.policy.enforce == enforce and host_table(target.profile) != OFF
        }
        if asking:
            name, size = min(asking.items(), key=lambda item: (-item[1].entries, item[0]))
            why = f"the largest that a card asks for: {name}"
            return Wanted(size, why, enforce=enforce == "yes", held=held)
    return Wanted(None, held=held, restore=restore)


def plan_of_host(kernel: Kernel, baseline: Baseline, wanted: Wanted) -> Plan:
    """What would be written to the host, without writing."""
    size = _size(kernel, baseline, wanted)
    try:
        return Plan(() if size is None else _changes(wanted, _read(kernel), size))
    except KernelError as error:
        return Plan((), (Problem("", str(error)),))


def reconcile_host(
    kernel: Kernel, baseline: Baseline, wanted: Wanted, repairs: Gate | None = None
) -> tuple[tuple[SettingStatus, ...], tuple[Change, ...]]:
    """Bring the table to what is wanted. Returns its status, if it has one, and what was written.

    With ``repairs`` it was so before, and is left for later if somebody changes it too often.
    Raises nothing: a failure is a status, and the next look tries again.
    """
    size = _size(kernel, baseline, wanted)
    if size is None:
        return (), ()
    try:
        found = _read(kernel)
        changes = _changes(wanted, found, size) if wanted.writable else ()
        if wanted.writable and wanted.size is not None:
            baseline.record_host(NAME, found)
        if repairs and repairs.held(changes):
            changes = ()
        if changes:
            kernel.files.write(HOST_FILE, str(size.entries).encode())
            found = _read(kernel)
            if repairs:
                repairs.repaired(changes[0])
            elif found != size:
                raise VerifyError("the host's table of flows", str(size), str(found))
        if wanted.writable and wanted.size is None:
            baseline.forget_host(NAME)
    except NetunedError as error:
        return (SettingStatus(NAME, DEGRADED, str(size), "", str(error)),), ()
    if wanted.size is None:
        return (), changes
    state, why = (IN_SYNC, "") if found == size else (DRIFTED, wanted.held)
    return (SettingStatus(NAME, state, str(size), str(found), why),), changes


def _size(kernel: Kernel, baseline: Baseline, wanted: Wanted) -> FlowTable | None:
    """What the table should be; None where it is nobody's business, or not in this namespace."""
    recorded = baseline.host().get(NAME) if wanted.restore else None
    size = recorded if wanted.size is None else wanted.size
    if size is None or not kernel.files.exists(HOST_FILE):
        return None
    assert isinstance(size, FlowTable)
    return size


def _changes(wanted: Wanted, found: FlowTable, size: FlowTable) -> tuple[Change, ...]:
    return () if found == size else (Change("", NAME, "", found, size, wanted.why),)


def _read(kernel: Kernel) -> FlowTable:
    return parse(kernel.files.read(HOST_FILE))


class HostKeeper:
    """Keeps the host's table as the cards in force ask for, one look at a time."""

    def __init__(
        self, kernel: Kernel, baseline: Baseline, workers: Executor, dispute: Dispute
    ) -> None:
        self.settings: tuple[SettingStatus, ...] = ()
        self._kernel = kernel
        self._baseline = baseline
        self._workers = workers
        self._dispute = dispute
        self._lock = asyncio.Lock()
        self._in_force: FlowTable | None = None

    async def plan(self, wanted: Wanted) -> Plan:
        """What would be written to the host."""
        work = partial(plan_of_host, self._kernel, self._baseline, wanted)
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    async def look(self, wanted: Wanted) -> None:
        """Bring the table to what is wanted, and say so."""
        async with self._lock:
            repairs = self._dispute.gate if self._was_in_force(wanted) else None
            work = partial(reconcile_host, self._kernel, self._baseline, wanted, repairs)
            settings, changes = await asyncio.get_running_loop().run_in_executor(
                self._workers, work
            )
            for change in changes:
                self._tell(change, wanted)
            for setting in settings:
                if setting.state == DEGRADED and setting not in self.settings:
                    log.error("Host %s: %s, trying again", NAME, setting.reason)
            in_force = (IN_SYNC,) if repairs is None else (IN_SYNC, DRIFTED)
            kept = any(setting.state in in_force for setting in settings)
            self._in_force = wanted.size if kept else None
            self._dispute.follow(HOST)
            self.settings = tuple(map(self._shown, settings))

    @property
    def contended(self) -> tuple[str, ...]:
        """A sentence if somebody changes the table again and again."""
        return self._dispute.sentences(HOST)

    def forget_contention(self) -> None:
        """Somebody asked for it to be set now."""
        self._dispute.forget()

    def close(self) -> None:
        """Look no more by itself."""
        self._dispute.close()

    def _shown(self, setting: SettingStatus) -> SettingStatus:
        if NAME not in self._dispute.contended or setting.state == DEGRADED:
            return setting
        return replace(setting, state=CONTENDED, reason=self._dispute.reason(NAME))

    def _was_in_force(self, wanted: Wanted) -> bool:
        return wanted.size is not None and wanted.size == self._in_force

    def _tell(self, change: Change, wanted: Wanted) -> None:
        before, after = str(change.before), str(change.after)
        drift = self._was_in_force(wanted)
        cause = "drift" if drift else "profile" if wanted.size is not None else "restore"
        fields = {"tunable": NAME, "before": before, "after": after, "cause": cause}
        if drift:
            level = logging.DEBUG if NAME in self._dispute.contended else logging.WARNING
            log.log(
                level, "Repaired host %s: found %s, put back %s", NAME, before, after, extra=fields
            )
        else:
            log.info("Set host %s: %s -> %s", NAME, before, after, extra=fields)
