"""After a profile is gone a card is as it was, and as free as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .guest_host import FIRST, PROFILES, Guest

FOUR = f"match: [{{name: {FIRST}}}]\nchannels: {{combined: 4}}\n"


@pytest.fixture
def card(guest: Guest) -> Iterator[Guest]:
    """The first card as the kernel and its driver made it, and no profile."""
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    guest.sh(f"ethtool -X {FIRST} default")
    yield guest
    guest.remove_profiles()
    guest.sh("netunedctl reload")


def _come_back(card: Guest, before: dict[str, Any]) -> None:
    """Take the profile away, and see that all is as it was, and as free as it was."""
    card.sh(f"rm {PROFILES}/four.yaml")
    card.wait_state(FIRST, "unmanaged")
    assert card.state(FIRST) | {"irq": before["irq"]} == before  # those irqbalance moves, too
    card.sh(f"ethtool -L {FIRST} combined 4; ethtool -L {FIRST} combined 8")


@pytest.mark.parametrize("table", ["", "rss: {queues: all}\n", "rss: {queues: 0-1}\n"])
def test_after_fewer_channels_the_operator_may_have_fewer(card: Guest, table: str) -> None:
    """A table of somebody's keeps the kernel from ending queues that it names."""
    before = card.state(FIRST)
    card.drop("four", FOUR + table)
    card.wait_state(FIRST, "in-sync")
    assert card.combined(FIRST) == 4
    _come_back(card, before)


def test_a_key_and_then_the_rest_of_a_profile_leave_no_other_qdiscs(card: Guest) -> None:
    """To queues that are closed meanwhile the kernel gives another qdisc of its own."""
    before = card.state(FIRST)
    assert set(before["qdisc"][1:]) == {"fq_codel"}
    card.drop("four", FOUR + "qdisc: {kind: fq}\n")
    card.wait_state(FIRST, "in-sync")
    assert set(card.qdiscs(FIRST)[1:]) == {"fq"}
    card.drop("four", FOUR)
    card.machine.wait_until(lambda: "fq" not in card.qdiscs(FIRST), 40, "the kernel's own qdiscs")
    card.wait_state(FIRST, "in-sync")
    _come_back(card, before)


def test_a_trial_of_fewer_channels_goes_back_whole(card: Guest) -> None:
    before = card.state(FIRST)
    card.sh("netunedctl pause")
    try:
        card.drop("four", FOUR + "rss: {queues: all}\nqdisc: {kind: fq}\n")
        card.sh("netunedctl reload; netunedctl apply --confirm 300s")
        assert card.combined(FIRST) == 4
        card.sh("netunedctl rollback")
        _come_back(card, before)
    finally:
        card.sh("netunedctl resume")


MADE_AGAIN = (
    "cake bandwidth 50mbit diffserv4 nat wash ack-filter overhead 18 mpu 64",
    "fq_codel limit 777 flows 64 quantum 300 ce_threshold 2ms memory_limit 3Mb",
    "fq flow_limit 7 quantum 3000",
)
STAYS = (
    "sfq perturb 10 limit 99",
    "prio bands 3; tc qdisc add dev {0} parent 11:1 handle 111: sfq",
    "hfsc default 1; tc class add dev {0} parent 11: classid 11:1 hfsc sc rate 5mbit",
    "fq_codel; tc filter add dev {0} parent 11: protocol ip u32 match u32 0 0 flowid 11:1",
)
LEAF = f"match: [{{name: {FIRST}}}]\nrps: {{cpus: 1}}\nqdisc: {{kind: %s}}\n"


def test_a_leaf_is_put_back_whole_or_stays(card: Guest) -> None:
    """With its handle; filters of the card's clsact stay in any case."""
    shown = (
        f"tc -d qdisc show dev {FIRST} | grep -E ' (1|11|111|ffff): ' | sed 's/refcnt [0-9]* //';"
        f"tc class show dev {FIRST} parent 11:; tc filter show dev {FIRST} parent 11: 2>/dev/null;"
        f"tc filter show dev {FIRST} egress"
    )
    card.sh(f"tc qdisc add dev {FIRST} clsact")
    card.sh(f"tc filter add dev {FIRST} egress protocol ip matchall action ok")
    try:
        for leaf in (*MADE_AGAIN, *STAYS):
            card.sh(f"tc qdisc replace dev {FIRST} root handle 1: mq")
            card.sh(f"tc qdisc replace dev {FIRST} parent 1:1 handle 11: {leaf.format(FIRST)}")
            before = card.sh(shown)
            first = leaf in (MADE_AGAIN[0], STAYS[0])
            for kind in ("pfifo, limit: 77", "noqueue")[: 1 + first]:
                card.drop("leaf", LEAF % kind)
                card.wait_state(FIRST, "partial" if leaf in STAYS else "in-sync")
                card.remove_profiles()
                card.wait_state(FIRST, "unmanaged")
                assert card.sh(shown) == before, leaf
            card.sh(f"tc qdisc del dev {FIRST} root")
    finally:
        card.remove_profiles()
        card.sh(f"tc qdisc del dev {FIRST} root; tc qdisc del dev {FIRST} clsact")
