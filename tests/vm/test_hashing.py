"""How cards with real drivers hash: set, repaired and put back, on every kernel."""

from __future__ import annotations

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
}
FOREIGN = {
    FIRST: "-N {} rx-flow-hash udp4 sd",
    hardware.VIRTIO: "-X {} hkey " + ":".join(["6d"] * 40),
}


LACKS = {FIRST: "1 of 4 cannot be set: fields esp4: "}


def shown(guest: Guest, ifname: str) -> str:
    return guest.sh(
        f"ethtool -x {ifname} | sed -n '/hash key/,$p'; for of in tcp4 udp4 tcp6 udp6 esp4; do "
        f"ethtool -n {ifname} rx-flow-hash $of 2>&1; done; true"
    )


def hashing(guest: Guest, ifname: str) -> dict[str, Any]:
    settings = guest.card(ifname).get("settings", [])
    return next((dict(found) for found in settings if found["tunable"] == "hashing"), {})


@pytest.mark.parametrize("ifname", SAID)
def test_in_force_repaired_and_put_back(guest: Guest, ifname: str) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    before = shown(guest, ifname)
    said = f"match: [{{name: {ifname}}}]\nrss: {{queues: keep, {SAID[ifname]}}}\n"
    guest.drop("hash", said)
    try:
        guest.wait_state(ifname, "partial" if ifname in LACKS else "in-sync")
        now = shown(guest, ifname)
        assert now != before
        assert LACKS.get(ifname, "") in hashing(guest, ifname)["reason"]
        guest.sh("ethtool " + FOREIGN[ifname].format(ifname))
        guest.machine.wait_until(lambda: shown(guest, ifname) == now, 40, "the repair")
        told = guest.sh("netunedctl status --json; netunedctl plan; journalctl -u netuned -o json")
        assert not [form for form in (KEY[:29], KEY[:29].replace(":", "")) if form in told]
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
    assert shown(guest, ifname) == before


def test_a_card_that_tells_its_function_alone_takes_nothing(guest: Guest) -> None:
    ifname = hardware.VMXNET3
    guest.remove_profiles()
    before = shown(guest, ifname)
    said = f"function: xor, symmetric: xor, key: '{KEY}', {UDP}"
    guest.drop("hash", f"match: [{{name: {ifname}}}]\nrss: {{queues: keep, {said}}}\n")
    try:
        guest.machine.wait_until(
            lambda: hashing(guest, ifname).get("state") == "unsupported", 40, "unsupported"
        )
        assert "4 of 4 cannot be set" in hashing(guest, ifname)["reason"]
        assert shown(guest, ifname) == before
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
