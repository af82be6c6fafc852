"""How many packets a card's descriptor rings hold, and what is set with them.

A driver opens its rings anew for it: most lose the link meanwhile, some interrupts and their
affinity, some the RSS table. So the rest of the card is observed again in the same pass.

Source: ethtool(8) -G; Documentation/networking/ethtool-netlink.rst, RINGS_SET; net/ethtool/rings.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from netuned.kernel.netdev import XSK, Bound
from netuned.kernel.questions import RINGS as QUESTION
from netuned.tunables import numbers
from netuned.tunables.base import CARD, Queue, Writers
from netuned.tunables.numbers import SWITCH, Field
from netuned.values import Number, State, Value, Word

NAME = "rings"
FIELDS = {
    **dict.fromkeys(("rx", "rx-mini", "rx-jumbo", "tx"), Field("entries")),
    **dict.fromkeys(("rx-buf-len", "cqe-size"), Field("bytes")),
    "tcp-data-split": Field(words={0: "auto", 1: "off", 2: "on"}),
    **dict.fromkeys(("tx-push", "rx-push"), Field(words=SWITCH)),
    **dict.fromkeys(("tx-push-buf-len", "hds-thresh"), Field("bytes")),
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


def ground(
    key: str, before: Value | None, after: Value, bound: Bound, found: Mapping[str, State]
) -> Iterator[Queue]:
    """What takes memory of its own for received data has only that land there.

    Source: net/ethtool/rings.c, ethnl_set_rings(), dev_get_min_mp_channel_count().
    """
    needed = {"tcp-data-split": Word("on"), "hds-thresh": Number(0, "bytes")}
    if after != needed.get(key, after):
        yield from (queue for queue, what in bound.items() if what != XSK)


RINGS = replace(
    numbers.tunable(NAME, QUESTION, FIELDS, lambda profile: profile.rings),
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
