"""irqbalance's part in the host's state: exclude our cards, stop, or leave it alone.

It answers between its rounds, every 10 s, and shows then only that it has heeded what it was told.
Until then it may move interrupts, out of a /proc of its own that raises no event.
"""

from __future__ import annotations

from collections.abc import Iterable

from netuned.hardware.nic import Nic
from netuned.regex import regex
from netuned.tunables.base import Tunable, View
from netuned.values import Balancer, Exclusion, State, Value

NAME = "irqbalance"
EXCLUDE, STOP, LEAVE = "exclude", "stop", "leave"

_PCI = regex(r"/[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
"""irqbalance asks its policy script about PCI devices only."""


def exclusion_of(mode: str, cards: Iterable[Nic]) -> Exclusion:
    """What a mode comes to for the cards whose interrupts profiles place."""
    if mode != EXCLUDE:
        return Exclusion(mode)
    placeable = [nic for nic in cards if _PCI.search(nic.device)]
    interrupts = frozenset(irq for nic in placeable for irq in nic.interrupts)
    return Exclusion(mode, frozenset(nic.device for nic in placeable), interrupts)


def read(view: View) -> State:
    return {"": view.kernel.irqbalance.look()}


def write(view: View, found: State, values: State) -> None:
    value = values[""]
    told = value.told if isinstance(value, Balancer) else value
    assert isinstance(told, Exclusion)
    match told.mode:
        case "exclude":
            view.kernel.irqbalance.exclude(told.devices, told.interrupts)
        case "stop":
            view.kernel.irqbalance.stop()
        case _:
            view.kernel.irqbalance.leave()


def same(key: str, wanted: State, found: State) -> bool:
    asked, has = wanted[key], found[key]
    assert isinstance(has, Balancer)
    if isinstance(asked, Balancer):
        asked = asked.told
    assert isinstance(asked, Exclusion)
    if asked.mode == STOP:
        return not (has.running or has.waiting)
    if asked.mode != has.told.mode or asked.mode == LEAVE:
        return asked.mode == has.told.mode
    heeds = has.asks_policy and not has.balanced & asked.interrupts
    if not has.running:  # what is being restarted may not heed it once it runs
        heeds = not has.waiting
    return heeds and asked.devices == has.told.devices


def awaited(key: str, wanted: State, found: State) -> str:
    asked, has = wanted[key], found[key]
    assert isinstance(has, Balancer)
    told = isinstance(asked, Exclusion) and (asked.mode, asked.devices) == (
        has.told.mode,
        has.told.devices,
    )
    if not (told and has.waiting):
        return ""
    if not has.running:
        return "it is being started or stopped just now"
    return "it was told, and answers between its rounds"


def recorded(nic: Nic, value: Value) -> Value:
    """Whatever it did before, it was not told anything by netuned."""
    return Exclusion(LEAVE)


IRQBALANCE = Tunable(
    name=NAME,
    holds=(Exclusion,),
    read=read,
    write=write,
    same=same,
    awaited=awaited,
    recorded=recorded,
    stirs=True,
)
