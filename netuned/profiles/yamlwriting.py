"""Profiles as YAML, as a person would write them."""

from __future__ import annotations

from collections.abc import Mapping

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes ``on`` and ``off`` without quotes: in profiles they are words."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as the class above has it
        first: [(tag, form) for tag, form in resolvers if first not in "oO" or "bool" not in tag]
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


def dump(profile: Mapping[str, object]) -> str:
    """A profile's text, its keys in their order."""
    return yaml.dump(
        dict(profile), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=88
    )
