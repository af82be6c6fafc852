"""Monitors: what tells the running event loop that something in the kernel has changed.

They decode just enough to say where to look again, and read a bounded number of events each time
the loop wakes, so that a burst never holds it up. netuned's own writes come back as events too.

Measured (2 CPUs, 6.18): a burst of 2,000 link events takes 4 ms of the loop, in steps of 0.2 ms;
from the start of a write to rps_cpus to ``FileWatch``'s callback 10 µs (p50), 68 µs (p99).

Source: Documentation/networking/ethtool-netlink.rst; rtnetlink(7), netlink(7), inotify(7);
lib/kobject_uevent.c.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.files import NOWHERE, Directory
from netuned.kernel.genl import NETLINK_GENERIC, resolve_family
from netuned.kernel.inotify import IN_IGNORED, IN_MODIFY, IN_ONLYDIR, IN_Q_OVERFLOW, Inotify
from netuned.kernel.messages import ETHTOOL
from netuned.kernel.netlink import HEADER, SOL_NETLINK, NetlinkSocket, attributes, open_socket

_NETLINK_ROUTE = 0
_NETLINK_KOBJECT_UEVENT = 15
_NETLINK_ADD_MEMBERSHIP = 1
_RTMGRP_LINK = 0x1
_RTMGRP_TC = 0x8
_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_QDISCS = (36, 37)
_KERNEL_UEVENTS = 1
_ETHTOOL_HEADER = 1
_ETHTOOL_HEADER_IFINDEX = 1
_ETHTOOL_NOTIFICATIONS = {
    3: "linkinfo",
    5: "linkmodes",
    10: "wol",
    13: "features",
    15: "privflags",
    17: "rings",
    19: "channels",
    21: "coalesce",
    23: "pause",
    25: "eee",
    31: "fec",
    50: "rss",
    52: "rss-create",
    53: "rss-delete",
}

_DATAGRAM = 1 << 16
_READS_PER_WAKE = 64

Overrun = Callable[[], None]
"""Called when events were lost: everything must be looked at again."""


class Monitor:
    """A multicast socket that the running loop reads until ``close``.

    ``take`` gets each datagram; ``overrun`` is called when the kernel had to drop some, after which
    reading goes on.
    """

    def __init__(
        self, opened: socket.socket, take: Callable[[memoryview], None], overrun: Overrun
    ) -> None:
        opened.setblocking(False)
        self._socket = opened
        self._take = take
        self._overrun = overrun
        self._buffer = memoryview(bytearray(_DATAGRAM))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened, self._read)

    def close(self) -> None:
        """Stop reading and close the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        for _ in range(_READS_PER_WAKE):  # what is left wakes the loop again
            try:
                size = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overrun()
                continue
            self._take(self._buffer[:size])


def monitor_rtnl(
    on_link: Callable[[int, str], None],
    on_qdisc: Callable[[int, int], None],
    overrun: Overrun,
    is_known: Callable[[int, bytes], bool] = lambda ifindex, link: False,
) -> Monitor:
    """Watch links and qdiscs of this network namespace.

    ``on_link(ifindex, "new" | "del")``: a link came, changed (up, down, renamed, features, master,
    …) or left. ``on_qdisc(ifindex, sender)``: a qdisc was attached, changed or detached;
    ``sender`` is the netlink port that asked for it, most often its process's pid, 0 the kernel.
    Of links that are as ``is_known`` says (for ``parse_link``) nothing is told.

    Raises: OSError.
    """

    def take(data: memoryview) -> None:
        offset = 0
        while offset + 24 <= len(data):
            length, kind, _, _, sender = HEADER.unpack_from(data, offset)
            # struct ifinfomsg and tcmsg: the family first, the ifindex at 4
            ifindex = int.from_bytes(data[offset + 20 : offset + 24], sys.byteorder)
            if kind in _RTM_QDISCS:
                on_qdisc(ifindex, sender)
            elif kind == _RTM_NEWLINK:
                link = b"" if data[offset + 16] else bytes(data[offset + 16 : offset + length])
                if not (link and is_known(ifindex, link)):
                    on_link(ifindex, "new")
            elif kind == _RTM_DELLINK:
                # of family AF_BRIDGE it is a port that left its bridge; the link itself stays
                on_link(ifindex, "new" if data[offset + 16] else "del")
            offset += max(length, HEADER.size) + 3 & ~3

    return Monitor(open_socket(_NETLINK_ROUTE, _RTMGRP_LINK | _RTMGRP_TC), take, overrun)


def monitor_ethtool(on_ethtool: Callable[[int, str], None], overrun: Overrun) -> Monitor:
    """Watch settings that ethtool changes: ``on_ethtool(ifindex, what)``.

    ``what`` is channels, rings, features, coalesce, rss (Linux 6.17) and so on; the number of a
    notification that has no name here.

    Raises: UnsupportedError on kernels without the group (before 5.6); KernelError, OSError.
    """
    asking = NetlinkSocket(NETLINK_GENERIC)
    family = resolve_family(asking, ETHTOOL)
    asking.close()
    if "monitor" not in family.groups:
        raise UnsupportedError("ethtool notifications", "this kernel does not send them")

    def take(data: memoryview) -> None:
        offset = 0
        while offset + 20 <= len(data):
            length, kind, _, _, _ = HEADER.unpack_from(data, offset)
            if kind == family.id:
                command = data[offset + 16]
                body = data[offset + 20 : offset + length]
                start, end = attributes(body, 0).get(_ETHTOOL_HEADER, (0, 0))
                header = body[start:end]
                start, end = attributes(header, 0).get(_ETHTOOL_HEADER_IFINDEX, (0, 0))
                ifindex = int.from_bytes(header[start:end], sys.byteorder)
                on_ethtool(ifindex, _ETHTOOL_NOTIFICATIONS.get(command, str(command)))
            offset += max(length, HEADER.size) + 3 & ~3

    opened = open_socket(NETLINK_GENERIC)
    opened.setsockopt(SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, family.groups["monitor"])
    return Monitor(opened, take, overrun)


def monitor_uevents(
    on_uevent: Callable[[str, str, str, dict[str, str]], None], overrun: Overrun
) -> Monitor:
    """Watch the kernel's uevents: ``on_uevent(action, devpath, subsystem, fields)``.

    CPUs going on- and offline (subsystem cpu), cards (net) and their queues (queues) coming and
    going. The kernel sends those of cards to their network namespace only.

    Raises: OSError.
    """

    def take(data: memoryview) -> None:
        head, *lines = bytes(data).decode("utf-8", "replace").split("\0")
        action, at, devpath = head.partition("@")
        if at:
            fields = dict(line.split("=", 1) for line in lines if "=" in line)
            on_uevent(action, devpath, fields.get("SUBSYSTEM", ""), fields)

    # only the kernel and CAP_NET_ADMIN can send to it (NL_CFG_F_NONROOT_SEND is not set)
    return Monitor(open_socket(_NETLINK_KOBJECT_UEVENT, _KERNEL_UEVENTS), take, overrun)


Key = TypeVar("Key", bound=Hashable)


class FileWatch(Generic[Key]):
    """Writes by user space to the kernel's own files, directory by directory.

    ``on_write(key, filename)`` is called once per file for what has gathered when the loop wakes;
    ``overflow`` when events were lost. A write that the kernel refuses raises none, nor does what
    the kernel changes by itself. Directories that vanish fall silent: watch what replaces them.

    A descriptor of each directory is held, because the kernel forgets the watch of a procfs entry
    that it drops from its cache; O_PATH would not keep it.

    ``watch`` and ``unwatch`` may be called in any thread.
    """

    def __init__(self, on_write: Callable[[Key, str], None], overflow: Overrun) -> None:
        """Raises: OSError, as ``Inotify``."""
        self._on_write = on_write
        self._overflow = overflow
        self._inotify = Inotify()
        self._changing = threading.Lock()
        self._held: dict[Key, tuple[int, int]] = {}
        self._keys: dict[int, Key] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inotify.fileno(), self._read)

    def watch(self, path: str, key: Key, above: Directory = NOWHERE) -> None:
        """Watch the files in a directory under this key, and then no longer what it was before.

        ``path`` may be relative to a directory ``above``.
        A directory that is watched already misses nothing; it has one key, the last. What is
        written before this returns may raise no event, else. Raises: KernelError; what the key
        was before stays then.
        """
        with self._changing:
            try:
                held, wd = self._add(path, above)
            except OSError as error:
                raise KernelError("watch", path, error.errno or errno.EIO) from None
            before = self._held.get(key)
            if before is not None and before[1] == wd:
                os.close(held)
                return
            if (other := self._keys.get(wd)) is not None:
                os.close(self._held.pop(other)[0])
            self._held[key] = held, wd
            self._keys[wd] = key
            if before is not None:
                self._end(*before)

    def unwatch(self, key: Key) -> None:
        """End the watch of a key; nothing happens where there is none."""
        with self._changing:
            if (known := self._held.pop(key, None)) is not None:
                self._end(*known)

    def close(self) -> None:
        """End every watch."""
        self._loop.remove_reader(self._inotify.fileno())
        for key in list(self._held):
            self.unwatch(key)
        self._inotify.close()

    def _add(self, path: str, above: Directory) -> tuple[int, int]:
        """A directory's descriptor and the number of its watch. Raises: OSError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        held = os.open(path, flags, dir_fd=above.number)
        try:
            # IN_MODIFY alone: a write raises it once, when it is done (and the O_TRUNC of a
            # shell's ">" once before); IN_CLOSE_WRITE would be one more wake-up, and comes
            # late or never from a writer who keeps the file open
            return held, self._inotify.add(f"/proc/self/fd/{held}", IN_MODIFY | IN_ONLYDIR)
        except OSError:
            os.close(held)
            raise

    def _end(self, held: int, wd: int) -> None:
        self._keys.pop(wd, None)
        with contextlib.suppress(OSError):  # the kernel has ended it already
            self._inotify.remove(wd)
        os.close(held)

    def _ended(self, wd: int) -> None:
        """The kernel has ended a watch; its key may have another by now, under another number."""
        with self._changing:
            if (key := self._keys.pop(wd, None)) is not None:
                os.close(self._held.pop(key)[0])

    def _read(self) -> None:
        written: dict[tuple[Key, str], None] = {}
        for event in self._inotify.read():
            if event.mask & IN_Q_OVERFLOW:
                self._overflow()
            elif event.mask & IN_IGNORED:
                self._ended(event.wd)
            elif (key := self._keys.get(event.wd)) is not None:
                written[key, event.name] = None
        for key, name in written:
            self._on_write(key, name)
