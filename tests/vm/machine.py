"""A running virtual machine: commands and files in, results out."""

import base64
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from jeepney import Message, MessageType, Parser, message_bus

from . import hardware, host
from .channel import Answer, Channel
from .host import LabError
from .image import Disk, System

T = TypeVar("T")

ACCEL = "tcg,thread=multi"
ANSWER_S = 60.0
"""How long an answer may be on its way: emulated CPUs, and a host that has other work."""
CONSOLE_LINES = 30


class CommandError(LabError):
    """A command in the guest failed or took too long."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest came to; `duration_s` is by the guest's clock."""

    command: str
    rc: int
    stdout_bytes: bytes
    stderr_bytes: bytes
    duration_s: float

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode(errors="surrogateescape")

    def __str__(self) -> str:
        head = f"$ {self.command}\nrc {self.rc} after {self.duration_s:.1f} s"
        return "\n".join(part for part in (head, self.stdout, self.stderr) if part)


class Machine:
    """One QEMU process and the connection to the agent in its guest.

    `console` is the file with everything the guest's serial console says; `disk` what was booted.
    """

    def __init__(
        self, disk: Disk, console: Path, *, accel: str = ACCEL, append: tuple[str, ...] = ()
    ) -> None:
        self.console = console
        self.disk = disk
        self._runtime = tempfile.TemporaryDirectory(prefix="netuned-lab-")
        runtime = Path(self._runtime.name)
        command_line = hardware.kernel_command_line("systemd.getty_auto=no", *append)
        argv = hardware.qemu(disk, runtime, f"file:{console}", command_line, accel)
        self._qmp_path = runtime / "qmp"
        self._qemu_log = runtime / "qemu.log"
        with self._qemu_log.open("wb") as log:
            self._process = subprocess.Popen(
                hardware.in_own_network(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=host.environment(),
                # a terminal's Ctrl-C is for the tests: they end the machine with close()
                start_new_session=True,
            )
        try:
            self._channel = self._connect(runtime / "agent")
        except BaseException:
            self._end_process()
            self._runtime.cleanup()
            raise

    @property
    def system(self) -> System:
        return self.disk.system

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the machine as pulling its plug would; nothing but `console` stays."""
        self._end_process()
        self._channel.close()
        self._runtime.cleanup()

    def wait_for_agent(self, timeout_s: float = 180) -> None:
        """Wait until commands can be run."""
        try:
            self._channel.wait_for_agent(timeout_s)
        except LabError as error:
            raise LabError(f"{error}\n{self.console_tail()}") from error

    def wait_for_boot(self, timeout_s: float = 180) -> str:
        """Wait until systemd has started all it wanted to: its state, `running` or `degraded`."""
        self.wait_for_agent(timeout_s)
        waited = self.run("systemctl is-system-running --wait", timeout_s, check=False)
        return waited.stdout.strip()

    def reboot(self, timeout_s: float = 240, *, clean: bool = True) -> None:
        """Start the guest again on the same disk; not `clean` is a power failure."""
        before = self._channel.wait_for_agent(ANSWER_S)
        if clean:
            self.run("systemctl --no-block reboot")
        else:
            self.qmp("system_reset")
        self._channel.wait_for_agent(timeout_s, not_boot=before)
        self.wait_for_boot(timeout_s)

    def run(self, command: str, timeout_s: float = 60, check: bool = True) -> Result:
        """Run a bash command as root in the guest.

        Its standard input is empty; what it leaves running in the background goes on.

        Raises:
            CommandError: it ran longer than `timeout_s` (and was killed with its process group)
                or, if `check`, its exit status was not 0.
        """
        answer = self._request("run", timeout_s + ANSWER_S, command=command, timeout_s=timeout_s)
        rc: int | None = answer["rc"]
        result = Result(
            command,
            -1 if rc is None else rc,
            base64.b64decode(answer["stdout"]),
            base64.b64decode(answer["stderr"]),
            answer["duration_s"],
        )
        if rc is None:
            raise CommandError(f"killed after {timeout_s:.0f} s: {result}")
        if check and rc != 0:
            raise CommandError(str(result))
        return result

    def put(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file in the guest at one stroke; folders are made as needed."""
        content = data.encode() if isinstance(data, str) else data
        self._request("put", path=path, data=base64.b64encode(content).decode(), mode=mode)

    def get(self, path: str) -> bytes:
        """Read a file of the guest."""
        return base64.b64decode(self._request("get", path=path)["data"])

    def call(self, message: Message) -> tuple[Any, ...]:
        """Call a method on the guest's system bus, as root: what it returns.

        Raises:
            CommandError: the answer was an error.
        """
        hello, sent = (
            base64.b64encode(each.serialise(serial)).decode()
            for serial, each in ((1, message_bus.Hello()), (2, message))
        )
        answer = self._request("bus", 2 * ANSWER_S, hello=hello, message=sent, timeout_s=ANSWER_S)
        parser = Parser()
        parser.add_data(base64.b64decode(answer["answer"]))
        reply = parser.get_next_message()
        if reply.header.message_type is MessageType.error:
            raise CommandError(f"{message.header.fields}: {reply.header.fields} {reply.body}")
        returned: tuple[Any, ...] = reply.body
        return returned

    def monotonic_s(self) -> float:
        """The guest's CLOCK_MONOTONIC: what its journal and its kernel stamp with."""
        seconds: float = self._request("clock")["monotonic_s"]
        return seconds

    @overload
    def wait_until(
        self, condition: str, timeout_s: float, what: str, every_s: float = ...
    ) -> Result: ...

    @overload
    def wait_until(
        self, condition: Callable[[], T], timeout_s: float, what: str, every_s: float = ...
    ) -> T: ...

    def wait_until(
        self,
        condition: str | Callable[[], T],
        timeout_s: float,
        what: str,
        every_s: float = 0.2,
    ) -> Result | T:
        """Wait for a command to exit with 0 or for a function's result to be true; return that.

        Between two looks it pauses as long as a look takes, at least: what is waited for needs the
        same CPUs.

        Raises:
            CommandError: it was not so within `timeout_s`; the message has the last that was seen.
        """
        deadline = time.monotonic() + timeout_s
        seen: Result | T
        while True:
            began = time.monotonic()
            if isinstance(condition, str):
                result = self.run(condition, timeout_s, check=False)
                seen, done = result, result.rc == 0
            else:
                value = condition()
                seen, done = value, bool(value)
            if done:
                return seen
            now = time.monotonic()
            if now > deadline:
                raise CommandError(f"not within {timeout_s:.0f} s: {what}; last seen: {seen}")
            time.sleep(max(every_s, now - began))

    def qmp(self, command: str, **arguments: str | int | bool) -> object:
        """Give QEMU itself a command, such as `set_link` with a card's id from `hardware`.

        Raises:
            LabError: QEMU refused it.
        """
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as stream:
            connection.connect(str(self._qmp_path))
            for name, values in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": values}).encode() + b"\n")
                stream.flush()
                # the greeting and events come in between
                reply: dict[str, object] = {}
                while not reply.keys() & {"return", "error"}:
                    reply = json.loads(stream.readline())
        if "error" in reply:
            raise LabError(f"QEMU: {command}: {reply['error']}")
        return reply["return"]

    def outside(self, *argv: str) -> str:
        """Run a command of the host where the tap device is: virtio-net's cable ends there."""
        return host.run(*self.cable, *argv)

    @property
    def cable(self) -> tuple[str, ...]:
        """What a command begins with to run where the tap device is."""
        return ("nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--")

    def console_tail(self, lines: int = CONSOLE_LINES) -> str:
        """The last that the serial console and QEMU itself said."""
        console = self.console.read_text(errors="replace") if self.console.exists() else ""
        said = "\n".join(console.splitlines()[-lines:])
        return f"--- {self.console}\n{said}\n--- QEMU\n{self._qemu_log.read_text()}"

    def _request(self, op: str, within_s: float = ANSWER_S, **fields: str | float) -> Answer:
        return self._channel.request(op, within_s, **fields)

    def _connect(self, path: Path) -> Channel:
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                return Channel(path)
            except OSError as error:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    why = self._qemu_log.read_text() or error
                    raise LabError(f"QEMU did not start: {why}") from error
            time.sleep(0.05)

    def _end_process(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
