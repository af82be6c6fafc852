"""A plan for people: queues with the same change in one row, nothing left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.cli.main import run
from netuned.cli.plan import as_json, grouped, show_changes
from netuned.cli.text import Screen
from netuned.cpuset import CpuSet
from netuned.plan import Change, Plan


def change(setting: str, before: str = "ff", after: str = "", why: str = "off") -> Change:
    """``en0 rps rx-0``, from one mask to another; no ``before`` is a queue yet to come."""
    ifname, tunable, *key = setting.split()
    was = CpuSet.parse_mask(before) if before else None
    return Change(ifname, tunable, "".join(key), was, CpuSet.parse_mask(after or "0"), why)


def rows(changes: Sequence[Change]) -> list[str]:
    return [f"{first.ifname} {setting}" for setting, first in grouped(changes)]


def test_queues_with_the_same_change_are_one_row() -> None:
    assert rows([change(f"en0 rps rx-{n}") for n in range(64)]) == ["en0 rps rx 0-63"]
    assert rows([change(f"en0 rps rx-{n}") for n in (0, 1, 2, 5, 9, 10)]) == [
        "en0 rps rx 0-2,5,9-10"
    ]


def test_one_queue_keeps_its_name() -> None:
    assert rows([change("en0 rps rx-3")]) == ["en0 rps rx-3"]
    assert rows([change("en0 channels"), change("en0 qdisc root")]) == [
        "en0 channels",
        "en0 qdisc root",
    ]


def test_whatever_differs_stands_apart() -> None:
    assert rows(
        [
            change("en0 irq rx-0", after="1"),
            change("en0 irq rx-1", after="2"),
            change("en0 irq rx-2", after="1"),
            change("en0 irq rx-3", before="", after="1"),
            change("en0 irq rx-4", after="1", why="another"),
            change("en0 irq tx-0", after="1"),
        ]
    ) == ["en0 irq rx 0,2", "en0 irq rx-1", "en0 irq rx-3", "en0 irq rx-4", "en0 irq tx-0"]


def test_cards_tunables_and_their_order_stay() -> None:
    changes = [
        change("en0 rss"),
        change("en0 channels"),
        *(change(f"en0 rps rx-{n}") for n in range(2)),
        *(change(f"en1 rps rx-{n}") for n in range(2)),
        *(change(f"en1 xps tx-{n}") for n in range(2)),
        change("en0 rps rx-7"),
    ]
    assert rows(changes) == [
        "en0 rss",
        "en0 channels",
        "en0 rps rx 0-1",
        "en1 rps rx 0-1",
        "en1 xps tx 0-1",
        "en0 rps rx-7",
    ]


@given(st.lists(st.tuples(st.sampled_from(("rx", "tx")), st.integers(0, 9), st.sampled_from("12"))))
def test_every_change_is_in_one_row(keys: list[tuple[str, int, str]]) -> None:
    named = {(kind, queue): after for kind, queue, after in keys}
    changes = [
        change(f"en0 irq {kind}-{queue}", after=after) for (kind, queue), after in named.items()
    ]
    shown = set()
    for setting, first in grouped(changes):
        words = setting.replace("-", " ", 1).split() if setting.count(" ") == 1 else setting.split()
        shown |= {(words[1], queue, str(first.after)) for queue in CpuSet.parse_list(words[2])}
    assert shown == {(c.key[:2], int(c.key[3:]), str(c.after)) for c in changes}


def test_the_reason_stands_once_below_its_rows() -> None:
    why = "the CPUs nearest to this queue's interrupt, one of them at least"
    changes = [change(f"en0 xps tx-{n}", after=f"{n + 1:x}", why=why) for n in range(8)]
    text = show_changes(changes, Screen(width=80))
    assert text.count("nearest") == 1
    assert text.splitlines()[-1].startswith("  why: the CPUs nearest")


def test_json_has_every_change() -> None:
    changes = as_json(Plan(tuple(change(f"en0 rps rx-{n}") for n in range(64))))["changes"]
    assert isinstance(changes, list)
    assert [entry["key"] for entry in changes] == [f"rx-{n}" for n in range(64)]


def test_a_directory_of_profiles_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--profiles", "/nonexistent"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "netunedctl: /nonexistent: is no directory of profiles\n"
    assert not shown.out
