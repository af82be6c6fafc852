"""What waits to be confirmed and what is left alone, kept on disk.

One JSON file, replaced as a whole and fsynced. Trials are bound to the boot: after a reboot the
kernel is fresh, there is nothing to put back, and what was not confirmed is left alone as if it
had been rolled back. That a card was restored ends with the boot. A checksum tells a file that was
damaged or edited, as that of the baseline.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netuned import statefile, valuejson
from netuned.errors import StateFileError
from netuned.hardware.nic import Nic
from netuned.profiles.timeout import MOST_S
from netuned.reconcile.baseline import (
    MOST_IFINDEX,
    MOST_SENTENCE,
    decode_states,
    encode_states,
)
from netuned.reconcile.confirm import (
    ALL,
    RESTORED,
    ROLLED_BACK,
    Hold,
    Trial,
    Tried,
    held_by,
)
from netuned.values import Setting

NAME = "confirm.json"
VERSION = 3

_MOST_WORD = 64
_MOST_NAME = 15
_MOST_PATH = 4096
_MOST_INSTANCE = (1 << 64) - 1
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
            trials, holds, boot_id = parse(statefile.read_limited(self._path))
            if boot_id == self._boot_id and any(trial.left_s() > MOST_S for trial in trials):
                raise ValueError("a trial has no end")
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            aside = self._path.with_name(f"{self._path.name}.bad")
            with contextlib.suppress(OSError):
                os.replace(self._path, aside)
            raise StateFileError(
                f"{self._path}: not what netuned wrote ({error!s:.200}); what waited to be "
                "confirmed before now is neither confirmed nor rolled back. The file is kept as "
                f"{aside}"
            ) from error
        if boot_id == self._boot_id:
            self.trials, self.holds = {trial.id: trial for trial in trials}, holds
            return
        kept = (hold for hold in holds if hold.kind == ROLLED_BACK)
        unconfirmed = (
            hold_after(trial, tried) for trial in trials for tried in trial.cards.values()
        )
        self.holds = tuple(replace(hold, ifindex=0, instance=0) for hold in (*kept, *unconfirmed))

    def pending(self, nic: Nic) -> tuple[Trial, Tried] | None:
        """The trial that a card is in, and what it did to it; None if it is in none."""
        cards = ((trial, tried) for trial in self.trials.values() for tried in trial.cards.values())
        return next(((trial, tried) for trial, tried in cards if tried.is_of(nic)), None)

    def put(self, trial: Trial) -> None:
        """Keep a trial as it is now. Raises: StateFileError."""
        with self._lock:
            self._save({**self.trials, trial.id: trial}, self.holds)

    def change(self, id: str, ifindex: int, change: Callable[[Tried], Tried]) -> Tried:
        """Keep what a trial did to one card, also where the disk takes nothing.

        Raises: StateFileError; it then lasts as long as the process. KeyError.
        """
        with self._lock:
            trial = self.trials[id]
            tried = change(trial.cards[ifindex])
            trial = replace(trial, cards={**trial.cards, ifindex: tried})
            self._keep({**self.trials, id: trial}, self.holds)
            return tried

    def part(self, id: str, ifindex: int, apart: str, error: str) -> None:
        """Make a card that failed a trial of its own (``apart``), which is being rolled back.

        Raises: StateFileError; it then lasts as long as the process. KeyError.
        """
        with self._lock:
            trial = self.trials[id]
            failed = replace(trial.cards[ifindex], error=error)
            rest = {i: tried for i, tried in trial.cards.items() if i != ifindex}
            trials = {other: t for other, t in self.trials.items() if other != id}
            if rest:
                trials[id] = replace(trial, cards=rest)
            trials[apart] = replace(trial, id=apart, cards={ifindex: failed}, over=True)
            self._keep(trials, self.holds)

    def knows(self, id: str, nic: Nic) -> bool:
        """Whether a card is, or was until its rollback, in a trial."""
        trial = self.trials.get(id)
        tried = trial.cards.values() if trial else ()
        held = (hold for hold in self.holds if hold.id == id)
        return any(card.is_of(nic) for card in (*tried, *held))

    def undo(self, id: str) -> None:
        """Keep that a trial is being rolled back, also where the disk takes nothing.

        Raises: StateFileError; it then lasts as long as the process. KeyError.
        """
        with self._lock:
            trial = replace(self.trials[id], over=True)
            self._keep({**self.trials, id: trial}, self.holds)

    def save(self) -> None:
        """Have the disk take what memory has. Raises: StateFileError."""
        with self._lock:
            self._save(self.trials, self.holds)

    def add(self, trial: Trial, tried: Tried) -> None:
        """Keep a card that joins a trial, and the trial if it is the first."""
        with self._lock:
            known = self.trials.get(trial.id, trial)
            known = replace(known, cards={**known.cards, tried.ifindex: tried})
            self._save({**self.trials, trial.id: known}, self.holds)

    def end(self, id: str, ifindexes: Iterable[int], *, confirmed: bool) -> None:
        """Drop cards of a trial; those that are not confirmed are held.

        Raises: StateFileError; what is not confirmed is dropped and held nevertheless.
        """
        with self._lock:
            trial = self.trials.get(id)
            if trial is None:
                return
            gone = {i: trial.cards[i] for i in ifindexes if i in trial.cards}
            left = {i: tried for i, tried in trial.cards.items() if i not in gone}
            trials = {other: t for other, t in self.trials.items() if other != id}
            if left:
                trials[id] = replace(trial, cards=left)
            new = tuple(hold_after(trial, tried) for tried in gone.values())
            if confirmed:
                kept = (h for h in self.holds if not any(_same_card(h, card) for card in new))
                self._save(trials, tuple(kept))
            else:
                self._keep(trials, (*self._without(new), *new))

    def hold(self, holds: Iterable[Hold], *, anyway: bool = True) -> None:
        """Leave these alone from now on; with ``anyway`` also where the disk takes nothing.

        Raises: StateFileError; with ``anyway`` it lasts as long as the process then.
        """
        with self._lock:
            new = tuple(holds)
            save = self._keep if anyway else self._save
            save(self.trials, (*self._without(new), *new))

    def release(self, is_of: Callable[[Hold], bool]) -> None:
        """Leave nothing of some cards alone any more. Raises: StateFileError."""
        with self._lock:
            kept = tuple(hold for hold in self.holds if not is_of(hold))
            if kept != self.holds:
                self._save(self.trials, kept)

    def rebind(self, hold: Hold, ifindex: int, instance: int) -> None:
        """Follow a card that came (or left: both 0). Raises: StateFileError."""
        with self._lock:
            if hold in self.holds:
                new = replace(hold, ifindex=ifindex, instance=instance)
                self._save(self.trials, tuple(new if h == hold else h for h in self.holds))

    def drop(self, hold: Hold) -> None:
        """Forget a hold, for its card has another profile now. Raises: StateFileError."""
        with self._lock:
            if hold in self.holds:
                self._save(self.trials, tuple(h for h in self.holds if h != hold))

    def _without(self, new: tuple[Hold, ...]) -> tuple[Hold, ...]:
        """The present holds, less what new ones say of the same tunables of the same cards."""
        kept = []
        for hold in self.holds:
            covered = frozenset[str]().union(
                *(other.tunables for other in new if _same_card(hold, other))
            )
            if left := hold.tunables - covered:
                kept.append(replace(hold, tunables=left))
        return tuple(kept)

    def _keep(self, trials: Mapping[str, Trial], holds: tuple[Hold, ...]) -> None:
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
            statefile.write_atomically(self._path, statefile.encode(VERSION, content))
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}") from error
        self.trials, self.holds, self.stale = trials, holds, False


def hold_after(trial: Trial, tried: Tried) -> Hold:
    """What is left alone once a trial has been rolled back."""
    return Hold(
        ROLLED_BACK,
        trial.id,
        tried.ifindex,
        tried.name,
        tried.device,
        held_by(tried),
        tried.profile,
        tried.error,
        tried.instance,
        tried.foreign,
    )


def _same_card(one: Hold, other: Hold) -> bool:
    if one.instance and other.instance:
        return one.instance == other.instance
    if one.ifindex and other.ifindex:
        return one.ifindex == other.ifindex
    return (one.device, one.name) == (other.device, other.name)


def parse(content: bytes) -> tuple[tuple[Trial, ...], tuple[Hold, ...], str]:
    """Trials, holds and the boot they are of.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    data = statefile.decode(VERSION, content)
    trials = tuple(_decode_trial(trial) for trial in data["trials"])
    holds = tuple(_decode_hold(hold) for hold in data["holds"])
    _once("trial", (trial.id for trial in trials))
    cards = (tried for trial in trials for tried in trial.cards.values())
    _once("card", ((tried.ifindex, tried.instance) for tried in cards))
    return trials, holds, valuejson.text(data["boot_id"], _MOST_WORD)


def _encode_trial(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "deadline_ns": trial.deadline_ns,
        "until": trial.until,
        "over": trial.over,
        "cards": [
            {
                "ifindex": tried.ifindex,
                "instance": tried.instance,
                "name": tried.name,
                "device": tried.device,
                "profile": tried.profile,
                "error": tried.error,
                "before": encode_states(tried.before),
                "written": encode_states(tried.written),
                "left": None if tried.left is None else encode_states(tried.left),
                "back": None if tried.back is None else encode_states(tried.back),
                "foreign": list(map(list, tried.foreign)),
            }
            for tried in trial.cards.values()
        ],
    }


def _decode_trial(data: Mapping[str, Any]) -> Trial:
    cards = [
        Tried(
            ifindex=valuejson.whole(card["ifindex"], MOST_IFINDEX, 1),
            instance=valuejson.whole(card["instance"], _MOST_INSTANCE),
            name=_name(card["name"]),
            device=valuejson.text(card["device"], _MOST_PATH),
            profile=_word(card["profile"], least=0),
            error=valuejson.text(card["error"], MOST_SENTENCE),
            before=decode_states(card["before"], absent=False),
            written=decode_states(card["written"], absent=False),
            left=None if card["left"] is None else decode_states(card["left"], absent=False),
            back=None if card["back"] is None else decode_states(card["back"], absent=False),
            foreign=_settings(card["foreign"]),
        )
        for card in data["cards"]
    ]
    _once("card", (tried.ifindex for tried in cards))
    return Trial(
        _word(data["id"]),
        valuejson.whole(data["deadline_ns"], _MOST_NS),
        valuejson.text(data["until"], _MOST_WORD),
        {tried.ifindex: tried for tried in cards},
        data["over"] is True,
    )


def _encode_hold(hold: Hold) -> dict[str, Any]:
    return {
        "kind": hold.kind,
        "id": hold.id,
        "ifindex": hold.ifindex,
        "instance": hold.instance,
        "name": hold.name,
        "device": hold.device,
        "tunables": sorted(hold.tunables),
        "profile": hold.profile,
        "error": hold.error,
        "foreign": list(map(list, hold.foreign)),
    }


def _decode_hold(data: Mapping[str, Any]) -> Hold:
    kind, tunables = data["kind"], frozenset(data["tunables"])
    if kind not in (ROLLED_BACK, RESTORED) or not tunables <= ALL:
        raise ValueError(f"{kind!r:.40} of {sorted(tunables)!r:.80} is nothing that is left alone")
    return Hold(
        kind,
        _word(data["id"], least=0),
        valuejson.whole(data["ifindex"], MOST_IFINDEX),
        _name(data["name"]),
        valuejson.text(data["device"], _MOST_PATH),
        tunables,
        _word(data["profile"], least=0),
        valuejson.text(data["error"], MOST_SENTENCE),
        valuejson.whole(data["instance"], _MOST_INSTANCE),
        _settings(data["foreign"]),
    )


def _settings(data: Iterable[tuple[str, str]]) -> tuple[Setting, ...]:
    settings = tuple(
        (valuejson.text(name, _MOST_WORD), valuejson.text(key, _MOST_WORD)) for name, key in data
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


def _name(data: object) -> str:
    """A card's name: bytes, of which the kernel takes 15."""
    name = valuejson.text(data, _MOST_NAME)
    if not 0 < len(os.fsencode(name)) <= _MOST_NAME or "\0" in name:
        raise ValueError(f"{name!r} is no card's name")
    return name
