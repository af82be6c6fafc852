"""The version of the profile format that a file is written in."""

from __future__ import annotations

from typing import Any

from netuned import __version__
from netuned.profiles.scalars import shown
from netuned.profiles.yamltree import Node, Scalar

KEY = "version"
FORMAT = 1
"""Raised when what a key means changes, or one goes; one that comes raises nothing."""

SCHEMA: dict[str, Any] = {
    "const": FORMAT,
    "default": FORMAT,
    "description": "The version of the profile format; without it, it is the first.",
}


def wrong(value: Node) -> str:
    """Why a file that says this of its version cannot be read, and what to do; empty: it can."""
    said = value.value if isinstance(value, Scalar) else None
    if type(said) is not int or said < 1:
        given = shown(said) if isinstance(value, Scalar) else "this"
        return f"{given} is not allowed here; write {FORMAT}, the version of the profile format"
    if said == FORMAT:
        return ""
    known = "version 1" if FORMAT == 1 else f"versions 1 to {FORMAT}"
    return (
        f"this is version {said} of the profile format, and netuned {__version__} reads {known}: "
        f"upgrade netuned, or write the profile as `netunedctl schema` has it and put {FORMAT} here"
    )
