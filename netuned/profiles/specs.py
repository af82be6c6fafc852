"""What a profile says of each tunable, of the host, and of netuned's own conduct."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from netuned.profiles.hugepages import HugepagesSpec
from netuned.profiles.scalars import (
    CPU_SET,
    STRING,
    U32_MAX,
    Leaf,
    check_expression,
    cpu_expression,
    enum,
    mistake,
    one_of,
    one_or_list,
    shown,
    size_bytes,
    whole,
    word_or_keep,
)
from netuned.profiles.sysctls import SysctlSpec, names

DEFAULT_IRQ_CPUS = "local & housekeeping"
"""Where interrupts go when a profile's ``irq`` names no CPUs."""

MAX_QUEUE = 1 << 16

MAX_FLOWS = 1 << 29
"""The kernel's own limit of the host's table (rps_sock_flow_sysctl())."""

DEFAULT_DEDICATED = (1, 16)
"""Cores kept for interrupts, of how many: what Seastar's perftune gives them."""

MAX_MERGED = 8 * 65535
"""GSO_MAX_SIZE and GRO_MAX_SIZE (include/linux/netdevice.h)."""

MAX_TXQUEUELEN = 1 << 20
"""pfifo_fast makes room for so many packets at once, three times for each queue."""

NO_BYTE_LIMIT = 1879048192
"""DQL_MAX_LIMIT (include/linux/dynamic_queue_limits.h)."""

MAX_DEDICATED = 1024
_SHARE = re.compile(r"([0-9]{1,4})/([0-9]{1,4})", re.ASCII)


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Count = Annotated[
    int | Literal["auto", "max"] | None,
    whole(0, MAX_QUEUE, words=("auto", "max", "keep")),
]


class ChannelsSpec(Spec):
    """How many channels the card opens: ``auto`` one per CPU of the irq set, ``max`` all it has."""

    rx: Annotated[Count, Field(description="Channels that only receive.")] = None
    tx: Annotated[Count, Field(description="Channels that only send.")] = None
    combined: Annotated[Count, Field(description="Channels that do both, as most cards have.")] = (
        None
    )

    @model_validator(mode="after")
    def _leaves_queues(self) -> ChannelsSpec:
        if self.combined == 0 and 0 in (self.rx, self.tx):
            raise mistake("this leaves the card without receive or transmit queues")
        return self


def _irq_cpus(value: object) -> str | None:
    return None if value == "keep" else check_expression(value, also=("keep",))


def _dedicated(value: object) -> tuple[int, int] | None:
    if value == "keep":
        return None
    allowed = f"1/16: N cores of every M, 1 <= N <= M <= {MAX_DEDICATED}"
    if not isinstance(value, str):
        raise mistake(f"{shown(value)} is not allowed here; write a share like {allowed}")
    share = _SHARE.fullmatch(value)
    if share is None or not 1 <= int(share[1]) <= int(share[2]) <= MAX_DEDICATED:
        raise mistake(f"{shown(value)} is not a share; write one like {allowed}")
    return int(share[1]), int(share[2])


class IrqSpec(Spec):
    """Which CPUs serve the card's interrupts."""

    cpus: Annotated[
        str | None,
        Leaf(_irq_cpus, CPU_SET),
        Field(description=f"A CPU set; `{DEFAULT_IRQ_CPUS}` if left out."),
    ] = None
    spread: Annotated[
        Literal["one-per-queue", "pack", "dedicated", "all"],
        one_of("one-per-queue", "pack", "dedicated", "all"),
        Field(
            description="`one-per-queue`: a CPU for each queue, on a core each first; `pack`: "
            "on the fewest cores; `dedicated`: on a share of the cores, kept for interrupts; "
            "`all`: each interrupt may run on the whole set."
        ),
    ] = "one-per-queue"
    dedicated: Annotated[
        tuple[int, int] | None,
        Leaf(_dedicated, {"type": "string", "pattern": "^([0-9]{1,4}/[0-9]{1,4}|keep)$"}),
        Field(
            description="With `spread: dedicated`: `N/M`, that many cores of every M are kept for "
            "interrupts; 1/16 if left out."
        ),
    ] = None

    @property
    def share(self) -> tuple[int, int]:
        """N and M: with ``spread: dedicated``, how many cores of how many serve interrupts."""
        return self.dedicated or DEFAULT_DEDICATED

    @model_validator(mode="after")
    def _dedicated_belongs_to_its_mode(self) -> IrqSpec:
        if self.dedicated is not None and self.spread != "dedicated":
            problem = f"this belongs to spread: dedicated, and spread is {self.spread}"
            raise mistake(f"{problem}; write keep, or leave it out", key="dedicated")
        return self


class RpsSpec(Spec):
    """Receive packet steering: further CPUs that process what a queue's interrupt brought in."""

    cpus: Annotated[
        str,
        cpu_expression("auto", "none"),
        Field(
            description="`auto`: only where few cores receive and others are idle; `none`; or a "
            "CPU set."
        ),
    ] = "auto"


class RfsSpec(Spec):
    """Receive flow steering: packets go to the CPU on which the application reads their flow."""

    entries: Annotated[
        int | Literal["auto", "none"],
        whole(1, MAX_FLOWS, words=("auto", "none")),
        Field(
            description="Flows that the host's table holds, shared out over the card's receive "
            "queues; `auto`: 32768; `none`."
        ),
    ] = "auto"


class XpsSpec(Spec):
    """Transmit packet steering: which CPU sends on which queue."""

    by: Annotated[
        Literal["cpus", "rxqs"],
        one_of("cpus", "rxqs"),
        Field(
            description="`rxqs`: what answers a packet is sent on the queue of the number by which "
            "that came; else, and where that is not known, the sending CPU's queue is taken."
        ),
    ] = "cpus"
    cpus: Annotated[
        str,
        cpu_expression("auto", "none"),
        Field(
            description="`auto`: every CPU sends on the queue whose interrupt is nearest; `none`; "
            "or a CPU set."
        ),
    ] = "auto"


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
    int | Literal["max", "default"] | None,
    whole(0, U32_MAX, "entries", words=("max", "default", "keep")),
]
Bytes = Annotated[
    int | Literal["default"] | None, whole(0, U32_MAX, "bytes", words=("default", "keep"))
]
MostBytes = Annotated[
    int | Literal["max", "default"] | None,
    whole(0, U32_MAX, "bytes", words=("max", "default", "keep")),
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


Merged = Annotated[int | Literal["max", "default"] | None, _size(512, MAX_MERGED)]


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


def _keyed(model: type[BaseModel], example: str) -> Leaf:
    """A mapping as the model says, or ``keep`` (None)."""

    def validate(value: object) -> object:
        if isinstance(value, dict | model):
            return model.model_validate(value)
        if value == "keep":
            return None
        raise mistake(
            f"{shown(value)} is not allowed here; write a mapping like {{{example}}}, or keep"
        )

    return Leaf(validate, enum("keep"), (model,))


class HostSpec(Spec):
    """Settings of the host, not of one card."""

    irqbalance: Annotated[
        Literal["exclude", "stop", "leave"] | None,
        word_or_keep("exclude", "stop", "leave"),
        Field(
            description="`exclude` our interrupts from balancing, `stop` it, or `leave` it alone."
        ),
    ] = None
    sysctl: Annotated[
        SysctlSpec | None,
        _keyed(SysctlSpec, 'net.core.rmem_max: ">=512M"'),
        Field(description="Sysctls below net. and vm.; `>=512M`: at least, `<=64`: at most."),
    ] = None
    yielded: Annotated[
        tuple[str, ...],
        Leaf(names, one_or_list(STRING)),
        Field(alias="yield", description="Those of them left to another program that sets them."),
    ] = ()

    hugepages: Annotated[
        HugepagesSpec | None,
        _keyed(HugepagesSpec, "2M: {node0: 512}"),
        Field(description="Huge pages of each size, per node."),
    ] = None

    @model_validator(mode="after")
    def _yields_what_it_sets(self) -> HostSpec:
        said = self.sysctl.root if self.sysctl else {}
        for key in self.yielded:
            if key not in said:
                raise mistake(f"{key} is not among the sysctls that are set", key="yield")
        return self


class PolicySpec(Spec):
    """How far netuned may go."""

    disruptive: Annotated[
        Literal["allow", "deny"],
        one_of("allow", "deny"),
        Field(description="`deny`: never make a change that drops the link."),
    ] = "allow"
    enforce: Annotated[
        Literal["yes", "no"],
        one_of("yes", "no"),
        Field(description="`no`: report drift, repair nothing."),
    ] = "yes"
