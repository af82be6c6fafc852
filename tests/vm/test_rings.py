"""Rings and coalescing on real card models, and on a simulated card what those do not have.

What drivers make of a value differs, and so does what they refuse; the tables below say what was
measured. irqbalance stands still meanwhile, for where interrupts are is compared, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from . import hardware
from .guest_host import FIRST, Guest, parse_interrupts, show_interrupts

SIMULATED = "simulated"
"""The card of the fixture of that name, whose name is known once it is there."""
BY_EVENT_S = 8
"""How soon a foreign change is repaired that the kernel tells of; a resync may be 33 s away."""


@dataclass(frozen=True)
class Case:
    """A profile's settings for a card, what ethtool then shows, and what somebody else sets."""

    card: str
    settings: str
    shown: dict[str, int | bool]
    foreign: tuple[str, ...]


CASES = (
    Case(
        FIRST,
        "rings: {rx: max, tx: 512}\ncoalesce: {rx-usecs: 50}\n",
        {"rx": 4096, "tx": 512, "rx-usecs": 50},
        ("-G {} rx 500", "-C {} rx-usecs 20"),
    ),
    Case(
        hardware.E1000E,
        "rings: {rx: max, tx: 512}\ncoalesce: {rx-usecs: 50}\n",
        {"rx": 4096, "tx": 512, "rx-usecs": 50},
        ("-G {} tx 128", "-C {} rx-usecs 0"),
    ),
    # has its maximum from the start, and takes powers of two alone
    Case(
        hardware.VIRTIO,
        "rings: {rx: 128, tx: 64}\ncoalesce: {adaptive-rx: off}\n",
        {"rx": 128, "tx": 64, "adaptive-rx": False},
        ("-G {} rx 256 tx 256",),
    ),
    # resets its RSS table with each resize, of which no event tells
    Case(
        hardware.VMXNET3,
        'rings: {rx: 2048, rx-jumbo: 256, tx: 1024}\nrss: {queues: "0-3"}\n',
        {"rx": 2048, "rx-jumbo": 256, "tx": 1024},
        ("-G {} rx 512", "-G {} rx-jumbo 1024"),
    ),
    Case(
        SIMULATED,
        "rings: {rx: max, rx-mini: 7, tx: 333}\n"
        "coalesce: {adaptive-rx: on, rx-usecs: 50, tx-frames: 9}\n",
        {"rx": 4096, "rx-mini": 7, "tx": 333, "adaptive-rx": True, "rx-usecs": 50, "tx-frames": 9},
        ("-G {} rx 64", "-C {} adaptive-rx off tx-frames 3"),
    ),
)


@pytest.fixture(scope="module", autouse=True)
def still(guest: Guest) -> Iterator[None]:
    """No interrupt moves but by what is tested."""
    guest.sh("systemctl stop irqbalance")
    yield
    guest.sh("systemctl start irqbalance")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.card)
def test_in_force_repaired_by_its_event_and_put_back(
    guest: Guest, simulated: str, case: Case
) -> None:
    ifname = simulated if case.card == SIMULATED else case.card
    before = _seen(guest, ifname)
    guest.drop("rings", f"match: [{{name: {ifname}}}]\n{case.settings}")
    try:
        _wait_shown(guest, ifname, case.shown, 30)
        guest.wait_state(ifname, "in-sync")
        assert {s["state"] for s in guest.card(ifname)["settings"]} == {"in-sync"}
        in_force = _seen(guest, ifname)
        for change in case.foreign:
            cursor = guest.cursor()
            guest.sh(f"ethtool {change.format(ifname)}")
            _wait_shown(guest, ifname, case.shown, BY_EVENT_S)
            guest.machine.wait_until(
                lambda: _seen(guest, ifname) == in_force, BY_EVENT_S, "what a resize takes along"
            )
            tunable = "rings" if change.startswith("-G") else "coalesce"
            assert f"Repaired {ifname} {tunable}" in guest.logged_since(cursor)
        before_writes = guest.writes()
        guest.sh("netunedctl apply")
        assert guest.writes() == before_writes
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
    assert _seen(guest, ifname) == before


def test_deny_withholds_a_resize_and_nothing_else(guest: Guest) -> None:
    before = _seen(guest, FIRST)
    (settings,) = (case.settings for case in CASES if case.card == FIRST)
    policy = "policy: {disruptive: deny}\n"
    guest.drop("rings", f"match: [{{name: {FIRST}}}]\n{settings}{policy}")
    try:
        guest.wait_state(FIRST, "partial")
        states = {s["tunable"]: s["state"] for s in guest.card(FIRST)["settings"]}
        assert states == {"rings": "withheld", "coalesce": "in-sync"}
        assert _seen(guest, FIRST)["-g"] == before["-g"]
        assert _shown(guest, FIRST)["rx-usecs"] == 50
        assert guest.sh("netunedctl status --exit-code >/dev/null; echo $?") == "3"
    finally:
        guest.remove_profiles()
    guest.wait_state(FIRST, "unmanaged")
    assert _seen(guest, FIRST) == before


@pytest.mark.parametrize(
    ("ifname", "settings", "tunable", "key", "rest"),
    [
        # refused by name: the attribute that the kernel points at
        (FIRST, "coalesce: {rx-usecs: 50, adaptive-rx: on}", "coalesce", "adaptive-rx", 50),
        (hardware.E1000E, "coalesce: {tx-usecs: 9, rx-usecs: 50}", "coalesce", "tx-usecs", 50),
        (FIRST, "coalesce: {rx-usecs: 50}\nrings: {rx-push: on}", "rings", "rx-push", 50),
        (FIRST, "coalesce: {rx-usecs: 50}\nrings: {rx-mini: 9}", "rings", "rx-mini", 50),
        # shown, but what the driver cannot set: it refuses without saying what
        (hardware.VIRTIO, "coalesce: {rx-usecs: 50}", "coalesce", "rx-usecs", 0),
        # not even shown
        (hardware.VMXNET3, "coalesce: {rx-usecs: 50}", "coalesce", "", None),
    ],
    ids=["igb-adaptive", "e1000e-tx", "igb-push", "igb-mini", "virtio", "vmxnet3"],
)
def test_what_a_card_does_not_have_is_named_and_the_rest_is_set(
    guest: Guest, ifname: str, settings: str, tunable: str, key: str, rest: int | None
) -> None:
    before = _seen(guest, ifname)
    guest.drop("rings", f"match: [{{name: {ifname}}}]\n{settings}\n")
    try:
        setting = guest.machine.wait_until(
            lambda: _setting(guest, ifname, tunable, "unsupported"), 30, "unsupported"
        )
        assert key in setting["reason"]
        assert _shown(guest, ifname).get("rx-usecs") == rest
        assert "Traceback" not in guest.sh("journalctl -u netuned -o cat -n 50")
    finally:
        guest.remove_profiles()
    guest.wait_state(ifname, "unmanaged")
    assert _seen(guest, ifname) == before


def test_a_dropped_key_goes_back_and_the_others_stay(guest: Guest, simulated: str) -> None:
    (case,) = (case for case in CASES if case.card == SIMULATED)
    match = f"match: [{{name: {simulated}}}]\n"
    before = _seen(guest, simulated)
    was = _shown(guest, simulated)
    guest.drop("rings", match + case.settings)
    try:
        _wait_shown(guest, simulated, case.shown, 30)
        guest.drop("rings", match + case.settings.replace("rx-usecs: 50, ", ""))
        without = case.shown | {"rx-usecs": was["rx-usecs"]}
        _wait_shown(guest, simulated, without, 30)
        guest.drop("rings", match + case.settings.replace("rx-mini: 7, ", ""))
        without = case.shown | {"rx-mini": was["rx-mini"]}
        _wait_shown(guest, simulated, without, 30)
        guest.wait_state(simulated, "in-sync")
    finally:
        guest.remove_profiles()
    guest.wait_state(simulated, "unmanaged")
    assert _seen(guest, simulated) == before


@pytest.mark.newest_kernel
def test_header_data_split_and_its_threshold(guest: Guest, simulated: str) -> None:
    """Of the lab's kernels the newest has them, and its distribution's ethtool not both."""
    guest.machine.put(RINGS_SCRIPT, RINGS)
    before = _asked(guest, simulated)
    assert before["tcp-data-split"] == 2
    split = "rings: {rx: 1024, tcp-data-split: off, hds-thresh: 9}\n"
    guest.drop("rings", f"match: [{{name: {simulated}}}]\n{split}")
    in_force = before | {"rx": 1024, "tcp-data-split": 1, "hds-thresh": 9}
    try:
        _wait_asked(guest, simulated, in_force, 30)
        guest.wait_state(simulated, "in-sync")
        for foreign in ("hds-thresh=1", "tcp-data-split=2"):
            _asked(guest, simulated, foreign)
            _wait_asked(guest, simulated, in_force, BY_EVENT_S)
        # more than the driver's most: the kernel points at it, and the rest is set
        split = split.replace("rx: 1024", "rx: 2048").replace("thresh: 9", "thresh: 2000")
        guest.drop("rings", f"match: [{{name: {simulated}}}]\n{split}")
        setting = guest.machine.wait_until(
            lambda: _setting(guest, simulated, "rings", "unsupported"), 30, "unsupported"
        )
        assert "hds-thresh" in setting["reason"]
        shown = _asked(guest, simulated)
        assert (shown["rx"], shown["tcp-data-split"]) == (2048, 1)
    finally:
        guest.remove_profiles()
    guest.wait_state(simulated, "unmanaged")
    assert _asked(guest, simulated) == before


def _seen(guest: Guest, ifname: str) -> dict[str, str]:
    """What ethtool, tc and the kernel's files show of all that a resize may take along."""
    script = f"""
        device=$(readlink -f /sys/class/net/{ifname}/device)
        for of in g c l k x; do echo "@@-$of"; ethtool -$of {ifname} 2>&1; done
        echo @@qdiscs; tc qdisc show dev {ifname}
        echo @@masks; grep -H . /sys/class/net/{ifname}/queues/*/[rx]ps_cpus
        echo @@irq; {show_interrupts(f"({ifname}|${{device##*/}})(-.*)?")}"""
    parts = (part.partition("\n") for part in guest.sh(script).split("@@")[1:])
    seen = {name: text for name, _, text in parts}
    return seen | {"irq": str(sorted(parse_interrupts(seen["irq"])))}


def _shown(guest: Guest, ifname: str) -> dict[str, Any]:
    """Rings and coalescing by ethtool's names; none where the card has none."""
    shown: dict[str, Any] = {}
    for of in ("-c", "-g"):
        # of a card that has none: an empty list
        for found in json.loads(
            guest.machine.run(f"ethtool --json {of} {ifname}", check=False).stdout
        ):
            shown |= found
    return shown


def _wait_shown(guest: Guest, ifname: str, wanted: dict[str, int | bool], within_s: float) -> None:
    guest.machine.wait_until(
        lambda: wanted.items() <= _shown(guest, ifname).items(), within_s, f"{ifname}: {wanted}"
    )


def _setting(guest: Guest, ifname: str, tunable: str, state: str) -> dict[str, Any]:
    """A setting as ``netunedctl status`` has it, if it is in that state; else nothing."""
    settings: list[dict[str, Any]] = guest.card(ifname).get("settings", [])
    return next((s for s in settings if (s["tunable"], s["state"]) == (tunable, state)), {})


def _asked(guest: Guest, ifname: str, *changes: str) -> dict[str, int]:
    """Rings as netlink has them, after changes such as ``hds-thresh=10``."""
    shown: dict[str, int] = json.loads(
        guest.sh(f"python3 {RINGS_SCRIPT} {ifname} {' '.join(changes)}")
    )
    return shown


def _wait_asked(guest: Guest, ifname: str, wanted: dict[str, int], within_s: float) -> None:
    guest.machine.wait_until(
        lambda: _asked(guest, ifname) == wanted, within_s, f"{ifname}: {wanted}"
    )


RINGS_SCRIPT = "/root/rings.py"
RINGS = """
import json, socket, struct, sys
KEYS = {"rx": (6, 4), "tx": (9, 4), "tcp-data-split": (11, 1), "hds-thresh": (17, 4)}
def attribute(number, data):
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
def attributes(data):
    found = {}
    while data:
        length, number = struct.unpack_from("=HH", data)
        found[number & 0x3fff] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)  # NETLINK_GENERIC
def ask(family, command, body):
    head = struct.pack("=IHHII", 20 + len(body), family, 5, 1, 0)
    kernel.send(head + struct.pack("=BBH", command, 1, 0) + body)
    answer = b""
    while True:
        reply = kernel.recv(65536)
        if reply[4:6] == b"\\2\\0":
            error = struct.unpack_from("=i", reply, 16)[0]
            return attributes(answer) if error == 0 else sys.exit(f"errno {-error}")
        answer = reply[20:]
family = int.from_bytes(ask(16, 3, attribute(2, b"ethtool\\0"))[1], sys.byteorder)
with open(f"/sys/class/net/{sys.argv[1]}/ifindex") as file:
    card = attribute(0x8001, attribute(1, struct.pack("=I", int(file.read()))))
for change in sys.argv[2:]:
    key, _, value = change.partition("=")
    number, size = KEYS[key]
    ask(family, 16, card + attribute(number, int(value).to_bytes(size, sys.byteorder)))
found = ask(family, 15, card)
print(json.dumps({key: int.from_bytes(found[number], sys.byteorder)
                  for key, (number, _) in KEYS.items() if number in found}))
"""
