"""Gives cards other names, at once: no program is started for it."""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCSIFNAME = 0x8923


def rename(ifindex: int, name: str) -> None:
    """Give a card a name that no other has."""
    request = struct.pack("16s16s8x", socket.if_indextoname(ifindex).encode(), name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, _SIOCSIFNAME, request)


def swap(first: int, second: int) -> None:
    """Give each of two cards the name of the other."""
    names = socket.if_indextoname(first), socket.if_indextoname(second)
    rename(first, "between")
    rename(second, names[0])
    rename(first, names[1])
