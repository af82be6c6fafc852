"""Tries what netuned's unit must refuse and must allow; prints JSON: name -> done, or an errno."""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PTRACE_SEIZE = 0x4206
SIOCETHTOOL, ETHTOOL_GDRVINFO = 0x8946, 3
NR_INIT_MODULE, NR_BPF = 175, 321
NR_SHMGET, NR_IO_SETUP, NR_KEYCTL, NR_IO_URING_SETUP = 29, 206, 250, 425
"""Of x86-64."""
MANY_THREADS = 100
WRITTEN = "/var/lib/netuned/probe"
DEVICE_FILES = (
    *("resource0", "config", "remove", "reset", "rescan", "driver_override", "enable"),
    *("sriov_numvfs", "numa_node", "power/control"),
)


def call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, name)


def create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.unlink(path)


def rewrite(path: str) -> None:
    """Write what is there already."""
    with open(path) as file:
        content = file.read()
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def opened(family: int) -> None:
    socket.socket(family, socket.SOCK_RAW if family == socket.AF_PACKET else socket.SOCK_DGRAM)


def cards() -> list[str]:
    """Without the loopback, and without the file that the bonding module puts there."""
    names = sorted(set(os.listdir("/sys/class/net")) - {"lo"})
    return [name for name in names if os.path.isdir(f"/sys/class/net/{name}")]


def ethtool() -> None:
    name = cards()[0]
    answer = bytearray(struct.pack("I", ETHTOOL_GDRVINFO) + bytes(200))
    buffer = (ctypes.c_char * len(answer)).from_buffer(answer)
    request = struct.pack("16sP", name.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asking:
        fcntl.ioctl(asking, SIOCETHTOOL, request.ljust(40, b"\0"))


def mask() -> None:
    for name in cards():
        rewrite(f"/sys/class/net/{name}/queues/rx-0/rps_cpus")


def device(name: str) -> str:
    """A file of a PCI card's own device, beside its network device."""
    devices = (f"/sys/class/net/{card}/device" for card in cards())
    return next(f"{path}/{name}" for path in devices if os.path.exists(f"{path}/sriov_numvfs"))


def only_open(path: str, flags: int = os.O_WRONLY) -> None:
    """Which says all, and changes nothing."""
    os.close(os.open(path, flags | os.O_NONBLOCK))


def any_device() -> None:
    """Whether a file below /sys/devices can be opened for writing that is no network device's.

    Nor a node's huge pages, whose numbers netuned sets.
    """
    opened = []
    for directory, below, names in os.walk("/sys/devices"):
        if os.path.basename(directory) in ("net", "hugepages"):
            below.clear()
        for path in (f"{directory}/{name}" for name in names):
            with contextlib.suppress(OSError):
                only_open(path)
                opened.append(path)
    if opened:
        raise OSError(f"opened: {opened}")
    raise PermissionError(errno.EACCES, "each")


def any_configuration() -> None:
    """Of a PCI device, by the older of its two ways."""
    (bus, *_) = (entry.path for entry in os.scandir("/proc/bus/pci") if entry.is_dir())
    only_open(f"{bus}/{min(os.listdir(bus))}")


def irq(directory: str) -> None:
    for number in sorted(filter(str.isdigit, os.listdir(directory)), key=int, reverse=True):
        try:
            return rewrite(f"{directory}/{number}/smp_affinity")
        except OSError as error:
            if error.errno != errno.EIO:  # the kernel's own
                raise
    raise FileNotFoundError(errno.ENOENT, "no interrupt")


def set_uid() -> None:
    path = "/var/lib/netuned/probe"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


def owner() -> None:
    path = "/var/lib/netuned/probe"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        os.chown(path, 65534, 65534)
    finally:
        os.unlink(path)


def run(*words: str) -> None:
    """Without a pipe, which is refused, too."""
    os.waitpid(os.posix_spawn(words[0], words, {}), 0)


def written(attempt: Callable[[int], object]) -> None:
    """Try something with a program of one's own making."""
    descriptor = os.open(WRITTEN, os.O_RDWR | os.O_CREAT, 0o700)
    try:
        os.write(descriptor, b"#!/bin/true\n".ljust(4096))
        attempt(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(WRITTEN)


def threads() -> None:
    over = threading.Event()
    try:
        for _ in range(MANY_THREADS):
            threading.Thread(target=over.wait).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "thread") from error
    finally:
        over.set()


def disk() -> None:
    # PrivateDevices leaves no disk in /dev; its number is known all the same
    os.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0))


TRIED: dict[str, Callable[[], object]] = {
    "write /etc": lambda: create("/etc/probe"),
    "write /usr": lambda: create("/usr/probe"),
    "write /root": lambda: create("/root/probe"),
    "write /var": lambda: create("/var/probe"),
    "write /boot": lambda: create("/boot/probe"),
    "read /home": lambda: os.listdir("/home"),
    "write /proc/sys/kernel": lambda: rewrite("/proc/sys/kernel/panic"),
    "write /sys/kernel": lambda: rewrite("/sys/kernel/mm/ksm/run"),
    "write /sys/module": lambda: rewrite("/sys/module/kernel/parameters/panic"),
    "write kernel log": lambda: os.open("/dev/kmsg", os.O_WRONLY),
    "AF_INET socket": lambda: opened(socket.AF_INET),
    "AF_INET6 socket": lambda: opened(socket.AF_INET6),
    "AF_PACKET socket": lambda: opened(socket.AF_PACKET),
    "load a module": lambda: call("syscall", NR_INIT_MODULE, None, 0, b""),
    "ptrace": lambda: call("ptrace", PTRACE_SEIZE, 1, None, None),
    "user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "network namespace": lambda: call("unshare", CLONE_NEWNET),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None),
    "reboot": lambda: call("reboot", 0x89ABCDEF),
    "set the clock": lambda: call("clock_settime", 0, struct.pack("ll", 1 << 30, 0)),
    "change the owner": owner,
    "set-uid file": set_uid,
    "real-time priority": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "open a disk": disk,
    "bpf": lambda: call("syscall", NR_BPF, 0, bytes(128), 128),
    "run a program": lambda: run("/usr/bin/true"),
    "run what it wrote": lambda: written(lambda _: run(WRITTEN)),
    "map what it wrote": lambda: written(
        lambda file: mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    ),
    "keyring": lambda: call("syscall", NR_KEYCTL, 0, -3, 1),
    "lock memory": lambda: call("mlock", ctypes.create_string_buffer(4096), 4096),
    "set the user": lambda: os.setuid(0),
    "asynchronous I/O": lambda: call("syscall", NR_IO_SETUP, 1, ctypes.byref(ctypes.c_ulong())),
    "io_uring": lambda: call("syscall", NR_IO_URING_SETUP, 1, bytes(120)),
    "shared memory": lambda: call("syscall", NR_SHMGET, 0, 4096, 0o1600),
    "pipe": os.pipe,
    "many threads": threads,
    "write /sys/devices/system": lambda: rewrite(
        "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    ),
    "write /sys/devices/virtual": lambda: rewrite("/sys/devices/virtual/mem/null/uevent"),
    **{
        f"write a device's {name}": lambda name=name: only_open(device(name))  # type: ignore[misc]
        for name in DEVICE_FILES
    },
    "write any other of a device's files": any_device,
    "read a device's registers": lambda: only_open(device("resource0"), os.O_RDONLY),
    "unbind a driver": lambda: only_open(device("driver/unbind")),
    "write /sys/bus/pci": lambda: only_open("/sys/bus/pci/rescan"),
    "write /proc/bus/pci": any_configuration,
    "write /proc/sysrq-trigger": lambda: os.open("/proc/sysrq-trigger", os.O_WRONLY),
    "write /proc/self": lambda: rewrite("/proc/self/oom_score_adj"),
    "read /proc/kcore": lambda: os.open("/proc/kcore", os.O_RDONLY),
    "run kill": lambda: run("/bin/kill", "-0", str(os.getpid())),
    "write /var/lib/netuned": lambda: create("/var/lib/netuned/probe"),
    "write /proc/sys/net": lambda: rewrite("/proc/sys/net/core/rps_sock_flow_entries"),
    "write /proc/sys/vm": lambda: rewrite("/proc/sys/vm/max_map_count"),
    "write the number of huge pages": lambda: rewrite(
        "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    ),
    "write a queue's mask": mask,
    "write /proc/irq": lambda: irq("/proc/irq"),
    "write an affinity": lambda: irq(os.environ["NETUNED_IRQ_DIRECTORY"]),
    "write a control group": lambda: create("/sys/fs/cgroup/probe"),
    "AF_UNIX socket": lambda: opened(socket.AF_UNIX),
    "AF_NETLINK socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "ethtool": ethtool,
    "read another's /proc": lambda: os.close(os.open("/proc/1/comm", os.O_RDONLY)),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


if "INVOCATION_ID" not in os.environ:  # what succeeds here is not undone
    sys.exit("only for the unit that tests/vm/test_security.py makes")
print(json.dumps({name: outcome(attempt) for name, attempt in TRIED.items()}))
