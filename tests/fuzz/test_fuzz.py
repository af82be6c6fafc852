"""Every target for a moment, the same inputs each time; ``make fuzz`` goes on for longer."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netuned.kernel.netlink import HEADER
from netuned.profiles import loader
from tests.fuzz.answers import QDISCS
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

EXAMPLES = 150

Edit = tuple[float, int, bytes]
"""Where, as a share of the whole; how many bytes go; what comes."""


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Seeds with a few places changed, and bytes of any kind."""
    pieces = st.binary(max_size=8)
    if target.words:
        pieces |= st.sampled_from(target.words)
    edits = st.tuples(st.floats(0, 1), st.integers(0, 16), pieces)
    changed = st.builds(_edit, st.sampled_from(target.seeds), st.lists(edits, max_size=6))
    return changed | st.lists(pieces, max_size=12).map(b"".join)


def _edit(data: bytes, edits: list[Edit]) -> bytes:
    for share, gone, new in edits:
        at = int(share * len(data))
        data = data[:at] + new + data[at + gone :]
    return data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("CPU set", b"\x1b[31m"),
        ("profile", b"irq:\xc2\x95"),
        ("netuned.yaml", b"# \xef\xbf\xbe"),
        ("described machine", b"cores: 1 # \xc2\x82"),
        ("irqbalance", b"IRQ " + b"9" * 5000 + b" LOAD"),
        ("netlink datagram", b"\0"),
        ("netlink datagram", HEADER.pack(20, 2, 0, 1, 0) + struct.pack("=i", -(1 << 31))),
        ("netlink datagram", HEADER.pack(20, 2, 0, 1, 0) + struct.pack("=i", -22)),
        ("netlink payload", b""),
        ("netlink payload", bytes(20)),
        ("netlink payload", bytes(24)),
        ("netlink payload", QDISCS[0][:20] + b"\7\0\1\0mq\0\0\2\0\2\0"),
        # pyroute2 0.9.7 does not end on this one
        (
            "netlink payload",
            b"\0\0\0\0\2\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0 \0\7\0\1\0mq\0\0\5\0\2\0",
        ),
        ("CPU set", "l3:e&l\u034f3:e".encode()),  # repr shows a blank letter as it is
        ("qdisc options", b"\0\4\0\7\x80"),  # bytes where a number belongs, from pyroute2
        ("qdisc options", b"\0\t\0\x08\x80"),
        ("qdisc options", b"\0\x08\0\x08\0\xff\xff\xff\xff"),  # 2^(2^32 - 1) buckets
    ],
)
def test_what_came_through_once(name: str, data: bytes) -> None:
    (target,) = (target for target in TARGETS if target.name == name)
    target.run(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b"a: &a ["
        + b"0," * 400
        + b"]\n"
        + b"".join(b"b%d: &b%d [*a,*a]\n" % (n, n) for n in range(9)),
        b"".join(b"k%d: 1\n" % number for number in range(1_000_000)),
    ],
    ids=["deep", "aliased", "huge"],
)
def test_hostile_yaml_costs_little(data: bytes) -> None:
    directory = "/etc/netuned/profiles.d"
    tracemalloc.start()
    begin = time.process_time()
    found = loader.load((directory,), recorded={directory: {"edge.yaml": data}})
    took_s, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.errors
    assert took_s < 1
    assert peak < 50 << 20


HOSTILE: tuple[object, ...] = (
    *(None, True, 0, 1, -1, 1 << 31, 1 << 64, 10**400, 1.5, float("nan"), float("inf")),
    *("", "x", "\0", "\x1b[2J", "\u202e", "\ud800", "../..", "e" * 10_000, "0-99999", "9" * 30),
    *([], {}, [[]], {"": {}}, {"absent": True}, [1] * 70_000, ["rps"], [["rps", 5]]),
)


def _replaced(value: Any) -> Iterator[Any]:
    """A document with one of its parts another, or there twice: all there are."""
    yield from HOSTILE
    if isinstance(value, dict):
        for key, part in value.items():
            yield from ({**value, key: other} for other in _replaced(part))
            yield {other: part for other, part in value.items() if other != key}
            yield {**value, "x": part}
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in _replaced(part))
            yield [*value, part]


@pytest.mark.parametrize("name", ["confirm.json", "baseline", "seats", "paused.json"])
def test_no_part_of_a_state_file_is_trusted(name: str) -> None:
    """The checksum tells what was damaged; whoever edits can make that anew, too."""
    (target,) = (target for target in TARGETS if target.name == name)
    document = json.loads(target.seeds[0])
    for other in _replaced(document):
        target.run(json.dumps(other).encode())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_bytes_are_read_or_refused(target: Target) -> None:
    for seed in target.seeds:
        target.run(seed)
    run: Callable[[], None] = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(given(inputs(target))(target.run))
    run()
