"""The kernel threads of NAPI instances: on which CPUs they may run, and pinning them there.

Source: sched_setaffinity(2); proc_pid_stat(5); include/linux/sched.h, PF_KTHREAD.
"""

from __future__ import annotations

import errno
import os

from netuned.cpuset import CpuSet
from netuned.errors import KernelError

_PF_KTHREAD = 0x00200000
_FLAGS = 6
"""Of the fields after the name, which may have spaces."""


def is_napi(pid: int) -> bool:
    """Whether it is a thread of a NAPI instance.

    The kernel tells pids as the host's first namespace has them: in another, one may be of
    something else, or of nothing.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, fields = file.read().rpartition(b")")
        flags = int(fields.split()[_FLAGS])
    except (OSError, ValueError, IndexError):
        return False
    return bool(flags & _PF_KTHREAD) and head.partition(b"(")[2].startswith(b"napi/")


def affinity(pid: int) -> int:
    """The CPUs on which a thread may run, as bits; 0 once it has ended."""
    try:
        return CpuSet.of(os.sched_getaffinity(pid)).bits
    except OSError:
        return 0


def pin(pid: int, bits: int, target: str) -> None:
    """Have a thread run on these CPUs alone; it takes CAP_SYS_NICE, also of root.

    A kernel thread has every capability, and who has fewer may not (cap_safe_nice()). Raises:
    KernelError, ENOENT where it is none of NAPI's; else with ``threads`` as the attribute.
    """
    if not is_napi(pid):
        raise KernelError("pin", target, errno.ENOENT)
    try:
        os.sched_setaffinity(pid, CpuSet(bits))
    except OSError as error:
        raise KernelError("pin", target, error.errno or errno.EIO, "", "threads") from None
