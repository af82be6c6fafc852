"""Values as programs read them: plain data, that D-Bus carries and netunedctl unpacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, get_args

import pytest
from dbus_fast import Variant
from jeepney import Endianness, Header, HeaderFields, MessageType

from netuned.bus import records, wire
from netuned.bus.connection import encode
from netuned.bus.unpacking import Later, Unpacker
from netuned.cpuset import CpuSet
from netuned.kernel.hashing import key_of
from netuned.plan import WHY_WITHHELD, Change, Plan, Problem
from netuned.status import Applied, ProfileStatus, QueueStatus, SettingStatus
from netuned.tunables import TUNABLES
from netuned.tunables.base import Tunable
from netuned.valuejson import Typed, typed
from netuned.values import (
    ABSENT,
    Absent,
    Balancer,
    ChannelCounts,
    Exclusion,
    FlowRule,
    FlowTable,
    HashKey,
    Number,
    Qdisc,
    RssTable,
    State,
    Sysctl,
    Told,
    Value,
    Word,
)

EXCLUDED = Exclusion("exclude", frozenset({"/sys/devices/a"}), frozenset({25, 24}))

TYPED: dict[type[Value], dict[Value, object]] = {
    CpuSet: {CpuSet(): [], CpuSet.of([0, 1, 70]): [0, 1, 70]},
    ChannelCounts: {
        ChannelCounts(0, 0, 8): {"combined": 8},
        ChannelCounts(2, 4, 0): {"rx": 2, "tx": 4},
        ChannelCounts(0, 0, 0): {},
    },
    RssTable: {
        RssTable((0, 1, 1, 5)): {"entries": 4, "queues": [0, 1, 5], "weights": [1, 2, 1]},
        RssTable((), 8): {"entries": 0, "queues": [], "weights": []},
    },
    FlowTable: {FlowTable(0): 0, FlowTable(32768): 32768},
    Qdisc: {
        Qdisc("fq"): "fq",
        Qdisc("fq_codel", default=True): "fq_codel",
        Qdisc("", default=True): "default",
    },
    Number: {Number(-1): -1, Number(50, "µs"): 50, Number((1 << 64) - 1): (1 << 64) - 1},
    Word: {Word("on"): "on"},
    FlowRule: {
        FlowRule("tcp4", (("dport", "443"),), "drop"): {
            "proto": "tcp4",
            "dport": "443",
            "to": "drop",
        }
    },
    HashKey: {key_of(b"m" * 40): "40 bytes (29402bd0)"},
    Sysctl: {
        Sysctl("300"): 300,
        Sysctl("-1"): -1,
        Sysctl("4096 131072 33554432"): [4096, 131072, 33554432],
        Sysctl("9" * 19): int("9" * 19),
        Sysctl("9" * 20): "9" * 20,
        Sysctl("1 4294967296"): "1 4294967296",
        Sysctl("-1 5"): "-1 5",
        Sysctl("²"): "²",
        Sysctl("fq"): "fq",
        Sysctl(""): "",
        Sysctl("5", ">="): ">=5",
    },
    Exclusion: {
        Exclusion("stop"): {"mode": "stop", "interrupts": []},
        EXCLUDED: {"mode": "exclude", "interrupts": [24, 25]},
    },
    Balancer: {
        Balancer(EXCLUDED, running=False): {"process": "not running", "interrupts": []},
        Balancer(EXCLUDED, True, True, frozenset({1, 25})): {
            "process": "running",
            "interrupts": [25],
        },
    },
    Absent: {ABSENT: None},
}
"""Values of every type, and each as programs read it."""

CASES = [(value, data) for values in TYPED.values() for value, data in values.items()]


def message(signature: str, *body: object) -> bytes:
    """A message with this body, as dbus-fast encodes it."""
    encoded = encode(f"({signature})", list(body)) if signature else b""
    fields = {HeaderFields.path: "/x", HeaderFields.interface: "x.y", HeaderFields.member: "Z"}
    if signature:
        fields[HeaderFields.signature] = signature
    kind = MessageType.signal
    head = Header(Endianness.little, kind, 0, 1, len(encoded), 1, fields).serialise()
    return bytes(head + bytes(-len(head) % 8) + encoded)


def carried(signature: str, *body: object) -> Any:
    """What netunedctl reads of a message with this body."""
    (read,) = Unpacker().feed(message(signature, *body))
    return read.body


def plain(data: object) -> object:
    """As JSON has it."""
    return json.loads(json.dumps(data, default=dict))


def check_types(shown: Any) -> None:
    """Raises: SignatureBodyMismatchError where a variant's value is not of its type."""
    if isinstance(shown, Variant):
        Variant(shown.signature, shown.value)
        check_types(shown.value)
    elif isinstance(shown, Mapping):
        for each in shown.values():
            check_types(each)
    elif isinstance(shown, list | tuple):
        for each in shown:
            check_types(each)


def test_every_type_of_value_is_here() -> None:
    assert set(TYPED) == set(get_args(Value))


@pytest.mark.parametrize(("value", "data"), CASES, ids=lambda case: str(case)[:40])
def test_a_value_is_plain_data_and_travels(value: Value, data: object) -> None:
    assert typed(value) == data
    shown = records.value(typed(value))
    check_types(shown)
    assert plain(carried("v", shown)[0]) == data


@pytest.mark.parametrize("tunable", TUNABLES, ids=lambda tunable: tunable.name)
def test_whatever_a_tunable_holds_travels_as_a_setting(tunable: Tunable) -> None:
    samples = [(value, data) for kind in tunable.holds for value, data in TYPED[kind].items()]
    assert samples
    state = {f"key-{number}": value for number, (value, _) in enumerate(samples)}
    values = Typed(state)
    change = Applied(1.5, tunable.name, "key-0", "a", "b", "drift", None, samples[0][1])
    setting = SettingStatus(
        tunable.name, "in-sync", "x", "x", "", values, values, 3, 2, 1, last_change=change
    )
    shown = records.settings([setting])
    check_types(shown)
    (settings,) = carried("a{sa{sv}}", shown)
    read = settings[tunable.name]
    assert isinstance(read["WantedValues"], Later)
    expected = {f"key-{number}": data for number, (_, data) in enumerate(samples)}
    assert plain(read["WantedValues"]) == plain(read["FoundValues"]) == expected
    assert (read["Writes"], read["Repairs"], read["Failures"]) == (3, 2, 1)
    assert plain(read["LastChange"]) == {wire.key(k): v for k, v in asdict(change).items()}


def test_every_record_is_of_the_types_that_its_table_says() -> None:
    shown = (
        (QueueStatus("rx", 0, -1, "4", "0-1", "", "fq"), wire.QUEUE),
        (SettingStatus("rps", "in-sync", "\udcff"), wire.SETTING),
        (Applied(1.5, "rps", "rx-0", "0", "1", "drift", [0], [1]), wire.APPLIED),
        (ProfileStatus("a", "b", "c", -1, template=True, cards=("\udcff",)), wire.PROFILE),
    )
    for data, table in shown:
        check_types(records.record(data, table))


def test_states_are_compared_not_their_data() -> None:
    state: State = {"rx-0": CpuSet.of([1])}
    assert Typed(state) == Typed(dict(state))
    assert Typed(state) != Typed({"rx-0": CpuSet.of([2])})
    assert Typed(state) == {"rx-0": [1]}
    assert (dict(Typed(state)), len(Typed(state))) == ({"rx-0": [1]}, 1)


def test_what_was_told_keeps_its_data_and_is_compared_by_its_text() -> None:
    told = Told("0-1", [0, 1])
    assert (str(told), typed(told)) == ("0-1", [0, 1])
    assert {told} == {Told("0-1", [7])}


def changes() -> Iterator[Change]:
    for value, _ in CASES:
        yield Change("en0", "rps", "rx-0", value, value, "off")
    yield Change("en0", "rps", "rx-0", None, CpuSet(), "off")


def test_a_plan_travels_with_its_values() -> None:
    made = Plan(tuple(changes()), (Problem("en0", "no"),), tuple(changes()))
    body = records.plan(made)
    check_types(body)
    texts, problems, values, withheld = carried("a(ssssssb)a(ss)a(vv)a(ssssssbvvs)", *body)
    assert problems == [("en0", "no")]
    expected = [(typed(change.before), typed(change.after)) for change in made.changes]
    assert [tuple(map(plain, pair)) for pair in values] == expected
    assert [(*text, *map(plain, pair), WHY_WITHHELD) for text, pair in zip(texts, values)] == [  # noqa: B905
        (*text, plain(before), plain(after), why) for *text, before, after, why in withheld
    ]
    assert texts[-1][3:5] == ("", "none")


def test_messages_come_in_pieces() -> None:
    raw = message("") + message("s", "text")
    reader = Unpacker()
    read = [found for at in range(len(raw)) for found in reader.feed(raw[at : at + 1])]
    assert [found.body for found in read] == [(), ("text",)]
