"""Other programs' files of assignments: systemd's, NetworkManager's, TuneD's, sysctl.d's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_EXCHANGED = str.maketrans("./", "/.")


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


def plugins(lines: Iterable[Assignment]) -> dict[str, str]:
    """Section of TuneD's -> its plugin: what ``type=`` says, else what it is called."""
    found: dict[str, str] = {}
    for _, section, key, value in lines:
        if key == "type":
            found[section] = value
        else:
            found.setdefault(section, section.partition(".")[0])
    return found


def disabled(lines: Iterable[Assignment]) -> set[str]:
    """Sections of TuneD's that are off."""
    said = {line.section: line.value for line in lines if line.key == "enabled"}
    return {section for section, value in said.items() if value not in ("1", "true", "True")}


def sysctl_lines(text: str) -> Iterator[Assignment]:
    """All of sysctl.d(5), by names with dots (or globs); the value is empty where none is set."""
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if said and said[0] not in "#;":
            name, _, value = said.removeprefix("-").partition("=")
            yield Assignment(number, "", dotted(name.strip()), value.strip())


def dotted(name: str) -> str:
    """A sysctl's name with dots. Where a slash comes first, slashes part and dots are in names."""
    slash, dot = name.find("/"), name.find(".")
    return name.translate(_EXCHANGED) if slash >= 0 and (dot < 0 or slash < dot) else name


def bounded(value: str) -> tuple[str, str]:
    """The bound and the number of what TuneD raises or lowers a sysctl to: of ``>1`` >= and 1.

    There is none of an exact value. Quotes around it do not count. Source: TuneD's
    plugins/base.py, assignment modifiers.
    """
    value = value.strip("\"'")
    if value[:1] not in ("<", ">"):
        return "", value
    return f"{value[0]}=", value[1:].removeprefix("=").strip()
