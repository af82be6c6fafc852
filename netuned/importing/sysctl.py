"""sysctl.d: ``net.core.rmem_max = 1``. Source: sysctl.d(5)."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.importing.found import NOT_OF_THE_NETWORK, Found, Path, word

OWN = ("net.", "vm.")


def read(text: str) -> Iterator[Found]:
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if not said or said[0] in "#;":
            continue
        name, sign, value = said.partition("=")
        if not sign:
            yield Found(number, said, why="it sets nothing")
            continue
        yield setting(number, said, name.strip().removeprefix("-"), value.strip())


def setting(line: int, text: str, name: str, value: str) -> Found:
    """A key as sysctl has it, with dots or slashes; ``>1`` is TuneD's for at least."""
    if name.find("/") != -1 and (name.find(".") == -1 or name.find("/") < name.find(".")):
        name = name.replace(".", "\0").replace("/", ".").replace("\0", "/")
    if not name.startswith(OWN):
        return Found(line, text, why=NOT_OF_THE_NETWORK)
    value = value.strip("\"'")
    if value.startswith(">") and not value.startswith(">="):
        value = f">={value[1:].strip()}"
    path: Path = ("host", "sysctl", name)
    return Found(line, text, path, word(value))
