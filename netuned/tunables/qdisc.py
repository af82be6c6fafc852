"""Queueing disciplines: mq with one leaf per transmit queue, or one root on a single-queue card.

What is attached and each of its parameters are settings of their own: ``tx-3`` is the kind of a
queue's qdisc, ``tx-3 fq flow_limit`` a parameter of it. So a new qdisc is attached first, with what
the kernel gives it, and shows then what its parameters were before netuned set them.

Source: tc(8), tc-mq(8); net/sched/sch_mq.c. An automatic mq has handle 0 and cannot be a parent,
so an explicit one replaces it before leaves are set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.qdisc_options import PARAMETERS, same_parameter
from netuned.kernel.questions import QDISCS
from netuned.kernel.rtnl import QdiscEntry
from netuned.profiles.qdiscs import USUAL, can_be_named, in_words
from netuned.regex import regex
from netuned.tunables.base import (
    CARD,
    NOT_ASKED,
    NOTHING,
    OWN,
    QDISC_EVENT,
    Limits,
    Queue,
    Seen,
    Target,
    Tunable,
    View,
    Words,
    Writers,
)
from netuned.values import Number, Qdisc, Setting, State, Value

NAME = "qdisc"
ROOT = "root"
ROOT_PARENT = 0xFFFFFFFF
ROOT_HANDLE = 0x4E54 << 16
"""Our mq's handle, ``4e54:``; ``1:`` would collide with what other tools put there."""

INGRESS_PARENT = 0xFFFFFFF1
"""Where ingress and clsact are, which no write of a root touches."""

FILTERED = ("fq_codel", "cake")
"""Of the kinds that netuned attaches, those that take filters."""

ROOT_ONLY = ("noqueue",)
"""Kinds the kernel accepts at the root only."""

DEFAULT = Qdisc("", default=True)

LEAF_KINDS = "mq leaf-kinds"
"""The key for how many kinds an automatic mq has at the queues that are open.

It attaches the default kind at those that are open when it is made, and pfifo_fast at the others,
which keep that when they are opened, whatever ``net.core.default_qdisc`` is (sch_mq.c, mq_init()).
So one that was made while netuned kept queues closed is made anew once they are open again.
"""

_KEY = regex(rf"(?:root|tx-[0-9]{{1,5}})(?: [a-z0-9_]{{1,20}} [a-z0-9_]{{1,30}})?|{LEAF_KINDS}")


def read(view: View) -> State:
    return view.kept.same(NAME, view.ask(QDISCS), _state)


def _state(entries: Sequence[QdiscEntry]) -> State:
    """What is attached, also to queues that are closed: with one its leaf comes back as it is."""
    root = next((entry for entry in entries if entry.parent == ROOT_PARENT), None)
    if root is None:  # a card that was never up, or noqueue by default, has none attached
        return {ROOT: Qdisc("noqueue", default=True)}
    at = {ROOT: root}
    if root.kind == "mq":
        below = [entry for entry in entries if _is_below(root, entry)]
        for entry in sorted(below, key=lambda entry: entry.parent):
            at[f"tx-{(entry.parent & 0xFFFF) - 1}"] = entry
    # A leaf is never "the default": deleting one does not bring that back, it installs noop,
    # which drops every packet. To restore it is to attach its kind and set its parameters.
    kinds: dict[str, Value] = {
        key: Qdisc(entry.kind, key == ROOT and entry.handle == 0, entry.handle)
        for key, entry in at.items()
    }
    if root.kind == "mq" and not root.handle:
        kinds[LEAF_KINDS] = Number(len({e.kind for e in at.values() if e is not root}))
    return kinds | {
        f"{key} {entry.kind} {name}": _number(entry.kind, name, value)
        for key, entry in at.items()
        for name, value in entry.parameters.items()
    }


@lru_cache(maxsize=4096)
def _number(kind: str, name: str, value: int) -> Number:
    """A parameter; a card has as many alike as it has queues."""
    return Number(value, text=in_words(kind, name, value))


def _is_below(root: QdiscEntry, entry: QdiscEntry) -> bool:
    return entry.parent != ROOT_PARENT and entry.parent >> 16 == root.handle >> 16


def place_of(key: str) -> str:
    """Where a setting's qdisc is: ``root`` or ``tx-3``."""
    return ROOT if key == LEAF_KINDS else key.partition(" ")[0]


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    spec = target.profile.qdisc
    assert spec is not None
    if spec == "default":
        return {ROOT: DEFAULT}
    count = target.queues(nic).tx_queues
    state: dict[str, Value] = {}
    if spec.kind in ROOT_ONLY or count < 2:
        places: Sequence[str] = (ROOT,)
    else:
        places = [f"tx-{queue}" for queue in range(count)]
        state[ROOT] = Qdisc("mq")
    state |= dict.fromkeys(places, Qdisc(spec.kind))
    parameters = {
        name: _number(spec.kind, name, value) for name, value in sorted(spec.parameters().items())
    }
    return state | {
        f"{place} {spec.kind} {name}": value
        for place in places
        for name, value in parameters.items()
    }


def group(key: str) -> str:
    """The parameters of one qdisc go together; what is attached goes before them."""
    return key.rpartition(" ")[0] or key


def write(view: View, found: State, values: State) -> None:
    first = next(iter(values))
    if first == LEAF_KINDS:  # without a handle it cannot be removed, so another comes first
        view.kernel.rtnl.replace_qdisc(view.nic.ifindex, ROOT_PARENT, ROOT_HANDLE, "mq", {})
        view.kernel.rtnl.delete_qdisc(view.nic.ifindex)
        return
    place, kind, _ = (*first.split(), "", "")[:3]
    parent, handle = ROOT_PARENT, 0
    if place != ROOT:
        root = found[ROOT]
        assert isinstance(root, Qdisc)
        parent = _class_of(root.handle, place)
    parameters: dict[str, int] = {}
    for key, value in values.items():
        if isinstance(value, Number):
            parameters[key.rpartition(" ")[2]] = value.value
        else:
            assert isinstance(value, Qdisc)
            if value.default:
                view.kernel.rtnl.delete_qdisc(view.nic.ifindex)
                return
            kind = value.kind
            handle = _free(view, value.handle)
            if place == ROOT and kind == "mq":
                handle = handle or ROOT_HANDLE
    try:
        view.kernel.rtnl.replace_qdisc(view.nic.ifindex, parent, handle, kind, parameters)
    except KernelError as error:
        if kind in PARAMETERS or error.gone or error.exhausted:
            raise
        raise UnsupportedError(NAME, f"{kind} needs what netuned does not know of it") from error


def _free(view: View, handle: int) -> int:
    """The handle that a qdisc had before, by which others may name it; 0 if it is in use.

    Asked anew: a handle that another qdisc has meanwhile would have the kernel attach that twice.
    """
    if not handle:
        return 0
    there = view.kernel.rtnl.qdiscs([view.nic.ifindex]).get(view.nic.ifindex, ())
    return 0 if any(entry.handle == handle for entry in there) else handle


def same(key: str, wanted: State, found: State) -> bool:
    """A leaf or root is right when its kind is, whatever parameters nobody names.

    An automatic mq is as good as one of our own while nothing below it has to be written. Where
    the root is to be the kernel's, so is all below it, which nobody can set.
    """
    asked, has, root = wanted[key], found[key], wanted.get(ROOT)
    if key != ROOT and isinstance(root, Qdisc) and root.default:
        return True
    if isinstance(asked, Number):
        assert isinstance(has, Number)
        if key == LEAF_KINDS:  # more of them are nothing to go back to
            return has.value <= asked.value
        _, kind, name = key.split()
        chosen = name == "bandwidth" and _set(wanted, key.replace(name, "autorate"))
        return chosen or same_parameter(kind, name, asked.value, has.value)
    assert isinstance(asked, Qdisc)
    assert isinstance(has, Qdisc)
    if asked.default:
        return has.default
    if asked.kind == has.kind == "mq" and has.default:
        return all(
            below in found and same(below, wanted, found) for below in wanted if below != key
        )
    return asked.kind == has.kind


def _set(wanted: State, flag: str) -> bool:
    """Whether a flag is on: cake with autorate changes its bandwidth by itself."""
    value = wanted.get(flag)
    return isinstance(value, Number) and bool(value.value)


def within(key: str, wanted: Value, found: Value) -> bool:
    """Times and sizes are rounded, by less than a hundredth; how, differs between kernels."""
    if isinstance(wanted, Number) and isinstance(found, Number):
        return abs(found.value - wanted.value) * 100 <= abs(wanted.value)
    return wanted == found


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """Shapers, classes and filters that a write would remove, and kinds the kernel has not got.

    Another root is then left out, too: under it there would be what nobody asked for.
    """
    entries = {e.parent: e for e in view.ask(QDISCS) if e.parent != INGRESS_PARENT}
    had = {entry.kind: True for entry in entries.values()}
    root, in_the_way = entries.get(ROOT_PARENT), {}
    for key, value in values.items():
        place = place_of(key)
        below = root.handle if root and root.kind == "mq" else 0
        parent = ROOT_PARENT if place == ROOT else _class_of(below, place)
        there = [entries[parent]] if parent in entries else []
        # A change without a size table removes that, too: sch_api.c, qdisc_change().
        replaces = _replaces(key, found, value)
        ends = [*entries.values()] if replaces and place == ROOT else there
        lost = (_lost(view, entry, whole=replaces) for entry in ends)
        if why := next(filter(None, lost), ""):
            in_the_way[key] = why
        elif isinstance(value, Qdisc) and not value.default:
            if value.kind not in had:
                had[value.kind] = view.kernel.rtnl.has_qdisc_kind(value.kind)
            if not had[value.kind]:
                in_the_way |= dict.fromkeys((key, ROOT), f"this kernel does not have {value.kind}")
    return {key: why for key, why in in_the_way.items() if key in values}


def _replaces(key: str, found: State, value: Value) -> bool:
    """Whether a write puts a new qdisc in the place of the one that is there."""
    if isinstance(value, Qdisc):
        has = found.get(key)
        return not isinstance(has, Qdisc) or value.default or value.kind != has.kind
    return key in found and (key == LEAF_KINDS or _fixed(key))


def _fixed(key: str) -> bool:
    """Whether a parameter is one that an attached qdisc does not let be changed."""
    _, kind, name = key.split()
    row = PARAMETERS.get(kind, {}).get(name)
    return row is not None and row.creation_only


def _class_of(handle: int, place: str) -> int:
    """The class of an mq that is a queue's."""
    return handle | int(place.removeprefix("tx-")) + 1


def _lost(view: View, entry: QdiscEntry, *, whole: bool) -> str:
    """Why a qdisc that a write removes, not ``whole``, could not be put back; empty if it could.

    One without a handle is the kernel's own and comes as it was; but for filters, which the root
    takes even then.
    """
    root = entry.parent == ROOT_PARENT
    where = f"{entry.kind} at {ROOT if root else f'queue {(entry.parent & 0xFFFF) - 1}'}"
    if entry.sized:
        return f"the size table of {where} could not be put back; remove it first"
    if whole and entry.handle and entry.kind not in PARAMETERS:
        return f"{where} could not be put back; remove it first"
    if whole and entry.foreign:
        return f"priomap or weights of {where} could not be put back; remove it first"
    takes_filters = whole and entry.kind in FILTERED and (entry.handle or root)
    if takes_filters and view.kernel.rtnl.has_filters(view.nic.ifindex, entry.handle):
        return f"filters of {where} could not be put back; remove them first"
    return ""


def needs(key: str) -> tuple[Setting, ...]:
    """A leaf needs its root, a parameter its qdisc."""
    place = place_of(key)
    above = ((NAME, place),) if place != key else ()
    return (*above, (NAME, ROOT)) if place != ROOT else above


def loses(found: State, key: str) -> Iterator[str]:
    """Another root takes all that is below it away, another qdisc its parameters.

    What is below an automatic mq is the kernel's and comes back with it. fq_codel cannot change
    ``flows``: a new one takes its place.
    """
    root, place = found.get(ROOT), place_of(key)
    if isinstance(root, Qdisc) and root.default:
        if place == ROOT:
            yield from {ROOT, LEAF_KINDS} & found.keys() - {key}
        return
    if place != key and not _fixed(key):
        return
    for other in found:
        if other != key and (key == ROOT or other.startswith(f"{place} ")):
            yield other


def makes(key: str, found: State) -> bool:
    """Of a queue that is closed the kernel does not show the qdisc that it gave it itself."""
    root = found.get(ROOT)
    return isinstance(root, Qdisc) and root.kind == "mq" and not root.default and " " not in key


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.qdisc
    if spec is None:
        return NOT_ASKED
    if spec == "default":
        return "the kernel's own choice"
    many = target.queues(nic).tx_queues > 1 and spec.kind not in ROOT_ONLY
    return "parent of the queues' qdiscs" if key == ROOT and many else "the profile's qdisc"


def texts(state: State) -> dict[str, str]:
    """What is attached where, with its parameters: ``fq flow_limit 1000``."""
    found = {key: str(value) for key, value in state.items() if isinstance(value, Qdisc)}
    kinds = {key: value.kind for key, value in state.items() if isinstance(value, Qdisc)}
    for key, value in state.items():
        if isinstance(value, Number) and key != LEAF_KINDS:
            place, kind, name = key.split(" ")
            if kinds.get(place) == kind:
                found[place] += f" {name} {value}"
    return found


def summary(state: State) -> str:
    """The root first, then each different leaf with its count."""
    shown = texts(state)
    root = shown.pop(ROOT, None)
    leaves = Counter(shown.values())
    many = [f"{text} ×{count}" if count > 1 else text for text, count in leaves.items()]
    more = [f"… ({len(leaves)})"] if len(leaves) > 3 else []
    return ", ".join([*filter(None, [root]), *many[:3], *more])


def queues(nic: Nic, state: State) -> Mapping[Queue, str]:
    """The qdisc of each transmit queue; of a single one the root."""
    shown = texts(state)
    root = shown.pop(ROOT, "")
    found = {("tx", int(key.removeprefix("tx-"))): text for key, text in shown.items()}
    return found or ({("tx", 0): root} if nic.tx_queues == 1 and root else {})


def upgrade(state: Mapping[str, object]) -> Mapping[str, object]:
    """Up to version 3 of the baseline a qdisc's parameters stood in its value."""
    found: dict[str, object] = {}
    for key, value in state.items():
        if not isinstance(value, dict) or "parameters" not in value:
            found[key] = value
            continue
        kind, default = value.get("qdisc"), value.get("default")
        found[key] = {"qdisc": kind, "default": default}
        for name, number in {} if default else dict(value["parameters"]).items():
            found[f"{key} {kind} {name}"] = {"number": number}
    return found


def captured(seen: Seen) -> Iterator[Words]:
    """The kind that all queues have, or the root, and its parameters that are not the usual ones.

    What the kernel attached by itself needs no word.
    """
    root = seen.state[ROOT]
    assert isinstance(root, Qdisc)
    if root.default:
        if seen.whole:
            yield "default"
        return
    place = "tx-0" if root.kind == "mq" else ROOT
    top = seen.state.get(place)
    if not isinstance(top, Qdisc):
        return
    prefix, usual = f"{place} {top.kind} ", {} if seen.whole else USUAL.get(top.kind, {})
    parameters = {
        key.removeprefix(prefix): value
        for key, value in seen.state.items()
        if key.startswith(prefix) and isinstance(value, Number)
    }
    yield {"kind": top.kind} | {
        name: value.text or value.value
        for name, value in parameters.items()
        if can_be_named(top.kind, name) and usual.get(name) != value.value
    }


QDISC = Tunable(
    name=NAME,
    holds=(Qdisc, Number),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    read=read,
    write=write,
    desired=desired,
    why=why,
    captured=captured,
    by_key=True,
    group=group,
    same=same,
    within=within,
    obstacles=obstacles,
    stale=lambda key: CARD if key == LEAF_KINDS else OWN if key == place_of(key) else NOTHING,
    needs=needs,
    loses=loses,
    makes=makes,
    outlasts=lambda key: key == LEAF_KINDS,
    events=frozenset({QDISC_EVENT}),
    writers=Writers(hint="look for `tc` in scripts and timers", network_manager=("tc.qdisc.*",)),
    summary=summary,
    column=NAME,
    queues=queues,
    upgrade=upgrade,
)
