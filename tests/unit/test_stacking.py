"""Cards over cards: what lies below, what belongs together, and which profile wins where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from netuned.hardware.nic import Nic
from netuned.hardware.stacking import groups, physical_below
from netuned.planning.matching import Matched, match_cards
from netuned.profiles.loader import LoadedProfile, load
from netuned.reconcile.report import with_uppers
from netuned.status import DRIFTED, IN_SYNC, NicStatus
from tests.unit.machines import nic, veth


def upper(ifindex: int, name: str, kind: str, *lowers: int) -> Nic:
    return replace(veth(ifindex, name), driver=kind, kind=kind, lowers=lowers)


def host(*nics: Nic) -> dict[int, Nic]:
    """With ``master`` set, as the kernel does, on the ports of what enslaves."""
    masters = {
        lower: card.ifindex
        for card in nics
        for lower in card.lowers
        if card.kind in ("bond", "team", "bridge", "physical")
    }
    return {card.ifindex: replace(card, master=masters.get(card.ifindex, 0)) for card in nics}


ETH0, ETH1 = nic(2, "eth0"), nic(3, "eth1")
BOND = upper(10, "bond0", "bond", 2, 3)
NETVSC = replace(nic(4, "eth2"), driver="hv_netvsc", lowers=(5,), vectors=(), interrupts=())
VF = replace(nic(5, "enP1s1"), driver="mlx5_core")
STANDBY = replace(nic(7, "ens3nsby"), driver="virtio_net")
PRIMARY = replace(nic(8, "ens4"), driver="iavf")
FAILOVER = replace(nic(6, "ens3"), driver="virtio_net", lowers=(7, 8), vectors=())


@pytest.mark.parametrize(
    ("nics", "ifindex", "below"),
    [
        (host(ETH0), 2, (2,)),
        (host(ETH0, ETH1, BOND), 10, (2, 3)),
        (host(ETH0, ETH1, BOND, upper(11, "bond0.5", "vlan", 10)), 11, (2, 3)),
        (
            host(ETH0, ETH1, upper(10, "eth0.5", "vlan", 2), upper(11, "br0", "bridge", 3, 10)),
            11,
            (2, 3),
        ),
        (host(ETH0, upper(10, "mv0", "macvlan", 2)), 10, (2,)),
        (host(veth(2, "v0"), veth(3, "v1"), upper(10, "br0", "bridge", 2, 3)), 10, ()),
        (host(ETH0, veth(3, "v1"), upper(10, "br0", "bridge", 2, 3)), 10, (2,)),
        (host(veth(2, "v0")), 2, ()),
        (host(NETVSC, VF), 4, (4, 5)),
        (host(NETVSC, VF), 5, (5,)),
        (host(FAILOVER, STANDBY, PRIMARY), 6, (7, 8)),
        (host(NETVSC, VF, upper(10, "bond0", "bond", 4)), 10, (4, 5)),
        (host(upper(10, "a", "vlan", 11), upper(11, "b", "vlan", 10)), 10, ()),
        (host(upper(10, "bond0", "bond", 2, 99)), 10, ()),
        (host(ETH0), 99, ()),
    ],
)
def test_physical_cards_below(nics: Mapping[int, Nic], ifindex: int, below: tuple[int]) -> None:
    assert physical_below(nics, ifindex) == below


@pytest.mark.parametrize(
    ("nics", "expected"),
    [
        (host(ETH0, ETH1), {}),
        (host(ETH0, ETH1, BOND), {2: "bond0", 3: "bond0"}),
        (host(ETH0, ETH1, upper(10, "team0", "team", 2, 3)), {2: "team0", 3: "team0"}),
        (host(ETH0, ETH1, upper(10, "br0", "bridge", 2, 3)), {}),
        (host(ETH0, upper(10, "bond0", "bond", 2)), {}),
        (host(veth(2, "v0"), veth(3, "v1"), BOND), {}),
        (host(NETVSC, VF), {4: "eth2", 5: "eth2"}),
        (host(FAILOVER, STANDBY, PRIMARY), {7: "ens3", 8: "ens3"}),
        (
            host(ETH0, NETVSC, VF, upper(10, "bond0", "bond", 2, 4)),
            {2: "bond0", 4: "bond0", 5: "bond0"},
        ),
    ],
)
def test_groups(nics: Mapping[int, Nic], expected: Mapping[int, str]) -> None:
    for order in permutations(nics):
        found = groups({ifindex: nics[ifindex] for ifindex in order})
        assert list(found.items()) == list(expected.items())


# Profiles


def profiles(directory: Path, **texts: str) -> tuple[LoadedProfile, ...]:
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text + "\n")
    loaded = load((str(directory),))
    assert not loaded.errors
    return loaded.profiles


def names(matched: Matched) -> dict[int, str]:
    return {ifindex: loaded.profile.name for ifindex, loaded in matched.profiles.items()}


def test_a_profile_for_a_bond_tunes_the_cards_below_it(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, fast="match: [{kind: bond}]")
    matched = match_cards(loaded, host(ETH0, ETH1, BOND, nic(4, "eth2")))
    assert names(matched) == {2: "fast", 3: "fast"}
    assert (matched.through[10].profile, matched.through[10].cards) == ("fast", (2, 3))
    assert not matched.conflicts


def test_two_ways_to_a_card_with_one_profile_are_no_conflict(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, fast="match: [{kind: [bond, vlan, physical]}]")
    nics = host(ETH0, ETH1, BOND, upper(11, "bond0.5", "vlan", 10))
    matched = match_cards(loaded, nics)
    assert names(matched) == {2: "fast", 3: "fast"}
    assert {ifindex: through.cards for ifindex, through in matched.through.items()} == {
        10: (2, 3),
        11: (2, 3),
    }
    assert not matched.conflicts


def test_an_upper_card_over_virtual_ones_is_tuned_itself(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, fast="match: [{kind: bridge}]")
    nics = host(veth(2, "v0"), veth(3, "v1"), upper(10, "br0", "bridge", 2, 3))
    matched = match_cards(loaded, nics)
    assert names(matched) == {10: "fast"}
    assert not matched.through


@pytest.mark.parametrize(
    ("a_priority", "b_priority", "expected"),
    [(50, 50, {2: "b", 3: "a"}), (60, 50, {2: "a", 3: "a"}), (50, 60, {2: "b", 3: "a"})],
)
def test_the_highest_priority_wins_then_the_direct_match(
    tmp_path: Path, a_priority: int, b_priority: int, expected: Mapping[int, str]
) -> None:
    loaded = profiles(
        tmp_path,
        a=f"{{match: [{{kind: bond}}], priority: {a_priority}}}",
        b=f"{{match: [{{name: eth0}}], priority: {b_priority}}}",
    )
    matched = match_cards(loaded, host(ETH0, ETH1, BOND))
    assert names(matched) == expected
    assert not matched.conflicts
    won = tuple(ifindex for ifindex, name in expected.items() if name == "a")
    assert matched.through[10].cards == won


def test_a_tie_is_named(tmp_path: Path) -> None:
    loaded = profiles(
        tmp_path,
        a="match: [{kind: bond}]",
        b="match: [{kind: vlan}]",
        c="match: [{name: eth0}]",
        d="match: [{name: eth0}]",
    )
    nics = host(ETH0, ETH1, BOND, upper(11, "eth1.5", "vlan", 3))
    matched = match_cards(loaded, nics)
    assert names(matched) == {2: "c", 3: "a"}
    assert matched.conflicts == (
        "eth0: profiles c and d both match with priority 50; c is used, give one a higher priority",
        "eth1: profiles a and b match bond0 and eth1.5 above it, both with priority 50; "
        "a is used, give one a higher priority",
    )
    assert {ifindex: through.cards for ifindex, through in matched.through.items()} == {10: (3,)}


def test_both_profiles_of_one_bond_tie(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, a="match: [{kind: bond}]", b="match: [{driver: bond}]")
    (conflict, _) = match_cards(loaded, host(ETH0, ETH1, BOND)).conflicts
    assert conflict.startswith("eth0: profiles a and b both match bond0 above it with priority 50;")


@pytest.mark.parametrize("driver", ["hv_netvsc", "mlx5_core"])
def test_an_accelerated_pair_is_tuned_together(tmp_path: Path, driver: str) -> None:
    matched = match_cards(
        profiles(tmp_path, fast=f"match: [{{driver: {driver}}}]"), host(NETVSC, VF)
    )
    assert names(matched) == {4: "fast", 5: "fast"}
    assert not matched.through


@pytest.mark.parametrize("name", ["ens3", "ens3nsby", "ens4"])
def test_a_failover_pair_is_tuned_together(tmp_path: Path, name: str) -> None:
    loaded = profiles(tmp_path, fast=f"match: [{{name: {name}}}]")
    matched = match_cards(loaded, host(FAILOVER, STANDBY, PRIMARY))
    assert names(matched) == {7: "fast", 8: "fast"}
    assert matched.through.keys() == ({6} if name == "ens3" else set())


def test_a_profile_that_is_given_comes_before_all_that_match(tmp_path: Path) -> None:
    given, first, other = profiles(
        tmp_path,
        a="priority: 1",
        b="{match: [{name: eth0}], priority: 99}",
        c="{match: [{name: [eth0, eth1]}], priority: 99}",
    )
    matched = match_cards((first, other), host(ETH0, ETH1), {2: given})
    assert matched.profiles == {2: given, 3: other}
    assert not matched.conflicts
    assert match_cards((first, other), host(ETH0, ETH1)).conflicts


def test_a_changed_profile_is_given_under_the_name_of_one_that_matches(tmp_path: Path) -> None:
    """What an experiment tries on one card of a bond is not in force through the bond."""
    (loaded,) = profiles(tmp_path, fast="match: [{kind: bond}]")
    changed = replace(loaded, profile=replace(loaded.profile, priority=1))
    matched = match_cards((loaded,), host(ETH0, ETH1, BOND), {2: changed})
    assert matched.profiles == {2: changed, 3: loaded}
    assert (matched.through[10].profile, matched.through[10].cards) == ("fast", (3,))
    assert not matched.conflicts


def test_what_is_given_to_a_bond_reaches_the_cards_below(tmp_path: Path) -> None:
    given, own, matching = profiles(
        tmp_path, a="{}", b="{}", c="{match: [{kind: [bond, physical]}], priority: 99}"
    )
    nics = host(ETH0, ETH1, BOND, nic(4, "eth2"))
    matched = match_cards((matching,), nics, {10: given})
    assert names(matched) == {2: "a", 3: "a", 4: "c"}
    assert (matched.through[10].profile, matched.through[10].cards) == ("a", (2, 3))
    matched = match_cards((matching,), nics, {10: given, 3: own})
    assert names(matched) == {2: "a", 3: "b", 4: "c"}
    assert (matched.through[10].profile, matched.through[10].cards) == ("a", (2,))
    matched = match_cards((), nics, {2: own})
    assert (names(matched), matched.through) == ({2: "b"}, {})


def test_what_is_given_to_one_of_an_accelerated_pair_is_for_both(tmp_path: Path) -> None:
    one, two = profiles(tmp_path, a="{}", b="{}")
    assert names(match_cards((), host(NETVSC, VF), {5: one})) == {4: "a", 5: "a"}
    assert names(match_cards((), host(NETVSC, VF), {4: two, 5: one})) == {4: "b", 5: "a"}


def test_two_profiles_that_are_given_to_cards_above_one_conflict(tmp_path: Path) -> None:
    one, two = profiles(tmp_path, a="priority: 1", b="priority: 99")
    nics = host(ETH0, upper(10, "eth0.5", "vlan", 2), upper(11, "eth0.6", "vlan", 2))
    matched = match_cards((), nics, {10: two, 11: one})
    assert names(matched) == {2: "a"}
    assert matched.conflicts == (
        "eth0: profiles a and b were given to eth0.6 and eth0.5 above it; a is used",
    )
    assert {ifindex: through.cards for ifindex, through in matched.through.items()} == {11: (2,)}


def test_what_is_given_to_a_card_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, fast="match: [{name: eth0}]")
    assert match_cards(loaded, host(ETH0), {99: loaded[0]}) == match_cards(loaded, host(ETH0))


def test_order_of_cards_and_profiles_does_not_matter(tmp_path: Path) -> None:
    loaded = profiles(
        tmp_path, a="match: [{kind: bond}]", b="match: [{kind: vlan}]", c="match: [{name: eth0}]"
    )
    nics = host(ETH0, ETH1, BOND, upper(11, "eth1.5", "vlan", 3))
    first = match_cards(loaded, nics)
    for order in permutations(nics):
        for sequence in permutations(loaded):
            assert match_cards(sequence, {ifindex: nics[ifindex] for ifindex in order}) == first


def test_an_upper_card_shows_how_those_below_it_are(tmp_path: Path) -> None:
    loaded = profiles(tmp_path, fast="match: [{kind: bond}]")
    matched = match_cards(loaded, host(ETH0, ETH1, BOND))
    cards = (
        NicStatus(2, "eth0", "ice", "fast", IN_SYNC),
        NicStatus(3, "eth1", "ice", "fast", DRIFTED),
        NicStatus(10, "bond0", "bond", "", "unmanaged"),
    )
    *others, bond = with_uppers(cards, matched.through)
    assert tuple(others) == cards[:2]
    assert (bond.profile, bond.state, bond.through) == ("fast", DRIFTED, ("eth0", "eth1"))
