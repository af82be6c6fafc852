"""What a profile says that is allowed and may mean something else, most of all in ``match``.

That is values that no card can have, each with the form that was meant, and numbers of CPUs that
look like masks. A profile that has them is in force all the same: one of several values may be
right.
Source: dev_valid_name() in net/core/dev.c, for what a card's name can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles.match import LINK_KINDS, Match, Patterns, fast_enough, selects
from netuned.profiles.profile import Profile
from netuned.profiles.specs import IrqSpec, RpsSpec, XpsSpec
from netuned.profiles.yamltree import Position
from netuned.regex import regex
from netuned.text import escape

if TYPE_CHECKING:
    from netuned.profiles.loader import LoadedProfile

MAX_NAME = 15
"""Bytes of a card's name (IFNAMSIZ is 16); an alternative name has up to 127."""

HEX = "0123456789abcdef"
PCI = (*[HEX] * 4, ":", *[HEX] * 4)
MAC = (HEX, HEX, *[":", HEX, HEX] * 19)
"""What each place of a value can hold."""

MAC_BYTES = (6, 4, 7, 8, 16, 20)
"""Of Ethernet; of IPv4 tunnels, AX.25, FireWire, IPv6 tunnels and InfiniBand."""
MAC_ENDS = tuple(3 * size - 1 for size in MAC_BYTES)

_DRIVERS = {
    "mlx4": "mlx4_core",
    "mlx5": "mlx5_core",
    "mlx5-core": "mlx5_core",
    "virtio": "virtio_net",
    "virtio-net": "virtio_net",
    "hv-netvsc": "hv_netvsc",
    "netvsc": "hv_netvsc",
}
"""What people call a driver, and what the kernel does."""

_QUOTES = "“”„‟‘’‚‛«»‹›´`\"'"
_TEMPLATE = regex(r"\{\{|\}\}|\{%|<%|\$[({\w]|<[\w -]+>|@\w+@|%[a-zA-Z]$")
_ADDRESS = regex(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}(\.[0-7])?", re.ASCII)
_IS_MAC = regex(r"[0-9a-f]{2}([:-])([0-9a-f]{2}\1){4}[0-9a-f]{2}", re.ASCII)
_CHOICE = regex(r"\{([^{}]*)\}|\((?:\?:)?([^()]*)\)")
_PADDED = regex(r"(?<![\w,:/-])0[0-9]+(?![\w,:/-])", re.ASCII)
_TOKEN = regex(r"\[!?\]?[^\]]*\]|.", re.DOTALL)


def doubts(loaded: LoadedProfile) -> Iterator[ProfileError]:
    """The doubtful values of a profile, in the order of its keys."""
    for number, entry in enumerate(loaded.profile.match):
        for key, index, problem in _of_entry(entry):
            dotted = f"match[{number}].{key}"
            place = loaded.origins.get(f"{dotted}[{index}]") or loaded.origins[dotted]
            yield _doubt(place, dotted, problem)
    for key, text in _cpu_sets(loaded.profile):
        for found in _PADDED.finditer(text):
            mask, number = CpuSet(int(found[0], 16)), int(found[0])
            meant = f"CPUs {mask}" if mask else "no CPU at all"
            forms = f"write {number}, or {mask}" if mask else f"write {number}"
            problem = f"`{found[0]}` is CPU {number}, and as a mask it would be {meant}: {forms}"
            yield _doubt(loaded.origins[key], key, problem)


def _doubt(place: Position, key: str, problem: str) -> ProfileError:
    return ProfileError(place.path, place.line, place.column, key, escape(f"warning: {problem}"))


def _cpu_sets(profile: Profile) -> Iterator[tuple[str, str]]:
    """The CPU sets of a profile by the key they stand at."""
    yield from ((f"cpus.{name}", text) for name, text in profile.cpus.items())
    for key in ("irq", "rps", "xps"):
        spec = getattr(profile, key)
        if isinstance(spec, IrqSpec | RpsSpec | XpsSpec) and spec.cpus:
            yield f"{key}.cpus", spec.cpus


def _of_entry(entry: Match) -> Iterator[tuple[str, int, str]]:
    """Key, number of the value among the key's, and what is doubtful about it."""
    for key, judge in _JUDGES.items():
        patterns: Patterns = getattr(entry, key)
        for index, pattern in enumerate(patterns):
            bare = pattern.removeprefix("!")
            if problem := judge(bare):
                yield key, index, problem
            elif bare is pattern and not _is_glob(bare) and not selects(patterns, bare):
                yield key, index, f"`{bare}` is excluded again by another pattern of this list"
    limits = [int(speed.lstrip("<>=")) for speed in entry.speed]
    near = (limit + step for limit in limits for step in (-1, 0, 1))
    if limits and not any(fast_enough(entry.speed, mbps) for mbps in near):
        yield "speed", 0, "no speed is all of these at once"


def _name(text: str) -> str:
    return _common(text) or _no_name(text) or _too_long(text)


def _no_name(text: str) -> str:
    """What can be no part of a name, and what stands before or after it."""
    if _IS_MAC.fullmatch(text.lower()):
        return f"`{text}` is a MAC address: write mac: {text.lower().replace('-', ':')}"
    if _ADDRESS.fullmatch(text.lower()):
        return f"`{text}` is a place on the PCI bus; write the card's name, mac or driver"
    if re.fullmatch(r"\w[\w.-]*@\w[\w.-]*", text):
        below = f"`ip link` shows the card below after an `@`: if that is `{text}`"
        return f"{below}, write {text.partition('@')[0]}"
    for sign, part, why in (
        ("net/", -1, "a name has no `/`"),
        (":", 0, "what follows a `:` is the label of an address"),
    ):
        if sign in text:
            return f"no card has the name `{text}`, for {why}: write {text.split(sign)[part]}"
    if "/" in text:
        return f"no card has the name `{text}`, for a name has no `/`"
    if text in ("lo", ".", ".."):
        why = "is the loopback, which netuned leaves alone" if text == "lo" else "can be no name"
        return f"`{text}` {why}"
    return ""


def _too_long(text: str) -> str:
    tokens = [token for token in _tokens(text) if token != "*"]
    size = sum(len(token.encode()) if len(token) == 1 else 1 for token in tokens)
    if size <= MAX_NAME:
        return ""
    what = f"`{text}` has {size} bytes, and a card's name at most {MAX_NAME}"
    return f"{what}; only an alternative name (`ip link property add`) can be as long"


def _driver(text: str) -> str:
    if text.endswith(".ko"):
        return f"`{text}` is a file; the driver is {text.removesuffix('.ko')}"
    if meant := _DRIVERS.get(text):
        return f"no driver is called `{text}`: write {meant}"
    return _common(text, spaces=True)


def _kind(text: str) -> str:
    if text == "loopback":
        return "netuned leaves the loopback alone"
    if any(fnmatchcase(kind, text) for kind in LINK_KINDS):
        return ""
    return (
        _common(text) or f"`{text}` is no kind of link that is known; cards on a bus are physical"
    )


def _pci(text: str) -> str:
    if can_match(text, PCI, (len(PCI),)):
        return ""
    if _ADDRESS.fullmatch(text):
        return (
            f"`{text}` is a place on the bus; vendor:device is meant, four digits each, "
            "as `lspci -n` shows it: 8086:1521"
        )
    vendor, _, device = text.partition(":")
    short = len(vendor) <= 4 >= len(device) and not _is_glob(text)
    form = f"write {vendor:0>4}:{device:0>4}" if short else "write one like 8086:1521 or 8086:15*"
    return f"no card has `{text}`: vendor and device have four digits each; {form}"


def _mac(text: str) -> str:
    if can_match(text, MAC, MAC_ENDS):
        return ""
    parts = re.split("[:-]", text)
    if len(parts) in (1, 3):  # 525400123456, or 5254-0012-3456
        parts = re.findall("..", "".join(parts))
    form = "a pattern like 52:54:00:*"
    if not _is_glob(text) and len(parts) <= MAC_BYTES[0] and max(map(len, parts)) <= 2:
        form = ":".join(part.zfill(2) for part in parts) + ":*" * (len(parts) < MAC_BYTES[0])
    return f"no card has the address `{text}`; write {form}"


_JUDGES: Mapping[str, Callable[[str], str]] = {
    "name": _name,
    "driver": _driver,
    "pci": _pci,
    "mac": _mac,
    "kind": _kind,
}


def _common(text: str, *, spaces: bool = False) -> str:
    """What is wrong with a pattern whatever it is for; some may have spaces."""
    if _TEMPLATE.search(text):
        return f"`{text}` is part of a template that was not filled in"
    bare = text.strip(_QUOTES)
    if bare != text:
        return f"the quotes in `{text}` are part of the pattern: write {_yaml(bare)}"
    if re.fullmatch(r"\[.*[,\s].*\]", text):
        return f"`{text}` is one pattern: a list has no quotes around it"
    if _CHOICE.search(text):
        several = _list(map(_glob, _expanded(text)))
        return f"patterns have no groups in `( )` or `{{ }}`: write {several} for `{text}`"
    parts = _apart(text.removeprefix("^").removesuffix("$"), ",;|" if spaces else ",;| \t")
    if len(parts) > 1:
        return f"`{text}` is one pattern; several are a list: {_list(map(_glob, parts))}"
    glob = _glob(text)
    if glob != text:
        what = f"`{text}` is a regular expression, and patterns are like those of file names"
        return f"{what}: write {_yaml(glob)}"
    if re.search(r"[a-zA-Z]\.\*", text):
        after = f"`{text}` is for what begins with `{text.partition('*')[0]}`"
        return f"{after}: write {_yaml(text.replace('.*', '*'))} if the dot means any sign"
    if "[^" in text:
        return f"`^` excludes nothing here: write {_yaml(text.replace('[^', '[!'))}"
    if "[" in "".join(token for token in _tokens(text) if len(token) == 1):
        return f"the `[` in `{text}` is never closed"
    return ""


def _apart(text: str, separators: str) -> list[str]:
    """The pieces between separators, but for those in brackets."""
    pieces = [""]
    for token in _tokens(text):
        if token in separators:
            pieces.append("")
        else:
            pieces[-1] += token
    return [piece.strip() for piece in pieces if piece.strip()]


def _glob(text: str) -> str:
    """A simple regular expression as a pattern; what is none is as it was."""
    if not re.search(r"^\^|\$$|[+()\\]", text):
        return text
    inner = text.removeprefix("^").removesuffix("$")
    for one, other in (("\\d", "[0-9]"), ("\\w", "?"), ("\\.", ".")):
        inner = inner.replace(one, other)
    inner = re.sub(r"(\[[^\]]*\])[+*]", r"\1*", inner)
    inner = re.sub(r"(?<=\.)\+|\+", "*", inner).replace(".*", "*")
    return re.sub(r"[()\\]", "", inner)


def _expanded(text: str) -> Iterator[str]:
    """What is meant by ``eth(0|1)``, ``eth{0,1}`` and ``eth{0..3}``."""
    pieces: list[Sequence[str]] = []
    at = 0
    for found in _CHOICE.finditer(text):
        choice = re.split(r"[|,]", found[1] or found[2] or "")
        if span := re.fullmatch(r"([0-9]{1,4})\.\.([0-9]{1,4})", choice[0]):
            choice = [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
        pieces += [(text[at : found.start()],), choice[:8]]
        at = found.end()
    return map("".join, product(*pieces, (text[at:],)))


def _list(patterns: Iterator[str]) -> str:
    return f"[{', '.join(map(_yaml, patterns))}]"


def _yaml(pattern: str) -> str:
    """A pattern as it is written in YAML."""
    return pattern if re.fullmatch(r"[\w.-]+", pattern, re.ASCII) else f'"{pattern}"'


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _tokens(pattern: str) -> list[str]:
    """The parts of a pattern that stand for one sign each, and ``*``."""
    return _TOKEN.findall(pattern)


def can_match(pattern: str, places: Sequence[str], ends: Collection[int]) -> bool:
    """Whether a pattern matches any text whose place ``n`` holds one of the signs ``places[n]``.

    ``ends`` are the lengths such a text can have.
    """
    at = {0}
    for token in _tokens(pattern):
        if token == "*":
            at = {n for n in range(len(places) + 1) if n >= min(at, default=n + 1)}
        else:
            at = {n + 1 for n in at if n < len(places) and _stands_for(token, places[n])}
    return not at.isdisjoint(ends)


def _stands_for(token: str, signs: str) -> bool:
    if len(token) == 1:
        return token == "?" or token in signs
    return any(fnmatchcase(sign, token) for sign in signs)
