"""The loop's parts on a described machine, with the real planner and files in a directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from netuned.hardware.host import read_host
from netuned.hardware.nic import HOST, Nic
from netuned.plan import Change
from netuned.planning.planner import plan_host
from netuned.profiles.loader import ProfileSet, load
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.cards import Cards
from netuned.reconcile.contention import LIMITS
from netuned.reconcile.context import Context
from netuned.reconcile.dispute import Dispute, Search
from netuned.reconcile.host import HostPart
from netuned.reconcile.passes import Passes
from netuned.reconcile.pauses import Pauses
from netuned.reconcile.slot import Slot
from netuned.reconcile.trialfile import TrialFile
from netuned.reconcile.trials import Trials
from netuned.reconcile.work import Work
from netuned.status import NicStatus, Status
from netuned.tunables import tunables_of
from tests.unit.writable import WritableKernel

MACHINE = "cores: 4\ncards: [{name: en0, driver: ice, queues: 4}, {name: en1, driver: igb}]\n"
"""Two cards, of ifindex 2 and 3, and four CPUs."""

PROFILE = "match: [{{name: en0}}]\nirq: {{spread: one-per-queue}}\nxps: {{cpus: {cpus}}}\n"


class Parts:
    """What ``Reconciler`` is made of, looked at from inside; it is the loop that they ask."""

    def __init__(self, directory: Path, kernel: WritableKernel | None = None) -> None:
        self.kernel = kernel or WritableKernel(MACHINE)
        self.directory = directory
        self.profiles = directory / "profiles"
        self.profiles.mkdir(exist_ok=True)
        self.profile_set = ProfileSet()
        self.confirm_timeout_s = 0
        self.drifts: list[str] = []
        self.armed: dict[str, frozenset[str]] = {}
        self.rescans = 0
        self.work = Work()
        self.baseline = Baseline(directory / "baseline.json", "boot")
        self.baseline.load()
        self.context = Context(self.kernel, self.work, self.baseline, self, {}, self)
        self.passes = Passes(self.context)
        self.file = TrialFile(directory / "confirm.json", "boot")
        self.trials = Trials(self.context, self.file, self.passes)
        self.pauses = Pauses(directory / "paused.json", self.work)
        self.cards = Cards(self.context, self.passes, self.trials, self.pauses, self.slot_of)
        self.host = HostPart(self.slot_of(HOST), self.context, self.passes, self.cards, self.trials)

    def slot_of(self, nic: Nic) -> Slot:
        dispute = Dispute(LIMITS, Search(self.work), lambda: None, self.publish)
        return Slot(Card(self.kernel, nic, tuple(tunables_of(nic).values())), dispute, self)

    def drop(self, text: str, name: str = "edge") -> None:
        """Write a profile, and have the next ``replan`` read all of them."""
        (self.profiles / f"{name}.yaml").write_text(text)
        self.profile_set = load([str(self.profiles)], previous=self.profile_set)

    def remove(self, name: str) -> None:
        """Remove a profile, for the next ``replan``."""
        (self.profiles / f"{name}.yaml").unlink()
        self.profile_set = load([str(self.profiles)], previous=self.profile_set)

    async def look_at_host(self) -> None:
        self.passes.look(self.host.slot)
        await self.quiet()

    async def plan(self, text: str = "", name: str = "edge") -> None:
        """Follow the profiles until nothing is left to do."""
        if text:
            self.drop(text, name)
        await self.replan()
        await self.quiet()

    async def quiet(self) -> None:
        await self.cards.until_quiet()
        await self.trials.concluded()
        await self.cards.until_quiet()
        if self.host.slot.task is not None:
            await asyncio.wait({self.host.slot.task})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what goes on beside the rest."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    def slot(self, name: str = "en0") -> Slot:
        return next(s for s in self.context.slots.values() if s.card.nic.name == name)

    def shown(self, name: str = "en0") -> NicStatus:
        slot = self.slot(name)
        return slot.status(paused=self.is_paused(slot), deaf=False)

    def masks(self, file: str = "xps_cpus", name: str = "en0") -> list[str]:
        """What the queues of a card show."""
        base = f"/sys/class/net/{name}/queues"
        kind = "tx-" if file.startswith("xps") else "rx-"
        queues = [queue for queue in self.kernel.files.listdir(base) if queue.startswith(kind)]
        return [self.kernel.files.read_text(f"{base}/{queue}/{file}") for queue in queues]

    # What the parts ask of the loop

    async def replan(self) -> None:
        nics = {ifindex: slot.card.nic for ifindex, slot in self.context.slots.items()}
        host = read_host(self.kernel, None, nics)
        desired = plan_host(self.profile_set.profiles, host)
        self.cards.adopt(host, desired, self.profile_set, self.confirm_timeout_s)
        self.host.follow(restore=True)
        self.trials.catch_up()

    def rescan(self) -> None:
        self.rescans += 1

    def stirred(self) -> None:
        """No interrupt moves by itself here."""

    def is_paused(self, slot: Slot) -> bool:
        return self.cards.is_paused(slot)

    # Who is told

    def publish(self, status: Status | None = None) -> None:
        """Nobody shows it."""

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str) -> None:
        self.drifts.append(f"{ifindex} {tunable} {key}: {found} -> {wanted}")

    def repaired(self, ifindex: int, tunable: str, key: str, value: str, latency_us: int) -> None:
        """A drift was told before."""

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str]
    ) -> None:
        """Nobody hears it."""

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        self.armed[nic.name] = tunables


def on(
    directory: Path,
    scenario: Callable[[Parts], Coroutine[None, None, None]],
    kernel: WritableKernel | None = None,
) -> Parts:
    """Run a scenario over the parts, on a machine of their own or on that of an earlier run."""

    async def run() -> Parts:
        parts = Parts(directory, kernel)
        await scenario(parts)
        await parts.passes.close(parts.host.slot)
        parts.work.close()
        return parts

    return asyncio.run(run())


def profile(cpus: str) -> str:
    """One that sets en0's interrupts and which CPUs send on its queues."""
    return PROFILE.format(cpus=f'"{cpus}"')
