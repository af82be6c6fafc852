"""The command line's ear on D-Bus: what the daemon signals, as changes made and as statuses.

A signal counts only if the owner of netuned's name sent it, for anybody may send one to a
connection that he knows the name of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from jeepney import HeaderFields, MatchRule, Message, message_bus

from netuned.bus import wire
from netuned.bus.client import READ_TIMEOUT_S, Client, manager_status, nic_status
from netuned.errors import AbsentError, BusError
from netuned.status import NOT_RUNNING, ManagerStatus, NicStatus, Status
from netuned.watching import HOST_IFINDEX, Made, Shown

_BUS = "org.freedesktop.DBus"
_SIGNALS = MatchRule(type="signal", sender=wire.SERVICE)
_OWNERS = MatchRule(
    type="signal",
    sender=_BUS,
    interface=_BUS,
    member="NameOwnerChanged",
    path="/org/freedesktop/DBus",
)
_OWNERS.add_arg_condition(0, wire.SERVICE)

Kind = TypeVar("Kind", ManagerStatus, NicStatus)


class Follower(Client):
    """A client that hears of everything. All methods raise BusError."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: deque[Message] = deque()
        self._owner = ""
        self._latencies: dict[tuple[int, str], int] = {}
        self.now = Status(ManagerStatus("", NOT_RUNNING))
        """How everything is, by what was heard so far."""
        self._connection.filter(MatchRule(type="signal"), queue=self._heard)
        for rule in (_SIGNALS, _OWNERS):
            self._ask(message_bus.AddMatch(rule), READ_TIMEOUT_S)

    def begin(self) -> None:
        """Learn how everything is now. Raises: AbsentError where netuned does not run."""
        (self._owner,) = self._ask(message_bus.GetNameOwner(wire.SERVICE), READ_TIMEOUT_S)
        self.now = self.status()
        # What was signalled before the answer is in it; a card's that changed since comes again
        while self._heard:
            for _ in self._hear(self._heard.popleft()):
                pass

    def follow(self) -> Iterator[Made | Shown]:
        """What happens from ``begin`` on, for ever; also that netuned ends and comes back."""
        while True:
            while self._heard:
                yield from self._hear(self._heard.popleft())
            try:
                self._connection.recv_messages()
            except OSError as error:
                raise BusError(f"lost the system bus: {error.strerror or error}") from error

    def _hear(self, message: Message) -> Iterator[Made | Shown]:
        field = message.header.fields.get
        sender, member = field(HeaderFields.sender), field(HeaderFields.member)
        if sender == _BUS and member == "NameOwnerChanged":
            yield from self._another(*message.body[1:])
        elif self._owner and sender == self._owner:
            path = field(HeaderFields.path, "")
            ifindex = _ifindex(path)
            if member == "PropertiesChanged" and ifindex is not None:
                yield self._shown(self._with(ifindex, *message.body[:2]))
            elif member == "Repaired" and ifindex is not None:
                tunable, _, _, latency_us = message.body
                last = self._latencies.get((ifindex, tunable), 0)
                self._latencies[ifindex, tunable] = max(last, latency_us)
            elif member == "Changed" and ifindex is not None:
                yield from self._made(ifindex, *message.body)
            elif member in ("InterfacesAdded", "InterfacesRemoved"):
                yield self._shown(self._with_object(*message.body))

    def _another(self, before: str, owner: str) -> Iterator[Shown]:
        """netuned left the bus, or came."""
        if owner in ("", self._owner):
            self._owner = owner
        if not owner:
            yield self._shown(replace(self.now, manager=ManagerStatus("", NOT_RUNNING)))
        elif owner != self._owner:
            was = self.now
            try:
                self.begin()
            except AbsentError:
                return  # it left again, and that is heard next
            yield Shown(was, self.now)

    def _shown(self, now: Status) -> Shown:
        before, self.now = self.now, now
        return Shown(before, now)

    def _with(self, ifindex: int, interface: str, changed: Mapping[str, Any]) -> Status:
        """The status with other properties of one object."""
        status = self.now
        if interface == wire.MANAGER:
            told = manager_status(changed)
            return replace(status, manager=_with_told(status.manager, told, changed))
        told_nic = nic_status(ifindex, changed)
        nics = (
            _with_told(nic, told_nic, changed) if nic.ifindex == ifindex else nic
            for nic in status.nics
        )
        return replace(status, nics=tuple(nics))

    def _with_object(self, path: str, interfaces: Any) -> Status:
        """The status with a card that came (its properties by interface), or without one."""
        ifindex = _ifindex(path)
        nics = {nic.ifindex: nic for nic in self.now.nics}
        if ifindex is None or wire.NIC not in interfaces:
            return self.now
        nics.pop(ifindex, None)
        if isinstance(interfaces, Mapping):
            nics[ifindex] = nic_status(ifindex, interfaces[wire.NIC])
        return replace(self.now, nics=tuple(nics[each] for each in sorted(nics)))

    def _made(self, ifindex: int, cause: str, rows: list[tuple[str, ...]]) -> Iterator[Made]:
        for tunable, key, before, after, writer in rows:
            latency_us = self._latencies.get((ifindex, tunable))
            yield Made(ifindex, cause, tunable, key, before, after, writer, latency_us)
        for tunable in {row[0] for row in rows}:
            self._latencies.pop((ifindex, tunable), None)


def _ifindex(path: str) -> int | None:
    """Of the card that an object is, or of the host; None of any other object."""
    if path == wire.ROOT:
        return HOST_IFINDEX
    number = path.removeprefix(wire.nic_path(0)[:-1])
    return int(number) if number.isdecimal() and number != path else None


def _with_told(known: Kind, told: Kind, changed: Mapping[str, Any]) -> Kind:
    """A status with those attributes of another that were told of."""
    names = (field.name for field in fields(known) if wire.key(field.name) in changed)
    return replace(known, **{name: getattr(told, name) for name in names})
