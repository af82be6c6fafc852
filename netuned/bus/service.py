"""The D-Bus service: keeps a connection to the system bus and shows the newest Status on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from dbus_fast import NameFlag, RequestNameReply
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from netuned.bus import records, wire
from netuned.bus.connection import Connection
from netuned.bus.interfaces import Controller, Manager, Nic, changed_properties
from netuned.bus.plans import Planners
from netuned.bus.reading import SLICE_S, Readers
from netuned.errors import BusError
from netuned.hardware.nic import HOST
from netuned.plan import Change
from netuned.status import ManagerStatus, NicStatus, Status

AUTH_TIMEOUT_S = 30.0
REPLY_TIMEOUT_S = 30.0
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
"""Short: at boot the daemon runs before D-Bus does, and a try without it costs microseconds."""

log = logging.getLogger(__name__)


class BusService:
    """``org.netuned1`` on the system bus (``DBUS_SYSTEM_BUS_ADDRESS``, or ``address`` where given).

    All methods belong to the event loop's thread. Without a connection ``publish``, ``drift``,
    ``repaired`` and ``changed`` do nothing: a later connection starts from the controller's own
    status.
    """

    def __init__(self, controller: Controller, address: str = "") -> None:
        self._controller = controller
        self._address = address
        self._bus: MessageBus | None = None
        self._gone: asyncio.Future[None] | None = None
        self._manager: Manager | None = None
        self._nics: dict[int, Nic] = {}
        self._readers: Readers | None = None
        self._planners: Planners | None = None
        self._unsignalled: dict[int, NicStatus | None] = {}
        self._signalling = False

    async def run(self) -> None:
        """Connect, serve, connect again, until cancelled; the daemon goes on without a bus."""
        try:
            await self._serve()
        finally:
            await self.close()

    async def _serve(self) -> None:
        retry_s = FIRST_RETRY_S
        said = ""
        while True:
            try:
                await self.connect()
            except BusError as error:
                if str(error) != said:
                    log.warning("no D-Bus: %s, retrying", error)
                    said = str(error)
            else:
                retry_s, said = FIRST_RETRY_S, ""
                await self._disconnected()
                log.warning("lost the D-Bus connection, connecting again")
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def connect(self) -> None:
        """Connect, export every object, then take the name. Raises: BusError."""
        try:
            bus = Connection(self._address or None, auth_timeout=AUTH_TIMEOUT_S)
            await bus.connect()
        except (OSError, EOFError, DBusFastError) as error:
            raise BusError(f"cannot connect to the system bus: {_sentence(error)}") from error
        try:
            await self._export(bus)
            await _take_name(bus)
        except (OSError, EOFError, TimeoutError, DBusFastError) as error:
            raise BusError(f"cannot take the name {wire.SERVICE}: {_sentence(error)}") from error
        else:
            self._bus = bus
            self._gone = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        finally:
            if self._bus is None:
                bus.disconnect()
        self.publish(self._controller.status())

    async def close(self) -> None:
        """Leave the bus."""
        if self._bus is not None:
            self._bus.disconnect()
            await self._disconnected()

    async def _disconnected(self) -> None:
        """Wait until the connection is gone, for whatever reason."""
        if self._gone is not None:
            await asyncio.wait({self._gone})
            log.debug("D-Bus connection ended: %s", self._gone.exception())
        for waiting in (self._readers, self._planners):
            if waiting is not None:
                waiting.close()
        self._bus = self._manager = self._gone = self._readers = self._planners = None
        self._nics = {}
        self._unsignalled = {}

    def publish(self, status: Status) -> None:
        """Show ``status``: objects for new cards, none for gone ones, signals for what differs."""
        bus, manager = self._bus, self._manager
        if bus is None or manager is None or not bus.connected:
            return
        nics = {nic.ifindex: nic for nic in status.nics}
        for ifindex in self._nics.keys() - nics.keys():
            shown = self._nics.pop(ifindex)
            if self._unsignalled.pop(ifindex, shown.status) is not None:
                bus.unexport(wire.nic_path(ifindex), shown)
        for ifindex, nic in nics.items():
            known = self._nics.get(ifindex)
            if known is None:
                self._nics[ifindex] = Nic(nic)
                self._unsignalled[ifindex] = None
            elif known.status is not nic:
                self._unsignalled.setdefault(ifindex, known.status)
                known.status = nic
        before, manager.status = manager.status, status.manager
        if not self._signalling:
            self._signal(bus)
        _emit_changes(manager, before)

    def _signal(self, bus: MessageBus) -> None:
        """Tell of cards that came or changed, for ``SLICE_S`` at a time."""
        self._signalling = False
        until = time.monotonic() + SLICE_S
        while self._unsignalled and bus is self._bus and bus.connected:
            ifindex = next(iter(self._unsignalled))
            before, nic = self._unsignalled.pop(ifindex), self._nics[ifindex]
            if before is None:
                bus.export(wire.nic_path(ifindex), nic)
            else:
                _emit_changes(nic, before)
            if time.monotonic() > until:
                self._signalling = True
                asyncio.get_running_loop().call_soon(self._signal, bus)
                return

    def drift(self, ifindex: int, tunable: str, key: str, wanted: str, found: str) -> None:
        """Signal ``Drift``: somebody else changed a setting of a card, or of the host."""
        if (said := self._interface(ifindex)) is not None:
            said.Drift(tunable, key, wanted, found)

    def repaired(self, ifindex: int, tunable: str, key: str, value: str, latency_us: int) -> None:
        """Signal ``Repaired``: it is as wanted again, ``latency_us`` after the event."""
        if (said := self._interface(ifindex)) is not None:
            said.Repaired(tunable, key, value, latency_us)

    def changed(
        self, ifindex: int, cause: str, changes: Sequence[Change], writers: Mapping[str, str]
    ) -> None:
        """Signal ``Changed``: what one look at a card, or at the host, set; see ``Listener``."""
        if (said := self._interface(ifindex)) is not None:
            said.Changed(cause, records.rows(changes, writers))

    def _interface(self, ifindex: int) -> Manager | Nic | None:
        return self._manager if ifindex == HOST.ifindex else self._nics.get(ifindex)

    async def _export(self, bus: Connection) -> None:
        status = self._controller.status()
        self._manager = Manager(bus, self._controller, status.manager)
        bus.export(wire.ROOT, self._manager)
        self._nics = {nic.ifindex: Nic(nic) for nic in status.nics}
        for ifindex, interface in self._nics.items():
            bus.export(wire.nic_path(ifindex), interface)
            await asyncio.sleep(0)
        self._readers = Readers(bus, self._manager, self._nics)
        self._planners = Planners(bus, self._controller)
        bus.add_message_handler(self._readers.take)
        bus.add_message_handler(self._planners.take)


async def _take_name(bus: MessageBus) -> None:
    request = bus.request_name(wire.SERVICE, NameFlag.DO_NOT_QUEUE)
    reply = await asyncio.wait_for(request, REPLY_TIMEOUT_S)
    if reply is not RequestNameReply.PRIMARY_OWNER:
        raise BusError(
            f"{wire.SERVICE} is taken on the bus by another netuned: `systemctl stop netuned`"
        )


def _emit_changes(interface: Manager | Nic, before: ManagerStatus | NicStatus) -> None:
    if changed := changed_properties(interface, before):
        interface.emit_properties_changed(changed)


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
