"""Byte queue limits: how many bytes a transmit queue of the card may hold that are not sent yet.

The kernel finds a limit by itself, between these two. They are the queue's for good: they stay,
unseen, while it is closed, so what is put back is put back before queues end.

Source: Documentation/ABI/testing/sysfs-class-net-queues; lib/dynamic_queue_limits.c.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.profiles.numbers import NO_BYTE_LIMIT
from netuned.tunables import channels, masks
from netuned.tunables.base import (
    NO_LIMITS,
    NOT_ASKED,
    Limits,
    Seen,
    Target,
    Tunable,
    View,
    Watched,
    Words,
    Writers,
)
from netuned.valuejson import typed
from netuned.values import Number, State, Value

NAME = "bql"
DIRECTORY = "byte_queue_limits"
FILES = {"max": "limit_max", "min": "limit_min"}
DEFAULTS = {"max": NO_BYTE_LIMIT, "min": 0}


def _place(key: str) -> str:
    """The file of a key like ``tx-3 max``, from the card's directory."""
    queue, _, which = key.partition(" ")
    return masks.path(queue, f"{DIRECTORY}/{FILES[which]}")


def _keys(count: int) -> tuple[str, ...]:
    return tuple(f"tx-{queue} {which}" for queue in range(count) for which in FILES)


def limits(view: View) -> Limits:
    """None, where the card has them. Raises: UnsupportedError."""
    if not view.files.exists(_place("tx-0 max")):
        raise UnsupportedError(NAME, f"the driver {view.nic.driver} does not count queued bytes")
    return NO_LIMITS


def read(view: View) -> State:
    keys = _keys(view.nic.tx_queues)
    try:
        return masks.read(view, keys, tuple(map(_place, keys)), parse)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            limits(view)
        raise


def parse(content: bytes) -> Number:
    """The number in a file. Raises: KernelError when it is none, or cut short."""
    if not (content.endswith(b"\n") and content[:-1].isdigit()):
        raise KernelError("read", f"byte queue limit {content[:40]!r}", errno.EPROTO)
    return _number(int(content))


def _number(value: int) -> Number:
    return Number(value, "bytes", "unlimited" if value == NO_BYTE_LIMIT else "")


def desired(target: Target, nic: Nic, limits: Limits) -> State:
    spec = target.profile.bql
    assert spec is not None
    said = DEFAULTS if spec == "default" else spec.named()
    return {
        f"tx-{queue} {which}": _number(DEFAULTS[which] if value == "default" else int(value))
        for queue in range(target.queues(nic).tx_queues)
        for which, value in said.items()
    }


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        assert isinstance(value, Number)
        view.files.write(_place(key), str(value.value).encode())


def why(target: Target, nic: Nic, key: str) -> str:
    spec = target.profile.bql
    if spec is None:
        return NOT_ASKED
    if spec == "default" or spec.named().get(key.partition(" ")[2]) == "default":
        return "default: the kernel's own"
    return "the profile's value"


def watched(nic: Nic) -> Iterator[Watched]:
    for queue in range(nic.tx_queues):
        for file in FILES.values():
            yield masks.path(f"tx-{queue}", DIRECTORY), file


def summary(state: State) -> str:
    """``max 100000 bytes, min 0 bytes``; ``various`` where it is not the same everywhere."""
    by_which: dict[str, set[str]] = {}
    for key, value in state.items():
        by_which.setdefault(key.partition(" ")[2], set()).add(str(value))
    return ", ".join(
        f"{which} {values.pop() if len(values) == 1 else 'various'}"
        for which, values in by_which.items()
    )


def explained(state: State, queue: int) -> tuple[str, str | None, object]:
    own: Mapping[str, Value] = {key: state[key] for key in _keys(queue + 1)[-2:] if key in state}
    data = {key.partition(" ")[2]: typed(value) for key, value in own.items()}
    return next(iter(own), f"tx-{queue}"), summary(own) or None, data


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """What all queues have alike, where that is not the kernel's own."""
    said: dict[str, int | str] = {}
    for which, usual in DEFAULTS.items():
        found = {value for key, value in seen.state.items() if key.endswith(f" {which}")}
        numbers = {value.value for value in found if isinstance(value, Number)}
        if len(numbers) > 1:
            yield UnsupportedError(which, "it is not the same of all queues")
        elif numbers and (seen.whole or numbers != {usual}):
            said[which] = "default" if numbers == {usual} else numbers.pop()
    if said:
        yield said


BQL = Tunable(
    name=NAME,
    holds=(Number,),
    accepts=re.compile(r"tx-[0-9]{1,5} (max|min)").fullmatch,  # type: ignore[arg-type]  # truth
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=limits,
    by_key=True,
    leaves=(channels.NAME,),
    watched=watched,
    writers=Writers(files=lambda nic, key: (f"{nic.name}/{_place(key)}",)),
    summary=summary,
    explained=explained,
    captured=captured,
)
