"""Who may call a method: root always, others if polkit says so, nobody else where polkit is absent.

Others' lessons: TLP asked polkit about a process id, which can be reused (CVE-2025-67859), so the
subject here is the sender's name on the bus, which cannot.
"""

from __future__ import annotations

import asyncio
from typing import Any

from dbus_fast import DBusError, Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus

from netuned.bus.callers import CALL, is_roots

ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
INTERACTION_NEEDED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
ANSWER_TIMEOUT_S = 25.0
PASSWORD_TIMEOUT_S = 300.0
"""With interaction allowed, polkit answers only after somebody has typed a password."""


def is_awaited() -> bool:
    """Whether the caller of the method being served waits for the answer."""
    return not CALL.get().flags.value & MessageFlag.NO_REPLY_EXPECTED.value


async def authorize(bus: MessageBus, action: str) -> None:
    """Return if the caller of the method being served may do ``action``.

    Raises: DBusError (AccessDenied, InteractiveAuthorizationRequired) with a sentence.
    """
    call = CALL.get()
    refusal = f"{call.member} needs root or the polkit action {action}"
    if is_roots():
        return
    interactive = bool(call.flags.value & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION.value)
    reply = await _request(
        bus,
        Message(
            destination="org.freedesktop.PolicyKit1",
            path="/org/freedesktop/PolicyKit1/Authority",
            interface="org.freedesktop.PolicyKit1.Authority",
            member="CheckAuthorization",
            signature="(sa{sv})sa{ss}us",
            body=[
                ["system-bus-name", {"name": Variant("s", call.sender)}],
                action,
                {},
                int(interactive),
                "",
            ],
        ),
        PASSWORD_TIMEOUT_S if interactive else ANSWER_TIMEOUT_S,
        refusal,
    )
    authorized, challenge, _details = reply[0]
    if authorized:
        return
    if challenge and not interactive:
        raise DBusError(INTERACTION_NEEDED, refusal)
    raise DBusError(ACCESS_DENIED, refusal)


async def _request(bus: MessageBus, message: Message, timeout_s: float, refusal: str) -> list[Any]:
    """The reply's body; whatever keeps an answer from coming is a refusal, never a permission."""
    try:
        reply = await asyncio.wait_for(bus.call(message), timeout_s)
    except (TimeoutError, OSError, EOFError) as error:
        raise DBusError(ACCESS_DENIED, f"{refusal} ({message.destination}: {error})") from error
    if reply.message_type is not MessageType.METHOD_RETURN:
        why = f"{message.destination} is not available: {reply.error_name}"
        raise DBusError(ACCESS_DENIED, f"{refusal} ({why})")
    return list(reply.body)
