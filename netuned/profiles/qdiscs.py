"""The queueing disciplines a profile can name, with tc's parameter names in the kernel's units.

Times are kept in microseconds (fq's ``timer_slack`` in nanoseconds, as the kernel does), rates in
bytes per second, sizes in bytes, flags as 0 and 1, cake's words as the kernel's numbers.
Source: include/uapi/linux/pkt_sched.h, net/sched/sch_{fq,fq_codel,cake,fifo}.c, tc's manual pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from netuned.profiles.classes import About, Leaf, Mistake, Spec
from netuned.profiles.scalars import (
    U32_MAX,
    either,
    enum,
    flag,
    rate_bytes,
    shown,
    size_bytes,
    time_ns,
    time_us,
    whole,
    word_to_int,
)
from netuned.records import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Qdisc(Spec):
    def parameters(self) -> dict[str, int]:
        """The parameters the profile names, in the kernel's units; ``kind`` is not among them."""
        values = ((name, getattr(self, name)) for name in self.by_key() if name != "kind")
        return {name: value for name, value in values if value is not None}


def _buckets(value: object) -> int | None:
    if value == "keep":
        return None
    if isinstance(value, int) and value in _POWERS_OF_TWO:
        return int(value)
    problem = f"{shown(value)} is not allowed here; write a power of two"
    raise Mistake(f"{problem} from 2 to {FQ_BUCKETS_MAX}, or keep")


U32 = Annotated[int | None, whole(0, U32_MAX)]
Count = Annotated[int | None, whole(1, U32_MAX)]
Quantum = Annotated[int | None, size_bytes(1, QUANTUM_MAX)]
Time = Annotated[int | None, time_us()]
Flag = Annotated[int | None, flag()]


@dataclass(frozen=True, slots=True, kw_only=True)
class FqQdisc(_Qdisc):
    """fq: one queue per flow, paced. Source: net/sched/sch_fq.c, tc-fq(8)."""

    kind: Literal["fq"]
    limit: Annotated[Count, About("Packets in the whole qdisc.")] = None
    flow_limit: Annotated[Count, About("Packets of one flow.")] = None
    quantum: Annotated[Quantum, About("Bytes a flow may send per round.")] = None
    initial_quantum: Annotated[
        int | None,
        size_bytes(0, (1 << 31) - 1),
        About("Bytes a new flow may send at once."),
    ] = None
    maxrate: Annotated[
        int | None,
        rate_bytes(OFF - 1, words={"unlimited": OFF}),
        About("Highest rate of one flow, like 1gbit, or unlimited."),
    ] = None
    buckets: Annotated[
        int | None,
        Leaf(
            _buckets,
            either({"type": "integer", "minimum": 2, "maximum": FQ_BUCKETS_MAX}, enum("keep")),
        ),
        About("Size of the flow hash table, a power of two."),
    ] = None
    refill_delay: Annotated[Time, About("Idle time after which a flow gets new credit.")] = None
    low_rate_threshold: Annotated[
        int | None,
        rate_bytes(U32_MAX, words={"0": 0}),
        About("Flows paced below this rate send one packet at a time."),
    ] = None
    orphan_mask: Annotated[U32, About("Hash mask of packets without a socket.")] = None
    timer_slack: Annotated[
        int | None, time_ns(), About("Slack of the pacing timer, with its unit: 10us.")
    ] = None
    ce_threshold: Annotated[
        int | None,
        time_us(OFF - 1, words={"off": OFF}),
        About("Delay above which packets are marked CE, or off."),
    ] = None
    horizon: Annotated[Time, About("How far in the future a packet's time may lie.")] = None
    offload_horizon: Annotated[
        Time, About("How far in the future the card itself may pace (Linux 6.13).")
    ] = None
    horizon_drop: Annotated[Flag, About("yes: drop packets past the horizon; no: cap them.")] = None
    pacing: Annotated[Flag, About("Whether flows are paced.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FqCodelQdisc(_Qdisc):
    """fq_codel: fair queues, each under CoDel. Source: net/sched/sch_fq_codel.c, tc-fq_codel(8)."""

    kind: Literal["fq_codel"]
    limit: Annotated[Count, About("Packets in the whole qdisc.")] = None
    flows: Annotated[
        int | None,
        whole(1, 65536),
        About("Number of queues; the kernel sets it at creation only."),
    ] = None
    quantum: Annotated[
        int | None,
        size_bytes(256, QUANTUM_MAX),
        About("Bytes a queue may send per round."),
    ] = None
    target: Annotated[Time, About("Acceptable standing delay.")] = None
    interval: Annotated[Time, About("How long the delay must exceed the target.")] = None
    ce_threshold: Annotated[
        int | None,
        time_us(OFF - 1, words={"off": OFF}),
        About("Delay above which packets are marked CE, or off."),
    ] = None
    ecn: Annotated[Flag, About("Mark instead of dropping.")] = None
    memory_limit: Annotated[
        int | None, size_bytes(1, 1 << 31), About("Bytes of memory for queued packets.")
    ] = None
    drop_batch: Annotated[Count, About("Packets dropped at once when over a limit.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CakeQdisc(_Qdisc):
    """cake: shaper and fair queues in one. Source: net/sched/sch_cake.c, tc-cake(8)."""

    kind: Literal["cake"]
    bandwidth: Annotated[
        int | None,
        rate_bytes((1 << 63) - 1, words={"unlimited": 0}),
        About("Shaped rate like 500mbit, or unlimited."),
    ] = None
    autorate: Annotated[Flag, About("Follow the rate of incoming traffic.")] = None
    rtt: Annotated[Time, About("Round-trip time to expect.")] = None
    overhead: Annotated[
        int | None, whole(-64, 256, "bytes"), About("Bytes per packet on the link.")
    ] = None
    mpu: Annotated[int | None, whole(0, 256, "bytes"), About("Smallest packet on the link.")] = None
    atm: Annotated[int | None, word_to_int(CAKE_ATM), About("Cell framing to allow for.")] = None
    diffserv_mode: Annotated[int | None, word_to_int(CAKE_DIFFSERV), About("Priority tins.")] = None
    flow_mode: Annotated[
        int | None, word_to_int(CAKE_FLOW_MODE), About("What is fair to what.")
    ] = None
    nat: Annotated[Flag, About("Look through NAT to tell hosts apart.")] = None
    wash: Annotated[Flag, About("Clear DSCP on the way out.")] = None
    ingress: Annotated[Flag, About("Count dropped packets too.")] = None
    ack_filter: Annotated[
        int | None,
        word_to_int(CAKE_ACK_FILTER),
        About("Drop acknowledgements that others cover."),
    ] = None
    split_gso: Annotated[Flag, About("Split aggregated packets.")] = None
    memlimit: Annotated[
        int | None, size_bytes(0, U32_MAX), About("Bytes of memory; 0 is automatic.")
    ] = None
    fwmark: Annotated[U32, About("Mask of the firewall mark that chooses the tin.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PfifoFastQdisc(_Qdisc):
    """pfifo_fast: three bands by priority, no parameters. Source: net/sched/sch_generic.c."""

    kind: Literal["pfifo_fast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoqueueQdisc(_Qdisc):
    """noqueue: send at once or drop; for virtual links. Source: net/sched/sch_generic.c."""

    kind: Literal["noqueue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PfifoQdisc(_Qdisc):
    """pfifo: one queue bounded in packets. Source: net/sched/sch_fifo.c, tc-bfifo(8)."""

    kind: Literal["pfifo"]
    limit: Annotated[U32, About("Packets.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BfifoQdisc(_Qdisc):
    """bfifo: one queue bounded in bytes. Source: net/sched/sch_fifo.c, tc-bfifo(8)."""

    kind: Literal["bfifo"]
    limit: Annotated[int | None, size_bytes(0, U32_MAX), About("Bytes.")] = None


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
    leaf = QDISCS[kind].leaf(name) if kind in QDISCS else None
    return leaf.show(value) if leaf and leaf.show else ""


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
    return kind in QDISCS and parameter in QDISCS[kind].by_key()
