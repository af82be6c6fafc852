"""The command line's side of D-Bus: asks the daemon, returns the same data it holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    HeaderFields,
    Message,
    MessageFlag,
    MessageType,
    new_method_call,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from netuned.bus import wire
from netuned.bus.unpacking import Unpacker
from netuned.errors import AbsentError, BusError
from netuned.status import (
    Applied,
    ManagerStatus,
    NicStatus,
    ProfileStatus,
    QueueStatus,
    SettingStatus,
    Status,
)

if TYPE_CHECKING:
    from netuned.plan import Change, Plan

READ_TIMEOUT_S = 10.0
CHANGE_TIMEOUT_S = 300.0
"""A pass can take seconds per card; polkit may ask for a password first."""
AGAIN_S = 0.1
"""After so long a call is made again for which the bus had no room: somebody floods netuned."""

INTERACTIVE = MessageFlag.allow_interactive_authorization

NOT_RUNNING = "netuned is not running, or only just starting: systemctl start netuned"
"""That nobody has its name on the bus: a daemon that starts connects within seconds."""

_PROPERTIES = DBusAddress(wire.ROOT, wire.SERVICE, "org.freedesktop.DBus.Properties")
_OBJECTS = DBusAddress(wire.ROOT, wire.SERVICE, "org.freedesktop.DBus.ObjectManager")
_MANAGER = DBusAddress(wire.ROOT, wire.SERVICE, wire.MANAGER)
_BUS = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")

_DBUS = "org.freedesktop.DBus.Error."
_NOT_RUNNING = {_DBUS + "ServiceUnknown", _DBUS + "NameHasNoOwner"}
_DENIED = {
    _DBUS + "AccessDenied",
    _DBUS + "AuthFailed",
    _DBUS + "InteractiveAuthorizationRequired",
}
_OTHER_VERSION = {
    _DBUS + "UnknownMethod",
    _DBUS + "UnknownInterface",
    _DBUS + "UnknownObject",
    _DBUS + "UnknownProperty",
}

T = TypeVar("T")


class Client:
    """A connection to the system bus (``DBUS_SYSTEM_BUS_ADDRESS``); all methods raise BusError.

    None of them starts the daemon: where it does not run, or no bus does, they raise AbsentError.
    """

    def __init__(self, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._read_timeout_s = read_timeout_s
        try:
            # by default jeepney gives a bus 1 s, which takes longer while somebody floods it
            self._connection: DBusConnection = open_dbus_connection(
                "SYSTEM", auth_timeout=read_timeout_s
            )
        except TimeoutError:
            raise BusError(
                f"the system bus did not answer within {read_timeout_s:.0f} s: "
                "`systemctl status dbus`"
            ) from None
        except (OSError, ValueError, RuntimeError, DBusErrorResponse) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise AbsentError(
                f"there is no system bus to reach netuned over: `systemctl status dbus` ({why})"
            ) from error
        self._connection.parser = Unpacker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def status(self, *, queues: bool = True) -> Status:
        """Everything the daemon shows, or all but the cards' queues, which are half of it."""
        call = new_method_call(_PROPERTIES, "GetAll", "s", (wire.MANAGER,))
        (manager,) = self._ask(call, self._read_timeout_s)
        (objects,) = self._ask(new_method_call(_OBJECTS, "GetManagedObjects"), self._read_timeout_s)
        nics = (
            nic_status(int(path.rpartition("/")[2]), interfaces[wire.NIC], queues=queues)
            for path, interfaces in objects.items()
            if wire.NIC in interfaces
        )
        return Status(manager_status(manager), tuple(sorted(nics, key=lambda nic: nic.ifindex)))

    def is_running(self) -> bool:
        """Whether a daemon is on the bus. Does not start it."""
        call = new_method_call(_BUS, "NameHasOwner", "s", (wire.SERVICE,))
        (running,) = self._ask(call, self._read_timeout_s)
        return bool(running)

    def plan(self) -> Plan:
        """What the daemon would change now; values are ``Told``."""
        from netuned.plan import Plan, Problem

        call = new_method_call(_MANAGER, "Plan")
        changes, problems, values, withheld = self._ask(call, CHANGE_TIMEOUT_S)
        return Plan(
            tuple(_change(*each, *told) for each, told in zip(changes, values, strict=True)),
            tuple(Problem(ifname, message) for ifname, message in problems),
            tuple(_change(*each) for *each, _ in withheld),
        )

    def reload(self) -> None:
        """Have the profiles read again and brought into force."""
        self._change("Reload")

    def reconcile(self, ifname: str = "") -> None:
        """Have one card, or all, looked at and brought into force; returns when that is done."""
        self._change("Reconcile", ifname)

    def pause(self, ifname: str = "") -> None:
        """Have one card, or all, left alone until ``resume``."""
        self._change("Pause", ifname)

    def resume(self, ifname: str = "") -> None:
        """End a pause."""
        self._change("Resume", ifname)

    def begin_trial(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        """As ``reconcile``, undone after a while unless confirmed.

        Returns the id and until when, in the daemon's local time; empty if nothing was changed.
        """
        call = new_method_call(_MANAGER, "Try", "su", (wire.text(ifname), timeout_s))
        id, until = self._ask(call, CHANGE_TIMEOUT_S, INTERACTIVE)
        return id, until

    def confirm(self, id: str) -> None:
        """Keep what was tried."""
        self._change("Confirm", id)

    def roll_back(self, id: str = "") -> None:
        """Undo what was tried, or all that waits to be confirmed."""
        self._change("Rollback", id)

    def restore(self, ifname: str = "", tunable: str = "") -> None:
        """Put back what was there before netuned, and have it left alone."""
        self._change("Restore", ifname, tunable)

    def _change(self, method: str, *arguments: str) -> None:
        shown = tuple(map(wire.text, arguments))
        call = new_method_call(_MANAGER, method, "s" * len(arguments), shown)
        self._ask(call, CHANGE_TIMEOUT_S, INTERACTIVE)

    def _ask(self, call: Message, timeout_s: float, flags: int = 0) -> tuple[Any, ...]:
        call.header.flags = MessageFlag(MessageFlag.no_auto_start | flags)
        until = time.monotonic() + timeout_s
        try:
            reply = self._connection.send_and_get_reply(call, timeout=timeout_s)
            while _was_full(reply) and (left_s := until - time.monotonic()) > 0:
                time.sleep(min(AGAIN_S, left_s))
                reply = self._connection.send_and_get_reply(call, timeout=left_s)
        except TimeoutError:
            raise BusError(
                f"netuned did not answer within {timeout_s:.0f} s: `systemctl status netuned`"
            ) from None
        except OSError as error:
            raise BusError(f"lost the system bus: {error.strerror or error}") from error
        body: tuple[Any, ...] = reply.body
        if reply.header.message_type is MessageType.error:
            method = call.header.fields[HeaderFields.member]
            name = reply.header.fields[HeaderFields.error_name]
            message = body[0] if body and isinstance(body[0], str) else name
            if name in _NOT_RUNNING:
                raise AbsentError(NOT_RUNNING)
            raise BusError(_explanation(method, name, message))
        return body


def _was_full(reply: Message) -> bool:
    """Whether the bus had no room for a call, as netuned's others had not been read yet."""
    said = (HeaderFields.error_name, HeaderFields.sender)
    full = [_DBUS + "LimitsExceeded", _BUS.bus_name]
    return [reply.header.fields.get(field) for field in said] == full


_COMMANDS = {"Reconcile": "apply", "Try": "apply --confirm"}
"""Of netunedctl, where a method is not called as its command is."""


def _explanation(method: str, name: str, message: str) -> str:
    if name in _DENIED and wire.ACTIONS.get(method):
        command = _COMMANDS.get(method, method.lower())
        return f"{command} needs root or the polkit action {wire.ACTIONS[method]}"
    if name in _OTHER_VERSION:
        return f"the netuned that runs is another version: systemctl restart netuned ({message})"
    if name == _DBUS + "NoReply":
        return "netuned ended before it answered: systemctl status netuned"
    return message


def _change(
    ifname: str,
    tunable: str,
    key: str,
    before: str,
    after: str,
    why: str,
    disruptive: bool,  # as it came
    before_value: object,
    after_value: object,
) -> Change:
    from netuned.plan import Change
    from netuned.values import Told

    was: Any = Told(before, before_value) if before else None
    will: Any = Told(after, after_value)
    return Change(ifname, tunable, key, was, will, why, disruptive)


def manager_status(values: Mapping[str, Any]) -> ManagerStatus:
    return ManagerStatus(
        version=values.get("Version", ""),
        state=values.get("State", ""),
        profiles=tuple(_record(ProfileStatus, wire.PROFILE, p) for p in values.get("Profiles", ())),
        profile_errors=tuple(values.get("ProfileErrors", ())),
        problems=tuple(values.get("Problems", ())),
        conflicts=tuple(values.get("Conflicts", ())),
        pending_confirm=values.get("PendingConfirm", ""),
        settings=_settings(values),
        writes=values.get("Writes", 0),
        loaded_at=values.get("LoadedAt", 0.0),
    )


def nic_status(ifindex: int, values: Mapping[str, Any], *, queues: bool = True) -> NicStatus:
    return NicStatus(
        ifindex=ifindex,
        name=values.get("Name", ""),
        driver=values.get("Driver", ""),
        profile=values.get("Profile", ""),
        state=values.get("State", ""),
        queues=tuple(
            _record(QueueStatus, wire.QUEUE, q)
            for q in (values.get("Queues", ()) if queues else ())
        ),
        settings=_settings(values),
        last_change=_applied(values.get("LastChange")),
        last_error=values.get("LastError", ""),
        through=tuple(values.get("Through", ())),
        altnames=tuple(values.get("Altnames", ())),
        since=values.get("Since", 0.0),
        paused=values.get("Paused", False),
    )


def _applied(values: Mapping[str, Any] | None) -> Applied | None:
    return _record(Applied, wire.APPLIED, values) if values else None


def _settings(values: Mapping[str, Any]) -> tuple[SettingStatus, ...]:
    return tuple(
        _record(SettingStatus, wire.SETTING, setting, tunable=tunable)
        for tunable, setting in values.get("Settings", {}).items()
    )


def _record(
    cls: type[T], signatures: Mapping[str, str], values: Mapping[str, Any], **known: str
) -> T:
    """A dataclass from an ``a{sv}``. Keys of a newer daemon are left out."""
    found: dict[str, Any] = {}
    for attribute, signature in signatures.items():
        if (key := wire.key(attribute)) in values:
            value = values[key]
            if signature == wire.CHANGE:
                value = _applied(value)
            elif signature == "as":
                value = tuple(value)
            found[attribute] = value
    return cls(**known, **found)
