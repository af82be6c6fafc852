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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel.netdev import Bound
from netuned.kernel.questions import CONTEXTS
from netuned.kernel.questions import RULES as QUESTION
from netuned.kernel.rules import PROTOS, RuleTable, is_writable
from netuned.profiles.flows import FlowSpec
from netuned.regex import regex
from netuned.tunables import channels, contexts, numbered
from netuned.tunables.base import (
    NOT_ASKED,
    Limits,
    Queue,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Words,
    Writers,
    keyed_summary,
)
from netuned.tunables.numbered import digest_of, number_of
from netuned.values import ABSENT, ChannelCounts, FlowRule, State, Value

NAME = "flows"
SIZE = "size"
"""Of the limits: how many locations the card has."""

_NOUN = "rule"
_KEY = regex(numbered.KEY.format(_NOUN), re.ASCII)
_REFUSED = (errno.EINVAL, errno.ENOSPC, errno.EEXIST, errno.ERANGE, errno.ENOENT)
"""What of a rule is the driver's word about that rule alone."""


_key = partial(numbered.key_of, _NOUN)


def read(view: View) -> State:
    """All rules; in brief only where there are any and what those are that are wanted."""
    known = view.kept.last(NAME) if view.asked.brief else None
    if isinstance(known, dict) and _is_as_read(view, known):
        return known
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def _is_as_read(view: View, known: State) -> bool:
    ifindex, ethtool = view.nic.ifindex, view.kernel.ethtool
    if ethtool.rule_places(ifindex)[1] != tuple(sorted(map(number_of, known))):
        return False
    own = [key for key in view.keys(NAME) if key in known]
    try:
        return all(ethtool.rule(ifindex, number_of(key)) == known[key] for key in own)
    except KernelError:  # it went just now, or the card did, which all of them will tell
        return False


def state_of(found: RuleTable) -> State:
    return {_key(location, rule): rule for location, rule in found.rules.items()}


def limits_of(found: RuleTable, own: Collection[int] = ()) -> Limits:
    """The card's locations; and by the key of what is at one, whether it makes room (1) or not."""
    return {SIZE: found.size, **{key: number_of(key) in own for key in state_of(found)}}


def limits(view: View) -> Limits:
    found = view.ask(QUESTION)
    own = numbered.own(view, NAME, state_of(found), _is_writable)
    wanted = view.keys(contexts.NAME)  # nothing is asked of contexts where there are to be none
    return {**(contexts.limits(view) if wanted else {}), **limits_of(found, own)}


def _is_writable(rule: Value) -> bool:
    """Whether a rule that somebody put where one of netuned's own was can be remade."""
    return isinstance(rule, FlowRule) and is_writable(rule)


def rule_of(spec: FlowSpec) -> FlowRule:
    return FlowRule(spec.match.proto, tuple(spec.match.fields().items()), spec.to)


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    rules, lacking = _rules(target, nic, limits)
    queues = target.queues(nic).rx_queues
    wanted: dict[str, Value | UnsupportedError] = {}
    for number, (rule, place) in enumerate(zip(rules, _places(rules, limits), strict=True)):
        if place is None:
            wanted[_key(limits[SIZE] + number, rule)] = UnsupportedError(
                NAME, f"the card has {limits[SIZE]} locations, and none is free for {rule}"
            )
        elif number in lacking:
            wanted[_key(place, rule)] = UnsupportedError(NAME, f"{rule}: {lacking[number]}")
        elif (queue := _queue(rule)) is not None and queue >= queues:
            why = f"{rule}: the card has queues 0-{queues - 1}"
            wanted[_key(place, rule)] = UnsupportedError(NAME, why)
        else:
            wanted[_key(place, rule)] = rule
    return wanted


def _rules(
    target: Target, nic: Nic, limits: Limits
) -> tuple[Sequence[FlowRule], Mapping[int, str]]:
    """The profile's rules, with contexts by their numbers; and why some of these cannot be had."""
    rules = [rule_of(spec) for spec in target.profile.flows or ()]
    lacking: dict[int, str] = {}
    if any(rule.to.startswith("context ") for rule in rules):
        places = contexts.placed(target, nic, limits) if contexts.ENTRIES in limits else {}
        for at, rule in enumerate(rules):
            kind, _, name = rule.to.partition(" ")
            if kind == "context":
                place = places.get(name)
                if isinstance(place, tuple):
                    rules[at] = replace(rule, to=f"context {place[0]}")
                else:
                    lacking[at] = place.why if place else f"the context {name} cannot be had"
    return rules, lacking


def _queue(rule: Value | None) -> int | None:
    """The card's own queue that a rule names."""
    if isinstance(rule, FlowRule) and rule.to.startswith("queue "):
        return int(rule.to.removeprefix("queue "))
    return None


def _places(rules: Sequence[FlowRule], limits: Limits) -> Iterator[int | None]:
    """A location for each rule, ascending: where all are already, else the first that are free."""
    keys = [key for key in limits if _KEY.fullmatch(key)]
    taken = {number_of(key): digest_of(key) for key in keys if not limits[key]}
    at: dict[str, list[int]] = {}
    for key in keys:
        at.setdefault(digest_of(key), []).append(number_of(key))
    digests = [digest_of(_key(0, rule)) for rule in rules]
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


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """Rules of others that came to a location after it was chosen: another is to be found."""
    others = numbered.others(view, NAME, found, values, _is_writable)
    return {
        key: "a rule of somebody else is at its location"
        for key, rule in values.items()
        if rule is not ABSENT and number_of(key) in others
    }


def write(view: View, found: State, values: State) -> None:
    """What goes and what is replaced goes first: a card refuses a rule that it has elsewhere.

    What is at a location by now is looked for once more, and left if it is somebody else's. A rule
    that the driver makes another of is taken away again: it would be on record as none of these.
    """
    ifindex, ethtool = view.nic.ifindex, view.kernel.ethtool
    has = state_of(view.kernel.get(QUESTION, ifindex))
    others = numbered.others(view, NAME, has, values, _is_writable)
    taken = {number_of(key) for key in has}
    coming = {
        key: rule
        for key, rule in values.items()
        if isinstance(rule, FlowRule) and has.get(key) != rule and number_of(key) not in others
    }
    going = {number_of(key): key for key in coming if number_of(key) in taken}
    going |= {number_of(key): key for key, rule in values.items() if rule is ABSENT and key in has}
    for location, key in sorted(going.items()):
        with numbered.about(NAME, key, _REFUSED):
            ethtool.delete_rule(ifindex, location)
    lost = _without_context(view, coming)
    for key in sorted(coming, key=number_of):
        with numbered.about(NAME, key, () if key in lost else _REFUSED):
            ethtool.set_rule(ifindex, number_of(key), coming[key])
            if (made := ethtool.rule(ifindex, number_of(key))) != coming[key]:
                ethtool.delete_rule(ifindex, number_of(key))
                raise KernelError("set", NAME, errno.EINVAL, f"the driver makes {made} of it")


def _without_context(view: View, coming: Mapping[str, FlowRule]) -> Collection[str]:
    """The rules whose context went meanwhile: that these are refused says nothing of them."""
    said = {key: rule.to.partition(" ") for key, rule in coming.items()}
    asked = {key: int(number) for key, (kind, _, number) in said.items() if kind == "context"}
    there = view.kernel.get(CONTEXTS, view.nic.ifindex).contexts if asked else ()
    return [key for key, number in asked.items() if number not in there]


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """A rule that goes takes its packets from what is bound to its queue, or its context's."""
    if after != before and isinstance(before, FlowRule):
        queues = _reached(before, found)
        yield from ((role, queue) for role, queue in bound if role == RX and queue in queues)


def reached(found: Mapping[str, State]) -> set[int]:
    """The queues that flow rules lead to, by what was found of all tunables."""
    rules = found.get(NAME, {}).values()
    return set().union(*(_reached(rule, found) for rule in rules if isinstance(rule, FlowRule)))


def _reached(rule: FlowRule, found: Mapping[str, State]) -> set[int]:
    """Those of a rule; of others' rules a target can have both a context and a queue."""
    words = rule.to.split()
    to = {kind: int(number) for kind, number in zip(words[::2], words[1::2], strict=False)}
    if "context" in to:
        return contexts.queues_of(found.get(contexts.NAME, {}), to["context"])
    return {to["queue"]} if "queue" in to else set()


def rests_on(rule: Value) -> tuple[str, str] | None:
    """A rule to a context needs that."""
    if isinstance(rule, FlowRule) and rule.to.startswith("context "):
        return contexts.NAME, rule.to.split()[1]
    return None


def why(target: Target, nic: Nic, key: str) -> str:
    return "the profile's rule" if target.profile.flows is not None else NOT_ASKED


def fits(states: Mapping[str, State]) -> bool:
    """The kernel ends no queue that a rule names."""
    counts = states.get(channels.NAME, {}).get("")
    named = [_queue(rule) for rule in states.get(NAME, {}).values()]
    return not isinstance(counts, ChannelCounts) or all(
        queue is None or queue < counts.rx_queues for queue in named
    )


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """All that there are, whoever's: what is there already is not made again."""
    said: list[Words] = []
    lacking: dict[str, list[str]] = {}
    for key, rule in sorted(seen.state.items(), key=lambda at: number_of(at[0])):
        assert isinstance(rule, FlowRule)
        if why := _unsayable(rule, seen, key):
            lacking.setdefault(why, []).append(key.rpartition(" ")[0])
        else:
            said.append(_said(rule))
    for why, names in lacking.items():
        more = f" and {len(names) - 1} more" if names[1:] else ""
        yield UnsupportedError(f"{names[0]}{more}", why)
    if said:
        yield said


def _unsayable(rule: FlowRule, seen: Seen, key: str) -> str:
    queues = seen.nic.rx_queues
    if rule.proto not in PROTOS:
        return "it is for packets that no profile can say"
    if not is_writable(rule):
        return f"it goes to {rule.to}, and no profile can say that"
    if rests_on(rule) and not seen.limits[key]:
        return f"it goes to {rule.to}, and netuned has not made this rule"
    return f"the card has queues 0-{queues - 1}" if (_queue(rule) or 0) >= queues else ""


def _said(rule: FlowRule) -> Mapping[str, object]:
    match = {name: text if name in ("src", "dst") else int(text, 0) for name, text in rule.match}
    kind, _, number = rule.to.partition(" ")
    to = f"{kind} {contexts.called(int(number))}" if kind == "context" else rule.to
    return {"match": {"proto": rule.proto, **match}, "to": to}


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
    leaves=(channels.NAME, contexts.NAME),
    fits=fits,
    ground=ground,
    place=numbered.place_of,
    rests_on=rests_on,
    obstacles=obstacles,
    instead=numbered.instead,
    silent=lambda kernel: True,
    writers=Writers(hint="look for `ethtool -N` in scripts and timers"),
    summary=lambda state: keyed_summary({k.rpartition(" ")[0]: v for k, v in state.items()}),
    captured=captured,
)
