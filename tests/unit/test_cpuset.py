"""CpuSet: both text forms of the kernel, past 64 CPUs, and set arithmetic."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netuned.cpuset import MAX_CPU, CpuSet

ROUNDS = settings(max_examples=60, deadline=None)

CPUS = st.sets(st.integers(0, 1023))


@ROUNDS
@given(CPUS)
def test_list_text_reads_back(cpus: set[int]) -> None:
    assert CpuSet.parse_list(str(CpuSet.of(cpus))) == CpuSet.of(cpus)


@ROUNDS
@given(CPUS)
def test_mask_text_reads_back(cpus: set[int]) -> None:
    mask = CpuSet.of(cpus).to_mask()
    assert CpuSet.parse_mask(mask) == CpuSet.of(cpus)
    assert CpuSet.parse_mask(f"00000000,{mask}" if "," in mask else mask.zfill(8)) == CpuSet.of(
        cpus
    )


@ROUNDS
@example({1000}, set())
@given(CPUS, CPUS)
def test_behaves_as_a_set(a: set[int], b: set[int]) -> None:
    left, right = CpuSet.of(a), CpuSet.of(b)
    assert set(left & right) == a & b
    assert set(left | right) == a | b
    assert set(left - right) == a - b
    assert len(left) == len(a)
    assert bool(left) == bool(a)
    assert list(left) == sorted(a)
    assert list(CpuSet.of(range(1024)) - left) == sorted(set(range(1024)) - a)
    assert left.only == (min(a) if len(a) == 1 else -1)
    assert all(cpu in left for cpu in a)
    assert not any(cpu in left for cpu in b - a)
    assert not a or left.first == min(a)


@ROUNDS
@given(CPUS)
def test_list_text_is_the_shortest_as_the_kernel_writes_it(cpus: set[int]) -> None:
    spans = [part.split("-") for part in str(CpuSet.of(cpus)).split(",") if part]
    ends = [(int(span[0]), int(span[-1])) for span in spans]
    assert all(span[0] != span[-1] or len(span) == 1 for span in spans)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ends))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", []),
        ("\n", []),
        ("0", [0]),
        ("0-3,8", [0, 1, 2, 3, 8]),
        ("8, 0-1\n", [0, 1, 8]),
        ("0-7:1/4", [0, 4]),
        ("0-7:2/4", [0, 1, 4, 5]),
        ("1023", [1023]),
    ],
)
def test_reads_cpulists(text: str, cpus: list[int]) -> None:
    assert list(CpuSet.parse_list(text)) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", []),
        ("ff", range(8)),
        ("1,00000000", [32]),
        ("ff,00000001\n", [0, *range(32, 40)]),
        ("00000000,00000003", [0, 1]),
    ],
)
def test_reads_masks(text: str, cpus: list[int]) -> None:
    assert list(CpuSet.parse_mask(text)) == list(cpus)


@pytest.mark.parametrize(
    "text", ["a", "-1", "1-", "3-1", "0-3:", "0-3:4/2", "0,,1", "٣", "0x3", "1 2"]
)
def test_refuses_what_is_no_cpulist(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        CpuSet.parse_list(text)


@pytest.mark.parametrize("text", ["", "g", "123456789", "1,,2"])
def test_refuses_what_is_no_mask(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        CpuSet.parse_mask(text)


def test_a_huge_number_costs_nothing() -> None:
    for text in ("0-999999999", str(MAX_CPU), "9" * 5000):
        with pytest.raises(ValueError, match="is not a CPU number"):
            CpuSet.parse_list(text)
