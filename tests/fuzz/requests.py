"""What others ask of netuned over D-Bus."""

from __future__ import annotations

from unittest.mock import MagicMock

from dbus_fast import DBusError

from netuned.bus.interfaces import Manager
from netuned.status import ManagerStatus, NicStatus, Status
from tests.fuzz.target import Target, sound


def _dbus(data: bytes) -> None:
    names = ("eth0", "e\x1b[31m\udcff")
    nics = tuple(NicStatus(n, name, "", "", "") for n, name in enumerate(names))
    controller, bus = MagicMock(), MagicMock()
    controller.status.return_value = Status(ManagerStatus("", ""), nics)
    manager = Manager(bus, controller, ManagerStatus("", ""))
    try:
        known = manager._known(data.decode("utf-8", "replace"))
    except DBusError as error:
        sound(error)
    else:
        assert known in ("", *names)


TARGETS = (
    Target("D-Bus name", _dbus, (b"eth0", b"e\x1b[31m\\xff"), (b"/", b"\0", b"\\xff", b"e" * 70)),
)
