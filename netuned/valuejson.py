"""Values as JSON: as netuned's own files keep them, and as people's programs read them.

In the files a value says what it is (``{"cpus": "0-3"}``), so that one that does not belong there
is refused. Outward it is a plain number, list, map or word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from netuned.cpuset import CpuSet
from netuned.values import (
    ABSENT,
    Absent,
    Balancer,
    ChannelCounts,
    Exclusion,
    FlowRule,
    FlowTable,
    HashKey,
    Number,
    Qdisc,
    RssTable,
    State,
    Sysctl,
    Told,
    Value,
    Word,
)

_MOST_QUEUES = 1 << 16
_MOST_ENTRIES = 1 << 16
_MOST_HANDLE = 0xFFFF << 16
_MOST_FLOWS = 1 << 32
_MOST_WORD = 64
_MOST_PATH = 4096
MOST_SYSCTL = 4096
_MOST_NUMBER = 1 << 64
_MOST_KEY = 1 << 10
_MOST_FIELDS = 16
"""What a file may have at most: more than any kernel shows, and little enough to go on with."""


def encode(value: Value) -> dict[str, Any]:
    """A value as a file keeps it."""
    match value:
        case Absent():
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
            known = {"qdisc": value.kind, "default": value.default}
            return {**known, "handle": value.handle} if value.handle else known
        case Number():
            text = {"text": value.text} if value.text else {}
            return {"number": value.value, "unit": value.unit, **text}
        case Word():
            return {"word": value.text}
        case HashKey():
            return {"hash_key": [value.size, value.digest], "secret": value.secret.hex()}
        case Sysctl():
            return {"sysctl": value.text, "bound": value.bound, "yields": value.yields}
        case FlowRule():
            return {"proto": value.proto, "match": dict(value.match), "to": value.to}
        case Exclusion():
            return {
                "irqbalance": value.mode,
                "devices": sorted(value.devices),
                "interrupts": sorted(value.interrupts),
            }
        case Balancer():
            return encode(value.told)


def decode(data: object) -> Value:
    """What :func:`encode` made. Raises: ValueError, TypeError."""
    match data:
        case {"absent": True}:
            return ABSENT
        case {"cpus": str(cpus)}:
            return CpuSet.parse_list(cpus)
        case {"channels": [rx, tx, combined]}:
            return ChannelCounts(_queues(rx), _queues(tx), _queues(combined))
        case {"table": [*entries], "queues": queues} if len(entries) <= _MOST_ENTRIES:
            return RssTable(tuple(map(_queues, entries)), _queues(queues))
        case {"flows": entries}:
            return FlowTable(whole(entries, _MOST_FLOWS))
        case {"qdisc": str(kind), "default": bool(default), **more}:
            handle = whole(more.get("handle", 0), _MOST_HANDLE) & _MOST_HANDLE
            return Qdisc(_word(kind), default, handle)
        case {"number": number, "unit": str(unit), **rest}:
            shown = text(rest.get("text", ""), _MOST_WORD)
            return Number(whole(number, _MOST_NUMBER, -_MOST_NUMBER), _word(unit), _word(shown))
        case {"number": number}:
            return Number(whole(number, _MOST_NUMBER, -_MOST_NUMBER))
        case {"word": str(word)}:
            return Word(_word(word))
        case {"hash_key": [size, str(digest)], "secret": str(secret)}:
            known = bytes.fromhex(text(secret, 2 * _MOST_KEY))
            return HashKey(whole(size, _MOST_KEY), _word(digest), known)
        case {"sysctl": str(content), "bound": "" | ">=" | "<=" as bound, "yields": bool(yields)}:
            return Sysctl(text(content, MOST_SYSCTL), bound, yields)
        case {"proto": str(proto), "match": {**match}, "to": str(to)} if len(match) <= _MOST_FIELDS:
            fields = tuple((_word(str(name)), _word(str(said))) for name, said in match.items())
            return FlowRule(_word(proto), fields, _word(to))
        case {"irqbalance": str(mode), "devices": [*devices], "interrupts": [*numbers]}:
            paths = frozenset(text(path, _MOST_PATH) for path in devices)
            return Exclusion(_word(mode), paths, frozenset(map(_queues, numbers)))
    raise ValueError(f"{data!r:.80} is not a recorded value")


def typed(value: Value | Told | None) -> Any:
    """A value for programs: a number, a word, a list of CPUs, a map; None for what is not there.

    ``channels`` is a map of the kinds that the card has open, an RSS table one of its number of
    entries, its queues and the entries of each (no queues: what the kernel chooses by itself). Of
    a hash key there is the text alone.
    """
    match value:
        case None | Absent():
            return None
        case CpuSet():
            return list(value)
        case ChannelCounts():
            counts = {"combined": value.combined, "rx": value.rx, "tx": value.tx}
            return {kind: count for kind, count in counts.items() if count}
        case RssTable():
            shares = sorted(Counter(value.entries).items())
            queues, weights = [queue for queue, _ in shares], [count for _, count in shares]
            return {"entries": len(value.entries), "queues": queues, "weights": weights}
        case FlowTable():
            return value.entries
        case Qdisc():
            return "default" if value.default and not value.kind else value.kind
        case Number():
            return value.value
        case Word():
            return value.text
        case HashKey():
            return str(value)
        case Sysctl():
            numbers = value.numbers
            if value.bound or not numbers:
                return str(value)
            if len(numbers) == 1:
                return numbers[0]
            return list(numbers) if max(numbers) < 1 << 32 and min(numbers) >= 0 else value.text
        case FlowRule():
            return {"proto": value.proto, **dict(value.match), "to": value.to}
        case Exclusion():
            return {"mode": value.mode, "interrupts": sorted(value.interrupts)}
        case Balancer():
            process = "running" if value.running else "not running"
            return {
                "process": process,
                "interrupts": sorted(value.balanced & value.told.interrupts),
            }
        case Told():
            return value.data


class Typed(Mapping[str, object]):
    """A state's values for programs, each made when it is asked for.

    The state is not changed from then on: to compare two is then to compare their states.
    """

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __getitem__(self, key: str) -> object:
        return typed(self._state[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Typed):
            return self._state is other._state or self._state == other._state
        return super().__eq__(other)


def whole(data: object, most: int, least: int = 0) -> int:
    """A whole number from ``least`` to ``most``. Raises: ValueError."""
    if isinstance(data, bool) or not isinstance(data, int) or not least <= data <= most:
        raise ValueError(f"{data!r:.80} is no number from {least} to {most}")
    return data


def text(data: object, most: int) -> str:
    """A text of at most so many characters. Raises: ValueError."""
    if not isinstance(data, str) or len(data) > most:
        raise ValueError(f"{data!r:.80} is no text of at most {most} characters")
    return data


def _queues(data: object) -> int:
    return whole(data, _MOST_QUEUES)


def _word(data: str) -> str:
    if "\0" in data:
        raise ValueError(f"{data!r:.80} is no word")
    return text(data, _MOST_WORD)


def mapping(data: object) -> Mapping[str, Any]:
    """A JSON object. Raises: TypeError."""
    if not isinstance(data, dict):
        raise TypeError(f"{data!r:.80} is no object")
    return data
