"""Numbers and switches by ethtool's and ip's own names: rings, coalescing, links, queue limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from netuned.profiles.classes import About, Leaf, Mistake, Spec, keyed
from netuned.profiles.scalars import (
    U32_MAX,
    size_bytes,
    up_to,
    whole,
    word_or_keep,
)
from netuned.records import dataclass

MAX_MERGED = 8 * 65535
"""GSO_MAX_SIZE and GRO_MAX_SIZE (include/linux/netdevice.h)."""

MAX_TXQUEUELEN = 1 << 20
"""pfifo_fast makes room for so many packets at once, three times for each queue."""

NO_BYTE_LIMIT = 1879048192
"""DQL_MAX_LIMIT (include/linux/dynamic_queue_limits.h)."""

Numbers = Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersSpec(Spec):
    """Numbers and switches by ethtool's own names, which have dashes."""

    __pydantic_config__ = keyed(lambda name: name.replace("_", "-"))

    def named(self) -> Numbers:
        """What the profile names: numbers, and words as it has them."""
        found = {key: getattr(self, name) for key, name in self.by_key().items()}
        return {name: value for name, value in found.items() if value is not None}


Switch = Annotated[Literal["on", "off", "default"] | None, word_or_keep("on", "off", "default")]
Ring = Annotated[
    int | str | None, up_to(whole(0, U32_MAX, "entries", words=("max", "default", "keep")))
]
Bytes = Annotated[
    int | Literal["default"] | None, whole(0, U32_MAX, "bytes", words=("default", "keep"))
]
MostBytes = Annotated[
    int | str | None, up_to(whole(0, U32_MAX, "bytes", words=("max", "default", "keep")))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingsSpec(NumbersSpec):
    """How many packets the descriptor rings hold, and what is set with them."""

    rx: Annotated[Ring, About("Receive rings.")] = None
    rx_mini: Annotated[Ring, About("Rings of small receive buffers.")] = None
    rx_jumbo: Annotated[Ring, About("Rings of large receive buffers.")] = None
    tx: Annotated[Ring, About("Transmit rings.")] = None
    rx_buf_len: Annotated[Bytes, About("Size of a receive buffer.")] = None
    cqe_size: Annotated[Bytes, About("Size of a completion.")] = None
    tx_push: Annotated[Switch, About("Descriptors are written to the card.")] = None
    rx_push: Annotated[Switch, About("The same for receiving.")] = None
    tx_push_buf_len: Annotated[
        MostBytes, About("How much of a packet is written with its descriptor.")
    ] = None
    tcp_data_split: Annotated[
        Literal["auto", "on", "off", "default"] | None,
        word_or_keep("auto", "on", "off", "default"),
        About("Headers and payload into buffers of their own (Linux 6.8)."),
    ] = None
    hds_thresh: Annotated[
        MostBytes, About("Packets up to this size are not split (Linux 6.14).")
    ] = None


def _number(unit: str) -> Leaf:
    return whole(0, U32_MAX, unit, words=("default", "keep"))


Usecs = Annotated[int | Literal["default"] | None, _number("microseconds")]
Frames = Annotated[int | Literal["default"] | None, _number("frames")]
Rate = Annotated[int | Literal["default"] | None, _number("packets per second")]


def _size(low: int, high: int) -> Leaf:
    return size_bytes(low, high, words={"max": "max", "default": "default"})


Merged = Annotated[int | str | None, up_to(_size(512, MAX_MERGED))]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec(NumbersSpec):
    """How much is merged into one packet on its way through the host, in the names of ip-link."""

    gso_max_size: Annotated[
        Merged, About("Most bytes that are sent in one packet before it is cut up.")
    ] = None
    gso_ipv4_max_size: Annotated[
        Merged, About("The same of IPv4; as gso-max-size up to 64K, if left out.")
    ] = None
    gso_max_segs: Annotated[
        int | Literal["max", "default"] | None,
        whole(1, 65535, "segments", words=("max", "default", "keep")),
        About("Most packets that such a packet is cut into."),
    ] = None
    gro_max_size: Annotated[
        Merged, About("Most bytes of received packets that become one packet.")
    ] = None
    gro_ipv4_max_size: Annotated[
        Merged, About("The same of IPv4; as gro-max-size up to 64K, if left out.")
    ] = None
    txqueuelen: Annotated[
        int | Literal["default"] | None,
        whole(1, MAX_TXQUEUELEN, "packets", words=("default", "keep")),
        About("Packets that pfifo_fast holds; other disciplines have their own."),
    ] = None
    upper: Annotated[
        Literal["follow"] | None,
        word_or_keep("follow"),
        About("`follow`: VLANs, bonds and the like above the card get its sizes."),
    ] = None

    def named(self) -> Numbers:
        return {name: value for name, value in NumbersSpec.named(self).items() if name != "upper"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BqlSpec(NumbersSpec):
    """Between which byte queue limits the kernel chooses for a transmit queue of the card."""

    max: Annotated[
        int | Literal["default"] | None,
        size_bytes(1500, NO_BYTE_LIMIT, words={"max": NO_BYTE_LIMIT, "default": "default"}),
        About("Most bytes that wait in a queue of the card; `max`: no limit."),
    ] = None
    min: Annotated[
        int | Literal["default"] | None,
        size_bytes(0, NO_BYTE_LIMIT, words={"default": "default"}),
        About("So many may wait always."),
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.max, int) and isinstance(self.min, int) and self.min > self.max:
            raise Mistake("min is more than max", key="min")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalesceSpec(NumbersSpec):
    """When the card raises an interrupt, in the names of ethtool -C."""

    adaptive_rx: Annotated[Switch, About("The driver chooses, receiving.")] = None
    adaptive_tx: Annotated[Switch, About("The driver chooses, sending.")] = None
    rx_usecs: Annotated[Usecs, About("So long after a received packet.")] = None
    rx_usecs_irq: Annotated[Usecs, About("The same while one is served.")] = None
    rx_usecs_low: Annotated[Usecs, About("The same at a low rate.")] = None
    rx_usecs_high: Annotated[Usecs, About("The same at a high rate.")] = None
    rx_frames: Annotated[Frames, About("After so many received packets.")] = None
    rx_frames_irq: Annotated[Frames, About("The same while one is served.")] = None
    rx_frames_low: Annotated[Frames, About("The same at a low rate.")] = None
    rx_frames_high: Annotated[Frames, About("The same at a high rate.")] = None
    tx_usecs: Annotated[Usecs, About("So long after a packet was sent.")] = None
    tx_usecs_irq: Annotated[Usecs, About("The same while one is served.")] = None
    tx_usecs_low: Annotated[Usecs, About("The same at a low rate.")] = None
    tx_usecs_high: Annotated[Usecs, About("The same at a high rate.")] = None
    tx_frames: Annotated[Frames, About("After so many packets sent.")] = None
    tx_frames_irq: Annotated[Frames, About("The same while one is served.")] = None
    tx_frames_low: Annotated[Frames, About("The same at a low rate.")] = None
    tx_frames_high: Annotated[Frames, About("The same at a high rate.")] = None
    pkt_rate_low: Annotated[Rate, About("Below it the rate is low.")] = None
    pkt_rate_high: Annotated[Rate, About("Above it the rate is high.")] = None
    sample_interval: Annotated[
        int | Literal["default"] | None,
        _number("seconds"),
        About("How often the rate is looked at."),
    ] = None
    stats_block_usecs: Annotated[Usecs, About("Between updates of statistics.")] = None
    cqe_mode_rx: Annotated[Switch, About("Timers start anew by completions.")] = None
    cqe_mode_tx: Annotated[Switch, About("The same for sending.")] = None
    tx_aggr_max_bytes: Annotated[
        int | Literal["default"] | None,
        _number("bytes"),
        About("So much is sent in one block (modems)."),
    ] = None
    tx_aggr_max_frames: Annotated[Frames, About("So many packets in one.")] = None
    tx_aggr_time_usecs: Annotated[Usecs, About("So long they are gathered.")] = None
    rx_cqe_frames: Annotated[Frames, About("Packets in one completion.")] = None
    rx_cqe_nsecs: Annotated[
        int | Literal["default"] | None,
        _number("nanoseconds"),
        About("So long they are gathered."),
    ] = None
