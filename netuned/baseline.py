"""What was there before netuned's first write in this boot, kept on disk before that write.

One JSON file, written atomically and fsynced. It is bound to the boot and to the card's ifindex
(never reused within a boot, unlike its name); after a reboot the kernel starts afresh and so
does the baseline.
"""

from __future__ import annotations

import contextlib
import json
import logging
import operator
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netuned.cpuset import CpuSet
from netuned.errors import StateFileError
from netuned.nic import Nic
from netuned.values import ChannelCounts, FlowTable, Qdisc, RssTable, State, Value

log = logging.getLogger(__name__)

VERSION = 1

Record = dict[str, Value | None]
"""One tunable of one card: key -> value, None where there was no such setting."""


class Baseline:
    """The values to go back to: ifindex -> tunable -> key -> value. Safe to use from workers."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._cards: dict[int, dict[str, Record]] = {}
        self._host: dict[str, Value] = {}

    def load(self) -> None:
        """Read the file of this boot; one of an earlier boot, or none, is an empty baseline.

        Raises: StateFileError when the file cannot be trusted; it is then set aside, and the
            baseline is empty.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}") from error
        try:
            data = json.loads(content)
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']} is not {VERSION}")
            if data["boot_id"] != self._boot_id:
                return
            # Absent where a version that knew no settings of the host wrote the file.
            host = {name: _existing(value) for name, value in data.get("host", {}).items()}
            self._cards = {
                int(ifindex): {
                    name: {key: decode_value(value) for key, value in state.items()}
                    for name, state in card.items()
                }
                for ifindex, card in data["cards"].items()
            }
            self._host = host
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._cards = {}
            aside = self._path.with_name(f"{self._path.name}.bad")
            with contextlib.suppress(OSError):
                os.replace(self._path, aside)
            raise StateFileError(
                f"{self._path}: not a baseline ({error}); what netuned changed before now cannot "
                f"be put back. The file is kept as {aside}"
            ) from error

    def of(self, nic: Nic) -> dict[str, State]:
        """What is recorded of a card: tunable -> State, without what did not exist."""
        return {
            tunable: {key: value for key, value in state.items() if value is not None}
            for tunable, state in self._cards.get(nic.ifindex, {}).items()
        }

    def record(
        self, nic: Nic, found: Mapping[str, State], wanted: Mapping[str, State] | None = None
    ) -> None:
        """Remember tunables' settings before their first write; what is recorded already stays.

        Keys that are ``wanted`` and not found are recorded as absent: they come with netuned's
        own changes (queues, a parent qdisc) and go when those are put back.
        On return the values are on disk. Raises: StateFileError; then nothing may be written.
        """
        with self._lock:
            card = self._cards.get(nic.ifindex, {})
            new: dict[str, Record] = {}
            for tunable, state in found.items():
                keys = state.keys() | (wanted or {}).get(tunable, {}).keys()
                if keys := keys - card.get(tunable, {}).keys():
                    new[tunable] = {key: settled(nic, state.get(key)) for key in sorted(keys)}
            if not new:
                return
            card = self._cards.setdefault(nic.ifindex, {})
            for tunable, record in new.items():
                card.setdefault(tunable, {}).update(record)
            self._save()

    def forget(self, ifindex: int, tunables: Iterable[str]) -> None:
        """Drop what was put back. Raises: StateFileError."""
        with self._lock:
            card = self._cards.get(ifindex, {})
            gone = [card.pop(tunable) for tunable in tunables if tunable in card]
            if not card:
                self._cards.pop(ifindex, None)
            if gone:
                self._save()

    def forget_cards(self, ifindexes: Iterable[int]) -> None:
        """Drop all of cards that left. Raises: StateFileError."""
        with self._lock:
            if [self._cards.pop(ifindex) for ifindex in ifindexes if ifindex in self._cards]:
                self._save()

    def host(self) -> Mapping[str, Value]:
        """What is recorded of the host's own settings: tunable -> value."""
        return dict(self._host)

    def record_host(self, tunable: str, found: Value) -> None:
        """Remember a setting of the host before its first write; what is recorded already stays.

        On return it is on disk. Raises: StateFileError; then nothing may be written.
        """
        with self._lock:
            if tunable not in self._host:
                self._host[tunable] = found
                self._save()

    def forget_host(self, tunable: str) -> None:
        """Drop what was put back. Raises: StateFileError."""
        with self._lock:
            if self._host.pop(tunable, None) is not None:
                self._save()

    def _save(self) -> None:
        data = {
            "version": VERSION,
            "boot_id": self._boot_id,
            "host": {name: encode_value(value) for name, value in self._host.items()},
            "cards": {
                str(ifindex): {
                    name: {key: encode_value(value) for key, value in state.items()}
                    for name, state in card.items()
                }
                for ifindex, card in self._cards.items()
            },
        }
        try:
            write_atomically(self._path, json.dumps(data).encode())
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}; nothing was changed") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash it is whole: the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    with open(draft, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def settled(nic: Nic, value: Value | None) -> Value | None:
    """The value to restore: an RSS table even over all queues is the kernel's, not a fixed list."""
    if isinstance(value, RssTable) and value.even_over == nic.rss_queues:
        return RssTable((), nic.rss_queues)
    return value


def _existing(data: Mapping[str, Any]) -> Value:
    value = decode_value(data)
    if value is None:
        raise ValueError(f"{data!r} is no setting of the host")
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
        case {"channels": [int(rx), int(tx), int(combined)]}:
            return ChannelCounts(rx, tx, combined)
        case {"table": [*entries], "queues": int(queues)}:
            return RssTable(tuple(map(operator.index, entries)), queues)
        case {"flows": int(entries)}:
            return FlowTable(entries)
        case {"qdisc": str(kind), "parameters": dict(parameters), "default": bool(default)}:
            return Qdisc(kind, tuple(sorted(parameters.items())), default)
    raise ValueError(f"{data!r} is not a recorded value")
