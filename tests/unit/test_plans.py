"""Plans: one is made for all who wait, and is encoded as the library would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from dbus_fast import Message

from netuned.bus import callers, plans, records, wire
from netuned.bus.callers import Caller
from netuned.bus.connection import encode
from netuned.bus.plans import Planners, encode_plan
from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.plan import Change, Plan, Problem

CHANGES = tuple(
    Change(f"eth{n}" * n, "rps", f"rx-{n}", None, CpuSet(1 << n), "why" * n) for n in range(4)
)
PROBLEMS = (Problem("eth0", "odd"), Problem("", "é"))


class Bus:
    """Takes everything at once, and keeps whose it was."""

    def __init__(self) -> None:
        self.answered: list[str | None] = []
        self.errors: list[str | None] = []

    async def give_way(self, began: float, root_waits: Callable[[], object]) -> None:
        await asyncio.sleep(0)

    def send(self, msg: Message) -> asyncio.Future[None]:
        (self.errors if msg.error_name else self.answered).append(msg.destination)
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent


class Planner:
    """Makes plans, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()

    async def plan(self) -> Plan:
        self.made += 1
        await self.gate.wait()
        if self.error:
            raise self.error
        return Plan(CHANGES)


def planners() -> tuple[Planners, Bus, Planner]:
    bus, planner = Bus(), Planner()
    either: Any = bus, planner
    return Planners(*either), bus, planner


def ask(waiting: Planners, sender: str, *, root: bool = False) -> None:
    token = callers.USER.set(Caller(is_root=root))
    call = Message(wire.SERVICE, wire.ROOT, wire.MANAGER, "Plan", sender=sender, serial=1)
    assert waiting.take(call)
    callers.USER.reset(token)


async def ended(waiting: Planners) -> None:
    assert waiting._task is not None
    with suppress(asyncio.CancelledError):
        await waiting._task


@pytest.mark.parametrize("changes", [0, 1, 4])
@pytest.mark.parametrize("problems", [0, 1, 2])
@pytest.mark.parametrize("withheld", [0, 2])
def test_the_bytes_are_those_of_the_library(changes: int, problems: int, withheld: int) -> None:
    made = Plan(CHANGES[:changes], PROBLEMS[:problems], CHANGES[:withheld])
    body = records.plan(made)
    whole = encode(f"({plans.SIGNATURE})", list(body))
    assert encode_plan(made) == whole


def test_all_who_come_while_one_is_made_share_the_next() -> None:
    async def check() -> None:
        waiting, bus, planner = planners()
        ask(waiting, ":1")
        await asyncio.sleep(0)
        for number in range(2, 50):
            ask(waiting, f":{number}")
        assert planner.made == 1
        planner.gate.set()
        await ended(waiting)
        assert planner.made == 2
        assert bus.answered == [f":{number}" for number in range(1, 50)]

    asyncio.run(check())


def test_root_does_not_wait_until_all_others_are_answered() -> None:
    async def check() -> None:
        waiting, bus, planner = planners()
        planner.gate.set()
        for number in range(50):
            ask(waiting, f":{number}")
        while not bus.answered:
            await asyncio.sleep(0)
        ask(waiting, ":root", root=True)
        await ended(waiting)
        assert ":root" in bus.answered[1:4]
        assert sorted(bus.answered, key=str) == sorted([":root", *(f":{n}" for n in range(50))])

    asyncio.run(check())


@pytest.mark.parametrize("error", [KernelError("get", "eth0", 5), ZeroDivisionError("a bug")])
def test_a_plan_that_fails_is_an_error_for_each_and_the_next_is_made(error: Exception) -> None:
    async def check() -> None:
        waiting, bus, planner = planners()
        planner.gate.set()
        planner.error = error
        ask(waiting, ":1")
        await ended(waiting)
        planner.error = None
        ask(waiting, ":2")
        await ended(waiting)
        assert (bus.errors, bus.answered) == ([":1"], [":2"])

    asyncio.run(check())


def test_other_calls_are_left_to_others() -> None:
    waiting, _, _ = planners()
    for member, path in (("Plan", "/"), ("Reload", wire.ROOT)):
        assert not waiting.take(Message(wire.SERVICE, path, wire.MANAGER, member))
    odd = Message(*(wire.SERVICE, wire.ROOT, wire.MANAGER, "Plan"), signature="u", body=[1])
    assert not waiting.take(odd)
