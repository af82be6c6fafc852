"""Match: which cards a profile applies to."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Protocol

from netuned.profiles.classes import About, Leaf, Mistake, Spec
from netuned.profiles.scalars import (
    INTEGER,
    STRING,
    one_or_list,
    parse_speed_mbps,
    refuse_number,
    shown,
)
from netuned.profiles.yamltree import written
from netuned.records import dataclass
from netuned.regex import regex
from netuned.text import did_you_mean

PHYSICAL = "physical"

LINK_KINDS = frozenset((
    "amt", "bareudp", "batadv", "bond", "bridge", "caif", "dsa", "dummy", "erspan", "geneve",
    "gre", "gretap", "gtp", "hsr", "ifb", "ip6erspan", "ip6gre", "ip6gretap", "ip6tnl", "ipip",
    "ipoib", "ipvlan", "ipvtap", "loopback", "lowpan", "macsec", "macvlan", "macvtap",
    "netdevsim", "netkit", "nlmon", "openvswitch", "ovpn", "pfcp", "physical", "ppp", "rmnet",
    "sit", "team", "tun", "vcan", "veth", "virt_wifi", "virtual", "vlan", "vrf", "vti", "vti6",
    "vxcan", "vxlan", "wireguard", "wwan", "xfrm",
))  # fmt: skip
"""rtnetlink's link kinds (``rtnl_link_ops.kind``), ``physical`` for a card on a bus, and
``virtual`` for one without a kind."""

_OTHER_KINDS = {
    **dict.fromkeys(("ether", "ethernet", "eth", "nic", "phys", "hardware", "pci"), PHYSICAL),
    "tap": "tun",
    "bonding": "bond",
    "802.1q": "vlan",
    "wg": "wireguard",
}
"""What other tools call a kind of link, and the kernel's word for it."""

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_SPEED = regex(r"\s*(>=|<=|==|>|<|=|)\s*(.*)", re.DOTALL)
_HEX_GLOB = r"[0-9a-fA-F*?\[\]!-]+"
_PCI = regex(rf"{_HEX_GLOB}:{_HEX_GLOB}|\*")
_MAC = regex(r"[0-9a-fA-F:*?\[\]!-]+")


class Facts(Protocol):
    """What is known of a card before anything is planned for it.

    ``pci`` is ``vendor:device`` in lower-case hexadecimal, empty if the card is on no PCI bus;
    ``speed_mbps`` is 0 and ``numa_node`` -1 where unknown; ``kind`` is ``physical`` or the link's.
    """

    @property
    def name(self) -> str: ...
    @property
    def altnames(self) -> Sequence[str]: ...
    @property
    def driver(self) -> str: ...
    @property
    def pci(self) -> str: ...
    @property
    def mac(self) -> str: ...
    @property
    def speed_mbps(self) -> int: ...
    @property
    def numa_node(self) -> int: ...
    @property
    def kind(self) -> str: ...


def _patterns(example: str, check: Callable[[str], str] = str) -> Leaf:
    """One glob pattern or a list of them; ``!`` before one excludes what it matches."""

    def validate(value: object) -> tuple[str, ...]:
        return tuple(pattern(item) for item in _as_list(value, example))

    def pattern(item: object) -> str:
        text = written(item).strip()
        if isinstance(item, bool) or not isinstance(item, str | int | float) or not text:
            quotes = f', or "{text.lower()}" in quotes' if isinstance(item, bool) else ""
            raise Mistake(f"{shown(item)} is not a pattern; write one like {example}{quotes}")
        negated, bare = text.startswith("!"), text.removeprefix("!").strip()
        if not bare or not bare.isprintable() or len(bare) > 64:
            raise Mistake(f"{shown(item)} is not a pattern; write one like {example}")
        found = ("!" if negated else "") + check(bare)
        refuse_number(item)
        return found

    return Leaf(validate, one_or_list(STRING))


def _pci(text: str) -> str:
    if not _PCI.fullmatch(text):
        bare = text.lower().replace("0x", "")
        meant = bare if ":" in bare else f"{bare}:*"
        form = meant if bare != text.lower() and _PCI.fullmatch(meant) else "8086:1521 or 15b3:*"
        raise Mistake(
            f"{shown(text)} is not a PCI vendor:device pair; write it as `lspci -n` does, "
            f"like {form}"
        )
    return text.lower()


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise Mistake(
            f"{shown(text)} is not a MAC address; write one like 52:54:00:12:34:56, "
            "or a pattern like 52:54:00:*"
        )
    return text.lower()


def _kind(text: str) -> str:
    if meant := _OTHER_KINDS.get(text.lower()):
        raise Mistake(f"{shown(text)} is not a kind of link; write {meant}")
    if text not in LINK_KINDS and (hint := did_you_mean(text, LINK_KINDS)):
        raise Mistake(f"{shown(text)} is not a kind of link; {hint}")
    return text


def _speeds(value: object) -> tuple[str, ...]:
    example = ">=10G, <25G, 2.5G or 1000M"
    speeds = []
    for item in _as_list(value, example):
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise Mistake(f"{shown(item)} is not a speed; write one like {example}")
        sign, amount = _SPEED.fullmatch(written(item)).groups()  # type: ignore[union-attr]  # matches any text
        try:
            mbps = (
                int(amount) if amount.isascii() and amount.isdigit() else parse_speed_mbps(amount)
            )
        except ValueError:
            raise Mistake(f"{shown(item)} is not a speed; write one like {example}") from None
        if not 0 < mbps < 10**9:
            raise Mistake(
                f"{shown(item)} is not a speed that a card can have; write one like {example}"
            )
        speeds.append(f"{'=' if sign in ('', '==') else sign}{mbps}")
    return tuple(speeds)


def _nodes(value: object) -> tuple[int, ...]:
    for item in _as_list(value, "0 or [0, 1]"):
        if isinstance(item, bool) or not isinstance(item, int) or not -1 <= item < 1 << 10:
            raise Mistake(
                f"{shown(item)} is not a NUMA node's number; write one like 0, or -1 for none"
            )
    return tuple(map(int, _as_list(value, "")))


def _as_list(value: object, example: str) -> list[Any]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if value is None or not items:
        raise Mistake(f"no value is given; write {example}, or leave the key out")
    return items


Patterns = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match(Spec):
    """One entry of ``match``: all its keys must hold for a card.

    Every key takes one value or a list. An entry that names neither ``kind`` nor ``driver`` matches
    physical cards only. ``speed`` is kept as a comparison with Mbit/s, ``>=10000``.
    """

    name: Annotated[
        Patterns,
        _patterns("en*, eth0 or !enp3s0"),
        About("Interface name, or an alternative one: glob patterns; `!` before one excludes."),
    ] = ()
    driver: Annotated[
        Patterns,
        _patterns("igb or mlx5_core"),
        About("Kernel driver: names or glob patterns."),
    ] = ()
    pci: Annotated[
        Patterns,
        _patterns("8086:1521 or 15b3:*", _pci),
        About("PCI vendor:device in hexadecimal, as `lspci -n` prints it; globs allowed."),
    ] = ()
    mac: Annotated[
        Patterns,
        _patterns("52:54:00:*", _mac),
        About("Hardware address; globs allowed."),
    ] = ()
    speed: Annotated[
        tuple[str, ...],
        Leaf(_speeds, one_or_list({"type": ["string", "integer"]})),
        About(
            "Link speed: `>=10G`, `<25G`, `2.5G`, `1000M`. All comparisons of a list "
            "must hold, and one of its plain speeds. A card of unknown speed never matches."
        ),
    ] = ()
    numa_node: Annotated[
        tuple[int, ...],
        Leaf(_nodes, one_or_list(INTEGER)),
        About("The card's NUMA node, -1 for a card without one."),
    ] = ()
    kind: Annotated[
        Patterns,
        _patterns("physical, veth or bond", _kind),
        About("Kind of link: physical, veth, bond, vlan, bridge, ..."),
    ] = ()

    def matches(self, facts: Facts) -> bool:
        """Whether this entry holds for the card."""
        return next(self.failing(facts), None) is None

    def failing(self, facts: Facts) -> Iterator[str]:
        """The keys that do not hold for the card; of a virtual one ``kind``, if the entry names
        neither that nor a driver."""
        if not self.kind and not self.driver and facts.kind != PHYSICAL:
            yield "kind"
        if not selects(self.name, facts.name, *facts.altnames):
            yield "name"
        if not selects(self.driver, facts.driver):
            yield "driver"
        if not selects(self.pci, facts.pci.lower()):
            yield "pci"
        if not selects(self.mac, facts.mac.lower()):
            yield "mac"
        if not selects(self.kind, facts.kind):
            yield "kind"
        if self.numa_node and facts.numa_node not in self.numa_node:
            yield "numa_node"
        if self.speed and not fast_enough(self.speed, facts.speed_mbps):
            yield "speed"


def selects(patterns: Patterns, *texts: str) -> bool:
    """A positive pattern matches one of the texts (or there is none), and no negative one any."""
    positive = [pattern for pattern in patterns if pattern[0] != "!"]
    negative = [pattern[1:] for pattern in patterns if pattern[0] == "!"]
    return not _any(negative, texts) and (not positive or _any(positive, texts))


def _any(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)


def fast_enough(speeds: tuple[str, ...], mbps: int) -> bool:
    """Whether a speed is as ``Match.speed`` says; one that is unknown (0) never is."""
    if mbps <= 0:
        return False
    equal: list[bool] = []
    ranges: list[bool] = []
    for speed in speeds:
        sign = speed.rstrip("0123456789")
        holds = _COMPARE[sign](mbps, int(speed[len(sign) :]))
        (equal if sign == "=" else ranges).append(holds)
    return all(ranges) and (not equal or any(equal))
