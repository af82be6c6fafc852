"""The only place that talks to the kernel.

Everything above takes a ``Kernel`` as a parameter, so the same code reads this host, the snapshot
of another, a described machine, or a namespace a test made. All calls block; the daemon makes them
in worker threads.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from netuned.errors import KernelError
from netuned.kernel.answers import no_dump
from netuned.kernel.ethtool import Channels, DriverInfo, Ethtool
from netuned.kernel.files import Files, FileTree
from netuned.kernel.genl import EthtoolNetlink
from netuned.kernel.hashing import Hashing, HashValues
from netuned.kernel.irqbalance import Irqbalance
from netuned.kernel.linkinfo import LinkInfo
from netuned.kernel.linknumbers import LinkNumbers
from netuned.kernel.netdev import NetdevNetlink
from netuned.kernel.questions import Question, Setting, Sockets
from netuned.kernel.rtnl import QdiscEntry, Rtnl
from netuned.values import Balancer, FlowRule

A = TypeVar("A")


class EthtoolCalls(Protocol):
    """``ethtool.Ethtool``, or what a snapshot holds of it."""

    def driver_info(self, ifindex: int) -> DriverInfo: ...
    def channels(self, ifindex: int) -> Channels: ...
    def rss_table(self, ifindex: int) -> tuple[int, ...]: ...
    def rx_rings(self, ifindex: int) -> int: ...
    def hashing(self, ifindex: int) -> Hashing: ...
    def rule(self, ifindex: int, location: int) -> FlowRule: ...
    def rule_places(self, ifindex: int) -> tuple[int, tuple[int, ...]]: ...
    def set_rule(self, ifindex: int, location: int, rule: FlowRule) -> None: ...
    def delete_rule(self, ifindex: int, location: int) -> None: ...
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
    """``genl.EthtoolNetlink``; a snapshot refuses what writes."""

    def can_set_channels(self, ifindex: int) -> bool: ...
    def set_channels(
        self,
        ifindex: int,
        *,
        rx: int | None = None,
        tx: int | None = None,
        combined: int | None = None,
    ) -> None: ...
    def set_rss_table(self, ifindex: int, entries: Sequence[int]) -> None: ...
    def set_hashing(self, ifindex: int, values: HashValues) -> None: ...
    def create_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None: ...
    def set_context(self, ifindex: int, context: int, entries: Sequence[int]) -> None: ...
    def delete_context(self, ifindex: int, context: int) -> None: ...
    def tells_of_rss(self) -> bool: ...


class NetdevCalls(Protocol):
    """``netdev.NetdevNetlink``, or what a snapshot holds of it."""

    def napi_interrupts(self, ifindex: int) -> Mapping[tuple[str, int], int]: ...
    def holders(self, ifindex: int, queues: Iterable[int]) -> Mapping[int, str]: ...
    def lists_napis(self) -> bool: ...
    def sets_napis(self) -> bool: ...


class RtnlCalls(Protocol):
    """``rtnl.Rtnl``, or what a snapshot holds of it."""

    def qdiscs(self, ifindexes: Collection[int] = ()) -> Mapping[int, tuple[QdiscEntry, ...]]: ...
    def links(self, *, torn: bool = False) -> Mapping[int, LinkInfo]: ...
    def replace_qdisc(
        self, ifindex: int, parent: int, handle: int, kind: str, parameters: Mapping[str, int]
    ) -> None: ...
    def delete_qdisc(self, ifindex: int, parent: int = ..., handle: int = 0) -> None: ...
    def has_qdisc_kind(self, kind: str) -> bool: ...
    def has_filters(self, ifindex: int, handle: int) -> bool: ...


class IrqbalanceCalls(Protocol):
    """``irqbalance.Irqbalance``; a snapshot knows nothing of it."""

    def is_told(self) -> bool: ...
    def look(self) -> Balancer: ...
    def exclude(self, devices: Collection[str], interrupts: frozenset[int]) -> None: ...
    def stop(self) -> None: ...
    def leave(self) -> None: ...


class Kernel:
    """Access to one host's kernel; ``writes`` counts what was written through it.

    ``get``, ``dump`` and ``set`` ask and set what ``questions`` has.
    """

    files: FileTree
    ethtool: EthtoolCalls
    ethtool_netlink: EthtoolNetlinkCalls
    netdev: NetdevCalls
    rtnl: RtnlCalls
    irqbalance: IrqbalanceCalls

    def __init__(self, root: str = "/") -> None:
        self.writes = 0
        self.files = Files(root, self._wrote)
        ioctl = Ethtool(self._wrote)
        netlink = EthtoolNetlink(ioctl, self._wrote)
        rtnl, netdev = Rtnl(self._wrote), NetdevNetlink(self._wrote)
        numbers = LinkNumbers(rtnl, self._wrote)
        self._sockets = asked = Sockets(ioctl, netlink, netdev, rtnl, numbers)
        self.ethtool, self.ethtool_netlink = asked.ethtool, asked.ethtool_netlink
        self.netdev, self.rtnl = asked.netdev, asked.rtnl
        self.irqbalance = Irqbalance()

    def get(self, question: Question[A], ifindex: int) -> A:
        """Ask one card. Raises: UnsupportedError, KernelError."""
        if question.ask is not None:
            return question.ask(self._sockets, ifindex)
        found = self.dump(question)
        return found[ifindex] if ifindex in found else question.absent(ifindex)

    def dump(self, question: Question[A]) -> Mapping[int, A]:
        """Ask all cards in one request; those that have no answer are left out.

        One card's error other than EOPNOTSUPP can be the answer of all (ENODEV while its driver
        resets it): see ``Once``. What is returned must not be changed; mostly it is the very same
        object while nothing has.

        Raises: UnsupportedError where the kernel has no such request; KernelError.
        """
        if question.ask_all is None:
            raise no_dump(question)
        return question.ask_all(self._sockets)

    def set(self, setting: Setting[A], ifindex: int, values: Mapping[str, int]) -> None:
        """Set some of a card's numbers, by ethtool's names, in one message.

        Raises: UnsupportedError where the card has none of it; KernelError, with the ``attribute``
        that the kernel refuses, if it says which.
        """
        setting.write(self._sockets, ifindex, values)

    def card_name(self, ifindex: int) -> str:
        """The card's present name. Raises: KernelError; ``gone`` when it left."""
        try:
            return socket.if_indextoname(ifindex)
        except OSError as error:
            target = f"card with ifindex {ifindex}"
            raise KernelError("look up", target, error.errno or errno.ENXIO) from None

    def _wrote(self) -> None:
        self.writes += 1
