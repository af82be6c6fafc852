"""How irqbalance is found, told and let go, with a process of its name and a socket."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import HOST
from netuned.kernel import Kernel, irqbalance
from netuned.kernel.irqbalance import POLICY_ARGUMENT, UNIT, Irqbalance
from netuned.reconcile.apply import reconcile_card
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.card import Card
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


STOP = HostTarget({"irqbalance": Exclusion("stop")}, {"irqbalance": "host.irqbalance: stop"})


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
