"""The guest's end of the command channel: JSON lines over a virtio-serial port.

Every request has an `id` and is served by a thread of its own; the answer carries the same `id`.
Binary data is base64. `channel.py` is the host's end.
"""

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked

PYTHON = "/usr/lib/netuned/venv/bin/python"
SYSTEM_BUS = "/run/dbus/system_bus_socket"
PORT_NAME = "netuned.agent"

Message = dict[str, Any]


class Port:
    """The virtio-serial port: one reader, many writers, whole lines."""

    def __init__(self) -> None:
        self._fd = os.open(self._find(), os.O_RDWR)
        self._writing = threading.Lock()

    @staticmethod
    def _find() -> Path:
        """By its name in sysfs: udev's symlink may come late, and a test may stop udev."""
        while True:
            for entry in Path("/sys/class/virtio-ports").glob("*/name"):
                if entry.read_text().strip() == PORT_NAME:
                    return Path("/dev", entry.parent.name)
            time.sleep(0.1)

    def lines(self) -> Iterator[bytes]:
        """What the host sends, for ever; an end of file means that it is not connected."""
        rest = bytearray()
        while True:
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                rest.clear()
                time.sleep(0.1)
                continue
            searched = len(rest)
            rest += chunk
            while (end := rest.find(b"\n", searched)) >= 0:
                yield bytes(rest[:end])
                del rest[: end + 1]
                searched = 0

    def send(self, message: Message) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        with self._writing:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Netunedctl:
    """The process that forks for each call of ``netunedctl``, from the first such call on."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def environment(self) -> dict[str, str]:
        """What has bash use it; nothing where netuned is not installed."""
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                if not os.path.exists(PYTHON):
                    return {}
                self._process = subprocess.Popen(
                    [PYTHON, "-B", forked.__file__],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
                assert self._process.stdout
                if not self._process.stdout.readline():
                    return {}
        return forked.ENVIRONMENT


class Bus:
    """A connection to the system bus that is kept: to start busctl takes the guest 0.5 s."""

    def __init__(self) -> None:
        self._calling = threading.Lock()
        self._stream: Any = None

    def call(self, hello: bytes, message: bytes, within_s: float) -> bytes:
        """Send a call; its answer as it comes. ``hello`` is the first call of a connection."""
        with self._calling:
            try:
                if self._stream is None:
                    self._connect(hello, within_s)
                return self._exchange(message)
            except BaseException:
                self._stream = None
                raise

    def _connect(self, hello: bytes, within_s: float) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within_s)
            connection.connect(SYSTEM_BUS)
            self._stream = connection.makefile("rwb")
        self._stream.write(b"\0AUTH EXTERNAL 30\r\n")  # user 0, in hexadecimal digits of its text
        self._stream.flush()
        if not self._stream.readline().startswith(b"OK"):
            raise OSError("the bus takes no one")
        self._stream.write(b"BEGIN\r\n")
        self._exchange(hello)

    def _exchange(self, message: bytes) -> bytes:
        self._stream.write(message)
        self._stream.flush()
        while True:
            head = self._stream.read(16)
            body, fields = struct.unpack("<4xI4xI", head)
            answer: bytes = head + self._stream.read((fields + 7) // 8 * 8 + body)
            if head[1] in (2, 3):  # not a signal: an answer, an error
                return answer


NETUNEDCTL, BUS = Netunedctl(), Bus()


def run(request: Message) -> Message:
    """Run a bash command. Output goes to files, so what it leaves behind holds nothing up."""
    command = request["command"]
    ours = NETUNEDCTL.environment() if "netunedctl" in command else {}
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.monotonic()
        process = subprocess.Popen(
            ["/bin/bash", "-c", command],
            env=os.environ | ours,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            rc: int | None = process.wait(request["timeout_s"])
        except subprocess.TimeoutExpired:
            rc = None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        duration_s = time.monotonic() - start
        stdout.seek(0)
        stderr.seek(0)
        return {
            "rc": rc,
            "stdout": encode(stdout.read()),
            "stderr": encode(stderr.read()),
            "duration_s": duration_s,
        }


def put(request: Message) -> Message:
    """Write a file at one stroke, its folders with it."""
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".lab-", delete=False) as temporary:
        temporary.write(base64.b64decode(request["data"]))
        os.fchmod(temporary.fileno(), request["mode"])
    os.replace(temporary.name, path)
    return {}


def get(request: Message) -> Message:
    return {"data": encode(Path(request["path"]).read_bytes())}


def clock(_request: Message) -> Message:
    return {"monotonic_s": time.monotonic()}


def bus(request: Message) -> Message:
    """A call on the system bus and its answer, as they are on the wire."""
    hello, message = (base64.b64decode(request[name]) for name in ("hello", "message"))
    return {"answer": encode(BUS.call(hello, message, request["timeout_s"]))}


OPERATIONS = {"run": run, "put": put, "get": get, "clock": clock, "bus": bus}


def answer(port: Port, request: Message) -> None:
    try:
        reply = OPERATIONS[request["op"]](request)
    except Exception as error:  # noqa: BLE001 (whatever it is, the host must hear of it)
        reply = {"error": f"{type(error).__name__}: {error}"}
    port.send({"id": request["id"], **reply})


def main() -> None:
    port = Port()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # the first newline ends whatever an agent before this one left half said
    port.send({"hello": boot_id})
    for line in port.lines():
        try:
            request = json.loads(line)
        except ValueError:
            continue
        threading.Thread(target=answer, args=(port, request), daemon=True).start()


if __name__ == "__main__":
    main()
