"""Over which network devices the host is reached: its default routes, and an SSH session.

Source: net/ipv4/fib_trie.c, fib_route_seq_show(); net/ipv6/route.c, rt6_info_route();
rtnetlink(7), RTM_GETROUTE; ssh(1), SSH_CONNECTION.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

from netuned.errors import KernelError
from netuned.kernel.files import FileTree
from netuned.kernel.netlink import NLM_F_ACK, NLM_F_REQUEST, NetlinkSocket, attributes

DEFAULT_ROUTE, SESSION = "the default route", "this SSH session"

FAMILIES = {4: 2, 6: 10}
"""By version of IP, what a question to rtnetlink is about; no socket of these families is made."""
RTM_GETROUTE = 26
RTA_DST, RTA_OIF = 1, 4
RTF_UP, RTF_REJECT = 0x1, 0x200
ANCESTORS_MOST = 32
ROUTES_SIZE = 1 << 25
"""Of more than 200,000 routes the default one may not be among those that are read."""
_NAME_AT = 141
"""Where in a line of ipv6_route the name begins: what is before it has fixed widths."""
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=8BI")


def reached_over(files: FileTree) -> dict[str, str]:
    """The devices that carry a default route or the caller's SSH session, and which of these.

    Those below a bond, VLAN or bridge are among them. What cannot be read is left out.
    """
    carried: dict[str, list[str]] = {}
    for what, names in ((DEFAULT_ROUTE, default_routes(files)), (SESSION, _session(files))):
        for name in dict.fromkeys(below for top in names for below in _with_lowers(files, top)):
            carried.setdefault(name, []).append(what)
    return {name: " and ".join(what) for name, what in carried.items()}


def default_routes(files: FileTree) -> Iterator[str]:
    """The devices of the default routes of IPv4 (of the main table) and IPv6."""
    for line in _lines(files, "/proc/net/route")[1:]:
        name, to, _, flags, _, _, _, mask, *_ = line.split("\t")
        if int(to, 16) == int(mask, 16) == 0 and _is_used(flags):
            yield name
    for line in _lines(files, "/proc/net/ipv6_route"):
        to, length, *_, flags = line[:_NAME_AT].rstrip(" ").split(" ")
        if int(to, 16) == int(length, 16) == 0 and _is_used(flags):
            yield line[_NAME_AT:].lstrip(" ")


def _lines(files: FileTree, path: str) -> list[str]:
    """A name has no blank, but may have what Python takes for the end of a line."""
    try:
        content = files.read_long(path, ROUTES_SIZE)
    except KernelError as error:
        if error.exhausted:
            raise
        return []
    whole = content[: content.rfind(b"\n") + 1]
    return [line for line in whole.decode("utf-8", "replace").split("\n") if line]


def _is_used(flags: str) -> bool:
    return int(flags, 16) & (RTF_UP | RTF_REJECT) == RTF_UP


def _session(files: FileTree) -> Iterator[str]:
    peer, _, zone = session_peer(files).partition("%")
    try:
        yield zone or device_to(peer)
    except (KernelError, ValueError, OSError):
        return


def session_peer(files: FileTree) -> str:
    """The address that the SSH session of this process comes from; empty without one.

    sudo takes it out of the environment, so the processes above are asked, too.
    """
    found = os.environ.get("SSH_CONNECTION", "")
    pid = os.getppid()
    for _ in range(ANCESTORS_MOST):
        if found or pid < 2:
            break
        try:
            environment = files.read(f"/proc/{pid}/environ").split(b"\0")
            pid = int(files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
        except (KernelError, ValueError, IndexError):
            break
        own = (line for line in environment if line.startswith(b"SSH_CONNECTION="))
        found = next(own, b"").decode("ascii", "replace").partition("=")[2]
    return found.partition(" ")[0]


def device_to(address: str) -> str:
    """The name of the device over which packets to an address leave.

    Raises: ValueError if it is none; KernelError where there is no route; OSError.
    """
    peer = ipaddress.ip_address(address)
    if peer.version == 6 and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    body = _ROUTE.pack(FAMILIES[peer.version], peer.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += struct.pack("=HH", 4 + len(peer.packed), RTA_DST) + peer.packed
    flags = NLM_F_REQUEST | NLM_F_ACK
    asked = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        head = _HEADER.pack(_HEADER.size + len(body), RTM_GETROUTE, flags, 0, 0)
        (route,) = asked.request(head + body, "look up", "the route of the SSH session")
    finally:
        asked.close()
    start, end = attributes(route, _ROUTE.size)[RTA_OIF]
    return socket.if_indextoname(struct.unpack("=I", route[start:end])[0])


def _with_lowers(files: FileTree, top: str) -> Iterator[str]:
    """A device, and all that lie below it."""
    ahead, seen = [top], set[str]()
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        try:
            entries = files.listdir(f"/sys/class/net/{name}")
        except KernelError:
            continue
        ahead += [entry.removeprefix("lower_") for entry in entries if entry.startswith("lower_")]
