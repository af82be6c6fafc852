"""What a profile says of a card's NAPI instances, of all of them and of those of some queues.

Source: Documentation/networking/napi.rst; Documentation/netlink/specs/netdev.yaml, napi-set.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import field
from itertools import chain
from typing import Annotated, Literal

from netuned.cpuset import CpuSet
from netuned.profiles.classes import About, First, Leaf, Mistake
from netuned.profiles.numbers import (
    Numbers,
    NumbersSpec,
)
from netuned.profiles.scalars import (
    CPU_SET,
    check_expression,
    shown,
    time_ns,
    whole,
    word_or_keep,
)
from netuned.profiles.specs import MAX_QUEUE
from netuned.records import dataclass

MOST_DEFERRALS = (1 << 31) - 1
"""The kernel's own limit since 6.13 (netdev.yaml: s32-max)."""

Time = Annotated[int | Literal["default"] | None, time_ns(words=("default",))]


@dataclass(frozen=True, slots=True, kw_only=True)
class NapiQueueSpec(NumbersSpec):
    """How the NAPI instances of some queues poll."""

    defer_hard_irqs: Annotated[
        int | Literal["default"] | None,
        whole(0, MOST_DEFERRALS, words=("default", "keep")),
        About("So many polls in a row that find nothing, before an interrupt."),
    ] = None
    gro_flush_timeout: Annotated[
        Time, About("So long until the next such poll, and until GRO lets packets go.")
    ] = None
    irq_suspend_timeout: Annotated[
        Time,
        About("So long at most no interrupt while an application polls (Linux 6.13)."),
    ] = None
    threaded: Annotated[
        Literal["off", "on", "busy-poll", "default"] | None,
        word_or_keep("off", "on", "busy-poll", "default"),
        About("A kernel thread for each polls; by `busy-poll` always (Linux 6.19)."),
    ] = None


APART = "apart"
"""In place of queue numbers: all that ``rss.queues`` leaves out of the table."""


def _queues(key: object) -> str:
    """Queue numbers as a key: ``0-3,8``; or ``apart``."""
    if key == APART:
        return APART
    try:
        queues = str(CpuSet.parse_list(str(key)))
    except ValueError:
        queues = ""
    if not queues:
        raise Mistake(
            f"{shown(key)} names no queues; write their numbers, like 3 or 0-5,8, or apart"
        )
    return queues


def _threads(value: object) -> str | None:
    if value in ("irq", "default", "keep"):
        return None if value == "keep" else str(value)
    return check_expression(value, also=("irq", "default", "keep"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NapiSpec(NapiQueueSpec):
    """How a card's NAPI instances poll: all of them, or those of some queues."""

    threads: Annotated[
        str | None,
        Leaf(_threads, CPU_SET),
        About(
            "Where its kernel threads run: `irq`, on the CPUs that serve the queue; or a CPU set."
        ),
    ] = None
    queues: Annotated[
        dict[Annotated[str, First(_queues)], NapiQueueSpec],
        About("By queue numbers, what is said of those and not of the others."),
    ] = field(default_factory=dict)

    def named(self) -> Numbers:
        """What it says of all instances that nothing else is said of."""
        of_all = ("queues", "threads")
        return {key: value for key, value in NumbersSpec.named(self).items() if key not in of_all}

    @property
    def numbered(self) -> Mapping[CpuSet, NapiQueueSpec]:
        """What is said of queues by their numbers."""
        return {CpuSet.parse_list(k): of for k, of in self.queues.items() if k != APART}

    def of_queues(
        self, queues: Iterable[int], apart: Container[int] = frozenset()
    ) -> dict[int, Numbers]:
        """What it says of the instances that serve these; a number counts before ``apart``."""
        of_all, numbered = self.named(), [(at, of.named()) for at, of in self.numbered.items()]
        kept = self.queues[APART].named() if APART in self.queues else {}
        found: dict[int, Numbers] = {}
        for queue in queues:
            own = [of for at, of in numbered if queue in at]
            found[queue] = {**of_all, **(kept if queue in apart else {}), **(own or [{}])[0]}
        return found

    def __post_init__(self) -> None:
        seen = CpuSet()
        for queues in self.numbered:
            if twice := seen & queues:
                raise Mistake(f"queue {twice.first} is named twice", key="queues")
            seen |= queues
        firsts = [queues.first for queues in self.numbered]
        firsts.append(MAX_QUEUE + 1)
        of_each = (self.of_queues(firsts, apart).values() for apart in ((), firsts))
        for said in chain.from_iterable(of_each):
            off = [key for key in ("defer-hard-irqs", "gro-flush-timeout") if said.get(key) == 0]
            if off and said.get("irq-suspend-timeout") not in (None, 0, "default"):
                raise Mistake(f"irq-suspend-timeout does nothing where {off[0]} is 0")
