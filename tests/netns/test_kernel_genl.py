"""The ethtool and netdev families against this kernel."""

from __future__ import annotations

import errno
import os
import re
import threading

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.genl import EthtoolNetlink, resolve_family
from netuned.kernel.netdev import NetdevNetlink
from netuned.kernel.netlink import NetlinkSocket
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns


def test_families_are_resolved_with_their_groups(netns: Namespace) -> None:
    family = resolve_family(NetlinkSocket(16), "ethtool")
    assert family.id > 16
    assert "monitor" in family.groups


def test_a_family_the_kernel_lacks_is_unsupported(netns: Namespace) -> None:
    with pytest.raises(UnsupportedError, match="netlink family nosuchfamily"):
        resolve_family(NetlinkSocket(16), "nosuchfamily")


def test_setting_channels(netns: Namespace) -> None:
    writes: list[int] = []
    ethtool = Ethtool()
    netlink = EthtoolNetlink(ethtool, lambda: writes.append(1))
    index = netns.veth(queues=8)
    netlink.set_channels(index, rx=2, tx=6)
    netlink.set_channels(index, rx=4)
    found = ethtool.channels(index)
    assert (found.rx, found.tx, len(writes)) == (4, 6, 2)
    netlink.set_channels(index)
    assert len(writes) == 2, "nothing to change is no write"
    ethtool.close()


def test_refused_channels_carry_the_kernels_reason(netns: Namespace) -> None:
    index = netns.veth(queues=4)
    with pytest.raises(KernelError) as refused:
        EthtoolNetlink(Ethtool()).set_channels(index, rx=9)
    assert refused.value.errno == errno.EINVAL
    assert "exceeds maximum" in refused.value.extack


def test_a_card_that_left_and_one_without_channels(netns: Namespace) -> None:
    netlink = EthtoolNetlink(Ethtool())
    netns.sh("ip link add br0 type bridge")
    bridge = int(netns.sh("cat /sys/class/net/br0/ifindex"))
    with pytest.raises(UnsupportedError, match="channels"):
        netlink.set_channels(bridge, combined=2)
    with pytest.raises(KernelError) as gone:
        netlink.set_channels(9999, combined=2)
    assert gone.value.gone


def test_a_card_without_an_rss_table(netns: Namespace) -> None:
    ethtool = Ethtool()
    netlink = EthtoolNetlink(ethtool)
    index = netns.veth()
    for entries in ((0, 1), ()):
        with pytest.raises(UnsupportedError, match="rss: the driver"):
            netlink.set_rss_table(index, entries)
    with pytest.raises(KernelError) as gone:
        netlink.set_rss_table(9999, (0, 1))
    assert gone.value.gone
    ethtool.close()


def test_whether_the_kernel_tells_of_rss_tables(netns: Namespace) -> None:
    ethtool = Ethtool()
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    assert EthtoolNetlink(ethtool).tells_of_rss() == (release >= (6, 17))
    ethtool.close()


def test_a_kernel_without_the_family_is_set_by_the_ioctl(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with CONFIG_ETHTOOL_NETLINK not set."""
    monkeypatch.setattr(EthtoolNetlink, "NAME", "nosuchfamily")
    writes: list[int] = []
    ethtool = Ethtool(lambda: writes.append(1))
    netlink = EthtoolNetlink(ethtool, lambda: writes.append(1))
    index = netns.veth(queues=8)
    netlink.set_channels(index, rx=2, tx=6)
    found = ethtool.channels(index)
    assert (found.rx, found.tx, len(writes)) == (2, 6, 1)
    with pytest.raises(UnsupportedError, match="rss: the driver"):
        netlink.set_rss_table(index, (0, 1))
    ethtool.close()


def test_a_virtual_card_has_no_interrupts(netns: Namespace) -> None:
    index = netns.veth()
    try:
        assert NetdevNetlink().napi_interrupts(index) == {}
    except UnsupportedError as error:  # before Linux 6.8
        assert "kernel" in error.why  # noqa: PT017


def test_threads_share_a_client(netns: Namespace) -> None:
    ethtool = Ethtool()
    netlink = EthtoolNetlink(ethtool)
    indexes = [netns.veth(f"v{n}", queues=2) for n in range(4)]
    failed: list[object] = []

    def work(index: int) -> None:
        try:
            for count in (1, 2) * 10:
                netlink.set_channels(index, rx=count)
                if ethtool.channels(index).rx != count:
                    failed.append(index)
        except KernelError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ethtool.close()
