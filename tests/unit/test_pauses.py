"""What is paused: kept by the network device, and whole on disk whoever pauses at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netuned import statefile
from netuned.errors import StateFileError
from netuned.hardware.nic import Nic
from netuned.reconcile.cardid import CardId
from netuned.reconcile.pauses import (
    ALL_CARDS,
    VERSION,
    Pauses,
    encode_paused,
    parse_paused,
    read_paused,
    write_paused,
)
from netuned.reconcile.work import Work
from tests.unit.machines import nic


def card(number: int, name: str = "") -> Nic:
    return replace(nic(number, name or f"lan{number}", 2), instance=100 + number)


def paused(name: str, instance: int = 0) -> CardId:
    """A card as the file has it."""
    return CardId(0, name, instance=instance)


def run(path: Path, cards: Sequence[Nic], rounds: int) -> list[frozenset[CardId]]:
    """What the file has after all were paused at once, then resumed at once, and so on."""

    async def ask() -> list[frozenset[CardId]]:
        work, found = Work(), []
        pauses = Pauses(path, work)

        async def one(nic: Nic, *, begin: bool) -> None:
            (pauses.begin if begin else pauses.end)(nic)
            await pauses.save()

        for number in range(rounds):
            await asyncio.gather(*(one(nic, begin=not number % 2) for nic in cards))
            found.append(read_paused(path))
        work.close()
        return found

    return asyncio.run(ask())


def test_many_that_pause_and_resume_at_once_lose_nothing(tmp_path: Path) -> None:
    cards = [card(number) for number in range(12)]
    everything = frozenset(paused(nic.name, nic.instance) for nic in cards)
    found = run(tmp_path / "paused.json", cards, 20)
    assert found == [everything, frozenset()] * 10
    assert [path.name for path in tmp_path.iterdir()] == ["paused.json"]


@pytest.fixture
def pauses(tmp_path: Path) -> Pauses:
    return Pauses(tmp_path / "paused.json", Work())


def test_a_pause_follows_the_device_to_its_new_name(pauses: Pauses) -> None:
    pauses.begin(card(1))
    assert not pauses.follow([card(1), card(2)])
    assert pauses.follow([card(1, "wan0"), card(2, "lan1")])
    assert pauses.has(card(1, "wan0"))
    assert not pauses.has(card(2, "lan1"))
    pauses.begin(card(1, "wan0"))
    pauses.end(card(1, "wan0"))
    assert not pauses


def test_a_pause_of_a_device_that_left_is_of_its_successor(pauses: Pauses) -> None:
    pauses.begin(card(1))
    pauses.follow([])
    assert pauses.has(card(7, "lan1"))
    assert not pauses.has(card(7))
    pauses.end(card(7, "lan1"))
    assert not pauses


def test_a_pause_is_known_again_though_its_card_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "paused.json"
    write_paused(path, [paused("lan1", 101), ALL_CARDS])
    pauses = Pauses(path, Work())
    pauses.load()
    assert (pauses.take_loaded(), pauses.take_loaded()) == (True, False)
    assert pauses.all_cards
    pauses.end(None)
    pauses.begin(card(1))
    pauses.follow([card(2)])
    assert pauses.has(card(1, "wan0"))


def test_all_cards_are_those_to_come_too(pauses: Pauses) -> None:
    pauses.begin(None)
    pauses.follow([card(1)])
    assert pauses.has(card(2))
    pauses.end(None)
    assert not pauses.has(card(2))


ENTRY = {"name": "lan0", "instance": 5}


@pytest.mark.parametrize(
    "paused",
    [
        ["lan0"],
        {"lan0": 5},
        [{"name": "lan0"}],
        [ENTRY | {"more": 1}],
        [ENTRY | {"name": 3}],
        [ENTRY | {"name": ""}],
        [ENTRY | {"name": "sixteen-letters!"}],
        [ENTRY | {"name": "lan\0"}],
        [ENTRY | {"name": "\ud800"}],
        [ENTRY | {"instance": True}],
        [ENTRY | {"instance": -1}],
        [ENTRY | {"instance": 1 << 64}],
        [ENTRY | {"instance": 5.0}],
        [ENTRY, ENTRY | {"name": "lan1"}],
    ],
)
def test_what_netuned_would_not_write_is_refused(tmp_path: Path, paused: object) -> None:
    path = tmp_path / "paused.json"
    path.write_bytes(statefile.encode(VERSION, {"paused": paused}))
    with pytest.raises(StateFileError, match="not what netuned wrote"):
        read_paused(path)


def test_a_file_has_nothing_but_what_is_paused() -> None:
    with pytest.raises(ValueError, match="no list"):
        parse_paused(statefile.encode(VERSION, {"paused": [], "more": 1}))


def test_names_are_bytes() -> None:
    odd = frozenset([paused("lan\udcff\n", 5), paused("lan0"), ALL_CARDS])
    assert parse_paused(encode_paused(odd)) == odd
