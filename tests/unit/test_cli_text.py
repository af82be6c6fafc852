"""Tables, sentences and escaping as netunedctl prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.bus import wire
from netuned.cli.text import Screen, columns_of, wrap


def test_a_table_is_as_wide_as_needed() -> None:
    assert Screen().table(("A", "STATE"), [("eth0", "in-sync"), ("e", "")]) == (
        "A     STATE\neth0  in-sync\ne     -\n"
    )


def test_an_empty_last_column_is_left_out() -> None:
    rows = [("eth0", ""), ("eth1", "")]
    assert Screen().table(("CARD", "NOTE"), rows) == "CARD\neth0\neth1\n"
    assert Screen().table(("CARD", "NOTE"), rows, keep_last=True).startswith("CARD  NOTE\n")


def test_a_cpu_list_goes_on_in_the_next_line_after_a_comma() -> None:
    table = Screen(width=20).table(("Q", "XPS", "QDISC"), [("0", "0,8,16,24,32,40", "fq")])
    assert table == "Q  XPS         QDISC\n0  0,8,16,24,  fq\n   32,40\n"


def test_long_notes_go_under_the_table_once() -> None:
    why = "one CPU per queue of 4-7, because the card is on that node"
    rows = [(("irq rx-0", "4"), why, "irq"), (("irq rx-1", "5"), why, "irq")]
    assert Screen(width=40).table_with_notes(("SETTING", "TO", "WHY"), rows) == (
        "SETTING   TO\n"
        "irq rx-0  4\n"
        "irq rx-1  5\n"
        "\n"
        "irq: one CPU per queue of 4-7, because\n"
        "  the card is on that node\n"
    )
    assert "WHY" in Screen(width=80).table_with_notes(("SETTING", "TO", "WHY"), rows)


def test_long_reasons_go_under_the_rows_that_share_them() -> None:
    header = ("SETTING", "TO", "WHY")
    why = "one CPU per queue of 4-7, because the card is on that node"
    rows = [(("irq rx-0", "4"), why), (("irq rx-1", "5"), why), (("rps rx 0-1", ""), "off")]
    assert Screen(width=40).table_with_reasons(header, rows) == (
        "SETTING     TO\n"
        "irq rx-0    4\n"
        "irq rx-1    5\n"
        "  why: one CPU per queue of 4-7,\n"
        "    because the card is on that node\n"
        "rps rx 0-1  -\n"
        "  why: off\n"
    )
    short = Screen(width=40).table_with_reasons(header, rows[2:])
    assert short == "SETTING     TO  WHY\nrps rx 0-1  -   off\n"


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("eth0\x1b[2J", "eth0\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\u202egpj", "\\u202egpj"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_control_characters_never_reach_the_terminal(outside: str, shown: str) -> None:
    assert shown in Screen().table(("CARD", "X"), [(outside, "")])
    assert shown in Screen().sentence(outside)


def test_wide_characters_count_twice() -> None:
    assert columns_of("网卡") == 4
    table = Screen().table(("A", "B"), [("网卡", "x"), ("abcd", "x")])
    assert table == "A     B\n网卡  x\nabcd  x\n"


def test_colours_take_no_room() -> None:
    plain = Screen().table(("CARD", "STATE", "Q"), [("eth0", "drifted", "8")])
    painted = Screen(colour=True).table(("CARD", "STATE", "Q"), [("eth0", "drifted", "8")])
    assert "\x1b[33mdrifted\x1b[0m  8" in painted
    for code in ("\x1b[1m", "\x1b[33m", "\x1b[0m"):
        painted = painted.replace(code, "")
    assert painted == plain


words = st.text(st.sampled_from("ab0,- \x1b\u0301网"), max_size=30)


@given(st.lists(st.tuples(words, words, words, words), min_size=1, max_size=4))
def test_a_table_never_leaves_the_screen(rows: list[tuple[str, ...]]) -> None:
    for line in Screen(width=40).table(("CARD", "STATE", "WANTED", "FOUND"), rows).splitlines():
        assert columns_of(line) <= 40
        assert "\x1b" not in line


@given(words, st.integers(8, 40))
def test_wrapping_loses_nothing_but_spaces_and_words_too_long(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(columns_of(line) <= width for line in lines)
    if not any("…" in line for line in lines):
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("eth0", "eth0"),
        ("e\udcff", "e\\xff"),
        ("\ud800", "\\ud800"),
        ("a\0b", "a\\x00b"),
        ("网卡", "网卡"),
    ],
)
def test_any_name_can_travel_over_dbus(name: str, carried: str) -> None:
    assert wire.text(name) == carried
    carried.encode("utf-8")


def test_dbus_spelling() -> None:
    assert wire.key("profile_errors") == "ProfileErrors"
    assert wire.key("irq") == "Irq"
