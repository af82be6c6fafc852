"""Flow rules through a kernel's own ioctl, on a card of netdevsim's that keeps them as given."""

from __future__ import annotations

from .guest_host import Guest

OTHERS = "flow-type udp4 dst-port 4789 action 2 loc 1"


def shown(guest: Guest, ifname: str) -> str:
    return guest.sh(f"ethtool -n {ifname}")


def test_own_rules_are_set_repaired_and_go_and_others_stay(guest: Guest, simulated: str) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    guest.sh(f"ethtool -N {simulated} {OTHERS}")
    before = shown(guest, simulated)
    assert "Filter: 1" in before
    match = f"match: [{{name: {simulated}}}]\n"
    rules = """flows:
      - {match: {proto: tcp4, dport: 443, src: 10.0.0.0/8}, to: queue 7}
      - {match: {proto: tcp6, dst: "2001:db8::1", sport: 22}, to: drop}
      - to: queue 1
        match: {proto: ether, type: 0x88f7, vlan: 5, src: "52:54:00:00:00:01",
                dst: "01:1b:19:00:00:00"}
      - {match: {proto: ip4, dst: 192.0.2.7}, to: queue 0}
"""
    guest.drop("rules", match + rules)
    try:
        guest.wait_state(simulated, "in-sync")
        now = shown(guest, simulated)
        for part in (
            *("Filter: 0", "TCP over IPv4", "Src IP addr: 10.0.0.0 mask: 0.255.255.255"),
            *("Dest port: 443 mask: 0x0", "Action: Direct to queue 7", "Filter: 2"),
            *("Dest IP addr: 2001:db8::1 mask: ::", "Action: Drop", "Filter: 3"),
            *("Dest MAC addr: 01:1B:19:00:00:00", "Ethertype: 0x88F7 mask: 0x0", "VLAN: 0x5"),
            *("Filter: 4", "Raw IPv4", "Dest IP addr: 192.0.2.7 mask: 0.0.0.0"),
        ):
            assert part in now, now
        guest.sh(f"ethtool -N {simulated} delete 3; ethtool -N {simulated} delete 0")
        guest.machine.wait_until(lambda: shown(guest, simulated) == now, 40, "the repair")
        guest.drop("rules", match + rules.replace("queue 7", "queue 2"))
        guest.machine.wait_until(
            lambda: "queue 7" not in shown(guest, simulated), 40, "another queue"
        )
        guest.wait_state(simulated, "in-sync")
        seen = guest.sh("netunedctl status " + simulated)
        assert "tcp4 src 10.0.0.0/8 dport 443 to queue 2" in " ".join(seen.split())
    finally:
        guest.remove_profiles()
    guest.wait_state(simulated, "unmanaged")
    assert shown(guest, simulated) == before
    guest.sh(f"ethtool -N {simulated} delete 1")
