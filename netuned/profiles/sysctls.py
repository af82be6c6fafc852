"""Sysctls below ``net.`` and ``vm.``: what a profile may say of them.

Of those that are known, what the kernel would take and must not have is refused: a budget of 0, a
falling tcp_rmem. Of others the kernel's own answer is all there is.

Source: Documentation/admin-guide/sysctl/net.rst, vm.rst; Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from netuned.profiles.classes import First, Last, Leaf, Mistake, Rooted
from netuned.profiles.scalars import (
    INTEGER,
    STRING,
    either,
    read_as,
    shown,
)
from netuned.profiles.yamltree import written
from netuned.records import dataclass
from netuned.regex import regex
from netuned.text import did_you_mean

INT_MAX = (1 << 31) - 1
U32_MAX = (1 << 32) - 1
LONG_MAX = (1 << 63) - 1
MOST_KEYS = 256
MOST_TEXT = 1024
AT_LEAST, AT_MOST = ">=", "<="
KEEP, DEFAULT = "keep", "default"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a sysctl holds: so many whole numbers of a range, or a word.

    ``size``: they are bytes, and may be written as 4M. ``doubling``: a power of two.
    """

    least: int = 0
    most: int = INT_MAX
    count: int = 1
    size: bool = False
    doubling: bool = False
    word: bool = False


SWITCH = Kind(most=1)
COUNT = Kind(least=1)
SIZE = Kind(least=1, size=True)
RISING = Kind(least=1, count=3, size=True)
PAGES = Kind(least=1, most=LONG_MAX, count=3)
WORD = Kind(word=True)
PERCENT = Kind(most=100)

KNOWN: Mapping[str, Kind] = {
    "net.core.rmem_max": Kind(least=2304, size=True),
    "net.core.rmem_default": Kind(least=2304, size=True),
    "net.core.wmem_max": Kind(least=4608, size=True),
    "net.core.wmem_default": Kind(least=4608, size=True),
    "net.core.optmem_max": SIZE,
    "net.core.netdev_max_backlog": COUNT,
    "net.core.netdev_budget": COUNT,
    "net.core.netdev_budget_usecs": Kind(least=2000),
    "net.core.dev_weight": COUNT,
    "net.core.dev_weight_rx_bias": COUNT,
    "net.core.dev_weight_tx_bias": COUNT,
    "net.core.busy_poll": Kind(),
    "net.core.busy_read": Kind(),
    "net.core.default_qdisc": WORD,
    "net.core.flow_limit_table_len": Kind(least=1, doubling=True),
    "net.core.somaxconn": COUNT,
    "net.ipv4.tcp_rmem": RISING,
    "net.ipv4.tcp_wmem": RISING,
    "net.ipv4.tcp_mem": PAGES,
    "net.ipv4.udp_mem": PAGES,
    "net.ipv4.udp_rmem_min": SIZE,
    "net.ipv4.udp_wmem_min": SIZE,
    "net.ipv4.tcp_congestion_control": WORD,
    "net.ipv4.tcp_timestamps": Kind(most=2),
    "net.ipv4.tcp_sack": SWITCH,
    "net.ipv4.tcp_window_scaling": SWITCH,
    "net.ipv4.tcp_moderate_rcvbuf": SWITCH,
    "net.ipv4.tcp_no_metrics_save": SWITCH,
    "net.ipv4.tcp_slow_start_after_idle": SWITCH,
    "net.ipv4.tcp_mtu_probing": Kind(most=2),
    "net.ipv4.tcp_ecn": Kind(most=5),
    "net.ipv4.tcp_syncookies": Kind(most=2),
    "net.ipv4.tcp_tw_reuse": Kind(most=2),
    "net.ipv4.tcp_fin_timeout": COUNT,
    "net.ipv4.tcp_max_syn_backlog": COUNT,
    "net.ipv4.tcp_limit_output_bytes": SIZE,
    "net.ipv4.tcp_notsent_lowat": Kind(most=U32_MAX, size=True),
    "net.ipv4.tcp_adv_win_scale": Kind(least=-31, most=31),
    "net.ipv4.ip_local_port_range": Kind(least=1, most=65535, count=2),
    "net.ipv4.ip_forward": SWITCH,
    "net.ipv4.conf.*.forwarding": SWITCH,
    "net.ipv4.conf.*.rp_filter": Kind(most=2),
    "net.ipv4.conf.*.arp_ignore": Kind(most=8),
    "net.ipv4.conf.*.arp_announce": Kind(most=2),
    "net.ipv6.conf.*.forwarding": Kind(most=2),
    "net.ipv6.conf.*.disable_ipv6": SWITCH,
    "vm.max_map_count": Kind(least=1024),
    "vm.swappiness": Kind(most=200),
    "vm.dirty_ratio": Kind(least=1, most=100),
    "vm.dirty_background_ratio": PERCENT,
    "vm.dirty_bytes": Kind(least=8192, most=LONG_MAX, size=True),
    "vm.dirty_background_bytes": Kind(least=1, most=LONG_MAX, size=True),
    "vm.overcommit_memory": Kind(most=2),
    "vm.overcommit_ratio": Kind(),
    "vm.zone_reclaim_mode": Kind(most=7),
    "vm.min_free_kbytes": Kind(least=1024, most=8 << 20),
    "vm.stat_interval": COUNT,
    "vm.vfs_cache_pressure": Kind(),
    "vm.watermark_scale_factor": Kind(least=1, most=3000),
    "vm.compaction_proactiveness": PERCENT,
}
"""By name, ``*`` for an interface. The kernel takes a budget, backlog or max_map_count of 0, and
with it stops to receive, or to start programs."""

_ACTION = "is something to do, not a state to keep"
_SECRET = "is a secret, and who may not read it would read it here"
_REFUSED: Mapping[str, str] = {
    "net.core.rps_sock_flow_entries": "is set under rfs: {entries: …}",
    "vm.nr_hugepages": "is set under host: {hugepages: …}, which says of which node",
    "vm.nr_hugepages_mempolicy": "is set under host: {hugepages: …}, which says of which node",
    "vm.drop_caches": _ACTION,
    "vm.compact_memory": _ACTION,
    "vm.stat_refresh": _ACTION,
    "net.ipv4.route.flush": _ACTION,
    "net.ipv6.route.flush": _ACTION,
    "net.core.netdev_rss_key": _SECRET,
    "net.ipv4.tcp_fastopen_key": _SECRET,
    "net.ipv6.conf.*.stable_secret": _SECRET,
}

TWINS: Mapping[str, str] = {
    "vm.dirty_bytes": "vm.dirty_ratio",
    "vm.dirty_background_bytes": "vm.dirty_background_ratio",
    "vm.overcommit_kbytes": "vm.overcommit_ratio",
}
"""Of each pair, to set one makes the other 0."""

_PAIRS = {**TWINS, "net.mptcp.path_manager": "net.mptcp.pm_type"}
_TWIN: Mapping[str, str] = {**_PAIRS, **{other: one for one, other in _PAIRS.items()}}

ALIASES: Mapping[str, str] = {"net.ipv4.conf.all.forwarding": "net.ipv4.ip_forward"}
"""Other names of a sysctl."""


def names_of(key: str) -> list[str]:
    """All names of a sysctl, by each of which it can be written."""
    return [key, *(other for other, name in ALIASES.items() if name == key)]


IP_FORWARD, ACCEPT_REDIRECTS = "net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects"
_OF_ALL = {
    "4": ("forwarding",),
    "6": (
        *("forwarding", "force_forwarding", "disable_ipv6"),
        *("addr_gen_mode", "ignore_routes_with_linkdown"),
    ),
}
_CONF = regex(r"net\.ipv([46])\.conf\.([^.]+)\.([^.]+)")

_TWO_UNITS = regex(
    r"(net\.ipv[46]\.(?:neigh\.[^.]+\.(?:base_reachable_time|retrans_time|unres_qlen)"
    r"|route\.gc_min_interval))(_ms|_bytes)?"
)
"""What has two names, in two units."""

_KEY = regex(r"(net|vm)(\.[A-Za-z0-9][A-Za-z0-9_@:/-]*)+", re.ASCII)
_INTERFACE = regex(r"(net\.ipv[46]\.(?:conf|neigh))\.[^.]+\.")
_NUMBER = regex(r"(-?[0-9]{1,20})(?:([KMG])(?:iB)?)?", re.ASCII)
_SCALE = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def path_of(key: str) -> str:
    """The file of a sysctl, in whose name a slash is a dot of an interface's, as in sysctl(8).

    No part of an allowed key begins with either, so it stays below /proc/sys.
    """
    return f"/proc/sys/{key.translate(str.maketrans('./', '/.'))}"


def is_key(text: str) -> bool:
    """Whether this is the name of a sysctl that a profile may have."""
    return len(text) <= 128 and _KEY.fullmatch(text) is not None and _general(text) not in _REFUSED


def rival(key: str) -> str:
    """The sysctl that one changes as it is set: its twin, or itself in another unit.

    Both cannot be wanted. Empty where there is none.
    """
    if units := _TWO_UNITS.fullmatch(key):
        other = "_bytes" if units[1].endswith("unres_qlen") else "_ms"
        return units[1] if units[2] else f"{units[1]}{other}"
    return _TWIN.get(key, "")


def reset_by(key: str) -> str:
    """The sysctl that resets a key when it is set, to its own value; empty where there is none.

    That of all interfaces does so with each interface's; ip_forward besides makes accept_redirects
    what it is not itself. Source: net/ipv4/devinet.c, inet_forward_change(); net/ipv6/addrconf.c,
    addrconf_fixup_forwarding(), addrconf_disable_ipv6(), addrconf_sysctl_addr_gen_mode().
    """
    if key == ACCEPT_REDIRECTS:
        return IP_FORWARD
    conf = _CONF.fullmatch(key)
    if not conf or conf[2] == "all" or conf[3] not in _OF_ALL[conf[1]]:
        return ""
    return IP_FORWARD if conf[1] == "4" else f"net.ipv6.conf.all.{conf[3]}"


RESETTING = (IP_FORWARD, *(f"net.ipv6.conf.all.{name}" for name in _OF_ALL["6"]))
"""What resets others."""


def reset_with(key: str, interfaces: Iterable[str]) -> list[str]:
    """The sysctls that a key of ``RESETTING`` resets, of interfaces by these names."""
    version, name = ("4", "forwarding") if key == IP_FORWARD else ("6", key.rpartition(".")[2])
    keys = (f"net.ipv{version}.conf.{one.replace('.', '/')}.{name}" for one in interfaces)
    also = (ACCEPT_REDIRECTS,) if key == IP_FORWARD else ()
    return [*also, *(one for one in keys if reset_by(one) and is_key(one))]


def parse(said: str) -> tuple[str, str]:
    """The bound and the value of what a profile says, after validation."""
    bound = next((bound for bound in (AT_LEAST, AT_MOST) if said.startswith(bound)), "")
    return bound, said.removeprefix(bound)


def _general(key: str) -> str:
    return _INTERFACE.sub(r"\1.*.", key)


def _key(key: object) -> str:
    if not isinstance(key, str) or len(key) > 128 or not _KEY.fullmatch(key):
        near = did_you_mean(key, KNOWN)
        raise Mistake(
            f"{shown(key)} is no sysctl below net. or vm.; write one like net.core.rmem_max"
            f"{f' ({near})' if near else ''}"
        )
    if why := _REFUSED.get(_general(key)):
        raise Mistake(f"{shown(key)} {why}")
    return key


def _text(value: object) -> str:
    """What is written, numbers as their digits, a list's with spaces between."""
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise Mistake("no value is given")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise Mistake(
                f"{shown(item)} is not allowed here; write a number or a text, "
                "with >= or <= before numbers, default or keep"
            )
        if wrong := read_as(item):
            raise Mistake(f"{wrong}; write it in decimal digits, or in quotes to mean the text")
    text = " ".join(" ".join(written(item) for item in items).split())
    if not text or len(text) > MOST_TEXT or not text.isprintable():
        raise Mistake(f"a sysctl has 1 to {MOST_TEXT} printable characters")
    return text


def _said(value: object) -> str | None:
    text = _text(value)
    return None if text == KEEP else text


def _allowed(key: str, kind: Kind) -> str:
    many = "a whole number" if kind.count == 1 else f"{kind.count} whole numbers that do not fall"
    size = ", like 4M," if kind.size else ""
    power = ", a power of two," if kind.doubling else ""
    return f"{many}{size}{power} from {kind.least} to {kind.most}"


def _checked(key: str, said: str) -> str:
    """What is said of a sysctl, sizes in bytes. Raises: Mistake."""
    kind = KNOWN.get(_general(key))
    bound, text = parse(said)
    if said == DEFAULT or (kind is None and not bound):
        return said
    text = text.strip()
    if kind is not None and kind.word:
        if bound or not re.fullmatch(r"[a-z][a-z0-9_-]{0,15}", text, re.ASCII):
            raise Mistake(
                f"{shown(said)} is not allowed here; write a name, like fq or bbr", key=key
            )
        return text
    found = [_number(word, size=kind is not None and kind.size) for word in text.split()]
    given = [number for number in found if number is not None]
    if not found or len(given) != len(found) or (kind and not _fits(kind, given)):
        allowed = _allowed(key, kind) if kind else "whole numbers after >= or <="
        raise Mistake(f"{shown(said)} is not allowed here; write {allowed}", key=key)
    return f"{bound}{' '.join(map(str, given))}"


def _fits(kind: Kind, given: list[int]) -> bool:
    return (
        len(given) == kind.count
        and all(kind.least <= number <= kind.most for number in given)
        and given == sorted(given)
        and not (kind.doubling and given[0] & (given[0] - 1))
    )


def _number(word: str, *, size: bool) -> int | None:
    match = _NUMBER.fullmatch(word)
    return int(match[1]) * _SCALE[match[2]] if match and (size or not match[2]) else None


def _together(said: dict[str, str | None]) -> dict[str, str | None]:
    """What is said, each checked, if it goes together. Raises: Mistake."""
    if len(said) > MOST_KEYS:
        raise Mistake(f"{len(said)} sysctls are set; at most {MOST_KEYS} are allowed")
    found = {key: value and _checked(key, value) for key, value in said.items()}
    for one in found:
        other = rival(one)
        if found[one] and found.get(other):
            raise Mistake(
                f"{one} and {other} exclude each other: to set one changes the other", key=one
            )
    for one, other in ALIASES.items():
        if found.get(one) and found.get(other) and found[one] != found[other]:
            raise Mistake(f"this is the same as {other}, which is to be {found[other]}", key=one)
    return found


_Value = Annotated[
    str | None,
    Leaf(_said, either(INTEGER, STRING, {"type": "array", "items": either(INTEGER, STRING)})),
]
_Said = dict[Annotated[str, First(_key)], _Value]


@dataclass(frozen=True, slots=True)
class SysctlSpec(Rooted):
    """What a profile says of sysctls: exactly, at least (``>=``), at most (``<=``)."""

    root: Annotated[_Said, Last(_together)]

    def named(self) -> Iterator[tuple[str, str]]:
        """Each that it sets: its name, and a value, a bound with numbers, or ``default``."""
        return ((key, value) for key, value in self.root.items() if value is not None)


def names(value: object) -> tuple[str, ...]:
    """The sysctls of a list. Raises: Mistake."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(map(_key, items)))
