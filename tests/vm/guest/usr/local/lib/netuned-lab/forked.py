"""``netunedctl`` for the lab's commands, without its start: 3 s of an emulated guest for each call.

A process that has loaded what the commands need forks for each; the child has the caller's own
standard files and directory. It is netuned's Python that runs this. Who is not bash, or says
/usr/bin/netunedctl, starts the program itself.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType

PORT = 4053
LOADED = (
    *("apply", "capture", "explain", "history", "plan", "profiles", "reload", "restore"),
    *("snapshot", "status"),
)
"""Of the commands those of which tests have many."""
LATER = (
    *("dataclasses", "json", "rich.cells", "systemd.journal", "netuned.counters.take"),
    *("netuned.planning.dropped", "netuned.planning.explain", "netuned.profiles.doubts"),
    *("netuned.snapshots.capturing", "netuned.snapshots.offline", "netuned.snapshots.snapshot"),
)
"""What these load once they run."""

FUNCTION = f"""() {{
    {{
        local status=1
        printf '%s\\0' $BASHPID "$@" $'\\n' >&3
        read -r -u 3 status
        return $status
    }} 3<>/dev/tcp/127.0.0.1/{PORT} 4<&0 5>&1 6>&2
}}"""
"""In bash's place of the program. To write it has another file as its output: so the caller's own
are given other numbers, by which the child takes them."""
ENVIRONMENT = {"BASH_FUNC_netunedctl%%": FUNCTION}

PIDFD_GETFD = 438


def load() -> ModuleType:
    """Import what the commands need, as the program does. Returns ``netuned.cli.main``."""
    gc.disable()
    importlib.import_module("netuned.leanness").leave_out()
    for name in (*(f"netuned.cli.{command}" for command in LOADED), *LATER):
        importlib.import_module(name)
    return importlib.import_module("netuned.cli.main")


def serve() -> None:
    """Say that it is ready, and serve for ever."""
    main = load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are the kernel's to end
    with socket.create_server(("127.0.0.1", PORT), backlog=64) as listening:
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    _call(connection, main.run)


def _call(connection: socket.socket, run: Callable[[Sequence[str]], int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        said = b""
        while not said.endswith(b"\0\n\0"):
            said += connection.recv(65536)
        pid, *words = said.decode(errors="surrogateescape").split("\0")[:-2]
        _become(int(pid))
        sys.argv = ["netunedctl", *words]
        status = run(words)
    except BaseException:  # noqa: BLE001 (as Python itself would show it)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            connection.sendall(f"{status}\n".encode())
        os._exit(status)


def _become(pid: int) -> None:
    """Take a process's directory, and its files 4 to 6 as standard ones."""
    os.chdir(f"/proc/{pid}/cwd")
    process = os.pidfd_open(pid)
    for number in range(3):
        file = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, 4 + number, 0)
        if file < 0:
            raise OSError(ctypes.get_errno(), f"no file {4 + number} of {pid}")
        os.dup2(file, number)
        os.close(file)
    os.close(process)
    # as Python opens them: the parent's may have been other kinds of files
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 (for all the process)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115


if __name__ == "__main__":
    serve()
