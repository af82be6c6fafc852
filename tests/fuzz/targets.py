"""What netuned reads from outside, one target each: any bytes are read, or refused in a sentence.

A target takes bytes and returns; what it lets through is a traceback that a user would have seen.
``seeds`` are inputs that are right, to begin from, and ``words`` what such inputs are made of.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

from dbus_fast import DBusError

from netuned import statefile
from netuned.bus.interfaces import Manager
from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.kernel import events, irqbalance
from netuned.kernel.genl import Family, NetdevNetlink, resolve_family
from netuned.kernel.netlink import HEADER, NetlinkSocket
from netuned.kernel.rtnl import Rtnl
from netuned.placement import seatfile
from netuned.profiles import loader, settings, syntax
from netuned.reconcile import baseline
from netuned.snapshots import described, snapshot
from netuned.status import ManagerStatus, NicStatus, Status
from netuned.text import escape


@dataclass(frozen=True, slots=True)
class Target:
    """One input of netuned's."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def _sound(error: Exception) -> None:
    """An error's sentence is fit for a terminal and a log: one line, nothing that steers them."""
    said = str(error)
    assert said
    assert escape(said) == said, ascii(said)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# Text that people write


def _profile(data: bytes) -> None:
    directory = "/etc/netuned/profiles.d"
    recorded: loader.Recorded = {directory: {"edge.yaml": data, "base.yaml": b"irq: {cpus: all}"}}
    possible = CpuSet.parse_list("0-63")
    for error in loader.load((directory,), possible=possible, recorded=recorded).errors:
        _sound(error)


def _expression(data: bytes) -> None:
    try:
        expression = syntax.parse(_text(data))
    except NetunedError as error:
        _sound(error)
        return
    for node in expression.nodes():
        assert expression.source(node)


def _cpulist(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        cpus = CpuSet.parse_list(_text(data))
        assert CpuSet.parse_list(str(cpus)) == cpus


def _cpumask(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        cpus = CpuSet.parse_mask(_text(data))
        assert CpuSet.parse_mask(cpus.to_mask()) == cpus


def _settings(data: bytes) -> None:
    with patch.object(settings, "read_trusted", return_value=data):
        found = settings.load_settings("/etc/../etc/netuned.yaml", settings.Settings())
    for error in found.errors:
        _sound(error)


def _machine(data: bytes) -> None:
    try:
        described.machine(_text(data))
    except NetunedError as error:
        _sound(error)


# Files


@cache
def _directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="netuned-fuzz-", dir="/dev/shm"))


def _baseline(data: bytes) -> None:
    """With the checksum that belongs to it, else nothing but that would be tried."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        content = json.loads(data)
        if isinstance(content, dict) and "checksum" in content:
            rest = {k: v for k, v in content.items() if k not in ("version", "checksum")}
            content["checksum"] = statefile.checksum(rest)
            data = json.dumps(content).encode()
    path = _directory() / "baseline.json"
    path.write_bytes(data)
    try:
        baseline.Baseline(path, "boot").load()
    except NetunedError as error:
        _sound(error)


def _seats(data: bytes) -> None:
    try:
        seatfile.parse_seats(data)
    except ValueError as error:
        _sound(error)


def _snapshot(data: bytes) -> None:
    path = _directory() / "snapshot.tar"
    path.write_bytes(data)
    try:
        taken = snapshot.read(str(path))
        snapshot.recorded_profiles(taken)
    except NetunedError as error:
        _sound(error)


def _packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()[: -8 * tarfile.BLOCKSIZE]


MANIFEST = b'{"format": 1, "taken_at": 1, "refused": {"/proc/stat": ["EACCES", 292]}}'
ANSWERS = b"""{"links": {"2": {"name": "eth0", "kind": "", "up": true, "running": true, "master": 0,
"lower": 0, "mac": "", "rx_queues": 1, "tx_queues": 1}}, "cards": {"2": {"rx_rings": 4}}}"""


# Answers


class _Answers(NetlinkSocket):
    """Datagrams instead of a kernel."""

    def __init__(self, *datagrams: bytes) -> None:
        super().__init__(0)
        self._datagrams = datagrams

    def _send(self, message: bytes) -> tuple[Callable[[int], bytes], int]:
        left = iter(self._datagrams)

        def receive(size: int) -> bytes:
            try:
                return next(left)[:size]
            except StopIteration:
                raise BlockingIOError(11, "nothing more") from None

        return receive, 1


def _message(kind: int, payload: bytes, flags: int = 2) -> bytes:
    data = HEADER.pack(HEADER.size + len(payload), kind, flags, 1, 0) + payload
    return data + bytes(-len(data) % 4)


DONE = _message(3, bytes(4))


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _ask_everything(*datagrams: bytes) -> None:
    """Give these as the answer to everything that is asked over netlink."""
    opened = _Answers(*datagrams)
    rtnl, netdev = Rtnl(), NetdevNetlink()
    parts: tuple[Any, ...] = (rtnl, rtnl._qdisc_dump, rtnl._link_dump, netdev)
    for part in parts:
        part._socket = opened
    netdev._family = Family(20, {})
    for ask in (
        rtnl.qdiscs,
        rtnl.links,
        lambda: resolve_family(opened, "ethtool"),
        lambda: netdev.napi_interrupts(2),
    ):
        try:
            ask()
        except NetunedError as error:
            _sound(error)


def _netlink_datagrams(data: bytes) -> None:
    _ask_everything(data, DONE)


def _netlink_payloads(data: bytes) -> None:
    """Each line is a message's payload, in a frame that is right."""
    _ask_everything(b"".join(_message(36, part) for part in data.split(b"\n--\n")), DONE)


QDISC = struct.pack("=BBHiIII", 0, 0, 0, 2, 0x10000, 0xFFFFFFFF, 2)
QDISCS = tuple(
    QDISC + _attribute(1, kind + b"\0") + _attribute(2, options)
    for kind, options in {
        b"mq": b"",
        b"pfifo": struct.pack("=I", 500),
        b"fq": _attribute(1, struct.pack("=I", 10000)) + _attribute(9, struct.pack("=I", 7)),
        b"fq_codel": _attribute(1, struct.pack("=I", 4999)) + _attribute(4, struct.pack("=I", 1)),
    }.items()
)
LINK = (
    struct.pack("=BBHiII", 0, 0, 1, 2, 0x41, 0)
    + _attribute(3, b"eth0\0")
    + _attribute(18, _attribute(1, b"veth\0"))
    + _attribute(31, struct.pack("=I", 8))
)
GENERIC = b"\1\1\0\0" + _attribute(1, b"\x14\0") + _attribute(2, b"ethtool\0")
GENERIC += _attribute(7, _attribute(1, _attribute(1, b"monitor\0") + _attribute(2, bytes(4))))
NAPI = b"\x0b\1\0\0" + b"".join(_attribute(n, struct.pack("=I", n)) for n in (1, 2, 3, 4))
REFUSED = _message(2, struct.pack("=i", -22) + bytes(16) + _attribute(1, b"why not\0"), 0x300)


@cache
def _takers() -> tuple[Callable[[memoryview], None], ...]:
    """What the monitors do with a datagram."""
    takers: list[Callable[[memoryview], None]] = []

    def keep(opened: object, take: Callable[[memoryview], None], overrun: object) -> MagicMock:
        takers.append(take)
        return MagicMock()

    def heard(*arguments: object) -> None:
        pass

    with (
        patch.object(events, "Monitor", keep),
        patch.object(events, "open_socket"),
        patch.object(events, "resolve_family", return_value=Family(20, {"monitor": 3})),
    ):
        events.monitor_rtnl(heard, heard, heard)
        events.monitor_ethtool(heard, heard)
        events.monitor_uevents(heard, heard)
    return tuple(takers)


def _events(data: bytes) -> None:
    for take in _takers():
        take(memoryview(data))


def _irqbalance(data: bytes) -> None:
    for number in irqbalance.parse_balanced(data):
        assert number < 1 << 31


def _dbus(data: bytes) -> None:
    names = ("eth0", "e\x1b[31m\udcff")
    nics = tuple(NicStatus(n, name, "", "", "") for n, name in enumerate(names))
    controller, bus = MagicMock(), MagicMock()
    controller.status.return_value = Status(ManagerStatus("", ""), nics)
    manager = Manager(bus, controller, ManagerStatus("", ""))
    try:
        known = manager._known(data.decode("utf-8", "replace"))
    except DBusError as error:
        _sound(error)
    else:
        assert known in ("", *names)


BASELINE = {
    "version": baseline.VERSION,
    "checksum": "",
    "boot_id": "boot",
    "host": {"rfs": {"flows": 1}},
    "cards": {"5": {"ifindex": 2, "settings": {"rps": {"rx-0": {"cpus": "0-3"}}}}},
}
PROFILE = (Path(__file__).parents[2] / "profiles").glob("*.yaml")

TARGETS = (
    Target(
        "profile",
        _profile,
        tuple(path.read_bytes() for path in sorted(PROFILE)),
        (
            *(b"extends: [base]", b"extends: edge", b"&a ", b"*a", b"<<: ", b"!!python/x ", b"---"),
            *(b"irq:", b"cpus: ", b"0-3", b"rss:", b"weights: [1, 2]", b"match:", b"- ", b"\n  "),
            *(b"qdisc: {kind: fq}", b"auto", b"keep", b"1e999", b"0x7fffffffffffffffff", b"{"),
        ),
    ),
    Target(
        "CPU set",
        _expression,
        (b"local & housekeeping - first-threads | take(2, node:0)", b"0-3,8 | @irq"),
        (b"(", b")", b" - ", b"&", b"take(1,", b"l3:", b"99999999", b"\xc2\xb2", b"0-65535"),
    ),
    Target(
        "cpulist", _cpulist, (b"0-3,8,16-31:2/4",), (b"-", b",", b":1/2", b"65535", b"\xc2\xb2")
    ),
    Target("cpumask", _cpumask, (b"ff,00000001",), (b",", b"ffffffff", b"-1", b"0x", b"_")),
    Target("netuned.yaml", _settings, (b"confirm_timeout: 60s",), (b"9" * 30, b"1h", b"{", b"off")),
    Target(
        "described machine",
        _machine,
        (b"cores: 8\nnodes: 2\ncards:\n  - {name: eth0, driver: ice, queues: 8}\n",),
        (b"threads: 2", b"count: 64", b"over: [eth0]", b"kind: bond", b"mac: ", b"99999999", b"-1"),
    ),
    Target(
        "baseline",
        _baseline,
        (json.dumps(BASELINE).encode(),),
        (b"null", b"[" * 5000, b'{"":', b"1e999", b"NaN", b'"\\ud800"', b"true", b"-1", b'"qdisc"'),
    ),
    Target(
        "seats",
        _seats,
        (
            b'{"version": 1, "online": "0-3", "cards": '
            b'[{"device": "d", "name": "eth0", "home": [1, 2], "now": [1, -1]}]}',
        ),
        (b"null", b"[" * 5000, b"1e999", b"NaN", b'"\\ud800"', b"9" * 5000),
    ),
    Target(
        "snapshot",
        _snapshot,
        (
            _packed(("snapshot.json", MANIFEST), ("answers.json", ANSWERS), ("proc/x", b"1")),
            _packed(("snapshot.json", MANIFEST), ("answers.json", b"{}"), ("a" * 200, b"1")),
        ),
        (b"../", b"/etc/passwd\0", b"ustar", b"[" * 5000, b"7" * 11, b"\x80" + b"\xff" * 11, b"\0"),
    ),
    Target(
        "netlink datagram",
        _netlink_datagrams,
        (
            *(_message(36, qdisc) for qdisc in QDISCS),
            *(_message(16, LINK), _message(20, GENERIC), _message(20, NAPI), REFUSED, DONE),
        ),
        (b"\0\0\0\0", b"\xff\xff", b"\4\0\1\0", b"\xff\xff\xff\x7f"),
    ),
    Target(
        "netlink payload",
        _netlink_payloads,
        (*QDISCS, LINK, GENERIC, NAPI, b"\n--\n".join(QDISCS)),
        (b"\0\0\0\0", b"\xff\xff", b"\4\0\1\0", b"fq\0\0", b"cake\0\0\0\0", b"\n--\n"),
    ),
    Target(
        "kernel events",
        _events,
        (_message(16, LINK), _message(36, QDISCS[0]), b"add@/devices/x\0SUBSYSTEM=cpu\0A=b\0"),
        (b"\0", b"=", b"@", b"\x14\0", b"\xff\xff\xff\xff"),
    ),
    Target(
        "irqbalance",
        _irqbalance,
        (b"TYPE 0 NUMBER 3 LOAD 0 SAVE_MODE 0 IRQ 27 LOAD 0 DIFF 0 CLASS 4 ",),
        (b"IRQ ", b" LOAD", b"9" * 5000, b"-1"),
    ),
    Target("D-Bus name", _dbus, (b"eth0", b"e\x1b[31m\\xff"), (b"/", b"\0", b"\\xff", b"e" * 70)),
)
