"""Pure: what a rollback puts back of what a trial found, wrote and left, by what is there now."""

from __future__ import annotations

from collections.abc import Mapping

from netuned.reconcile.confirm import Tried
from netuned.records import dataclass
from netuned.tunables import BY_NAME
from netuned.tunables.base import CARD, OWN
from netuned.values import Setting, State


@dataclass(frozen=True, slots=True)
class Undo:
    """What a rollback puts back, and the settings that it leaves as somebody else has set them."""

    back: Mapping[str, State]
    foreign: tuple[Setting, ...] = ()


def undo_of(tried: Tried, found: Mapping[str, State]) -> Undo:
    """What goes back, given what is found now.

    A setting that is as the trial wrote or left it goes back. One that is neither that nor as
    before was changed by somebody else since, and stays: it is then in ``back`` as it is found,
    so that what a change of the card does to it is mended. Where the trial restructured the card
    and did not get far enough to see the consequences, what it did not write is taken for these.
    """
    restructured = _restructured(tried)
    names = tried.before.keys() if restructured else tried.before.keys() & tried.written.keys()
    back: dict[str, State] = {}
    foreign: set[Setting] = set()
    for name in (name for name in BY_NAME if name in names):
        before, has = tried.before[name], found.get(name)
        if has is None:
            continue
        wanted = dict(before)
        for key in before.keys() & has.keys():
            if not _same(name, key, before, has) and not _is_ours(tried, name, key, has):
                wanted[key] = has[key]
                foreign.add((name, key))
        back[name] = wanted
    _keep_whole(back, found, foreign)
    _keep_fitting(back, found, foreign)
    return Undo({name: state for name, state in back.items() if state}, tuple(sorted(foreign)))


def _restructured(tried: Tried) -> bool:
    """Whether the trial set what renews all of the card: the number of its queues."""
    return any(
        BY_NAME[name].stale(key) == CARD for name in tried.written for key in tried.written[name]
    )


def _is_ours(tried: Tried, name: str, key: str, has: State) -> bool:
    """Whether a setting that is not as before is what the trial made of it."""
    left = None if tried.left is None else tried.left.get(name)
    written = tried.written.get(name, {})
    if key in written and _same(name, key, written, has):
        return True
    if left is not None:
        return key in left and _same(name, key, left, has)
    return _restructured(tried) and key not in written


def _same(name: str, key: str, wanted: State, has: State) -> bool:
    """Whether a setting is as wanted by itself: below the kernel's own root any qdisc would do."""
    tunable = BY_NAME[name]
    above = {other for of, other in tunable.needs(key) if of == name}
    alone = {other: value for other, value in wanted.items() if other not in above}
    return wanted[key] == has[key] or tunable.same(key, alone, has)


def _keep_whole(back: dict[str, State], found: Mapping[str, State], foreign: set[Setting]) -> None:
    """What others set keeps what it needs, and what needs that does not go back.

    Another root qdisc would take others' leaves away with it, and under theirs ours are none.
    """
    for name, state in tuple(back.items()):
        tunable = BY_NAME[name]
        needs = {key: [k for n, k in tunable.needs(key) if n == name] for key in state}
        kept = {key for key in state if (name, key) in foreign}
        above = {above for key in kept for above in needs[key]} - kept
        tops = {key for key in kept if not needs[key] and tunable.stale(key) == OWN}
        back[name] = {
            key: found[name][key] if key in above and key in found[name] else value
            for key, value in state.items()
            if key not in tops and not kept.intersection(needs[key])
        }


def _keep_fitting(
    back: dict[str, State], found: Mapping[str, State], foreign: set[Setting]
) -> None:
    """Channels and the RSS table must fit: the kernel ends no queue that the table names."""
    for tunable in BY_NAME.values():
        if tunable.name not in back or tunable.fits(back):
            continue
        others = {name for name, key in foreign if name == tunable.name}
        for name in {name for key in back[tunable.name] for name, _ in tunable.needs(key)}:
            if others and name in back:
                back[name] = found[name]
        if not others:
            del back[tunable.name]
