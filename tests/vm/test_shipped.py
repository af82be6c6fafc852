"""The profiles that come along, each in force on a card that QEMU has, and what it lacks there.

Each is enabled as README says, by a file of a few lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from netuned.tunables.napi import NO_THREAD

from . import hardware
from .guest_host import FIRST, Guest
from .machine import CommandError

PROFILES = Path(__file__).parents[2] / "profiles"

LINK = f"ip -d link show {FIRST}"
QUEUES = f"/sys/class/net/{FIRST}/queues"


@dataclass(frozen=True)
class Shipped:
    """What the kernel shows of one in force, and by setting what its cards do not have."""

    shows: tuple[str, ...]
    lacks: dict[str, str] = field(default_factory=dict)
    more: str = ""
    cards: tuple[str, ...] = (FIRST,)


SHIPPED = {
    "base": Shipped((f'[ "$(sort -u {QUEUES}/tx-*/xps_cpus | wc -l)" = 8 ]',)),
    "throughput": Shipped(
        (
            f"ethtool -g {FIRST} | tail -n +7 | grep -x 'RX:[[:space:]]*2048'",
            f"tc qdisc show dev {FIRST} | grep 'fq .*flow_limit 1000p'",
            "sysctl net.ipv4.tcp_rmem | grep 33554432",
        )
    ),
    "low-latency": Shipped(
        (
            f"ethtool -c {FIRST} | grep -x 'rx-usecs:[[:space:]]*0'",
            f"tc qdisc show dev {FIRST} | grep 'fq_codel .*ecn'",
        )
    ),
    "af-xdp": Shipped((f"! ethtool -x {FIRST} | grep -wE '^ .*: .*[4-7]'",)),
    # this machine's L3 caches are of two cores: beside the application's one is left, and XPS needs
    # two queues
    "bulk-100g": Shipped(
        (
            f"{LINK} | grep -w 'gro_max_size 185000'",
            f"grep -x 0*2 {QUEUES}/tx-1/xps_rxqs",
            "sysctl net.core.rmem_max | grep 134217728",
        ),
        more='cpus: {app: "6", near: "4-5"}\n',
    ),
    "forwarding": Shipped(
        (
            f"ethtool -n {FIRST} rx-flow-hash udp4 | grep 'L4 bytes 2 & 3'",
            "sysctl net.core.netdev_budget | grep 600",
            "sysctl net.core.netdev_max_backlog | grep 8192",
        )
    ),
    # igb with few channels has a NAPI instance for each ring, and does not tell which is whose
    "realtime": Shipped(
        (
            f'[ "$(cat /sys/class/net/{FIRST}/threaded)" = 1 ]',
            f"{LINK} | grep -w 'gso_max_size 8192'",
            f'[ "$(cat {QUEUES}/tx-0/byte_queue_limits/limit_max)" = 16384 ]',
            f"tc qdisc show dev {FIRST} | grep pfifo_fast",
        ),
        {"napi": f"2 of 3 cannot be set: rx-0 threads, rx-1 threads: {NO_THREAD}"},
    ),
    "zero-copy": Shipped(
        (
            f"! ethtool -x {FIRST} | grep -w '^ .*: .*7'",
            "sysctl net.core.optmem_max vm.max_map_count | grep -c 1048576 | grep 2",
        ),
        {
            "rings": "1 of 2 cannot be set: tcp-data-split: the driver igb does not have it",
            "offloads": "2 of 3 cannot be set: rx-ntuple-filter, rx-gro-hw: the driver igb has it"
            " fixed off",
            "napi": "1 of 1 cannot be set: queues: this kernel cannot set it of single NAPI"
            " instances; Linux 6.13 can, threads 6.17",
        },
    ),
    "virtual-machine": Shipped(
        (f"ethtool -l {hardware.VIRTIO} | tail -1 | grep -w 8",), cards=(FIRST, hardware.VIRTIO)
    ),
    "isolated-guest": Shipped(
        ("sysctl vm.stat_interval | grep -w 10",), cards=(FIRST, hardware.VIRTIO)
    ),
}
TOUCHED = "; ".join(
    (
        "sysctl net.core net.ipv4.tcp_rmem net.ipv4.tcp_wmem vm.max_map_count vm.stat_interval",
        *(
            f"ethtool -{what} {ifname}; true"
            for ifname in (FIRST, hardware.VIRTIO)
            for what in "cgklx"
        ),
        f"{LINK} | grep -o 'g.o_max_size [0-9]*'; tc -j qdisc show dev {FIRST}",
        f"grep -H . {QUEUES}/*/xps_* {QUEUES}/*/byte_queue_limits/limit_max",
    )
)


@pytest.fixture(scope="module", autouse=True)
def put_back(guest: Guest) -> Iterator[None]:
    """All that they set is as it was once the last one has gone."""
    # an even table of somebody's is put back as the driver makes one, which igb does in blocks
    guest.sh(f"ethtool -X {hardware.VIRTIO} default; ethtool -X {FIRST} default")
    guest.sh(f"ethtool -L {FIRST} combined 2; ethtool -L {FIRST} combined 8")
    before = guest.sh(TOUCHED)
    yield
    guest.remove_profiles()
    for ifname in (FIRST, hardware.VIRTIO):
        guest.wait_state(ifname, "unmanaged")
    with suppress(CommandError):
        guest.machine.wait_until(lambda: guest.sh(TOUCHED) == before, 30, "all as it was")
    assert guest.sh(TOUCHED).splitlines() == before.splitlines()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_comes_into_force(guest: Guest, name: str) -> None:
    profile = SHIPPED[name]
    match = f"{{name: [{', '.join(profile.cards)}]}}"
    guest.drop("mine", f"name: my-{name}\nextends: [{name}]\nmatch: {match}\n{profile.more}")
    state = "partial" if profile.lacks else "in-sync"
    wanted = dict.fromkeys(profile.cards, (state, profile.lacks))
    with suppress(CommandError):
        guest.machine.wait_until(lambda: found(guest, f"my-{name}") == wanted, 60, "it in force")
    assert found(guest, f"my-{name}") == wanted
    for shown in profile.shows:
        guest.wait(shown, shown)
    # irqbalance moves interrupts until its next round asks the policy script; each is put back
    with suppress(CommandError):
        guest.machine.wait_until(
            lambda: left_to_do(plan(guest)) == NOTHING, 60, "nothing left to do"
        )
    planned = plan(guest)
    assert left_to_do(planned) == NOTHING
    assert {lack["tunable"]: lack["why"] for lack in planned["unsupported"]} == profile.lacks


NOTHING: list[list[Any]] = [[], [], []]


def plan(guest: Guest) -> dict[str, Any]:
    planned: dict[str, Any] = json.loads(guest.sh("netunedctl plan --json"))
    return planned


def left_to_do(planned: dict[str, Any]) -> list[list[Any]]:
    return [planned[what] for what in ("changes", "withheld", "problems")]


def found(guest: Guest, profile: str) -> dict[str, tuple[str, dict[str, str]]]:
    """State of each card that has this profile, and why which of its settings is not in sync."""
    return {
        card["name"]: (
            card["state"],
            {s["tunable"]: s["reason"] for s in card["settings"] if s["state"] != "in-sync"},
        )
        for card in guest.nics()
        if card["profile"] == profile
    }


def test_every_shipped_profile_is_among_them() -> None:
    assert SHIPPED.keys() == {path.stem for path in PROFILES.glob("*.yaml")}
