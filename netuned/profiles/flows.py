"""What a profile says of flow rules: which packets go to which receive queue, or nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from typing import Annotated, Literal

from netuned.profiles.classes import About, First, Leaf, Mistake, Spec
from netuned.profiles.rss import CONTEXT_NAME
from netuned.profiles.scalars import (
    STRING,
    one_of,
    shown,
    whole,
)
from netuned.profiles.specs import MAX_QUEUE
from netuned.records import dataclass
from netuned.regex import regex

PROTOS = ("tcp4", "udp4", "sctp4", "tcp6", "udp6", "sctp6", "ip4", "ip6", "ether")
MAX_RULES = 4096
_PORTS = ("sport", "dport")
_QUEUE = regex(r"queue ([0-9]{1,5})", re.ASCII)
_CONTEXT = regex(f"context {CONTEXT_NAME}", re.ASCII)
_MAC = regex(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)


def _address(value: object) -> str:
    if isinstance(value, str):
        if _MAC.fullmatch(value.lower()):
            return value.lower()
        try:
            network = ip_network(value if "%" not in value else "")  # a scope is no rule's
        except ValueError:
            pass
        else:
            if not network.prefixlen:
                raise Mistake(f"{shown(value)} is every address; leave it out")
            alone = network.num_addresses == 1
            return str(network.network_address) if alone else str(network)
    example = "an address, or a network like 10.0.0.0/8 with no bit beyond its mask"
    raise Mistake(f"{shown(value)} is not allowed here; write {example}")


def _to(value: object) -> str:
    if value == "drop":
        return "drop"
    found = _QUEUE.fullmatch(value) if isinstance(value, str) else None
    if found and int(found[1]) <= MAX_QUEUE:
        return f"queue {int(found[1])}"
    if isinstance(value, str) and _CONTEXT.fullmatch(value):
        return value
    write = "write queue and its number, context and its name, or drop"
    raise Mistake(f"{shown(value)} is not allowed here; {write}")


Address = Annotated[str | None, Leaf(_address, STRING)]
Port = Annotated[int | None, whole(0, 0xFFFF, words=())]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMatch(Spec):
    """Which packets a rule is for: all that is said must be so."""

    proto: Annotated[str, one_of(*PROTOS), About("The kind of packet.")]
    src: Annotated[Address, About("From where: an address or a network.")] = None
    dst: Annotated[Address, About("Where to.")] = None
    sport: Annotated[Port, About("The port that it comes from.")] = None
    dport: Annotated[Port, About("The port that it goes to.")] = None
    type: Annotated[Port, About("With proto ether: its EtherType.")] = None
    vlan: Annotated[int | None, whole(0, 4095, words=()), About("Its VLAN.")] = None

    def __post_init__(self) -> None:
        said = self.fields()
        lacking = {"ip4": _PORTS, "ip6": _PORTS, "ether": _PORTS}.get(self.proto, ())
        wrong = [name for name in (*lacking, "type") if name in said]
        if wrong and (wrong[0] != "type" or self.proto != "ether"):
            raise Mistake(f"packets of {self.proto} have no such field here", key=wrong[0])
        for key in ("src", "dst"):
            if (address := said.get(key)) and _family(address) != self._family:
                raise Mistake(f"this is no address of {self.proto}", key=key)

    @property
    def _family(self) -> str:
        return "mac" if self.proto == "ether" else self.proto[-1]

    def fields(self) -> Mapping[str, str]:
        """What it says of each field, as the kernel's rules are shown."""
        named = {"src": self.src, "dst": self.dst, "sport": self.sport, "dport": self.dport}
        ether = {} if self.type is None else {"type": f"{self.type:#06x}"}
        said = {**named, **ether, "vlan": self.vlan}
        return {name: str(value) for name, value in said.items() if value is not None}


def _family(address: str) -> str:
    if _MAC.fullmatch(address):
        return "mac"
    return "4" if isinstance(ip_network(address), IPv4Network) else "6"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec(Spec):
    """A rule: which packets, and where they go."""

    match: Annotated[RuleMatch, About("Which packets.")]
    to: Annotated[
        str,
        Leaf(_to, {"type": "string", "pattern": f"^(queue [0-9]{{1,5}}|{_CONTEXT.pattern}|drop)$"}),
        About("`queue N`, `context NAME` of rss.contexts, or `drop`."),
    ]


def _rules(value: object) -> object:
    if value == "keep":
        return None
    if not isinstance(value, list | tuple):
        raise Mistake(
            f"{shown(value)} is not allowed here; write a list like "
            "[{match: {proto: tcp4, dport: 443}, to: queue 3}], or keep"
        )
    if len(value) > MAX_RULES:
        raise Mistake(f"{len(value)} rules; at most {MAX_RULES} are allowed")
    return value


Flows = Annotated[
    tuple[FlowSpec, ...] | None,
    First(_rules, written=list[FlowSpec] | Literal["keep"]),
]
"""Rules, of which the first that matches counts; None: netuned has none."""
