"""Over which devices a host is reached, by files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from netuned.kernel.files import Files
from netuned.kernel.routes import default_routes, device_to, reached_over, session_peer

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
bond0.5\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0
eth2\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ZERO = "0" * 32
SIXTH = f"{ZERO} {{}} {ZERO} 00 {ZERO} 00000400 00000001 00000000 {{}} {{:>8}}\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    (net / "route").write_text(ROUTE)
    rows = [("00", "00000003", "e\u2028x"), ("00", "00200200", "lo"), ("40", "00000001", "eth3")]
    (net / "ipv6_route").write_text("".join(SIXTH.format(*row) for row in rows))
    for link in ("bond0.5/lower_bond0", "bond0/lower_eth0", "bond0/lower_eth1", "eth0/lower_eth0"):
        (tmp_path / "sys/class/net" / link).mkdir(parents=True)
    return Files(str(tmp_path))


def test_default_routes_and_what_lies_below(files: Files) -> None:
    assert list(default_routes(files)) == ["bond0.5", "e\u2028x"]
    reached = reached_over(files)
    assert set(reached) == {"bond0.5", "bond0", "eth0", "eth1", "e\u2028x"}
    assert set(reached.values()) == {"the default route"}


def test_a_default_route_behind_thousands_of_others(files: Files, tmp_path: Path) -> None:
    """The kernel gives 4 KiB of them with one read, and has that of IPv6 anywhere among them."""
    table = tmp_path / "proc/net/ipv6_route"
    table.write_text(SIXTH.format("40", "00000001", "eth3") * 2000 + table.read_text())
    assert list(default_routes(files)) == ["bond0.5", "e\u2028x"]
    table.write_text(table.read_text()[:-9])
    assert list(default_routes(files)) == ["bond0.5", "e\u2028x"]


def test_a_host_without_networks_is_reached_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert reached_over(Files(str(tmp_path))) == {}


def test_a_session_is_found_in_the_processes_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sudo leaves nothing of it in the environment."""
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr("os.getppid", lambda: 30)
    for pid, above, environment in ((30, 20, b"A=1"), (20, 1, b"B=2\0SSH_CONNECTION=::1 5 ::2 22")):
        directory = tmp_path / f"proc/{pid}"
        directory.mkdir(parents=True)
        (directory / "environ").write_bytes(environment)
        (directory / "stat").write_text(f"{pid} (a) b) S {above} 1 1\n")
    assert session_peer(Files(str(tmp_path))) == "::1"
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    assert session_peer(Files(str(tmp_path))) == "192.0.2.1"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_says_where_packets_leave(address: str) -> None:
    assert device_to(address) == "lo"


@pytest.mark.parametrize("said", ["nonsense", "UNKNOWN", "fe80::1%eth9", "1.2.3"])
def test_an_odd_session_is_no_error(
    files: Files, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{said} 1 {said} 22")
    sessions = [name for name, what in reached_over(files).items() if "session" in what]
    assert sessions == (["eth9"] if "%" in said else [])
