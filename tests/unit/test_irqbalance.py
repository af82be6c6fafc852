"""How irqbalance is found, told and let go, with a process of its name and a socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import irqbalance
from netuned.kernel.irqbalance import POLICY_ARGUMENT, UNIT, Exclusion
from netuned.reconcile.irqbalance import IrqbalanceKeeper
from netuned.status import DRIFTED, SettingStatus


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


def told(directory: Path) -> Exclusion:
    """Of which the files are there."""
    (directory / "irqbalance.cards").write_text("/sys/devices/pci0000:00/0000:00:04.0\n")
    (directory / "irqbalance.env").write_text(f'OPTIONS="{POLICY_ARGUMENT}"\n')
    return Exclusion(directory)


@pytest.mark.usefixtures("busy")
def test_one_that_has_no_place_for_another_client_is_slow_to_answer() -> None:
    with pytest.raises(KernelError) as caught:
        irqbalance.read_running()
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.usefixtures("busy")
def test_it_is_let_go_without_an_answer(tmp_path: Path, jobs: list[tuple[str, str]]) -> None:
    exclusion = told(tmp_path)
    assert exclusion.leave() == "restarted it without netuned's policy script"
    assert jobs == [("RestartUnit", UNIT)]
    assert not (tmp_path / "irqbalance.env").exists()
    assert exclusion.leave() == ""
    assert len(jobs) == 1


@pytest.mark.usefixtures("busy")
def test_a_restart_that_was_refused_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise UnsupportedError("RestartUnit", "systemd cannot be reached")

    exclusion = told(tmp_path)
    monkeypatch.setattr(irqbalance, "control_unit", refuse)
    with pytest.raises(UnsupportedError):
        exclusion.leave()
    monkeypatch.setattr(irqbalance, "control_unit", lambda *_: None)
    assert exclusion.leave()


def test_what_is_left_alone_is_not_told_and_says_why(
    tmp_path: Path, jobs: list[tuple[str, str]]
) -> None:
    async def run() -> tuple[SettingStatus, ...]:
        keeper = IrqbalanceKeeper(Exclusion(tmp_path), ThreadPoolExecutor(1), lambda: None)
        keeper.hold(None, [], "paused")
        assert keeper.settings == ()
        keeper.hold("stop", [], "paused")
        return keeper.settings

    (setting,) = asyncio.run(run())
    assert (setting.state, setting.wanted, setting.reason) == (DRIFTED, "stop", "paused")
    assert jobs == []
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_alone_is_looked_at_again(
    tmp_path: Path, jobs: list[tuple[str, str]]
) -> None:
    """As after a restart within a pause, with profiles that do not ask for it any more."""

    async def run() -> list[bool]:
        keeper = IrqbalanceKeeper(Exclusion(tmp_path), ThreadPoolExecutor(1), lambda: None)
        due = [keeper.due]
        keeper.hold(None, [], "paused")
        due.append(keeper.due)
        await keeper.look(None, [])
        return [*due, keeper.due]

    (tmp_path / "irqbalance.stopped").touch()
    assert asyncio.run(run()) == [False, True, False]
    assert jobs == [("StartUnit", UNIT)]
