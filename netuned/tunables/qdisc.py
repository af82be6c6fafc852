"""Queueing disciplines: mq with one leaf per transmit queue, or one root on a single-queue card.

Source: tc(8), tc-mq(8); net/sched/sch_mq.c. An automatic mq has handle 0 and cannot be a parent,
so an explicit one replaces it before leaves are set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from netuned.hardware.nic import Nic
from netuned.kernel.qdisc_options import PARAMETERS, same_parameter
from netuned.kernel.rtnl import QdiscEntry
from netuned.tunables.base import Target, View, never
from netuned.values import Qdisc, State, Value

NAME = "qdisc"
disruptive = never
ROOT = "root"
ROOT_PARENT = 0xFFFFFFFF
ROOT_HANDLE = 0x4E54 << 16
"""Our mq's handle, ``4e54:``; ``1:`` would collide with what other tools put there."""

ROOT_ONLY = ("noqueue",)
"""Kinds the kernel accepts at the root only."""

KERNELS_HANDLES = 0x8000 << 16
"""From here on the kernel numbers by itself."""

DEFAULT = Qdisc("", default=True)
NAMELESS: frozenset[str] = frozenset()


def read(view: View) -> State:
    # The leaf of a queue that ended stays, and is there unchanged when the queue comes back.
    found = view.qdiscs().get(view.nic.ifindex, ()), view.nic.tx_queues
    return view.kept.same(NAME, found, lambda found: _state(*found))


def _state(entries: Sequence[QdiscEntry], tx_queues: int) -> State:
    root = next((entry for entry in entries if entry.parent == ROOT_PARENT), None)
    if root is None:  # a card that was never up, or noqueue by default, has none attached
        return {ROOT: Qdisc("noqueue", default=True)}
    state: dict[str, Value] = {ROOT: _value(root, root.handle == 0)}
    if root.kind == "mq":
        leaves = {
            (entry.parent & 0xFFFF) - 1: entry
            for entry in entries
            if entry.parent != ROOT_PARENT and entry.parent >> 16 == root.handle >> 16
        }
        # A leaf is never "the default": deleting one does not bring that back, it installs noop,
        # which drops every packet. To restore it is to attach its kind and parameters.
        state |= {f"tx-{n}": _value(leaves[n], False) for n in range(tx_queues) if n in leaves}
    return state


def _value(entry: QdiscEntry, default: bool) -> Qdisc:
    return Qdisc(entry.kind, tuple(sorted(entry.parameters.items())), default, entry.handle)


def desired(target: Target, nic: Nic) -> State | None:
    spec = target.profile.qdisc
    if spec is None:
        return None
    if spec == "default":
        return {ROOT: DEFAULT}
    wanted = Qdisc.of(spec.kind, spec.parameters())
    count = target.queues(nic).tx_queues
    if spec.kind in ROOT_ONLY or count < 2:
        return {ROOT: wanted}
    return {ROOT: Qdisc("mq"), **{f"tx-{queue}": wanted for queue in range(count)}}


def write(view: View, found: State, key: str, value: Value) -> None:
    assert isinstance(value, Qdisc)
    rtnl = view.kernel.rtnl
    if key == ROOT:
        parent, handle = ROOT_PARENT, ROOT_HANDLE if value.kind == "mq" else 0
    else:
        root = found[ROOT]
        assert isinstance(root, Qdisc)
        parent, handle = root.handle | int(key.removeprefix("tx-")) + 1, 0
    if value.anew:
        handle = _free_handle(view, key)
    if value.default:
        rtnl.delete_qdisc(view.nic.ifindex)
    else:
        rtnl.replace_qdisc(view.nic.ifindex, parent, handle, value.kind, dict(value.parameters))


def _free_handle(view: View, key: str) -> int:
    """One that no qdisc of the card has, nor another queue takes in the same round.

    A qdisc of the same kind is changed where it is, unless the handle is another.
    """
    taken = {entry.handle for entry in view.qdiscs().get(view.nic.ifindex, ())}
    queue = 0 if key == ROOT else int(key.removeprefix("tx-"))
    free = range(ROOT_HANDLE + (queue + 1 << 16), KERNELS_HANDLES, max(view.nic.tx_queues, 1) << 16)
    return next(handle for handle in free if handle not in taken)


def same(key: str, wanted: State, found: State) -> bool:
    """A leaf or root is right when its kind and every parameter the profile names are.

    An automatic mq is as good as one of our own while no leaf below it has to be written. Where
    the root is to be the kernel's, so are its leaves, which nobody can set.
    """
    asked, has, root = wanted[key], found[key], wanted.get(ROOT)
    assert isinstance(asked, Qdisc)
    assert isinstance(has, Qdisc)
    if key != ROOT and isinstance(root, Qdisc) and root.default:
        return True
    if asked.anew:
        return False
    if asked.default:
        return has.default
    if asked.kind == has.kind == "mq" and has.default:
        return all(leaf in found and same(leaf, wanted, found) for leaf in wanted if leaf != key)
    return asked.kind == has.kind and _same_parameters(asked, has)


def _same_parameters(wanted: Qdisc, found: Qdisc) -> bool:
    has, named = dict(found.parameters), dict(wanted.parameters)
    if named.get("autorate"):  # cake then sets its bandwidth by itself
        named.pop("bandwidth", None)
    return all(
        name in has and same_parameter(wanted.kind, name, value, has[name])
        for name, value in named.items()
    )


def within(wanted: Value, found: Value) -> bool:
    """Times and sizes are rounded, by less than a hundredth; how, differs between kernels."""
    assert isinstance(wanted, Qdisc)
    assert isinstance(found, Qdisc)
    has = dict(found.parameters)
    return wanted.kind == found.kind and all(
        name in has and abs(has[name] - value) * 100 <= abs(value)
        for name, value in wanted.parameters
    )


def parameter_names(value: Value) -> frozenset[str]:
    """What a qdisc names of its parameters."""
    return frozenset(name for name, _ in value.parameters) if isinstance(value, Qdisc) else NAMELESS


def without(wanted: State, set_before: Mapping[str, frozenset[str]], recorded: State) -> State:
    """The wanted state, and in it the way back for parameters that were set and are not named now.

    The kernel keeps what is not named of a qdisc of the same kind. So they get the value they had
    before netuned, if it was of this kind then; else a new one takes its place.
    """
    state = dict(wanted)
    for key, value in wanted.items():
        assert isinstance(value, Qdisc)
        left = set_before.get(key, NAMELESS) - parameter_names(value)
        if not left or not PARAMETERS.get(value.kind):
            continue
        before = recorded.get(key)
        if isinstance(before, Qdisc) and before.kind == value.kind:
            old = {name: number for name, number in before.parameters if name in left}
            state[key] = Qdisc.of(value.kind, {**dict(value.parameters), **old})
        else:
            state[key] = replace(value, anew=True)
    return state


def irreplaceable(found: State) -> str:
    """Only kinds whose parameters are known can be attached again, and none with classes."""
    root = found.get(ROOT)
    if isinstance(root, Qdisc) and not root.default and root.kind not in PARAMETERS:
        return f"the root qdisc {root.kind} could not be put back; remove it first"
    return ""


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.qdisc
    if spec is None:
        return "as it was before netuned"
    if spec == "default":
        return "the kernel's own choice"
    many = target.queues(nic).tx_queues > 1 and spec.kind not in ROOT_ONLY
    return "parent of the queues' qdiscs" if key == ROOT and many else "the profile's qdisc"


def restructures(key: str) -> bool:
    return key == ROOT
