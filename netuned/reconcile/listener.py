"""Who is told what the loop does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from netuned.hardware.nic import Nic
from netuned.plan import Change
from netuned.status import Status


class Listener(Protocol):
    """Who is told: D-Bus, and the watches that must follow what is wanted."""

    def publish(self, status: Status, /) -> None: ...

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str, /) -> None: ...

    def repaired(
        self, ifindex: int, tunable: str, key: str, value: str, latency_us: int, /
    ) -> None: ...

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str], /
    ) -> None:
        """A look at a card, or the host, made these; ``cause`` is as ``Applied`` has it.

        ``writers`` are who made repairs necessary, by tunable, as far as known.
        """

    def arm(self, nic: Nic, tunables: frozenset[str], /) -> None:
        """Watch the files of these tunables of a card; none: watch nothing of it.

        Called in one thread, which is not the loop's: it is many system calls.
        """
