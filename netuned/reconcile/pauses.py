"""Which cards are paused: by the network device itself, so that a new name ends no pause.

It is on disk too: a restarted daemon goes on leaving them alone. The file is in /run, so a reboot
ends every pause.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from netuned import statefile
from netuned.errors import StateFileError
from netuned.hardware.nic import Nic
from netuned.reconcile.cardid import CardId
from netuned.reconcile.work import Work

log = logging.getLogger(__name__)

NAME = "paused.json"
VERSION = 2
_KEYS = ("name", "instance")

ALL_CARDS = CardId(0, "")
"""In place of a card: all are paused, those that are not here yet, too."""


class Pauses:
    """Begun and ended by name, remembered by instance, over a restart too.

    Where the device left, a pause is of whichever card has its name: a driver that was loaded
    again makes another device, and who paused the card meant that one, too.
    """

    def __init__(self, path: Path, work: Work) -> None:
        self._path = path
        self._work = work
        self._paused: frozenset[CardId] = frozenset()
        self._here: frozenset[int] = frozenset()
        self._loaded = False
        self._saving = asyncio.Lock()

    def load(self) -> None:
        """Go on where the daemon ended. Raises: StateFileError; then nothing is paused."""
        self._paused = read_paused(self._path)
        self._loaded = bool(self._paused)
        for card in sorted(self._paused):
            log.warning("Paused as before: %s", card.name or "all cards")

    def take_loaded(self) -> bool:
        """Whether some were begun before this process; asked once, for whoever sees to them."""
        loaded, self._loaded = self._loaded, False
        return loaded

    async def save(self) -> None:
        """Have what is paused outlast a restart. Raises: StateFileError."""
        async with self._saving:  # what is written last is what was paused last
            await self._work.in_worker(partial(write_paused, self._path, self._paused))

    @property
    def all_cards(self) -> bool:
        """Whether all cards are paused."""
        return ALL_CARDS in self._paused

    def __bool__(self) -> bool:
        return bool(self._paused)

    def has(self, nic: Nic) -> bool:
        """Whether a card is paused, by itself or with all."""
        return self.all_cards or any(self._is_of(card, nic) for card in self._paused)

    def begin(self, nic: Nic | None) -> None:
        """Pause one card, or all."""
        new = CardId.of(nic) if nic else ALL_CARDS
        others = (card for card in self._paused if _which(card) != _which(new))
        self._paused = frozenset((*others, new))

    def end(self, nic: Nic | None) -> None:
        """End the pause of one card, or every pause."""
        left = (card for card in self._paused if nic and not self._is_of(card, nic))
        self._paused = frozenset(left)

    def follow(self, nics: Collection[Nic]) -> bool:
        """These cards are here, under these names. Says whether the file is to be written."""
        names = {nic.instance: nic.name for nic in nics if nic.instance}
        before, self._here = self._paused, frozenset(names)
        self._paused = frozenset(
            replace(card, name=names.get(card.instance, card.name)) for card in before
        )
        return self._paused != before

    def _is_of(self, card: CardId, nic: Nic) -> bool:
        if card.instance and card.instance == nic.instance:
            return True
        return card.name == nic.name and card.instance not in self._here


def read_paused(path: Path) -> frozenset[CardId]:
    """What the file says; nothing where there is none.

    Raises: StateFileError if it cannot be trusted.
    """
    try:
        return statefile.read(path, parse_paused, frozenset())
    except StateFileError as error:
        why = f"{error}; what was paused is not any more: `netunedctl pause`"
        raise StateFileError(why) from error


def parse_paused(content: bytes) -> frozenset[CardId]:
    """Read what :func:`encode_paused` made: cards without number and device.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    data = statefile.decode(VERSION, content)
    if data.keys() != {"paused"} or not isinstance(data["paused"], list):
        raise ValueError(f"{data!r:.80} is no list of what is paused")
    cards = [_decode(entry) for entry in data["paused"]]
    if len(set(map(_which, cards))) != len(cards):
        raise ValueError("a card is there twice")
    return frozenset(cards)


def _decode(entry: object) -> CardId:
    if not isinstance(entry, dict) or entry.keys() != set(_KEYS):
        raise ValueError(f"{entry!r:.80} is no card")
    if entry == {"name": "", "instance": 0}:
        return ALL_CARDS
    return CardId.decode({"ifindex": 0, "device": "", **entry})


def encode_paused(paused: Iterable[CardId]) -> bytes:
    """What to write."""
    cards = [card.encode() for card in sorted(paused)]
    return statefile.encode(VERSION, {"paused": [{key: c[key] for key in _KEYS} for c in cards]})


def write_paused(path: Path, paused: Iterable[CardId]) -> None:
    """Replace the file at once as a whole; one call at a time. Raises: StateFileError."""
    try:
        statefile.write_atomically(path, encode_paused(paused))
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}; a restart will not know of it") from error


def _which(card: CardId) -> int | str:
    return card.instance or card.name
