"""NAPI of a card with a real driver: what each kernel has of it, and what the unit allows."""

from __future__ import annotations

import pytest

from netuned.tunables.napi import ALLOW

from .guest_host import FIRST, PROFILES, Guest

pytestmark = pytest.mark.every_kernel

FILES = ("napi_defer_hard_irqs", "gro_flush_timeout", "threaded")
DROP_IN = "/etc/systemd/system/netuned.service.d/napi-threads.conf"
SAID = "threaded: on, threads: 1, defer-hard-irqs: 2, gro-flush-timeout: 20us"


def shown(guest: Guest) -> list[str]:
    return guest.sh(f"cd /sys/class/net/{FIRST}; cat {' '.join(FILES)}").split()


def cpus_of_threads(guest: Guest) -> set[str]:
    pids = f"$(pgrep 'napi/{FIRST}-')"
    return set(guest.sh(f"for p in {pids}; do taskset -cp $p | sed 's/.*: //'; done").split())


def reason(guest: Guest) -> str:
    return " ".join(setting["reason"] for setting in guest.card(FIRST)["settings"])


def test_a_card_polls_as_said_as_far_as_kernel_and_unit_allow(guest: Guest) -> None:
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    before = shown(guest)
    kernel = tuple(map(int, guest.sh("uname -r").split("-")[0].split(".")[:2]))
    guest.drop("napi", f"match: [{{name: {FIRST}}}]\nnapi: {{{SAID}}}\n")
    try:
        guest.wait_state(FIRST, "partial")
        assert shown(guest) == ["2", "20000", "1"]
        guest.sh(f"echo 0 >/sys/class/net/{FIRST}/napi_defer_hard_irqs")
        guest.machine.wait_until(lambda: shown(guest)[0] == "2", 40, "the repair")
        if kernel < (6, 8):
            assert "this kernel does not tell which threads they are" in reason(guest)
        else:
            assert ALLOW in reason(guest)
            guest.sh(ALLOW.partition("allow it: ")[2])
            guest.wait_state(FIRST, "in-sync")
            assert cpus_of_threads(guest) == {"1"}
        guest.drop(
            "napi", f"match: [{{name: {FIRST}}}]\nnapi: {{queues: {{0: {{defer-hard-irqs: 7}}}}}}\n"
        )
        if kernel >= (6, 13):
            guest.wait_state(FIRST, "in-sync")
        else:
            single = "single NAPI instances"
            guest.machine.wait_until(lambda: single in reason(guest), 40, "the new reason")
    finally:
        guest.sh(f"rm -f {PROFILES}/napi.yaml")
    guest.wait_state(FIRST, "unmanaged")
    assert shown(guest) == before
    guest.sh(f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl restart netuned")
