"""Huge pages of the host, per size and node.

The kernel makes as many as it finds memory for in one piece, says nothing of the rest, and frees
none that is in use. How many there are is read back; what is short is told, and tried again.

Source: Documentation/admin-guide/mm/hugetlbpage.rst; mm/hugetlb.c, set_max_huge_pages().
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence

from netuned.errors import KernelError
from netuned.kernel.files import FileTree
from netuned.profiles.hugepages import is_node, size_kb
from netuned.profiles.profile import Profile
from netuned.regex import regex
from netuned.tunables import masks
from netuned.tunables.base import HostTarget, Tunable, View, Watched, Writers, keyed_summary
from netuned.tunables.together import gather
from netuned.values import Number, State, Value

NAME = "hugepages"
NODES = "/sys/devices/system/node"
FILE = "nr_hugepages"
UNIT = "pages"

MOST_PERCENT = 90
"""Of a node's memory: the kernel would give all of it, and have nothing left for programs."""

_TOTAL = regex(r"MemTotal:\s+(\d{1,15}) kB", re.ASCII)


def _parts(key: str) -> tuple[str, str]:
    size, _, node = key.partition("/")
    return size, node


def accepts(key: str) -> bool:
    size, node = _parts(key)
    return bool(size_kb(size)) and is_node(node)


def _file(key: str) -> Watched:
    size, node = _parts(key)
    return f"{NODES}/{node}/hugepages/hugepages-{size_kb(size)}kB", FILE


def _path(key: str) -> str:
    return "/".join(_file(key))


def _parse(content: bytes) -> Number:
    return Number(masks.number(content, "number of pages"), UNIT)


def read(view: View) -> State:
    """What is wanted; what the host does not have is not there."""
    found = {}
    for key in view.keys(NAME):
        try:
            found[key] = view.kept.sweep((_path(key),), lambda contents: _parse(contents[0]))
        except KernelError as error:
            if not error.gone:
                raise
    return view.kept.same(NAME, found, lambda state: state)


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        assert isinstance(value, Number)
        view.kernel.files.write(_path(key), str(value.value).encode())


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    """What is not there, and of each node the largest that its memory would not hold."""
    barred = {}
    there = dict(found)
    for key in sorted(values, key=lambda key: _kb(key, values[key])):
        size, node = _parts(key)
        if key not in found:
            barred[key] = f"this host has no such node, or no pages of {size} there"
            continue
        total = _memory_kb(view.kernel.files, node)
        others = sum(_kb(k, v) for k, v in there.items() if _parts(k)[1] == node and k != key)
        asked = others + _kb(key, values[key])
        grows = _kb(key, values[key]) > _kb(key, found[key])
        if total and grows and asked * 100 > total * MOST_PERCENT:
            beside = f" beside {others >> 10} MB" if others else ""
            barred[key] = (
                f"{values[key]}{beside} are more than {MOST_PERCENT} % of the {total >> 10} MB "
                f"of {node}"
            )
        else:
            there[key] = values[key]
    return barred


def _kb(key: str, value: Value) -> int:
    assert isinstance(value, Number)
    return value.value * size_kb(_parts(key)[0])


def _memory_kb(files: FileTree, node: str) -> int:
    """The memory of a node; 0 where that is not known."""
    found = _TOTAL.search(files.read_text(f"{NODES}/{node}/meminfo", ""))
    return int(found[1]) if found else 0


def short(key: str, wanted: Value, found: Value) -> str:
    assert isinstance(wanted, Number)
    assert isinstance(found, Number)
    if found.value > wanted.value:
        return f"{found.value - wanted.value} more than {wanted} are in use"
    return f"{found.value} of {wanted}: there is no more memory in one piece"


def gathered(profiles: Sequence[Profile]) -> HostTarget | None:
    return gather(NAME, profiles, _named)


def _named(profile: Profile) -> Iterator[tuple[str, Number | None]]:
    spec = profile.host.hugepages
    for size, node, pages in spec.named() if spec else ():
        yield f"{size}/{node}", None if isinstance(pages, str) else Number(pages, UNIT)


HUGEPAGES = Tunable(
    name=NAME,
    holds=(Number,),
    accepts=accepts,
    read=read,
    write=write,
    gathered=gathered,
    by_key=True,
    within=lambda key, wanted, found: True,
    short=short,
    obstacles=obstacles,
    declines=lambda error: error.errno in (errno.EINVAL, errno.EACCES, errno.EROFS),
    watched_by_key=lambda key: (_file(key),),
    writers=Writers(files=lambda nic, key: (_path(key).removeprefix("/sys/devices/system/"),)),
    summary=keyed_summary,
)
