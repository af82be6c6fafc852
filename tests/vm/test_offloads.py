"""Features of cards with real drivers: what they have fixed, and what opens their rings anew."""

from __future__ import annotations

import pytest

from . import hardware
from .guest_host import FIRST, PROFILES, Guest

SAID = {
    FIRST: "tso: off, rxvlan: off, rx-udp-gro-forwarding: on, lro: on",
    hardware.VIRTIO: "gro: off, tx-udp-segmentation: off",
    hardware.VMXNET3: "lro: off, sg: off",
}
FOREIGN = {
    FIRST: "tso on rxvlan on",
    hardware.VIRTIO: "gro on tx-udp-segmentation on",
    hardware.VMXNET3: "lro on sg on",
}
LACKS = {FIRST: "rx-lro: the driver igb has it fixed off"}


@pytest.mark.parametrize("ifname", SAID)
def test_features_are_set_repaired_and_put_back(guest: Guest, ifname: str) -> None:
    def shown() -> str:
        return guest.sh(f"ethtool -k {ifname} | tail -n +2")

    guest.remove_profiles()
    guest.sh("netunedctl reload")
    before = shown()
    match = f"match: [{{name: {ifname}}}]\n"
    guest.drop("features", f"{match}offloads: {{{SAID[ifname]}}}\n")
    try:
        guest.wait_state(ifname, "partial" if ifname in LACKS else "in-sync")
        now = shown()
        assert now != before
        (setting,) = guest.card(ifname)["settings"]
        assert LACKS.get(ifname, "") in setting["reason"]
        guest.sh(f"ethtool -K {ifname} {FOREIGN[ifname]}")
        guest.machine.wait_until(lambda: shown() == now, 40, "the repair")
    finally:
        guest.sh(f"rm -f {PROFILES}/features.yaml")
    guest.wait_state(ifname, "unmanaged")
    assert shown() == before
