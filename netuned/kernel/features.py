"""A card's features as the ethtool family has them: sets of bits, whose names the kernel tells.

Which bit is which feature differs between kernels.

Source: Documentation/networking/ethtool-netlink.rst, "Bit sets"; net/ethtool/bitset.c, features.c,
strset.c; include/uapi/linux/ethtool.h, ETH_SS_FEATURES.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Mapping, Sequence

from netuned.errors import KernelError
from netuned.kernel.messages import FEATURES, STRINGS
from netuned.kernel.netlink import ATTRIBUTE, NLA_TYPE_MASK
from netuned.kernel.tables import GENERIC_HEADER, Content, Table, Type

ACTIVE, WANTED, CHANGEABLE = 1, 2, 4
"""What is told of a feature, added up: it is on, it is asked for, it can be set."""

_FEATURE_NAMES = 4

BITS = Table(("size", 2, Type.U32), ("value", 4, Type.BINARY), ("mask", 5, Type.BINARY))
_SETS = Table(("set", 1, Type.NESTED))
_SET = Table(("id", 1, Type.U32), ("strings", 3, Type.NESTED))
_STRING = Table(("index", 1, Type.U32), ("value", 2, Type.NUL_STRING))


def ask_names() -> bytes:
    """What is asked for the names of all bits, beside the header."""
    wanted = _SETS.encode({"set": _SET.encode({"id": _FEATURE_NAMES})})
    return STRINGS.table.encode({"stringsets": wanted})


def decode_names(payload: bytes) -> tuple[str, ...]:
    """The names in the answer, by bit. Raises: ValueError, LookupError."""
    sets = STRINGS.table.raw(payload, GENERIC_HEADER)["stringsets"]
    strings = _SET.raw(_SETS.raw(sets)["set"])["strings"]
    names: dict[int, str] = {}
    at = 0
    while at + ATTRIBUTE.size <= len(strings):
        length, kind = ATTRIBUTE.unpack_from(strings, at)
        if kind & NLA_TYPE_MASK != 1 or length < ATTRIBUTE.size:
            raise ValueError("a name is cut off")
        found = _STRING.raw(strings[at + ATTRIBUTE.size : at + length])
        index = int.from_bytes(found["index"], sys.byteorder)
        names[index] = found["value"].rstrip(b"\0").decode("ascii")
        at += length + 3 & ~3
    return tuple(names[index] for index in range(len(names)))


def decode(payload: bytes, names: Sequence[str]) -> dict[str, int]:
    """What an answer tells of each feature, by name. Raises: ValueError, LookupError."""
    found = FEATURES.table.raw(payload, GENERIC_HEADER)
    hw, wanted, active, fixed = (
        number(BITS.raw(found[name])["value"]) for name in ("hw", "wanted", "active", "nochange")
    )
    return {
        name: (active >> bit & 1) * ACTIVE
        + (wanted >> bit & 1) * WANTED
        + ((hw & ~fixed) >> bit & 1) * CHANGEABLE
        for bit, name in enumerate(names)
        if name
    }


def number(words: bytes) -> int:
    """Bits that the kernel has in words of 32."""
    numbers = struct.unpack(f"={len(words) // 4}I", words)
    return sum(number << 32 * index for index, number in enumerate(numbers))


def _words(number: int, size: int) -> bytes:
    numbers = (number >> at & 0xFFFFFFFF for at in range(0, size, 32))
    return b"".join(struct.pack("=I", number) for number in numbers)


def encode(values: Mapping[str, int], names: Sequence[str]) -> bytes:
    """What asks for features: name -> 0 or 1.

    Raises: KernelError (EINVAL) with the ``attribute`` for one that this kernel does not have.
    """
    value = mask = 0
    for name, number in values.items():
        if name not in names:
            raise KernelError("set", "features", errno.EINVAL, "", name)
        bit = names.index(name)
        mask |= 1 << bit
        value |= (number & 1) << bit
    size = len(names)
    bits: dict[str, Content] = {
        "size": size,
        "value": _words(value, size),
        "mask": _words(mask, size),
    }
    return FEATURES.table.encode({"wanted": BITS.encode(bits)})
