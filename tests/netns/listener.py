"""A listener that watches nothing: what the resync finds, it finds by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netuned.hardware.nic import Nic
from netuned.plan import Change
from netuned.status import Status


class Silent:
    """Stands in for D-Bus and the watches."""

    def publish(self, status: Status) -> None:
        """Not shown to anybody."""

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str) -> None:
        """Not told to anybody."""

    def repaired(self, ifindex: int, tunable: str, key: str, value: str, latency_us: int) -> None:
        """Not told to anybody."""

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str]
    ) -> None:
        """Not told to anybody."""

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        """Nothing is watched."""
