"""What waits to be confirmed and what is left alone, kept on disk.

One JSON file, replaced as a whole and fsynced. Trials are bound to the boot: after a reboot the
kernel is fresh, there is nothing to put back, and what was not confirmed is left alone as if it
had been rolled back. That a card was restored ends with the boot. A checksum tells a file that was
damaged or edited, as that of the baseline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netuned import statefile, valuejson
from netuned.errors import StateFileError
from netuned.hardware.nic import Nic
from netuned.profiles.timeout import MOST_S
from netuned.reconcile.baseline import (
    MOST_KEY,
    MOST_SENTENCE,
    check_keeps,
    decode_states,
    encode_states,
)
from netuned.reconcile.cardid import CardId
from netuned.reconcile.confirm import (
    ALL,
    RESTORED,
    ROLLED_BACK,
    Hold,
    Trial,
    Tried,
)
from netuned.tunables import BY_NAME
from netuned.values import Setting

NAME = "confirm.json"
VERSION = 3

_MOST_WORD = 64
_MOST_NS = (1 << 63) - 1
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


class TrialFile:
    """Trials by id, and holds. Safe to use from workers; what it gives is never changed."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self.stale = False
        """Whether the disk did not take what memory has; ``save`` tries again."""
        self.trials: Mapping[str, Trial] = {}
        self.holds: tuple[Hold, ...] = ()

    def load(self) -> None:
        """Read the file. Raises: StateFileError if it cannot be trusted; it is then set aside."""
        try:
            nothing = self.trials, self.holds
            self.trials, self.holds = statefile.read(self._path, self._parse, nothing)
        except StateFileError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno not in (errno.EISDIR, errno.EINVAL):
                raise
            aside = statefile.aside_of(self._path)
            with contextlib.suppress(OSError):
                os.replace(self._path, aside)
            raise StateFileError(
                f"{error}; what waited to be confirmed before now is neither confirmed nor rolled "
                f"back. The file is kept as {aside}"
            ) from error

    def _parse(self, content: bytes) -> tuple[Mapping[str, Trial], tuple[Hold, ...]]:
        """What holds in this boot. Raises: as ``statefile.read`` expects it."""
        data = statefile.decode(VERSION, content)
        trials = tuple(map(_decode_trial, data["trials"]))
        holds = tuple(map(_decode_hold, data["holds"]))
        _once("trial", (trial.id for trial in trials))
        cards = [(trial, tried) for trial in trials for tried in trial.cards.values()]
        _once("card", ((tried.card.ifindex, tried.card.instance) for _, tried in cards))
        if valuejson.text(data["boot_id"], _MOST_WORD) != self._boot_id:
            rolled_back = (hold for hold in holds if hold.kind == ROLLED_BACK)
            unconfirmed = (trial.hold(tried) for trial, tried in cards)
            left = (*rolled_back, *unconfirmed)
            return {}, tuple(replace(hold, card=hold.card.left()) for hold in left)
        if any(trial.left_s() > MOST_S for trial in trials):
            raise ValueError("a trial has no end")
        return {trial.id: trial for trial in trials}, holds

    def pending(self, nic: Nic) -> tuple[Trial, Tried] | None:
        """The trial that a card is in, and what it did to it; None if it is in none."""
        cards = ((trial, tried) for trial in self.trials.values() for tried in trial.cards.values())
        return next(((trial, tried) for trial, tried in cards if tried.card.is_of(nic)), None)

    def knows(self, id: str, nic: Nic) -> bool:
        """Whether a card is, or was until its rollback, in a trial."""
        trial = self.trials.get(id)
        tried = trial.cards.values() if trial else ()
        held = (hold for hold in self.holds if hold.id == id)
        return any(each.card.is_of(nic) for each in (*tried, *held))

    # Trials

    def add(self, trial: Trial, *cards: Tried) -> None:
        """Write what a trial does to cards, and the trial if it begins.

        Raises: StateFileError; then it is not known.
        """
        for tried in cards:
            for states in (tried.before, tried.written, tried.left or {}, tried.back or {}):
                for name, state in states.items():
                    check_keeps(tried.card.name, BY_NAME[name], state)
        with self._lock:  # another card's worker may add its own
            known = self.trials.get(trial.id, trial)
            for tried in cards:
                known = known.with_card(tried)
            self._save({**self.trials, trial.id: known}, self.holds)

    def revise(self, id: str, change: Callable[[Trial], Trial]) -> None:
        """Write what became of a trial. Raises: KeyError.

        Raises: StateFileError; it is known then as long as the process lasts.
        """
        with self._lock:
            self._save_anyway({**self.trials, id: change(self.trials[id])}, self.holds)

    def note_problem(self, id: str, problem: str) -> None:
        """Remember why the rollback of a trial is not done yet; the next process finds out."""
        with self._lock:
            if trial := self.trials.get(id):
                self.trials = {**self.trials, id: replace(trial, problem=problem)}

    def split_off(self, id: str, ifindex: int, apart: str, error: str) -> None:
        """Make a card that failed a trial of its own (``apart``), which is being rolled back.

        Raises: as ``revise``.
        """
        with self._lock:
            trial = self.trials[id]
            failed = replace(trial.cards[ifindex], error=error)
            own = replace(trial, id=apart, cards={ifindex: failed}, over=True)
            trials = self._with(trial.without([ifindex]))
            self._save_anyway({**trials, apart: own}, self.holds)

    def end(self, id: str, ifindexes: Collection[int], *, confirmed: bool) -> None:
        """Drop cards of a trial; those that are not confirmed are held.

        Raises: StateFileError; what is not confirmed is dropped and held nevertheless.
        """
        with self._lock:
            trial = self.trials.get(id)
            if trial is None:
                return
            trials = self._with(trial.without(ifindexes))
            new = tuple(trial.hold(t) for i, t in trial.cards.items() if i in ifindexes)
            if confirmed:
                ended = [hold.card for hold in new]
                left = (hold for hold in self.holds if not any(map(hold.card.is_of, ended)))
                self._save(trials, tuple(left))
            else:
                self._save_anyway(trials, (*self._without(new), *new))

    def save(self) -> None:
        """Have the disk take what memory has. Raises: StateFileError."""
        with self._lock:
            self._save(self.trials, self.holds)

    def _with(self, trial: Trial) -> dict[str, Trial]:
        """The trials with this one as it is now, or without it if it has no card any more."""
        others = {id: other for id, other in self.trials.items() if id != trial.id}
        return {**others, trial.id: trial} if trial.cards else others

    # Holds

    def hold(self, holds: Iterable[Hold], *, anyway: bool = True) -> None:
        """Leave these alone from now on; with ``anyway`` also where the disk takes nothing.

        Raises: StateFileError; with ``anyway`` it lasts as long as the process then.
        """
        with self._lock:
            new = tuple(holds)
            save = self._save_anyway if anyway else self._save
            save(self.trials, (*self._without(new), *new))

    def release(self, is_meant: Callable[[Hold], bool]) -> None:
        """Forget some holds. Raises: StateFileError; then they hold."""
        with self._lock:
            left = tuple(hold for hold in self.holds if not is_meant(hold))
            if left != self.holds:
                self._save(self.trials, left)

    def rebind(self, hold: Hold, card: CardId) -> None:
        """Follow a card that came or left. Raises: StateFileError."""
        with self._lock:
            new = replace(hold, card=card)
            if hold in self.holds:
                self._save(self.trials, tuple(new if h == hold else h for h in self.holds))

    def _without(self, new: tuple[Hold, ...]) -> tuple[Hold, ...]:
        """The present holds, less what new ones say of the same tunables of the same cards."""
        left = []
        for hold in self.holds:
            of_card = [other.tunables for other in new if hold.card.is_of(other.card)]
            if tunables := hold.tunables.difference(*of_card):
                left.append(replace(hold, tunables=tunables))
        return tuple(left)

    # The disk

    def _save_anyway(self, trials: Mapping[str, Trial], holds: tuple[Hold, ...]) -> None:
        """As ``_save``, in memory also where the disk takes nothing: what was done is done."""
        try:
            self._save(trials, holds)
        except StateFileError:
            self.trials, self.holds, self.stale = trials, holds, True
            raise

    def _save(self, trials: Mapping[str, Trial], holds: tuple[Hold, ...]) -> None:
        content = {
            "boot_id": self._boot_id,
            "trials": [_encode_trial(trial) for trial in trials.values()],
            "holds": [_encode_hold(hold) for hold in holds],
        }
        try:
            statefile.write_of_boot(self._path, statefile.encode(VERSION, content))
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}") from error
        self.trials, self.holds, self.stale = trials, holds, False


def _encode_trial(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "deadline_ns": trial.deadline_ns,
        "until": trial.until,
        "over": trial.over,
        "cards": [
            {
                **_encode_card(tried),
                "before": encode_states(tried.before),
                "written": encode_states(tried.written),
                "left": None if tried.left is None else encode_states(tried.left),
                "back": None if tried.back is None else encode_states(tried.back),
            }
            for tried in trial.cards.values()
        ],
    }


def _decode_trial(data: Mapping[str, Any]) -> Trial:
    cards = [
        Tried(
            **_decode_card(card),
            before=decode_states(card["before"], absent=False),
            written=decode_states(card["written"], absent=False),
            left=None if card["left"] is None else decode_states(card["left"], absent=False),
            back=None if card["back"] is None else decode_states(card["back"], absent=False),
        )
        for card in data["cards"]
    ]
    _once("card", (tried.card.ifindex for tried in cards))
    if not all(tried.card.ifindex for tried in cards):
        raise ValueError("a card in a trial has no number")
    return Trial(
        _word(data["id"]),
        valuejson.whole(data["deadline_ns"], _MOST_NS),
        valuejson.text(data["until"], _MOST_WORD),
        {tried.card.ifindex: tried for tried in cards},
        data["over"] is True,
    )


def _encode_hold(hold: Hold) -> dict[str, Any]:
    own = {"kind": hold.kind, "id": hold.id, "tunables": sorted(hold.tunables)}
    return {**own, **_encode_card(hold)}


def _decode_hold(data: Mapping[str, Any]) -> Hold:
    kind, tunables = data["kind"], frozenset(data["tunables"])
    if kind not in (ROLLED_BACK, RESTORED) or not tunables <= ALL:
        raise ValueError(f"{kind!r:.40} of {sorted(tunables)!r:.80} is nothing that is left alone")
    id = _word(data["id"], least=0)
    return Hold(kind=kind, id=id, tunables=tunables, **_decode_card(data))


def _encode_card(of: Tried | Hold) -> dict[str, Any]:
    """What both say of a card."""
    foreign = list(map(list, of.foreign))
    return {**of.card.encode(), "profile": of.profile, "error": of.error, "foreign": foreign}


def _decode_card(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "card": CardId.decode(data),
        "profile": _word(data["profile"], least=0),
        "error": valuejson.text(data["error"], MOST_SENTENCE),
        "foreign": _settings(data["foreign"]),
    }


def _settings(data: Iterable[tuple[str, str]]) -> tuple[Setting, ...]:
    settings = tuple(
        (valuejson.text(name, _MOST_WORD), valuejson.text(key, MOST_KEY)) for name, key in data
    )
    if not {name for name, _ in settings} <= ALL:
        raise ValueError(f"{settings!r:.80} are not all settings")
    return settings


def _once(what: str, ids: Iterable[object]) -> None:
    if twice := [id for id, count in Counter(ids).items() if count > 1]:
        raise ValueError(f"{what} {twice[0]} is there twice")


def _word(data: object, least: int = 1) -> str:
    """A plain word, as ids and digests are: people type it, commands show it."""
    word = valuejson.text(data, _MOST_WORD)
    if len(word) < least or not set(word) <= _PLAIN:
        raise ValueError(f"{word!r} is no plain word")
    return word
