"""Messages as netunedctl reads them: variants are their values, and most is read when asked for.

jeepney reads the signature of every variant anew and everything that is in it; of all settings'
values and last changes, most of an answer, a screen shows none.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from jeepney import HeaderFields, Message, Parser
from jeepney.low_level import (
    Array,
    Endianness,
    Header,
    Struct,
    Variant,
    padding,
    parse_signature,
)

from netuned.bus import wire

_LATER, _LATER_LIST = "a{sv}", "aa{sv}"


class Unpacker(Parser):  # type: ignore[misc]  # jeepney has no types
    """Reads messages out of what came over the socket."""

    def get_next_message(self) -> Message | None:
        """One message, if it is there whole."""
        if self.bytes_desired() > 0:
            return None
        raw = self.buf.read(self.next_msg_size)
        self.next_msg_size: int | None = None
        header, pos = Header.from_buffer(raw)
        pos += padding(pos, 8)
        signature = header.fields.get(HeaderFields.signature, "")
        body, _ = _tree(f"({signature})").parse_data(raw, pos, header.endianness)
        return Message(header, body)


class Later(Mapping[str, Any]):
    """An ``a{sv}`` that is read when it is asked for something."""

    __slots__ = ("_at", "_read")

    def __init__(self, raw: bytes, pos: int, endianness: Endianness) -> None:
        self._at = raw, pos, endianness
        self._read: dict[str, Any] | None = None

    def _values(self) -> dict[str, Any]:
        if self._read is None:
            self._read = _tree(_LATER).parse_data(*self._at)[0]
        return self._read

    def __getitem__(self, key: str) -> Any:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())


class LaterList:
    """An ``aa{sv}`` that is read when it is gone through."""

    __slots__ = ("_at",)

    def __init__(self, raw: bytes, pos: int, endianness: Endianness) -> None:
        self._at = raw, pos, endianness

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(_tree(_LATER_LIST).parse_data(*self._at)[0])


class _Value(Variant):  # type: ignore[misc]  # jeepney has no types
    """A variant without its signature."""

    def parse_data(
        self, buf: bytes, pos: int, endianness: Endianness, fds: tuple[int, ...] = ()
    ) -> tuple[Any, int]:
        size = buf[pos]
        signature = buf[pos + 1 : pos + 1 + size].decode()
        pos += size + 2
        if signature == "s":
            return _text(buf, pos, endianness)
        if signature == _LATER:
            size, start = _size(buf, pos, endianness)
            return Later(buf, pos, endianness), start + -start % 8 + size
        if signature == _LATER_LIST:
            size, start = _size(buf, pos, endianness)
            return LaterList(buf, pos, endianness), start + size
        value, pos = _tree(signature).parse_data(buf, pos, endianness, fds)
        return None if signature == wire.NOTHING else value, pos


class _Record(Array):  # type: ignore[misc]  # jeepney has no types
    """An ``a{sv}``, of which most of an answer is made."""

    def parse_data(
        self, buf: bytes, pos: int, endianness: Endianness, fds: tuple[int, ...] = ()
    ) -> tuple[dict[str, Any], int]:
        size, pos = _size(buf, pos, endianness)
        pos += -pos % 8
        end = pos + size
        record: dict[str, Any] = {}
        while pos < end:
            key, pos = _text(buf, pos + -pos % 8, endianness)
            record[key], pos = _VALUE.parse_data(buf, pos, endianness, fds)
        return record, end


_VALUE = _Value()
_SIZE = {Endianness.little: struct.Struct("<I"), Endianness.big: struct.Struct(">I")}


def _size(buf: bytes, pos: int, endianness: Endianness) -> tuple[int, int]:
    """The length of a text or an array, and where it begins or its padding does."""
    pos += -pos % 4
    return _SIZE[endianness].unpack_from(buf, pos)[0], pos + 4


def _text(buf: bytes, pos: int, endianness: Endianness) -> tuple[str, int]:
    size, pos = _size(buf, pos, endianness)
    return buf[pos : pos + size].decode(), pos + size + 1


@functools.cache
def _tree(signature: str) -> Any:
    """What reads this type."""
    return _without_signatures(parse_signature(list(signature)))


def _without_signatures(kind: Any) -> Any:
    if isinstance(kind, Variant):
        return _VALUE
    if kind == _PLAIN_RECORD:
        return _Record(kind.elt_type)
    if isinstance(kind, Array):
        kind.elt_type = _without_signatures(kind.elt_type)
    elif isinstance(kind, Struct):
        kind.fields = [_without_signatures(field) for field in kind.fields]
    return kind


_PLAIN_RECORD = parse_signature(list(_LATER))
