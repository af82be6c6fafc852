"""Files of netuned's own state, and snapshots."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from netuned import statefile
from netuned.errors import NetunedError
from netuned.placement import seatfile
from netuned.reconcile import baseline
from netuned.snapshots import snapshot
from tests.fuzz.target import Target, sound


@cache
def _directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="netuned-fuzz-", dir="/dev/shm"))


def _baseline(data: bytes) -> None:
    """With the checksum that belongs to it, else nothing but that would be tried."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        content = json.loads(data)
        if isinstance(content, dict) and "checksum" in content:
            rest = {k: v for k, v in content.items() if k not in ("version", "checksum")}
            content["checksum"] = statefile.checksum(rest)
            data = json.dumps(content).encode()
    path = _directory() / "baseline.json"
    path.write_bytes(data)
    try:
        baseline.Baseline(path, "boot").load()
    except NetunedError as error:
        sound(error)


def _seats(data: bytes) -> None:
    try:
        seatfile.parse_seats(data)
    except ValueError as error:
        sound(error)


def _snapshot(data: bytes) -> None:
    path = _directory() / "snapshot.tar"
    path.write_bytes(data)
    try:
        taken = snapshot.read(str(path))
        snapshot.recorded_profiles(taken)
    except NetunedError as error:
        sound(error)


def _packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()[: -8 * tarfile.BLOCKSIZE]


MANIFEST = b'{"format": 1, "taken_at": 1, "refused": {"/proc/stat": ["EACCES", 292]}}'
ANSWERS = b"""{"links": {"2": {"name": "eth0", "kind": "", "up": true, "running": true, "master": 0,
"lower": 0, "mac": "", "rx_queues": 1, "tx_queues": 1}}, "cards": {"2": {"rx_rings": 4}}}"""


BASELINE = {
    "version": baseline.VERSION,
    "checksum": "",
    "boot_id": "boot",
    "lost": "",
    "host": {"rfs": {"flows": 1}},
    "cards": {"5": {"ifindex": 2, "settings": {"rps": {"rx-0": {"cpus": "0-3"}}}}},
}

TARGETS = (
    Target(
        "baseline",
        _baseline,
        (json.dumps(BASELINE).encode(),),
        (b"null", b"[" * 5000, b'{"":', b"1e999", b"NaN", b'"\\ud800"', b"true", b"-1", b'"qdisc"'),
    ),
    Target(
        "seats",
        _seats,
        (
            b'{"version": 1, "online": "0-3", "cards": '
            b'[{"device": "d", "name": "eth0", "home": [1, 2], "now": [1, -1]}]}',
        ),
        (b"null", b"[" * 5000, b"1e999", b"NaN", b'"\\ud800"', b"9" * 5000),
    ),
    Target(
        "snapshot",
        _snapshot,
        (
            _packed(("snapshot.json", MANIFEST), ("answers.json", ANSWERS), ("proc/x", b"1")),
            _packed(("snapshot.json", MANIFEST), ("answers.json", b"{}"), ("a" * 200, b"1")),
        ),
        (b"../", b"/etc/passwd\0", b"ustar", b"[" * 5000, b"7" * 11, b"\x80" + b"\xff" * 11, b"\0"),
    ),
)
