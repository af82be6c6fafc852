"""The profiles and the daemon's own settings, as they were read last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.profiles.compiled import Compiled, Kept, key_of
from netuned.profiles.doubts import doubts
from netuned.profiles.loader import ProfileSet, Remembered, load
from netuned.profiles.reading import Guide, Reader, Reading
from netuned.profiles.settings import Settings, load_settings
from netuned.reconcile.hold import Hold

log = logging.getLogger(__name__)

KEEP_AFTER_S = 5.0
"""When nothing was read for so long files are looked at once more, which by then are as old as
tells them from others, and what was compiled is kept: no profile in force waits for it."""


class Loading:
    """Reads what people wrote in threads of its own: thousands of files keep no card waiting."""

    def __init__(
        self,
        directories: Sequence[str],
        settings_path: str,
        possible: Callable[[], CpuSet],
        answered: Callable[[], None],
        *,
        owner: int = 0,
        kept_at: Path | None = None,
    ) -> None:
        """``possible`` reads the CPUs that this host can have; it runs in the thread.

        ``answered`` is called on the loop when a file answers that did not in time: load again.
        ``owner`` may own the files besides root. ``kept_at`` is the file that keeps what was
        compiled, for the next start.
        """
        self.profiles = ProfileSet()
        self.settings = Settings()
        self.loaded_at = 0.0
        """Seconds since the epoch; 0 while they were not read yet."""
        self._possible = possible
        self._answered = answered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader = Reader(directories, settings_path, self._on_answer, owner=owner)
        self._read_last = Reading()
        self._possible_last = CpuSet()
        self._remembered = Remembered()
        self._doubts: tuple[str, ...] = ()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="profiles")
        self._reading = Hold()
        self._next: asyncio.Task[None] | None = None
        self._kept = Kept(kept_at)
        self._keeping: asyncio.TimerHandle | None = None

    def follow(self, guide: Guide) -> None:
        """From now on ``guide`` is told of what is passed when files are read."""
        self._reader.guide = guide

    async def load(self) -> None:
        """Read everything again. A reading that has not begun yet serves all who ask for one.

        Raises: KernelError if the host's CPUs cannot be read; NetunedError as ``_compiled``.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._next)

    async def differs(self) -> bool:
        """Whether the files are others than those that were read last."""
        if not self.loaded_at:
            return False
        async with self._reading:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._differs)

    def look(self) -> bool:
        """As ``differs``, in this thread, and where nothing else reads them."""
        if not self.loaded_at or not self._reading.take():
            return False
        try:
            return not self._reader.is_same(self._read_last) and self._differs()
        finally:
            self._reading.give()

    def close(self) -> None:
        """Begin no other reading."""
        if self._next is not None:
            self._next.cancel()
        if self._keeping is not None:
            self._keeping.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        async with self._reading:
            self._next = None
            self._loop = asyncio.get_running_loop()
            done = await self._loop.run_in_executor(self._thread, self._read)
            self._read_last, self.settings, self.profiles, self._possible_last = done
            self.loaded_at = time.time()
            if self._keeping is not None:
                self._keeping.cancel()
            self._keeping = self._loop.call_later(
                KEEP_AFTER_S, self._thread.submit, self._keep, *done
            )

    def _differs(self) -> bool:
        """Whether others are there; those that only were touched, or fresh, are the same."""
        last = self._read_last
        seen = self._reader.read(last, content=False)
        if seen.met != last.met:
            seen = self._reader.read(last)
            if (seen.directories, seen.settings) != (last.directories, last.settings):
                return True
        # what files hold is not in a look without content
        self._read_last = replace(seen, directories=last.directories, settings=last.settings)
        return False

    def _read(self) -> tuple[Reading, Settings, ProfileSet, CpuSet]:
        possible, reader = self._possible(), self._reader
        read = reader.read(self._read_last)
        made = self._made_before(read, possible)
        profiles, settings = made or self._compiled(read, possible)
        told = {*map(str, self.settings.errors), *self.profiles.messages, *self._doubts}
        for message in (*map(str, settings.errors), *profiles.messages):
            if message not in told:
                log.error("%s", message)
        self._doubts = tuple(_doubts(profiles))
        for message in self._doubts:
            if message not in told:
                log.warning("%s", message)
        return read, settings, profiles, possible

    def _compiled(self, read: Reading, possible: CpuSet) -> tuple[ProfileSet, Settings]:
        """Raises: NetunedError where what reads YAML is not what this process began with."""
        try:
            profiles = load(
                self._reader.directories,
                possible=possible,
                previous=self.profiles,
                recorded=read.directories,
                remembered=self._remembered,
            )
            settings = load_settings(self._reader.settings_path, self.settings, read=read.settings)
        except ImportError as error:  # imported late; an upgrade may have replaced it meanwhile
            problem = f"profiles cannot be read with what is installed now ({error})"
            raise NetunedError(f"{problem}: restart netuned (systemctl restart netuned)") from error
        return profiles, settings

    def _made_before(self, read: Reading, possible: CpuSet) -> tuple[ProfileSet, Settings] | None:
        """What the same texts were made, without a mistake, the last time or by another daemon."""
        if not self.loaded_at:
            kept = self._kept.read(key_of(read.directories, read.settings, possible))
            if kept is None:
                return None
            return ProfileSet(kept.profiles), Settings(kept.confirm_timeout_s)
        last = self._read_last
        same = (last.directories, last.settings, self._possible_last)
        if same != (read.directories, read.settings, possible):
            return None
        wrong = self.profiles.errors or self.settings.errors
        return None if wrong else (self.profiles, self.settings)

    def _keep(
        self, read: Reading, settings: Settings, profiles: ProfileSet, possible: CpuSet
    ) -> None:
        if self.look():  # else the next resync would read what was fresh when it was read
            self._on_answer()
        elif not settings.errors and not profiles.errors:
            key = key_of(read.directories, read.settings, possible)
            self._kept.write(key, Compiled(profiles.profiles, settings.confirm_timeout_s))

    def _on_answer(self) -> None:
        """Have it read again."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._answered)


def _doubts(profiles: ProfileSet) -> list[str]:
    return [str(doubt) for loaded in profiles.profiles for doubt in doubts(loaded)]
