"""The command line's side of D-Bus, where there is no daemon to ask."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from netuned.bus import client
from netuned.errors import AbsentError, BusError


def test_a_bus_that_has_no_time_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a daemon that is there all the same nobody is to be told that it is not."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    monkeypatch.setattr(client, "READ_TIMEOUT_S", 0.1)
    with pytest.raises(AbsentError, match="there is no system bus"):
        client.Client()
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(f"{tmp_path}/bus")
        bus.listen()
        with pytest.raises(BusError, match="the system bus did not answer") as caught:
            client.Client()
    assert not isinstance(caught.value, AbsentError)
