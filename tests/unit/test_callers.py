"""Whose call has its turn: root's first, then one of each user, and of nobody without an end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

import pytest
from dbus_fast import Message, MessageFlag, MessageType, Variant

from netuned.bus import callers, wire
from netuned.bus.callers import Callers


class Bus:
    """Knows that ``:0.N`` is root and ``:U.N`` the user U; answers nothing before it is told to."""

    def __init__(self) -> None:
        self.callers = Callers(self)
        self.served: list[Message] = []
        self.told: list[Message] = []
        self.is_clogged = False

    async def call(self, msg: Message) -> Message:
        uid = int(msg.body[0].strip(":").partition(".")[0])
        body = [{"UnixUserID": Variant("u", uid)}]
        return Message(message_type=MessageType.METHOD_RETURN, reply_serial=1, body=body,
                       signature="a{sv}")  # fmt: skip

    def send(self, msg: Message) -> asyncio.Future[None]:
        self.told.append(msg)
        return asyncio.get_running_loop().create_future()

    def serve(self, call: Message) -> None:
        self.served.append(call)

    def answer(self) -> None:
        """Answer the call that has waited longest."""
        call = self.served.pop(0)
        self.callers.answered(Message.new_method_return(call), 100)


serials: Iterator[int] = iter(range(1, 1 << 30))


def ask(bus: Bus, sender: str, count: int = 1) -> None:
    for _ in range(count):
        bus.callers.take(
            Message(wire.SERVICE, wire.ROOT, member="Plan", sender=sender, serial=next(serials))
        )


async def settle(bus: Bus) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    while bus.callers._serving is not None and not bus.is_clogged:
        await asyncio.sleep(0.001)


def test_users_have_their_turns_and_each_has_a_bound() -> None:
    async def check() -> None:
        bus = Bus()
        ask(bus, ":7.1", 200)
        ask(bus, ":8.1", 20)
        await settle(bus)
        senders = [call.sender for call in bus.served]
        assert senders == [":7.1", ":8.1"] * 8
        assert len(bus.told) == 100
        assert {refused.error_name for refused in bus.told} == {callers.LIMITS_EXCEEDED}
        bus.answer()
        await settle(bus)
        assert [call.sender for call in bus.served] == [*senders[1:], ":7.1"]

    asyncio.run(check())


def test_who_floods_gets_no_large_answers_until_he_is_done() -> None:
    async def check() -> None:
        bus = Bus()
        ask(bus, ":7.1")
        await settle(bus)
        ask(bus, ":7.1", callers.FLOOD + 2 * callers.WAITING_MOST[False])
        await settle(bus)
        assert [call.sender for call in bus.served] == [":7.1"], "the one before"
        assert bus.callers._users[7].waiting == deque()
        ask(bus, ":7.1")
        await settle(bus)
        assert len(bus.served) == 2

    asyncio.run(check())


def test_root_waits_for_nobody() -> None:
    async def check() -> None:
        bus = Bus()
        for user in range(1, 30):
            ask(bus, f":{user}.1", 100)
        await settle(bus)
        assert len(bus.served) == callers.OTHERS_BUSY_MOST
        bus.served.clear()
        bus.is_clogged = True
        ask(bus, ":0.1", 200)
        while len(bus.served) < 100:
            await asyncio.sleep(0)
        assert {call.sender for call in bus.served} == {":0.1"}
        bus.callers.close()

    asyncio.run(check())


def test_names_that_left_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "KNOWN_MOST", 10)

    async def check() -> None:
        bus = Bus()
        for name in range(100):
            ask(bus, f":{name}.1")
            await settle(bus)
            bus.answer()
            assert len(bus.callers._senders) <= 11
            assert len(bus.callers._users) <= 12
        assert bus.callers._busy == {}

    asyncio.run(check())


def test_what_nobody_awaits_is_counted_while_it_is_at_work() -> None:
    async def check() -> None:
        bus, ended = Bus(), asyncio.Event()

        async def work() -> None:
            with bus.callers.at_work():
                await ended.wait()

        def serve(call: Message) -> None:
            tasks.append(asyncio.create_task(work()))

        tasks: list[asyncio.Task[None]] = []
        bus.serve = serve  # type: ignore[method-assign]
        for _ in range(50):
            call = Message(wire.SERVICE, wire.ROOT, member="Reload", sender=":7.1", serial=1,
                           flags=MessageFlag.NO_REPLY_EXPECTED)  # fmt: skip
            bus.callers.take(call)
        while len(tasks) < callers.BUSY_MOST[False]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(4 * callers.SLICE_S)
        assert len(tasks) == callers.BUSY_MOST[False]
        ended.set()
        while len(tasks) < 50:
            await asyncio.sleep(0.001)
        bus.callers.close()

    asyncio.run(check())
