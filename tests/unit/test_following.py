"""Cards above those that a profile is in force on, which follow where it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from netuned.hardware.host import Host
from netuned.hardware.nic import Nic
from netuned.planning.asked import may_apply
from netuned.planning.explain import explain
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from tests.unit.machines import limits, nic, topology


def loaded(name: str, match: Any, **said: Any) -> LoadedProfile:
    data = {"name": name, "match": match, "xps": {"cpus": "auto"}, **said}
    return LoadedProfile(Profile.of(data), f"/p/{name}.yaml", {})


def above(ifindex: int, name: str, kind: str, *lowers: int) -> Nic:
    return replace(nic(ifindex, name, 1), kind=kind, driver=kind, device="", lowers=lowers)


FOLLOW = {"gro-max-size": "128K", "txqueuelen": 2000, "upper": "follow"}
CARDS = (
    nic(2, "en0"),
    nic(3, "en1"),
    above(4, "bond0", "bond", 2, 3),
    above(5, "bond0.7", "vlan", 4),
    above(6, "br0", "bridge", 5),
    above(7, "vx0", "vxlan", 2),
)


def plan(*profiles: LoadedProfile, cards: tuple[Nic, ...] = CARDS) -> tuple[Desired, Host]:
    cpus = topology()
    host = Host(cpus, {card.ifindex: card for card in cards}, cpus.possible)
    return plan_host(profiles, host), host


def test_all_that_send_its_packets_on_follow_and_have_nothing_else_of_it() -> None:
    desired, host = plan(loaded("edge", {"name": "en0"}, link=FOLLOW))
    assert set(desired.targets) == set(desired.profiles) == {2, 4, 5, 6}
    for ifindex in (4, 5, 6):
        target = desired.targets[ifindex]
        assert (target.follows, target.profile.name) == ("en0", "edge")
        assert target.profile.link
        assert dict(target.profile.link.named()) == {"gro-max-size": 131072}
        assert target.profile.xps is None
    told = explain((), host, desired, 5, limits)
    assert (told.profile, told.follows, told.queues, told.problem) == ("edge", "en0", (), "")


def test_none_follows_a_profile_that_does_not_say_so() -> None:
    said = {key: value for key, value in FOLLOW.items() if key != "upper"}
    assert set(plan(loaded("edge", {"name": "en0"}, link=said))[0].targets) == {2}


def test_of_several_the_first_is_followed_and_one_of_its_own_before() -> None:
    edge = loaded("edge", {"name": "en0"}, link=FOLLOW)
    first = loaded("b", {"name": "en1"}, priority=70, link={**FOLLOW, "gro-max-size": "96K"})
    own = loaded("own", {"kind": "bridge"}, link={"gro-max-size": "80K"})
    lone = above(6, "br0", "bridge", 8)
    veth = replace(nic(8, "veth0", 1), kind="veth", device="")
    desired, _ = plan(edge, first, own, cards=(*CARDS[:4], lone, veth))
    assert desired.targets[4].follows == desired.targets[5].follows == "en1"
    assert desired.profiles[4].profile.name == "b"
    assert (desired.targets[6].follows, desired.profiles[6].profile.name) == ("", "own")
    both, _ = plan(loaded("all", {"name": "en*"}, link=FOLLOW))
    assert both.targets[4].follows == "en0 and en1"


def test_one_that_may_follow_is_read() -> None:
    follow, not_so = loaded("edge", {"name": "en0"}, link=FOLLOW), loaded("x", {"name": "en0"})
    bond = replace(CARDS[2], unread=True)
    assert may_apply((not_so, follow), bond)
    assert not may_apply((not_so,), bond)
    assert not may_apply((follow,), replace(bond, lowers=()))
    assert not may_apply((follow,), replace(bond, kind="vxlan"))
