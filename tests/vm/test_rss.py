"""RSS tables and channels on every kernel: by what call they are set, and what a refusal says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import hardware, image
from .guest_host import FIRST, PROFILES, Guest

pytestmark = pytest.mark.every_kernel

TESTS = Path(__file__).resolve().parent.parent
PYTHON = f"{image.VENV}/bin/python"
TRACE = "/sys/kernel/tracing/instances/netuned-test"
BY_NETLINK, BY_IOCTL = "ethnl_rss_set", "ethtool_set_rxfh"
CALLED = {
    image.OLDEST: [BY_IOCTL, BY_IOCTL],
    image.CURRENT: [BY_IOCTL],
    image.NEWEST: [BY_NETLINK],
}
"""The kernel's functions (net/ethtool) that a table is set by; before 6.8 the first try is refused.

For a netlink command that a kernel does not know it calls none.
"""

TABLE_ONLY = f"match: [{{name: {FIRST}}}]\nrss: {{queues: all}}\n"


@pytest.fixture
def card(guest: Guest) -> Iterator[Guest]:
    """The first card with the kernel's own table and eight channels, and no profile."""
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    guest.sh(f"ethtool -X {FIRST} default")
    yield guest
    guest.remove_profiles()
    guest.sh("netunedctl reload")
    for ifname in (FIRST, hardware.VIRTIO):
        guest.sh(f"ethtool -X {ifname} default")
        if guest.combined(ifname) != 8:
            guest.sh(f"ethtool -L {ifname} combined 8")


def test_the_table_is_set_by_netlink_where_the_kernel_can(card: Guest) -> None:
    """Seen by the kernel itself: its function tracer, on the installed daemon."""
    card.sh(
        f"mkdir {TRACE}; cd {TRACE}; echo '{BY_NETLINK}' > set_ftrace_filter;"
        f"echo '{BY_IOCTL}*' >> set_ftrace_filter; echo function > current_tracer"
    )
    try:
        for spec, queues in (('{queues: "0-3"}', 4), ("default", 8)):
            card.sh(f"echo > {TRACE}/trace")
            card.drop("table", f"match: [{{name: {FIRST}}}]\nrss: {spec}\n")
            _wait_spread(card, queues)
            card.wait_state(FIRST, "in-sync")
            traced = card.sh(f"grep netuned {TRACE}/trace")
            called = [line.split()[-2].partition(".")[0] for line in traced.splitlines()]
            assert called == CALLED[card.machine.system], traced
    finally:
        card.sh(f"echo nop > {TRACE}/current_tracer; rmdir {TRACE}")


@pytest.mark.parametrize("ifname", [FIRST, hardware.VIRTIO])
def test_a_refused_change_is_shown_in_the_kernels_words(card: Guest, ifname: str) -> None:
    """A table that somebody set uses queues that would go, and no profile is about the table."""
    card.sh(f"ethtool -X {ifname} weight 1 1 1 1 1 1 1 1")
    card.drop("two", f"match: [{{name: {ifname}}}]\nchannels: {{combined: 2}}\n")
    card.wait_state(ifname, "partial")
    shown = " ".join(card.sh("netunedctl status").split())
    why = "8 combined -> 2 combined: set channels of ifindex"
    assert re.search(f"{ifname} channels for [^:]+: {why}", shown)
    reason = "requested channel counts are too low for existing indirection table"
    assert f'Invalid argument (EINVAL): "{reason}' in shown
    assert reason in card.card(ifname)["settings"][0]["reason"]
    assert reason in card.sh("journalctl -u netuned -o cat -n 20")
    assert card.combined(ifname) == 8
    card.sh(f"ethtool -X {ifname} default")
    card.wait_state(ifname, "in-sync", 90)
    assert card.combined(ifname) == 2


def test_what_is_refused_and_why(card: Guest) -> None:
    by_netlink = card.machine.system == image.NEWEST
    with_rss = {
        "queue": "entry 3: queue out of range (99)" if by_netlink else "",
        "size": "size (3) mismatch with device indir table (128)" if by_netlink else "",
    }
    lacking = {"queue": "unsupported", "size": "unsupported", "channels": "unsupported"}
    counted = {**with_rss, "channels": "requested channel count exceeds maximum"}
    assert _asked(card, REFUSED, *hardware.CARDS) == {
        **dict.fromkeys((*hardware.IGB, hardware.VIRTIO), counted),
        hardware.VMXNET3: {**with_rss, "channels": "unsupported"},
        hardware.E1000E: lacking,
    }


def test_a_yes_that_did_nothing_is_not_taken_for_the_deed(card: Guest) -> None:
    """As RSS_SET up to 7.0, of a table whose first quarter is right already."""
    assert _asked(card, SAID_YES, FIRST) == {"written": True, "default": True}


def test_a_table_like_the_kernels_own_stays_its_own(card: Guest) -> None:
    """A repaired one too: the kernel lets the operator have fewer channels, as it did before."""
    card.drop("table", TABLE_ONLY)
    card.wait_state(FIRST, "in-sync")
    card.sh(f"ethtool -X {FIRST} equal 2; netunedctl apply")
    assert len(set(card.table(FIRST))) == 8
    card.sh(f"rm {PROFILES}/table.yaml")
    card.wait_state(FIRST, "unmanaged")
    card.sh(f"ethtool -L {FIRST} combined 2")
    assert set(card.table(FIRST)) == {0, 1}


def test_a_table_found_before_the_card_was_up_is_the_drivers(card: Guest) -> None:
    """igb fills it when the card first comes up; until then it reads as queue 0 alone."""
    slot = card.sh(f"basename $(readlink -f /sys/class/net/{FIRST}/device)")
    card.sh(f"echo {slot} > /sys/bus/pci/drivers/igb/unbind")
    card.machine.wait_until(lambda: not card.card(FIRST), 30, "that the card left")
    card.drop("table", TABLE_ONLY)
    card.sh(f"echo {slot} > /sys/bus/pci/drivers/igb/bind")
    card.machine.wait_until(
        lambda: bool(card.card(FIRST)) and card.card(FIRST)["state"] == "in-sync", 40, "it in force"
    )
    assert len(set(card.table(FIRST))) == 8
    card.sh(f"ip link set {FIRST} up")
    card.sh(f"rm {PROFILES}/table.yaml")
    card.wait_state(FIRST, "unmanaged")
    assert len(set(card.table(FIRST))) == 8
    card.sh(f"ethtool -L {FIRST} combined 2; ethtool -L {FIRST} combined 8")


def test_every_fault_around_a_table_is_survived(card: Guest) -> None:
    for path in (
        *(TESTS / "__init__.py", TESTS / "netns/__init__.py", TESTS / "netns/lab.py"),
        *(TESTS / "netns/forked.py",),
        *(TESTS / "netns/listener.py", TESTS / "vm/rss_faults.py"),
        *(TESTS / "netns/faults").glob("*.py"),
    ):
        card.machine.put(f"/root/faults/tests/{path.relative_to(TESTS)}", path.read_text())
    card.machine.put("/root/faults/tests/vm/__init__.py", "")
    stride = 2 if card.machine.system == image.NEWEST else 11  # by netlink; again by the ioctl
    command = f"cd /root/faults; {PYTHON} -B -m tests.vm.rss_faults {FIRST} {stride}"
    figures = json.loads(card.sh(command, 600))
    print(figures)
    assert figures["failed"] == []
    assert figures["faults"] >= 70 // stride


def _wait_spread(guest: Guest, queues: int) -> None:
    what = f"a table over {queues} queues"
    guest.machine.wait_until(lambda: len(set(guest.table(FIRST))) == queues, 40, what)


def _asked(guest: Guest, script: str, *arguments: str) -> Any:
    guest.machine.put("/root/asked.py", ASK + script)
    return json.loads(guest.sh(f"{PYTHON} /root/asked.py {' '.join(arguments)}"))


ASK = """
import json, sys
from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import Kernel
kernel = Kernel()
def index(ifname):
    return kernel.files.read_int(f"/sys/class/net/{ifname}/ifindex", 0)
"""

REFUSED = """
def refusal(change):
    try:
        change()
    except UnsupportedError:
        return "unsupported"
    except KernelError as error:
        assert "EINVAL" in str(error), error
        return error.extack
    return "done"
print(json.dumps({
    ifname: {
        "queue": refusal(lambda: setter.set_rss_table(index(ifname), (0, 1, 2, 99) * 32)),
        "size": refusal(lambda: setter.set_rss_table(index(ifname), (0, 1, 2))),
        "channels": refusal(lambda: setter.set_channels(index(ifname), combined=99)),
    }
    for setter in [kernel.ethtool_netlink] for ifname in sys.argv[1:]
}))
"""

SAID_YES = """
kernel.ethtool_netlink._ask = lambda *_: []
card, rss = index(sys.argv[1]), kernel.ethtool.rss_table
wanted = (0, 1, 2, 3) * 31 + (3, 2, 1, 0)
kernel.ethtool_netlink.set_rss_table(card, wanted)
written = rss(card) == wanted
kernel.ethtool_netlink.set_rss_table(card, ())
print(json.dumps({"written": written, "default": rss(card) == tuple(range(8)) * 16}))
"""
