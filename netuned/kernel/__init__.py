"""The only place that talks to the kernel.

Everything above takes a ``Kernel`` as a parameter, so the same code reads this host, the files of
another one, or a namespace a test made. All calls block; the daemon makes them in worker threads.
"""

from __future__ import annotations

import errno
import socket

from netuned.errors import KernelError
from netuned.kernel.ethtool import Ethtool
from netuned.kernel.files import Files
from netuned.kernel.genl import EthtoolNetlink, NetdevNetlink
from netuned.kernel.rtnl import Rtnl


class Kernel:
    """Access to one host's kernel; ``writes`` counts what was written through it."""

    def __init__(self, root: str = "/") -> None:
        self.writes = 0
        self.files = Files(root, self._wrote)
        self.ethtool = Ethtool(self._wrote)
        self.ethtool_netlink = EthtoolNetlink(self._wrote)
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
