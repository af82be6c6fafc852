"""Mappings whose values are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping
from typing import Any, TypeVar, overload

D = TypeVar("D")
K = TypeVar("K")
V = TypeVar("V")


class OnDemand(Mapping[K, V]):
    """Has the keys of ``raw``; each value is ``make(key)``, made once, when it is asked for.

    None of them is None.
    """

    __slots__ = ("_made", "_make", "_raw")

    def __init__(self, raw: Mapping[K, Any], make: Callable[[K], V]) -> None:
        self._raw = raw
        self._make = make
        self._made: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        found = self._made.get(key)
        if found is None:
            if key not in self._raw:
                raise KeyError(key)
            found = self._made[key] = self._make(key)
        return found

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """As a dict's; a mapping's own raises and catches KeyError for each that is not there."""
        return self[key] if key in self._raw else default

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __iter__(self) -> Iterator[K]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def keys(self) -> KeysView[K]:
        return self._raw.keys()
