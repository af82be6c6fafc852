"""When a card raises an interrupt: how long it waits, and for how many packets.

Source: ethtool(8) -C; Documentation/networking/ethtool-netlink.rst, COALESCE_SET;
net/ethtool/coalesce.c.
"""

from __future__ import annotations

from dataclasses import replace

from netuned.kernel.questions import COALESCE as QUESTION
from netuned.tunables import numbers
from netuned.tunables.base import Writers
from netuned.tunables.numbers import SWITCH, Field
from netuned.values import Number, Value

NAME = "coalesce"
_DIRECTIONS = ("rx", "tx")
_WHEN = ("", "-irq", "-low", "-high")
FIELDS = {
    **{f"adaptive-{way}": Field(words=SWITCH, absent="off") for way in _DIRECTIONS},
    **{f"{way}-usecs{when}": Field("µs") for way in _DIRECTIONS for when in _WHEN},
    **{f"{way}-frames{when}": Field("frames") for way in _DIRECTIONS for when in _WHEN},
    **{f"cqe-mode-{way}": Field(words=SWITCH, absent="off") for way in _DIRECTIONS},
    **dict.fromkeys(("stats-block-usecs", "tx-aggr-time-usecs"), Field("µs")),
    **dict.fromkeys(("pkt-rate-low", "pkt-rate-high"), Field("packets/s")),
    "sample-interval": Field("s"),
    "tx-aggr-max-bytes": Field("bytes"),
    **dict.fromkeys(("tx-aggr-max-frames", "rx-cqe-frames"), Field("frames")),
    "rx-cqe-nsecs": Field("ns"),
}
"""DIM's profiles, which are lists of such numbers, are left to the driver."""


def within(key: str, wanted: Value, found: Value) -> bool:
    """Drivers count in units of their own: they round down, to half at most, or a little up."""
    if isinstance(wanted, Number) and isinstance(found, Number):
        most = wanted.value + max(wanted.value // 8, 4)
        return 0 < wanted.value <= 2 * found.value and found.value <= most
    return False


COALESCE = replace(
    numbers.tunable(NAME, QUESTION, FIELDS, lambda profile: profile.coalesce),
    within=within,
    events=frozenset({"coalesce"}),
    writers=Writers(
        hint="look for `ethtool -C` in scripts and timers",
        link={
            **{f"UseAdaptive{way}Coalesce": f"adaptive-{way.lower()}" for way in ("Rx", "Tx")},
            **{
                f"{way}{key}": f"{way.lower()}-{own}{when.lower() and '-'}{when.lower()}"
                for way in ("Rx", "Tx")
                for when in ("", "Irq", "Low", "High")
                for key, own in (
                    (f"Coalesce{when}Sec", "usecs"),
                    (f"MaxCoalesced{when}Frames", "frames"),
                )
            },
            "CoalescePacketRateLow": "pkt-rate-low",
            "CoalescePacketRateHigh": "pkt-rate-high",
            "StatisticsBlockCoalesceSec": "stats-block-usecs",
        },
        tuned=frozenset({"net.coalesce"}),
        network_manager=("ethtool.coalesce-*",),
    ),
)
