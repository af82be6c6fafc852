"""The only place that talks to the kernel.

Everything above takes a ``Kernel`` as a parameter, so the same code reads this host, the snapshot
of another, a described machine, or a namespace a test made. All calls block; the daemon makes them
in worker threads.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from netuned.errors import KernelError
from netuned.kernel.ethtool import Channels, DriverInfo, Ethtool
from netuned.kernel.files import Files, FileTree
from netuned.kernel.genl import EthtoolNetlink, NetdevNetlink
from netuned.kernel.rtnl import LinkInfo, QdiscEntry, Rtnl


class EthtoolCalls(Protocol):
    """``ethtool.Ethtool``, or what a snapshot holds of it."""

    def driver_info(self, ifindex: int) -> DriverInfo: ...
    def channels(self, ifindex: int) -> Channels: ...
    def rss_table(self, ifindex: int) -> tuple[int, ...]: ...
    def rx_rings(self, ifindex: int) -> int: ...
    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None: ...
    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None: ...


class EthtoolNetlinkCalls(Protocol):
    """``genl.EthtoolNetlink``; a snapshot refuses it."""

    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None: ...
    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None: ...


class NetdevCalls(Protocol):
    """``genl.NetdevNetlink``, or what a snapshot holds of it."""

    def napi_interrupts(self, ifindex: int) -> Mapping[tuple[str, int], int]: ...


class RtnlCalls(Protocol):
    """``rtnl.Rtnl``, or what a snapshot holds of it."""

    def qdiscs(self, ifindexes: Collection[int] = ()) -> Mapping[int, tuple[QdiscEntry, ...]]: ...
    def links(self) -> Mapping[int, LinkInfo]: ...
    def replace_qdisc(
        self, ifindex: int, parent: int, handle: int, kind: str, parameters: Mapping[str, int]
    ) -> None: ...
    def delete_qdisc(self, ifindex: int, parent: int = ..., handle: int = 0) -> None: ...


class Kernel:
    """Access to one host's kernel; ``writes`` counts what was written through it."""

    files: FileTree
    ethtool: EthtoolCalls
    ethtool_netlink: EthtoolNetlinkCalls
    netdev: NetdevCalls
    rtnl: RtnlCalls

    def __init__(self, root: str = "/") -> None:
        self.writes = 0
        self.files = Files(root, self._wrote)
        ioctl = self.ethtool = Ethtool(self._wrote)
        self.ethtool_netlink = EthtoolNetlink(ioctl, self._wrote)
        self.netdev = NetdevNetlink()
        self.rtnl = Rtnl(self._wrote)

    def card_name(self, ifindex: int) -> str:
        """The card's present name. Raises: KernelError; ``gone`` when it left."""
        try:
            return socket.if_indextoname(ifindex)
        except OSError as error:
            target = f"card with ifindex {ifindex}"
            raise KernelError("look up", target, error.errno or errno.ENXIO) from None

    def _wrote(self) -> None:
        self.writes += 1
