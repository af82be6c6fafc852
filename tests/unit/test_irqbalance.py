"""How irqbalance is found, told and let go, with a process of its name and a socket."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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

from netuned import statefile
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import HOST
from netuned.kernel import Kernel, irqbalance
from netuned.kernel.irqbalance import POLICY_ARGUMENT, UNIT, Irqbalance
from netuned.kernel.systemd import control_unit, is_changing
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
from netuned.reconcile.report import card_state
from netuned.tunables import HOST_TUNABLES
from netuned.tunables.base import HostTarget
from netuned.values import Exclusion


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The pid of what looks like an irqbalance with our policy script and answers nobody.

    As many clients wait at its socket as it lets.
    """
    monkeypatch.setattr(irqbalance, "SOCKETS", str(tmp_path / "irqbalance*.sock"))
    process = subprocess.Popen(
        ["irqbalance", "-c", "import time; time.sleep(60)", POLICY_ARGUMENT],
        executable=sys.executable,
    )
    path = str(tmp_path / f"irqbalance{process.pid}.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as before:
        listening.bind(path)
        listening.listen(0)
        before.connect(path)
        yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What systemd is asked for."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(irqbalance, "control_unit", lambda *job: asked.append(job))
    return asked


def told(directory: Path) -> Irqbalance:
    """Of which the files are there."""
    (directory / "irqbalance.cards").write_text("/sys/devices/pci0000:00/0000:00:04.0\n")
    (directory / "irqbalance.env").write_text(f'OPTIONS="{POLICY_ARGUMENT}"\n')
    return Irqbalance(directory)


@pytest.mark.usefixtures("busy")
def test_one_that_has_no_place_for_another_client_is_slow_to_answer() -> None:
    with pytest.raises(KernelError) as caught:
        irqbalance.read_running()
    assert caught.value.errno == errno.ETIMEDOUT


def test_so_is_one_that_ends_while_it_is_asked(busy: int, tmp_path: Path) -> None:
    """As in a restart: clients that it has not taken yet are reset, later ones refused."""
    path = tmp_path / f"irqbalance{busy}.sock"
    path.unlink()
    ending = socket.socket(socket.AF_UNIX)
    ending.bind(str(path))
    ending.listen(1)
    threading.Timer(0.1, ending.close).start()
    for _ in range(2):
        found = Irqbalance(tmp_path).look()
        assert (found.running, found.waiting) == (True, True)


def test_so_is_one_that_has_ended_since_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "irqbalance1.sock")
    monkeypatch.setattr(irqbalance, "_find_running", lambda: (1, (), gone))
    found = Irqbalance(tmp_path).look()
    assert (found.running, found.waiting) == (True, True)


@pytest.mark.usefixtures("busy")
def test_it_is_let_go_without_an_answer(
    tmp_path: Path, jobs: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    exclusion = told(tmp_path)
    exclusion.leave()
    assert caplog.messages == ["irqbalance: restarted it without netuned's policy script"]
    assert jobs == [("RestartUnit", UNIT)]
    assert not (tmp_path / "irqbalance.env").exists()
    exclusion.leave()
    assert len(jobs) == len(caplog.messages) == 1


@pytest.mark.usefixtures("busy")
def test_it_is_stopped_without_an_answer(tmp_path: Path, jobs: list[tuple[str, str]]) -> None:
    exclusion = Irqbalance(tmp_path)
    exclusion.stop()
    assert jobs == [("StopUnit", UNIT)]
    assert exclusion.is_told()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (PermissionError(errno.EACCES, "refused"), UnsupportedError),
        (OSError(errno.EIO, "broken"), KernelError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "damaged"), KernelError),
    ],
)
def test_what_it_was_told_may_not_be_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    def fail(path: Path) -> bytes:
        raise error

    exclusion = told(tmp_path)
    monkeypatch.setattr(statefile, "read_limited", fail)
    with pytest.raises(raised):
        exclusion.look()


def test_a_list_that_cannot_be_removed_is_told_and_tried_again(tmp_path: Path) -> None:
    exclusion = Irqbalance(tmp_path)
    (tmp_path / "irqbalance.cards").mkdir()
    with pytest.raises(KernelError):
        exclusion.leave()
    assert exclusion.is_told()


REFUSED = {
    "org.freedesktop.DBus.Error.NoReply": KernelError,
    "org.freedesktop.DBus.Error.ServiceUnknown": KernelError,
    "org.freedesktop.DBus.Error.AccessDenied": UnsupportedError,
    "org.freedesktop.systemd1.NoSuchUnit": UnsupportedError,
}


@pytest.mark.parametrize(("name", "raised"), REFUSED.items())
def test_what_systemd_refuses_is_given_up_and_what_nobody_answers_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, raised: type[Exception]
) -> None:
    call = new_method_call(DBusAddress("/", "org.example"), "StopUnit")
    call.header.serial = 1
    reply = new_error(call, name, "s", ("a sentence",))
    bus = contextlib.nullcontext(SimpleNamespace(send_and_get_reply=lambda *_, timeout: reply))
    monkeypatch.setattr("jeepney.io.blocking.open_dbus_connection", lambda *_, **__: bus)
    with pytest.raises(raised, match="a sentence"):
        control_unit("StopUnit", UNIT)


def test_without_a_bus_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(KernelError) as caught:
        control_unit("StopUnit", UNIT)
    assert not caught.value.gone, "it says nothing of a card"


@pytest.mark.usefixtures("busy")
def test_a_restart_that_was_refused_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise UnsupportedError("RestartUnit", "access denied")

    exclusion = told(tmp_path)
    monkeypatch.setattr(irqbalance, "control_unit", refuse)
    with pytest.raises(UnsupportedError):
        exclusion.leave()
    jobs: list[tuple[str, ...]] = []
    monkeypatch.setattr(irqbalance, "control_unit", lambda *job: jobs.append(job))
    exclusion.leave()
    assert jobs == [("RestartUnit", UNIT)]


STOP = HostTarget(
    {"irqbalance": {"": Exclusion("stop")}}, {"irqbalance": {"": "host.irqbalance: stop"}}
)


def host_of(directory: Path, baseline: Baseline) -> Card:
    kernel = Kernel(str(directory))
    kernel.irqbalance = Irqbalance(directory)
    card = Card(kernel, HOST, HOST_TUNABLES)
    card.aim(STOP, baseline, held={"irqbalance": "paused"})
    return card


def test_what_is_left_alone_is_not_told_and_says_so(
    tmp_path: Path, jobs: list[tuple[str, str]], busy: int
) -> None:
    baseline = Baseline(tmp_path / "baseline.json", "boot")
    outcome = reconcile_card(host_of(tmp_path, baseline), baseline)
    (change,) = outcome.pending
    assert (str(change.before), str(change.after)) == ("running", "stop")
    assert (jobs, outcome.made) == ([], [])
    assert not (tmp_path / "irqbalance.stopped").exists()


def test_what_was_told_is_put_back_when_nobody_asks_any_more(
    tmp_path: Path, jobs: list[tuple[str, str]]
) -> None:
    baseline = Baseline(tmp_path / "baseline.json", "boot")
    baseline.record(HOST, {"irqbalance": {"": Exclusion("leave")}})
    (tmp_path / "irqbalance.stopped").touch()
    card = host_of(tmp_path, baseline)
    card.aim(None, baseline)
    outcome = reconcile_card(card, baseline)
    assert [str(change) for change in outcome.made] == ["host irqbalance: not running -> leave"]
    assert jobs == [("StartUnit", UNIT)]
    assert baseline.of(HOST) == {}
    card.aim(None, baseline)
    assert not card.wanted


@pytest.mark.parametrize("mode", ["exclude", "stop"])
def test_one_that_is_being_restarted_is_not_called_in_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(irqbalance, "SOCKETS", str(tmp_path / "none*.sock"))
    monkeypatch.setattr(irqbalance, "STARTED", str(tmp_path))
    if mode == "stop":
        (tmp_path / "irqbalance.stopped").touch()
    else:
        (tmp_path / "irqbalance.cards").touch()
    baseline = Baseline(tmp_path / "baseline.json", "boot")
    card = host_of(tmp_path, baseline)
    card.aim(HostTarget({"irqbalance": {"": Exclusion(mode)}}, {"irqbalance": {"": ""}}), baseline)
    shown = []
    for changing in (True, False):
        monkeypatch.setattr(irqbalance, "is_changing", {UNIT: changing}.get)
        outcome = reconcile_card(card, baseline)
        assert (outcome.made, outcome.pending, outcome.error) == ([], (), None)
        shown.append((card_state(card, ()), str(card.found["irqbalance"][""])))
    assert shown == [("applying", "being started or stopped"), ("in-sync", "not running")]


@pytest.mark.parametrize(
    ("state", "job", "since_s", "changing"),
    [
        ("inactive", 0, 0, False),
        ("active", 0, 60, False),
        ("active", 0, 0, True),
        ("failed", 0, 0, False),
        ("inactive", 77, 60, True),
        ("activating", 0, 60, True),
        ("deactivating", 0, 60, True),
    ],
)
def test_whether_systemd_changes_it(
    monkeypatch: pytest.MonkeyPatch, state: str, job: int, since_s: int, *, changing: bool
) -> None:
    paths = set()

    def answer(call: Message, timeout: float) -> Message:
        paths.add(call.header.fields[HeaderFields.path])
        call.header.serial = 1
        if call.body[1] == "Job":
            return new_method_return(call, "v", (("(uo)", (job, "/")),))
        if call.body[1] == "ActiveEnterTimestampMonotonic":
            since_us = int((time.monotonic() - since_s) * 1e6)
            return new_method_return(call, "v", (("t", since_us),))
        return new_method_return(call, "v", (("s", state),))

    bus = contextlib.nullcontext(SimpleNamespace(send_and_get_reply=answer))
    monkeypatch.setattr("jeepney.io.blocking.open_dbus_connection", lambda *_, **__: bus)
    assert is_changing(UNIT) is changing
    assert paths == {"/org/freedesktop/systemd1/unit/irqbalance_2eservice"}


def test_without_a_bus_nothing_changes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert not is_changing(UNIT)
