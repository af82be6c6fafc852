"""Sizes of merged packets and the length of a queue, on a real kernel: of veths, bridges, macvlans.

No event tells of a size, so what others set of it is polled for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from subprocess import PIPE
from typing import Any, Self

import pytest

from netuned.status import POLLED
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "lan0"
USUAL = {
    "txqueuelen": 1000,
    "gso-max-segs": 65535,
    **dict.fromkeys(("gso-max-size", "gso-ipv4-max-size"), 65536),
    **dict.fromkeys(("gro-max-size", "gro-ipv4-max-size"), 65536),
}
ASKED = """
import json, socket, sys
from netuned.kernel import Kernel
from netuned.kernel.questions import LINK_NUMBERS
kernel = Kernel()
for line in sys.stdin:
    name, given = json.loads(line)
    ifindex = socket.if_nametoindex(name)
    kernel.set(LINK_NUMBERS, ifindex, given)
    found = kernel.get(LINK_NUMBERS, ifindex)
    print(json.dumps({n: v for n, v in found.items() if not n.endswith("-max")}), flush=True)
"""
"""ip(8) of Debian 12 does not know the sizes for IPv4."""


class LinkLab(Lab):
    """A lab in which somebody else can be asked for the numbers of links, and to set them."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.add_pair(CARD, "peer0", queues=1)
        command = self.command(sys.executable, "-c", ASKED)
        self.other = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.other.communicate()
        super().__exit__(*error)


@pytest.fixture
def lab() -> Iterator[LinkLab]:
    with LinkLab() as made:
        yield made


def numbers(lab: LinkLab, card: str = CARD, **given: int) -> dict[str, int]:
    """What the kernel has, after somebody else set what is ``given``."""
    assert lab.other.stdin
    assert lab.other.stdout
    values = {name.replace("_", "-"): value for name, value in given.items()}
    print(json.dumps((card, values)), file=lab.other.stdin, flush=True)
    found: dict[str, int] = json.loads(lab.other.stdout.readline())
    return found


def drop(lab: LinkLab, said: str, name: str = "edge", more: str = "") -> Any:
    match = f"match: [{{kind: veth, name: {CARD}}}]\n"
    return lab.profile(name, f"{match}link: {{{said}}}\n{more}")


def setting(lab: LinkLab, card: str = CARD) -> dict[str, Any]:
    (found,) = [s for s in lab.card(card)["settings"] if s["tunable"] == "link"]
    return dict(found)


def test_sizes_are_set_repaired_and_put_back_one_by_one(lab: LinkLab) -> None:
    path = drop(lab, "gso-max-size: 192K, gro-max-size: 192K, gro-ipv4-max-size: 80K")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    big = {"gso-max-size": 196608, "gro-max-size": 196608, "gro-ipv4-max-size": 81920}
    assert numbers(lab) == USUAL | big
    writes = lab.status()["manager"]["writes"]
    numbers(lab, gro_max_size=65536)  # the kernel sets its twin for IPv4, too
    lab.wait(lambda: numbers(lab) == USUAL | big, "the repair")
    lab.wait_state(CARD, "in-sync")
    assert lab.status()["manager"]["writes"] == writes + 1, "of both in one message"
    assert setting(lab)["seen"] == POLLED
    drop(lab, "gro-max-size: 192K")
    left = USUAL | {"gro-max-size": 196608}
    lab.wait(lambda: numbers(lab) == left, "what is named no more to be as before")
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert numbers(lab) == USUAL


def test_what_the_kernel_sets_besides_is_planned_and_goes_back(lab: LinkLab) -> None:
    """Up to 64K the size is that of IPv4, too, but where the profile names that."""
    before = numbers(lab, gso_max_size=60000, gso_ipv4_max_size=50000, gro_ipv4_max_size=70000)
    path = drop(lab, "gso-max-size: 32K, gro-max-size: 64000, gro-ipv4-max-size: 48K")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert numbers(lab) == USUAL | {
        "gso-max-size": 32768,
        "gso-ipv4-max-size": 32768,
        "gro-max-size": 64000,
        "gro-ipv4-max-size": 49152,
    }
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert numbers(lab) == before


def test_a_queue_length_is_repaired_at_once_and_put_back(lab: LinkLab) -> None:
    path = drop(lab, "txqueuelen: 3000, gso-max-segs: 100")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    wanted = USUAL | {"txqueuelen": 3000, "gso-max-segs": 100}
    assert numbers(lab) == wanted
    lab.shell(f"ip link set {CARD} txqueuelen 77")
    lab.wait(lambda: numbers(lab) == wanted, "the repair")
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert numbers(lab) == USUAL


def test_what_is_more_than_the_card_has_is_named_and_the_rest_set(lab: LinkLab) -> None:
    lab.shell("ip tuntap add tap0 mode tap")
    sizes = "gso-max-size: 300K, gro-max-size: max, txqueuelen: 500"
    path = lab.profile("edge", f"match: [{{kind: tun}}]\nlink: {{{sizes}}}\n")
    lab.start()
    lab.wait_state("tap0", "partial")
    assert numbers(lab, "tap0") == USUAL | {"gro-max-size": 524280, "txqueuelen": 500}
    reason = setting(lab, "tap0")["reason"]
    assert "gso-max-size: 307200 is more than the card's maximum of 65536" in reason
    path.unlink()
    lab.wait_state("tap0", "unmanaged")
    assert numbers(lab, "tap0") == USUAL


def test_cards_above_follow_where_the_profile_says_so(lab: LinkLab) -> None:
    lab.shell(f"ip link add br0 type bridge && ip link set {CARD} master br0 up")
    drop(lab, "gro-max-size: 128K, txqueuelen: 2000")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert numbers(lab, "br0") == USUAL
    assert lab.card("br0")["state"] == "unmanaged"
    path = drop(lab, "gro-max-size: 128K, txqueuelen: 2000, upper: follow")
    lab.wait_state("br0", "in-sync")
    bigger = USUAL | {"gro-max-size": 131072}
    assert numbers(lab, "br0") == bigger, "without the length of its queue"
    words = ("explain", "br0", "--profiles", str(lab.profiles))
    said = " ".join(lab.ctl(*words, inside=True).stdout.split())
    assert f"is in force on {CARD} below it, and gives it the same sizes" in said
    lab.shell("ip link add mac0 link br0 type macvlan")
    lab.wait(lambda: lab.card("mac0").get("state") == "in-sync", "one that came later, above")
    assert numbers(lab, "mac0") == bigger
    numbers(lab, "br0", gro_max_size=70000)
    lab.wait(lambda: numbers(lab, "br0") == bigger, "the repair")
    lab.shell(f"ip link set {CARD} nomaster")
    for card in ("br0", "mac0"):
        lab.wait_state(card, "unmanaged")
        assert numbers(lab, card) == USUAL, "it is above nothing of the profile's any more"
    lab.shell(f"ip link set {CARD} master br0")
    for card in ("br0", "mac0"):
        lab.wait_state(card, "in-sync")
    path.unlink()
    for card in (CARD, "br0", "mac0"):
        lab.wait_state(card, "unmanaged")
        assert numbers(lab, card) == USUAL


def test_one_above_with_a_profile_of_its_own_has_that(lab: LinkLab) -> None:
    lab.shell(f"ip link add br0 type bridge && ip link set {CARD} master br0 up")
    drop(lab, "gro-max-size: 128K, upper: follow")
    lab.profile("bridge", "match: [{kind: bridge}]\nlink: {gro-max-size: 96K}\n")
    lab.start()
    lab.wait_state("br0", "in-sync")
    assert numbers(lab, "br0")["gro-max-size"] == 98304


def test_a_trial_is_planned_with_reasons_and_undone(lab: LinkLab) -> None:
    lab.shell(f"ip link add br0 type bridge && ip link set {CARD} master br0 up")
    numbers(lab, gso_max_size=60000, gso_ipv4_max_size=50000)
    drop(lab, "gro-max-size: 128K")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    before = numbers(lab)
    lab.ctl("pause")
    drop(lab, "gro-max-size: 128K, gso-max-size: 32K, upper: follow")
    lab.ctl("reload")
    changes = {(c["ifname"], c["key"]): c["why"] for c in told(lab, "plan")["changes"]}
    assert changes == {
        (CARD, "gso-max-size"): "the profile's value",
        (CARD, "gso-ipv4-max-size"): "the kernel sets it with gso-max-size, up to 64K",
        ("br0", "gso-max-size"): "as lan0 below it",
        ("br0", "gso-ipv4-max-size"): "the kernel sets it with gso-max-size, up to 64K",
        ("br0", "gro-max-size"): "as lan0 below it",
    }
    assert told(lab, "apply", "--confirm", "60s")["confirm"]
    assert numbers(lab)["gso-ipv4-max-size"] == 32768
    assert numbers(lab, "br0")["gso-max-size"] == 32768
    lab.ctl("rollback")
    assert numbers(lab) == before
    assert numbers(lab, "br0") == USUAL


def told(lab: LinkLab, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(lab.ctl(*words, "--json").stdout)
    return answer
