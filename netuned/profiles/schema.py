"""What is told of the schema: the keys that a place in a profile may have, and JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netuned.profiles import version
from netuned.profiles.classes import Spec
from netuned.profiles.features import OffloadsSpec
from netuned.profiles.flows import FlowSpec, RuleMatch
from netuned.profiles.hugepages import HugepagesSpec
from netuned.profiles.match import Match
from netuned.profiles.napi import NapiQueueSpec, NapiSpec
from netuned.profiles.numbers import BqlSpec, CoalesceSpec, LinkSpec, RingsSpec
from netuned.profiles.profile import Profile
from netuned.profiles.qdiscs import QDISCS
from netuned.profiles.rss import ContextSpec, RssSpec
from netuned.profiles.specs import (
    ChannelsSpec,
    HostSpec,
    IrqSpec,
    PolicySpec,
    RfsSpec,
    RpsSpec,
    XpsSpec,
)
from netuned.profiles.sysctls import SysctlSpec


def known_keys(loc: tuple[str | int, ...], data: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys allowed in the mapping at ``loc`` of a profile's data, for a message."""
    match loc:
        case ():
            return (*_keys(Profile), version.KEY)
        case ("match", *_):
            return _keys(Match)
        case ("flows", int()):
            return _keys(FlowSpec)
        case ("flows", int(), "match"):
            return _keys(RuleMatch)
        case ("qdisc",):
            return _keys(QDISCS[data["qdisc"]["kind"]])
        case (str(key),) if key in SECTIONS:
            return _keys(SECTIONS[key])
        case ("rss", "contexts", _):
            return _keys(ContextSpec)
        case ("napi", "queues", _):
            return _keys(NapiQueueSpec)
    return ()


def _keys(model: type[Spec]) -> tuple[str, ...]:
    return tuple(model.by_key())


SECTIONS: Mapping[str, type[Spec]] = {
    "channels": ChannelsSpec,
    "rings": RingsSpec,
    "coalesce": CoalesceSpec,
    "link": LinkSpec,
    "rss": RssSpec,
    "napi": NapiSpec,
    "irq": IrqSpec,
    "rps": RpsSpec,
    "rfs": RfsSpec,
    "xps": XpsSpec,
    "bql": BqlSpec,
    "host": HostSpec,
    "policy": PolicySpec,
}


CLASSES: Mapping[str, type[Spec]] = {
    one.__name__: one
    for one in (
        *(Profile, Match, OffloadsSpec, ContextSpec, FlowSpec, RuleMatch, NapiQueueSpec),
        *(SysctlSpec, HugepagesSpec, RingsSpec, CoalesceSpec),
        *SECTIONS.values(),
        *QDISCS.values(),
    )
}
"""All of the schema by name."""


def json_schema() -> dict[str, Any]:
    """The schema of a profile as JSON Schema, draft 2020-12, for editors and fleet tools."""
    schema = _without_noise(Profile.json_schema())
    schema.pop("required", None)  # the file's name stands in for the name
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:netuned:profile:{version.FORMAT}",
        "title": "netuned profile",
        **schema,
        "properties": {version.KEY: version.SCHEMA, **schema["properties"]},
    }


def _without_noise(schema: Any) -> Any:
    """Without pydantic's titles (the keys again) and null defaults, which no profile can write."""
    if isinstance(schema, list):
        return [_without_noise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_noise(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_noise(value)
        for key, value in schema.items()
        if key != "title" and (key, value) != ("default", None)
    }
