"""How a card computes the RSS hash: its function, its key, and what of each kind of flow goes in.

Source: include/uapi/linux/ethtool.h, ``ETH_RSS_HASH_*``, ``RXH_*``, ``*_FLOW``;
Documentation/netlink/specs/ethtool.yaml, "flow".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from netuned.kernel.tables import Table, Type
from netuned.records import dataclass
from netuned.values import HashKey

_NUMBERS = (
    *(("ether", 0x12), ("ip4", 0x10), ("ip6", 0x11)),
    *(("tcp4", 0x01), ("tcp6", 0x05), ("udp4", 0x02), ("udp6", 0x06)),
    *(("sctp4", 0x03), ("sctp6", 0x07), ("ah4", 0x09), ("ah6", 0x0B)),
    *(("esp4", 0x0A), ("esp6", 0x0C)),
)
FLOWS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {name: (number, attribute) for attribute, (name, number) in enumerate(_NUMBERS, 1)}
)
"""Kinds of flow, by netlink's names: the ioctl's number of each, and its netlink attribute."""

_FLOW_HASH = Table(*((name, attribute, Type.UINT) for name, (_, attribute) in FLOWS.items()))


@dataclass(frozen=True, slots=True)
class Hashing:
    """What a card tells: a bit of ``ETH_RSS_HASH_*``, a value of ``RXH_XFRM_*``, its key.

    ``fields`` has sums of ``RXH_*`` by the kinds of flow that the driver knows. Without a function
    or a key (of 0 bytes) the driver does not tell them.
    """

    function: int
    symmetric: int
    key: HashKey
    fields: Mapping[str, int]


HashValues = Mapping[str, int | bytes]
"""What is set of it: ``function``, ``symmetric``, ``key``, and fields by the name of the flow."""


def key_of(secret: bytes) -> HashKey:
    """The key that has these bytes."""
    return HashKey(len(secret), hashlib.sha256(secret).hexdigest()[:16], secret)


def content_of(values: HashValues) -> dict[str, int | bytes]:
    """The attributes of the message RSS that set these."""
    own = {name: value for name, value in values.items() if name not in FLOWS}
    fields = {name: value for name, value in values.items() if name in FLOWS}
    return {**own, "fields": _FLOW_HASH.encode(fields)} if fields else own
