"""Flow rules (ntuple filters): which packets go to which receive queue, whatever their hash.

A card's rules are whoever's made them. netuned's own are those at locations of which its record
says that nothing was there before; no other is changed or taken away. They take the lowest free
locations, in the profile's order, and stay where they are while that is right.

Source: ethtool(8) -N; Documentation/networking/scaling.rst, "RSS: Receive Side Scaling";
net/ethtool/ioctl.c, ethtool_set_rxnfc(); drivers' ``set_rxnfc``.
"""

from __future__ import annotations

import errno
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.questions import RULES as QUESTION
from netuned.kernel.rules import RuleTable
from netuned.profiles.profile import Profile
from netuned.tunables import channels
from netuned.tunables.base import (
    NOT_ASKED,
    Limits,
    Target,
    Tunable,
    View,
    Wanted,
    Writers,
    keyed_summary,
)
from netuned.values import ABSENT, ChannelCounts, FlowRule, State, Value

NAME = "flows"
SIZE = "size"
"""Of the limits: how many locations the card has."""

_KEY = re.compile(r"rule (0|[1-9][0-9]{0,9})", re.ASCII)
_REFUSED = (errno.EINVAL, errno.ENOSPC, errno.EEXIST, errno.ERANGE, errno.ENOENT)
"""What of a rule is the driver's word about that rule alone."""


def _key(location: int) -> str:
    return f"rule {location}"


def _location(key: str) -> int:
    return int(key.removeprefix("rule "))


def read(view: View) -> State:
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def state_of(found: RuleTable) -> State:
    return {_key(location): rule for location, rule in found.rules.items()}


def limits_of(found: RuleTable) -> Limits:
    """The card's locations, and by key the digest of what is at those that are taken."""
    taken = {key: _digest(rule) for key, rule in state_of(found).items()}
    return {SIZE: found.size, **taken}


def _digest(rule: Value) -> int:
    return zlib.crc32(str(rule).encode())


def wanted_of(profile: Profile) -> tuple[FlowRule, ...]:
    return tuple(
        FlowRule(spec.match.proto, tuple(spec.match.fields().items()), spec.to)
        for spec in profile.flows or ()
    )


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    rules = wanted_of(target.profile)
    queues = target.queues(nic).rx_queues
    wanted: dict[str, Value | UnsupportedError] = {}
    for rule, location in zip(rules, _places(rules, limits), strict=True):
        if location is None:
            wanted[f"rule {limits[SIZE]}"] = UnsupportedError(
                NAME, f"the card has {limits[SIZE]} locations, and none is free for {rule}"
            )
        elif (queue := _queue(rule)) is not None and queue >= queues:
            why = f"{rule}: the card has queues 0-{queues - 1}"
            wanted[_key(location)] = UnsupportedError(NAME, why)
        else:
            wanted[_key(location)] = rule
    return wanted


def _queue(rule: Value) -> int | None:
    if isinstance(rule, FlowRule) and rule.to.startswith("queue "):
        return int(rule.to.removeprefix("queue "))
    return None


def _places(rules: Sequence[FlowRule], limits: Limits) -> Iterator[int | None]:
    """A location for each rule, ascending: where all are already, else the first that are free."""
    at: dict[int, list[int]] = {}
    for key, digest in limits.items():
        if key != SIZE:
            at.setdefault(digest, []).append(_location(key))
    there: list[int] = []
    for rule in rules:
        after = there[-1] if there else -1
        found = [place for place in at.get(_digest(rule), ()) if place > after]
        if not found:
            break
        there.append(min(found))
    if len(there) == len(rules):
        yield from there
        return
    last = -1
    for rule in rules:
        free = (
            place
            for place in range(last + 1, limits[SIZE])
            if limits.get(_key(place), _digest(rule)) == _digest(rule)
        )
        place = next(free, None)
        last = last if place is None else place
        yield place


def write(view: View, found: State, values: State) -> None:
    """What goes and what is replaced goes first: a card refuses a rule that it has elsewhere."""
    ifindex, ethtool = view.nic.ifindex, view.kernel.ethtool
    has = state_of(view.kernel.get(QUESTION, ifindex))
    differing = {key: rule for key, rule in values.items() if has.get(key, ABSENT) != rule}
    for key in sorted(differing.keys() & has.keys(), key=_location):
        with _about(key):
            ethtool.delete_rule(ifindex, _location(key))
    for key in sorted(differing, key=_location):
        rule = differing[key]
        if isinstance(rule, FlowRule):
            with _about(key):
                ethtool.set_rule(ifindex, _location(key), rule)


@contextmanager
def _about(key: str) -> Iterator[None]:
    """Have an error that is the driver's word about a rule say of which."""
    try:
        yield
    except UnsupportedError as error:
        raise KernelError("set", NAME, errno.EOPNOTSUPP, error.why, key) from None
    except KernelError as error:
        raise replace(error, attribute=key if error.errno in _REFUSED else "") from None


def why(target: Target, nic: Nic, key: str) -> str:
    return "the profile's rule" if target.profile.flows is not None else NOT_ASKED


def fits(states: Mapping[str, State]) -> bool:
    """The kernel ends no queue that a rule names."""
    counts = states.get(channels.NAME, {}).get("")
    named = [_queue(rule) for rule in states.get(NAME, {}).values()]
    return not isinstance(counts, ChannelCounts) or all(
        queue is None or queue < counts.rx_queues for queue in named
    )


RULES = Tunable(
    name=NAME,
    holds=(FlowRule,),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    fresh=ABSENT,
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=lambda view: limits_of(view.ask(QUESTION)),
    limits_change=True,
    by_key=True,
    group=lambda key: NAME,
    needs=lambda key: ((channels.NAME, ""),),
    leaves=True,
    fits=fits,
    silent=lambda kernel: True,
    writers=Writers(hint="look for `ethtool -N` in scripts and timers"),
    summary=keyed_summary,
)
