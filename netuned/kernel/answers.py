"""Answers of ethtool and netlink as JSON: what a snapshot keeps them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.ethtool import Channels, DriverInfo
from netuned.kernel.recorded import Answers, Failure
from netuned.kernel.rtnl import LinkInfo, QdiscEntry

T = TypeVar("T")
Record = TypeVar("Record", DriverInfo, Channels, LinkInfo)

_KINDS: dict[str, type] = {"int": int, "str": str, "bool": bool}


def to_json(answers: Answers) -> dict[str, Any]:
    """A document of plain data. A qdisc is ``[kind, handle, parent, index of its parameters]``."""
    cards: dict[str, dict[str, Any]] = {}
    for name, encode in (
        ("driver_info", asdict),
        ("channels", asdict),
        ("rss_table", list),
        ("rx_rings", int),
        ("napi_interrupts", _napi_to_json),
    ):
        for ifindex, answer in getattr(answers, name).items():
            cards.setdefault(str(ifindex), {})[name] = _encoded(answer, encode)
    sets: dict[tuple[tuple[str, int], ...], int] = {}

    def encode_qdiscs(found: Mapping[int, tuple[QdiscEntry, ...]]) -> dict[str, Any]:
        return {
            str(ifindex): [
                [
                    *(entry.kind, entry.handle, entry.parent),
                    sets.setdefault(tuple(entry.parameters.items()), len(sets)),
                ]
                for entry in entries
            ]
            for ifindex, entries in found.items()
        }

    return {
        "cards": cards,
        "links": _encoded(
            answers.links,
            lambda found: {str(ifindex): asdict(link) for ifindex, link in found.items()},
        ),
        "qdiscs": _encoded(answers.qdiscs, encode_qdiscs),
        "qdisc_parameters": [dict(parameters) for parameters in sets],
    }


def from_json(data: Any) -> Answers:
    """The answers. What a later version added is ignored. Raises: ValueError with the key."""
    document = _mapping(data, "answers")
    answers = Answers()
    for key, card in _mapping(document.get("cards", {}), "cards").items():
        ifindex = _index(key)
        given = _mapping(card, f"cards.{key}")
        for name, decode in _DECODERS.items():
            if name in given:
                getattr(answers, name)[ifindex] = _decoded(given[name], decode, f"{key}.{name}")
    sets = [
        {str(name): _whole(value, name) for name, value in _mapping(item, "parameters").items()}
        for item in _items(document.get("qdisc_parameters", []), "qdisc_parameters")
    ]

    def decode_qdiscs(found: Any, what: str) -> dict[int, tuple[QdiscEntry, ...]]:
        return {
            _index(key): tuple(_qdisc(item, sets) for item in _items(entries, what))
            for key, entries in _mapping(found, what).items()
        }

    def decode_links(found: Any, what: str) -> dict[int, LinkInfo]:
        links = _mapping(found, what).items()
        return {_index(key): _record(LinkInfo, link, f"{what}.{key}") for key, link in links}

    answers.links = _decoded(document.get("links", {}), decode_links, "links")
    answers.qdiscs = _decoded(document.get("qdiscs", {}), decode_qdiscs, "qdiscs")
    return answers


def _encoded(answer: T | Failure, encode: Callable[[T], Any]) -> Any:
    if isinstance(answer, UnsupportedError):
        return {"unsupported": [answer.what, answer.why]}
    if isinstance(answer, KernelError):
        return {"error": [answer.operation, answer.target, answer.errno, answer.extack]}
    return encode(answer)


def _decoded(data: Any, decode: Callable[[Any, str], T], what: str) -> T | Failure:
    match data:
        case {"unsupported": [str(feature), str(why)]}:
            return UnsupportedError(feature, why)
        case {"error": [str(operation), str(target), int(number), str(extack)]}:
            return KernelError(operation, target, number, extack)
    return decode(data, what)


def _napi_to_json(found: Mapping[tuple[str, int], int]) -> dict[str, int]:
    return {f"{kind}-{queue}": irq for (kind, queue), irq in found.items()}


def _napi(data: Any, what: str) -> dict[tuple[str, int], int]:
    found = {}
    for key, irq in _mapping(data, what).items():
        kind, _, queue = key.rpartition("-")
        if kind not in ("rx", "tx"):
            raise ValueError(f"{what}: {key!r} is not a queue")
        found[kind, _index(queue)] = _whole(irq, what)
    return found


def _record(kind: type[Record], data: Any, what: str) -> Record:
    values: dict[str, Any] = {}
    given = _mapping(data, what)
    for field in fields(kind):
        value = given.get(field.name)
        if type(value) is not _KINDS[str(field.type)]:
            raise ValueError(f"{what}.{field.name} is not of type {field.type}")
        values[field.name] = value
    return kind(**values)


def _qdisc(data: Any, sets: list[dict[str, int]]) -> QdiscEntry:
    match data:
        case [str(kind), int(handle), int(parent), int(index)] if 0 <= index < len(sets):
            return QdiscEntry(kind, handle, parent, sets[index])
    raise ValueError(f"{str(data)[:60]!r} is not a qdisc")


def _mapping(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is not a mapping")
    return data


def _items(data: Any, what: str) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"{what} is not a list")
    return data


def _whole(data: Any, what: str) -> int:
    if type(data) is not int:
        raise ValueError(f"{what} is not a whole number")
    return data


def _table(data: Any, what: str) -> tuple[int, ...]:
    return tuple(_whole(entry, what) for entry in _items(data, what))


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise ValueError(f"{text[:20]!r} is not an index")
    return int(text)


_DECODERS: dict[str, Callable[[Any, str], Any]] = {
    "driver_info": lambda data, what: _record(DriverInfo, data, what),
    "channels": lambda data, what: _record(Channels, data, what),
    "rss_table": _table,
    "rx_rings": _whole,
    "napi_interrupts": _napi,
}
