"""Huge pages: what a profile may say of each size and node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from netuned.profiles.classes import First, Mistake, Rooted
from netuned.profiles.scalars import shown, whole
from netuned.records import dataclass
from netuned.regex import regex

MOST_PAGES = 1 << 32

_SIZE = regex(r"([1-9][0-9]{0,3})([KMG])", re.ASCII)
_NODE = regex(r"node(0|[1-9][0-9]{0,3})", re.ASCII)
_KB = {"K": 1, "M": 1 << 10, "G": 1 << 20}


def size_kb(size: str) -> int:
    """Of how many kB pages of a size are: 2M is 2048; 0 where it is no size of a page."""
    match = _SIZE.fullmatch(size)
    kb = int(match[1]) * _KB[match[2]] if match else 0
    return 0 if kb & (kb - 1) or (match and int(match[1]) >= 1024) else kb


def is_node(text: str) -> bool:
    """Whether this is a node's name in sysfs."""
    return _NODE.fullmatch(text) is not None


def _size(key: object) -> str:
    if isinstance(key, str) and size_kb(key):
        return key
    raise Mistake(f"{shown(key)} is no size of huge pages; write one like 2M or 1G")


def _node(key: object) -> str:
    if isinstance(key, str) and is_node(key):
        return key
    raise Mistake(f"{shown(key)} is no node; write one like node0")


def _nodes(value: object) -> object:
    if isinstance(value, dict):
        return value
    raise Mistake(
        f"{shown(value)} is not allowed here; write how many per node, like {{node0: 512}}"
    )


_Pages = Annotated[
    int | Literal["default"] | None, whole(0, MOST_PAGES, "pages", words=("default", "keep"))
]
_PerNode = Annotated[dict[Annotated[str, First(_node)], _Pages], First(_nodes)]


@dataclass(frozen=True, slots=True)
class HugepagesSpec(Rooted):
    """How many huge pages of each size each node has."""

    root: dict[Annotated[str, First(_size)], _PerNode]

    def named(self) -> Iterator[tuple[str, str, int | Literal["default"]]]:
        """Size, node and number of pages, or ``default``, of all that it names."""
        for size, nodes in self.root.items():
            for node, pages in nodes.items():
                if pages is not None:
                    yield size, node, pages
