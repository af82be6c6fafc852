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
