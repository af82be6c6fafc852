"""Records, values and plans as dbus-fast takes them.

It is told not to look whether each value is of its type: the tables and the dataclasses say so, a
test holds them to it, and to look takes as long as all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dbus_fast import Variant

from netuned.bus import wire
from netuned.plan import WHY_WITHHELD, Change, Plan, merged
from netuned.status import SettingStatus
from netuned.valuejson import typed
from netuned.values import describe

NOTHING = Variant(wire.NOTHING, [])
_SIGNED = 1 << 63


def value(data: object) -> Variant:
    """A value for programs (:func:`netuned.valuejson.typed`) with its type, see docs/dbus.md."""
    if isinstance(data, list):
        return Variant("au", data, False)
    if isinstance(data, str):
        return Variant("s", wire.text(data), False)
    if isinstance(data, int):
        return Variant("x" if -_SIGNED <= data < _SIGNED else "t", data, False)
    if data is None:
        return NOTHING
    assert isinstance(data, Mapping)
    return Variant(wire.VALUES, values(data), False)


def values(data: Mapping[str, object]) -> dict[str, Variant]:
    """Values by key."""
    return {wire.text(key): value(each) for key, each in data.items()}


def record(data: object, signatures: Mapping[str, str]) -> dict[str, Variant]:
    """A dataclass as ``a{sv}``, by a table of ``wire``'s."""
    return {
        wire.key(attribute): _member(signature, getattr(data, attribute))
        for attribute, signature in signatures.items()
    }


def _member(signature: str, data: Any) -> Variant:
    if signature == "s":
        data = wire.text(data)
    elif signature == "as":
        data = texts(data)
    elif signature == wire.VALUE:
        return value(data)
    elif signature == wire.VALUES:
        data = values(data)
    elif signature == wire.CHANGE:
        return Variant("a{sv}", record(data, wire.APPLIED) if data else {}, False)
    return Variant(signature, data, False)


def settings(shown: Iterable[SettingStatus]) -> dict[str, dict[str, Variant]]:
    """Settings by tunable."""
    return {setting.tunable: _setting(setting) for setting in shown}


def _setting(setting: SettingStatus) -> dict[str, Variant]:
    if setting.found_values is not setting.wanted_values:
        return record(setting, wire.SETTING)
    shown = record(setting, _AS_WANTED)
    return {**shown, "FoundValues": shown["WantedValues"]}


_AS_WANTED = {name: kind for name, kind in wire.SETTING.items() if name != "found_values"}


def texts(shown: Iterable[str]) -> list[str]:
    """Texts that D-Bus can carry."""
    return [wire.text(text) for text in shown]


def plan(made: Plan) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """What ``Plan`` returns: changes, problems, the values of the changes, and what is withheld."""
    return (
        [[*_texts_of(change), change.disruptive] for change in made.changes],
        [texts((problem.ifname, problem.message)) for problem in made.problems],
        [_values_of(change) for change in made.changes],
        [
            [*_texts_of(change), change.disruptive, *_values_of(change), WHY_WITHHELD]
            for change in made.withheld
        ],
    )


def rows(changes: Iterable[Change], writers: Mapping[str, str]) -> list[list[str]]:
    """What ``Changed`` carries: queues that were set alike are one, as in a plan."""
    return [
        texts(
            (
                *(change.tunable, change.key),
                *(describe(change.before) or "none", describe(change.after) or "none"),
                writers.get(change.tunable, ""),
            )
        )
        for change in merged(changes)
    ]


def _texts_of(change: Change) -> list[str]:
    before, after = describe(change.before), describe(change.after)
    return texts((change.ifname, change.tunable, change.key, before, after, change.why))


def _values_of(change: Change) -> list[Variant]:
    return [value(typed(change.before)), value(typed(change.after))]
