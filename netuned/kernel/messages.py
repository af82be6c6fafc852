"""The messages of generic netlink that netuned uses: commands and attributes, by ethtool's names.

tests/netns/test_kernel_messages.py compares them with what the running kernel says of itself.

Source: Documentation/netlink/specs/ethtool.yaml, netdev.yaml and nlctrl.yaml;
include/uapi/linux/ethtool_netlink_generated.h, netdev.h and genetlink.h; ethtool(8).
"""

from __future__ import annotations

from netuned.kernel.tables import Table, Type
from netuned.records import dataclass

U8, U32, UINT = Type.U8, Type.U32, Type.UINT

ETHTOOL = "ethtool"
NETDEV = "netdev"
NLCTRL = "nlctrl"

_HEADER = ("header", 1, Type.NESTED)

HEADER = Table(("ifindex", 1, U32), ("flags", 3, U32))
"""The nest that every message of the ethtool family begins with."""

GROUP = Table(("name", 1, Type.NUL_STRING), ("id", 2, U32))
"""A multicast group in the answer about a family."""

COMMAND = Table(("id", 1, U32), ("flags", 2, U32))
"""A command in the answer about a family."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a family can be asked, and told where ``set`` is not 0: commands and attributes.

    ``told`` are the attributes that only its answers have.
    """

    family: str
    get: int
    table: Table
    set: int = 0
    flags: int = 0
    """What the header asks of the answer."""
    told: frozenset[str] = frozenset()


FAMILY = Message(
    NLCTRL,
    3,
    Table(
        *(("id", 1, Type.U16), ("name", 2, Type.NUL_STRING)),
        *(("ops", 6, Type.NESTED), ("groups", 7, Type.NESTED)),
    ),
    told=frozenset(("ops", "groups")),
)

RINGS = Message(
    ETHTOOL,
    15,
    Table(
        _HEADER,
        *(("rx-max", 2, U32), ("rx-mini-max", 3, U32), ("rx-jumbo-max", 4, U32)),
        *(("tx-max", 5, U32), ("rx", 6, U32), ("rx-mini", 7, U32), ("rx-jumbo", 8, U32)),
        *(("tx", 9, U32), ("rx-buf-len", 10, U32), ("tcp-data-split", 11, U8)),
        *(("cqe-size", 12, U32), ("tx-push", 13, U8), ("rx-push", 14, U8)),
        *(("tx-push-buf-len", 15, U32), ("tx-push-buf-len-max", 16, U32)),
        *(("hds-thresh", 17, U32), ("hds-thresh-max", 18, U32)),
    ),
    set=16,
    told=frozenset(("rx-max", "rx-mini-max", "rx-jumbo-max", "tx-max"))
    | {"tx-push-buf-len-max", "hds-thresh-max"},
)

CHANNELS = Message(
    ETHTOOL,
    17,
    Table(
        _HEADER,
        *(("rx-max", 2, U32), ("tx-max", 3, U32), ("other-max", 4, U32)),
        *(("combined-max", 5, U32), ("rx", 6, U32), ("tx", 7, U32), ("other", 8, U32)),
        ("combined", 9, U32),
    ),
    set=18,
    told=frozenset(("rx-max", "tx-max", "other-max", "combined-max")),
)

COALESCE = Message(
    ETHTOOL,
    19,
    Table(
        _HEADER,
        *(("rx-usecs", 2, U32), ("rx-frames", 3, U32)),
        *(("rx-usecs-irq", 4, U32), ("rx-frames-irq", 5, U32)),
        *(("tx-usecs", 6, U32), ("tx-frames", 7, U32)),
        *(("tx-usecs-irq", 8, U32), ("tx-frames-irq", 9, U32)),
        *(("stats-block-usecs", 10, U32), ("adaptive-rx", 11, U8), ("adaptive-tx", 12, U8)),
        *(("pkt-rate-low", 13, U32), ("rx-usecs-low", 14, U32), ("rx-frames-low", 15, U32)),
        *(("tx-usecs-low", 16, U32), ("tx-frames-low", 17, U32)),
        *(("pkt-rate-high", 18, U32), ("rx-usecs-high", 19, U32), ("rx-frames-high", 20, U32)),
        *(("tx-usecs-high", 21, U32), ("tx-frames-high", 22, U32)),
        *(("sample-interval", 23, U32), ("cqe-mode-tx", 24, U8), ("cqe-mode-rx", 25, U8)),
        *(("tx-aggr-max-bytes", 26, U32), ("tx-aggr-max-frames", 27, U32)),
        *(("tx-aggr-time-usecs", 28, U32), ("rx-cqe-frames", 31, U32), ("rx-cqe-nsecs", 32, U32)),
    ),
    set=20,
)
"""Without the profiles of DIM (29 and 30), which are lists and not numbers."""

STRINGS = Message(ETHTOOL, 1, Table(_HEADER, ("stringsets", 2, Type.NESTED)))

LINK_MODES = Message(
    ETHTOOL,
    4,
    Table(
        *(_HEADER, ("autoneg", 2, U8), ("ours", 3, Type.NESTED), ("peer", 4, Type.NESTED)),
        *(("speed", 5, U32), ("duplex", 6, U8)),
    ),
    set=5,
    flags=1,  # as of FEATURES
    told=frozenset(("peer",)),
)
"""``ours`` and ``peer`` are sets of modes; it is never set."""

FEATURES = Message(
    ETHTOOL,
    11,
    Table(
        *(_HEADER, ("hw", 2, Type.NESTED), ("wanted", 3, Type.NESTED)),
        *(("active", 4, Type.NESTED), ("nochange", 5, Type.NESTED)),
    ),
    set=12,
    flags=1,  # ETHTOOL_FLAG_COMPACT_BITSETS: without the names
    told=frozenset(("hw", "active", "nochange")),
)
"""Each is a set of bits, as ``features`` has it."""

RSS = Message(
    ETHTOOL,
    38,
    Table(
        *(_HEADER, ("function", 3, U32), ("indir", 4, Type.BINARY), ("key", 5, Type.BINARY)),
        *(("symmetric", 6, U32), ("fields", 8, Type.NESTED), ("context", 2, U32)),
    ),
    set=48,
)
"""The names but ``indir`` and ``context`` are those of ``hashing.HashValues``; ``fields`` is a nest
by flow. Without a context it is of the card."""

_CONTEXT = (_HEADER, ("context", 2, U32), ("indir", 4, Type.BINARY))
CONTEXTS = Message(ETHTOOL, 38, Table(*_CONTEXT, ("start", 7, U32)), told=frozenset(("indir",)))
"""RSS contexts in a list (Linux 6.12): of those from ``start`` on."""
CREATE_CONTEXT = Message(ETHTOOL, 38, Table(*_CONTEXT), set=49)
DELETE_CONTEXT = Message(ETHTOOL, 38, Table(*_CONTEXT[:2]), set=50)

QUEUES = Message(
    NETDEV,
    10,
    Table(
        *(("id", 1, U32), ("ifindex", 2, U32), ("type", 3, U32), ("napi-id", 4, U32)),
        *(("dmabuf", 5, U32), ("io-uring", 6, Type.NESTED), ("xsk", 7, Type.NESTED)),
    ),
    told=frozenset(("napi-id", "dmabuf", "io-uring", "xsk")),
)
"""The nests are empty: that they are there says that a queue is bound (xsk since Linux 6.15)."""

DEVICES = Message(
    NETDEV,
    1,
    Table(("ifindex", 1, U32), ("xdp-features", 3, Type.U64)),
    told=frozenset(("xdp-features",)),
)

NAPIS = Message(
    NETDEV,
    11,
    Table(
        *(("ifindex", 1, U32), ("id", 2, U32), ("irq", 3, U32), ("pid", 4, U32)),
        *(("defer-hard-irqs", 5, U32), ("gro-flush-timeout", 6, UINT)),
        *(("irq-suspend-timeout", 7, UINT), ("threaded", 8, U32)),
    ),
    set=14,
    told=frozenset(("ifindex", "irq", "pid")),
)
"""``ifindex`` is told, and asked for where one card's are listed; it is not set."""

MESSAGES = (
    *(FAMILY, RINGS, CHANNELS, COALESCE, STRINGS, LINK_MODES, FEATURES, QUEUES, DEVICES, NAPIS),
    *(RSS, CONTEXTS, CREATE_CONTEXT, DELETE_CONTEXT),
)
