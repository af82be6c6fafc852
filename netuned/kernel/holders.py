"""Which processes hold the AF_XDP sockets of a card, as far as the kernel tells and rights reach.

Who has bound a dmabuf or io_uring to a queue it tells nobody. A socket's process is the one that
has it open, which is seen of one's own and, with CAP_SYS_PTRACE, of all; else it is the user's.

Source: sock_diag(7); include/uapi/linux/xdp_diag.h; net/xdp/xsk_diag.c.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping

from netuned.errors import KernelError
from netuned.kernel import writers
from netuned.kernel.netlink import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NetlinkSocket,
    attributes,
    decoding,
)
from netuned.records import dataclass

NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_AF_XDP = 44
_SHOW_INFO = 1
_INFO, _UID = 1, 2
_REQUEST = struct.Struct("=BBHIIII")
_ANSWER = struct.Struct("=BBHIII")
_PLACE = struct.Struct("=II")
_NUMBER = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class XdpSocket:
    """An AF_XDP socket that is bound to a queue; ``uid`` is whose it is, -1 where nobody tells."""

    inode: int
    ifindex: int
    queue: int
    uid: int


def of_queues(ifindex: int, queues: Iterable[int]) -> Mapping[int, str]:
    """By queue of a card, the process of its AF_XDP socket, or whose it is; those that are known.

    Reads what all processes have open. Raises: KernelError for an answer that is none.
    """
    wanted = set(queues)
    size = HEADER.size + _REQUEST.size
    flags = NLM_F_REQUEST | NLM_F_DUMP
    request = HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, flags, 0, 0)
    request += _REQUEST.pack(_AF_XDP, 0, 0, 0, _SHOW_INFO, 0, 0)
    asked = NetlinkSocket(NETLINK_SOCK_DIAG)
    try:
        told = asked.request(request, "list", "AF_XDP sockets")
    except KernelError:  # this kernel has not got it, or does not tell this user
        return {}
    finally:
        asked.close()
    found = [at for at in parse(told) if at.ifindex == ifindex and at.queue in wanted]
    pids = dict(_open_by({at.inode for at in found})) if found else {}
    return {at.queue: _holder(pids.get(at.inode, 0), at.uid) for at in found}


def parse(payloads: Iterable[bytes]) -> list[XdpSocket]:
    """The sockets that are bound. Raises: KernelError for an answer that is none."""
    found = []
    with decoding("AF_XDP sockets"):
        for payload in payloads:
            inode = _ANSWER.unpack_from(payload)[3]
            told = attributes(payload, _ANSWER.size)
            if _INFO in told:
                ifindex, queue = _PLACE.unpack(payload[slice(*told[_INFO])])
                uid = _NUMBER.unpack(payload[slice(*told[_UID])])[0] if _UID in told else -1
                found.append(XdpSocket(inode, ifindex, queue, uid))
    return found


def _holder(pid: int, uid: int) -> str:
    if pid:
        return str(writers.describe(writers.Glimpse(pid, "a process")))
    return f"a process of user {uid}" if uid >= 0 else "a process"


def _open_by(inodes: set[int]) -> Iterator[tuple[int, int]]:
    """By inode of a socket, a process that has it open."""
    texts = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                if inode := texts.get(os.readlink(f"/proc/{pid}/fd/{name}")):
                    yield inode, int(pid)
        except OSError:  # it has ended, or is another user's
            continue
