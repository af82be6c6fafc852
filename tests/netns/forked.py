"""Programs without their imports: ``python -m tests.netns.forked NAME`` has them, and forks each.

They are most of what a start of the daemon or of ``netunedctl`` costs. What is inherited is
otherwise as with a program that `ip netns exec` runs: a namespace of the network's, and mounts of
its own with that one's /sys.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netuned import __main__ as daemon

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC, MS_SLAVE = 1 << 14, 1 << 19
MNT_DETACH = 2


GUESTS = Path(__file__).parents[1] / "vm/guest/usr/local/lib/netuned-lab/forked.py"
"""What does the same for ``netunedctl`` in a virtual machine, and knows what it imports."""


class Forked:
    """A program that was forked, with what is used of ``subprocess.Popen``."""

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.returncode = os.waitstatus_to_exitcode(int(self._ended.recv(16)))
            self._ended.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            select.select([self._ended], [], [], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("netuned", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    program: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int,
    stderr: int,
    namespace: Path | None,
) -> Forked:
    """Fork ``netuned`` or ``netunedctl``; ``words`` are its arguments.

    With the path of a named namespace of the network's it runs in that one, else where this thread
    is.
    """
    server = _server(program)
    inside = namespace is not None
    request = json.dumps(
        {"inside": inside, "words": words, "environment": dict(environment), "cwd": os.getcwd()}
    )
    ours, theirs = socket.socketpair()
    where = namespace or Path("/proc/thread-self/ns/net")
    with theirs, where.open() as net, open("/proc/thread-self/ns/mnt") as mounts:
        files = [stdout, stderr, net.fileno(), mounts.fileno(), theirs.fileno()]
        socket.send_fds(server, [len(request).to_bytes(4, "big")], files)
        server.sendall(request.encode())
        return Forked(int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big"), ours)


def run(
    program: str, words: Sequence[str], environment: Mapping[str, str], namespace: Path | None
) -> subprocess.CompletedProcess[str]:
    """Fork a program as `start` does, and return what it said and ended with."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        files = {"stdout": stdout.fileno(), "stderr": stderr.fileno()}
        status = start(program, words, environment, **files, namespace=namespace).wait()
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess([program, *words], status, *said)


@functools.cache
def _server(program: str) -> socket.socket:
    """The other end of the process that forks a program; it goes with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-m", __name__, program, str(theirs.fileno())]
        subprocess.Popen(words, pass_fds=[theirs.fileno()], start_new_session=True)
    return ours


def load(program: str) -> Callable[[], object]:
    """Import a program. Returns its entry point."""
    loaded = daemon.load() if program == "netuned" else runpy.run_path(str(GUESTS))["load"]()
    main: Callable[[], object] = loaded.main
    return main


def serve(main: Callable[[], object], control: socket.socket) -> None:
    """Fork as asked, and tell of each that ended with what, until nobody can ask any more."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                os.write(running[ended[0]], str(ended[1]).encode())
                os.close(running.pop(ended[0]))
        if control in ready:
            head, files, _, _ = socket.recv_fds(control, 4, 5)
            if not head:
                return
            said = control.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            *inherited, status = files
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for file in (control, woken, wakes):
                    file.close()
                for number in (*running.values(), status):
                    os.close(number)
                _become(inherited, **json.loads(said))
                main()
            running[pid] = status
            for number in inherited:
                os.close(number)
            control.sendall(pid.to_bytes(4, "big"))


def _become(
    files: Sequence[int],
    inside: bool,
    words: Sequence[str],
    environment: Mapping[str, str],
    cwd: str,
) -> None:
    """What `ip netns exec` does, if it is to be ``inside``; then what an exec would."""
    stdout, stderr, net, mounts = files
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    _call("setns", mounts, CLONE_NEWNS)
    _call("setns", net, CLONE_NEWNET)
    if inside:
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"", b"/", b"none", ctypes.c_ulong(MS_SLAVE | MS_REC), None)
        _call("umount2", b"/sys", MNT_DETACH)
        _call("mount", b"netns", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
    for number in files:
        os.close(number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = words


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    program, control = sys.argv[1:]
    sys.argv = [program]
    serve(load(program), socket.socket(fileno=int(control)))
