"""A host in miniature: a network namespace with multi-queue veth cards, a private bus, the daemon.

Tests, the demonstration and the benchmarks use it. Nothing outside the namespace is changed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from netuned.bus.client import Client
from netuned.errors import BusError

from . import forked

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""

BEHIND_S = 0.25
"""Fifty times as long as the daemon's lines wait for others: their thread has to have its turn on a
busy machine, too."""

_serial = itertools.count()


class Lab:
    """Use as a context manager; everything it made is gone afterwards, also after Ctrl-C."""

    module = "netuned"
    forks = False
    """Whether daemons are forked off a process that has their imports: where it is all the same."""

    above: str | None = None
    """Where its directory is made; else where temporary files are."""

    def __init__(self) -> None:
        self.namespace = f"netuned-{os.getpid()}-{next(_serial)}"
        self.directory = Path(tempfile.mkdtemp(prefix="netuned-lab-", dir=self.above))
        self.profiles = self.directory / "profiles.d"
        self.log = self.directory / "netuned.log"
        self._memory = Path(tempfile.mkdtemp(prefix="netuned-lab-", dir="/dev/shm"))
        (self.directory / "run").symlink_to(self._memory)  # as /run is
        self._bus: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | forked.Forked | None = None

    def __enter__(self) -> Self:
        self.directory.chmod(0o755)
        self.profiles.mkdir()
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.daemon, self._bus):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)
        for directory in (self.directory, self._memory):
            shutil.rmtree(directory, ignore_errors=True)

    # The namespace

    def command(self, *words: str) -> list[str]:
        """The words that run a command inside, where /sys shows the namespace's own cards."""
        return ["ip", "netns", "exec", self.namespace, *words]

    @property
    def _where(self) -> Path:
        return Path("/run/netns", self.namespace)

    def _runs_plainly(self) -> bool:
        """Whether ``command`` is this class's own."""
        return type(self).command is Lab.command and "command" not in vars(self)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), check=check, capture_output=True, text=True, env=self.environment
        )

    def shell(self, script: str) -> str:
        """Run a line of shell inside and return what it printed."""
        return self.run("sh", "-ec", script).stdout

    def add_pair(self, first: str, second: str, queues: int = 8) -> None:
        """Two veth cards cabled to each other, up."""
        self.add_pairs([(first, second)], queues)

    def add_pairs(self, pairs: Iterable[tuple[str, str]], queues: int = 8) -> None:
        """Hundreds too: to start a program for each would take longer than to make them."""
        many = f"numrxqueues {queues} numtxqueues {queues}"
        lines = []
        for first, second in pairs:
            lines.append(f"link add {first} {many} type veth peer name {second} {many}")
            lines += [f"link set {first} up", f"link set {second} up"]
        batch = self.directory / "batch"
        batch.write_text("\n".join(lines))
        self.run("ip", "-batch", str(batch))

    def attribute(self, ifname: str, queue: str, file: str) -> str:
        return self.shell(f"cat /sys/class/net/{ifname}/queues/{queue}/{file}").strip()

    # The bus and the daemon

    @property
    def environment(self) -> dict[str, str]:
        bus = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.directory}/bus"}
        return {**os.environ, **bus, "PYTHONDONTWRITEBYTECODE": ""}

    def start_bus(self) -> None:
        config = self.directory / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=self.directory / "bus"))
        self._bus = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nosyslog"],
            stderr=subprocess.DEVNULL,
        )
        self.wait(lambda: (self.directory / "bus").exists(), "the private bus")

    def start(self, *arguments: str, bus: bool = True, wait: bool = True) -> None:
        """Start the daemon, and return once systemd would have been told READY."""
        if bus and self._bus is None:
            self.start_bus()
        words = (
            *("--profiles", str(self.profiles)),
            *("--state-directory", str(self.directory / "state")),
            *("--runtime-directory", str(self.directory / "run")),
            *("--settings", str(self.directory / "netuned.yaml"), *arguments),
        )
        with _notify_socket(self.directory / "notify") as heard, self.log.open("ab") as log:
            environment = {**self.environment, "NOTIFY_SOCKET": str(self.directory / "notify")}
            if self.forks and self.module == "netuned" and self._runs_plainly():
                files = {"stdout": 1, "stderr": log.fileno()}
                self.daemon = forked.start(
                    "netuned", words, environment, **files, namespace=self._where
                )
            else:
                program = self.command(sys.executable, "-m", self.module, *words)
                self.daemon = subprocess.Popen(program, env=environment, stderr=log)
            if wait:
                process = self.daemon
                ready = lambda: b"READY=1" in heard() or process.poll() is not None  # noqa: E731
                self.wait(ready, "READY", 20, every_s=0.001)
                assert process.poll() is None, f"it ended with {process.poll()}: {self.logged()}"
        if wait and bus:
            self.wait(self._answers, "D-Bus")

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal and return the seconds until the daemon was gone."""
        assert self.daemon is not None
        start = time.monotonic()
        self.daemon.send_signal(number)
        self.daemon.wait(10)
        return time.monotonic() - start

    def ctl(
        self, *arguments: str, check: bool = True, inside: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run netunedctl, ``inside`` if it is to look at the namespace's cards itself.

        Raises: AssertionError with what it said, where ``check`` is set.
        """
        if self.forks and self._runs_plainly():
            where = self._where if inside else None
            done = forked.run("netunedctl", arguments, self.environment, where)
        else:
            words = (sys.executable, "-m", "netuned.cli", *arguments)
            done = subprocess.run(
                self.command(*words) if inside else words,
                check=False,
                capture_output=True,
                text=True,
                env=self.environment,
            )
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}; log:\n{self.logged()}"
            raise AssertionError(f"netunedctl {arguments}: {done.returncode}: {said}")
        return done

    def on_a_terminal(self, answer: str, *words: str, **environment: str) -> tuple[int, str]:
        """netunedctl's exit status and what was seen, with an answer to each question."""
        command = self.command(sys.executable, "-m", "netuned.cli", *words)
        pid, terminal = pty.fork()
        if not pid:
            os.execvpe(command[0], command, {**os.environ, **self.environment, **environment})
        seen, answered = "", 0
        while select.select([terminal], [], [], 60)[0]:
            try:
                seen += os.read(terminal, 4096).decode()
            except OSError:  # it has ended
                break
            if seen.count("[y/N] ") > answered:
                answered += 1
                os.write(terminal, answer.encode() + b"\n")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen

    @contextlib.contextmanager
    def asking(self) -> Iterator[Client]:
        """netunedctl's side of D-Bus in this process: to start a program takes 50 times as long."""
        before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = self.environment["DBUS_SYSTEM_BUS_ADDRESS"]
        try:
            client = Client()
        finally:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
            if before is not None:
                os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
        with client:
            yield client

    def status(self) -> dict[str, Any]:
        """What ``netunedctl status --json`` prints."""
        with self.asking() as client:
            answer: dict[str, Any] = json.loads(json.dumps(asdict(client.status()), default=dict))
        return answer

    def _answers(self) -> bool:
        try:
            self.status()
        except BusError:
            return False
        return True

    def card(self, ifname: str) -> dict[str, Any]:
        """One card's status; empty when the daemon does not know it."""
        return next((nic for nic in self.status()["nics"] if nic["name"] == ifname), {})

    def wait_state(self, ifname: str, state: str, timeout_s: float = 30) -> None:
        try:
            self.wait(lambda: self.card(ifname).get("state") == state, state, timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.card(ifname)}; log:\n{self.logged()}") from None

    def profile(self, name: str, text: str) -> Path:
        """Drop a profile as an administrator would: whole, in one step."""
        draft, path = self.directory / "draft", self.profiles / f"{name}.yaml"
        draft.write_text(text)
        draft.chmod(0o644)
        draft.rename(path)
        return path

    def logged(self) -> str:
        """The log, with all that led to what was seen before: the daemon writes it behind."""
        time.sleep(BEHIND_S)
        return self.log.read_text() if self.log.exists() else ""

    @staticmethod
    def wait(
        condition: Callable[[], object], what: str, timeout_s: float = 30, every_s: float = 0.01
    ) -> None:
        """Poll until true. Raises: TimeoutError naming what was waited for."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {timeout_s} s")
            time.sleep(every_s)


@contextlib.contextmanager
def _notify_socket(path: Path) -> Iterator[Callable[[], bytes]]:
    """Play the service manager: collect what the daemon notifies."""
    import socket

    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        heard = bytearray()

        def collect() -> bytes:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.extend(listener.recv(4096) + b"\n")
            return bytes(heard)

        yield collect
