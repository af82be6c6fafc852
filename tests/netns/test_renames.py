"""A card is its device: another name makes it no other, and whoever has its name is not it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netuned.errors import KernelError
from netuned.hardware import host
from netuned.hardware.facts import read_nic
from netuned.hardware.nic import Nic
from netuned.hardware.opening import check_here, open_card, read_ifindexes
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.kernel.linkinfo import LinkInfo
from netuned.kernel.once import Once
from netuned.reconcile.card import Card
from tests.netns.conftest import Namespace
from tests.netns.faults.renaming import rename, swap
from tests.netns.test_stacking import Daemon

pytestmark = pytest.mark.netns

RPS = "queues/rx-0/rps_cpus"
PROFILE = "match: [{{kind: veth, mac: '{}'}}]\nrps: {{cpus: 0}}\n"


def rps(name: str) -> Path:
    return Path(f"/sys/class/net/{name}/{RPS}")


def mask(name: str) -> int:
    return int(rps(name).read_text(), 16)


def drop(daemon: Daemon, mac: str, more: str = "") -> None:
    """A profile for the card with a MAC address, whatever its name is."""
    (daemon.profiles / "edge.yaml").write_text(PROFILE.format(mac) + more)


def mac(name: str) -> str:
    return Path(f"/sys/class/net/{name}/address").read_text().strip()


def test_what_is_below_a_held_directory_is_one_cards(netns: Namespace) -> None:
    first, second = netns.veth("v0", 2), netns.veth("v1", 2)
    kernel = Kernel()
    here, _ = open_card(kernel, first, "v0")
    kept = KeptFiles(here)
    assert kept.sweep((RPS,), tuple) == (b"0\n",)
    swap(first, second)
    here.write(RPS, b"1")
    assert (mask("v0"), mask("v1")) == (0, 1)
    assert kept.sweep((RPS,), tuple) == (b"1\n",)
    assert here.read_int("ifindex", 0) == first
    assert here.resolve(".").endswith("/net/v1")
    assert open_card(kernel, first, "v0")[1] == "v1"
    netns.sh("ip link del v1")
    netns.veth("v1", 2, peer="other")
    for use in (lambda: here.write(RPS, b"1"), lambda: kept.sweep((RPS,), tuple)):
        with pytest.raises(KernelError) as caught:
            use()
        assert caught.value.gone
    assert mask("v1") == 0


def test_another_card_with_the_same_ifindex_is_told_from_it(netns: Namespace) -> None:
    ifindex = netns.veth("v0")
    kernel = Kernel()
    nic = read_nic(kernel, ifindex, "v0")
    rename(ifindex, "w0")
    check_here(kernel, nic)
    netns.sh("ip link del w0")
    netns.sh(f"ip link add v0 index {ifindex} type veth peer name v0p")
    with pytest.raises(KernelError) as caught:
        check_here(kernel, nic)
    assert caught.value.gone


def replace_card(netns: Namespace, ifindex: int) -> None:
    """Delete v0 and make another, with its name, its ifindex and another MAC address."""
    netns.sh("ip link del v0")
    many = "numrxqueues 2 numtxqueues 2"
    peer = f"peer name v0p {many}"
    netns.sh(f"ip link add v0 index {ifindex} address 02:00:00:00:00:77 {many} type veth {peer}")
    netns.sh("ip link set v0 up && ip link set v0p up")


def untouched() -> bool:
    """Whether v0 is as the kernel makes it."""
    queues = sorted(path.name for path in Path("/sys/class/net/v0/queues").iterdir())
    return mask("v0") == 0 and queues == ["rx-0", "rx-1", "tx-0", "tx-1"]


def test_a_card_that_takes_anothers_place_during_a_transaction_is_left_alone(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of channels facts are read anew, by the ifindex."""
    ifindex = netns.veth("v0", 2)
    daemon = Daemon(tmp_path)
    drop(daemon, mac("v0"), "channels: {combined: 1}")
    real = Card.refresh
    replaced: list[Card] = []

    def refresh(card: Card, asked: Once | None = None, *, another: bool = False) -> bool:
        if not another and not replaced:
            replaced.append(card)
            replace_card(netns, ifindex)
        return real(card, asked, another=another)

    monkeypatch.setattr(Card, "refresh", refresh)

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: bool(replaced))
        await daemon.wait(lambda: daemon.state("v0") == "unmanaged")
        await daemon.reconciler.until_quiet()
        assert untouched()

    asyncio.run(daemon.run(scenario))


def test_a_plan_is_of_the_card_that_was_there_and_of_no_later_one(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another card is found as the facts are read, and none at all by the plan that follows."""
    ifindex = netns.veth("v0", 2)
    daemon = Daemon(tmp_path)
    drop(daemon, mac("v0"))
    read = host.read_nics
    missing = [False]

    def reading(kernel: Kernel, known: Mapping[int, Nic], is_asked: Any) -> dict[int, Nic]:
        nics = read(kernel, known, is_asked)
        return {} if missing and missing.pop() else nics

    monkeypatch.setattr(host, "read_nics", reading)
    daemon._watches.start = lambda: None  # type: ignore[method-assign]

    async def scenario(daemon: Daemon) -> None:
        assert mask("v0") == 1
        replace_card(netns, ifindex)
        missing.extend([False, True])
        daemon.reconciler.touch(ifindex)
        await daemon.reconciler.until_quiet()
        assert untouched()
        await daemon.reconciler.replan()
        await daemon.reconciler.until_quiet()
        assert (untouched(), daemon.card("v0").state) == (True, "unmanaged")

    asyncio.run(daemon.run(scenario))


def test_no_card_is_missed_whose_name_moves_on_while_all_are_listed(netns: Namespace) -> None:
    cards = netns.veth("v0"), netns.veth("v1")
    kernel = Kernel()
    read = kernel.files.read_int

    def swapping(path: str, default: int) -> int:
        found = read(path, default)
        if path == "/sys/class/net/v0/ifindex" and not swapped:
            swapped.append(path)
            swap(*cards)
        return found

    swapped: list[str] = []
    kernel.files.read_int = swapping  # type: ignore[method-assign]
    found = read_ifindexes(kernel)
    assert {i: found[i] for i in cards} == {i: socket.if_indextoname(i) for i in cards}


@pytest.mark.parametrize("known", ["none", "card", "both"])
@pytest.mark.parametrize("moment", ["dumped", "listed"])
def test_a_card_is_not_missed_that_takes_the_name_of_a_link_nobody_asks_for(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch, moment: str, known: str
) -> None:
    """Links that nobody asks for are left out by name as the others are listed."""
    own, link = netns.veth("v0"), netns.veth("v1")
    kernel = Kernel()

    def is_asked(nic: Nic) -> bool:
        return nic.ifindex == own

    nics = host.read_nics(kernel, {}, is_asked)
    before = nics[own]
    assert (before.unread, nics[link].unread) == (False, True)
    nics = {"none": {}, "card": {own: before}, "both": nics}[known]
    dump = kernel.rtnl.links
    swapped: list[str] = []

    def swap_at(now: str) -> None:
        if now == moment and not swapped:
            swapped.append(now)
            swap(own, link)

    def dumping(*, torn: bool = False) -> Mapping[int, LinkInfo]:
        found = dump(torn=torn)
        swap_at("dumped")
        return found

    def listing(*arguments: Any) -> dict[int, str]:
        swap_at("listed")
        return read_ifindexes(*arguments)

    monkeypatch.setattr(kernel.rtnl, "links", dumping)
    monkeypatch.setattr(host, "read_ifindexes", listing)
    found = host.read_nics(kernel, nics, is_asked)
    assert swapped
    assert found[own] == replace(before, name="v1")
    assert found[own].instance == before.instance


def test_a_name_from_before_the_first_plan_was_made_is_not_kept(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At boot a card is eth0 until udev renames it, which comes before anybody knows it."""
    daemon = Daemon(tmp_path)
    read = host.read_nics
    told: list[int] = []
    moved: list[str] = []

    def reading(kernel: Kernel, known: Mapping[int, Nic], is_asked: Any) -> dict[int, Nic]:
        nics = read(kernel, known, is_asked)
        if not moved and (own := [nic for nic in nics.values() if nic.name == "eth0"]):
            moved.append("en0")
            rename(own[0].ifindex, "en0")
            netns.sh(f"ip link set en0 address {address[:-2]}77")
        return nics

    monkeypatch.setattr(host, "read_nics", reading)

    async def scenario(daemon: Daemon) -> None:
        told.append(netns.veth("eth0", 2))
        await daemon.wait(lambda: bool(moved) and "en0" in daemon._latest)
        card = daemon.reconciler.cards.slots[told[0]].card
        await daemon.wait(lambda: (card.nic.name, card.nic.mac[-2:]) == ("en0", "77"))

    address = "02:00:00:00:00:00"
    asyncio.run(daemon.run(scenario))


def test_a_name_that_no_event_told_is_learned_at_the_next_plan(
    netns: Namespace, tmp_path: Path
) -> None:
    ifindex = netns.veth("v0", 2)
    daemon = Daemon(tmp_path)
    daemon._watches.start = lambda: None  # type: ignore[method-assign]

    async def scenario(daemon: Daemon) -> None:
        rename(ifindex, "w0")
        await daemon.reconciler.replan()
        await daemon.reconciler.until_quiet()
        assert daemon.reconciler.cards.slots[ifindex].card.nic.name == "w0"

    asyncio.run(daemon.run(scenario))


def test_no_card_is_watched_by_the_name_of_another(netns: Namespace, tmp_path: Path) -> None:
    """The second is watched under its new name, then the first by the one that it had."""
    cards = netns.veth("v0", 2), netns.veth("v1", 2)
    kernel = Kernel()
    first, second = (read_nic(kernel, card, socket.if_indextoname(card)) for card in cards)
    daemon = Daemon(tmp_path)
    touched: list[tuple[int, str | None]] = []

    def touch(ifindex: int, tunable: str | None = None) -> None:
        if tunable:
            touched.append((ifindex, tunable))

    async def scenario(daemon: Daemon) -> None:
        daemon.reconciler.touch = touch  # type: ignore[method-assign]
        swap(*cards)
        for nic in (replace(second, name="v0"), first):
            daemon.arm(nic, frozenset({"rps"}))
        rps("v0").write_text("2")
        await daemon.wait(lambda: bool(touched))
        assert set(touched) == {(cards[1], "rps")}
        daemon.arm(replace(first, name="v1"), frozenset({"rps"}))
        rps("v1").write_text("2")
        await daemon.wait(lambda: (cards[0], "rps") in touched)

    asyncio.run(daemon.run(scenario))


def test_a_card_whose_name_another_takes_during_a_transaction_keeps_its_values_to_itself(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = netns.veth("v0", 4), netns.veth("v1", 4)
    rps("v0").write_text("3")
    rps("v1").write_text("2")
    daemon = Daemon(tmp_path)
    drop(daemon, mac("v0"))
    save, swaps = daemon.reconciler._baseline.save, []

    def swapping(entry: object) -> None:
        save(entry)  # type: ignore[arg-type]
        swaps.append(entry)
        swap(*cards)

    monkeypatch.setattr(daemon.reconciler._baseline, "save", swapping)

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: daemon.card("v1").state == "in-sync")
        assert (mask("v1"), mask("v0"), len(swaps)) == (1, 2, 1)
        (daemon.profiles / "edge.yaml").unlink()
        await daemon.wait(lambda: daemon.card("v1").state == "unmanaged")
        await daemon.reconciler.until_quiet()
        assert (mask("v1"), mask("v0")) == (3, 2)
        assert not daemon.reconciler._baseline._cards

    asyncio.run(daemon.run(scenario))
