"""The profiles and the daemon's own settings, as they were read last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from netuned.cpuset import CpuSet
from netuned.profiles.loader import ProfileSet, load
from netuned.profiles.settings import Settings, load_settings

log = logging.getLogger(__name__)


class Loading:
    """Reads what people wrote in a thread of its own: thousands of files keep no card waiting."""

    def __init__(
        self,
        directories: Sequence[str],
        settings_path: str,
        possible: Callable[[], CpuSet],
        *,
        owner: int = 0,
    ) -> None:
        """``possible`` reads the CPUs that this host can have; it runs in the thread.

        ``owner`` may own the files besides root.
        """
        self.profiles = ProfileSet()
        self.settings = Settings()
        self.loaded = False
        self._directories = directories
        self._settings_path = settings_path
        self._possible = possible
        self._owner = owner
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="profiles")
        self._reading = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read everything again. A reading that has not begun yet serves all who ask for one.

        Raises: KernelError if the host's CPUs cannot be read.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._next)

    def close(self) -> None:
        """Begin no other reading."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        async with self._reading:
            self._next = None
            loop = asyncio.get_running_loop()
            self.settings, self.profiles = await loop.run_in_executor(self._thread, self._read)
            self.loaded = True

    def _read(self) -> tuple[Settings, ProfileSet]:
        profiles = load(
            self._directories,
            possible=self._possible(),
            previous=self.profiles,
            owner=self._owner,
        )
        settings = load_settings(self._settings_path, self.settings, self._owner)
        told = {*map(str, self.settings.errors), *self.profiles.messages}
        for message in (*map(str, settings.errors), *profiles.messages):
            if message not in told:
                log.error("%s", message)
        return settings, profiles
