"""How cards with real drivers hash: set, repaired and put back, on every kernel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from . import hardware
from .guest_host import FIRST, Guest

pytestmark = pytest.mark.every_kernel

KEY = ":".join(f"{byte:02x}" for byte in range(1, 41))
UDP = "fields: {udp4: [src, dst, sport, dport]}"
SAID = {
    FIRST: f"{UDP[:-1]}, esp4: [src]}}, function: toeplitz, symmetric: off",
    hardware.VIRTIO: f"key: '{KEY}', fields: {{udp4: [src, dst], tcp4: [dst, src]}}",
    hardware.VMXNET3: UDP,
}
FOREIGN = {
    FIRST: "-N {} rx-flow-hash udp4 sd",
    hardware.VIRTIO: "-X {} hkey " + ":".join(["6d"] * 40),
    hardware.VMXNET3: "-N {} rx-flow-hash udp4 sd",
}


def shown(guest: Guest, ifname: str) -> str:
    flows = "tcp4 udp4 tcp6 udp6 esp4"
    return guest.sh(
        f"ethtool -x {ifname} 2>&1 | sed -n '/hash key/,$p'; for of in {flows}; do "
        f"ethtool -n {ifname} rx-flow-hash $of 2>&1; done"
    )


def setting(guest: Guest, ifname: str) -> dict[str, Any]:
    (found,) = [s for s in guest.card(ifname).get("settings", []) if s["tunable"] == "hashing"]
    return dict(found)


@pytest.mark.parametrize("ifname", SAID)
def test_in_force_repaired_and_put_back(guest: Guest, ifname: str) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    before = shown(guest, ifname)
    print(ifname, before)
    guest.drop("hash", f"match: [{{name: {ifname}}}]\nrss: {{queues: keep, {SAID[ifname]}}}\n")
    try:
        guest.machine.wait_until(
            lambda: guest.states().get(ifname) in ("in-sync", "partial"), 60, "in force"
        )
        now = shown(guest, ifname)
        print(now, json.dumps(setting(guest, ifname), indent=1))
        print(guest.sh("netunedctl status " + ifname))
        assert now != before
        guest.sh("ethtool " + FOREIGN[ifname].format(ifname))
        guest.machine.wait_until(lambda: shown(guest, ifname) == now, 40, "the repair")
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
    assert shown(guest, ifname) == before
