"""``netunedctl capture`` of real card models: a plan of what it wrote has nothing to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from . import hardware
from .guest_host import FIRST, Guest

DIRECTORY = "/run/captured"
FILE = f"{DIRECTORY}/captured.yaml"
LEFT_OUT = re.compile("^# left out: (.+?): ", re.MULTILINE)
LIMITS = "byte_queue_limits"
KEY = ":".join(["6d", "5a"] * 20)
SHOWN_KEY = f"ethtool -x {hardware.VIRTIO} | sed -n '/^RSS hash key/{{n;p}}'"
BY_HAND = f"""ethtool -L {FIRST} combined 4
ethtool -G {FIRST} rx 512
ethtool -C {FIRST} rx-usecs 33
ethtool -K {FIRST} tso off
ethtool -X {FIRST} weight 1 1 2 0
ip link set {FIRST} txqueuelen 777
ethtool -N {FIRST} rx-flow-hash udp4 sdfn
echo 3 >/sys/class/net/{FIRST}/napi_defer_hard_irqs
for n in 0 1 2 3; do echo 60000 >/sys/class/net/{FIRST}/queues/tx-$n/{LIMITS}/limit_max; done
tc qdisc replace dev {FIRST} root handle 1: mq
for leaf in 1 2 3 4; do tc qdisc replace dev {FIRST} parent 1:$leaf fq limit 5000; done
"""
BACK = f"""ip link set {FIRST} txqueuelen 1000
for n in 0 1 2 3; do echo max >/sys/class/net/{FIRST}/queues/tx-$n/{LIMITS}/limit_max; done
echo 0 >/sys/class/net/{FIRST}/napi_defer_hard_irqs
ethtool -N {FIRST} rx-flow-hash udp4 sd
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


def nothing_to_do(guest: Guest, ifname: str, *words: str) -> tuple[dict[str, Any], list[str]]:
    """The captured profile, a plan of which is empty and lacks nothing; and what is left out."""
    asked = " ".join(("netunedctl capture", ifname, *words))
    text = guest.sh(f"mkdir -p {DIRECTORY}; {asked} >{FILE}; cat {FILE}")
    plan = json.loads(guest.sh(f"netunedctl plan --json --profiles {DIRECTORY}"))
    guest.sh(f"rm -r {DIRECTORY}")
    assert [change for change in plan["changes"] if change["ifname"]] == []
    assert (plan["unsupported"], plan["withheld"], plan["problems"]) == ([], [], [])
    return yaml.safe_load(text), LEFT_OUT.findall(text)


@pytest.mark.parametrize("words", [(), ("--all",)], ids=["what differs", "all"])
@pytest.mark.parametrize("ifname", hardware.CARDS)
def test_a_card_as_it_comes(guest: Guest, ifname: str, words: tuple[str, ...]) -> None:
    found, left = nothing_to_do(guest, ifname, *words)
    assert found["match"] == [{"name": ifname}]
    assert words or "hashing key" not in left, "the kernel made it up"


def test_a_card_that_somebody_set(guest: Guest) -> None:
    try:
        guest.sh(BY_HAND)
        found, _ = nothing_to_do(guest, FIRST)
    finally:
        guest.sh(BACK)
    assert found["channels"] == {"combined": 4}
    assert found["qdisc"] == {"kind": "fq", "limit": 5000}
    assert {"rings", "coalesce", "offloads", "rss", "link"} <= found.keys()
    assert (found["napi"], found["bql"]) == ({"defer-hard-irqs": 3}, {"max": 60000})
    assert found["rss"]["fields"]["udp4"] == ["src", "dst", "sport", "dport"]


def test_a_key_that_somebody_set_is_for_who_asks_for_it(guest: Guest) -> None:
    ifname = hardware.VIRTIO
    before = guest.sh(SHOWN_KEY).strip()
    guest.sh(f"ethtool -X {ifname} hkey {KEY}")
    try:
        assert "hashing key" in nothing_to_do(guest, ifname)[1]
        assert nothing_to_do(guest, ifname, "--key")[0]["rss"]["key"] == KEY
    finally:
        guest.sh(f"ethtool -X {ifname} hkey {before}")


def test_rules_of_somebody_are_said_and_contexts_named(guest: Guest, simulated: str) -> None:
    guest.sh(
        f"""ethtool -X {simulated} context new equal 4
        ethtool -N {simulated} flow-type udp4 dst-port 4789 context 1 loc 1
        ethtool -N {simulated} flow-type tcp4 src-ip 10.0.0.0 m 0.255.255.255 dst-port 443 \\
          action 3 loc 5
        ethtool -N {simulated} flow-type tcp6 dst-ip 2001:db8::1 action -1 loc 9"""
    )
    try:
        found, left = nothing_to_do(guest, simulated, "--all")
    finally:
        guest.sh(
            f"""for n in 1 5 9; do ethtool -N {simulated} delete $n; done
            ethtool -X {simulated} context 1 delete"""
        )
    assert found["flows"] == [
        {"match": {"proto": "tcp4", "src": "10.0.0.0/8", "dport": 443}, "to": "queue 3"},
        {"match": {"proto": "tcp6", "dst": "2001:db8::1"}, "to": "drop"},
    ]
    assert {"contexts context 1", "flows rule 1"} <= set(left)
