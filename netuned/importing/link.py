"""systemd's ``.link`` files. Source: systemd.link(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from netuned.assignments import globs, parse_lines
from netuned.importing.found import Found, Path, word
from netuned.regex import regex
from netuned.tunables import TUNABLES

_MATCH = {"OriginalName": "name", "Driver": "driver", "MACAddress": "mac"}
_ETHERNET = ("Type", ["ether"])
_MATCH["PermanentMACAddress"] = "mac"

KEYS: Mapping[str, Path] = {
    key: (tunable.name, own)
    for tunable in TUNABLES
    for key, own in tunable.writers.link.items()
    if own
}
"""What a key of ``[Link]`` is in a profile."""

NOT_SET = "netuned does not set this; the .link file does"
_COUNT = regex(r"[0-9]{1,9}", re.ASCII)
_SECONDS = {"us": 1, "usec": 1, "µs": 1, "ms": 1000, "msec": 1000, "s": 10**6, "sec": 10**6}
_SECONDS[""] = 10**6


def read(text: str) -> Iterator[Found]:
    """Of several that a key of ``[Match]`` names, each is selected by all other keys."""
    lines = parse_lines(text)
    asked = globs(lines, "Match")
    selected = {_MATCH[key]: " ".join(words) for key, words in asked.items() if key in _MATCH}
    why = "" if selected else "without a [Match] section systemd ignores the file"
    if asked and not selected:
        why = "the file is for every Ethernet card, and a profile is for cards that it names"
    if len(selected) < len(asked.keys() & _MATCH.keys()):
        why = "the file is for cards that have both addresses, and a profile cannot say that"
    others = {key for key in asked.keys() - _MATCH.keys() if (key, asked[key]) != _ETHERNET}
    for line in lines:
        if line.section == "Match" and line.key in others:
            why = f"the file is for cards with {line}, and a profile cannot say that"
            yield Found(line.line, str(line), why=why)
    card = "\n".join(f"{key}={value}" for key, value in selected.items())
    for number, section, key, value in lines:
        if section == "Match":
            continue
        if section == "Link":
            found = _setting(number, f"{key}={value}", key, value, card)
        else:
            found = Found(number, f"{key}={value}", why=NOT_SET)
        yield replace(found, why=why) if why and not found.why else found


def _setting(number: int, said: str, key: str, value: str, card: str) -> Found:
    path = KEYS.get(key)
    if path is None:
        return Found(number, said, why=NOT_SET)
    if not value or (path[-1] == "cpus" and value == "disable"):
        return Found(number, said, path, "none" if value else None, card=card)
    if key.endswith("Sec"):
        amount = value.rstrip("abcdefghijklmnopqrstuvwxyzµ ")
        scale = _SECONDS.get(value[len(amount) :].strip())
        if scale is None or not _COUNT.fullmatch(amount):
            return Found(number, said, why="it is no time like 50us")
        return Found(number, said, path, int(amount) * scale, card=card)
    switches = {"yes": "on", "true": "on", "1": "on", "no": "off", "false": "off", "0": "off"}
    if path[0] == "offloads" or path[-1].startswith("adaptive"):
        return Found(number, said, path, switches.get(value.lower(), value), card=card)
    if path[-1] == "cpus":
        value = ",".join(value.split()) if value != "all" else "online"
    if value[-1:] in ("K", "M", "G") and _COUNT.fullmatch(value[:-1]):
        value = str(int(value[:-1]) << {"K": 10, "M": 20, "G": 30}[value[-1]])
    return Found(number, said, path, word(value), card=card)
