"""Numbers and switches by ethtool's and ip's own names: rings, coalescing, links, queue limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from netuned.profiles.scalars import (
    U32_MAX,
    Leaf,
    mistake,
    size_bytes,
    up_to,
    whole,
    word_or_keep,
)
from netuned.profiles.specs import Spec

MAX_MERGED = 8 * 65535
"""GSO_MAX_SIZE and GRO_MAX_SIZE (include/linux/netdevice.h)."""

MAX_TXQUEUELEN = 1 << 20
"""pfifo_fast makes room for so many packets at once, three times for each queue."""

NO_BYTE_LIMIT = 1879048192
"""DQL_MAX_LIMIT (include/linux/dynamic_queue_limits.h)."""

Numbers = Mapping[str, int | str]


class NumbersSpec(Spec):
    """Numbers and switches by ethtool's own names, which have dashes."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    def named(self) -> Numbers:
        """What the profile names: numbers, and words as it has them."""
        fields = type(self).model_fields.items()
        found = {field.alias or name: getattr(self, name) for name, field in fields}
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


class RingsSpec(NumbersSpec):
    """How many packets the descriptor rings hold, and what is set with them."""

    rx: Annotated[Ring, Field(description="Receive rings.")] = None
    rx_mini: Annotated[Ring, Field(description="Rings of small receive buffers.")] = None
    rx_jumbo: Annotated[Ring, Field(description="Rings of large receive buffers.")] = None
    tx: Annotated[Ring, Field(description="Transmit rings.")] = None
    rx_buf_len: Annotated[Bytes, Field(description="Size of a receive buffer.")] = None
    cqe_size: Annotated[Bytes, Field(description="Size of a completion.")] = None
    tx_push: Annotated[Switch, Field(description="Descriptors are written to the card.")] = None
    rx_push: Annotated[Switch, Field(description="The same for receiving.")] = None
    tx_push_buf_len: Annotated[
        MostBytes, Field(description="How much of a packet is written with its descriptor.")
    ] = None
    tcp_data_split: Annotated[
        Literal["auto", "on", "off", "default"] | None,
        word_or_keep("auto", "on", "off", "default"),
        Field(description="Headers and payload into buffers of their own (Linux 6.8)."),
    ] = None
    hds_thresh: Annotated[
        MostBytes, Field(description="Packets up to this size are not split (Linux 6.14).")
    ] = None


def _number(unit: str) -> Leaf:
    return whole(0, U32_MAX, unit, words=("default", "keep"))


Usecs = Annotated[int | Literal["default"] | None, _number("microseconds")]
Frames = Annotated[int | Literal["default"] | None, _number("frames")]
Rate = Annotated[int | Literal["default"] | None, _number("packets per second")]


def _size(low: int, high: int) -> Leaf:
    return size_bytes(low, high, words={"max": "max", "default": "default"})


Merged = Annotated[int | str | None, up_to(_size(512, MAX_MERGED))]


class LinkSpec(NumbersSpec):
    """How much is merged into one packet on its way through the host, in the names of ip-link."""

    gso_max_size: Annotated[
        Merged, Field(description="Most bytes that are sent in one packet before it is cut up.")
    ] = None
    gso_ipv4_max_size: Annotated[
        Merged, Field(description="The same of IPv4; as gso-max-size up to 64K, if left out.")
    ] = None
    gso_max_segs: Annotated[
        int | Literal["max", "default"] | None,
        whole(1, 65535, "segments", words=("max", "default", "keep")),
        Field(description="Most packets that such a packet is cut into."),
    ] = None
    gro_max_size: Annotated[
        Merged, Field(description="Most bytes of received packets that become one packet.")
    ] = None
    gro_ipv4_max_size: Annotated[
        Merged, Field(description="The same of IPv4; as gro-max-size up to 64K, if left out.")
    ] = None
    txqueuelen: Annotated[
        int | Literal["default"] | None,
        whole(1, MAX_TXQUEUELEN, "packets", words=("default", "keep")),
        Field(description="Packets that pfifo_fast holds; other disciplines have their own."),
    ] = None
    upper: Annotated[
        Literal["follow"] | None,
        word_or_keep("follow"),
        Field(description="`follow`: VLANs, bonds and the like above the card get its sizes."),
    ] = None

    def named(self) -> Numbers:
        return {name: value for name, value in super().named().items() if name != "upper"}


class BqlSpec(NumbersSpec):
    """Between which byte queue limits the kernel chooses for a transmit queue of the card."""

    max: Annotated[
        int | Literal["default"] | None,
        size_bytes(1500, NO_BYTE_LIMIT, words={"max": NO_BYTE_LIMIT, "default": "default"}),
        Field(description="Most bytes that wait in a queue of the card; `max`: no limit."),
    ] = None
    min: Annotated[
        int | Literal["default"] | None,
        size_bytes(0, NO_BYTE_LIMIT, words={"default": "default"}),
        Field(description="So many may wait always."),
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> BqlSpec:
        if isinstance(self.max, int) and isinstance(self.min, int) and self.min > self.max:
            raise mistake("min is more than max", key="min")
        return self


class CoalesceSpec(NumbersSpec):
    """When the card raises an interrupt, in the names of ethtool -C."""

    adaptive_rx: Annotated[Switch, Field(description="The driver chooses, receiving.")] = None
    adaptive_tx: Annotated[Switch, Field(description="The driver chooses, sending.")] = None
    rx_usecs: Annotated[Usecs, Field(description="So long after a received packet.")] = None
    rx_usecs_irq: Annotated[Usecs, Field(description="The same while one is served.")] = None
    rx_usecs_low: Annotated[Usecs, Field(description="The same at a low rate.")] = None
    rx_usecs_high: Annotated[Usecs, Field(description="The same at a high rate.")] = None
    rx_frames: Annotated[Frames, Field(description="After so many received packets.")] = None
    rx_frames_irq: Annotated[Frames, Field(description="The same while one is served.")] = None
    rx_frames_low: Annotated[Frames, Field(description="The same at a low rate.")] = None
    rx_frames_high: Annotated[Frames, Field(description="The same at a high rate.")] = None
    tx_usecs: Annotated[Usecs, Field(description="So long after a packet was sent.")] = None
    tx_usecs_irq: Annotated[Usecs, Field(description="The same while one is served.")] = None
    tx_usecs_low: Annotated[Usecs, Field(description="The same at a low rate.")] = None
    tx_usecs_high: Annotated[Usecs, Field(description="The same at a high rate.")] = None
    tx_frames: Annotated[Frames, Field(description="After so many packets sent.")] = None
    tx_frames_irq: Annotated[Frames, Field(description="The same while one is served.")] = None
    tx_frames_low: Annotated[Frames, Field(description="The same at a low rate.")] = None
    tx_frames_high: Annotated[Frames, Field(description="The same at a high rate.")] = None
    pkt_rate_low: Annotated[Rate, Field(description="Below it the rate is low.")] = None
    pkt_rate_high: Annotated[Rate, Field(description="Above it the rate is high.")] = None
    sample_interval: Annotated[
        int | Literal["default"] | None,
        _number("seconds"),
        Field(description="How often the rate is looked at."),
    ] = None
    stats_block_usecs: Annotated[Usecs, Field(description="Between updates of statistics.")] = None
    cqe_mode_rx: Annotated[Switch, Field(description="Timers start anew by completions.")] = None
    cqe_mode_tx: Annotated[Switch, Field(description="The same for sending.")] = None
    tx_aggr_max_bytes: Annotated[
        int | Literal["default"] | None,
        _number("bytes"),
        Field(description="So much is sent in one block (modems)."),
    ] = None
    tx_aggr_max_frames: Annotated[Frames, Field(description="So many packets in one.")] = None
    tx_aggr_time_usecs: Annotated[Usecs, Field(description="So long they are gathered.")] = None
    rx_cqe_frames: Annotated[Frames, Field(description="Packets in one completion.")] = None
    rx_cqe_nsecs: Annotated[
        int | Literal["default"] | None,
        _number("nanoseconds"),
        Field(description="So long they are gathered."),
    ] = None
