"""Flow rules (ntuple filters): which packets go to which receive queue, whatever their hash.

A card's rules are whoever's made them. A key is a location and a checksum of the rule that is
there, so that netuned's record says both: its own are the rules that, at their location, were not
there before it. No other is taken away, nor written over but where it came in the place of one of
these while the profile asks for that. Its own take the lowest locations that others leave free, in
the profile's order, and stay where they are while that is right.

Source: ethtool(8) -N; Documentation/networking/scaling.rst, "RSS: Receive Side Scaling";
net/ethtool/ioctl.c, ethtool_set_rxnfc(); drivers' ``set_rxnfc``.
"""

from __future__ import annotations

import errno
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel.netdev import Bound
from netuned.kernel.questions import RULES as QUESTION
from netuned.kernel.rules import RuleTable, is_writable
from netuned.profiles.flows import FlowSpec
from netuned.profiles.profile import Profile
from netuned.tunables import channels
from netuned.tunables.base import (
    NOT_ASKED,
    Limits,
    Queue,
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

_KEY = re.compile(r"rule (0|[1-9][0-9]{0,9}) [0-9a-f]{8}", re.ASCII)
_REFUSED = (errno.EINVAL, errno.ENOSPC, errno.EEXIST, errno.ERANGE, errno.ENOENT)
"""What of a rule is the driver's word about that rule alone."""


def _key(location: int, rule: FlowRule) -> str:
    return f"rule {location} {zlib.crc32(str(rule).encode()):08x}"


def _location(key: str) -> int:
    return int(key.split()[1])


def _digest(key: str) -> str:
    return key.split()[2]


def read(view: View) -> State:
    """All rules; in brief only where there are any and what those are that are wanted."""
    known = view.kept.last(NAME) if view.asked.brief else None
    if isinstance(known, dict) and _is_as_read(view, known):
        return known
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def _is_as_read(view: View, known: State) -> bool:
    ifindex, ethtool = view.nic.ifindex, view.kernel.ethtool
    if ethtool.rule_places(ifindex)[1] != tuple(sorted(map(_location, known))):
        return False
    own = [key for key in view.keys(NAME) if key in known]
    try:
        return all(ethtool.rule(ifindex, _location(key)) == known[key] for key in own)
    except KernelError:  # it went just now, or the card did, which all of them will tell
        return False


def state_of(found: RuleTable) -> State:
    return {_key(location, rule): rule for location, rule in found.rules.items()}


def limits_of(found: RuleTable, own: Collection[int] = ()) -> Limits:
    """The card's locations; and by the key of what is at one, whether it makes room (1) or not."""
    return {SIZE: found.size, **{key: _location(key) in own for key in state_of(found)}}


def limits(view: View) -> Limits:
    found = view.ask(QUESTION)
    return limits_of(found, _own(view, state_of(found)))


def _own(view: View, found: State) -> set[int]:
    """Where netuned's own rules are, or were; not where another is by now that cannot be remade."""
    there = {_location(key): rule for key, rule in found.items()}
    own = {_location(key) for key in view.own(NAME, found)}
    return {at for at in own if at not in there or _is_writable(there[at])}


def _is_writable(rule: Value) -> bool:
    return isinstance(rule, FlowRule) and is_writable(rule)


def wanted_of(profile: Profile) -> tuple[FlowRule, ...]:
    return tuple(rule_of(spec) for spec in profile.flows or ())


def rule_of(spec: FlowSpec) -> FlowRule:
    return FlowRule(spec.match.proto, tuple(spec.match.fields().items()), spec.to)


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    rules = wanted_of(target.profile)
    queues = target.queues(nic).rx_queues
    wanted: dict[str, Value | UnsupportedError] = {}
    for number, (rule, place) in enumerate(zip(rules, _places(rules, limits), strict=True)):
        if place is None:
            wanted[_key(limits[SIZE] + number, rule)] = UnsupportedError(
                NAME, f"the card has {limits[SIZE]} locations, and none is free for {rule}"
            )
        elif (queue := _queue(rule)) is not None and queue >= queues:
            why = f"{rule}: the card has queues 0-{queues - 1}"
            wanted[_key(place, rule)] = UnsupportedError(NAME, why)
        else:
            wanted[_key(place, rule)] = rule
    return wanted


def _queue(rule: Value | None) -> int | None:
    """The card's own queue that a rule names."""
    if isinstance(rule, FlowRule) and rule.to.startswith("queue "):
        return int(rule.to.removeprefix("queue "))
    return None


def _places(rules: Sequence[FlowRule], limits: Limits) -> Iterator[int | None]:
    """A location for each rule, ascending: where all are already, else the first that are free."""
    keys = [key for key in limits if key != SIZE]
    taken = {_location(key): _digest(key) for key in keys if not limits[key]}
    at: dict[str, list[int]] = {}
    for key in keys:
        at.setdefault(_digest(key), []).append(_location(key))
    digests = [_digest(_key(0, rule)) for rule in rules]
    there: list[int] = []
    for digest in digests:
        after = there[-1] if there else -1
        found = [place for place in at.get(digest, ()) if place > after]
        if not found:
            break
        there.append(min(found))
    if len(there) == len(rules):
        yield from there
        return
    last = -1
    for digest in digests:
        free = range(last + 1, limits[SIZE])
        place = next((place for place in free if taken.get(place, digest) == digest), None)
        last = last if place is None else place
        yield place


def instead(wanted: State, found: State) -> State:
    if wanted.keys() <= found.keys():
        return {}
    at = {_location(key): rule for key, rule in found.items() if key not in wanted}
    return {
        key: at[_location(key)]
        for key, rule in wanted.items()
        if rule is not ABSENT and key not in found and _location(key) in at
    }


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """Rules of others that came to a location after it was chosen: another is to be found."""
    others = _others(view, found, values)
    return {
        key: "a rule of somebody else is at its location"
        for key, rule in values.items()
        if rule is not ABSENT and _location(key) in others
    }


def _others(view: View, found: State, values: State) -> set[int]:
    """The locations of rules that are neither netuned's own nor to go."""
    going = {_location(key) for key, rule in values.items() if rule is ABSENT and key in found}
    return {_location(key) for key in found} - going - _own(view, found)


def write(view: View, found: State, values: State) -> None:
    """What goes and what is replaced goes first: a card refuses a rule that it has elsewhere.

    What is at a location by now is looked for once more, and left if it is somebody else's. A rule
    that the driver makes another of is taken away again: it would be on record as none of these.
    """
    ifindex, ethtool = view.nic.ifindex, view.kernel.ethtool
    has = state_of(view.kernel.get(QUESTION, ifindex))
    others, taken = _others(view, has, values), {_location(key) for key in has}
    coming = {
        key: rule
        for key, rule in values.items()
        if isinstance(rule, FlowRule) and has.get(key) != rule and _location(key) not in others
    }
    going = {_location(key): key for key in coming if _location(key) in taken}
    going |= {_location(key): key for key, rule in values.items() if rule is ABSENT and key in has}
    for location, key in sorted(going.items()):
        with _about(key):
            ethtool.delete_rule(ifindex, location)
    for key in sorted(coming, key=_location):
        with _about(key):
            ethtool.set_rule(ifindex, _location(key), coming[key])
            if (made := ethtool.rule(ifindex, _location(key))) != coming[key]:
                ethtool.delete_rule(ifindex, _location(key))
                raise KernelError("set", NAME, errno.EINVAL, f"the driver makes {made} of it")


@contextmanager
def _about(key: str) -> Iterator[None]:
    """Have an error that is the driver's word about a rule say of which."""
    try:
        yield
    except UnsupportedError as error:
        raise KernelError("set", NAME, errno.EOPNOTSUPP, error.why, key) from None
    except KernelError as error:
        raise replace(error, attribute=key if error.errno in _REFUSED else "") from None


def ground(key: str, before: Value | None, after: Value, bound: Bound) -> Iterator[Queue]:
    """A rule that goes takes its packets from what is bound to its queue."""
    if after != before and (queue := _queue(before)) is not None and (RX, queue) in bound:
        yield RX, queue


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
    limits=limits,
    limits_change=True,
    by_key=True,
    group=lambda key: NAME,
    needs=lambda key: ((channels.NAME, ""),),
    leaves=(channels.NAME,),
    fits=fits,
    ground=ground,
    obstacles=obstacles,
    instead=instead,
    silent=lambda kernel: True,
    writers=Writers(hint="look for `ethtool -N` in scripts and timers"),
    summary=lambda state: keyed_summary({k.rpartition(" ")[0]: v for k, v in state.items()}),
)
