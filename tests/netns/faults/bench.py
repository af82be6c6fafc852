"""The bench: one card, and a loop that fails or is killed as its profile comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netuned.errors import NetunedError
from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from tests.netns.faults.calls import DISTURBED, Calls, Fault
from tests.netns.faults.card import Card, State
from tests.netns.faults.disk import faulty_disk
from tests.netns.faults.kernel import FaultyKernel
from tests.netns.faults.promises import Heard, Promises, Wrong
from tests.netns.listener import Silent


class Bench:
    """The card, the loop and its directories; in the present network namespace."""

    def __init__(self, card: Card, directory: Path) -> None:
        self.card = card
        self.calls = Calls()
        self.calls.disturb = card.disturb
        self.heard = Heard()
        self.profiles = directory / "profiles.d"
        self.profiles.mkdir()
        state, runtime = directory / "state", directory / "run"
        settings = str(directory / "netuned.yaml")
        self.options = Options((str(self.profiles),), state, runtime, settings)
        self.promises = Promises(card, self.heard, state / "baseline.json")
        self.wanted: State = {}

    # The loop

    def drop(self) -> None:
        """Drop the profile."""
        path = self.profiles / "edge.yaml"
        path.write_text(self.card.profile)
        path.chmod(0o644)

    def remove(self) -> None:
        (self.profiles / "edge.yaml").unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def loop(self) -> Any:
        """A loop whose calls may fail."""
        made = Reconciler(FaultyKernel(self.calls), self.options, Silent())
        try:
            yield made
        finally:
            await made.close()

    async def start(self, loop: Reconciler) -> None:
        """As the daemon does: an error at the start is told and tried again."""
        try:
            await loop.start()
        except NetunedError as error:
            self.heard.warnings.append(str(error))

    async def again(self, loop: Reconciler) -> None:
        """All that the daemon's timers and events would have it do."""
        if not loop.status().manager.profiles:
            await loop.reload()
        loop.touch_everything()
        await self.quiet(loop)
        await Requests(loop).reconcile("")
        await self.quiet(loop)

    async def quiet(self, loop: Reconciler) -> None:
        """Until nothing is under way."""
        deadline = time.monotonic() + 5
        while tasks := loop.work._tasks:
            if time.monotonic() > deadline:
                raise Wrong("the loop does not come to rest")
            await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.0005)  # what follows from it is begun

    # Cases

    async def applying(self, fault: Fault | None) -> None:
        """A profile comes into force with a fault, is looked at again, and goes."""
        self.drop()
        async with self.loop() as loop:
            self.calls.restart(fault)
            await self.start(loop)
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            if self.wanted and (fault is None or fault.error != DISTURBED):
                self.promises.named((self.wanted, self.promises.planned(loop)))
                self.promises.told(loop, self.wanted)
            await self.again(loop)
            self.wanted = self.wanted or self.card.state()
            self.promises.kept(self.wanted, "after looking again")
            self.remove()
            await loop.reload()
            await self.quiet(loop)
            self.promises.kept(self.card.before, "without the profile")
            self.promises.forgotten()
        self.calls.names = made

    async def restoring(self, fault: Fault | None) -> None:
        """A profile goes with a fault, and the loop looks again."""
        self.drop()
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            self.promises.kept(self.wanted, "before the fault")
            self.remove()
            self.calls.restart(fault)
            with contextlib.suppress(NetunedError):
                await loop.reload()
            await self.quiet(loop)
            self.calls.fault = None
            made = list(self.calls.names)
            self.promises.named((self.wanted,))
            await self.again(loop)
            self.promises.kept(self.card.before, "after looking again")
            self.promises.forgotten()
        self.calls.names = made

    def attempt(self, case: Callable[[Fault | None], Any], fault: Fault | None) -> str:
        """Run one case. Returns what was wrong."""
        self.heard.warnings.clear()
        self.heard.tracebacks.clear()
        try:
            asyncio.run(case(fault))
        except Wrong as wrong:
            return str(wrong)
        except Exception as error:  # noqa: BLE001  # any other is what is looked for
            return f"{type(error).__name__}: {error}"
        return ""

    def repair(self) -> None:
        """After a case that went wrong: as before, by a loop without faults."""
        self.remove()
        self.calls.restart()

        async def work() -> None:
            async with self.loop() as loop:
                await loop.start()
                await self.again(loop)

        with contextlib.suppress(Exception):
            asyncio.run(work())
        if self.card.state() != self.card.before:
            (self.options.state_directory / "baseline.json").unlink(missing_ok=True)
            self.card.prepare(own_qdiscs=self.card.own_qdiscs)

    # Kills

    def kill_at(self, step: int, case: Callable[[], Any]) -> bool:
        """Kill a child of this process at a step of ``case``; False when it has fewer steps."""
        child = os.fork()
        if not child:
            self.calls.kill_at = step
            try:
                asyncio.run(case())
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)

    async def apply_only(self) -> None:
        async with self.loop() as loop:
            self.calls.restart()
            await loop.start()
            await self.quiet(loop)

    def recover(self, *, profile: bool) -> str:
        """Start again after a kill: into force and back, or straight back. Says what is wrong."""

        async def work() -> None:
            async with self.loop() as loop:
                self.calls.restart()
                await loop.start()
                await self.quiet(loop)
                if profile:
                    self.promises.kept(self.wanted, "started again")
                    self.remove()
                    await loop.reload()
                    await self.quiet(loop)
                self.promises.kept(self.card.before, "without the profile")
                self.promises.forgotten()

        return self.attempt(lambda _: work(), None)


@contextlib.contextmanager
def bench(card: Card, directory: Path, *, own_qdiscs: bool) -> Iterator[Bench]:
    """A card in its state before, and a loop beside it."""
    made = Bench(card, directory)
    with listening(made):
        card.prepare(own_qdiscs=own_qdiscs)
        yield made


@contextlib.contextmanager
def listening(made: Bench) -> Iterator[None]:
    """What is logged is heard, and the disk goes through what may fail."""
    logger = logging.getLogger("netuned")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.addHandler(made.heard)
    logger.propagate = False
    try:
        with faulty_disk(made.calls):
            yield
    finally:
        logger.removeHandler(made.heard)
        logger.setLevel(level)
        logger.propagate = propagate
