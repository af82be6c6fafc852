"""What ``netunedctl watch`` tells of two statuses, one after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from netuned.status import (
    APPLYING,
    CONTENDED,
    DRIFTED,
    IN_SYNC,
    NOT_RUNNING,
    STARTING,
    ManagerStatus,
    NicStatus,
    SettingStatus,
    Status,
)
from netuned.watching import Made, Shown, Watched

MANAGER = ManagerStatus("1", IN_SYNC)
RPS = SettingStatus("rps", IN_SYNC, "0", "0")
ETH0 = NicStatus(2, "eth0", "igb", "edge", IN_SYNC, settings=(RPS,))
ETH1 = NicStatus(3, "eth1", "igb", "edge", IN_SYNC, settings=(RPS,))
CALM = Status(MANAGER, (ETH0, ETH1))


def told(*statuses: Status, only: tuple[str, ...] = ()) -> list[str]:
    """The messages, from the first of these statuses on."""
    watched = Watched(statuses[0], only)
    pairs = pairwise(statuses)
    return [e.message for pair in pairs for e in watched.entries(Shown(*pair), 1.5)]


def with_rps(nic: NicStatus, state: str, reason: str = "") -> NicStatus:
    return replace(nic, state=state, settings=(replace(RPS, state=state, reason=reason),))


def test_states_on_the_way_to_another_are_not_told() -> None:
    applying = Status(MANAGER, (with_rps(ETH0, APPLYING), ETH1))
    assert told(CALM, applying, CALM) == []
    drifted = Status(MANAGER, (with_rps(ETH0, DRIFTED), ETH1))
    assert told(CALM, applying, drifted, applying, drifted) == [
        "eth0 is drifted",
        "eth0 rps is drifted",
    ]


def test_who_contends_is_told_once_known_and_not_again_as_a_conflict() -> None:
    unknown, known = (f"changed again and again by {who}; end that" for who in ("one", "tc"))
    statuses = [
        Status(
            replace(MANAGER, conflicts=(f"eth0 rps rx-0: {why}", "another")),
            (with_rps(ETH0, CONTENDED, f"{why}; more"), ETH1),
        )
        for why in (unknown, known)
    ]
    assert told(CALM, *statuses, CALM) == [
        "Conflict: another",
        "eth0 is contended",
        f"eth0 rps is contended: {unknown}; more",
        f"eth0 rps is contended: {known}; more",
        "eth0 is in-sync",
        "eth0 rps is in-sync, no longer contended",
    ]


def test_a_card_is_followed_under_its_name_and_as_the_same_card() -> None:
    renamed, again = replace(ETH0, name="lan0"), replace(ETH0, ifindex=9)
    paused = replace(renamed, state="paused")
    statuses = [Status(MANAGER, nics) for nics in ((renamed, ETH1), (paused, ETH1), (ETH1,))]
    back = Status(MANAGER, (ETH1, again))
    assert told(CALM, *statuses, back, only=("eth0",)) == [
        "eth0 is called lan0 now",
        "lan0 is paused",
        "lan0 is gone",
        "eth0 is here, with profile edge",
        "eth0 is in-sync",
    ]


def test_of_others_and_of_the_host_nothing_is_told_where_a_card_is_meant() -> None:
    amiss = Status(replace(MANAGER, settings=(replace(RPS, state=DRIFTED),)), (ETH0,))
    assert told(CALM, amiss, only=("eth0",)) == []
    assert told(CALM, amiss, only=("host",)) == ["host rps is drifted"]
    watched = Watched(CALM, ("eth0",))
    made = Made(3, "profile", "rps", "rx-0", "none", "0", "")
    assert not list(watched.entries(made, 1.5))
    (entry,) = watched.entries(replace(made, ifindex=2), 1.5)
    assert (entry.at, entry.ifnames, entry.after) == (1.5, ("eth0",), "0")


def test_that_netuned_ends_and_runs_again_is_told_once() -> None:
    ended = Status(ManagerStatus("", NOT_RUNNING), CALM.nics)
    starting = Status(replace(MANAGER, state=STARTING), CALM.nics)
    assert told(CALM, ended, ended, starting, CALM) == [
        "netuned has ended: nothing keeps the cards as they are",
        "netuned runs again",
    ]
