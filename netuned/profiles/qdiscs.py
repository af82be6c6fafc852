"""The queueing disciplines a profile can name, with tc's parameter names in the kernel's units.

Times are kept in microseconds (fq's ``timer_slack`` in nanoseconds, as the kernel does), rates in
bytes per second, sizes in bytes, flags as 0 and 1, cake's words as the kernel's numbers.
Source: include/uapi/linux/pkt_sched.h, net/sched/sch_{fq,fq_codel,cake,fifo}.c, tc's manual pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from netuned.profiles.scalars import (
    U32_MAX,
    Leaf,
    either,
    enum,
    flag,
    mistake,
    rate_bytes,
    shown,
    size_bytes,
    time_ns,
    time_us,
    whole,
    word_to_int,
)

CAKE_DIFFSERV = {"diffserv3": 0, "diffserv4": 1, "diffserv8": 2, "besteffort": 3, "precedence": 4}
CAKE_FLOW_MODE = {
    "flowblind": 0,
    "srchost": 1,
    "dsthost": 2,
    "hosts": 3,
    "flows": 4,
    "dual-srchost": 5,
    "dual-dsthost": 6,
    "triple-isolate": 7,
}
CAKE_ATM = {"noatm": 0, "atm": 1, "ptm": 2}
CAKE_ACK_FILTER = {"no": 0, "yes": 1, "aggressive": 2}

FQ_BUCKETS_MAX = 256 * 1024
OFF = U32_MAX
"""What the kernel reads as "no limit" (fq's ``maxrate``) and "disabled" (``ce_threshold``)."""

QUANTUM_MAX = 1 << 20

_POWERS_OF_TWO = tuple(1 << power for power in range(1, 19))


class _Qdisc(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def parameters(self) -> dict[str, int]:
        """The parameters the profile names, in the kernel's units; ``kind`` is not among them."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields if name != "kind")
        return {name: value for name, value in values if value is not None}


def _buckets(value: object) -> int | None:
    if value == "keep":
        return None
    if isinstance(value, int) and value in _POWERS_OF_TWO:
        return int(value)
    problem = f"{shown(value)} is not allowed here; write a power of two"
    raise mistake(f"{problem} from 2 to {FQ_BUCKETS_MAX}, or keep")


U32 = Annotated[int | None, whole(0, U32_MAX)]
Count = Annotated[int | None, whole(1, U32_MAX)]
Quantum = Annotated[int | None, size_bytes(1, QUANTUM_MAX)]
Time = Annotated[int | None, time_us()]
Flag = Annotated[int | None, flag()]


class FqQdisc(_Qdisc):
    """fq: one queue per flow, paced. Source: net/sched/sch_fq.c, tc-fq(8)."""

    kind: Literal["fq"]
    limit: Annotated[Count, Field(description="Packets in the whole qdisc.")] = None
    flow_limit: Annotated[Count, Field(description="Packets of one flow.")] = None
    quantum: Annotated[Quantum, Field(description="Bytes a flow may send per round.")] = None
    initial_quantum: Annotated[
        int | None,
        size_bytes(0, (1 << 31) - 1),
        Field(description="Bytes a new flow may send at once."),
    ] = None
    maxrate: Annotated[
        int | None,
        rate_bytes(OFF - 1, words={"unlimited": OFF}),
        Field(description="Highest rate of one flow, like 1gbit, or unlimited."),
    ] = None
    buckets: Annotated[
        int | None,
        Leaf(
            _buckets,
            either({"type": "integer", "minimum": 2, "maximum": FQ_BUCKETS_MAX}, enum("keep")),
        ),
        Field(description="Size of the flow hash table, a power of two."),
    ] = None
    refill_delay: Annotated[
        Time, Field(description="Idle time after which a flow gets new credit.")
    ] = None
    low_rate_threshold: Annotated[
        int | None,
        rate_bytes(U32_MAX, words={"0": 0}),
        Field(description="Flows paced below this rate send one packet at a time."),
    ] = None
    orphan_mask: Annotated[U32, Field(description="Hash mask of packets without a socket.")] = None
    timer_slack: Annotated[
        int | None, time_ns(), Field(description="Slack of the pacing timer, with its unit: 10us.")
    ] = None
    ce_threshold: Annotated[
        int | None,
        time_us(OFF - 1, words={"off": OFF}),
        Field(description="Delay above which packets are marked CE, or off."),
    ] = None
    horizon: Annotated[
        Time, Field(description="How far in the future a packet's time may lie.")
    ] = None
    offload_horizon: Annotated[
        Time, Field(description="How far in the future the card itself may pace (Linux 6.13).")
    ] = None
    horizon_drop: Annotated[
        Flag, Field(description="yes: drop packets past the horizon; no: cap them.")
    ] = None
    pacing: Annotated[Flag, Field(description="Whether flows are paced.")] = None


class FqCodelQdisc(_Qdisc):
    """fq_codel: fair queues, each under CoDel. Source: net/sched/sch_fq_codel.c, tc-fq_codel(8)."""

    kind: Literal["fq_codel"]
    limit: Annotated[Count, Field(description="Packets in the whole qdisc.")] = None
    flows: Annotated[
        int | None,
        whole(1, 65536),
        Field(description="Number of queues; the kernel sets it at creation only."),
    ] = None
    quantum: Annotated[
        int | None,
        size_bytes(256, QUANTUM_MAX),
        Field(description="Bytes a queue may send per round."),
    ] = None
    target: Annotated[Time, Field(description="Acceptable standing delay.")] = None
    interval: Annotated[Time, Field(description="How long the delay must exceed the target.")] = (
        None
    )
    ce_threshold: Annotated[
        int | None,
        time_us(OFF - 1, words={"off": OFF}),
        Field(description="Delay above which packets are marked CE, or off."),
    ] = None
    ecn: Annotated[Flag, Field(description="Mark instead of dropping.")] = None
    memory_limit: Annotated[
        int | None, size_bytes(1, 1 << 31), Field(description="Bytes of memory for queued packets.")
    ] = None
    drop_batch: Annotated[
        Count, Field(description="Packets dropped at once when over a limit.")
    ] = None


class CakeQdisc(_Qdisc):
    """cake: shaper and fair queues in one. Source: net/sched/sch_cake.c, tc-cake(8)."""

    kind: Literal["cake"]
    bandwidth: Annotated[
        int | None,
        rate_bytes((1 << 63) - 1, words={"unlimited": 0}),
        Field(description="Shaped rate like 500mbit, or unlimited."),
    ] = None
    autorate: Annotated[Flag, Field(description="Follow the rate of incoming traffic.")] = None
    rtt: Annotated[Time, Field(description="Round-trip time to expect.")] = None
    overhead: Annotated[
        int | None, whole(-64, 256, "bytes"), Field(description="Bytes per packet on the link.")
    ] = None
    mpu: Annotated[
        int | None, whole(0, 256, "bytes"), Field(description="Smallest packet on the link.")
    ] = None
    atm: Annotated[
        int | None, word_to_int(CAKE_ATM), Field(description="Cell framing to allow for.")
    ] = None
    diffserv_mode: Annotated[
        int | None, word_to_int(CAKE_DIFFSERV), Field(description="Priority tins.")
    ] = None
    flow_mode: Annotated[
        int | None, word_to_int(CAKE_FLOW_MODE), Field(description="What is fair to what.")
    ] = None
    nat: Annotated[Flag, Field(description="Look through NAT to tell hosts apart.")] = None
    wash: Annotated[Flag, Field(description="Clear DSCP on the way out.")] = None
    ingress: Annotated[Flag, Field(description="Count dropped packets too.")] = None
    ack_filter: Annotated[
        int | None,
        word_to_int(CAKE_ACK_FILTER),
        Field(description="Drop acknowledgements that others cover."),
    ] = None
    split_gso: Annotated[Flag, Field(description="Split aggregated packets.")] = None
    memlimit: Annotated[
        int | None, size_bytes(0, U32_MAX), Field(description="Bytes of memory; 0 is automatic.")
    ] = None
    fwmark: Annotated[U32, Field(description="Mask of the firewall mark that chooses the tin.")] = (
        None
    )


class PfifoFastQdisc(_Qdisc):
    """pfifo_fast: three bands by priority, no parameters. Source: net/sched/sch_generic.c."""

    kind: Literal["pfifo_fast"]


class NoqueueQdisc(_Qdisc):
    """noqueue: send at once or drop; for virtual links. Source: net/sched/sch_generic.c."""

    kind: Literal["noqueue"]


class PfifoQdisc(_Qdisc):
    """pfifo: one queue bounded in packets. Source: net/sched/sch_fifo.c, tc-bfifo(8)."""

    kind: Literal["pfifo"]
    limit: Annotated[U32, Field(description="Packets.")] = None


class BfifoQdisc(_Qdisc):
    """bfifo: one queue bounded in bytes. Source: net/sched/sch_fifo.c, tc-bfifo(8)."""

    kind: Literal["bfifo"]
    limit: Annotated[int | None, size_bytes(0, U32_MAX), Field(description="Bytes.")] = None


Qdisc = FqQdisc | FqCodelQdisc | CakeQdisc | PfifoFastQdisc | NoqueueQdisc | PfifoQdisc | BfifoQdisc

QDISCS: dict[str, type[Qdisc]] = {
    "fq": FqQdisc,
    "fq_codel": FqCodelQdisc,
    "cake": CakeQdisc,
    "pfifo_fast": PfifoFastQdisc,
    "noqueue": NoqueueQdisc,
    "pfifo": PfifoQdisc,
    "bfifo": BfifoQdisc,
}


def in_words(kind: str, name: str, value: int) -> str:
    """A parameter in the kernel's unit as a profile has it: ``off``, ``10gbit``.

    Empty for one that is a plain number, or that no profile can name.
    """
    model = QDISCS.get(kind)
    field = model.model_fields.get(name) if model else None
    for leaf in field.metadata if field else ():
        if isinstance(leaf, Leaf) and leaf.show is not None:
            return leaf.show(value)
    return ""


USUAL: Mapping[str, Mapping[str, int]] = {
    "fq": {
        "limit": 10_000,
        "flow_limit": 100,
        "buckets": 1024,
        "refill_delay": 40_000,
        "orphan_mask": 1023,
        "low_rate_threshold": 68_750,
        "ce_threshold": OFF,
        "pacing": 1,
        "timer_slack": 10_000,
        "horizon": 10_000_000,
        "horizon_drop": 1,
        "offload_horizon": 0,
        "maxrate": OFF,
        "quantum": 3028,
        "initial_quantum": 15_140,
    },
    "fq_codel": {
        "limit": 10_240,
        "flows": 1024,
        "target": 4999,
        "interval": 99_999,
        "ecn": 1,
        "quantum": 1514,
        "memory_limit": 32 << 20,
        "drop_batch": 64,
        "ce_threshold": OFF,
    },
}
"""What the kernel gives a new qdisc at an MTU of 1500 (fq_init(), fq_codel_init())."""


def can_be_named(kind: str, parameter: str) -> bool:
    """Whether a profile has a word for a parameter."""
    return kind in QDISCS and parameter in QDISCS[kind].model_fields
