"""What was there before netuned's first write in this boot, kept on disk before that write.

One JSON file, written atomically and fsynced. It is bound to the boot, after which the kernel
starts afresh, and to each card's network device itself (``Nic.instance``): neither a new name nor
a way through another network namespace makes it another, both of which leave its settings alone;
a driver that is loaded again makes a new one, with the driver's own settings.

A checksum tells a file that was damaged or edited; it is no seal, for only root can write here.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from netuned import statefile, valuejson
from netuned.errors import StateFileError
from netuned.hardware.nic import HOST, Nic
from netuned.records import dataclass
from netuned.tunables import BY_NAME, HOST_BY_NAME, Tunable, tunables_of
from netuned.values import ABSENT, Setting, State, Value

log = logging.getLogger(__name__)

VERSION = 3

DEPARTED = 64
"""So many cards that left are remembered, for one may come back from another namespace."""

MOST_IFINDEX = (1 << 31) - 1
MOST_SENTENCE = 1 << 16
MOST_KEY = 256


@dataclass(frozen=True, slots=True)
class CardRecord:
    """One card: tunable -> key -> value, ABSENT where there was no such setting."""

    ifindex: int
    settings: Mapping[str, State] = field(default_factory=dict)
    left: int = 0
    """0 while it is here; of those that left, the last one's is the greatest."""


@dataclass(slots=True)
class Entry:
    """What was found on one card and is to be on disk before it is changed."""

    nic: Nic
    settings: Mapping[str, State]
    saved: bool = False
    error: str = ""
    """Why it could not be saved."""
    withdrawn: bool = False
    """Whether the card will not be changed after all; no lock is needed to say so."""


class Baseline:
    """The values to go back to: card -> tunable -> key -> value. Safe to use from workers.

    What could not be saved is not remembered either, so memory never says more than the disk.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self.lost = ""
        """Why values from before are not known, also after a restart; empty while they are."""
        self._path = path
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._cards: dict[int, CardRecord] = {}
        self._entered: deque[Entry] = deque()
        """What waits to be saved; appended to without the lock, which a save holds for long."""
        self._texts: dict[int, tuple[CardRecord, str]] = {}
        """Of each card's record, its part of the file: of 200 cards, one is encoded for a save."""

    def load(self) -> None:
        """Read the file of this boot; one of an earlier boot, or none, is an empty baseline.

        Raises: StateFileError when the file cannot be read or trusted; it is then set aside, the
            baseline is empty, and that values were lost is on disk in its place.
        """
        try:
            statefile.finish_set_aside(self._path, self._tells_of_loss)
            data = statefile.decode(VERSION, statefile.read_limited(self._path))
            if data["boot_id"] != self._boot_id:
                log.info("%s is of an earlier boot, ignoring", self._path)
                return
            cards = {int(key): _card(int(key), card) for key, card in data["cards"].items()}
            host = valuejson.mapping(data.get("host", {}))  # where earlier versions had its own
            if settings := {name: {"": value} for name, value in host.items()}:
                cards[HOST.instance] = _card(HOST.instance, {"ifindex": 0, "settings": settings})
            self._cards, self.lost = cards, valuejson.text(data["lost"], MOST_SENTENCE)
        except FileNotFoundError:
            return
        except OSError as error:
            self._set_aside(error.strerror or str(error))
        except RecursionError:
            self._set_aside("it is nested too deep")
        except statefile.MALFORMED as error:
            self._set_aside(f"not a baseline ({error!s:.200})")

    def _set_aside(self, why: str) -> None:
        """Go on without a file that cannot be trusted. Raises: StateFileError, always."""
        self._cards = {}
        self.lost = (
            f"what was there before netuned is not known, for {self._path} could not be trusted "
            f"({why}); what is put back is what was found after that"
        )
        try:
            aside = statefile.set_aside(self._path, self._encode({}))
            kept = f"The file is kept as {aside}"
        except OSError as error:
            kept = f"It cannot be set aside: {error.strerror}"
        raise StateFileError(
            f"{self._path}: {why}; what netuned changed before now cannot be put back. {kept}"
        )

    def _tells_of_loss(self, content: bytes) -> bool:
        data = statefile.decode(VERSION, content)
        return bool(data["boot_id"] == self._boot_id and data["lost"])

    def of(self, nic: Nic) -> dict[str, State]:
        """What is recorded of a card: tunable -> State.

        What did not exist is left out, or is as the kernel makes it: queues that netuned opened
        may have to stay.
        """
        tunables, settings = tunables_of(nic), self._of(nic).settings
        found = {name: _back(tunables[name], state) for name, state in settings.items()}
        return {name: state for name, state in found.items() if state}

    def away(self, present: Collection[Nic]) -> int:
        """How many cards are on record that are not among these."""
        return len(self._cards.keys() - {nic.instance for nic in present})

    def record(
        self, nic: Nic, found: Mapping[str, State], wanted: Mapping[str, State] | None = None
    ) -> None:
        """Remember tunables' settings before their first write: ``enter`` and ``save``.

        On return the values are on disk. Raises: StateFileError; then nothing may be written.
        """
        if entry := self.enter(nic, found, wanted):
            self.save(entry)

    def enter(
        self, nic: Nic, found: Mapping[str, State], wanted: Mapping[str, State] | None = None
    ) -> Entry | None:
        """Have the next ``save`` write tunables' settings; None if all of them are on disk.

        What is recorded already stays. Keys that are ``wanted`` and not found are recorded as
        absent: they come with netuned's own changes (queues) and go when those are put back. A
        tunable that is set key by key has keys that come with its own (parameters of a qdisc):
        those are recorded once they are there. Until they are saved nothing may be written.

        Raises: StateFileError.
        """
        known = self._of(nic).settings
        new: dict[str, State] = {}
        for name, state in found.items():
            tunable, had = tunables_of(nic)[name], known.get(name, {})
            absent = (wanted or {}).get(name, {}).keys() - state.keys() - had.keys()
            keys = state.keys() - had.keys() | {k for k in absent if _comes_and_goes(tunable)}
            if keys:
                values = {
                    key: tunable.recorded(nic, state.get(key, ABSENT)) for key in sorted(keys)
                }
                check_keeps(nic.label, tunable, values)
                new[name] = values
        if not new:
            return None
        if not nic.instance:
            raise StateFileError(f"{nic.name}: nothing tells which card this is; not changed")
        entry = Entry(nic, new)
        self._entered.append(entry)
        return entry

    def save(self, entry: Entry) -> None:
        """Save what was entered, and all that others have entered until now, in one write.

        On return it is on disk. Raises: StateFileError, also where it was others' save that failed.
        """
        with self._lock:
            if not entry.saved and not entry.error:
                self._save_entered()
        if not entry.saved:
            raise StateFileError(entry.error or f"{self._path}: not saved; {_UNCHANGED}")

    def _save_entered(self) -> None:
        entered = (self._entered.popleft() for _ in range(len(self._entered)))
        entries = [entry for entry in entered if not entry.withdrawn]
        cards = dict(self._cards)
        for entry in entries:
            instance = entry.nic.instance
            known = cards[instance].settings if instance in cards else {}
            new = {name: {**state, **known.get(name, {})} for name, state in entry.settings.items()}
            cards[instance] = CardRecord(entry.nic.ifindex, {**known, **new})
        try:
            self._save(cards, _UNCHANGED)
        except StateFileError as error:
            for entry in entries:
                entry.error = str(error)
        for entry in entries:
            entry.saved = not entry.error

    def forget(self, nic: Nic, settings: Collection[Setting]) -> None:
        """Drop what was put back; what was not there and stays goes with a tunable's last value.

        Raises: StateFileError.
        """
        with self._lock:
            card = self._of(nic)
            gone = set(settings)
            of, tunables = {name for name, _ in gone}, tunables_of(nic)
            left = {
                name: {key: value for key, value in state.items() if (name, key) not in gone}
                for name, state in card.settings.items()
            }
            left = {n: s for n, s in left.items() if (_back(tunables[n], s) if n in of else s)}
            if left == card.settings:
                return
            cards = {**self._cards, nic.instance: replace(card, settings=left)}
            if not left:
                del cards[nic.instance]
            self._save(cards, _RESTORED)

    def retire(self, present: Collection[Nic], gone: Sequence[Nic] = ()) -> None:
        """Of cards that are not ``present``, keep those that left last. Raises: StateFileError.

        ``gone`` are those that left just now, the last one last. A card that left for another
        namespace comes back as it was; one that ended never does.
        """
        with self._lock:
            here = {HOST.instance, *(nic.instance for nic in present)}
            last = max((card.left for card in self._cards.values()), default=0)
            order = {nic.instance: last + 2 + at for at, nic in enumerate(gone)}
            cards = {
                key: replace(card, left=0 if key in here else card.left or order.get(key, last + 1))
                for key, card in self._cards.items()
            }
            away = sorted((key for key in cards if key not in here), key=lambda k: cards[k].left)
            for key in away[:-DEPARTED]:
                del cards[key]
            if cards != self._cards:
                self._save(cards, _RESTORED)

    def _of(self, nic: Nic) -> CardRecord:
        """A card's record; a snapshot has only its ifindex to tell it by."""
        if nic.instance:
            return self._cards.get(nic.instance) or CardRecord(nic.ifindex)
        alike = (card for card in self._cards.values() if card.ifindex == nic.ifindex)
        return next(alike, CardRecord(nic.ifindex))

    def _encode(self, cards: Mapping[int, CardRecord]) -> bytes:
        """What to write for these cards, and what is known besides."""
        self._texts = {
            instance: kept
            if (kept := self._texts.get(instance)) and kept[0] is card
            else (card, statefile.encode_part(_encode_card(card)))
            for instance, card in cards.items()
        }
        parts = {
            "boot_id": statefile.encode_part(self._boot_id),
            "lost": statefile.encode_part(self.lost),
            "cards": statefile.join_parts({str(i): text for i, (_, text) in self._texts.items()}),
        }
        return statefile.encode_parts(VERSION, parts)

    def _save(self, cards: dict[int, CardRecord], otherwise: str) -> None:
        try:
            statefile.write_of_boot(self._path, self._encode(cards))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "no number")
            raise StateFileError(f"{self._path}: {error.strerror} ({name}); {otherwise}") from error
        self._cards = cards


_UNCHANGED = "nothing was changed, because what was there before could not be saved"
_RESTORED = "settings are as they should be, but are not known as such after a restart"


def _back(tunable: Tunable, state: State) -> State:
    """What a record puts back: not what did not exist, but where the kernel says how that is."""
    values = {key: tunable.fresh if value is ABSENT else value for key, value in state.items()}
    return {key: value for key, value in values.items() if value is not None}


def _comes_and_goes(tunable: Tunable) -> bool:
    """Whether that a key was not there is on record; else its first value is."""
    return not tunable.by_key or tunable.fresh is ABSENT


def check_keeps(ifname: str, tunable: Tunable, state: State) -> None:
    """What would not be read back is not written: a file with one such key would be lost whole.

    Raises: StateFileError.
    """
    for key, value in state.items():
        try:
            read_back = _state(tunable, {key: valuejson.encode(value)})
        except (ValueError, TypeError):
            read_back = {}
        if not tunable.accepts(key) or read_back != {key: value}:
            setting = f"{ifname} {tunable.name} {key!r:.80}"
            raise StateFileError(f"{setting} with {value!s:.80} cannot be kept; {_UNCHANGED}")


def _encode_card(card: CardRecord) -> dict[str, Any]:
    settings = encode_states(card.settings)
    return {"ifindex": card.ifindex, "settings": settings, "left": card.left}


def _card(instance: int, data: Mapping[str, Any]) -> CardRecord:
    ifindex = valuejson.whole(data["ifindex"], MOST_IFINDEX)
    if instance == HOST.instance:  # whose settings are always there
        return CardRecord(ifindex, decode_states(data["settings"], HOST_BY_NAME, absent=False))
    left = valuejson.whole(data.get("left", 0), MOST_IFINDEX)
    return CardRecord(ifindex, decode_states(data["settings"]), left)


def encode_states(states: Mapping[str, State]) -> dict[str, Any]:
    """Tunable -> key -> value, as JSON."""
    return {
        name: {key: valuejson.encode(value) for key, value in state.items()}
        for name, state in states.items()
    }


def decode_states(
    data: object, tunables: Mapping[str, Tunable] = BY_NAME, *, absent: bool = True
) -> dict[str, State]:
    """What :func:`encode_states` made, also of an earlier version. Raises: ValueError, TypeError.

    Keys are not judged: that was when they were recorded, and one that this version does not know
    is no reason to lose the others. Without ``absent`` only what may come and go can be so.
    """
    states: dict[str, State] = {}
    for name, encoded in valuejson.mapping(data).items():
        if name not in tunables:
            raise ValueError(f"{name!r:.40} is nothing that netuned sets")
        states[name] = state = _state(tunables[name], encoded)
        if not absent and tunables[name].fresh is not ABSENT and ABSENT in state.values():
            raise ValueError(f"{name} has a value that is none")
    return states


def _state(tunable: Tunable, data: object) -> State:
    state: dict[str, Value] = {}
    for key, encoded in tunable.upgrade(valuejson.mapping(data)).items():
        value = valuejson.decode(encoded)
        if not isinstance(value, (*tunable.holds, type(ABSENT))):
            raise ValueError(f"{tunable.name!r:.40} has no such value as {encoded!r:.80}")
        state[valuejson.text(key, MOST_KEY)] = value
    return state
