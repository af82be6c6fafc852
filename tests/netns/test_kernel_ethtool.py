"""Ethtool's ioctl against veth cards; RSS needs hardware and is tested in the VM."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.ethtool import Channels, Ethtool
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns


@pytest.fixture
def ethtool(netns: Namespace) -> Iterator[Ethtool]:
    ethtool = Ethtool()
    yield ethtool
    ethtool.close()


def test_driver_info(netns: Namespace, ethtool: Ethtool) -> None:
    index = netns.veth()
    assert ethtool.driver_info(index).driver == "veth"
    netns.sh("ip tuntap add t0 mode tap")
    tap = int(open("/sys/class/net/t0/ifindex").read())  # noqa: SIM115 - one line
    assert (ethtool.driver_info(tap).driver, ethtool.driver_info(tap).bus_info) == ("tun", "tap")


def test_channels_are_as_the_tool_shows_them(netns: Namespace, ethtool: Ethtool) -> None:
    index = netns.veth(queues=8)
    netns.sh("ethtool -L v0 rx 3 tx 5")
    assert ethtool.channels(index) == Channels(
        rx=3, tx=5, other=0, combined=0, rx_max=8, tx_max=8, other_max=0, combined_max=0
    )


def test_setting_channels_leaves_the_others(netns: Namespace) -> None:
    writes: list[int] = []
    ethtool = Ethtool(lambda: writes.append(1))
    index = netns.veth(queues=8)
    ethtool.set_channels(index, rx=2, tx=6)
    ethtool.set_channels(index, rx=4)
    found = ethtool.channels(index)
    assert (found.rx, found.tx, len(writes)) == (4, 6, 2)
    with pytest.raises(KernelError) as refused:
        ethtool.set_channels(index, rx=9)
    assert (refused.value.operation, refused.value.errno) == ("set", errno.EINVAL)
    assert len(writes) == 2
    ethtool.close()


def test_a_renamed_card_is_still_the_one_that_is_meant(netns: Namespace, ethtool: Ethtool) -> None:
    index = netns.veth("v0", queues=4)
    netns.veth("w0", queues=2)
    netns.sh("ip link set v0 down; ip link set w0 down")
    netns.sh("ip link set v0 name tmp && ip link set w0 name v0 && ip link set tmp name w0")
    ethtool.set_channels(index, rx=3)
    assert ethtool.channels(index).rx == 3
    assert "RX:\t\t2" in netns.sh("ethtool -l v0")


def test_a_card_that_left(netns: Namespace, ethtool: Ethtool) -> None:
    index = netns.veth()
    netns.sh("ip link del v0")
    for call in (ethtool.channels, ethtool.rss_table, ethtool.driver_info, ethtool.rx_rings):
        with pytest.raises(KernelError) as gone:
            call(index)
        assert gone.value.gone


def test_what_the_driver_lacks_is_unsupported(netns: Namespace, ethtool: Ethtool) -> None:
    index = netns.veth()
    netns.sh("ip link add br0 type bridge")
    bridge = json.loads(netns.sh("ip -j link show br0"))[0]["ifindex"]
    with pytest.raises(UnsupportedError, match="channels"):
        ethtool.channels(bridge)
    with pytest.raises(UnsupportedError, match="channels"):
        ethtool.set_channels(bridge, combined=2)
    with pytest.raises(UnsupportedError, match="rss"):
        ethtool.rss_table(index)
    with pytest.raises(UnsupportedError, match="rss"):
        ethtool.set_rss_table(index, (0, 1))
    with pytest.raises(UnsupportedError, match="rss"):
        ethtool.set_rss_table(index, ())
