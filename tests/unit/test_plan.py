"""Changes as people are told of them: queues with the same one together."""

from __future__ import annotations

from netuned.cpuset import CpuSet
from netuned.plan import Change, in_short, merged, merged_keys
from netuned.values import Value


def change(key: str, after: Value, tunable: str = "rps") -> Change:
    return Change("en0", tunable, key, CpuSet(), after, "why")


def test_keys_of_queues_are_merged_and_no_others() -> None:
    assert merged_keys(("rx-0", "root", "rx-2", "tx-1", "rx-1")) == ("rx 0-2", "root", "tx-1")
    assert merged_keys(("tx-0 fq limit", "tx-1 fq limit", "tx-0 fq quantum")) == (
        "tx 0-1 fq limit",
        "tx-0 fq quantum",
    )
    assert merged_keys(("", "")[:1]) == ("",)


def test_changes_to_the_same_are_one() -> None:
    same, other = CpuSet(3), CpuSet(4)
    changes = [change("rx-0", same), change("rx-1", other), change("rx-2", same)]
    assert list(map(str, merged(changes))) == [
        "en0 rps rx 0,2: none -> 0-1",
        "en0 rps rx-1: none -> 2",
    ]
    assert list(in_short(changes)) == list(map(str, merged(changes)))


def test_many_that_differ_are_told_without_values() -> None:
    xps = [change(f"tx-{n}", CpuSet(1 << n), "xps") for n in range(44)]
    assert list(in_short([change("rx-0", CpuSet(1)), *xps])) == [
        "en0 rps rx-0: none -> 0",
        "en0 xps tx 0-43",
    ]
