"""Which card is meant, also after it left: in memory, and in the files of netuned's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from netuned import valuejson
from netuned.hardware.nic import Nic
from netuned.reconcile.baseline import MOST_IFINDEX
from netuned.records import dataclass

_MOST_NAME = 15
_MOST_PATH = 4096
_MOST_INSTANCE = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class CardId:
    """One card, by its network device where that is known (``Nic.instance``; 0: it is not).

    ``ifindex`` is 0 where the card left, or is of an earlier boot; ``device`` and ``name`` then
    say in which place it was.
    """

    ifindex: int
    name: str
    device: str = ""
    instance: int = 0

    @classmethod
    def of(cls, nic: Nic) -> CardId:
        return cls(nic.ifindex, nic.name, nic.device, nic.instance)

    def is_of(self, card: Nic | CardId) -> bool:
        """Whether this is the same card: its device, else its number, else its place."""
        if self.instance and card.instance:
            return self.instance == card.instance
        if self.ifindex and card.ifindex:
            return self.ifindex == card.ifindex
        return self.may_be(card)

    def may_be(self, card: Nic | CardId) -> bool:
        """Whether a card is in the place of this one."""
        return (self.device, self.name) == (card.device, card.name)

    def left(self) -> CardId:
        """The card once it is not here any more: whichever comes into its place is meant."""
        return replace(self, ifindex=0, instance=0)

    def encode(self) -> dict[str, Any]:
        """The members of a JSON object."""
        return asdict(self)

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> CardId:
        """What ``encode`` gave. Raises: ValueError, KeyError."""
        name = valuejson.text(data["name"], _MOST_NAME)  # bytes, of which the kernel takes 15
        if not 0 < len(os.fsencode(name)) <= _MOST_NAME or "\0" in name:
            raise ValueError(f"{name!r} is no card's name")
        return cls(
            valuejson.whole(data["ifindex"], MOST_IFINDEX),
            name,
            valuejson.text(data["device"], _MOST_PATH),
            valuejson.whole(data["instance"], _MOST_INSTANCE),
        )
