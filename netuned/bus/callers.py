"""Who calls, how much of it waits, and whose turn it is.

Any local user may call netuned, and thousands of calls cost him nothing. So calls wait in a line
for each user, which has an end; lines have their turns one after the other; and the loop is given
away between them. A user has many names on the bus and may have many user ids (of a user
namespace), so there is a bound for each user and one for all together. Root is counted by itself
and comes first: no number of others keeps an administrator out. What is over a bound is refused
before it is decoded.

dbus-daemon takes 2 KB at a time from each connection, from netuned as from each that floods it.
So that root's answer does not stand behind others', those go when the bus has taken the last.

A caller who does not read costs the bus memory: it keeps the answers, up to 127 MB for each
connection, and once as much of netuned's is not read, dbus-daemon takes no more from netuned. It is
asked what somebody has not read, and who has too much of that is not answered until he has read it.
dbus-broker ends such a connection by itself.

Source: dbus 1.14, bus/config-parser.c (max_incoming_bytes), bus/stats.c,
dbus/dbus-transport-socket.c (max_bytes_read_per_iteration)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from typing import Protocol

from dbus_fast import Message, MessageFlag, MessageType

from netuned.bus import names
from netuned.bus.incoming import CALL_MOST, Header
from netuned.bus.names import Credentials
from netuned.records import dataclass

LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
TOO_MANY = "too many calls wait already"

SIGNATURES = frozenset({"", "s", "ss", "su"})
"""Of all that can be called; what else comes is refused unread."""
SET_SIGNATURE = "ssv"

LARGE = frozenset({"GetManagedObjects", "GetAll", "Introspect", "Plan"})
"""What has an answer of up to a megabyte or two. A flooded bus takes many seconds for one."""
FLOOD = 500
"""Whose calls had no room so often is refused those until none of his waits."""

ROOT = 0
SLICE_S = 0.005
"""Calls are taken up for so long, then all else has its turn: for as long, if root waits not."""
WAITING_MOST = {True: 4000, False: 100}
"""Calls of one user that wait: root, others."""
BUSY_MOST = {True: 1000, False: 8}
"""Calls of one user that are taken up and not answered yet: a pass, or polkit, takes its time."""
OTHERS_WAITING_MOST = 1000
OTHERS_BUSY_MOST = 64
NEW_MOST = 8000
"""Calls that wait until the bus has said whose they are, of all callers; a few milliseconds."""
UNREAD_MOST = 8 << 20
"""Bytes of answers to one user, and four times as many to all, that may not have been read."""
KNOWN_MOST = 4096
"""Names on the bus whose user is remembered; dbus-daemon has 2,048 connections."""
LOOK_AGAIN_S = 0.2
REFUSALS = 10
"""So many are told at a time that they are refused."""


@dataclass(slots=True, eq=False)
class Caller:
    """A user: calls that wait, how many are being served, how many bytes he may not have read."""

    is_root: bool
    waiting: deque[Message] = field(default_factory=deque)
    busy: int = 0
    unread: int = 0
    over: int = 0
    """Calls for which there was no room, since none waited."""


@dataclass(slots=True, eq=False)
class Sender:
    """A name on the bus: whose it is, once that is known, and what waits for that."""

    user: Caller | None = None
    credentials: Credentials = names.NOBODY
    held: list[Message] = field(default_factory=list)
    unread: int = 0


CALL: ContextVar[Message] = ContextVar("CALL")
"""The method call being served; a method's task has a copy."""
USER: ContextVar[Caller] = ContextVar("USER")
"""Whose it is."""
CREDENTIALS: ContextVar[Credentials] = ContextVar("CREDENTIALS")
"""As the bus knows its sender; unknown, where thousands of others have called since it came."""


def is_roots() -> bool:
    """Whether the call being served is root's, as the bus knows its callers."""
    user = USER.get(None)
    return user is not None and user.is_root


class Bus(names.Bus, Protocol):
    """What this needs of a connection."""

    @property
    def is_clogged(self) -> bool:
        """Whether the bus has not yet taken all that was sent: root would wait for that."""

    def send(self, msg: Message) -> asyncio.Future[None]:
        """Send an answer."""

    def serve(self, call: Message) -> None:
        """Have a call done and answered."""


class Callers:
    """All who call, by name on the bus and by user."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._senders: dict[str, Sender] = {}
        self._users: dict[int | None, Caller] = {}
        self._turns: dict[Caller, None] = {}
        """Those for whom calls wait, without root; who had none for longest is first."""
        self._root = self._users[ROOT] = Caller(is_root=True)
        self._busy: dict[tuple[str | None, int], Caller] = {}
        self._others_waiting = self._others_busy = self._others_unread = self._new = 0
        self._serving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._refusals: deque[Message] = deque()
        self._closed = False

    def close(self) -> None:
        """The connection is gone, and who waits with it."""
        self._closed = True
        for task in (self._serving, self._looking):
            if task is not None:
                task.cancel()

    # What comes

    def admit(self, header: Header) -> bool:
        """Whether a call is to be decoded; who is refused is told so, unless he does not read."""
        if header.size > CALL_MOST:
            error, why = LIMITS_EXCEEDED, f"a call has at most {CALL_MOST} bytes"
        elif header.signature == SET_SIGNATURE:
            error, why = READ_ONLY, "every property is readonly"
        elif header.signature not in SIGNATURES:
            error, why = UNKNOWN_METHOD, "no method here takes arguments of these types"
        elif not self.has_room(header.sender):
            error, why = LIMITS_EXCEEDED, TOO_MANY
        else:
            return True
        if header.awaited:
            self._refuse(header.sender, header.serial, error, why)
        return False

    def has_room(self, name: str) -> bool:
        """Whether another call of a name on the bus can wait."""
        sender = self._senders.get(name)
        if sender is None or (user := sender.user) is None:
            held = len(sender.held) if sender else 0
            return self._new < NEW_MOST and held < WAITING_MOST[False]
        if len(user.waiting) >= WAITING_MOST[user.is_root]:
            user.over += 1
            return False
        return user.is_root or self._others_waiting < OTHERS_WAITING_MOST

    def _is_deaf(self, user: Caller | None) -> bool:
        own = user.unread if user else 0
        return own > UNREAD_MOST or self._others_unread > 4 * UNREAD_MOST

    def _refuse(self, name: str, serial: int, error: str, why: str) -> None:
        """Have somebody told; where so many are that he would wait for long, he is not."""
        refusal = Message(
            message_type=MessageType.ERROR,
            flags=MessageFlag.NO_REPLY_EXPECTED,
            destination=name,
            error_name=error,
            reply_serial=serial,
            signature="s",
            body=[why],
        )
        sender = self._senders.get(name)
        if sender is not None and sender.user is self._root:
            self._bus.send(refusal)
        elif len(self._refusals) < OTHERS_WAITING_MOST:
            self._refusals.append(refusal)
            self._wake()

    def take(self, call: Message) -> None:
        """Have a call that was admitted wait for its turn."""
        name = call.sender or ""
        if not self.has_room(name):  # many came at once
            if _is_awaited(call):
                self._refuse(name, call.serial, LIMITS_EXCEEDED, TOO_MANY)
            return
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = Sender()
            asyncio.get_running_loop().create_task(self._ask_whose(name, sender))
        if sender.user is not None:
            self._enqueue(sender.user, call)
        else:
            sender.held.append(call)
            self._new += 1

    def _enqueue(self, user: Caller, call: Message) -> None:
        user.waiting.append(call)
        if not user.is_root:
            self._others_waiting += 1
            self._turns[user] = None
        self._wake()

    async def _ask_whose(self, name: str, sender: Sender) -> None:
        """Have the bus say whose a name is; what cannot be known is not root's.

        A name is never another's later, so this is asked once.
        """
        credentials = await names.credentials_of(self._bus, name)
        user = self._users.setdefault(credentials.uid, Caller(is_root=False))
        sender.user, sender.credentials = user, credentials
        held, sender.held = sender.held, []
        self._new -= len(held)
        for call in held:
            if self.has_room(name):
                self._enqueue(user, call)
            elif _is_awaited(call):
                self._refuse(name, call.serial, LIMITS_EXCEEDED, TOO_MANY)
        if len(self._senders) > KNOWN_MOST:
            self._forget()

    def _forget(self) -> None:
        """Drop half of the names, those longest known; who calls again is asked for again."""
        old = [
            name
            for name, sender in self._senders.items()
            if sender.user is not None and sender.unread < CALL_MOST
        ]
        for name in old[: KNOWN_MOST // 2]:
            del self._senders[name]
        kept = {id(sender.user) for sender in self._senders.values()}
        for uid, user in tuple(self._users.items()):
            if not (user.is_root or user.busy or user.waiting or id(user) in kept):
                del self._users[uid]

    # Whose turn it is

    def _wake(self) -> None:
        if self._serving is None and not self._closed:
            self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        """Serve until all wait for something that will wake this: an answer, or that one reads."""
        try:
            while not self._closed:
                clogged = self._bus.is_clogged
                is_more = self._serve_slice()
                for _ in range(0 if clogged else min(REFUSALS, len(self._refusals))):
                    self._tell(self._refusals.popleft())
                if not is_more and not self._refusals:
                    return
                await asyncio.sleep(0 if self._is_roots_turn() else SLICE_S)
        finally:
            self._serving = None

    def _serve_slice(self) -> bool:
        """Take up calls for a while. Says whether there may be more of them."""
        until = time.monotonic() + SLICE_S
        while (user := self._next()) is not None:
            call = user.waiting.popleft()
            self._begin(user, call)
            if time.monotonic() > until or not _is_awaited(call):
                return True  # one that is not awaited counts once it is at work
        return self._bus.is_clogged and bool(self._turns)

    def _is_roots_turn(self) -> bool:
        return bool(self._root.waiting) and self._root.busy < BUSY_MOST[True]

    def _next(self) -> Caller | None:
        """Whose call is taken up next, if there is one that may be."""
        if self._is_roots_turn():
            return self._root
        if not self._turns or self._bus.is_clogged or self._others_busy >= OTHERS_BUSY_MOST:
            return None
        for user in self._turns:
            if self._is_deaf(user):
                self._look()
            elif user.busy < BUSY_MOST[False]:
                return user
        return None

    def _tell(self, refusal: Message) -> None:
        sender = self._senders.get(refusal.destination or "")
        if not self._is_deaf(sender.user if sender else None):
            self._bus.send(refusal)

    def _begin(self, user: Caller, call: Message) -> None:
        if not user.is_root:
            self._others_waiting -= 1
            del self._turns[user]
            if user.waiting:  # behind all others
                self._turns[user] = None
            is_flood = user.over > FLOOD
            user.over = user.over if user.waiting else 0
            if is_flood and call.member in LARGE:
                if _is_awaited(call):
                    self._refuse(call.sender or "", call.serial, LIMITS_EXCEEDED, TOO_MANY)
                return
        if _is_awaited(call):
            key = call.sender, call.serial
            if key in self._busy:  # which the bus lets nobody do
                return
            self._busy[key] = user
            self._count(user, 1)
        sender = self._senders.get(call.sender or "")
        CALL.set(call)
        USER.set(user)
        CREDENTIALS.set(sender.credentials if sender else names.NOBODY)
        self._bus.serve(call)

    def _count(self, user: Caller, more: int) -> None:
        user.busy += more
        if not user.is_root:
            self._others_busy += more
        if more < 0:
            self._wake()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a method is at work; who is awaited is counted until the answer goes out."""
        user, awaited = USER.get(), _is_awaited(CALL.get())
        if not awaited:
            self._count(user, 1)
        try:
            yield
        finally:
            if not awaited:
                self._count(user, -1)

    # What was answered, and read

    def answered(self, reply: Message, size: int) -> None:
        """An answer of so many bytes goes out."""
        user = self._busy.pop((reply.destination, reply.reply_serial), None)
        if user is not None:
            self._count(user, -1)
        sender = self._senders.get(reply.destination or "")
        if sender is None or sender.user is None or sender.user.is_root:
            return
        sender.unread += size
        sender.user.unread += size
        self._others_unread += size

    def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_who_reads())

    async def _look_who_reads(self) -> None:
        """Ask the bus what is unread, until nobody who waits has too much of it."""
        try:
            while any(map(self._is_deaf, self._turns)):
                for name, sender in tuple(self._senders.items()):
                    if sender.unread:
                        sender.unread = await names.unread_of(self._bus, name)
                for user in self._users.values():
                    user.unread = 0
                self._others_unread = 0
                for sender in self._senders.values():
                    if sender.user is not None:
                        sender.user.unread += sender.unread
                        self._others_unread += sender.unread
                self._wake()
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            self._looking = None


def _is_awaited(call: Message) -> bool:
    return not call.flags.value & MessageFlag.NO_REPLY_EXPECTED.value
