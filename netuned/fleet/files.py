"""Which files of many hosts there are, and whose each is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netuned.errors import NetunedError

SNAPSHOTS = (".tar.xz", ".tar.gz", ".tar", ".yaml", ".yml")
STATUSES = (".json",)


class HostFile(NamedTuple):
    """A host by its file's name without the suffix, or by the path where two have that name."""

    host: str
    path: str


def find(words: Sequence[str], suffixes: tuple[str, ...]) -> list[HostFile]:
    """The files of hosts: those that are named, and of directories those that end so, by name.

    Raises: NetunedError for a directory that cannot be read or has none.
    """
    once: dict[str, str] = {}
    for path in (path for word in words for path in _in(word, suffixes)):
        once.setdefault(os.path.realpath(path), path)
    paths = once.values()
    names = {path: _host(path, suffixes) for path in paths}
    often = Counter(names.values())
    return [HostFile(name if often[name] == 1 else path, path) for path, name in names.items()]


def _in(word: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    if not os.path.isdir(word):
        yield word
        return
    try:
        names = sorted(os.listdir(word))
    except OSError as error:
        raise NetunedError(f"{word}: cannot be read: {error.strerror}; name one that can") from None
    found = [name for name in names if name.endswith(suffixes) and not name.startswith(".")]
    if not found:
        raise NetunedError(f"{word}: no file in it ends with {', '.join(suffixes)}; name another")
    yield from (os.path.join(word, name) for name in found)


def _host(path: str, suffixes: tuple[str, ...]) -> str:
    name = os.path.basename(path)
    return next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name)
