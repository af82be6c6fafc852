"""Whether a receive queue can serve devmem TCP, io_uring zero copy or AF_XDP, and why not.

``conditions`` is pure; ``read`` asks the kernel, or a snapshot, for what it is about.

Source: Documentation/networking/devmem.rst, iou-zcrx.rst, af_xdp.rst; net/core/netdev_rx_queue.c,
__net_mp_open_rxq().
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel import Kernel
from netuned.kernel.netdev import DMABUF, IO_URING, XSK, Bound
from netuned.kernel.questions import BOUND, CONTEXTS, RINGS, RSS_TABLE, RULES, XDP, Question
from netuned.records import dataclass
from netuned.values import FlowRule

A = TypeVar("A")

USES = {DMABUF: "devmem TCP", IO_URING: "io_uring", XSK: "AF_XDP"}
"""What a queue can serve, by how the kernel tells that it is bound."""

PROVIDERS = (DMABUF, IO_URING)
"""Those for which a card puts received data into memory of theirs, headers apart."""

HEADERS_APART = 2
"""ETHTOOL_TCP_DATA_SPLIT_ENABLED."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a queue and its card; a text is why something is not known.

    ``rings`` and ``xdp`` are as ``questions`` has them, ``table`` is the main RSS table, ``rules``
    are the flow rules by location, ``bound`` what is bound to the card's queues.
    """

    queue: int
    rx_queues: int
    rings: Mapping[str, int] | str
    table: Sequence[int] | str
    rules: Mapping[int, FlowRule] | str
    xdp: Mapping[str, int] | str
    bound: Bound | str
    contexts: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """The tables of RSS contexts by number, where a rule goes to one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that has to be so for ``uses``: whether it is, why, and what to do if not.

    ``todo`` is empty where it is met, or where nothing can be done.
    """

    name: str
    met: bool
    why: str
    todo: str = ""
    uses: tuple[str, ...] = tuple(USES)


def read(kernel: Kernel, nic: Nic, queue: int) -> Facts:
    """The facts of one queue. Raises: KernelError."""

    def ask(question: Question[A]) -> A | str:
        try:
            return kernel.get(question, nic.ifindex)
        except UnsupportedError as error:
            return error.why
        except KernelError as error:
            if error.gone:
                raise
            return str(error)

    asked = ask(RINGS), ask(RSS_TABLE), ask(RULES), ask(XDP), ask(BOUND)
    rings, table, rules, xdp, bound = asked
    held = rules if isinstance(rules, str) else rules.rules
    contexts: Mapping[int, Sequence[int]] = {}
    if not isinstance(held, str) and any(rule.to.startswith("context ") for rule in held.values()):
        told = ask(CONTEXTS)
        contexts = {} if isinstance(told, str) else told.contexts
    return Facts(queue, nic.rx_queues, rings, table, held, xdp, bound, contexts)


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """All conditions, those for every use first."""
    return (
        _channels(facts),
        _table(facts),
        _rule(facts),
        _free(facts),
        *_split(facts),
        _no_program(facts),
        *_driver(facts),
    )


def ready(found: Collection[Condition], use: str) -> bool:
    """Whether the conditions of a use are all met."""
    return all(condition.met for condition in found if use in condition.uses)


def bound_to(facts: Facts) -> str:
    """What is bound to the queue, for people; empty without."""
    what = "" if isinstance(facts.bound, str) else facts.bound.get((RX, facts.queue), "")
    return _words(what) if what else ""


def _words(what: str) -> str:
    use, _, number = what.partition(" ")
    return f"{USES[use]} (dmabuf {number})" if number else USES[use]


def _channels(facts: Facts) -> Condition:
    """It is open, and not the only one: the others have the packets that are not for it."""
    name, queue, count = "open queues", facts.queue, facts.rx_queues
    if queue < count > 1:
        return Condition(name, met=True, why=f"{count} receive queues are open")
    why = "the card has one receive queue" if count == 1 else f"queues 0-{count - 1} are open"
    return Condition(name, met=False, why=why, todo=f"channels: {{combined: {max(queue, 1) + 1}}}")


def _table(facts: Facts) -> Condition:
    name, table = "out of the RSS table", facts.table
    if isinstance(table, str):
        return Condition(name, met=False, why=f"there is none to leave it out of: {table}")
    if not (entries := table.count(facts.queue)):
        return Condition(name, met=True, why=f"none of {len(table)} entries is its own")
    others = CpuSet.of(range(facts.rx_queues)) - CpuSet.of([facts.queue])
    todo = f'rss: {{queues: "{others}"}}' if others else ""
    return Condition(
        name, met=False, why=f"{entries} of {len(table)} entries are its own", todo=todo
    )


def _rule(facts: Facts) -> Condition:
    """To it alone, or to an RSS context that has it."""
    name, rules = "a flow rule to it", facts.rules
    to = {f"queue {facts.queue}"}
    to |= {f"context {number}" for number, has in facts.contexts.items() if facts.queue in has}
    if isinstance(rules, str):
        return Condition(name, met=False, why=f"the card takes none: {rules}")
    leads = [f"rule {at}: {rule}" for at, rule in sorted(rules.items()) if rule.to in to]
    if leads:
        return Condition(name, met=True, why=leads[0])
    todo = f"flows: [{{match: {{proto: tcp4, dport: PORT}}, to: queue {facts.queue}}}]"
    return Condition(name, met=False, why=f"none of {len(rules)} leads to it", todo=todo)


def _free(facts: Facts) -> Condition:
    name = "nothing else bound"
    if isinstance(facts.bound, str):
        return Condition(name, met=True, why=f"the kernel does not tell: {facts.bound}")
    what = facts.bound.get((RX, facts.queue), "")
    if not what:
        return Condition(name, met=True, why="nothing is bound to it")
    uses = tuple(use for use in USES if use != what.partition(" ")[0])
    return Condition(
        name, met=False, why=f"{_words(what)} is", todo=f"end {_words(what)}", uses=uses
    )


def _split(facts: Facts) -> tuple[Condition, ...]:
    """As it is configured: what GET tells may be what a driver does by itself."""
    rings = facts.rings
    split, threshold = "header split", "hds-thresh 0"
    if isinstance(rings, str):
        return (Condition(split, met=False, why=rings, uses=PROVIDERS),)
    state = rings.get("tcp-data-split")
    said = {None: "none, or as the driver likes", 0: "auto", 1: "off", 2: "on"}
    on, todo = state == HEADERS_APART, "rings: {tcp-data-split: on}"
    why, limit = said.get(state, str(state)), rings.get("hds-thresh", 0)
    return (
        Condition(split, met=on, why=why, todo="" if on else todo, uses=PROVIDERS),
        Condition(
            threshold,
            met=not limit,
            why=f"{limit} bytes",
            todo="rings: {hds-thresh: 0}" if limit else "",
            uses=PROVIDERS,
        ),
    )


def _no_program(facts: Facts) -> Condition:
    name = "no XDP program"
    if isinstance(facts.xdp, str):
        return Condition(
            name, met=True, why=f"the kernel does not tell: {facts.xdp}", uses=PROVIDERS
        )
    if not (program := facts.xdp["program"]):
        return Condition(name, met=True, why="none is attached", uses=PROVIDERS)
    todo = "detach it (ip link set dev NIC xdp off)"
    return Condition(name, met=False, why=f"program {program} is", todo=todo, uses=PROVIDERS)


def _driver(facts: Facts) -> tuple[Condition, ...]:
    """Left out where the kernel does not tell."""
    if isinstance(facts.xdp, str) or "zero-copy" not in facts.xdp:
        return ()
    has = bool(facts.xdp["zero-copy"])
    why = "the driver has it" if has else "the driver has none, AF_XDP copies"
    return (Condition("AF_XDP without copies", met=has, why=why, uses=(XSK,)),)


def why_held(queues: Collection[tuple[str, int]], bound: Bound, holders: Mapping[int, str]) -> str:
    """Why what these queues need is left as it is: what is bound to them, and by whom, if known."""
    alike: dict[tuple[str, str], list[int]] = {}
    for queue in queues:
        who = holders.get(queue[1], "") if bound[queue] == XSK else ""
        alike.setdefault((_words(bound[queue]), who), []).append(queue[1])
    said = [
        f"{use} holds queue{'s' if len(set(numbers)) > 1 else ''} {CpuSet.of(numbers)}"
        + f" for {who}" * bool(who)
        for (use, who), numbers in alike.items()
    ]
    return f"{' and '.join(said)}, and needs it as it is; it is set once that has ended"
