"""What real drivers have of links and of their queues: sizes, byte queue limits, maps of queues.

Above the card is a VLAN, which follows it; its channels become fewer meanwhile.
"""

from __future__ import annotations

import json

from .guest_host import FIRST, PROFILES, Guest

ABOVE = "lab7"
PROFILE = f"""\
match: [{{name: {FIRST}}}]
channels: {{combined: 4}}
link: {{gso-max-size: 48K, gro-max-size: 192K, txqueuelen: 2000, upper: follow}}
xps: {{by: rxqs, cpus: none}}
bql: {{max: 100K}}
"""
SIZES = ("gso_max_size", "gso_ipv4_max_size", "gro_max_size", "gro_ipv4_max_size", "txqlen")


def sizes(guest: Guest, ifname: str) -> dict[str, int]:
    (link,) = json.loads(guest.sh(f"ip -d -j link show {ifname}"))
    return {name: link[name] for name in SIZES if name in link}


def queues(guest: Guest) -> str:
    files = "tx-*/xps_rxqs tx-*/byte_queue_limits/limit_m??"
    return guest.sh(f"cd /sys/class/net/{FIRST}/queues; grep -H . {files}")


def test_a_card_and_the_vlan_above_it_are_set_and_put_back(guest: Guest) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    guest.sh(f"ip link add link {FIRST} name {ABOVE} type vlan id 7")
    before = sizes(guest, FIRST), sizes(guest, ABOVE), queues(guest)
    guest.drop("link", PROFILE)
    try:
        guest.wait_state(FIRST, "in-sync")
        guest.wait_state(ABOVE, "in-sync")
        for ifname, length in ((FIRST, 2000), (ABOVE, before[1]["txqlen"])):
            found = sizes(guest, ifname)
            assert (found["gso_max_size"], found["gro_max_size"]) == (49152, 196608)
            assert found["txqlen"] == length
        shown = queues(guest)
        assert shown.count("limit_max:102400") == shown.count("xps_rxqs:") == 4
        guest.sh(f"ip link set {ABOVE} gro_max_size 65536")
        guest.sh(f"echo 5000 > /sys/class/net/{FIRST}/queues/tx-1/byte_queue_limits/limit_max")
        guest.machine.wait_until(
            lambda: sizes(guest, ABOVE)["gro_max_size"] == 196608 and queues(guest) == shown,
            40,
            "the repair",
        )
    finally:
        guest.sh(f"rm -f {PROFILES}/link.yaml")
    guest.wait_state(FIRST, "unmanaged")
    guest.wait_state(ABOVE, "unmanaged")
    assert (sizes(guest, FIRST), sizes(guest, ABOVE), queues(guest)) == before
    guest.sh(f"ip link del {ABOVE}")
