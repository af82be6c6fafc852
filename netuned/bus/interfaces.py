"""The D-Bus interfaces: org.netuned1.Manager on the root object, org.netuned1.Nic on each card.

To add a method: a line in ``wire.ACTIONS``, a ``@_method`` here, an action in the polkit policy.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

from dbus_fast import DBusError, PropertyAccess, Variant
from dbus_fast import introspection as intr
from dbus_fast.annotations import (
    DBusBool,
    DBusDouble,
    DBusSignature,
    DBusStr,
    DBusUInt32,
    DBusUInt64,
)
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from netuned.bus import asker, polkit, records, wire
from netuned.bus.connection import Connection
from netuned.errors import NetunedError, StartingError
from netuned.plan import Plan
from netuned.profiles.timeout import MOST_S
from netuned.regex import regex
from netuned.status import STARTING, ManagerStatus, NicStatus, Status
from netuned.text import escape, no_such

READ = PropertyAccess.READ
NAME_LIMIT = 508
"""127 bytes (ALTIFNAMSIZ) if none of them is UTF-8: each is then four characters, ``\\xff``."""

_WORD = regex("[a-z0-9]{1,16}")

Nothing = Annotated[None, DBusSignature("")]
Strings = Annotated[list[str], DBusSignature("as")]
Record = Annotated[dict[str, Variant], DBusSignature("a{sv}")]
Records = Annotated[list[dict[str, Variant]], DBusSignature("aa{sv}")]
Settings = Annotated[dict[str, dict[str, Variant]], DBusSignature("a{sa{sv}}")]
PlanBody = Annotated[
    tuple[list[Any], list[Any], list[Any], list[Any]],
    DBusSignature("a(ssssssb)a(ss)a(vv)a(ssssssbvvs)"),
]
TwoTexts = Annotated[tuple[str, str], DBusSignature("ss")]
Names4 = Annotated[tuple[str, str, str, str], DBusSignature("ssss")]
Names3Time = Annotated[tuple[str, str, str, int], DBusSignature("ssst")]
Rows = Annotated[tuple[str, list[list[str]]], DBusSignature("sa(sssss)")]

P = ParamSpec("P")
T = TypeVar("T")


class Controller(Protocol):
    """What the service asks of the daemon. All is called in the event loop; raises NetunedError."""

    def status(self) -> Status:
        """The newest status; cheap."""

    async def reload(self) -> None:
        """Read the profiles again; returns when the pass that follows is done."""

    async def reconcile(self, ifname: str) -> None:
        """Look again at one card ("" for all); returns when that pass is done."""

    async def plan(self) -> Plan:
        """What a pass would change now."""

    async def pause(self, ifname: str) -> None:
        """Leave a card ("" for all) alone until ``resume``."""

    async def resume(self, ifname: str) -> None:
        """Manage a paused card ("" for all) again."""

    async def begin_trial(self, ifname: str, timeout_s: int) -> tuple[str, str]:
        """As ``reconcile``, undone after ``timeout_s`` unless confirmed. Its id, and until when."""

    async def confirm(self, id: str) -> None:
        """Keep what was tried."""

    async def roll_back(self, id: str) -> None:
        """Undo what was tried ("" for all that waits)."""

    async def restore(self, ifname: str, tunable: str) -> None:
        """Put back what was before netuned, and leave it alone ("" for all cards, tunables)."""


def _method(
    *results: str,
) -> Callable[[Callable[Concatenate[Manager, P], Awaitable[Any]]], Callable[..., None]]:
    """A method of the manager: refuses callers without its polkit action, names NetunedErrors.

    ``results`` are the names of what it returns, for introspection.
    """

    def decorate(
        function: Callable[Concatenate[Manager, P], Awaitable[Any]],
    ) -> Callable[..., None]:
        action = wire.ACTIONS[function.__name__]

        @functools.wraps(function)
        async def serve(self: Manager, *args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                with self.bus.callers.at_work():
                    if action:
                        await polkit.authorize(self.bus, action)
                    return await function(self, *args, **kwargs)
            except NetunedError as error:
                if polkit.is_awaited():
                    raise DBusError(error_name(error), wire.sentence(error)) from error
            except DBusError:
                if polkit.is_awaited():  # else dbus-fast logs a traceback
                    raise

        _RESULTS[function.__name__] = results
        return dbus_method()(serve)

    return decorate


_RESULTS: dict[str, tuple[str, ...]] = {
    "Drift": ("tunable", "key", "wanted", "found"),
    "Repaired": ("tunable", "key", "value", "latency_us"),
    "Changed": ("cause", "changes"),
}
"""Names of what methods return and signals carry: dbus-fast knows only their types."""


class _Interface(ServiceInterface):
    """What is said of a card, and of the host."""

    def introspect(self) -> intr.Interface:
        described = super().introspect()
        results = {method.name: method.out_args for method in described.methods}
        results |= {signal.name: signal.args for signal in described.signals}
        for member, args in results.items():
            for arg, name in zip(args, _RESULTS[member], strict=True):
                arg.name = name
        return described

    @dbus_signal()
    def Drift(self, tunable: str, key: str, wanted: str, found: str) -> Names4:
        return wire.text(tunable), wire.text(key), wire.text(wanted), wire.text(found)

    @dbus_signal()
    def Repaired(self, tunable: str, key: str, value: str, latency_us: int) -> Names3Time:
        return wire.text(tunable), wire.text(key), wire.text(value), latency_us

    @dbus_signal()
    def Changed(self, cause: str, changes: list[list[str]]) -> Rows:
        return cause, changes


class Manager(_Interface):
    """org.netuned1.Manager: the daemon and the host as a whole."""

    def __init__(self, bus: Connection, controller: Controller, status: ManagerStatus) -> None:
        super().__init__(wire.MANAGER)
        self.bus = bus
        self.controller = controller
        self.status = status

    @_method()
    async def Reload(self) -> Nothing:
        await asker.begin(self.controller.reload, "reload")

    @_method()
    async def Reconcile(self, ifname: DBusStr) -> Nothing:
        await self._begin(self.controller.reconcile, "apply", ifname)

    @_method("changes", "problems", "values", "withheld")
    async def Plan(self) -> PlanBody:
        """Described here; ``plans.Planners`` answers, once for all who wait."""
        raise AssertionError

    @_method()
    async def Pause(self, ifname: DBusStr) -> Nothing:
        await self._begin(self.controller.pause, "pause", ifname)

    @_method()
    async def Resume(self, ifname: DBusStr) -> Nothing:
        await self._begin(self.controller.resume, "resume", ifname)

    @_method("id", "until")
    async def Try(self, ifname: DBusStr, timeout_s: DBusUInt32) -> TwoTexts:
        if not 1 <= timeout_s <= MOST_S:
            text = f"a timeout has from 1 to {MOST_S} seconds"
            raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", text)
        work = partial(self.controller.begin_trial, timeout_s=timeout_s)
        return await self._begin(work, f"apply --confirm {timeout_s}s", ifname)

    @_method()
    async def Confirm(self, id: DBusStr) -> Nothing:
        named = _word(id, "an id")
        await asker.begin(partial(self.controller.confirm, named), f"confirm {named}")

    @_method()
    async def Rollback(self, id: DBusStr) -> Nothing:
        named = _word(id, "an id") if id else ""
        await asker.begin(partial(self.controller.roll_back, named), f"rollback {named}".rstrip())

    @_method()
    async def Restore(self, ifname: DBusStr, tunable: DBusStr) -> Nothing:
        named = _word(tunable, "a setting") if tunable else ""
        await self._begin(partial(self.controller.restore, tunable=named), "restore", ifname, named)

    async def _begin(
        self,
        work: Callable[[str], Coroutine[Any, Any, T]],
        what: str,
        shown: str,
        tunable: str = "",
    ) -> T:
        """Do something with the card that D-Bus shows by this name; "" is all cards.

        Raises: NetunedError, DBusError.
        """
        names = self._known(shown)
        ifname = names[0] if names else ""
        return await asker.begin(partial(work, ifname), what, *names, tunable=tunable)

    def _known(self, shown: str) -> tuple[str, ...]:
        """The kernel's name of a card, then of those it is tuned through. Raises: DBusError."""
        if not shown:
            return ()
        if len(shown) > NAME_LIMIT:
            text = "not an interface name: it has at most 15 bytes, an alternative one 127"
            raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", text)
        for nic in self.controller.status().nics:
            if shown in map(wire.text, (nic.name, *nic.altnames)):
                return nic.name, *nic.through
        if self.controller.status().manager.state == STARTING:
            raise StartingError(f"netuned is starting, and has not found {shown} yet; ask again")
        names = [wire.text(nic.name) for nic in self.controller.status().nics]
        text = no_such("card", escape(shown), [*map(escape, names)])
        raise DBusError(f"{wire.SERVICE}.Error.NoSuchCard", text)

    @dbus_property(READ)
    def Version(self) -> DBusStr:
        return self.status.version

    @dbus_property(READ)
    def State(self) -> DBusStr:
        return self.status.state

    @dbus_property(READ)
    def Profiles(self) -> Records:
        return [records.record(profile, wire.PROFILE) for profile in self.status.profiles]

    @dbus_property(READ)
    def ProfileErrors(self) -> Strings:
        return records.texts(self.status.profile_errors)

    @dbus_property(READ)
    def Problems(self) -> Strings:
        return records.texts(self.status.problems)

    @dbus_property(READ)
    def Conflicts(self) -> Strings:
        return records.texts(self.status.conflicts)

    @dbus_property(READ)
    def PendingConfirm(self) -> DBusStr:
        return wire.text(self.status.pending_confirm)

    @dbus_property(READ)
    def Settings(self) -> Settings:
        return records.settings(self.status.settings)

    @dbus_property(READ)
    def Writes(self) -> DBusUInt64:
        return self.status.writes

    @dbus_property(READ)
    def LoadedAt(self) -> DBusDouble:
        return self.status.loaded_at


class Nic(_Interface):
    """org.netuned1.Nic: one card."""

    def __init__(self, status: NicStatus) -> None:
        super().__init__(wire.NIC)
        self.status = status

    @dbus_property(READ)
    def Name(self) -> DBusStr:
        return wire.text(self.status.name)

    @dbus_property(READ)
    def Driver(self) -> DBusStr:
        return wire.text(self.status.driver)

    @dbus_property(READ)
    def Profile(self) -> DBusStr:
        return wire.text(self.status.profile)

    @dbus_property(READ)
    def State(self) -> DBusStr:
        return self.status.state

    @dbus_property(READ)
    def Queues(self) -> Records:
        return [records.record(queue, wire.QUEUE) for queue in self.status.queues]

    @dbus_property(READ)
    def Settings(self) -> Settings:
        return records.settings(self.status.settings)

    @dbus_property(READ)
    def LastChange(self) -> Record:
        change = self.status.last_change
        return records.record(change, wire.APPLIED) if change else {}

    @dbus_property(READ)
    def LastError(self) -> DBusStr:
        return wire.text(self.status.last_error)

    @dbus_property(READ)
    def Through(self) -> Strings:
        return records.texts(self.status.through)

    @dbus_property(READ)
    def Altnames(self) -> Strings:
        return records.texts(self.status.altnames)

    @dbus_property(READ)
    def Since(self) -> DBusDouble:
        return self.status.since

    @dbus_property(READ)
    def Paused(self) -> DBusBool:
        return self.status.paused


def changed_properties(
    interface: Manager | Nic, before: ManagerStatus | NicStatus
) -> dict[str, Any]:
    """The properties, with their values, in which an interface's status differs from ``before``."""
    now = interface.status
    if now is before:
        return {}
    names = (field.name for field in fields(now) if field.name != "ifindex")
    changed = (wire.key(name) for name in names if getattr(now, name) != getattr(before, name))
    return {name: getattr(interface, name) for name in changed}


def _word(text: str, what: str) -> str:
    """A plain word, to be shown back. Raises: DBusError."""
    if _WORD.fullmatch(text):
        return text
    raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", f"that is not {what}")


def error_name(error: NetunedError) -> str:
    """What D-Bus calls an error of netuned's."""
    return f"{wire.SERVICE}.Error.{type(error).__name__.removesuffix('Error')}"
