"""The whole daemon but D-Bus and events, on a described machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from netuned.status import Status
from tests.netns.listener import Silent
from tests.unit.parts import MACHINE, profile
from tests.unit.writable import WritableKernel

XPS = "/sys/class/net/en0/queues/tx-{}/xps_cpus"


class Told(Silent):
    """Remembers every status that was told."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []

    def publish(self, status: Status) -> None:
        self.statuses.append(status)


class Daemon:
    """The loop with one profile, and its requests."""

    def __init__(self, directory: Path, resync_s: float = 30.0) -> None:
        self.kernel, self.told = WritableKernel(MACHINE), Told()
        self.profiles = directory / "profiles.d"
        self.profiles.mkdir()
        self.options = Options(
            (str(self.profiles),),
            directory / "state",
            directory / "run",
            str(directory / "none"),
            resync_s,
        )
        self.loop = self.again()
        self.ask = Requests(self.loop)

    def again(self) -> Reconciler:
        """The loop of a process that starts now."""
        return Reconciler(self.kernel, self.options, self.told)

    def drop(self, text: str, name: str = "edge") -> None:
        (self.profiles / f"{name}.yaml").write_text(text)

    def masks(self) -> list[str]:
        return [self.kernel.files.read_text(XPS.format(queue)) for queue in range(4)]

    def disturb(self) -> None:
        """Somebody sets a mask, and no event tells."""
        self.kernel.put(XPS.format(2), b"f\n")

    def state(self, name: str = "en0") -> str:
        return next(nic.state for nic in self.ask.status().nics if nic.name == name)


def on(
    directory: Path,
    scenario: Callable[[Daemon], Coroutine[None, None, None]],
    resync_s: float = 30.0,
    text: str = profile("0-1"),
) -> None:
    """Run what is to happen to a daemon that has the profile ``text`` in force."""

    async def run() -> None:
        daemon = Daemon(directory, resync_s)
        daemon.drop(text)
        await daemon.loop.start()
        await scenario(daemon)
        await daemon.loop.close()

    asyncio.run(run())
