"""Seats on disk: what was written is read; anything else is no seats and a line in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.placement.seatfile import read_seats, write_seats
from netuned.placement.seats import NOBODY, Seat, Seats

SEATS = Seats(
    {("/sys/devices/pci0000:00/0000:00:02.0", "en 0"): (Seat(0, 3), Seat(-1, -1))},
    CpuSet.parse_list("0-3"),
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "placement.json"
    write_seats(path, SEATS)
    assert read_seats(path) == SEATS
    assert [entry.name for entry in path.parent.iterdir()] == ["placement.json"]
    assert path.stat().st_mode & 0o777 == 0o644, "without the daemon anybody plans by it"


def test_no_file_is_no_seats_and_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_seats(tmp_path / "placement.json") == NOBODY
    assert not caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", b'{"version": 2}', b'{"version": 1, "cards": 3}',
        b'{"version": 1, "online": "0-3", "cards": [{"device": "", "name": "a", "home": [1]}]}',
        b'{"version":1,"online":"0","cards":[{"device":"","name":"a","home":[1],"now":[true]}]}',
        b'{"version":1,"online":"0","cards":[{"device":"","name":"a","home":[70000],"now":[1]}]}',
        b'{"version":1,"online":"0","cards":[{"device":"","name":"a","home":[1],"now":[1,2]}]}',
        b'{"version":1,"online":"x","cards":[]}', b'{"version":1,"online":3,"cards":[]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "placement.json"
    path.write_bytes(content)
    assert read_seats(path) == NOBODY
    assert "Cannot use" in caplog.text


def test_a_full_disk_costs_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    write_seats(Path("/proc/placement.json"), SEATS)
    assert "Cannot write" in caplog.text
