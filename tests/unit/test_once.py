"""Answers of a pass: asked as seldom as the kernel allows, and never older than they may be."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from netuned import statefile
from netuned.kernel.once import Once, Shared
from netuned.kernel.questions import CHANNELS, QDISCS, Question
from tests.unit.parts import Parts, on
from tests.unit.writable import WritableKernel

A = TypeVar("A")

QDISC = 'match: [{name: "en*"}]\nxps: {cpus: auto}\nqdisc: {kind: fq, limit: 5000}\n'


class Counting(WritableKernel):
    """A described machine that counts the requests for all cards."""

    def __init__(self, cards: int) -> None:
        names = ", ".join(f"{{name: en{n}, driver: ice, queues: 4}}" for n in range(cards))
        super().__init__(f"cores: 4\ncards: [{names}]\n")
        self.dumps: Counter[str] = Counter()

    def dump(self, question: Question[A]) -> Mapping[int, A]:
        self.dumps[question.name] += 1
        return super().dump(question)

    def begin_write(self, what: str) -> None:
        if what == "qdisc":  # to make it, the described machine looks at its own qdiscs
            self.dumps["qdiscs"] -= 1
        super().begin_write(what)


def test_answers_are_shared_until_something_was_asked() -> None:
    kernel = Counting(2)
    shared = Shared(kernel)
    first, second = shared.fresh(), shared.fresh()
    assert first is second
    assert first.get(QDISCS, 2) != ()
    third = shared.fresh()
    assert third is not first
    assert second.get(QDISCS, 3) != ()
    assert kernel.dumps["qdiscs"] == 1
    third.get(QDISCS, 2)
    assert kernel.dumps["qdiscs"] == 2


def test_a_single_card_is_asked_by_itself_where_the_kernel_can() -> None:
    kernel = Counting(2)
    asked = Once(kernel, many=False)
    assert not asked.begun
    asked.get(CHANNELS, 2)
    assert kernel.dumps["channels"] == 0
    asked.get(QDISCS, 2)
    assert asked.begun
    assert kernel.dumps["qdiscs"] == 1


def test_many_cards_are_asked_and_saved_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grows with the cards is what is written to each: neither dumps nor saves do."""
    saves: list[int] = []
    write = statefile.write_of_boot

    def save(path: Path, data: bytes) -> None:
        saves.append(len(data))
        write(path, data)

    monkeypatch.setattr(statefile, "write_of_boot", save)
    kernel = Counting(60)

    async def scenario(parts: Parts) -> None:
        await parts.plan(QDISC)
        assert {parts.shown(f"en{n}").state for n in range(60)} == {"in-sync"}
        recorded = [parts.baseline.of(slot.card.nic) for slot in parts.context.slots.values()]
        assert all("tx-3 fq limit" in states["qdisc"] for states in recorded)

    on(tmp_path, scenario, kernel)
    assert kernel.dumps["qdiscs"] < 20
    assert kernel.dumps["links"] <= 1
    assert len(saves) < 20


def test_one_card_that_fails_stops_none_of_those_that_share(tmp_path: Path) -> None:
    kernel = Counting(20)
    kernel.fails = {30: 16}

    async def scenario(parts: Parts) -> None:
        await parts.plan(QDISC)
        states = Counter(parts.shown(f"en{n}").state for n in range(20))
        assert states == {"in-sync": 19, "degraded": 1}

    on(tmp_path, scenario, kernel)


def test_a_card_that_waits_in_its_driver_holds_up_no_other(tmp_path: Path) -> None:
    kernel, driver = Counting(12), threading.Event()
    write = kernel.begin_write

    def begin_write(what: str) -> None:
        write(what)
        if "/en0/" in what:
            assert driver.wait(20)

    kernel.begin_write = begin_write  # type: ignore[method-assign]  # a driver that takes its time

    async def scenario(parts: Parts) -> None:
        parts.drop(QDISC)
        await parts.replan()
        others = [f"en{n}" for n in range(1, 12)]
        await parts.until(lambda: all(parts.shown(name).state == "in-sync" for name in others))
        assert parts.shown("en0").state == "applying"
        driver.set()
        await parts.quiet()
        assert parts.shown("en0").state == "in-sync"

    on(tmp_path, scenario, kernel)
