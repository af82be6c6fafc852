"""Which cards are paused: by the network device itself, so that a new name ends no pause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

from netuned.hardware.nic import Nic
from netuned.reconcile.pausefile import ALL_CARDS, Pause, read_paused, write_paused
from netuned.reconcile.work import Work

log = logging.getLogger(__name__)


class Pauses:
    """Begun and ended by name, kept by instance, over a restart too.

    Where the device left, a pause is of whichever card has its name: a driver that was loaded
    again makes another device, and who paused the card meant that one, too.
    """

    def __init__(self, path: Path, work: Work) -> None:
        self.loaded = False
        """Whether some were begun before this process, for whoever sees to them."""
        self._path = path
        self._work = work
        self._pauses: frozenset[Pause] = frozenset()
        self._here: frozenset[int] = frozenset()
        self._keeping = asyncio.Lock()

    def load(self) -> None:
        """Go on where the daemon ended. Raises: StateFileError; then nothing is paused."""
        self._pauses = read_paused(self._path)
        self.loaded = bool(self._pauses)
        for pause in sorted(self._pauses):
            log.warning("Paused as before: %s", pause.name or "all cards")

    async def keep(self) -> None:
        """Have what is paused outlast a restart. Raises: StateFileError."""
        async with self._keeping:  # what is written last is what was paused last
            await self._work.in_worker(partial(write_paused, self._path, self._pauses))

    @property
    def all_cards(self) -> bool:
        """Whether all cards are paused, those that are not here yet, too."""
        return ALL_CARDS in self._pauses

    def __bool__(self) -> bool:
        return bool(self._pauses)

    def has(self, nic: Nic) -> bool:
        """Whether a card is paused, by itself or with all."""
        return self.all_cards or any(self._is_of(pause, nic) for pause in self._pauses)

    def begin(self, nic: Nic | None) -> None:
        """Pause one card, or all."""
        new = Pause(nic.name, nic.instance) if nic else ALL_CARDS
        others = (p for p in self._pauses if not new.instance or p.instance != new.instance)
        self._pauses = frozenset((*others, new))

    def end(self, nic: Nic | None) -> None:
        """End the pause of one card, or every pause."""
        left = (pause for pause in self._pauses if nic and not self._is_of(pause, nic))
        self._pauses = frozenset(left)

    def follow(self, nics: Collection[Nic]) -> bool:
        """These cards are here, under these names. Says whether the file is to be written."""
        names = {nic.instance: nic.name for nic in nics if nic.instance}
        before, self._here = self._pauses, frozenset(names)
        self._pauses = frozenset(
            Pause(names.get(pause.instance, pause.name), pause.instance) for pause in before
        )
        return self._pauses != before

    def _is_of(self, pause: Pause, nic: Nic) -> bool:
        if pause.instance and pause.instance == nic.instance:
            return True
        return pause.name == nic.name and pause.instance not in self._here
