"""How a card's NAPI instances poll: in threads or not, with interrupts put off or suspended.

What is written to the card's own files goes to all of its instances, and new ones come with it; one
by one they are set since Linux 6.13, which shows in no file and raises no event. So the card's
setting comes first, and then what is to be different of single queues. An instance goes by the
first queue it serves, as ``rx-3``. One that is not there, for the card is down, counts as what it
will come with: as the card's files say.

Source: Documentation/networking/napi.rst, "Software IRQ coalescing" and "IRQ suspension";
net/core/dev.c, netdev_set_defer_hard_irqs(); Documentation/netlink/specs/netdev.yaml, napi-set.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache

from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.questions import NAPIS as QUESTION
from netuned.profiles.scalars import time_text
from netuned.regex import regex
from netuned.tunables import masks
from netuned.tunables.base import (
    BOOT,
    NOT_ASKED,
    NOTHING,
    OWN,
    Boot,
    Limits,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Watched,
    Words,
    Writers,
)
from netuned.tunables.numbers import Field, why_said
from netuned.valuejson import typed
from netuned.values import Number, Setting, State, Value, Word, describe

NAME = "napi"
SUSPEND = "irq-suspend-timeout"
"""Of single instances alone."""
FIELDS = {
    "defer-hard-irqs": Field("polls"),
    "gro-flush-timeout": Field("ns"),
    SUSPEND: Field("ns"),
    "threaded": Field(words={0: "off", 1: "on", 2: "busy-poll"}),
}
FILES = {
    "defer-hard-irqs": "napi_defer_hard_irqs",
    "gro-flush-timeout": "gro_flush_timeout",
    "threaded": "threaded",
}
"""Of the whole card: what has one."""

THREADS = "threads"
ALLOW = (
    "netuned may not pin kernel threads (CAP_SYS_NICE); to allow it: install -Dm644 -t "
    "/etc/systemd/system/netuned.service.d /usr/lib/netuned/napi-threads.conf && "
    "systemctl daemon-reload && systemctl restart netuned"
)
NO_THREAD = "no kernel thread is known to poll for the queue (napi.threaded)"

ONE_BY_ONE = "one-by-one"
"""Among the limits: whether instances can be set so."""

THREADED, BUSY_POLL = "threaded", "busy-poll"
"""Of single instances since Linux 6.17; by netdev-genl alone, since 6.19."""

NOT_HERE = "no NAPI instance is known to serve the queue"
DOWN = "the card is down, its NAPI instances come when it goes up"

_KEY = regex(rf"(?:{'|'.join(FILES)})|(?:rx|tx)-[0-9]{{1,5}} (?:{'|'.join(FIELDS)}|threads)")


def queue_of(key: str) -> str:
    """The queue by which an instance goes; empty for what is of the whole card."""
    return key.rpartition(" ")[0]


def name_of(key: str) -> str:
    return key.rpartition(" ")[2]


def limits(view: View) -> Limits:
    """Names of the card's files that this kernel has, and what it tells of the instances."""
    found = {name: 1 for name, file in FILES.items() if view.files.exists(file)}
    if view.kernel.netdev.sets_napis():
        found[ONE_BY_ONE] = 1
    try:
        told = view.ask(QUESTION)
    except UnsupportedError:
        return found
    return {**found, THREADS: 1, **told}


def read(view: View) -> State:
    try:
        card = _read_card(view, tuple(FILES))
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise  # only then is looked for them: one that cannot be looked at is not one less
        names = tuple(name for name, file in FILES.items() if view.files.exists(file))
        card = _read_card(view, names) if names else {}
    try:
        told = view.ask(QUESTION)
    except UnsupportedError:
        told = {}
    count = view.nic.rx_queues if view.kernel.netdev.sets_napis() else 0
    return view.kept.same(NAME, (card, told, count), _merged)


def _read_card(view: View, names: tuple[str, ...]) -> State:
    def parse(contents: Sequence[bytes]) -> State:
        return {name: _parse(name, text) for name, text in zip(names, contents, strict=True)}

    return view.kept.sweep(tuple(FILES[name] for name in names), parse)


def _parse(name: str, content: bytes) -> Value:
    return FIELDS[name].value(masks.number(content, FILES[name]))


def _merged(found: tuple[State, Mapping[str, int], int]) -> State:
    card, told, count = found
    state = dict(card)
    singles = _singles(told)
    singly = {name: value for name, value in card.items() if _is_told(name, singles)}
    for queue in range(count):
        state |= {f"rx-{queue} {name}": value for name, value in singly.items()}
    for key, number in told.items():
        name = name_of(key)
        if name == THREADS:
            state[key] = CpuSet(number)
        elif name in FIELDS:
            state[key] = FIELDS[name].value(number)
    return state


def _singles(told: Mapping[str, int]) -> set[str]:
    """What is told of single instances."""
    return {name_of(key) for key in told if queue_of(key)}


def _is_told(name: str, singles: Collection[str]) -> bool:
    """Whether this kernel has a setting of single instances, as far as they show."""
    return name != THREADED or not singles or name in singles


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    spec = target.profile.napi
    assert spec is not None
    wanted: dict[str, Value | UnsupportedError | Boot] = {}
    told = [(queue, name) for queue, _, name in (key.rpartition(" ") for key in limits) if queue]
    singles, of_all = {name for _, name in told}, spec.named()
    for name, said in of_all.items():
        if said == BUSY_POLL or name not in FILES:
            if ONE_BY_ONE not in limits or not _is_told(name, singles):
                wanted[name] = UnsupportedError(name, _lacks(said if said == BUSY_POLL else name))
        elif name in limits:
            wanted[name] = _wanted(name, said)
        else:
            wanted[name] = UnsupportedError(name, _lacks(name))
    receiving = range(target.queues(nic).rx_queues)
    queues = dict.fromkeys([f"rx-{queue}" for queue in receiving])
    queues |= dict.fromkeys([queue for queue, _ in told])
    numbers = {queue: masks.ends_with(queue)[1] for queue in queues}
    has = CpuSet.of(numbers.values())
    said_of = spec.of_queues(has, target.profile.queues_apart(len(receiving)))
    known = {name for name in FIELDS if _is_told(name, singles)}
    for queue, number in numbers.items():
        for name, said in said_of[number].items() if ONE_BY_ONE in limits else ():
            if name in known:
                wanted[f"{queue} {name}"] = _wanted(name, said)
            elif name not in of_all:
                wanted[f"{queue} {name}"] = UnsupportedError(name, _lacks("queues"))
        if spec.threads and THREADS in limits:
            wanted[f"{queue} {THREADS}"] = _thread_cpus(target, number)
    if spec.threads and THREADS not in limits:
        why = "this kernel does not tell which threads they are; Linux 6.8 does"
        wanted[THREADS] = UnsupportedError(THREADS, why)
    if spec.queues and ONE_BY_ONE not in limits:
        wanted["queues"] = UnsupportedError("queues", _lacks("queues"))
    elif beyond := CpuSet.of(queue for queues in spec.numbered for queue in queues) - has:
        wanted["queues"] = UnsupportedError("queues", f"the card has no queue {beyond.first}")
    return wanted


def _thread_cpus(target: Target, queue: int) -> Value | Boot:
    spec = target.profile.napi
    if spec is None or spec.threads == "default":
        return BOOT
    return target.thread_cpus or target.queue_cpus[queue % len(target.queue_cpus)]


def _lacks(name: str) -> str:
    if name in FILES:
        return "this kernel does not have it"
    if name == BUSY_POLL:
        return "this kernel does not have busy-poll; Linux 6.19 does"
    return "this kernel cannot set it of single NAPI instances; Linux 6.13 can, threads 6.17"


@lru_cache(maxsize=256)
def _wanted(name: str, said: int | str) -> Value | Boot:
    if isinstance(said, int):
        return Number(said, FIELDS[name].unit)
    return BOOT if said == "default" else Word(said)


def same(key: str, wanted: State, found: State) -> bool:
    """What all instances are to have comes with the card's own setting, where that is to come."""
    name = name_of(key)
    comes = name != key and wanted[key] == wanted.get(name) != found.get(name, wanted[key])
    return comes or wanted[key] == found[key]


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """Instances that are not here to be set."""
    queues = {queue_of(key) for key in values} - {""}
    told = view.ask(QUESTION) if queues else {}
    here = set(map(queue_of, told))
    why = NOT_HERE if view.nic.up else DOWN
    if not view.kernel.netdev.sets_napis():
        here |= queues  # before that they show by their threads alone
    absent = {key: why for key in values if (queue := queue_of(key)) and queue not in here}
    for key in [key for key in values if key not in found and key not in absent]:
        comes = {values.get(at, Word("off")) for _, at in needs(key)} - {Word("off")}
        if name_of(key) == THREADS and not comes:
            absent[key] = NO_THREAD
    return absent if view.nic.up or THREADED not in values else {**absent, THREADED: DOWN}


def write(view: View, found: State, values: State) -> None:
    numbers = {
        key: value.bits if isinstance(value, CpuSet) else FIELDS[name_of(key)].number(value)
        for key, value in values.items()
    }
    if of_queues := {key: number for key, number in numbers.items() if queue_of(key)}:
        try:
            view.kernel.set(QUESTION, view.nic.ifindex, of_queues)
        except KernelError as error:
            if error.errno == errno.ERANGE and name_of(error.attribute) == THREADED:
                error.extack = _lacks(BUSY_POLL)
            elif error.errno == errno.EPERM and name_of(error.attribute) == THREADS:
                error.extack = ALLOW
            raise
        return
    for name, number in numbers.items():
        try:
            view.files.write(FILES[name], str(number).encode())
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise UnsupportedError(name, "the card has no NAPI instances now") from error
            raise


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.napi
    if spec is None:
        return NOT_ASKED
    name, queue = name_of(key), queue_of(key)
    if name == THREADS and spec.threads != "default":
        irq = spec.threads == "irq"
        return "where the queue is served" if irq else f"the profile's set {spec.threads}"
    said = spec.named()
    if queue:
        number = masks.ends_with(queue)[1]
        apart = target.profile.queues_apart(nic.rx_queues)
        said = spec.of_queues([number], apart)[number]
    if name == THREADS or said.get(name) == "default":
        return why_said("default")
    own = bool(queue) and said != spec.named()
    return "the profile's value for this queue" if own else why_said(None)


def needs(key: str) -> tuple[Setting, ...]:
    """The card's own setting is written to all instances; without it there is no thread."""
    if name_of(key) == THREADS:
        return (NAME, THREADED), (NAME, f"{queue_of(key)} {THREADED}")
    return ((NAME, name_of(key)),) if queue_of(key) and name_of(key) in FILES else ()


def loses(found: State, key: str) -> Iterator[str]:
    if not queue_of(key):
        yield from (other for other in found if other != key and name_of(other) == key)


def makes(key: str, found: State) -> bool:
    """An instance of a queue that is open comes; a thread with what it had goes."""
    return name_of(key) != THREADS and f"{queue_of(key)} defer-hard-irqs" in found


def within(key: str, wanted: Value, found: Value) -> bool:
    """A thread may not be where its cpuset is not, nor on CPUs that are offline."""
    return masks.within(key, wanted, found) if name_of(key) == THREADS else wanted == found


def group(key: str) -> str:
    """All that is set of instances goes together, and where their threads run."""
    if name_of(key) == THREADS:
        return THREADS
    return "" if queue_of(key) else key


def watched(nic: Nic) -> Iterator[Watched]:
    for file in FILES.values():
        yield ".", file


def files(nic: Nic, key: str) -> tuple[str, ...]:
    return (f"{nic.name}/{FILES[name_of(key)]}",) if name_of(key) in FILES else ()


def summary(state: State) -> str:
    """The card's own, then what instances have that is not that."""
    shown = [f"{key} {describe(value)}" for key, value in state.items() if not queue_of(key)]
    others: dict[str, list[str]] = {}
    for key, value in state.items():
        if queue_of(key) and state.get(name_of(key)) != value:
            others.setdefault(f"{name_of(key)} {describe(value)}", []).append(queue_of(key))
    every = Counter(name_of(key) for key in state if queue_of(key))
    for text, queues in others.items():
        alike = len(queues) == every[text.partition(" ")[0]]
        more = f" and {len(queues) - 1} more" if queues[1:] else ""
        shown.append(text if alike else f"{queues[0]}{more} {text}")
    return ", ".join([*shown[:6], *["…"] * (len(shown) > 6)])


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    """For ``explain``: what the instance of a receive queue has."""
    own = {name_of(key): value for key, value in state.items() if queue_of(key) == f"rx-{queue}"}
    own = own or {key: value for key, value in state.items() if not queue_of(key)}
    key = next((key for key in state if queue_of(key) == f"rx-{queue}"), next(iter(state), ""))
    text = ", ".join(f"{name} {describe(value)}" for name, value in own.items())
    return key, text or None, {name: typed(value) for name, value in own.items()}


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """What all instances have, then what those of some queues have in place of it."""
    of_all = {name: _said(value) for name, value in seen.state.items() if not queue_of(name)}
    own: dict[int, dict[str, int | str]] = {}
    for key, value in seen.state.items():
        if (queue := queue_of(key)) and name_of(key) in FIELDS:
            own.setdefault(masks.ends_with(queue)[1], {})[name_of(key)] = _said(value)
    suspended = Counter(of[SUSPEND] for of in own.values() if SUSPEND in of)
    if suspended:
        of_all[SUSPEND] = suspended.most_common(1)[0][0]
    words: dict[str, object] = {
        name: said for name, said in of_all.items() if seen.whole or said not in (0, "off")
    }
    alike: dict[tuple[tuple[str, object], ...], list[int]] = {}
    for number, of in own.items():
        if other := tuple((name, said) for name, said in of.items() if said != of_all.get(name)):
            alike.setdefault(other, []).append(number)
    if alike:
        words["queues"] = {str(CpuSet.of(queues)): dict(other) for other, queues in alike.items()}
    yield from _with_threads(words, seen)
    if any(suspended.keys()):
        polls = {key: said for key, said in words.items() if said != 0}  # beside which none is 0
        yield from _with_threads(polls, seen)
        yield UnsupportedError(SUSPEND, "beside what else is set it does nothing")
        yield from _with_threads(_without(words, SUSPEND), seen)


def _said(value: Value) -> int | str:
    """A value in a profile's words."""
    if not isinstance(value, Number):
        return str(value)
    return time_text(value.value) if value.unit == "ns" and value.value else value.value


def _without(said: Mapping[str, object], name: str) -> dict[str, object]:
    found = {
        key: _without(value, name) if isinstance(value, dict) else value
        for key, value in said.items()
        if key != name
    }
    return {key: value for key, value in found.items() if value != {}}


def _with_threads(said: Mapping[str, object], seen: Seen) -> Iterator[Words | UnsupportedError]:
    """Also where threads run, unless that is wherever the scheduler has them."""
    found = [v for k, v in seen.state.items() if name_of(k) == THREADS and isinstance(v, CpuSet)]
    sets = list(seen.sets(found[0])) if found and found.count(found[0]) == len(found) else []
    if found and (seen.whole or {"online", "housekeeping"}.isdisjoint(sets)):
        yield from ({**said, THREADS: text} for text in sets)
        yield {**said, THREADS: "irq"}
        yield UnsupportedError(THREADS, "they are on unlike CPUs, not where interrupts are")
    if said:
        yield said


NAPI = Tunable(
    name=NAME,
    holds=(Number, Word, CpuSet),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=limits,
    by_key=True,
    group=group,
    within=within,
    same=same,
    obstacles=obstacles,
    stale=lambda key: NOTHING if queue_of(key) and name_of(key) != THREADED else OWN,
    needs=needs,
    loses=loses,
    makes=makes,
    silent=lambda kernel: kernel.netdev.lists_napis(),
    watched=watched,
    writers=Writers(files=files, hint="look for napi-set (YNL) in scripts and services"),
    summary=summary,
    facts=lambda nic: (nic.up, nic.rx_queues, nic.tx_queues),
    explained=explained,
    receives=True,
    captured=captured,
)
