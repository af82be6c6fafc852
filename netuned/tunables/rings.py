"""How many packets a card's descriptor rings hold, and what is set with them.

A driver opens its rings anew for it: most lose the link meanwhile, some interrupts and their
affinity, some the RSS table. So the rest of the card is observed again in the same pass.

Source: ethtool(8) -G; Documentation/networking/ethtool-netlink.rst, RINGS_SET; net/ethtool/rings.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from netuned.kernel.features import CHANGEABLE
from netuned.kernel.netdev import XSK, Bound
from netuned.kernel.questions import FEATURES
from netuned.kernel.questions import RINGS as QUESTION
from netuned.tunables import numbers
from netuned.tunables.base import CARD, Limits, Queue, View, Writers
from netuned.tunables.numbers import SWITCH, Field
from netuned.values import Number, State, Value, Word

NAME = "rings"
SPLIT = "tcp-data-split"
FIELDS = {
    **dict.fromkeys(("rx", "rx-mini", "rx-jumbo", "tx"), Field("entries")),
    **dict.fromkeys(("rx-buf-len", "cqe-size"), Field("bytes")),
    SPLIT: Field(words={0: "auto", 1: "off", 2: "on"}, absent="auto", untold=True),
    **dict.fromkeys(("tx-push", "rx-push"), Field(words=SWITCH, absent="off")),
    "tx-push-buf-len": Field("bytes"),
    "hds-thresh": Field("bytes", absent=0),
}

SMALLEST = 128
"""Entries: what a ring is made at least (igb and e1000e make 64 of fewer)."""


def within(key: str, wanted: Value, found: Value) -> bool:
    """Drivers make rings of a power of two, or of a multiple; up, or down, or no fewer than some.

    ``auto`` may be shown as what it comes to.
    """
    if isinstance(wanted, Number) and isinstance(found, Number):
        return wanted.value < 2 * found.value and found.value < max(2 * wanted.value, SMALLEST)
    return wanted == Word("auto")


def limits(view: View) -> Limits:
    """What the card has; header split also where it may have it and does not tell.

    mlx5 tells once it was set, and has it with its own GRO; the kernel refuses it of others.
    Source: net/ethtool/rings.c, rings_fill_reply(); mlx5e_ethtool_set_tcp_data_split().
    """
    has = view.ask(QUESTION)
    if SPLIT not in has and view.ask(FEATURES).get("rx-gro-hw", 0) & CHANGEABLE:
        return {**has, SPLIT: 0}
    return has


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """What takes memory of its own for received data has only that land there.

    Source: net/ethtool/rings.c, ethnl_set_rings(), dev_get_min_mp_channel_count().
    """
    needed = {SPLIT: Word("on"), "hds-thresh": Number(0, "bytes")}
    if after != needed.get(key, after):
        yield from (queue for queue, what in bound.items() if what != XSK)


RINGS = replace(
    numbers.tunable(NAME, QUESTION, FIELDS, lambda profile: profile.rings),
    limits=limits,
    within=within,
    ground=ground,
    disruptive=lambda key, before, after: True,
    stale=lambda key: CARD,
    events=frozenset({"rings"}),
    writers=Writers(
        hint="look for `ethtool -G` in scripts and timers",
        link={
            "RxBufferSize": "rx",
            "RxMiniBufferSize": "rx-mini",
            "RxJumboBufferSize": "rx-jumbo",
            "TxBufferSize": "tx",
        },
        tuned=frozenset({"net.ring"}),
        network_manager=("ethtool.ring-*",),
    ),
)
