"""Tables frame and take apart; what is cut off, of a wrong size or too large is refused."""

from __future__ import annotations

import errno
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netuned.errors import KernelError
from netuned.kernel.messages import COALESCE, MESSAGES, RINGS
from netuned.kernel.netlink import NetlinkSocket
from netuned.kernel.tables import GENERIC_HEADER, Table, Type, frame
from tests.fuzz.answers import _Answers, _attribute, _message

TABLE = Table(
    ("header", 1, Type.NESTED),
    ("small", 2, Type.U8),
    ("number", 3, Type.U32),
    ("wide", 4, Type.UINT),
    ("there", 5, Type.FLAG),
    ("data", 6, Type.BINARY),
    ("name", 7, Type.NUL_STRING),
)


def test_an_attribute_is_framed_by_its_type() -> None:
    assert TABLE.encode({"small": 7}) == struct.pack("=HHBxxx", 5, 2, 7)
    assert TABLE.encode({"number": 7}) == struct.pack("=HHI", 8, 3, 7)
    assert TABLE.encode({"wide": 7}) == struct.pack("=HHI", 8, 4, 7)
    assert TABLE.encode({"wide": 1 << 32}) == struct.pack("=HHQ", 12, 4, 1 << 32)
    assert TABLE.encode({"there": True}) == struct.pack("=HH", 4, 5)
    assert TABLE.encode({"there": False}) == b""
    assert TABLE.encode({"data": b"abc"}) == struct.pack("=HH3sx", 7, 6, b"abc")
    assert TABLE.encode({"name": b"abc"}) == struct.pack("=HH4s", 8, 7, b"abc")
    nest = TABLE.encode({"small": 1})
    assert TABLE.encode({"header": nest}) == struct.pack("=HH", 12, 0x8001) + nest


def test_a_request_has_both_headers() -> None:
    framed = frame(20, 15, 0x300, b"abcd")
    assert struct.unpack("=IHHIIBBH4s", framed) == (24, 20, 0x305, 0, 0, 15, 1, 0, b"abcd")


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("small", 256, errno.ERANGE),
        ("small", -1, errno.ERANGE),
        ("number", 1 << 32, errno.ERANGE),
        ("wide", 1 << 64, errno.ERANGE),
        ("other", 1, errno.EINVAL),
    ],
)
def test_what_cannot_be_sent_is_named(name: str, value: int, number: int) -> None:
    with pytest.raises(KernelError) as caught:
        TABLE.encode({name: value}, "coalesce of ifindex 2")
    assert caught.value == KernelError("set", "coalesce of ifindex 2", number, "", name)


@given(st.dictionaries(st.sampled_from(("small", "number", "wide")), st.integers(0, 255)))
def test_numbers_come_back(values: dict[str, int]) -> None:
    assert TABLE.numbers(TABLE.encode({"data": b"x", **values})) == values


def test_settings_of_every_message_come_back() -> None:
    for message in MESSAGES:
        numbers = {name: at for name, at, kind in message.table.rows if kind in (2, 4, 17)}
        assert message.table.numbers(message.table.encode(dict(numbers))) == numbers
        assert len({at for _, at, _ in message.table.rows}) == len(message.table.rows)


def test_what_a_later_kernel_adds_is_left_out() -> None:
    data = _attribute(99, b"later") + TABLE.encode({"small": 3})
    assert TABLE.numbers(data) == {"small": 3}
    assert TABLE.raw(data) == {"small": b"\3"}


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\4\0\2",
        b"\3\0\2\0",
        b"\x08\0\3\0\1\0\0",
        b"\xff\xff\3\0\1\0\0\0",
        _attribute(2, b""),
        _attribute(2, b"\1\0"),
        _attribute(3, b"\1\0"),
        _attribute(4, b"\1\0\0\0\0\0"),
    ],
)
def test_what_is_cut_off_or_of_another_size_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|has \d bytes"):
        TABLE.numbers(data)


def test_an_answer_shorter_than_its_header_is_refused() -> None:
    for size in range(GENERIC_HEADER):
        with pytest.raises(ValueError, match="cut off"):
            TABLE.numbers(bytes(size), GENERIC_HEADER)


@given(st.binary(max_size=80))
def test_any_bytes_are_numbers_or_refused(data: bytes) -> None:
    for message in MESSAGES:
        try:
            found = message.table.numbers(data, GENERIC_HEADER)
        except ValueError:
            continue
        assert all(type(value) is int and 0 <= value < 1 << 64 for value in found.values())


@given(st.binary(max_size=80), st.integers(0, 1 << 32))
def test_any_offset_is_a_name_or_none(data: bytes, offset: int) -> None:
    assert RINGS.table.name_at(data, offset) in {"", *(name for name, _, _ in RINGS.table.rows)}


def refusal(offset: int, content: bytes) -> KernelError:
    """What becomes of a refusal that points at this place of a request."""
    message = frame(20, COALESCE.set, 0, content)
    tlvs = _attribute(1, b"why not\0") + _attribute(2, offset.to_bytes(4, sys.byteorder))
    answer = _message(2, struct.pack("=i", -errno.EINVAL) + message[:16] + tlvs, 0x300)
    asked: NetlinkSocket = _Answers(answer)
    with pytest.raises(KernelError) as caught:
        asked.request(message, "set", "it", lambda at: COALESCE.table.name_at(message, at))
    return caught.value


def test_a_refusal_has_the_attribute_it_points_at() -> None:
    header = COALESCE.table.encode({"header": b"\0" * 8})
    content = header + COALESCE.table.encode({"adaptive-rx": 1, "tx-usecs": 2})
    assert refusal(20 + 12, content) == KernelError("set", "it", 22, "why not", "adaptive-rx")
    assert refusal(20 + 20, content).attribute == "tx-usecs"
    assert refusal(20 + 20, content).extack == "why not"
    for nothing in (0, 4, 20, 24, 20 + 28, 1 << 31):
        assert refusal(nothing, content).attribute == ""
    said = 'set it: Invalid argument (EINVAL) at tx-usecs: "why not"'
    assert str(refusal(20 + 20, content)) == said
