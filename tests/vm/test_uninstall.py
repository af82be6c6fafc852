"""units/uninstall on cards that are tuned: all is as before netuned, and netuned is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .guest_host import FIRST, IGB, PROFILES, SECOND, Guest

UNITS = Path(__file__).parents[2] / "units"
HAD = (
    "usr/lib/netuned usr/sbin/netuned usr/bin/netunedctl usr/lib/systemd/system/netuned.service "
    "usr/lib/systemd/system/irqbalance.service.d usr/share/dbus-1/system.d/org.netuned1.conf "
    "usr/share/polkit-1/actions/org.netuned1.policy etc/apparmor.d/netuned"
)


@pytest.fixture
def removable(guest: Guest) -> Iterator[Guest]:
    """A guest that has netuned again afterwards, whatever became of it."""
    for name in ("uninstall", "put-back"):
        guest.machine.put(f"/root/{name}", (UNITS / name).read_bytes(), mode=0o755)
    guest.sh(f"tar -C / -cf /root/netuned.tar {HAD}", 120)
    for ifname in (FIRST, SECOND):  # what tests before this one set is put back
        guest.wait_state(ifname, "unmanaged")
    yield guest
    guest.remove_profiles()
    guest.sh("tar -C / -xf /root/netuned.tar && systemctl daemon-reload", 120)
    guest.sh("apparmor_parser -r /etc/apparmor.d/netuned", 120)
    guest.sh("systemctl reload dbus; systemctl enable netuned; systemctl restart netuned", 120)
    guest.sh("rm /root/netuned.tar /root/uninstall /root/put-back")


def found(guest: Guest) -> list[dict[str, Any]]:
    """The cards' state; interrupts aside, which irqbalance moves."""
    states = (guest.state(ifname) for ifname in (FIRST, SECOND))
    return [{name: part for name, part in state.items() if name != "irq"} for state in states]


@pytest.mark.parametrize("running", [True, False])
def test_uninstall_restores_before_it_removes(removable: Guest, running: bool) -> None:
    guest = removable
    before = found(guest)
    guest.drop("igb", IGB.replace("combined: max", "combined: 4"))
    for ifname in (FIRST, SECOND):
        guest.wait_state(ifname, "in-sync")
    assert all(now != was for now, was in zip(found(guest), before, strict=True))
    if not running:
        guest.sh("systemctl stop netuned")
    said = guest.sh("/root/uninstall ''", 300)
    assert "Put back:" in said
    assert all(name in said for name in (FIRST, SECOND, "channels", "qdisc", "irqbalance"))
    assert found(guest) == before
    assert guest.sh(f"cd /; ls -d {HAD.replace('/irqbalance.service.d', '/nothing')} || true") == ""
    assert guest.sh("systemctl is-active netuned || true") == "inactive"
    assert "netuned" not in guest.sh("cat /sys/kernel/security/apparmor/profiles")
    guest.wait("irqbalance's own", "! grep -q policyscript /proc/$(pidof irqbalance)/cmdline")
    assert guest.sh(f"ls {PROFILES}") == "igb.yaml"
    assert "is not installed" in guest.sh("/root/uninstall ''")
