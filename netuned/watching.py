"""Pure: what happens while somebody watches, as entries like those of the journal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from netuned.history import CHANGE, CONTENTION, HOST_LABEL, TRIAL, Entry
from netuned.records import dataclass
from netuned.status import (
    APPLYING,
    CONTENDED,
    IN_SYNC,
    NOT_RUNNING,
    STARTING,
    UNMANAGED,
    NicStatus,
    SettingStatus,
    Status,
)

STATE = "state"
"""The kind of what is in no journal: another state of a card, of a setting or of netuned."""

PASSING = (APPLYING, STARTING)
"""States that are on the way to another, and not told of."""

HOST_IFINDEX = 0
"""Whose settings are the host's own."""


@dataclass(frozen=True, slots=True)
class Made:
    """Something that netuned set: as the signal ``Changed`` tells of it.

    ``ifindex`` is that of ``HOST_IFINDEX`` for a setting of the host. ``latency_us`` is how long
    after a change by somebody else was seen it was repaired, None of what is no repair.
    """

    ifindex: int
    cause: str
    tunable: str
    key: str
    before: str
    after: str
    writer: str
    latency_us: int | None = None


class Shown(NamedTuple):
    """How everything was, and is from here on."""

    before: Status
    now: Status


class Watched:
    """Makes entries of what is heard; remembers what was said last of each card and setting.

    ``only`` are the names of the cards whose entries are wanted, ``host`` among them for its
    settings; none for all. A card that gets another name stays one of them.
    """

    def __init__(self, status: Status, only: Collection[str] = ()) -> None:
        self._said: dict[tuple[int, str], str] = {}
        self._only = only
        self._names: dict[int, str] = {}
        """Of the cards that are wanted, by ifindex; the host's is empty."""
        if not only or HOST_LABEL in only:
            self._names[HOST_IFINDEX] = ""
        for _ in self._told(status):
            pass

    def entries(self, heard: Made | Shown, at: float) -> Iterator[Entry]:
        """What there is to tell of something heard at a time (seconds since the epoch)."""
        if isinstance(heard, Made):
            if heard.ifindex in self._names:
                yield replace(_change(heard, self._names[heard.ifindex]), at=at)
            return
        before, now = map(self._wanted, (heard.before, heard.now))
        for entry in (
            *_of_manager(heard.before, heard.now),
            *_came_and_went(before, now),
            *self._told(heard.now),
        ):
            yield replace(entry, at=at)

    def _wanted(self, status: Status) -> tuple[NicStatus, ...]:
        """The cards of whom to tell."""
        if not self._only:
            return status.nics
        return tuple(
            nic for nic in status.nics if nic.name in self._only or nic.ifindex in self._names
        )

    def _told(self, status: Status) -> Iterator[Entry]:
        """Of each state that was not said last."""
        nics = self._wanted(status)
        for gone in self._names.keys() - {HOST_IFINDEX, *(nic.ifindex for nic in nics)}:
            del self._names[gone]
            self._said = {key: said for key, said in self._said.items() if key[0] != gone}
        for nic in nics:
            self._names[nic.ifindex] = nic.name
            if self._is_news(nic.ifindex, "", UNMANAGED, nic.state, nic.last_error):
                yield _state(f"{nic.name} is {nic.state}", nic.last_error, nic.state, nic.name)
            yield from self._of_settings(nic.ifindex, nic.name, nic.settings)
        if HOST_IFINDEX in self._names:
            yield from self._of_settings(HOST_IFINDEX, "", status.manager.settings)

    def _of_settings(
        self, ifindex: int, name: str, settings: Iterable[SettingStatus]
    ) -> Iterator[Entry]:
        for setting in settings:
            state, tunable = setting.state, setting.tunable
            was = self._said.get((ifindex, tunable), IN_SYNC).partition("\n")[0]
            if not self._is_news(ifindex, tunable, IN_SYNC, state, setting.reason):
                continue
            text = f"{name or HOST_LABEL} {tunable} is {state}"
            if CONTENDED in (state, was):
                text += "" if state == CONTENDED else ", no longer contended"
                yield replace(_state(text, setting.reason, state, name, tunable), kind=CONTENTION)
            else:
                yield _state(text, setting.reason, state, name, tunable)

    def _is_news(self, ifindex: int, tunable: str, first: str, state: str, why: str) -> bool:
        """Whether this is not what was said last, ``first`` if nothing was.

        Of what is not in sync the reason counts, too.
        """
        said = state if state == first or not why else f"{state}\n{why}"
        if state in PASSING or self._said.get((ifindex, tunable), first) == said:
            return False
        self._said[ifindex, tunable] = said
        return True


def _state(what: str, why: str, state: str, name: str = "", tunable: str = "") -> Entry:
    """That something is in another state: a sentence, its reason, the state in one word."""
    text = f"{what}: {why}" if why else what
    return Entry(0.0, STATE, text, (name,) if name else (), tunable, after=state, cause=why)


def _change(made: Made, name: str) -> Entry:
    setting = f"{name or HOST_LABEL} {made.tunable} {made.key}".rstrip()
    if made.latency_us is None:
        text = f"Set {setting}: {made.before} -> {made.after} ({made.cause})"
    else:
        late = f"{made.latency_us / 1000:.3g} ms after it was seen"
        by = f"; {made.writer} had set it" if made.writer else ""
        text = f"Repaired {setting}: found {made.before}, put back {made.after} ({late}){by}"
    return Entry(
        at=0.0,
        kind=CHANGE,
        message=text,
        ifnames=(name,) if name else (),
        tunable=made.tunable,
        key=made.key,
        before=made.before,
        after=made.after,
        cause=made.cause,
        writer=made.writer,
    )


def _of_manager(before: Status, now: Status) -> Iterator[Entry]:
    """What is told of netuned itself and of no card."""
    manager, was = now.manager, before.manager
    if manager.state == NOT_RUNNING:
        if was.state != NOT_RUNNING:
            yield _state("netuned has ended", "nothing keeps the cards as they are", NOT_RUNNING)
        return
    if was.state == NOT_RUNNING:
        yield _state("netuned runs again", "", manager.state)
    if manager.pending_confirm != was.pending_confirm:
        text = "Nothing waits to be confirmed any more"
        if manager.pending_confirm:
            text = f"To be confirmed: {manager.pending_confirm}"
        yield Entry(0.0, TRIAL, text, after=manager.pending_confirm)
    fought = [s.reason for s in _settings(now) if s.state == CONTENDED]
    for label, sentences, known in (
        ("Profile error", manager.profile_errors, was.profile_errors),
        ("Problem", manager.problems, was.problems),
        ("Conflict", manager.conflicts, was.conflicts),
    ):
        for sentence in sentences:
            why = sentence.partition(": ")[2]
            if sentence in known or any(reason.startswith(why) for reason in fought if why):
                continue  # a contended setting tells it
            yield _state(label, sentence, label.lower())


def _settings(status: Status) -> Iterator[SettingStatus]:
    yield from status.manager.settings
    for nic in status.nics:
        yield from nic.settings


def _came_and_went(before: Iterable[NicStatus], now: Iterable[NicStatus]) -> Iterator[Entry]:
    were, are = ({nic.ifindex: nic for nic in nics} for nics in (before, now))
    for ifindex, nic in were.items():
        if ifindex not in are:
            yield _state(f"{nic.name} is gone", "", "gone", nic.name)
    for ifindex, nic in are.items():
        was = were.get(ifindex)
        has = f"profile {nic.profile}" if nic.profile else "no profile"
        if was is None:
            yield _state(f"{nic.name} is here, with {has}", "", "here", nic.name)
            continue
        if was.name != nic.name:
            yield _state(f"{was.name} is called {nic.name} now", "", "renamed", nic.name)
        if was.profile != nic.profile:
            yield _state(f"{nic.name} has {has} now", "", has, nic.name)
