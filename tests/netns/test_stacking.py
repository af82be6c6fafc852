"""Cards over cards in a real kernel: what it says of them, and when the daemon looks again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from netuned.hardware import facts, links
from netuned.hardware.host import read_nics
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.kernel import Kernel
from netuned.kernel.files import FileTree
from netuned.kernel.once import Once
from netuned.plan import Change
from netuned.reconcile.loop import Options, Reconciler
from netuned.reconcile.requests import Requests
from netuned.reconcile.watch import Watches
from netuned.status import NicStatus, Status
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

# Kernels of build hosts often make no bond and no VLAN: those are in the VM layer.
UPPER_KINDS = {
    "bridge": "type bridge",
    "macvlan": "link v0 type macvlan",
    "vxlan": "type vxlan id 5 dstport 4789 dev v0",
}


@pytest.mark.parametrize("kind", UPPER_KINDS)
def test_the_kernel_tells_what_lies_below(netns: Namespace, kind: str) -> None:
    v0, v1 = netns.veth("v0", up=False), netns.veth("v1", up=False)
    netns.sh(f"ip link add top {UPPER_KINDS[kind]}")
    expected: tuple[int, ...] = (v0,)
    if kind == "bridge":
        netns.sh("ip link set v1 master top && ip link set v0 master top")
        expected = (v0, v1)
    nics = {nic.name: nic for nic in read_nics(Kernel(), {}).values()}
    top = nics["top"]
    assert (top.kind, top.lowers, top.interrupts) == (kind, expected, ())
    assert nics["v0"].master == (top.ifindex if kind == "bridge" else 0)
    assert nics["v0"].lowers == nics["v1"].lowers == ()
    unread = read_nics(Kernel(), {}, lambda nic: False)
    assert unread[top.ifindex].unread
    assert {i: nic.lowers for i, nic in unread.items()} == {
        nic.ifindex: nic.lowers for nic in nics.values()
    }
    if kind == "bridge":
        netns.sh("ip link set v1 nomaster")
        known = {nic.ifindex: nic for nic in nics.values()}
        again = read_nics(Kernel(), known)
        assert again[top.ifindex].lowers == (v0,)


class Daemon:
    """The loop and its watches, in this process; veth cards v0 and v1 pass for physical ones."""

    def __init__(self, directory: Path) -> None:
        profiles = directory / "profiles.d"
        profiles.mkdir()
        self.profiles = profiles
        self._latest: dict[str, NicStatus] = {}
        self.problems: tuple[str, ...] = ()
        options = Options((str(profiles),), directory / "state", directory / "run")
        self.reconciler = Reconciler(Kernel(), options, self)
        self._watches = Watches(self.reconciler)

    async def run(self, scenario: Callable[[Daemon], Awaitable[None]]) -> None:
        self._watches.start()
        try:
            await self.reconciler.start()
            await scenario(self)
        finally:
            self._watches.close()
            await self.reconciler.close()

    def card(self, name: str) -> NicStatus:
        return self._latest[name]

    def state(self, name: str) -> str:
        """A card's; empty while it is not there."""
        return self._latest[name].state if name in self._latest else ""

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.005)

    def publish(self, status: Status) -> None:
        self._latest = {nic.name: nic for nic in status.nics}
        self.problems = status.manager.problems

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str) -> None:
        pass

    def repaired(self, ifindex: int, tunable: str, key: str, value: str, latency_us: int) -> None:
        pass

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str]
    ) -> None:
        pass

    def arm(self, nic: Nic, tunables: frozenset[str]) -> None:
        self._watches.arm(nic, tunables)


@pytest.fixture
def physical(monkeypatch: pytest.MonkeyPatch) -> None:
    real = facts._kind

    def kind(here: FileTree, asked: Once, ifindex: int) -> str:
        ports = socket.if_indextoname(ifindex) in ("v0", "v1")
        return PHYSICAL if ports else real(here, asked, ifindex)

    def is_physical(kernel: Kernel, name: str) -> bool:
        return name in ("v0", "v1")

    monkeypatch.setattr(facts, "_kind", kind)
    monkeypatch.setattr(links, "is_physical", is_physical)


def rps(card: str) -> int:
    return int(Path(f"/sys/class/net/{card}/queues/rx-0/rps_cpus").read_text(), 16)


@pytest.mark.usefixtures("physical")
def test_ports_are_tuned_as_they_come_and_left_as_they_go(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0")
    netns.veth("v1")
    netns.sh("ip link add br0 type bridge && ip link set br0 up && ip link set v0 master br0")
    daemon = Daemon(tmp_path)
    (daemon.profiles / "lan.yaml").write_text("match: [{kind: bridge}]\nrps: {cpus: 0}\n")

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: rps("v0") == 1)
        assert (rps("v1"), rps("br0")) == (0, 0)
        await daemon.wait(lambda: daemon.card("br0").state == "in-sync")
        bridge = daemon.card("br0")
        assert (bridge.profile, bridge.through, bridge.settings) == ("lan", ("v0",), ())
        # no event of br0's is needed: its ports are in v1's
        netns.sh("ip link set v1 master br0")
        await daemon.wait(lambda: rps("v1") == 1)
        await daemon.wait(lambda: daemon.card("br0").through == ("v0", "v1"))
        netns.sh("ip link set v0 nomaster")
        await daemon.wait(lambda: rps("v0") == 0)
        await daemon.wait(lambda: daemon.card("br0").through == ("v1",))
        assert daemon.card("v0").profile == ""
        # with no physical card left the bridge is tuned itself
        netns.sh("ip link set v1 nomaster")
        await daemon.wait(lambda: (rps("v1"), rps("br0")) == (0, 1))
        await daemon.wait(lambda: daemon.card("br0").through == ())

    asyncio.run(daemon.run(scenario))


@pytest.mark.usefixtures("physical")
def test_a_bridge_reaches_the_card_below_a_tunnel_that_nobody_asks_for(
    netns: Namespace, tmp_path: Path
) -> None:
    netns.veth("v0")
    netns.sh("ip link add br0 type bridge && ip link add vx0 type vxlan id 5 dstport 4789 dev v0")
    netns.sh("ip link set vx0 master br0")
    daemon = Daemon(tmp_path)
    (daemon.profiles / "lan.yaml").write_text("match: [{kind: bridge}]\nrps: {cpus: 0}\n")

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: daemon.card("br0").state == "in-sync")
        assert (daemon.card("br0").through, rps("v0"), rps("br0")) == (("v0",), 1, 0)

    asyncio.run(daemon.run(scenario))


@pytest.mark.usefixtures("physical")
def test_a_bridge_stands_for_its_ports(netns: Namespace, tmp_path: Path) -> None:
    netns.veth("v0")
    netns.sh("ip link add br0 type bridge && ip link set v0 master br0")
    netns.sh("ip link add link br0 name mv0 type macvlan")
    daemon = Daemon(tmp_path)
    (daemon.profiles / "lan.yaml").write_text(
        "match: [{kind: [bridge, macvlan, physical]}]\nrps: {cpus: 0}\n"
    )

    async def scenario(daemon: Daemon) -> None:
        await daemon.wait(lambda: daemon.card("br0").state == "in-sync")
        assert daemon.card("br0").through == daemon.card("mv0").through == ("v0",)
        await Requests(daemon.reconciler).pause("br0")
        netns.sh("echo 2 > /sys/class/net/v0/queues/rx-0/rps_cpus")
        await asyncio.sleep(0.05)
        assert rps("v0") == 2
        assert daemon.card("v0").state == daemon.card("br0").state == "paused"
        await Requests(daemon.reconciler).resume("br0")
        await daemon.wait(lambda: rps("v0") == 1)

    asyncio.run(daemon.run(scenario))
