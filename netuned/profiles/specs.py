"""What a profile says of each tunable, of the host, and of netuned's own conduct."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from netuned.profiles.classes import About, Leaf, Mistake, Spec, keyed
from netuned.profiles.hugepages import HugepagesSpec
from netuned.profiles.scalars import (
    CPU_SET,
    STRING,
    check_expression,
    cpu_expression,
    enum,
    one_of,
    one_or_list,
    shown,
    whole,
    word_or_keep,
)
from netuned.profiles.sysctls import SysctlSpec, names
from netuned.records import dataclass
from netuned.regex import regex

DEFAULT_IRQ_CPUS = "local & housekeeping"
"""Where interrupts go when a profile's ``irq`` names no CPUs."""

MAX_QUEUE = 1 << 16

MAX_FLOWS = 1 << 29
"""The kernel's own limit of the host's table (rps_sock_flow_sysctl())."""

DEFAULT_DEDICATED = (1, 16)
"""Cores kept for interrupts, of how many: what Seastar's perftune gives them."""

MAX_DEDICATED = 1024
_SHARE = regex(r"([0-9]{1,4})/([0-9]{1,4})", re.ASCII)


Count = Annotated[
    int | Literal["auto", "max"] | None,
    whole(0, MAX_QUEUE, words=("auto", "max", "keep")),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsSpec(Spec):
    """How many channels the card opens: ``auto`` one per CPU of the irq set, ``max`` all it has."""

    rx: Annotated[Count, About("Channels that only receive.")] = None
    tx: Annotated[Count, About("Channels that only send.")] = None
    combined: Annotated[Count, About("Channels that do both, as most cards have.")] = None

    def __post_init__(self) -> None:
        if self.combined == 0 and 0 in (self.rx, self.tx):
            raise Mistake("this leaves the card without receive or transmit queues")


def _irq_cpus(value: object) -> str | None:
    return None if value == "keep" else check_expression(value, also=("keep",))


def _dedicated(value: object) -> tuple[int, int] | None:
    if value == "keep":
        return None
    allowed = f"1/16: N cores of every M, 1 <= N <= M <= {MAX_DEDICATED}"
    if not isinstance(value, str):
        raise Mistake(f"{shown(value)} is not allowed here; write a share like {allowed}")
    share = _SHARE.fullmatch(value)
    if share is None or not 1 <= int(share[1]) <= int(share[2]) <= MAX_DEDICATED:
        raise Mistake(f"{shown(value)} is not a share; write one like {allowed}")
    return int(share[1]), int(share[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class IrqSpec(Spec):
    """Which CPUs serve the card's interrupts."""

    cpus: Annotated[
        str | None,
        Leaf(_irq_cpus, CPU_SET),
        About(f"A CPU set; `{DEFAULT_IRQ_CPUS}` if left out."),
    ] = None
    spread: Annotated[
        Literal["one-per-queue", "pack", "dedicated", "all"],
        one_of("one-per-queue", "pack", "dedicated", "all"),
        About(
            "`one-per-queue`: a CPU for each queue, on a core each first; `pack`: "
            "on the fewest cores; `dedicated`: on a share of the cores, kept for interrupts; "
            "`all`: each interrupt may run on the whole set."
        ),
    ] = "one-per-queue"
    dedicated: Annotated[
        tuple[int, int] | None,
        Leaf(_dedicated, {"type": "string", "pattern": "^([0-9]{1,4}/[0-9]{1,4}|keep)$"}),
        About(
            "With `spread: dedicated`: `N/M`, that many cores of every M are kept for "
            "interrupts; 1/16 if left out."
        ),
    ] = None

    @property
    def share(self) -> tuple[int, int]:
        """N and M: with ``spread: dedicated``, how many cores of how many serve interrupts."""
        return self.dedicated or DEFAULT_DEDICATED

    def __post_init__(self) -> None:
        if self.dedicated is not None and self.spread != "dedicated":
            problem = f"this belongs to spread: dedicated, and spread is {self.spread}"
            raise Mistake(f"{problem}; write keep, or leave it out", key="dedicated")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpsSpec(Spec):
    """Receive packet steering: further CPUs that process what a queue's interrupt brought in."""

    cpus: Annotated[
        str,
        cpu_expression("auto", "none"),
        About("`auto`: only where few cores receive and others are idle; `none`; or a CPU set."),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RfsSpec(Spec):
    """Receive flow steering: packets go to the CPU on which the application reads their flow."""

    entries: Annotated[
        int | Literal["auto", "none"],
        whole(1, MAX_FLOWS, words=("auto", "none")),
        About(
            "Flows that the host's table holds, shared out over the card's receive "
            "queues; `auto`: 32768; `none`."
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class XpsSpec(Spec):
    """Transmit packet steering: which CPU sends on which queue."""

    by: Annotated[
        Literal["cpus", "rxqs"],
        one_of("cpus", "rxqs"),
        About(
            "`rxqs`: what answers a packet is sent on the queue of the number by which "
            "that came; else, and where that is not known, the sending CPU's queue is taken."
        ),
    ] = "cpus"
    cpus: Annotated[
        str,
        cpu_expression("auto", "none"),
        About(
            "`auto`: every CPU sends on the queue whose interrupt is nearest; `none`; or a CPU set."
        ),
    ] = "auto"


def _keyed(model: type[Spec], example: str) -> Leaf:
    """A mapping as the model says, or ``keep`` (None)."""

    def validate(value: object) -> object:
        if isinstance(value, dict | model):
            return model.of(value)
        if value == "keep":
            return None
        raise Mistake(
            f"{shown(value)} is not allowed here; write a mapping like {{{example}}}, or keep"
        )

    return Leaf(validate, enum("keep"), (model,))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec(Spec):
    """Settings of the host, not of one card."""

    __pydantic_config__ = keyed(lambda name: "yield" if name == "yielded" else name)

    irqbalance: Annotated[
        Literal["exclude", "stop", "leave"] | None,
        word_or_keep("exclude", "stop", "leave"),
        About("`exclude` our interrupts from balancing, `stop` it, or `leave` it alone."),
    ] = None
    sysctl: Annotated[
        SysctlSpec | None,
        _keyed(SysctlSpec, 'net.core.rmem_max: ">=512M"'),
        About("Sysctls below net. and vm.; `>=512M`: at least, `<=64`: at most."),
    ] = None
    yielded: Annotated[
        tuple[str, ...],
        Leaf(names, one_or_list(STRING)),
        About("Those of them left to another program that sets them."),
    ] = ()

    hugepages: Annotated[
        HugepagesSpec | None,
        _keyed(HugepagesSpec, "2M: {node0: 512}"),
        About("Huge pages of each size, per node."),
    ] = None

    def __post_init__(self) -> None:
        said = self.sysctl.root if self.sysctl else {}
        for key in self.yielded:
            if key not in said:
                raise Mistake(f"{key} is not among the sysctls that are set", key="yield")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec(Spec):
    """How far netuned may go."""

    disruptive: Annotated[
        Literal["allow", "deny"],
        one_of("allow", "deny"),
        About("`deny`: never make a change that drops the link."),
    ] = "allow"
    enforce: Annotated[
        Literal["yes", "no"],
        one_of("yes", "no"),
        About("`no`: report drift, repair nothing."),
    ] = "yes"
