"""Mappings whose values are made when they are asked for."""

from __future__ import annotations

import pytest

from netuned.ondemand import OnDemand


def test_a_value_is_made_when_it_is_asked_for_and_once() -> None:
    asked = []

    def double(key: int) -> int:
        asked.append(key)
        return 2 * key

    mapping = OnDemand(dict.fromkeys((1, 2, 3)), double)
    assert (len(mapping), 2 in mapping, 4 in mapping, [*mapping]) == (3, True, False, [1, 2, 3])
    assert not asked
    assert (mapping[2], mapping.get(2), mapping.get(4), asked) == (4, 4, None, [2])
    with pytest.raises(KeyError):
        mapping[4]
    assert mapping == {1: 2, 2: 4, 3: 6}
    assert asked == [2, 1, 3]
