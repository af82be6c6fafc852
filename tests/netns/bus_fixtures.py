"""A private system bus with netuned's own policy, the real service on it, and callers of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from netuned.bus import wire
from netuned.bus.service import BusService
from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.plan import Change, Plan, Problem
from netuned.status import (
    AT_ONCE,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    PARTIAL,
    POLLED,
    UNMANAGED,
    UNSUPPORTED,
    Applied,
    ManagerStatus,
    NicStatus,
    ProfileStatus,
    QueueStatus,
    SettingStatus,
    Status,
)
from netuned.values import ChannelCounts, Qdisc

from . import forked

UNITS = Path(__file__).parents[2] / "units"
NOBODY = 65534
POLKITD = "/usr/lib/polkit-1/polkitd"
POLKIT_FOLDERS = ("/usr/share/polkit-1/actions", "/usr/share/polkit-1/rules.d")

T = TypeVar("T")

# As /usr/share/dbus-1/system.conf: nothing may be owned or called that no policy file allows.
BUS_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <servicedir>{folder}/services</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""


class PrivateBus:
    """A bus daemon that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix:path={folder}/bus"
        (folder / "services").mkdir()
        config = BUS_CONFIG.format(folder=folder, policy=UNITS / "org.netuned1.conf")
        (folder / "bus.conf").write_text(config)
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        bus = {"DBUS_SYSTEM_BUS_ADDRESS": self.address, "COLUMNS": "80", "TZ": "UTC"}
        return {**os.environ, **bus}

    def start(self) -> None:
        command = ["dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork", "--nosyslog"]
        with (self.folder / "bus.log").open("wb") as log:
            self._daemon = subprocess.Popen(command, stderr=log)
        wait_for(self._listens, "the private bus", 30)

    def _listens(self) -> bool:
        """Whether it takes connections: its socket is there a moment before that."""
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(f"{self.folder}/bus") == 0

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()
            self._daemon = None
        (self.folder / "bus").unlink(missing_ok=True)

    def run(self, *command: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program of the system's on this bus."""
        words = ["setpriv", f"--reuid={uid}", "--clear-groups", *command] if uid else command
        environment = self.environment
        return subprocess.run(words, check=False, capture_output=True, text=True, env=environment)

    def ctl(self, *words: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        """Run netunedctl; another user's turns into it after its imports, which he may not read."""
        script = (
            "import contextlib, importlib, io, os, sys; from netuned.cli.main import main, run;"
            "importlib.import_module('netuned.cli.' + sys.argv[1]);"
            "contextlib.redirect_stdout(io.StringIO()).__enter__(); run(['status', '--json']);"
            f"sys.stdout = sys.__stdout__; os.setuid({uid}); main()"
        )
        if not uid:
            return forked.run("netunedctl", words, self.environment, None)
        return self.run(sys.executable, "-c", script, *words)

    def connect(self) -> DBusConnection:
        return open_dbus_connection(self.address)


@contextmanager
def private_bus() -> Iterator[PrivateBus]:
    folder = Path(tempfile.mkdtemp(prefix="netuned-bus-"))
    folder.chmod(0o755)  # others must reach the socket
    bus = PrivateBus(folder)
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()
        shutil.rmtree(folder)


@contextmanager
def polkit(bus: PrivateBus, rules: str) -> Iterator[None]:
    """The real polkitd on this bus, with netuned's actions and these rules and no others."""
    mounts = []
    for folder in POLKIT_FOLDERS:
        own = bus.folder / Path(folder).name
        own.mkdir()
        own.chmod(0o755)
        mounts.append(f"mount --bind {own} {folder}")
    shutil.copy(UNITS / "org.netuned1.policy", bus.folder / "actions")
    (bus.folder / "rules.d" / "50-test.rules").write_text(rules)
    script = " && ".join([*mounts, f"exec {POLKITD} --no-debug"])
    with (bus.folder / "polkit.log").open("wb") as log:
        command = ["unshare", "--mount", "sh", "-c", script]
        daemon = subprocess.Popen(command, env=bus.environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: owned(bus, "org.freedesktop.PolicyKit1"), "polkitd")
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def owned(bus: PrivateBus, name: str) -> bool:
    with bus.connect() as connection:
        reply = connection.send_and_get_reply(message_bus.NameHasOwner(name), timeout=5)
    return bool(reply.body[0])


class FakeController:
    """A daemon without cards: says what it is given, remembers what it was asked."""

    def __init__(self, status: Status) -> None:
        self.shown = status
        self.planned = Plan(())
        self.asked: list[tuple[str, ...]] = []
        self.pass_s = 0.0
        self.refuses_to_pause = True

    def status(self) -> Status:
        return self.shown

    async def reload(self) -> None:
        self.asked.append(("reload",))

    async def reconcile(self, ifname: str) -> None:
        self.asked.append(("reconcile", ifname))
        await asyncio.sleep(self.pass_s)
        self.planned = replace(self.planned, changes=())

    async def plan(self) -> Plan:
        return self.planned

    async def pause(self, ifname: str) -> None:
        if self.refuses_to_pause:
            raise KernelError("set channels", ifname, 22, "too many")

    async def resume(self, ifname: str) -> None:
        self.asked.append(("resume", ifname))

    async def begin_trial(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        self.asked.append(("begin_trial", ifname, str(timeout_s)))
        return "a1b2c3", "2026-11-21 12:00:00"

    async def confirm(self, id: str) -> None:
        self.asked.append(("confirm", id))

    async def roll_back(self, id: str) -> None:
        self.asked.append(("roll_back", id))

    async def restore(self, ifname: str, tunable: str) -> None:
        self.asked.append(("restore", ifname, tunable))


class Served:
    """The real service in a thread of its own."""

    def __init__(self, bus: PrivateBus, status: Status) -> None:
        self.bus = bus
        self.controller = FakeController(status)
        self.service = BusService(self.controller, bus.address)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._run = asyncio.run_coroutine_threadsafe(self.service.run(), self._loop)
        wait_for(lambda: owned(self.bus, wire.SERVICE), "the service")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._run.cancel)
        # Else its name would be taken for the next one's
        wait_for(lambda: vars(self.service)["_bus"] is None, "the end of the service")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Callable[[], T]) -> T:
        """Call a function in the service's thread."""

        async def call() -> T:
            return work()

        return self.wait(call())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def publish(self, status: Status) -> None:
        self.controller.shown = status
        self.do(lambda: self.service.publish(status))


@contextmanager
def served(bus: PrivateBus, status: Status) -> Iterator[Served]:
    service = Served(bus, status)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
        time.sleep(0.01)


class Listener:
    """Hears the signals that the service sends."""

    def __init__(self, bus: PrivateBus) -> None:
        self._connection = bus.connect()
        rule = MatchRule(type="signal", sender=wire.SERVICE)
        self._connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=5)

    def close(self) -> None:
        self._connection.close()

    def heard(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        """(path, member, body) of all signals sent up to now."""
        signals = []
        # What the service sent before it answers this arrives before the answer.
        ping = new_method_call(
            DBusAddress(wire.ROOT, wire.SERVICE, "org.freedesktop.DBus.Peer"), "Ping"
        )
        self._connection.send(ping)
        while HeaderFields.reply_serial not in (message := self._receive()).header.fields:
            fields = message.header.fields
            if fields.get(HeaderFields.sender, "") != "org.freedesktop.DBus":
                path, member = fields[HeaderFields.path], fields[HeaderFields.member]
                signals.append((path, member, message.body))
        return signals

    def _receive(self) -> Message:
        return self._connection.receive(timeout=5)


FQ = "fq flow_limit 1000 initial_quantum 15140 limit 10000 pacing 1 quantum 3028"


def _queues(count: int, rx_irq: int, tx_irq: int, step: int, qdisc: str) -> tuple[QueueStatus, ...]:
    rx = (QueueStatus("rx", i, rx_irq + i * step, str(4 + i)) for i in range(count))
    tx = (
        QueueStatus("tx", i, tx_irq + i * step, str(4 + i), "", f"{i},{i + 8}", qdisc)
        for i in range(count)
    )
    return (*rx, *tx)


IGB = NicStatus(
    2,
    "enp129s0",
    "igb",
    "edge",
    IN_SYNC,
    _queues(8, 60, 60, 1, FQ),
    (
        SettingStatus(
            *("channels", IN_SYNC, "8 combined", "8 combined", ""),
            wanted_values={"": {"combined": 8}},
            found_values={"": {"combined": 8}},
            writes=1,
            seen=AT_ONCE,
        ),
        SettingStatus("rss", IN_SYNC, "128 entries over 0-7", "128 entries over 0-7", seen=POLLED),
        SettingStatus("qdisc", IN_SYNC, f"mq, {FQ} ×8", f"mq, {FQ} ×8", seen=AT_ONCE),
    ),
    Applied(1795212003.5, "irq", "rx-3", "0-7", "7", "drift", list(range(8)), [7]),
)
VIRTIO = NicStatus(
    3,
    "enp0s3",
    "virtio_net",
    "edge",
    DRIFTED,
    _queues(4, 30, 31, 2, "fq_codel (kernel default)"),
    (
        SettingStatus("rss", UNSUPPORTED, reason="the device offers no receive side scaling here"),
        SettingStatus(
            "irq",
            CONTENDED,
            "4 5 6 7",
            "0-3 ×4",
            "irqbalance (pid 812) has changed it back 5 times in 60 s; trying again in 32 s",
            {f"rx-{queue}": [4 + queue] for queue in range(4)},
            {f"rx-{queue}": [0, 1, 2, 3] for queue in range(4)},
            *(9, 5, 1),
            Applied(1795212003.5, "irq", "rx-3", "0-3", "7", "drift", [0, 1, 2, 3], [7]),
        ),
    ),
)
E1000E = NicStatus(
    4,
    "enp0s5",
    "e1000e",
    "edge",
    PARTIAL,
    (QueueStatus("rx", 0, 50, "2"), QueueStatus("tx", 0, -1, "", "", "0-7", "fq")),
    (SettingStatus("rss", UNSUPPORTED, reason="one queue"),),
)
# A name that colours the terminal red and has a byte that is not UTF-8
ODD = NicStatus(
    5,
    "e\x1b[31m\udcff",
    "vmxnet3",
    "edge-with-a-rather-long-name",
    DEGRADED,
    settings=(SettingStatus("channels", DEGRADED, "8 combined", "4 combined"),),
    last_error="set channels: Invalid argument (EINVAL): too many; trying again in 16 s",
)
UNMANAGED_NIC = NicStatus(6, "veth0", "veth", "", UNMANAGED)

MANAGER = ManagerStatus(
    "0.1.0",
    DEGRADED,
    (
        ProfileStatus("base", "/usr/lib/netuned/profiles.d/base.yaml", "For all", 50, True),
        ProfileStatus(
            "edge",
            "/etc/netuned/profiles.d/edge.yaml",
            "Spread receive work over the card's own NUMA node, pace senders with fq",
            60,
            False,
            ("enp129s0", "enp0s3", "enp0s5"),
        ),
    ),
    ("/etc/netuned/profiles.d/x.yaml:3:5: irq.spread: 'al' is not one of pack, all",),
    ("/etc/netuned/netuned.yaml:1:18: confirm_timeout: 5 has no unit: 5s, 5m",),
    ("enp0s5: profiles edge and spare match it with priority 60, edge is used",),
    "",
    (SettingStatus("irqbalance", IN_SYNC, "exclude 60-67", "running, excludes 60-67"),),
    41,
)
STATUS = Status(MANAGER, (IGB, VIRTIO, E1000E, ODD, UNMANAGED_NIC))
EMPTY = Status(ManagerStatus("0.1.0", UNMANAGED))
CALM = Status(replace(MANAGER, profile_errors=(), problems=(), conflicts=()), (IGB, UNMANAGED_NIC))

PLAN = Plan(
    (
        Change(
            "enp0s3",
            "channels",
            "",
            ChannelCounts(0, 0, 2),
            ChannelCounts(0, 0, 4),
            "auto: one per CPU of 4-7, the card has at most 8",
            True,
        ),
        *(
            Change(
                "enp0s3",
                "irq",
                f"rx-{queue}",
                CpuSet.of(range(4)) if queue < 2 else None,
                CpuSet.of([4 + queue]),
                "one CPU per queue of 4-7; card on no node",
            )
            for queue in range(4)
        ),
        *(
            Change("enp0s3", "rps", f"rx-{queue}", CpuSet.of(range(8)), CpuSet(), "off")
            for queue in range(4)
        ),
        Change(
            "enp0s3", "qdisc", "root", Qdisc("mq", default=True), Qdisc("mq"), "parent of the rest"
        ),
        *(
            Change(
                "enp0s3",
                "qdisc",
                f"tx-{queue}",
                Qdisc("fq_codel") if queue < 2 else None,
                Qdisc("fq"),
                "the profile's kind",
            )
            for queue in range(4)
        ),
    ),
    (Problem("ens4", 'the CPU set "local & isolated" comes out empty: isolated is empty'),),
)
