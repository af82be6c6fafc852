"""Profile: the one schema of what a user can ask for.

After validation ``keep`` is None everywhere, and a key that was left out is ``keep``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import field, replace
from typing import Annotated, Literal

from netuned.profiles.classes import About, First, Leaf, Mistake, Spec, plain
from netuned.profiles.expression import NAME, RESERVED
from netuned.profiles.features import OffloadsSpec
from netuned.profiles.flows import Flows
from netuned.profiles.match import Facts, Match
from netuned.profiles.napi import NapiSpec
from netuned.profiles.numbers import (
    BqlSpec,
    CoalesceSpec,
    LinkSpec,
    RingsSpec,
)
from netuned.profiles.qdiscs import (
    QDISCS,
    BfifoQdisc,
    CakeQdisc,
    FqCodelQdisc,
    FqQdisc,
    NoqueueQdisc,
    PfifoFastQdisc,
    PfifoQdisc,
    Qdisc,
)
from netuned.profiles.rss import RssSpec
from netuned.profiles.scalars import (
    CPU_SET,
    STRING,
    check_expression,
    enum,
    listed,
    one_or_list,
    refuse_number,
    shown,
    wrong_word,
)
from netuned.profiles.specs import (
    DEFAULT_IRQ_CPUS,
    ChannelsSpec,
    HostSpec,
    IrqSpec,
    PolicySpec,
    RfsSpec,
    RpsSpec,
    XpsSpec,
)
from netuned.profiles.yamltree import written
from netuned.records import dataclass
from netuned.regex import regex
from netuned.text import did_you_mean

__all__ = [
    "DEFAULT_IRQ_CPUS",
    "BfifoQdisc",
    "CakeQdisc",
    "ChannelsSpec",
    "Facts",
    "FqCodelQdisc",
    "FqQdisc",
    "HostSpec",
    "IrqSpec",
    "LinkSpec",
    "Match",
    "NoqueueQdisc",
    "PfifoFastQdisc",
    "PfifoQdisc",
    "PolicySpec",
    "Profile",
    "Qdisc",
    "RfsSpec",
    "RingsSpec",
    "RpsSpec",
    "RssSpec",
    "XpsSpec",
]

DEFAULT_PRIORITY = 50
MAX_SETS = 64
MAX_PRIORITY = 1000
PROFILE_NAME = regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def _mapping(model: type[Spec], example: str, *, default: bool = True) -> Leaf:
    """A mapping as the model says, ``keep`` (None) or, where the kernel has one, ``default``."""
    words = ("keep", "default") if default else ("keep",)

    def validate(value: object) -> object:
        if isinstance(value, dict | model):
            return model.of(value)
        if isinstance(value, str) and value in words:
            return None if value == "keep" else value
        raise _not_a_mapping(value, (f"a mapping like {{{example}}}", *words))

    return Leaf(validate, enum(*words), (model,))


def _qdisc(value: object) -> object:
    kinds = tuple(QDISCS)
    if isinstance(value, _QDISC_MODELS):
        return value
    if isinstance(value, str) and value in ("keep", "default"):
        return None if value == "keep" else value
    if not isinstance(value, dict):
        hint = (
            f" (did you mean `{{kind: {value}}}`?)"
            if isinstance(value, str) and value in QDISCS
            else ""
        )
        raise _not_a_mapping(value, ("a mapping like {kind: fq}", "keep", "default"), hint)
    kind = value.get("kind")
    if kind is None:
        raise Mistake(f"kind is missing; write one of {listed(kinds)}")
    if kind in _OTHER_QDISCS:
        raise Mistake(f"netuned does not set {kind}; write one of {listed(kinds)}", key="kind")
    if not isinstance(kind, str) or kind not in QDISCS:
        raise wrong_word(kind, kinds, "kind")
    return QDISCS[kind].of(value)


_OTHER_QDISCS = (
    *("cbs", "choke", "codel", "drr", "ets", "etf", "fq_pie", "hfsc", "hhf", "htb", "mq", "mqprio"),
    *("multiq", "netem", "pie", "prio", "qfq", "red", "sfb", "sfq", "taprio", "tbf"),
)
_QDISC_MODELS = tuple(QDISCS.values())


def _not_a_mapping(value: object, allowed: tuple[str, ...], hint: str = "") -> Exception:
    return Mistake(f"{_given(value)}{hint}; write {listed(allowed)}")


def _given(value: object) -> str:
    return "no value is given" if value is None else f"{shown(value)} is not allowed here"


def _section(model: type[Spec], example: str) -> Leaf:
    """A mapping as the model says; ``keep`` is an empty one."""

    def validate(value: object) -> object:
        if isinstance(value, dict | model):
            return model.of(value)
        if value == "keep":
            return model()
        raise _not_a_mapping(value, (f"a mapping like {{{example}}}", "keep"))

    return Leaf(validate, enum("keep"), (model,))


def _names(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_profile_name(item) for item in items)


def _profile_name(value: object) -> str:
    refuse_number(value)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and PROFILE_NAME.fullmatch(text):
        return text
    raise Mistake(
        f"{shown(value)} is not a profile's name; it begins with a letter or digit and has up to "
        "64 letters, digits, `-`, `_` and `.`"
    )


def _description(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Mistake(f"{shown(value)} is not allowed here; write a sentence")
    text = " ".join(written(value).split())
    if len(text) > 1000 or not text.isprintable():
        raise Mistake("a description has at most 1000 printable characters")
    return text


def _priority(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PRIORITY:
        return int(value)
    raise Mistake(
        f"{shown(value)} is not allowed here; write a whole number from 0 to {MAX_PRIORITY}"
    )


def _match_list(value: object) -> object:
    entries = [value] if isinstance(value, dict | Match) else value
    if isinstance(entries, list | tuple):
        return entries
    example = 'a mapping like {driver: igb, name: "en*"}, or a list of such'
    raise Mistake(f"{_given(value)}; write {example}")


def _match_entry(entry: object) -> object:
    if isinstance(entry, dict | Match):
        return entry
    raise Mistake(f'{_given(entry)}; write a mapping like {{driver: igb, name: "en*"}}')


def _sets(value: object) -> object:
    if not isinstance(value, dict):
        example = "{irq: local & housekeeping}"
        raise Mistake(f"{_given(value)}; write a mapping of names to CPU sets, like {example}")
    if len(value) > MAX_SETS:
        raise Mistake(f"{len(value)} sets are defined; at most {MAX_SETS} are allowed")
    return value


def _set_name(name: str) -> str:
    if name in RESERVED:
        raise Mistake(f"`{name}` means something by itself; choose another name for this set")
    if not NAME.fullmatch(name) or len(name) > 64:
        raise Mistake(
            f"{shown(name)} is not a name for a set; it begins with a letter, ends with a letter "
            "or digit, and has only those, `-` and `_` between"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Spec):
    """A netuned profile: which cards it is for, and the state they are kept in.

    A profile without ``match`` applies to nothing: it is a template that others extend.
    """

    name: Annotated[
        str,
        Leaf(_profile_name, STRING),
        About("The profile's name; the file's name without .yaml if left out."),
    ]
    description: Annotated[
        str,
        Leaf(_description, STRING),
        About("What it is for, in a sentence."),
    ] = ""
    extends: Annotated[
        tuple[str, ...],
        Leaf(_names, one_or_list(STRING)),
        About("Profiles this one builds on, merged in order; this one's keys win."),
    ] = ()
    priority: Annotated[
        int,
        Leaf(_priority, {"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}),
        About("Of all profiles that match a card, the highest wins; ties go by name."),
    ] = DEFAULT_PRIORITY
    match: Annotated[
        tuple[Annotated[Match, First(_match_entry)], ...],
        First(_match_list, written=Match | list[Match]),
        About("The cards: any entry matches; within an entry all keys must hold."),
    ] = ()
    cpus: Annotated[
        dict[
            Annotated[str, First(_set_name)],
            Annotated[str, Leaf(check_expression, CPU_SET)],
        ],
        First(_sets),
        About("CPU sets by name, for use in irq, rps, xps and each other."),
    ] = field(default_factory=dict)
    channels: Annotated[
        ChannelsSpec | None,
        _mapping(ChannelsSpec, "combined: auto", default=False),
        About("How many channels (queues) the card opens."),
    ] = None
    rings: Annotated[
        RingsSpec | None,
        _mapping(RingsSpec, "rx: max", default=False),
        About("How many packets the card's descriptor rings hold."),
    ] = None
    coalesce: Annotated[
        CoalesceSpec | None,
        _mapping(CoalesceSpec, "rx-usecs: 50", default=False),
        About("When the card raises an interrupt."),
    ] = None
    offloads: Annotated[
        OffloadsSpec | None,
        _mapping(OffloadsSpec, "rx-gro-hw: on", default=False),
        About("What the card does with packets, by the kernel's or ethtool's names."),
    ] = None
    link: Annotated[
        LinkSpec | None,
        _mapping(LinkSpec, "gso-max-size: 192K", default=False),
        About("How much is merged into one packet, and how many wait to be sent."),
    ] = None
    rss: Annotated[
        RssSpec | Literal["default"] | None,
        _mapping(RssSpec, "queues: all"),
        About("Which receive queues packets are spread over, and by what hash."),
    ] = None
    flows: Annotated[
        Flows,
        About("Which packets go to which receive queue, whatever their hash."),
    ] = None
    napi: Annotated[
        NapiSpec | None,
        _mapping(NapiSpec, "defer-hard-irqs: 2", default=False),
        About("How the card's NAPI instances poll."),
    ] = None
    irq: Annotated[
        IrqSpec | Literal["default"] | None,
        _mapping(IrqSpec, "cpus: local & housekeeping"),
        About("Which CPUs serve the card's interrupts."),
    ] = None
    rps: Annotated[
        RpsSpec | Literal["default"] | None,
        _mapping(RpsSpec, "cpus: auto"),
        About("Receive packet steering."),
    ] = None
    rfs: Annotated[
        RfsSpec | Literal["default"] | None,
        _mapping(RfsSpec, "entries: auto"),
        About("Receive flow steering."),
    ] = None
    xps: Annotated[
        XpsSpec | Literal["default"] | None,
        _mapping(XpsSpec, "cpus: auto"),
        About("Transmit packet steering."),
    ] = None
    bql: Annotated[
        BqlSpec | Literal["default"] | None,
        _mapping(BqlSpec, "max: 100K"),
        About("Byte queue limits of the card's transmit queues."),
    ] = None
    qdisc: Annotated[
        Qdisc | Literal["default"] | None,
        Leaf(_qdisc, enum("keep", "default"), _QDISC_MODELS),
        About("The queueing discipline: of each queue, or of a single-queue card."),
    ] = None
    host: Annotated[
        HostSpec,
        _section(HostSpec, "irqbalance: exclude"),
        About("Settings of the host, not of one card."),
    ] = field(default_factory=HostSpec)
    policy: Annotated[
        PolicySpec,
        _section(PolicySpec, "disruptive: allow"),
        About("How far netuned may go."),
    ] = field(default_factory=PolicySpec)

    @property
    def thread_set(self) -> str:
        """The CPU set of NAPI's kernel threads; ``auto`` where they have none of their own."""
        said = self.napi.threads if self.napi else None
        return "auto" if said in (None, "irq", "default") else str(said)

    def __post_init__(self) -> None:
        off = self.offloads is not None and self.offloads.expanded().get("rx-ntuple-filter")
        if self.flows and off == "off":
            raise Mistake(
                "a card has rules while ntuple is on, and offloads turns it off", key="flows"
            )
        contexts = self.rss.contexts if isinstance(self.rss, RssSpec) else {}
        for rule in self.flows or ():
            kind, _, name = rule.to.partition(" ")
            if kind == "context" and name not in contexts:
                hint = did_you_mean(name, tuple(contexts)) or "define it in rss: {contexts: …}"
                raise Mistake(f"`{name}` is no context of this profile; {hint}", key="flows")

    def digest(self) -> str:
        """Tells what it says from what others say; the same on each host."""
        said = json.dumps(plain(self), ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def applies_to(self, facts: Facts) -> bool:
        """Whether any entry of ``match`` holds for the card."""
        return any(entry.matches(facts) for entry in self.match)

    @property
    def rxqs(self) -> XpsSpec | None:
        """What it says of sending, where that goes by receive queues first."""
        return self.xps if isinstance(self.xps, XpsSpec) and self.xps.by == "rxqs" else None

    @property
    def leads(self) -> bool:
        """Whether it says something of the cards above those that it is in force on."""
        return self.link is not None and self.link.upper == "follow"

    def for_uppers(self) -> Profile:
        """Of one that ``leads``, what it says of those above, which have no queues."""
        assert self.link is not None
        return Profile(
            name=self.name,
            description=self.description,
            priority=self.priority,
            link=replace(self.link, txqueuelen=None, upper=None),
            policy=self.policy,
        )

    def queues_apart(self, rx_queues: int) -> frozenset[int]:
        """Of so many receive queues, those left out of the RSS table, for AF_XDP and the like."""
        rss = self.rss
        if rss is None or rss == "default" or rss.queues in ("all", None):
            return frozenset()
        return frozenset(range(rx_queues)) - frozenset(rss.queues)
