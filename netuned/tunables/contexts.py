"""RSS contexts: tables besides the card's own, for the packets that flow rules send to them.

A card's contexts are whoever's made them, and netuned tells its own from others as it does rules.
The kernel gives a new one the lowest number that is free, and no rule can go to one that is not
there yet: so numbers are chosen before, and those that netuned has are used again, for another
table or another name, before one is made.

Source: ethtool(8) -X, "context"; Documentation/networking/scaling.rst; net/ethtool/rss.c, ioctl.c.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.hardware.vectors import RX
from netuned.kernel.contexts import ContextTable
from netuned.kernel.netdev import Bound
from netuned.kernel.questions import CONTEXTS as QUESTION
from netuned.profiles.profile import Profile
from netuned.profiles.rss import KEPT_TABLE, ContextSpec, RssSpec
from netuned.regex import regex
from netuned.tunables import channels, numbered, rss
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
from netuned.tunables.numbered import digest_of, key_of, number_of
from netuned.values import ABSENT, ChannelCounts, RssTable, State, Value

NAME = "contexts"
ENTRIES = "entries"
"""Of the limits: how many the table of a context has."""

_NOUN = "context"
_KEY = regex(numbered.KEY.format(_NOUN), re.ASCII)
_REFUSED = frozenset(
    (errno.EINVAL, errno.ENOSPC, errno.EBUSY, errno.EEXIST, errno.ERANGE, errno.ENOENT)
)
"""What of a context is the kernel's word about that one alone; EBUSY: there is room for no more;
EEXIST: the driver chose another number, as before Linux 6.11."""


def read(view: View) -> State:
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def state_of(found: ContextTable) -> State:
    tables = {number: RssTable(entries) for number, entries in found.contexts.items()}
    return {key_of(_NOUN, number, table): table for number, table in tables.items()}


def limits_of(found: ContextTable, own: Collection[int] = ()) -> Limits:
    """A table's size; and by the key of each context whether it is netuned's own (1) or not."""
    return {ENTRIES: found.entries, **{key: number_of(key) in own for key in state_of(found)}}


def limits(view: View) -> Limits:
    found = view.ask(QUESTION)
    return limits_of(found, numbered.own(view, NAME, state_of(found)))


def said(profile: Profile) -> Mapping[str, ContextSpec]:
    """The contexts of a profile by name."""
    return profile.rss.contexts if isinstance(profile.rss, RssSpec) else {}


def placed(
    target: Target, nic: Nic, limits: Limits
) -> Mapping[str, tuple[int, RssTable] | UnsupportedError]:
    """By its name in the profile, the number and table of each context that it asks for."""
    asked: dict[str, RssTable | UnsupportedError] = {}
    for name, spec in said(target.profile).items():
        try:
            asked[name] = rss.table_of(target, nic, spec.queues, spec.weights, limits[ENTRIES])
        except UnsupportedError as error:
            asked[name] = UnsupportedError(NAME, error.why)
    keys = [key for key in limits if _KEY.fullmatch(key)]
    ours = sorted((number_of(key), digest_of(key)) for key in keys if limits[key])
    numbers: dict[str, int] = {}
    tables = {name: table for name, table in asked.items() if isinstance(table, RssTable)}
    for name, table in tables.items():  # those that are there already
        as_is = [n for n, digest in ours if digest == digest_of(key_of(_NOUN, n, table))]
        if left := [number for number in as_is if number not in numbers.values()]:
            numbers[name] = left[0]
    unused = [number for number, _ in ours if number not in numbers.values()]
    new = _free([number_of(key) for key in keys], len(tables))
    for name in tables:
        if name not in numbers:
            numbers[name] = (unused or new).pop(0)
    return {
        name: (numbers[name], table) if isinstance(table, RssTable) else table
        for name, table in asked.items()
    }


def _free(taken: Collection[int], many: int) -> list[int]:
    """The numbers that the kernel gives to this many new contexts, in order."""
    return list(islice((number for number in count(1) if number not in taken), many))


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    wanted: dict[str, Value | UnsupportedError] = {}
    for name, place in placed(target, nic, limits).items():
        if isinstance(place, UnsupportedError):
            wanted[name] = place
        else:
            wanted[key_of(_NOUN, *place)] = place[1]
    return wanted


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """Others' contexts that came after a number was chosen: another one is to be found."""
    others, there = numbered.others(view, NAME, found, values), {number_of(key) for key in found}
    coming = {number_of(key): key for key, table in values.items() if table is not ABSENT}
    new = sorted(coming.keys() - there)
    astray = set(new).difference(_free(there, len(new)))
    why = dict.fromkeys(astray, "the kernel would give it another number")
    why |= dict.fromkeys(others, "a context of somebody else has its number")
    return {key: why[number] for number, key in coming.items() if number in why}


def write(view: View, found: State, values: State) -> None:
    """What comes is set, in place of what is there of netuned's own; then what goes is deleted."""
    ifindex, kernel = view.nic.ifindex, view.kernel.ethtool_netlink
    has = _found(view)
    others, there = numbered.others(view, NAME, has, values), {number_of(key) for key in has}
    coming = {
        key: table
        for key, table in values.items()
        if isinstance(table, RssTable) and number_of(key) not in others
    }
    for key in sorted(coming, key=number_of):
        if has.get(key) != coming[key]:
            put = kernel.set_context if number_of(key) in there else kernel.create_context
            with numbered.about(NAME, key, _REFUSED):
                put(ifindex, number_of(key), coming[key].entries)
                _read_back(view, key, has)
    stay = {number_of(key) for key in coming}
    for key, table in values.items():
        if table is ABSENT and key in has and number_of(key) not in stay:
            _delete(view, number_of(key))


def _read_back(view: View, key: str, before: State) -> None:
    """Raises: KernelError where the driver made another table of it, which goes again: it would be
    on record as none of netuned's."""
    number, kernel = number_of(key), view.kernel.ethtool_netlink
    made = {number_of(at): (at, table) for at, table in _found(view).items()}.get(number)
    if made is None or made[0] == key:  # it went at once: as after any write
        return
    was = next((table for at, table in before.items() if number_of(at) == number), None)
    if isinstance(was, RssTable):
        kernel.set_context(view.nic.ifindex, number, was.entries)
    else:
        _delete(view, number)
    raise KernelError("set", NAME, errno.EINVAL, f"the driver makes {made[1]} of it")


def _found(view: View) -> State:
    return state_of(view.kernel.get(QUESTION, view.nic.ifindex))


def _delete(view: View, number: int) -> None:
    try:
        view.kernel.ethtool_netlink.delete_context(view.nic.ifindex, number)
    except KernelError as error:
        if error.errno == errno.ENOENT:  # somebody was quicker
            return
        if error.errno == errno.EBUSY:
            raise replace(error, extack=error.extack or "a flow rule goes to it") from None
        raise


def queues_of(found: State, number: int) -> set[int]:
    """The queues that a context's table has."""
    return set().union(*(rss.named(found[key]) for key in found if number_of(key) == number))


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """A queue that leaves a context loses what came to it there, one that comes has others'.

    A table that changes is one key that goes and another that comes, under the same number.
    """
    comes = after if after is not ABSENT else None
    changed = queues_of(found.get(NAME, {}), number_of(key)) ^ rss.named(comes)
    return ((role, queue) for role, queue in bound if role == RX and queue in changed)


def same(key: str, wanted: State, found: State) -> bool:
    return wanted[key] is not ABSENT and rss.same(key, wanted, found)


def ends(wanted: State, found: State) -> bool:
    """Whether a context is deleted: the kernel deletes none that a rule still goes to."""
    stay = {number_of(key) for key, table in wanted.items() if table is not ABSENT}
    going = (key for key, table in wanted.items() if table is ABSENT and key in found)
    return any(number_of(key) not in stay for key in going)


def why(target: Target, nic: Nic, key: str) -> str:
    names = list(said(target.profile))
    if not names:
        return NOT_ASKED
    return f"the profile's context{'s' * (len(names) > 1)} {', '.join(names)}"


def fits(states: Mapping[str, State]) -> bool:
    """The kernel ends no queue that a context names."""
    counts = states.get(channels.NAME, {}).get("")
    tables = [table for table in states.get(NAME, {}).values() if isinstance(table, RssTable)]
    return not isinstance(counts, ChannelCounts) or all(
        max(table.entries, default=0) < counts.rx_queues for table in tables
    )


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """Netuned's own: one like another's would be made beside that."""
    own: dict[str, object] = {}
    for key, table in sorted(seen.state.items(), key=lambda at: number_of(at[0])):
        number = number_of(key)
        words = rss.words_of(table) if isinstance(table, RssTable) else {}
        if seen.limits[key]:
            own[called(number)] = words
        else:
            made = json.dumps({called(number): words})
            why = f"netuned makes its own; to have that of it, delete it and say contexts: {made}"
            yield UnsupportedError(f"context {number}", why)
    if own:
        yield {"contexts": own}


def called(number: int) -> str:
    """The name in a captured profile of the context that has this number."""
    return f"c{number}"


CONTEXTS = Tunable(
    name=NAME,
    holds=(RssTable,),
    accepts=lambda key: _KEY.fullmatch(key) is not None,
    fresh=ABSENT,
    read=read,
    write=write,
    desired=desired,
    why=why,
    section=lambda profile: said(profile) or None,
    limits=limits,
    limits_change=True,
    by_key=True,
    group=lambda key: NAME,
    same=same,
    needs=lambda key: ((channels.NAME, ""),),
    yields=ends,
    leaves=(channels.NAME,),
    fits=fits,
    obstacles=obstacles,
    instead=numbered.instead,
    ground=ground,
    place=numbered.place_of,
    events=frozenset({"rss", "rss-create", "rss-delete"}),
    silent=lambda kernel: not kernel.ethtool_netlink.tells_of_rss(),
    writers=Writers(hint="look for `ethtool -X` in scripts and timers"),
    summary=lambda state: keyed_summary({k.rpartition(" ")[0]: v for k, v in state.items()}),
    captured=captured,
    captured_in=rss.NAME,
    captured_beside=KEPT_TABLE,
)
