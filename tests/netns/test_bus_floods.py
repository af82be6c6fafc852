"""A local user who floods netuned: drift is repaired, root is answered, memory has a bound."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest
from jeepney import HeaderFields, Message, MessageType
from jeepney.io.blocking import DBusConnection

from netuned.bus import callers, connection, wire
from netuned.bus.connection import Connection
from netuned.hardware.nic import HOST
from netuned.plan import Plan
from tests.netns.bus_fixtures import (
    EMPTY,
    NOBODY,
    PLAN,
    STATUS,
    PrivateBus,
    Served,
    private_bus,
    served,
    wait_for,
)
from tests.netns.flooding import call, flooded
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

QUEUES = 16
MEMORY_MB = 40
"""What a flood may cost the daemon; each of the parts that have a bound stays far below."""
FEW_S = 15
"""Until something is seen that takes milliseconds, on a machine where others work, too."""

PING = call("Ping", interface="org.freedesktop.DBus.Peer")
READ = call("GetManagedObjects", interface=wire.OBJECT_MANAGER)

PROFILE = """\
match: [{kind: veth, name: lan0}]
rps: {cpus: 0}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=QUEUES)
        made.profile("edge", PROFILE)
        made.start()
        made.wait_state("lan0", "in-sync")
        yield made


queues = count()


@pytest.mark.parametrize(
    "name",
    [
        *("Plan unanswered", "Plan unread", "Reload refused"),
        *("everything unread", "32 MB argument", "variants"),
    ],
)
def test_a_flood_stops_neither_repairs_nor_root(lab: Lab, name: str) -> None:
    assert lab.daemon is not None
    process = psutil.Process(lab.daemon.pid)
    before = process.memory_info().rss
    # Another queue each time: who changes one again and again is held back
    queue = f"rx-{next(queues) % QUEUES}"
    mask = Path(f"/proc/{process.pid}/root/sys/class/net/lan0/queues/{queue}/rps_cpus")
    address = lab.environment["DBUS_SYSTEM_BUS_ADDRESS"]
    with lab.asking() as root, flooded(address, name):
        time.sleep(0.3)
        mask.write_text("0")
        lab.wait(lambda: int(mask.read_text().replace(",", ""), 16) == 1, "the repair", FEW_S)
        root.reconcile("lan0")
        gained = (process.memory_info().rss - before) / 1e6
    assert gained < MEMORY_MB
    lab.wait_state("lan0", "in-sync")


@pytest.fixture(scope="module")
def bus() -> Iterator[PrivateBus]:
    with private_bus() as made:
        yield made


@contextmanager
def as_nobody(bus: PrivateBus) -> Iterator[DBusConnection]:
    """A connection of another user's; the test goes on as root."""
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        connection = bus.connect()
    finally:
        os.setresuid(0, 0, 0)
    with connection:
        yield connection


def answers(connection: DBusConnection, count: int) -> list[Message]:
    """The next answers, of any kind."""
    found: list[Message] = []
    while len(found) < count:
        message = connection.receive(timeout=FEW_S)
        if message.header.message_type is not MessageType.signal:
            found.append(message)
    return found


def of(service: Served) -> Connection:
    """The service's connection to the bus; it has it a moment after it has its name."""
    wait_for(lambda: vars(service.service)["_bus"], "the connection", FEW_S)
    bus: Connection = vars(service.service)["_bus"]
    return bus


def test_all_who_ask_at_once_share_a_plan(bus: PrivateBus) -> None:
    begun = []

    async def plan() -> Plan:
        begun.append(PLAN)
        await asyncio.sleep(0.2)
        return PLAN

    with served(bus, STATUS) as service, bus.connect() as asking:
        service.controller.plan = plan  # type: ignore[method-assign]
        for _ in range(50):
            asking.send(call("Plan"))
        changes = [len(answer.body[0]) for answer in answers(asking, 50)]
    assert changes == [len(PLAN.changes)] * 50
    assert len(begun) < 5  # not all were sent before the first was begun


def test_who_is_over_a_bound_is_told_and_root_is_served(bus: PrivateBus) -> None:
    more = 5

    async def never() -> Plan:
        await asyncio.sleep(3600)
        return PLAN

    with served(bus, STATUS) as service, as_nobody(bus) as many, bus.connect() as root:
        service.controller.plan = never  # type: ignore[method-assign]
        many.send_and_get_reply(PING, timeout=FEW_S)
        for _ in range(callers.WAITING_MOST[False] + callers.BUSY_MOST[False] + more):
            many.send(call("Plan"))
        refused = answers(many, more)
        assert len(root.send_and_get_reply(READ, timeout=FEW_S).body[0]) == len(STATUS.nics)
    names = {refusal.header.fields[HeaderFields.error_name] for refusal in refused}
    assert names == {callers.LIMITS_EXCEEDED}


def test_who_does_not_read_is_answered_when_he_reads(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "UNREAD_MOST", 1 << 18)
    with served(bus, STATUS) as service, as_nobody(bus) as deaf, bus.connect() as root:
        for _ in range(100):
            deaf.send(READ)
        table = of(service).callers
        wait_for(lambda: any(map(table._is_deaf, table._users.values())), "too much", FEW_S)
        assert len(root.send_and_get_reply(READ, timeout=FEW_S).body[0]) == len(STATUS.nics)
        assert len(table._turns) == 1, "some of it waits"
        kinds = {answer.header.message_type for answer in answers(deaf, 100)}
    assert kinds == {MessageType.method_return}


def test_a_bus_that_takes_nothing_is_left(bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STUCK_S", 0.2)
    assert bus._daemon is not None
    with served(bus, EMPTY) as service:
        first = of(service)
        bus._daemon.send_signal(signal.SIGSTOP)
        try:
            large = "x" * 1_000_000  # more than a socket holds
            service.do(lambda: service.service.drift(HOST.ifindex, large, "", "", ""))
            wait_for(lambda: not first.connected, "that it is left", FEW_S)
        finally:
            bus._daemon.send_signal(signal.SIGCONT)
        wait_for(lambda: of(service) is not first, "a new connection", FEW_S)
