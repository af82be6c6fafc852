"""Who asks for a change is in the log, before what is done and whatever he does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from collections.abc import Iterator

import pytest

from netuned.bus import asker
from netuned.bus.callers import CREDENTIALS
from netuned.bus.names import NOBODY, Credentials
from netuned.errors import NetunedError
from netuned.history import REQUEST

log = logging.getLogger("netuned.test")


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as caller:
        yield caller.pid
        caller.kill()


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


async def work() -> str:
    await asyncio.sleep(0)
    log.info("done")
    return "answer"


async def refuse() -> None:
    raise NetunedError("there is no such setting")


def by(who: Credentials, *ifnames: str, tunable: str = "") -> str:
    async def ask() -> str:
        CREDENTIALS.set(who)
        return await asker.begin(work, "restore", *ifnames, tunable=tunable)

    return asyncio.run(ask())


def test_the_log_has_user_process_and_command_first(
    caplog: pytest.LogCaptureFixture, pid: int
) -> None:
    assert by(Credentials(1000, pid), "bond0", "eth0", tunable="rps") == "answer"
    assert caplog.messages == [
        f"Asked for by uid 1000, pid {pid} (sleep 60): restore bond0 rps",
        "done",
    ]
    fields = vars(caplog.records[0])
    assert fields["kind"] == REQUEST
    assert (fields["ifname"], fields["tunable"]) == (("bond0", "eth0"), "rps")
    assert (fields["caller_uid"], fields["caller_pid"]) == (1000, pid)
    assert (fields["caller_command"], fields["object_pid"]) == ("sleep 60", pid)


def test_who_is_not_known_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    by(NOBODY)
    assert caplog.messages[0] == "Asked for by an unknown user: restore"
    assert vars(caplog.records[0])["caller_uid"] is None


def test_who_has_ended_is_said_to_have(caplog: pytest.LogCaptureFixture) -> None:
    with subprocess.Popen(["true"]) as caller:
        caller.wait()
    by(Credentials(0, caller.pid), "eth0")
    assert caplog.messages[0] == (
        f"Asked for by root, pid {caller.pid} (ended since): restore eth0"
    )


def test_what_is_refused_at_once_is_not_on_record(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NetunedError):
        asyncio.run(asker.begin(refuse, "restore"))
    assert not caplog.messages


def test_a_command_that_never_comes_holds_up_nobody_for_long(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    """Reading it waits for a lock on the process's memory."""
    hung, readers = threading.Event(), []

    def wait(pid: int) -> str:
        readers.append(pid)
        hung.wait(30)
        return "too late"

    monkeypatch.setattr(asker, "words_of", wait)
    monkeypatch.setattr(asker, "WORDS_S", 0.05)
    try:
        for _ in range(6):
            by(Credentials(1000, pid), "eth0")
        assert len(readers) == 4
    finally:
        hung.set()
    said = [message for message in caplog.messages if message != "done"]
    assert said == [f"Asked for by uid 1000, pid {pid} (sleep): restore eth0"] * 6
