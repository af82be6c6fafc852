"""Many cards for long: memory, descriptors, the longest block of the loop, who is in sync.

``--short`` is the same with fewer of everything. A simulated day is its 2,880 resyncs, each as the
timer makes it every 30 s, one after the other without the waits between; no clock is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection
from jeepney.low_level import calc_msg_size

from bench.table import Row, render
from netuned.bus import wire
from netuned.bus.client import Client
from netuned.reconcile.work import WORKERS
from tests.fuzz import __main__ as fuzz
from tests.netns.faults.runs import run as run_faults
from tests.netns.flooding import FLOODS, flooded
from tests.netns.lab import Lab

BLOCK_MS = 50.0
"""The longest block of the loop; or the lateness of a loop beside it that does nothing, if longer.

What others do to this machine is done to both.
"""

REPAIR_S = 5.0
"""Within this drift is to be repaired, whoever calls the daemon however often."""
ROOT_S = 30.0
"""Within this root's Reconcile is to be answered then; dbus-daemon is flooded as well."""

FUZZ_S = 5
"""For each reader."""

PROFILE = """\
match:
  - {{kind: veth}}
channels: {{combined: max}}
rps: {{cpus: {cpus}}}
xps: {{cpus: auto}}
qdisc: {{kind: pfifo, limit: 500}}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``slices`` is how many times memory is read in the simulated day.

    ``block_ms`` holds up the loop once in each part, to see that this is noticed.
    """

    cards: int = 200
    queues: int = 8
    drifts: int = 2000
    drift_s: float = 10.0
    reloads: int = 1000
    clients: int = 200
    rounds: int = 5
    resyncs: int = 2880
    slices: int = 24
    floods: tuple[str, ...] = tuple(FLOODS)
    flood_s: float = 5.0
    block_ms: int = 0


SHORT = Size(
    cards=20, drifts=100, drift_s=0.5, reloads=50, clients=20, rounds=2, resyncs=100, slices=10,
    floods=("Plan unanswered", "everything unread"), flood_s=0.5,
)  # fmt: skip


class SoakLab(Lab):
    """The daemon with a heartbeat in its loop."""

    module = "bench.soaked"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "NETUNED_SOAK_SOCKET": str(self.directory / "soak")}


class Soak:
    """One daemon over many cards; each part of the soak leaves rows of the table."""

    def __init__(self, lab: SoakLab, size: Size) -> None:
        self.lab = lab
        self.size = size
        self.rows: list[Row] = []
        self.figures: list[dict[str, Any]] = []
        """The daemon's, of the present part."""
        pairs = range(size.cards // 2)
        self.names = [name for n in pairs for name in (f"lan{n}", f"plan{n}")]
        self.random = random.Random(0)

    def run(self) -> list[Row]:
        """All parts, in an order that leaves the day to the end, when all caches are filled."""
        with _bare_loop() as self.bare:
            return self._run()

    def _run(self) -> list[Row]:
        size = self.size
        pairs = zip(self.names[::2], self.names[1::2], strict=True)
        self.lab.add_pairs(pairs, size.queues)
        self.lab.profile("edge", PROFILE.format(cpus="0-1"))
        start = time.monotonic()
        self.lab.start()
        assert self.lab.daemon is not None
        self.process = psutil.Process(self.lab.daemon.pid)
        self.class_net = Path(f"/proc/{self.lab.daemon.pid}/root/sys/class/net")
        self._wait_in_sync()
        took = time.monotonic() - start
        what = f"{size.cards} cards × {size.queues} queues"
        self.rows.append(Row("start to all in sync", took, "s", None, what))
        self.masks = self._read_masks()
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.lab.directory / "soak"))
            self.control = control.makefile("rw")
            self._block("start")
            self._command(2 * WORKERS)  # each worker opens its sockets at its first
            for part in (self._drift, self._reload, self._read):
                part()
            if size.floods:
                self._flood()
            self._day()
        self._wait_in_sync()
        off = sum(1 for path, mask in self._read_masks().items() if self.masks[path] != mask)
        self.rows.append(Row("masks other than wanted at the end", off, "", 0, "read in sysfs"))
        return self.rows

    # The parts

    def _drift(self) -> None:
        """Foreign writes at an even pace: masks by files, qdiscs by tc."""
        size = self.size
        tc = subprocess.Popen(
            self.lab.command("tc", "-force", "-batch", "-"),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert tc.stdin is not None
        with self._part("drift"):
            start = time.monotonic()
            for number in range(size.drifts):
                time.sleep(max(0.0, start + number * size.drift_s / size.drifts - time.monotonic()))
                name, queue = self.random.choice(self.names), self.random.randrange(size.queues)
                if number % 10:
                    what = f"rx-{queue}/rps_cpus" if number % 2 else f"tx-{queue}/xps_cpus"
                    (self.class_net / name / "queues" / what).write_text("0")
                else:
                    tc.stdin.write(f"qdisc replace dev {name} parent 4e54:{queue + 1:x} bfifo\n")
                    tc.stdin.flush()
            made_s = time.monotonic() - start
            tc.stdin.close()
            tc.wait()
            self._wait_in_sync()
            settled_s = time.monotonic() - start - made_s
        self.rows.append(
            Row("drift: in sync after the last", settled_s, "s", None, f"{size.drifts} events")
        )

    def _reload(self) -> None:
        """By D-Bus; every twentieth with another mask for every queue of every card."""
        spent = []
        with self._part("reload"), Client() as client:
            for number in range(self.size.reloads):
                if number % 20 == 10:
                    cpus = "0" if number % 40 == 10 else "0-1"
                    self.lab.profile("edge", PROFILE.format(cpus=cpus))
                start = time.monotonic()
                client.reload()
                spent.append(1000 * (time.monotonic() - start))
            self.lab.profile("edge", PROFILE.format(cpus="0-1"))
            client.reload()
            self._wait_in_sync()
        took = statistics.median(spent)
        self.rows.append(Row("reload: each", took, "ms", None, f"{len(spent)}, median"))

    def _read(self) -> None:
        """All clients ask for everything at the same moment, several times."""
        spent, sizes = [], []
        with self._part("read"), ExitStack() as connections:
            address = f"unix:path={self.lab.directory}/bus"
            clients = [
                connections.enter_context(open_dbus_connection(address))
                for _ in range(self.size.clients)
            ]
            for _ in range(self.size.rounds):
                start = time.monotonic()
                sizes.append(_ask_all([client.sock for client in clients]))
                spent.append(time.monotonic() - start)
        what = f"{self.size.clients} clients, {sizes[0] / 1e6:.2f} MB each"
        self.rows.append(Row("read: all answered", statistics.median(spent), "s", None, what))

    def _flood(self) -> None:
        """A local user calls as fast as the bus lets him, in each of several ways."""
        address = f"unix:path={self.lab.directory}/bus"
        rows, held, before = [], 0, self.process.memory_info().rss
        with self._part("floods"):
            for name in self.size.floods:
                repairs: list[float] = []
                answers: list[float] = []
                with Client() as root, flooded(address, name):
                    until = time.monotonic() + self.size.flood_s
                    while not answers or time.monotonic() < until:
                        repairs.append(self._repair_s())
                        start = time.monotonic()
                        root.reconcile(self.random.choice(self.names))
                        answers.append(time.monotonic() - start)
                worst, answer = max(repairs), max(answers)
                held += worst <= REPAIR_S and answer <= ROOT_S
                grown = (self.process.memory_info().rss - before) / 1e6
                what = f"of {len(repairs)}; memory {grown:+.1f} MB"
                rows += [
                    Row(f"{name}: worst repair", worst, "s", REPAIR_S, what),
                    Row(f"{name}: root's Reconcile", answer, "s", ROOT_S, "the longest"),
                ]
        tried = len(self.size.floods)
        self.rows += [*rows, Row("floods not held", tried - held, "", 0, f"{tried} tried")]

    def _repair_s(self) -> float:
        """Change a mask, and see how long that lasts; seconds."""
        path = self.random.choice(tuple(self.masks))
        path.write_text("0")
        start = time.monotonic()
        self.lab.wait(lambda: path.read_text() == self.masks[path], "a repair", 60, every_s=0.001)
        return time.monotonic() - start

    def _day(self) -> None:
        """The resyncs of a day; memory at the end of each slice, the first of which warms up."""
        size = self.size
        start = time.monotonic()
        with self._part("day"):
            memory = []
            for _ in range(size.slices):
                self._command(size.resyncs // size.slices)
                memory.append(self.process.memory_info().rss / 1e6)
        took = 1000 * (time.monotonic() - start) / size.resyncs
        self.rows.append(Row("day: each resync", took, "ms", None, f"{size.resyncs}, mean"))
        later = memory[len(memory) // 4 :]
        slope = statistics.linear_regression(range(len(later)), later).slope * size.slices
        self.rows.append(Row("day: memory's slope", slope, "MB", 0.5, "per day, after its quarter"))

    # Measuring

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """Note what a part did to the loop, the memory and the descriptors."""
        _ask(self.bare)
        self._command(0, self.size.block_ms)
        self.figures.clear()
        memory, descriptors = self.process.memory_info().rss, self.process.num_fds()
        yield
        self._block(name)
        grown = (self.process.memory_info().rss - memory) / 1e6
        gained = self.process.num_fds() - descriptors
        self.rows += [
            Row(f"{name}: memory gained", grown, "MB", 8, f"from {memory / 1e6:.0f} MB"),
            Row(f"{name}: descriptors gained", gained, "", 0, f"from {descriptors}"),
        ]

    def _block(self, name: str) -> None:
        self._command(0)
        blocked, late = (max(f[key] for f in self.figures) for key in ("blocked_ms", "late_ms"))
        callback, whose = max((f["callback_ms"], f["callback"]) for f in self.figures)
        bare_ms = _ask(self.bare)["late_ms"]
        what = "lateness of a heartbeat, less its waiting for a processor"
        where = f"processor time, {whose}"
        bare = f"a loop that does nothing: {bare_ms:.0f} ms"
        bound = max(BLOCK_MS, round(bare_ms))
        self.rows += [
            Row(f"{name}: longest block of the loop", blocked, "ms", bound, what),
            Row(f"{name}: longest callback", callback, "ms", BLOCK_MS, where),
            Row(f"{name}: longest lateness", late, "ms", None, bare),
        ]

    def _command(self, resyncs: int, block_ms: int = 0) -> None:
        """Have the daemon look at all cards so often, and note its figures until then."""
        self.control.write(f"{resyncs} {block_ms}\n")
        self.control.flush()
        self.figures.append(json.loads(self.control.readline()))

    # Cards

    def _read_masks(self) -> dict[Path, str]:
        """What the kernel has, of every queue."""
        paths = [
            self.class_net / name / "queues" / file
            for name in self.names
            for queue in range(self.size.queues)
            for file in (f"rx-{queue}/rps_cpus", f"tx-{queue}/xps_cpus")
        ]
        return {path: path.read_text() for path in paths}

    def _wait_in_sync(self) -> None:
        def in_sync() -> bool:
            time.sleep(0.1)  # who asks is not to be what is measured
            with Client() as client:
                states = {nic.state for nic in client.status().nics if nic.name in names}
            return states == {"in-sync"}

        names = set(self.names)
        self.lab.wait(in_sync, "all cards in sync", timeout_s=120)


@contextmanager
def _bare_loop() -> Iterator[subprocess.Popen[str]]:
    """A process whose loop has nothing but the heartbeat."""
    words = [sys.executable, "-m", "bench.soaked", "--bare"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bare:
        yield bare


def _ask(bare: subprocess.Popen[str]) -> dict[str, Any]:
    """Its figures since it was last asked."""
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write("\n")
    bare.stdin.flush()
    answer: dict[str, Any] = json.loads(bare.stdout.readline())
    return answer


def _ask_all(sockets: list[socket.socket]) -> int:
    """Send GetManagedObjects on every connection, then read until all have the answer.

    Returns the bytes of one answer. Only their heads are looked at: to decode them would take this
    process far longer than it takes netuned to give them.
    """
    address = DBusAddress(wire.ROOT, wire.SERVICE, "org.freedesktop.DBus.ObjectManager")
    call = new_method_call(address, "GetManagedObjects").serialise(serial=1000)
    answer = 0
    with selectors.DefaultSelector() as selector:
        for connection in sockets:
            selector.register(connection, selectors.EVENT_READ, bytearray())
        for connection in sockets:
            connection.sendall(call)
        while selector.get_map():
            for key, _ in selector.select(timeout=60):
                received: bytearray = key.data
                received += os.read(key.fd, 1 << 20)
                while len(received) >= 16 and len(received) >= (size := calc_msg_size(received)):
                    if received[1] == MessageType.method_return.value:
                        answer = size
                        selector.unregister(key.fileobj)
                    del received[:size]
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--short", action="store_true")
    size = SHORT if parser.parse_args().short else Size()
    rows = measure(size)
    if size != SHORT:
        rows += [*_faults(), *_odd_input()]
    print(f"Linux {platform.release()}, Python {platform.python_version()}; {size}\n")
    print(render(rows))
    return 0 if all(row.holds for row in rows) else 1


def _faults() -> list[Row]:
    """Every call failing in each way, names that change at each, a kill at each step."""
    figures = run_faults()
    tried = f"{figures.faults} faults injected, {figures.renames} changes of names"
    what = f"{tried}, {figures.kills} kills; {figures.seconds:.0f} s"
    for case in figures.failed:
        print(f"not survived: {case}")
    return [Row("faults and kills not survived", len(figures.failed), "", 0, what)]


def _odd_input() -> list[Row]:
    """Every reader given odd input for a while; ``make fuzz`` does it for longer."""
    found = fuzz.run(FUZZ_S).values()
    what = f"{sum(tried.inputs for tried in found)} inputs tried by {len(found)} readers"
    return [Row("tracebacks of odd input", sum(t.tracebacks for t in found), "", 0, what)]


def measure(size: Size) -> list[Row]:
    """A soak of this size in a namespace of its own."""
    lab = SoakLab()
    with lab, bus_of(lab):
        try:
            return Soak(lab, size).run()
        except Exception as error:
            error.add_note(f"daemon: {lab.daemon and lab.daemon.poll()}; {lab.logged()[-4000:]}")
            raise


@contextmanager
def bus_of(lab: Lab) -> Iterator[None]:
    """Have this process's clients use the lab's bus."""
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = lab.environment["DBUS_SYSTEM_BUS_ADDRESS"]
    try:
        yield
    finally:
        del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


if __name__ == "__main__":
    sys.exit(main())
