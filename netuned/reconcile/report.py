"""Pure: how the run-time state of cards and host looks to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from netuned import __version__
from netuned.hardware.nic import HOST, Nic
from netuned.hardware.vectors import COMBINED, RX, TX
from netuned.plan import Change, Waiting
from netuned.planning.matching import Through
from netuned.planning.planner import Desired
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.card import Card
from netuned.reconcile.tally import Tallies
from netuned.status import (
    APPLYING,
    AT_ONCE,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    OBSERVED,
    PARTIAL,
    PAUSED,
    POLLED,
    RESYNCED,
    STARTING,
    UNMANAGED,
    UNSUPPORTED,
    WAITING,
    WITHHELD,
    Applied,
    ManagerStatus,
    NicStatus,
    ProfileStatus,
    QueueStatus,
    SettingStatus,
)
from netuned.tunables.base import Tunable
from netuned.valuejson import Typed
from netuned.values import State, Value, describe

MOST_REASONS, MOST_KEYS = 8, 3
"""So many reasons why settings cannot be had are named, and so many keys for each."""


class Contention(NamedTuple):
    """That somebody changes a setting again and again: what to say of it, and who it is."""

    reason: str
    writer: str = ""


def nic_status(
    card: Card,
    profile: str,
    state: str,
    contended: Mapping[str, Contention],
    last_change: Applied | None,
    last_error: str,
    failed: str,
    tallies: Tallies,
    deaf: bool = False,
    paused: bool = False,
) -> NicStatus:
    """One card as D-Bus and the CLI show it; ``failed`` is the tunable that ended the last pass.

    ``contended`` are the tunables of which that is so.
    ``deaf``: nothing tells what is written to files.
    """
    return NicStatus(
        ifindex=card.nic.ifindex,
        name=card.nic.name,
        driver=card.nic.driver,
        profile=profile,
        state=state,
        queues=queues(card.nic, card.tunables.values(), card.found) if profile else (),
        settings=_settings(card, contended, failed, tallies, last_error, deaf) if profile else (),
        last_change=last_change,
        last_error=last_error,
        altnames=card.nic.altnames,
        since=tallies.since("", state),
        paused=paused,
    )


def with_uppers(
    nics: tuple[NicStatus, ...], through: Mapping[int, Through]
) -> tuple[NicStatus, ...]:
    """Each card; one that is tuned through others with its profile, and a state from theirs."""
    by_ifindex = {nic.ifindex: nic for nic in nics}
    shown = []
    for nic in nics:
        above = through.get(nic.ifindex)
        below = [by_ifindex[card] for card in above.cards if card in by_ifindex] if above else []
        if above and below:
            parts = (*below, *([nic] if nic.profile else ()))
            state = _worst({card.state for card in parts})
            nic = replace(
                nic,
                profile=above.profile,
                state=state,
                through=tuple(sorted(card.name for card in below)),
                since=max((card.since for card in parts if card.state == state), default=0.0),
            )
        shown.append(nic)
    return tuple(shown)


def _worst(states: set[str]) -> str:
    order = (DEGRADED, CONTENDED, DRIFTED, APPLYING, STARTING, PAUSED, PARTIAL, OBSERVED)
    return next((state for state in order if state in states), IN_SYNC)


def manager_status(
    profiles: ProfileSet,
    desired: Desired,
    nics: tuple[NicStatus, ...],
    host: NicStatus,
    problems: tuple[str, ...],
    conflicts: tuple[str, ...],
    writes: int,
    pending_confirm: str = "",
    loaded_at: float = 0.0,
) -> ManagerStatus:
    """All as a whole: its state is the worst of the managed cards and of what the host is to be."""
    states = {nic.state for nic in nics} - {UNMANAGED}
    worst = _worst(states - {OBSERVED} | ({host.state} if host.settings else set()))
    if host.last_error:
        problems = (*problems, f"host: {host.last_error}")
    cards: dict[str, list[str]] = {}
    for nic in nics:
        if not nic.through:
            cards.setdefault(nic.profile, []).append(nic.name)
    return ManagerStatus(
        version=__version__,
        state=worst if states or worst != IN_SYNC else UNMANAGED,
        profiles=tuple(
            ProfileStatus(
                name=loaded.profile.name,
                path=loaded.path,
                description=loaded.profile.description,
                priority=loaded.profile.priority,
                template=not loaded.profile.match,
                cards=tuple(cards.get(loaded.profile.name, ())),
                digest=loaded.digest,
            )
            for loaded in profiles.profiles
        ),
        profile_errors=profiles.messages,
        problems=problems,
        conflicts=(*desired.conflicts, *conflicts),
        pending_confirm=pending_confirm,
        settings=host.settings,
        writes=writes,
        loaded_at=loaded_at,
    )


def _settings(
    card: Card,
    contended: Mapping[str, Contention],
    failed: str,
    tallies: Tallies,
    last_error: str = "",
    deaf: bool = False,
) -> tuple[SettingStatus, ...]:
    settings = []
    for name, tunable in card.tunables.items():
        wanted, found = card.wanted.get(name), card.found.get(name)
        if name in card.unsupported:
            reason, wanted, found = card.unsupported[name], None, None
            state = _lacks(reason)
        elif wanted is None:
            continue
        elif found is None:
            if not last_error:
                continue  # it is being looked at for the first time
            state, reason = DEGRADED, last_error
        elif not (wanted := card.restorable(name, wanted, found)) and not card.is_asked(name):
            continue  # it is to be as before once its queues are there
        else:
            troubles = {CONTENDED: contended[name].reason} if name in contended else {}
            if name == failed:
                troubles[DEGRADED] = last_error
            troubles |= _left(card, tunable, wanted, found)
            state = next(iter(troubles), IN_SYNC)
            reasons = dict.fromkeys([*troubles.values(), card.held.get(name, "")])
            reasons |= dict.fromkeys(_rounded(card, name, wanted, found))
            reason = "; ".join(filter(None, reasons))
            if tunable.by_key:  # of others it is not said that they are as wanted
                found = {key: found[key] for key in wanted if key in found}
        shown = _setting(tunable, state, reason, wanted, found)
        if state == CONTENDED:
            shown = replace(shown, writer=contended[name].writer)
        if found is not None:
            shown = replace(shown, seen=_seen(tunable, name in card.silent, deaf))
        settings.append(tallies.on(shown))
    return tuple(settings)


def _seen(tunable: Tunable, silent: bool, deaf: bool) -> str:
    """When somebody else's change of a setting is seen."""
    if silent:
        return POLLED
    told = tunable.events or (tunable.is_watched and not deaf)
    return AT_ONCE if told else RESYNCED


def _left(card: Card, tunable: Tunable, wanted: State, found: State) -> dict[str, str]:
    """What of a setting is not as the profile says and why, by state; what can be mended first."""
    name = tunable.name
    left = {}
    if change := next((change for change in card.withheld if change.tunable == name), None):
        left[WITHHELD] = _why_withheld(card, change)
    if name in card.awaited:
        left[APPLYING] = card.awaited[name]
    if not (left or card.is_as_wanted(name, wanted, found)):
        left[DRIFTED] = ""
    if why := _refused(card, tunable, wanted, found):
        left[_lacks(why)] = why
    return left


def _lacks(why: str) -> str:
    """The state of what cannot be had, for good or for now."""
    return WAITING if isinstance(why, Waiting) else UNSUPPORTED


def _rounded(card: Card, name: str, wanted: State, found: State) -> list[str]:
    """What a driver or the kernel made of values, in sync all the same."""
    maker = "kernel" if card.nic is HOST else "driver"
    return [
        f"{key} in sync as {describe(pair[1])}: the {maker}'s".lstrip()
        for key, pair in _came_out(card, name, wanted, found).items()
        if not card.tunables[name].short(key, *pair)
    ]


def _came_out(
    card: Card, name: str, wanted: State, found: State
) -> Mapping[str, tuple[Value, Value]]:
    """By key what was wanted and is, where the kernel made another value of it."""
    return {
        key: pair
        for (other, key), pair in card.verdicts.accepted.items()
        if other == name and (wanted.get(key), found.get(key)) == pair
    }


def _refused(card: Card, tunable: Tunable, wanted: State, found: State) -> str:
    """How many keys cannot be set, which, and why; empty where all can.

    Of a key that is wanted, another value could not be.
    """
    name = tunable.name
    refused = {
        key: why
        for (other, key), (_, why) in card.verdicts.refused.items()
        if other == name and key not in wanted
    }
    refused |= {key: why for (other, key), why in card.barred.items() if other == name}
    refused |= tunable.refusals(card.nic)
    for key, pair in _came_out(card, name, wanted, found).items():
        if why := tunable.short(key, *pair):
            refused[key] = why
    if not refused:
        return ""
    count = len(refused.keys() | (found.keys() & wanted.keys() if tunable.by_key else found.keys()))
    key, why = next(iter(refused.items()))
    if not key:
        return why
    named = _named(refused) if tunable.by_key else why
    if all(isinstance(why, Waiting) for why in refused.values()):
        return Waiting(f"{len(refused)} of {count} waits: {named}")
    are = "are left" if all((name, key) in card.left for key in refused) else "cannot be set"
    return f"{len(refused)} of {count} {are}: {named}"


def _named(refused: Mapping[str, str]) -> str:
    """Keys by why they cannot be had: ``rx-usecs, tx-usecs: the driver does not have it``."""
    alike: dict[str, list[str]] = {}
    for key, why in refused.items():
        alike.setdefault(why, []).append(key)
    of_each = (
        ", ".join(keys[:MOST_KEYS])
        + (f" and {more} more" if (more := len(keys) - MOST_KEYS) > 0 else "")
        + f": {why}"
        for why, keys in alike.items()
    )
    return "; ".join(islice(of_each, MOST_REASONS))


def lacking(card: Card) -> dict[str, str]:
    """The settings that a card cannot have, or not in full, and why."""
    why = dict(card.unsupported)
    for name, wanted in card.wanted.items():
        if name not in why:
            why[name] = _refused(card, card.tunables[name], wanted, card.found.get(name, {}))
    return {name: why[name] for name in card.tunables if why.get(name)}


def _setting(
    tunable: Tunable,
    state: str,
    reason: str,
    wanted: State | None,
    found: State | None,
) -> SettingStatus:
    """One setting; None is what cannot be said. Where the values are equal they are one object."""
    has = {} if found is None else Typed(found)
    wants = {} if wanted is None else has if wanted == found else Typed(wanted)
    return SettingStatus(
        tunable.name,
        state,
        "" if wanted is None else tunable.summary(wanted),
        "" if found is None else tunable.summary(found),
        reason,
        wants,
        has,
    )


def _why_withheld(card: Card, change: Change) -> str:
    if (change.tunable, change.key) in card.restoring:
        return "policy.disruptive is deny: not put back"
    what = f"{change.key} {describe(change.after)}".strip()
    return f"policy.disruptive is deny: {what} is not set"


def queues(
    nic: Nic, tunables: Iterable[Tunable], found: Mapping[str, State]
) -> tuple[QueueStatus, ...]:
    """A card's queues, with what was found of each by these tunables; receiving ones first."""
    columns = {
        tunable.column: tunable.queues(nic, found.get(tunable.name, {}))
        for tunable in tunables
        if tunable.column
    }
    records = []
    for kind, count in ((RX, nic.rx_queues), (TX, nic.tx_queues)):
        irqs = {v.queue: v.irq for v in nic.vectors if v.role in (kind, COMBINED)}
        for index in range(count):
            texts = {name: found.get((kind, index), "") for name, found in columns.items()}
            records.append(QueueStatus(kind, index, irqs.get(index, -1), **texts))
    return tuple(records)


def card_state(card: Card, pending: tuple[Change, ...]) -> str:
    """The state of a card whose last pass went well."""
    if pending:
        return DRIFTED
    if card.awaited:
        return APPLYING
    if card.withheld or lacking(card):
        return PARTIAL
    return OBSERVED if card.target is not None and not card.target.enforces else IN_SYNC
