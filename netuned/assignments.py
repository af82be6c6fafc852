"""Files of assignments below ``[sections]``: systemd's, NetworkManager's, TuneD's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Assignment(NamedTuple):
    """A key and its value, with the number of the line and the section that it stands in."""

    line: int
    section: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def parse_lines(text: str) -> tuple[Assignment, ...]:
    """Every assignment in order; a line that ends in a backslash goes on in the next.

    Comments in between count as nothing there. Source: systemd.syntax(7).
    """
    section, begun = "", 0
    found, parts = [], list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip()[:1] in ("#", ";"):
            continue
        begun, line = begun or number, line.rstrip("\r")
        if (len(line) - len(line.rstrip("\\"))) % 2:
            parts.append(line[:-1])
            continue
        said = " ".join([*parts, line]).strip()
        key, equals, value = said.partition("=")
        if said.startswith("[") and said.endswith("]"):
            section = said[1:-1].strip()
        elif equals:
            found.append(Assignment(begun, section, key.strip(), value.strip()))
        begun, parts = 0, []
    return tuple(found)


def globs(lines: Iterable[Assignment], section: str) -> dict[str, list[str]]:
    """What a section of systemd's asks for: key -> patterns, those that exclude with a ! each.

    What is assigned again is added, what is assigned empty begins anew; a ! before a value is for
    all of its words. Source: systemd.link(5), [Match].
    """
    found: dict[str, list[str]] = {}
    for _, key, value in (line[1:] for line in lines if line.section == section):
        sign = "!" if value.startswith("!") else ""
        words = [f"{sign}{word}" for word in value.removeprefix("!").split()]
        if not words:
            found[key] = []
        found.setdefault(key, []).extend(words)
    return {key: words for key, words in found.items() if words}
