"""The command line's side of D-Bus, where the daemon cannot be asked at once."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    new_error,
    new_method_call,
    new_method_return,
)

from netuned.bus import client
from netuned.errors import AbsentError, BusError


def test_a_bus_that_has_no_time_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a daemon that is there all the same nobody is to be told that it is not."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    with pytest.raises(AbsentError, match="there is no system bus"):
        client.Client()
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(f"{tmp_path}/bus")
        bus.listen()
        with pytest.raises(BusError, match="the system bus did not answer") as caught:
            client.Client(read_timeout_s=0.1)
    assert not isinstance(caught.value, AbsentError)


@pytest.mark.parametrize("sender", ["org.freedesktop.DBus", ":1.7"])
def test_a_call_that_the_bus_has_no_room_for_is_made_again(
    monkeypatch: pytest.MonkeyPatch, sender: str
) -> None:
    """What a flood has filled is read in the end; what netuned itself refuses is refused."""
    call = new_method_call(DBusAddress("/", "org.example"), "NameHasOwner")
    call.header.serial = 1
    full = new_error(call, "org.freedesktop.DBus.Error.LimitsExceeded", "s", ("is full",))
    full.header.fields[HeaderFields.sender] = sender
    replies = [full, full, new_method_return(call, "b", (True,))]

    def answer(_: Message, *, timeout: float) -> Message:
        assert timeout > 0
        return replies.pop(0)

    bus = SimpleNamespace(send_and_get_reply=answer)
    monkeypatch.setattr(client, "open_dbus_connection", lambda *_, **__: bus)
    monkeypatch.setattr(client, "AGAIN_S", 0)
    asking = client.Client()
    if sender == "org.freedesktop.DBus":
        assert asking.is_running()
    else:
        with pytest.raises(BusError, match="is full"):
            asking.is_running()
        assert len(replies) == 2
