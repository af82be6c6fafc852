"""How fast a card and its partner can be: the modes of a link, as far as both ends tell them.

Source: Documentation/networking/ethtool-netlink.rst, LINKMODES_GET; net/ethtool/linkmodes.c;
include/uapi/linux/ethtool.h, enum ethtool_link_mode_bit_indices.
"""

from __future__ import annotations

from netuned.kernel.features import BITS, number
from netuned.kernel.messages import LINK_MODES
from netuned.kernel.tables import GENERIC_HEADER

_BITS_OF = {
    10: (0, 1, 92),
    100: (2, 3, 67, 90, 91),
    1000: (4, 5, 17, 41, 68),
    2500: (15, 47),
    5000: (48,),
    10_000: (12, *range(18, 21), *range(42, 47)),
    20_000: (21, 22),
    25_000: (31, 32, 33),
    40_000: range(23, 27),
    50_000: (34, 35, 40, *range(52, 57)),
    56_000: range(27, 31),
    100_000: (*range(36, 40), *range(57, 62), *range(75, 80)),
    200_000: (*range(62, 67), *range(80, 85)),
    400_000: (*range(69, 74), *range(85, 90)),
    800_000: range(93, 99),
}
"""Mbit/s -> the modes of that speed. Newer ones are faster still."""
_SPEED = {bit: mbps for mbps, bits in _BITS_OF.items() for bit in bits}
_UNKNOWN = (1 << 32) - 1


def decode(payload: bytes) -> dict[str, int]:
    """What an answer tells: ``autoneg``, ``speed``, and ``common``, all in Mbit/s.

    ``common`` is the fastest that both ends can do, 0 where the partner tells nothing, as without
    negotiation. Raises: ValueError, LookupError.
    """
    found = LINK_MODES.table.raw(payload, GENERIC_HEADER)
    numbers = LINK_MODES.table.numbers(payload, GENERIC_HEADER)
    ours = number(BITS.raw(found["ours"]).get("mask", b"")) if "ours" in found else 0
    peer = number(BITS.raw(found["peer"]).get("value", b"")) if "peer" in found else 0
    speed = numbers.get("speed", _UNKNOWN)
    both = ours & peer
    return {
        "autoneg": numbers.get("autoneg", 0),
        "speed": 0 if speed == _UNKNOWN else speed,
        "common": max((_SPEED[bit] for bit in _SPEED if both >> bit & 1), default=0),
    }
