"""sysctl.d: ``net.core.rmem_max = 1``. Source: sysctl.d(5)."""

from __future__ import annotations

from collections.abc import Iterator

from netuned.assignments import bounded, dotted, sysctl_lines
from netuned.importing.found import NOT_OF_THE_NETWORK, Found, Path, word

OWN = ("net.", "vm.")


def read(text: str) -> Iterator[Found]:
    for line in sysctl_lines(text):
        text = str(line) if line.value else line.key
        yield setting(line.line, text, line.key, line.value)


def setting(line: int, text: str, name: str, value: str) -> Found:
    """A key as sysctl has it, with dots or slashes; ``>1`` is TuneD's for at least."""
    name = dotted(name)
    if not name.startswith(OWN):
        return Found(line, text, why=NOT_OF_THE_NETWORK)
    if not value:
        return Found(line, text, why="it sets nothing")
    path: Path = ("host", "sysctl", name)
    bound, limit = bounded(value)
    return Found(line, text, path, f"{bound}{limit}" if bound else word(limit))
