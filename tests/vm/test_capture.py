"""``netunedctl capture`` of real card models: a plan of what it wrote has nothing to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from . import hardware
from .guest_host import FIRST, Guest

DIRECTORY = "/run/captured"
BY_HAND = f"""ethtool -L {FIRST} combined 4
ethtool -G {FIRST} rx 512
ethtool -C {FIRST} rx-usecs 33
ethtool -K {FIRST} tso off
ethtool -X {FIRST} weight 1 1 2 0
ip link set {FIRST} txqueuelen 777
tc qdisc replace dev {FIRST} root handle 1: mq
for leaf in 1 2 3 4; do tc qdisc replace dev {FIRST} parent 1:$leaf fq limit 5000; done
"""
BACK = f"""ip link set {FIRST} txqueuelen 1000
ethtool -X {FIRST} default
ethtool -K {FIRST} tso on
ethtool -C {FIRST} rx-usecs 3
ethtool -G {FIRST} rx 256
ethtool -L {FIRST} combined 8
tc qdisc del dev {FIRST} root
"""


@pytest.fixture(scope="module", autouse=True)
def left_alone(guest: Guest) -> Iterator[None]:
    """What irqbalance moves between a capture and a plan of it is no fault of either."""
    guest.sh("systemctl stop irqbalance")
    yield
    guest.sh("systemctl start irqbalance")


def nothing_to_do(guest: Guest, ifname: str, *words: str) -> dict[str, object]:
    """The captured profile, a plan of which is empty and lacks nothing."""
    asked = " ".join(("netunedctl capture", ifname, *words))
    guest.sh(f"mkdir -p {DIRECTORY}; {asked} >{DIRECTORY}/captured.yaml")
    plan = json.loads(guest.sh(f"netunedctl plan --json --profiles {DIRECTORY}"))
    guest.sh(f"rm -r {DIRECTORY}")
    assert [change for change in plan["changes"] if change["ifname"]] == []
    assert (plan["unsupported"], plan["withheld"], plan["problems"]) == ([], [], [])
    profile: dict[str, object] = json.loads(guest.sh(f"{asked} --json"))["profile"]
    return profile


@pytest.mark.parametrize("words", [(), ("--all",)], ids=["what differs", "all"])
@pytest.mark.parametrize("ifname", hardware.CARDS)
def test_a_card_as_it_comes(guest: Guest, ifname: str, words: tuple[str, ...]) -> None:
    assert nothing_to_do(guest, ifname, *words)["match"] == [{"name": ifname}]


def test_a_card_that_somebody_set(guest: Guest) -> None:
    try:
        guest.sh(BY_HAND)
        found = nothing_to_do(guest, FIRST)
    finally:
        guest.sh(BACK)
    assert found["channels"] == {"combined": 4}
    assert found["qdisc"] == {"kind": "fq", "limit": 5000}
    assert {"rings", "coalesce", "offloads", "rss", "link"} <= found.keys()
