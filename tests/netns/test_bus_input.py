"""Odd calls to a real daemon on a real bus: each is refused in a sentence, and nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest
from jeepney import DBusAddress, HeaderFields, Message, MessageFlag, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from netuned.bus import wire
from netuned.text import escape
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

PROFILE = """\
match: [{kind: veth, name: lan0}]
rps: {cpus: 0}
qdisc: {kind: pfifo, limit: 500}
"""
STANDARD = "org.freedesktop.DBus"
CLIENTS = 20

NAMES = (
    *("nope", "lan0\n", "\x1b[2J", "/etc/passwd", "../lan0", "..", " ", "*", "%s%n", "lan0;reboot"),
    *("lan0\u202e", "\ufffd", "é" * 15, "\\xff", "e" * 61, "e" * 65536, "-1", "2"),
)
IDS = (*NAMES, "", "ABCDEF", "a1b2c3", "0" * 17)
TUNABLES = (*NAMES, "channels ", "CHANNELS", "nothing")
TIMEOUTS = (0, 3601, 1 << 31, (1 << 32) - 1)
PATHS = (wire.ROOT, f"{wire.ROOT}/nic", wire.nic_path(0), f"{wire.ROOT}/nic/x", "/", "/org")


def call(
    member: str, signature: str, *body: object, path: str = wire.ROOT, interface: str = wire.MANAGER
) -> Message:
    return new_method_call(DBusAddress(path, wire.SERVICE, interface), member, signature, body)


def _refused() -> Iterator[Message]:
    """Calls that have no right answer."""
    for member, name in product(("Reconcile", "Pause", "Resume"), NAMES):
        yield call(member, "s", name)
    for name in NAMES:
        yield call("Try", "su", name, 60)
        yield call("Restore", "ss", name, "rps")
    for name, timeout_s in product(("lan0", ""), TIMEOUTS):
        yield call("Try", "su", name, timeout_s)
    for name in TUNABLES:
        yield call("Restore", "ss", "lan0", name)
    for id in IDS:
        if id:  # "" rolls back whatever waits
            yield call("Rollback", "s", id)
        yield call("Confirm", "s", id)
    wrong = (("s", "lan0"), ("u", 1), ("as", ["lan0"]), ("v", ("s", "lan0")), ("sss", *"abc"))
    for member, (signature, *body) in product(wire.ACTIONS, wrong):
        if (member, signature) not in {(taker, "s") for taker in ("Reconcile", "Pause", "Resume")}:
            yield call(member, signature, *body)
    for member, path in product(wire.ACTIONS, PATHS[1:]):
        yield call(member, "s", "lan0", path=path)
    for member in wire.ACTIONS:
        yield call(member, "s", "lan0", interface=wire.NIC)
        yield call(member, "s", "lan0", interface=f"{STANDARD}.Peer")
    for name in ("Version", "State", "Nope", "", "e" * 65536):
        yield call(
            *("Set", "ssv", wire.MANAGER, name, ("s", "x")), interface=f"{STANDARD}.Properties"
        )
    yield call("Get", "ss", wire.MANAGER, "Nope", interface=f"{STANDARD}.Properties")
    yield call("Nope", "", interface=f"{STANDARD}.Properties")
    for path in PATHS[1:]:
        yield call("GetManagedObjects", "", path=path, interface=f"{STANDARD}.ObjectManager")
    yield call("GetManagedObjects", "s", "x", interface=f"{STANDARD}.ObjectManager")


REFUSED = tuple(_refused())


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        made.profile("edge", PROFILE)
        made.start()
        made.wait_state("lan0", "in-sync")
        yield made


def connect(lab: Lab) -> DBusConnection:
    return open_dbus_connection(lab.environment["DBUS_SYSTEM_BUS_ADDRESS"])


def state(lab: Lab) -> tuple[str, str, str, object]:
    """What the kernel has, what is on disk, what is in the log, and what the daemon shows."""
    kernel = "tc qdisc show dev lan0; grep -H . /sys/class/net/lan0/queues/*/?ps_*"
    kept = f"cd {lab.directory}/state && grep -rH ."
    return lab.shell(kernel), lab.shell(kept), lab.logged(), lab.status()


def test_every_odd_call_is_refused_in_a_sentence_and_changes_nothing(lab: Lab) -> None:
    before = state(lab)
    with connect(lab) as connection:
        for message in REFUSED:
            reply = connection.send_and_get_reply(message, timeout=10)
            fields = message.header.fields
            said = f"{fields[HeaderFields.member]}{message.body!r:.100} on {fields}"
            assert reply.header.message_type is MessageType.error, said
            name = reply.header.fields[HeaderFields.error_name]
            assert name.startswith((f"{wire.SERVICE}.Error.", f"{STANDARD}.Error.")), (name, said)
            if fields[HeaderFields.interface] == wire.MANAGER:
                (sentence,) = reply.body
                assert escape(sentence) == sentence, said
                assert 0 < len(sentence) < 300, said
    assert state(lab) == before


def test_nobody_hears_of_what_nobody_waits_for(lab: Lab) -> None:
    before = state(lab)
    with connect(lab) as connection:
        for message in REFUSED:
            message.header.flags |= MessageFlag.no_reply_expected
            connection.send(message)
            message.header.flags &= ~MessageFlag.no_reply_expected
        ping = call("Ping", "", interface=f"{STANDARD}.Peer")

        def answered() -> bool:
            """Not refused, for as many wait already as one may have waiting."""
            reply = connection.send_and_get_reply(ping, timeout=10)
            return reply.header.message_type is MessageType.method_return

        lab.wait(answered, "an answer to who waits for one")
    assert state(lab) == before


def test_many_at_once_are_each_answered_once(lab: Lab) -> None:
    before = state(lab)
    connections = [connect(lab) for _ in range(CLIENTS)]
    small = [message for message in REFUSED if len(repr(message.body)) < 1000]
    for message in small:
        for connection in connections:
            connection.send(message)
    for connection in connections:
        heard = (connection.receive(timeout=30) for _ in range(len(small) + 1))
        kinds = Counter(message.header.message_type for message in heard)
        assert kinds == {MessageType.error: len(small), MessageType.signal: 1}  # NameAcquired
        connection.close()
    assert state(lab) == before
