"""Flow rules of a card (ntuple filters), as the ioctl has them.

A rule stands at a location of the card's table, and of those that match a packet the lowest counts
on most cards.

Source: include/uapi/linux/ethtool.h, ``struct ethtool_rxnfc``, ``struct ethtool_rx_flow_spec``.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from netuned.records import dataclass
from netuned.regex import regex
from netuned.values import FlowRule

SIZE = 192
MOST = 1 << 16
"""Rules of a card: more than any has."""
HEAD = struct.Struct("=IIQ")
COUNT_AT = 184
LOCATIONS_AT = 188
_FLOW_AT, _VALUES_AT, _MASKS_AT, _COOKIE_AT, LOCATION_AT = 16, 20, 92, 168, 176
_HEADERS = 52
"""Bytes of the headers' values, and of their masks; behind each is the rest, ``flow_ext``."""
_WHOLE = 72
_FLOW_EXT, _FLOW_RSS = 0x80000000, 0x20000000
_DROP, _WAKE = (1 << 64) - 1, (1 << 64) - 2

_V4 = {"src": (0, 4), "dst": (4, 4), "sport": (8, 2), "dport": (10, 2)}
_V6 = {"src": (0, 16), "dst": (16, 16), "sport": (32, 2), "dport": (34, 2)}
_VLAN = {"vlan": (_HEADERS + 10, 2)}
_ADDRESSES = ("src", "dst")
PROTOS: Mapping[str, tuple[int, Mapping[str, tuple[int, int]]]] = {
    **{name: (number, _V4 | _VLAN) for name, number in (("tcp4", 1), ("udp4", 2), ("sctp4", 3))},
    **{name: (number, _V6 | _VLAN) for name, number in (("tcp6", 5), ("udp6", 6), ("sctp6", 7))},
    "ip4": (0x0D, {name: _V4[name] for name in _ADDRESSES} | _VLAN),
    "ip6": (0x0E, {name: _V6[name] for name in _ADDRESSES} | _VLAN),
    "ether": (0x12, {"dst": (0, 6), "src": (6, 6), "type": (12, 2)} | _VLAN),
}
"""By name the kernel's number of a kind of packet, and where its fields are and how long."""

_OWN_TARGET = regex(r"drop|(queue|context) [0-9]+", re.ASCII)
_IP_VERSION_AT = 13
"""Of ip4: the kind of header that is meant, ETH_RX_NFC_IP4."""
_VLAN_ID = 0x0FFF


@dataclass(frozen=True, slots=True)
class RuleTable:
    """How many rules a card's table has room for, and those that are in it by location."""

    size: int
    rules: Mapping[int, FlowRule]


def is_writable(rule: FlowRule) -> bool:
    """Whether ``encode`` can say it: others' rules are read that netuned has no words for."""
    return rule.proto in PROTOS and _OWN_TARGET.fullmatch(rule.to) is not None


def encode(command: int, location: int, rule: FlowRule) -> bytes:
    """The ioctl's argument that inserts a rule that ``is_writable``."""
    number, fields = PROTOS[rule.proto]
    request = bytearray(SIZE)
    struct.pack_into("=I", request, 0, command)
    if rule.proto == "ip4":
        request[_VALUES_AT + _IP_VERSION_AT] = 1
    for name, text in rule.match:
        at, size = fields[name]
        value, mask = _packed(name, text, size)
        request[_VALUES_AT + at : _VALUES_AT + at + size] = value
        request[_MASKS_AT + at : _MASKS_AT + at + size] = mask
        if name in _VLAN:
            number |= _FLOW_EXT
    kind, _, said = rule.to.partition(" ")
    if kind == "context":
        number |= _FLOW_RSS
        struct.pack_into("=I", request, COUNT_AT, int(said))
    cookie = int(said) if kind == "queue" else {"drop": _DROP, "context": 0}[kind]
    struct.pack_into("=I", request, _FLOW_AT, number)
    struct.pack_into("=QI", request, _COOKIE_AT, cookie, location)
    return bytes(request)


def _packed(name: str, text: str, size: int) -> tuple[bytes, bytes]:
    if size == 6:
        return bytes.fromhex(text.replace(":", "")), b"\xff" * 6
    if size in (4, 16):
        network = ip_network(text)
        return network.network_address.packed, network.netmask.packed
    mask = _VLAN_ID if name in _VLAN else 0xFFFF
    return int(text, 0).to_bytes(2, "big"), mask.to_bytes(2, "big")


def decode(answer: bytes) -> FlowRule:
    """The rule in the ioctl's answer; of one that netuned has no words for, what tells it apart."""
    (flow,) = struct.unpack_from("=I", answer, _FLOW_AT)
    (cookie,) = struct.unpack_from("=Q", answer, _COOKIE_AT)
    (context,) = struct.unpack_from("=I", answer, COUNT_AT)
    to = _target(cookie, context if flow & _FLOW_RSS else None)
    values = answer[_VALUES_AT : _VALUES_AT + _WHOLE]
    masks = answer[_MASKS_AT : _MASKS_AT + _WHOLE]
    plain = flow & ~(_FLOW_RSS | _FLOW_EXT)
    named = next(((p, fields) for p, (n, fields) in PROTOS.items() if n == plain), None)
    if named:
        proto, fields = named
        match = {}
        rest = bytearray(masks)
        for name, (at, size) in fields.items():
            mask = masks[at : at + size]
            if any(mask) and (text := _text(name, values[at : at + size], mask)):
                match[name] = text
                rest[at : at + size] = bytes(size)
        if not any(rest):
            return FlowRule(proto, tuple(match.items()), to)
    form = f"{zlib.crc32(bytes((*values, *masks))):08x}"
    return FlowRule(f"{plain:#x}", (("form", form),), to)


def _target(cookie: int, context: int | None) -> str:
    """Where packets go, as ethtool says it; with a context, a queue is counted from its first."""
    if cookie in (_DROP, _WAKE):
        return "drop" if cookie == _DROP else "wake"
    queue, function = cookie & 0xFFFFFFFF, cookie >> 32
    if function > 0xFF:
        return f"{cookie:#x}"
    words = [f"vf {function - 1}"] if function else []
    words += [] if context is None else [f"context {context}"]
    words += [f"queue {queue}"] if queue or context is None else []
    return " ".join(words)


def _text(name: str, value: bytes, mask: bytes) -> str:
    """A field as ``encode`` takes it; empty where it has no such words for the mask."""
    if len(value) == 6:
        return value.hex(":") if mask == b"\xff" * 6 else ""
    if len(value) in (4, 16):
        bits = int.from_bytes(mask, "big")
        length = bits.bit_count()
        whole = 8 * len(mask)
        if bits != (1 << whole) - (1 << whole - length):
            return ""
        address = bytes(one & other for one, other in zip(value, mask, strict=True))
        network = (IPv4Network if len(value) == 4 else IPv6Network)((address, length))
        return str(network.network_address) if length == whole else str(network)
    number = int.from_bytes(value, "big") & int.from_bytes(mask, "big")
    if int.from_bytes(mask, "big") != (_VLAN_ID if name in _VLAN else 0xFFFF):
        return ""
    return f"{number:#06x}" if name == "type" else str(number)
