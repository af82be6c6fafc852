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
import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netuned import statefile
from netuned.cpuset import CpuSet
from netuned.errors import StateFileError
from netuned.hardware.nic import Nic
from netuned.values import ChannelCounts, FlowTable, Qdisc, RssTable, State, Value

log = logging.getLogger(__name__)

VERSION = 3

DEPARTED = 64
"""So many cards that left are remembered, for one may come back from another namespace."""

HOLDS: Mapping[str, type[Value]] = {
    "channels": ChannelCounts,
    "rss": RssTable,
    "irq": CpuSet,
    "rps": CpuSet,
    "rfs": FlowTable,
    "xps": CpuSet,
    "qdisc": Qdisc,
}
"""What each tunable's values are: nothing else is taken from a file."""

MOST_IFINDEX = (1 << 31) - 1
MOST_SENTENCE = 1 << 16
_MOST_QUEUES = 1 << 16
_MOST_ENTRIES = 1 << 16
_MOST_FLOWS = 1 << 32
_MOST_KIND = 64
_MOST_PARAMETER = 1 << 64
"""What a file may have at most: more than any kernel shows, and little enough to go on with."""

_KEY = re.compile(r"(?:(?:rx|tx|rxtx)-[0-9]{1,5}|root)?")

FRESH: Mapping[str, Value] = {"rps": CpuSet(), "xps": CpuSet(), "rfs": FlowTable(0)}
"""What the settings of a new queue are."""

Record = Mapping[str, Value | None]
"""One tunable of one card: key -> value, None where there was no such setting."""


@dataclass(frozen=True, slots=True)
class CardRecord:
    """One card. ``parameters`` are those of its qdiscs that netuned set: key -> tc's names."""

    ifindex: int
    settings: Mapping[str, Record] = field(default_factory=dict)
    parameters: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
        self._host: dict[str, Value] = {}
        self._texts: dict[int, tuple[CardRecord, str]] = {}
        """Of each card's record, its part of the file: of 200 cards, one is encoded for a save."""

    def load(self) -> None:
        """Read the file of this boot; one of an earlier boot, or none, is an empty baseline.

        Raises: StateFileError when the file cannot be read or trusted; it is then set aside, and
            the baseline is empty.
        """
        try:
            data = statefile.decode(VERSION, statefile.read_limited(self._path))
            if data["boot_id"] != self._boot_id:
                log.info("%s is of an earlier boot, ignoring", self._path)
                return
            host = {name: _setting(name, value) for name, value in data["host"].items()}
            cards = {int(key): _card(card) for key, card in data["cards"].items()}
            lost = decode_text(data["lost"], MOST_SENTENCE)
        except FileNotFoundError:
            return
        except OSError as error:
            why = error.strerror or str(error)
        except RecursionError:
            why = "it is nested too deep"
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            why = f"not a baseline ({error!s:.200})"
        else:
            self._cards, self._host, self.lost = cards, host, lost
            return
        self._cards, self._host = {}, {}
        aside = self._path.with_name(f"{self._path.name}.bad")
        kept = f"The file is kept as {aside}"
        self.lost = (
            f"what was there before netuned is not known, for {self._path} could not be trusted "
            f"({why}); what is put back is what was found after that"
        )
        try:
            os.replace(self._path, aside)
        except OSError as error:
            kept = f"It cannot be set aside as {aside.name}: {error.strerror}"
        raise StateFileError(
            f"{self._path}: {why}; what netuned changed before now cannot be put back. {kept}"
        )

    def of(self, nic: Nic) -> dict[str, State]:
        """What is recorded of a card: tunable -> State.

        What did not exist is left out, or is as the kernel makes it: queues that netuned opened
        may have to stay.
        """
        found: dict[str, State] = {}
        for tunable, state in self._of(nic).settings.items():
            values = {key: FRESH.get(tunable) if v is None else v for key, v in state.items()}
            found[tunable] = {key: value for key, value in values.items() if value is not None}
        return found

    def parameters(self, nic: Nic) -> Mapping[str, frozenset[str]]:
        """The parameters of a card's qdiscs that netuned set: key -> tc's names."""
        return self._of(nic).parameters

    def record(
        self, nic: Nic, found: Mapping[str, State], wanted: Mapping[str, State] | None = None
    ) -> None:
        """Remember tunables' settings before their first write; what is recorded already stays.

        Keys that are ``wanted`` and not found are recorded as absent: they come with netuned's
        own changes (queues, a parent qdisc) and go when those are put back.
        On return the values are on disk. Raises: StateFileError; then nothing may be written.
        """
        with self._lock:
            card = self._of(nic)
            new: dict[str, Record] = {}
            for tunable, state in found.items():
                keys = state.keys() | (wanted or {}).get(tunable, {}).keys()
                if keys := keys - card.settings.get(tunable, {}).keys():
                    values = {key: settled(nic, state.get(key)) for key in sorted(keys)}
                    new[tunable] = {**card.settings.get(tunable, {}), **values}
            parameters = dict(card.parameters)
            for key, value in (wanted or {}).get("qdisc", {}).items() if "qdisc" in found else ():
                if isinstance(value, Qdisc) and (names := {name for name, _ in value.parameters}):
                    parameters[key] = parameters.get(key, frozenset()) | names
            if not new and parameters == card.parameters:
                return
            if not nic.instance:
                raise StateFileError(f"{nic.name}: nothing tells which card this is; not changed")
            record = CardRecord(nic.ifindex, {**card.settings, **new}, parameters)
            self._save({**self._cards, nic.instance: record}, self._host, _UNCHANGED)

    def keep_parameters(self, nic: Nic, names: Mapping[str, frozenset[str]]) -> None:
        """Of a card's qdiscs, parameters other than these are as before. Raises: StateFileError."""
        with self._lock:
            card = self._of(nic)
            parameters = {
                key: names.get(key, frozenset()) & had for key, had in card.parameters.items()
            }
            parameters = {key: had for key, had in parameters.items() if had}
            if parameters != card.parameters:
                cards = {**self._cards, nic.instance: replace(card, parameters=parameters)}
                self._save(cards, self._host, _RESTORED)

    def forget(self, nic: Nic, tunables: Iterable[str]) -> None:
        """Drop what was put back. Raises: StateFileError."""
        with self._lock:
            card = self._of(nic)
            gone = card.settings.keys() & set(tunables)
            if not gone:
                return
            settings = {name: card.settings[name] for name in card.settings if name not in gone}
            cards = {**self._cards, nic.instance: replace(card, settings=settings)}
            if "qdisc" in gone:
                cards[nic.instance] = replace(cards[nic.instance], parameters={})
            if not settings:
                del cards[nic.instance]
            self._save(cards, self._host, _RESTORED)

    def retire(self, present: Collection[Nic]) -> None:
        """Of cards that are not ``present``, keep those that left last. Raises: StateFileError.

        A card that left for another namespace comes back as it was; one that ended never does.
        """
        with self._lock:
            here = {nic.instance for nic in present}
            away = [instance for instance in self._cards if instance not in here]
            dropped = away[:-DEPARTED]
            cards = {key: card for key, card in self._cards.items() if key in here}
            cards |= {key: self._cards[key] for key in away[len(dropped) :]}
            if dropped:
                self._save(cards, self._host, _RESTORED)
            self._cards = cards

    def host(self) -> Mapping[str, Value]:
        """What is recorded of the host's own settings: tunable -> value."""
        return dict(self._host)

    def record_host(self, tunable: str, found: Value) -> None:
        """Remember a setting of the host before its first write; what is recorded already stays.

        On return it is on disk. Raises: StateFileError; then nothing may be written.
        """
        with self._lock:
            if tunable not in self._host:
                self._save(self._cards, {**self._host, tunable: found}, _UNCHANGED)

    def forget_host(self, tunable: str) -> None:
        """Drop what was put back. Raises: StateFileError."""
        with self._lock:
            if tunable in self._host:
                host = {name: value for name, value in self._host.items() if name != tunable}
                self._save(self._cards, host, _RESTORED)

    def _of(self, nic: Nic) -> CardRecord:
        """A card's record; a snapshot has only its ifindex to tell it by."""
        if nic.instance:
            return self._cards.get(nic.instance) or CardRecord(nic.ifindex)
        alike = (card for card in self._cards.values() if card.ifindex == nic.ifindex)
        return next(alike, CardRecord(nic.ifindex))

    def _save(self, cards: dict[int, CardRecord], host: dict[str, Value], otherwise: str) -> None:
        self._texts = {
            instance: kept
            if (kept := self._texts.get(instance)) and kept[0] is card
            else (card, statefile.encode_part(_encode_card(card)))
            for instance, card in cards.items()
        }
        parts = {
            "boot_id": statefile.encode_part(self._boot_id),
            "lost": statefile.encode_part(self.lost),
            "host": statefile.encode_part({n: encode_value(value) for n, value in host.items()}),
            "cards": statefile.join_parts({str(i): text for i, (_, text) in self._texts.items()}),
        }
        try:
            statefile.write_atomically(self._path, statefile.encode_parts(VERSION, parts))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "no number")
            raise StateFileError(f"{self._path}: {error.strerror} ({name}); {otherwise}") from error
        self._cards, self._host = cards, host


_UNCHANGED = "nothing was changed, because what was there before could not be saved"
_RESTORED = "settings are as they should be, but are not known as such after a restart"


def settled(nic: Nic, value: Value | None) -> Value | None:
    """The value to restore: an RSS table even over all queues is the kernel's, not a fixed list."""
    if isinstance(value, RssTable) and value.even_over == nic.rss_queues:
        return RssTable((), nic.rss_queues)
    return value


def _encode_card(card: CardRecord) -> dict[str, Any]:
    return {
        "ifindex": card.ifindex,
        "settings": {
            name: {key: encode_value(value) for key, value in state.items()}
            for name, state in card.settings.items()
        },
        "parameters": {key: sorted(had) for key, had in card.parameters.items()},
    }


def _card(data: Mapping[str, Any]) -> CardRecord:
    settings = {name: decode_record(name, state) for name, state in data["settings"].items()}
    parameters = {key: frozenset(map(str, had)) for key, had in data["parameters"].items()}
    return CardRecord(decode_number(data["ifindex"], MOST_IFINDEX), settings, parameters)


def decode_record(tunable: str, data: Mapping[str, Any]) -> Record:
    """One tunable's settings. Raises: ValueError, TypeError, AttributeError."""
    if tunable not in HOLDS:
        raise ValueError(f"{tunable!r:.40} is nothing that netuned sets")
    for key in data:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r:.80} is no setting of a card")
    return {key: _value(tunable, value) for key, value in data.items()}


def _value(tunable: str, data: Mapping[str, Any]) -> Value | None:
    value = decode_value(data)
    if tunable not in HOLDS or not isinstance(value, HOLDS[tunable] | None):
        raise ValueError(f"{tunable!r:.40} has no such value as {data!r:.80}")
    return value


def _setting(tunable: str, data: Mapping[str, Any]) -> Value:
    value = _value(tunable, data)
    if value is None:
        raise ValueError(f"{data!r:.80} is no setting of the host")
    return value


def encode_value(value: Value | None) -> dict[str, Any]:
    """A value, or that there is none, as JSON."""
    match value:
        case None:
            return {"absent": True}
        case CpuSet():
            return {"cpus": str(value)}
        case ChannelCounts():
            return {"channels": [value.rx, value.tx, value.combined]}
        case RssTable():
            return {"table": list(value.entries), "queues": value.queues}
        case FlowTable():
            return {"flows": value.entries}
        case Qdisc():
            return {
                "qdisc": value.kind,
                "parameters": dict(value.parameters),
                "default": value.default,
            }


def decode_value(data: Mapping[str, Any]) -> Value | None:
    """What :func:`encode_value` made. Raises: ValueError, TypeError."""
    match dict(data):
        case {"absent": True}:
            return None
        case {"cpus": str(text)}:
            return CpuSet.parse_list(text)
        case {"channels": [rx, tx, combined]}:
            return ChannelCounts(_queues(rx), _queues(tx), _queues(combined))
        case {"table": [*entries], "queues": queues} if len(entries) <= _MOST_ENTRIES:
            return RssTable(tuple(map(_queues, entries)), _queues(queues))
        case {"flows": entries}:
            return FlowTable(decode_number(entries, _MOST_FLOWS))
        case {"qdisc": str(kind), "parameters": dict(parameters), "default": bool(default)} if (
            len(kind.encode()) <= _MOST_KIND and "\0" not in kind
        ):
            numbers = {
                name: decode_number(number, _MOST_PARAMETER, -_MOST_PARAMETER)
                for name, number in parameters.items()
            }
            return Qdisc(kind, tuple(sorted(numbers.items())), default)
    raise ValueError(f"{data!r:.80} is not a recorded value")


def decode_number(data: object, most: int, least: int = 0) -> int:
    """A whole number from ``least`` to ``most``. Raises: ValueError."""
    if isinstance(data, bool) or not isinstance(data, int) or not least <= data <= most:
        raise ValueError(f"{data!r:.80} is no number from {least} to {most}")
    return data


def _queues(data: object) -> int:
    return decode_number(data, _MOST_QUEUES)


def decode_text(data: object, most: int) -> str:
    """A text of at most so many characters. Raises: ValueError."""
    if not isinstance(data, str) or len(data) > most:
        raise ValueError(f"{data!r:.80} is no text of at most {most} characters")
    return data
