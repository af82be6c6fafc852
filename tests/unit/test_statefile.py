"""State files: what stands in their place is never waited for, and all that is saved is read."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from netuned import statefile
from netuned.errors import KernelError, StateFileError
from netuned.kernel.files import Files
from netuned.kernel.irqbalance import Irqbalance
from netuned.placement.seatfile import read_seats, write_seats
from netuned.placement.seats import NOBODY
from netuned.reconcile.baseline import Baseline
from netuned.reconcile.pauses import read_paused, write_paused
from netuned.reconcile.trialfile import TrialFile


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def link_to_pipe(path: Path) -> None:
    os.mkfifo(f"{path}.pipe")
    path.symlink_to(f"{path}.pipe")


STRANGERS: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a directory": Path.mkdir,
    "a link to a pipe": link_to_pipe,
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.fixture(params=STRANGERS)
def stranger(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "state.json"
    STRANGERS[request.param](path)
    return path


def refused(directory: Path, *, alone: bool) -> str:
    """Why a process cannot have the state; empty if it can."""
    try:
        with statefile.held(directory, alone=alone):
            return ""
    except StateFileError as error:
        return str(error)


def test_what_puts_everything_back_has_the_state_alone(tmp_path: Path) -> None:
    """Daemons do not hinder each other, and a directory that is not there hinders nobody."""
    with statefile.held(tmp_path, alone=False):
        assert refused(tmp_path, alone=False) == ""
        assert "a daemon runs" in refused(tmp_path, alone=True)
    with statefile.held(tmp_path, alone=True):
        assert "being put back" in refused(tmp_path, alone=False)
    assert refused(tmp_path, alone=True) == ""
    with statefile.held(tmp_path / "none", alone=False):
        assert refused(tmp_path / "none", alone=True) == ""


def test_what_is_no_file_is_not_waited_for(stranger: Path) -> None:
    with pytest.raises(KernelError):
        Files(str(stranger.parent)).read_long(f"/{stranger.name}", 9)
    with pytest.raises(StateFileError):
        Baseline(stranger, "boot").load()
    assert stranger.is_file()
    assert not stranger.is_symlink(), "it is as if it had been damaged"


def test_what_is_no_file_waits_for_no_trial(stranger: Path) -> None:
    with pytest.raises(StateFileError):
        TrialFile(stranger, "boot").load()
    TrialFile(stranger, "boot").save()
    assert stranger.is_file()


def test_what_is_no_file_is_no_pause_and_no_seat(stranger: Path) -> None:
    with pytest.raises(StateFileError, match="was paused is not any more"):
        read_paused(stranger)
    assert read_seats(stranger) is NOBODY


@pytest.mark.parametrize("name", ["irqbalance.cards", "irqbalance.env", "irqbalance.stopped"])
def test_what_is_no_file_tells_nothing_to_irqbalance(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netuned.kernel.irqbalance._find_running", lambda: None)
    os.mkfifo(tmp_path / name)
    exclusion = Irqbalance(tmp_path)
    if name == "irqbalance.cards":
        with pytest.raises(KernelError):
            exclusion.look()
    exclusion._cards.with_name(f".{exclusion._cards.name}.new").touch()
    if name != "irqbalance.stopped":
        exclusion.exclude(["/sys/devices/a"], frozenset())
        assert exclusion._cards.read_text() == "/sys/devices/a\n"


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device", "a link to a pipe"])
def test_what_is_no_draft_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state.json"
    STRANGERS[kind](statefile.draft_of(path))
    write_paused(path, ())
    write_seats(tmp_path / "seats.json", NOBODY)
    assert read_paused(path) == frozenset()


def test_what_would_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    monkeypatch.setattr(statefile, "LIMIT", 10)
    statefile.write_atomically(path, b"0123456789")
    with pytest.raises(OSError, match="File too large") as error:
        statefile.write_atomically(path, b"0123456789+")
    assert error.value.errno == errno.EFBIG
    assert statefile.read_limited(path) == b"0123456789"
    assert [child.name for child in tmp_path.iterdir()] == ["state.json"]
