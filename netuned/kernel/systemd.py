"""systemd: readiness and watchdog of our own unit, and starting or stopping another."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Any

from systemd import daemon

from netuned.errors import KernelError, UnsupportedError

TIMEOUT_S = 20.0
LOOK_TIMEOUT_S = 2.0
SETTLE_S = 5.0

UNREACHABLE = frozenset(
    f"org.freedesktop.DBus.Error.{name}"
    for name in (
        *("NoReply", "Timeout", "TimedOut", "ServiceUnknown", "NameHasNoOwner"),
        *("Disconnected", "NoServer", "LimitsExceeded", "NoMemory"),
    )
)
"""What the bus says where systemd has not answered; everything else is systemd's own word."""


def notify(**fields: str | int) -> None:
    """Tell the service manager: ``notify(READY=1, STATUS="…")``; nothing where none listens.

    Source: sd_notify(3).
    """
    with contextlib.suppress(OSError):
        daemon.notify("\n".join(f"{name}={value}" for name, value in fields.items()))


def watchdog_interval_s() -> float:
    """How often WATCHDOG=1 is due, half of what the unit allows; 0 without a watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6


def control_unit(method: str, unit: str) -> None:
    """Queue a job: ``RestartUnit``, ``StopUnit``, ``StartUnit``. Returns without waiting for it.

    Raises: UnsupportedError when systemd refuses; KernelError when it cannot be reached or does
    not answer, which may pass.
    """
    manager = "org.freedesktop.systemd1.Manager"
    _ask("/org/freedesktop/systemd1", manager, method, unit, (unit, "replace"), TIMEOUT_S)


def is_changing(unit: str) -> bool:
    """Whether a unit is being started, stopped or restarted; not, where systemd does not say.

    One that was started is so for ``SETTLE_S``: a unit of the type ``simple`` is active before its
    program has opened anything. Source: org.freedesktop.systemd1(5), properties of a unit.
    """
    escaped = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
    path, interface = f"/org/freedesktop/systemd1/unit/{escaped}", "org.freedesktop.systemd1.Unit"

    def read(name: str) -> Any:
        asked = (interface, name)
        return _ask(path, "org.freedesktop.DBus.Properties", "Get", unit, asked, LOOK_TIMEOUT_S)

    try:
        (_, state), (_, (job, _)) = read("ActiveState"), read("Job")
        _, active_us = read("ActiveEnterTimestampMonotonic")
    except (KernelError, UnsupportedError):
        return False
    if state == "active":
        return bool(job) or time.monotonic() - active_us / 1e6 < SETTLE_S
    return bool(job) or state in ("activating", "deactivating", "reloading")


def _ask(
    path: str, interface: str, method: str, unit: str, body: tuple[str, str], timeout_s: float
) -> Any:
    """Call a method of systemd's that takes two texts, and is about a unit.

    Raises: as ``control_unit``.
    """
    # Imported where used: most hosts never need it, and it costs 3 MB.
    from jeepney import DBusAddress, DBusErrorResponse, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.wrappers import unwrap_msg

    address = DBusAddress(path, "org.freedesktop.systemd1", interface)
    try:
        with open_dbus_connection("SYSTEM", auth_timeout=timeout_s) as connection:
            call = new_method_call(address, method, "ss", body)
            reply = unwrap_msg(connection.send_and_get_reply(call, timeout=timeout_s))
    except DBusErrorResponse as error:
        said = error.data[0] if error.data else error.name
        if error.name in UNREACHABLE:
            raise KernelError(method, unit, errno.ETIMEDOUT, str(said)) from error
        raise UnsupportedError(f"{method} {unit}", str(said)) from error
    except TimeoutError as error:
        raise KernelError(method, unit, errno.ETIMEDOUT) from error
    except (OSError, KeyError) as error:
        # Not the error's own number: ENOENT of the bus's socket would mean that the card left.
        raise KernelError(method, unit, errno.ENOTCONN, f"no system bus: {error}") from error
    return reply[0] if reply else None
