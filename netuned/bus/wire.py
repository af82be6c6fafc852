"""How a Status travels over D-Bus: names, keys and types, the same table for both ends.

A record (a queue, a setting, …) travels as ``a{sv}``. Its keys are the dataclass's attributes in
D-Bus spelling: ``last_change`` is ``LastChange``.
"""

from __future__ import annotations

import functools
import re

from netuned.errors import NetunedError
from netuned.regex import regex
from netuned.text import escape

SERVICE = "org.netuned1"
ROOT = "/org/netuned1"
MANAGER = "org.netuned1.Manager"
NIC = "org.netuned1.Nic"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

ACTIONS = {
    "Plan": "",
    "Reload": "org.netuned1.reload",
    "Reconcile": "org.netuned1.reconcile",
    "Pause": "org.netuned1.pause",
    "Resume": "org.netuned1.resume",
    "Try": "org.netuned1.try",
    "Confirm": "org.netuned1.confirm",
    "Rollback": "org.netuned1.rollback",
    "Restore": "org.netuned1.restore",
}
"""Every method and the polkit action it needs; empty: it changes nothing, everybody may call it."""

QUEUE = {
    "kind": "s",
    "index": "u",
    "irq": "i",
    "cpus": "s",
    "rps": "s",
    "xps": "s",
    "qdisc": "s",
}
VALUE, CHANGE = "value", "change"
"""In place of a signature: a value of a setting with its type, a record of ``APPLIED`` or none."""
VALUES = "a{sv}"
"""Values of settings by key."""
NOTHING = "av"
"""The type of a value that is not there; the array is empty."""

SETTING = {
    "state": "s",
    "wanted": "s",
    "found": "s",
    "reason": "s",
    "wanted_values": VALUES,
    "found_values": VALUES,
    "writes": "t",
    "repairs": "t",
    "failures": "t",
    "last_change": CHANGE,
    "seen": "s",
    "since": "d",
    "writer": "s",
}
"""``tunable`` is not among them: it is the key in the dictionary of settings."""
APPLIED = {
    "at": "d",
    "tunable": "s",
    "key": "s",
    "before": "s",
    "after": "s",
    "cause": "s",
    "before_value": VALUE,
    "after_value": VALUE,
}
PROFILE = {
    "name": "s",
    "path": "s",
    "description": "s",
    "priority": "i",
    "template": "b",
    "cards": "as",
    "digest": "s",
}


_NOT_CARRIED = regex("[\0\ud800-\udfff]")


@functools.cache
def key(attribute: str) -> str:
    """The D-Bus spelling of an attribute: ``profile_errors`` is ``ProfileErrors``."""
    return attribute.title().replace("_", "")


def nic_path(ifindex: int) -> str:
    """The object path of a card."""
    return f"{ROOT}/nic/{ifindex}"


def text(value: str) -> str:
    """``value`` as D-Bus can carry it: NUL and bytes that are not UTF-8 are shown as ``\\xff``.

    The kernel takes any bytes as a name; Python keeps undecodable ones as lone surrogates.
    """
    if value.isascii() and "\0" not in value:
        return value
    return _NOT_CARRIED.sub(_shown, value)


def sentence(error: Exception) -> str:
    """What an error says, for a terminal as it is: names in it are bytes from outside."""
    said = error.whole() if isinstance(error, NetunedError) else str(error)
    return escape(text(said))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: surrogateescape
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
