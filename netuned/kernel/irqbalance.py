"""irqbalance's own interface: its process, its socket, and the policy script it asks.

A ban sent over the socket dies with the process, replaces --banirq, and up to 1.9.4 is cut at 500
bytes. So cards are excluded by ``--policyscript``: irqbalance asks it about every interrupt before
it places it. The unit's drop-in adds the argument through an environment file that exists only
while a profile wants it.

Whether it does leave a card alone shows in ``stats``, which lists the interrupts it balances;
``setup`` knows only of bans from the command line and the socket.

Source: irqbalance 1.9 classify.c (get_irq_user_policy), irqbalance.c (sock_handle), irqbalance(1).
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from netuned import statefile
from netuned.errors import KernelError, UnsupportedError
from netuned.kernel.systemd import control_unit, is_changing
from netuned.records import dataclass
from netuned.values import Balancer, Exclusion

log = logging.getLogger(__name__)

UNIT = "irqbalance.service"
STARTED = f"/run/systemd/units/invocation:{UNIT}"
"""There from the unit's start to its end: systemd need not be asked about one that is not used."""
SOCKETS = "/run/irqbalance/irqbalance*.sock"
POLICY_DIRECTORY = "/usr/lib/netuned/irqbalance"
POLICY_ARGUMENT = f"--policyscript={POLICY_DIRECTORY}"
ARGUMENT_VARIABLES = ("IRQBALANCE_ARGS", "OPTIONS")
"""What distributions' units expand after the program's name."""

TIMEOUT_S = 5.0
"""It answers between its rounds; asking the policy script takes milliseconds per interrupt."""

ANSWER_MOST = 1 << 22
"""Bytes of an answer that are read; 10,000 interrupts take 300 KB."""

SIGNAL_EVERY_S = 15.0
"""A SIGHUP is heeded in its next round, every 10 s."""


@dataclass(frozen=True, slots=True)
class Running:
    """The irqbalance that runs now. ``balanced`` are the interrupts it says it places."""

    pid: int
    arguments: tuple[str, ...]
    balanced: frozenset[int]

    @property
    def asks_policy(self) -> bool:
        return POLICY_ARGUMENT in self.arguments


def read_running() -> Running | None:
    """The running irqbalance, or None. Raises: KernelError, ETIMEDOUT when it does not answer."""
    found = _find_running()
    if found is None:
        return None
    pid, arguments, path = found
    return Running(pid, arguments, _read_balanced(path))


def _find_running() -> tuple[int, tuple[str, ...], str] | None:
    """The pid, arguments and socket of the running irqbalance, without asking it anything."""
    import psutil  # 4 MB that a host without irqbalance need not have

    for path in glob.glob(SOCKETS):
        match = re.search(r"(\d+)\.sock$", path)
        if match is None:
            continue
        try:
            program, *arguments = psutil.Process(int(match[1])).cmdline()
        except (psutil.Error, ValueError):
            continue  # a socket left behind by a killed process
        if "irqbalance" in program:
            return int(match[1]), tuple(arguments), path
    return None


def _read_balanced(path: str) -> frozenset[int]:
    """Ask ``stats``: ``TYPE 0 NUMBER 3 LOAD 0 SAVE_MODE 0 IRQ 27 LOAD 0 DIFF 0 CLASS 4 …``."""
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(path)
            connection.sendall(b"stats")
            while len(answer) < ANSWER_MOST and (chunk := connection.recv(1 << 16)):
                answer += chunk
    except (BlockingIOError, ConnectionError, FileNotFoundError) as error:
        # it lets one client wait, which was here before; or it ends, as in a restart
        raise KernelError("ask", "irqbalance's socket", errno.ETIMEDOUT) from error
    except (OSError, TimeoutError) as error:
        raise KernelError("ask", "irqbalance's socket", error.errno or errno.ETIMEDOUT) from error
    return parse_balanced(answer)


def parse_balanced(answer: bytes) -> frozenset[int]:
    """The interrupts that an answer to ``stats`` lists."""
    return frozenset(int(number) for number in re.findall(rb"IRQ ([0-9]{1,9}) LOAD", answer))


class Unknown:
    """What a snapshot tells of irqbalance: nothing."""

    def is_told(self) -> bool:
        """Not that anybody knows."""
        return False

    def look(self) -> Balancer:
        """Raises: UnsupportedError."""
        raise UnsupportedError("irqbalance", "a snapshot does not tell of it")

    def exclude(self, devices: Iterable[str], interrupts: frozenset[int]) -> None:
        """Raises: UnsupportedError."""
        raise UnsupportedError("irqbalance", "a snapshot cannot be written")

    def stop(self) -> None:
        """Raises: UnsupportedError."""
        raise UnsupportedError("irqbalance", "a snapshot cannot be written")

    leave = stop


class Irqbalance:
    """irqbalance, and the files by which it is told, in netuned's runtime directory."""

    def __init__(self, runtime_directory: Path = Path("/run/netuned")) -> None:
        self._cards = runtime_directory / "irqbalance.cards"
        self._environment = runtime_directory / "irqbalance.env"
        self._stopped = runtime_directory / "irqbalance.stopped"
        self._signalled_at = -SIGNAL_EVERY_S
        self._restarted_pid = 0
        self._interrupts: frozenset[int] = frozenset()

    def is_told(self) -> bool:
        """Whether it was told something that it has not been freed of."""
        return any(map(os.path.exists, (self._stopped, self._cards)))

    def look(self) -> Balancer:
        """How it is, and what it was told.

        Raises: UnsupportedError for who may not ask it; KernelError.
        """
        told = Exclusion("leave")
        if os.path.exists(self._stopped):
            told = Exclusion("stop")
        elif os.path.exists(self._cards):
            devices = frozenset(_read(self._cards).splitlines())
            told = Exclusion("exclude", devices, self._interrupts)
        try:
            running = read_running()
        except KernelError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                raise UnsupportedError("irqbalance", "only root may ask it") from None
            if error.errno != errno.ETIMEDOUT:  # it answers between its rounds only
                raise
            return Balancer(told, running=True, waiting=True)
        if running is None:
            return Balancer(told, running=False, waiting=told.mode != "leave" and self._comes())
        waiting = time.monotonic() - self._signalled_at < SIGNAL_EVERY_S
        return Balancer(told, True, running.asks_policy, running.balanced, waiting)

    def _comes(self) -> bool:
        """Whether it does not run because it is being started, stopped or restarted just now."""
        restarted = self._restarted_pid and time.monotonic() - self._signalled_at < SIGNAL_EVERY_S
        return bool(restarted) or (os.path.lexists(STARTED) and is_changing(UNIT))

    def exclude(self, devices: Iterable[str], interrupts: frozenset[int]) -> None:
        """Leave these devices (sysfs paths) alone.

        Raises: UnsupportedError, KernelError.
        """
        self._interrupts = interrupts
        listed = _replace(self._cards, "".join(f"{device}\n" for device in sorted(devices)))
        if os.path.exists(self._stopped):
            self._start_again()
            return
        running = self._running()
        if running is None or (running.pid == self._restarted_pid and not running.asks_policy):
            return
        if not running.asks_policy:
            if own := [word for word in running.arguments if word.startswith("--policyscript")]:
                raise UnsupportedError("irqbalance", f"it has a policy script already: {own[0]}")
            if self._restarted_pid:
                raise UnsupportedError(
                    "irqbalance",
                    f"its unit expands none of {', '.join(ARGUMENT_VARIABLES)}; "
                    f"start it with {POLICY_ARGUMENT}",
                )
            self._write_environment(running)
            control_unit("RestartUnit", UNIT)
            self._restarted_pid = running.pid  # where systemd did not answer, it is asked again
            self._signalled_at = time.monotonic()
            log.info("irqbalance: restarted it with netuned's policy script")
            return
        self._restarted_pid = 0
        waited = time.monotonic() - self._signalled_at >= SIGNAL_EVERY_S
        if listed or (interrupts & running.balanced and waited):
            self._signalled_at = time.monotonic()
            try:
                os.kill(running.pid, signal.SIGHUP)
            except OSError as error:
                raise KernelError("signal", "irqbalance", error.errno or errno.EPERM) from error
            log.info("irqbalance: had it ask netuned's policy script again")

    def stop(self) -> None:
        """Stop it. Raises: UnsupportedError, KernelError.

        Like ``leave`` this asks nothing of irqbalance, which may be slow to answer.
        """
        if _find_running() is None and not self._comes():
            return
        _replace(self._stopped, "")
        control_unit("StopUnit", UNIT)
        self._signalled_at = time.monotonic()
        log.info("irqbalance: stopped it")

    def leave(self) -> None:
        """Undo whatever was done before. Raises: UnsupportedError, KernelError."""
        if os.path.exists(self._stopped):
            self._start_again()
            return
        if not os.path.exists(self._cards):
            return
        told = os.path.exists(self._environment)  # a restart may be under way that has read it
        _remove(self._environment)
        found = _find_running()
        if found is not None and (told or POLICY_ARGUMENT in found[1]):
            control_unit("RestartUnit", UNIT)
            log.info("irqbalance: restarted it without netuned's policy script")
        _remove(self._cards)  # last: while it is there, all this is tried again

    def _start_again(self) -> None:
        control_unit("StartUnit", UNIT)
        log.info("irqbalance: started it again")
        _remove(self._stopped)

    def _running(self) -> Running | None:
        """As it runs; None also while it is too busy to answer, to be asked again."""
        try:
            return read_running()
        except KernelError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            return None

    def _write_environment(self, running: Running) -> None:
        """Its present arguments and ours, in every variable a unit may expand."""
        arguments = " ".join((*running.arguments, POLICY_ARGUMENT))
        # Where the unit itself names --foreground, naming it twice does no harm.
        _replace(
            self._environment, "".join(f'{name}="{arguments}"\n' for name in ARGUMENT_VARIABLES)
        )


def _read(path: Path) -> str:
    """Raises: UnsupportedError for who may not read it; KernelError."""
    try:
        return statefile.read_limited(path).decode("utf-8")
    except PermissionError:
        raise UnsupportedError("irqbalance", "only root may read what it was told") from None
    except OSError as error:
        raise KernelError("read", str(path), error.errno or errno.EIO) from error
    except ValueError as error:
        raise KernelError("read", str(path), errno.EILSEQ) from error


def _remove(path: Path) -> None:
    """Remove a file if it is there. Raises: KernelError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise KernelError("remove", str(path), error.errno or errno.EIO) from error


def _replace(path: Path, text: str) -> bool:
    """Write a file if it differs; says whether it did. Raises: KernelError."""
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return False
        statefile.write_atomically(path, text.encode())
    except OSError as error:
        raise KernelError("write", str(path), error.errno or errno.EIO) from error
    return True
