"""What a profile says of RSS: the queues that packets are spread over, and by what hash."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Literal

from netuned.profiles.classes import About, First, Leaf, Mistake, Spec
from netuned.profiles.scalars import (
    CPU_SET,
    INTEGER,
    STRING,
    either,
    enum,
    listed,
    queue_list,
    shown,
    word_or_keep,
)
from netuned.records import dataclass
from netuned.text import HASH_KEY, counted, did_you_mean

FLOWS = (
    *("ether", "ip4", "ip6", "tcp4", "tcp6", "udp4", "udp6"),
    *("sctp4", "sctp6", "ah4", "ah6", "esp4", "esp6"),
)
"""Kinds of flow, by the kernel's names."""

FIELDS = ("l2da", "vlan", "l3proto", "src", "dst", "sport", "dport", "teid", "label")
"""What of a packet can be hashed, in the order of the kernel's bits from ``RXH_L2DA`` on."""

KEY_BYTES = (24, 256)

KEPT_TABLE = ("queues", "keep")
"""The key, and its value, by which the card's own table is left alone."""

CONTEXT_NAME = "[a-zA-Z][a-zA-Z0-9_-]{0,31}"
"""What the name of a context is, as a regular expression."""
MAX_CONTEXTS = 64

_NAMES = either(enum("none", "keep", "default"), {"type": "array", "items": enum(*FIELDS)})


def _queues(value: object) -> str | tuple[int, ...] | None:
    if value in ("all", "keep"):
        return "all" if value == "all" else None
    return queue_list(value)


def _weights(value: object) -> str | tuple[int, ...]:
    if value == "equal":
        return "equal"
    if not isinstance(value, list | tuple):
        raise Mistake(f"{shown(value)} is not allowed here; write equal, or a list like [3, 1, 1]")
    for weight in value:
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 1 << 16:
            raise Mistake(f"{shown(weight)} is not a weight; write whole numbers from 0 to 65536")
    if not any(value):
        raise Mistake("every weight is 0, so no queue would receive anything")
    return tuple(map(int, value))


def _key(value: object) -> str | None:
    """The key's hex, or ``default``. What was written is never told: it may be most of a key."""
    if value in ("keep", "default"):
        return None if value == "keep" else "default"
    if isinstance(value, str) and HASH_KEY.fullmatch(value):
        return value.lower()
    least, most = KEY_BYTES
    raise Mistake(
        f"this is not a hash key; write {least} to {most} bytes in hexadecimal with colons, as "
        "`ethtool -x` shows them, like 6d:5a:56:da:…, or keep or default"
    )


def _fields(value: object) -> str | None:
    """Names in the kernel's order, ``none`` or ``default``."""
    if isinstance(value, str) and value in ("keep", "default", "none"):
        return None if value == "keep" else value
    allowed = f"a list of {listed(FIELDS)}, or none, keep or default"
    if not isinstance(value, list | tuple):
        raise Mistake(f"{shown(value)} is not allowed here; write {allowed}")
    for name in value:
        if name not in FIELDS:
            hint = did_you_mean(name, FIELDS) or f"write {allowed}"
            raise Mistake(f"{shown(name)} is no field of a packet that is hashed; {hint}")
    return " ".join(name for name in FIELDS if name in value) or "none"


def _flow(name: object) -> str:
    if isinstance(name, str) and name in FLOWS:
        return name
    hint = did_you_mean(name, FLOWS) or f"write {listed(FLOWS)}"
    raise Mistake(f"{shown(name)} is no kind of flow; {hint}")


def _only_queues(value: object) -> tuple[int, ...]:
    if value in ("all", "keep"):
        raise Mistake(f"{shown(value)} is not allowed here; write queues like 4-7")
    return queue_list(value)


def _contexts(value: object) -> object:
    if value == "keep":
        return {}
    if not isinstance(value, dict):
        write = 'write a mapping of names, like {app: {queues: "4-7"}}, or keep'
        raise Mistake(f"{shown(value)} is not allowed here; {write}")
    if len(value) > MAX_CONTEXTS:
        raise Mistake(f"{len(value)} contexts; at most {MAX_CONTEXTS} are allowed")
    return value


def _context_name(name: object) -> str:
    if isinstance(name, str) and re.fullmatch(CONTEXT_NAME, name, re.ASCII):
        return name
    raise Mistake(
        f"{shown(name)} is not a name for a context; it begins with a letter and has up to 32 "
        "letters, digits, `-` and `_`"
    )


def _as_mapping(value: object) -> object:
    if value == "keep":
        return {}
    if isinstance(value, dict):
        return value
    raise Mistake(f"{shown(value)} is not allowed here; write a mapping like {{udp4: [src, dst]}}")


def is_symmetric(fields: str) -> bool:
    """Whether both ends of a flow go into its hash alike, and nothing else does."""
    names = set(fields.split())
    pairs = (("src", "dst"), ("sport", "dport"))
    both = all((one in names) == (other in names) for one, other in pairs)
    return fields in ("none", "default") or (both and names <= {*pairs[0], *pairs[1]})


def _fit(queues: object, weights: object) -> None:
    """Raises: ValueError, where there is not one weight for each queue."""
    if isinstance(queues, tuple) and isinstance(weights, tuple) and len(weights) != len(queues):
        verb = "does" if len(weights) == 1 else "do"
        wrong = f"{counted(len(weights), 'weight')} {verb} not fit {counted(len(queues), 'queue')}"
        raise Mistake(f"{wrong}; write one weight for each queue", key="weights")


_LIST = either(STRING, {"type": "array", "items": CPU_SET, "minItems": 1})
Weights = Annotated[
    Literal["equal"] | tuple[int, ...],
    Leaf(_weights, either(enum("equal"), {"type": "array", "items": INTEGER})),
    About("`equal`, or one weight for each of the queues in ascending order."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSpec(Spec):
    """A table of its own, for the packets that flow rules send to it."""

    queues: Annotated[
        tuple[int, ...],
        Leaf(_only_queues, _LIST),
        About('Queues like "4-7".'),
    ]
    weights: Weights = "equal"

    def __post_init__(self) -> None:
        _fit(self.queues, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class RssSpec(Spec):
    """Which receive queues the indirection table spreads packets over, and by what hash."""

    queues: Annotated[
        Literal["all"] | tuple[int, ...] | None,
        Leaf(_queues, _LIST),
        About('`all`, or queues like "0-5"; the others receive nothing.'),
    ] = "all"
    weights: Weights = "equal"

    function: Annotated[
        Literal["toeplitz", "xor", "crc32", "default"] | None,
        word_or_keep("toeplitz", "xor", "crc32", "default"),
        About("The hash function."),
    ] = None
    key: Annotated[
        str | None,
        Leaf(
            _key, either(enum("keep", "default"), {"type": "string", "pattern": HASH_KEY.pattern})
        ),
        About("The hash key, as ethtool -x shows it."),
    ] = None
    symmetric: Annotated[
        Literal["off", "xor", "or-xor", "default"] | None,
        word_or_keep("off", "xor", "or-xor", "default"),
        About("Both directions of a flow have one hash (Linux 6.8)."),
    ] = None
    fields: Annotated[
        dict[Annotated[str, First(_flow)], Annotated[str | None, Leaf(_fields, _NAMES)]],
        First(_as_mapping),
        About("What of a packet is hashed, by kind of flow."),
    ] = field(default_factory=dict)
    contexts: Annotated[
        dict[Annotated[str, First(_context_name)], ContextSpec],
        First(_contexts, written=dict[str, ContextSpec] | Literal["keep"]),
        About("Tables of their own by name, for `to: context NAME` in flows."),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _fit(self.queues, self.weights)
        if self.symmetric in ("xor", "or-xor"):
            for fields in self.fields.values():
                if fields is not None and not is_symmetric(fields):
                    wrong = f"{fields.replace(' ', ', ')} is not the same for both directions"
                    write = "write src and dst, sport and dport, each with the other"
                    raise Mistake(
                        f"{wrong}, which symmetric: {self.symmetric} needs; {write}", key="fields"
                    )
