"""Receive flow steering: tables of veth queues, and the host's table, which a namespace lacks.

Linux has the host's table in the first network namespace only. Where a test needs one, the daemon
sees a directory of the test's in place of /proc/sys/net/core; tests/vm has the real one.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from netuned.errors import UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.opening import open_same
from netuned.kernel import Kernel
from netuned.kernel.files import KeptFiles
from netuned.kernel.once import Once
from netuned.tunables import rfs
from netuned.tunables.base import View
from netuned.values import FlowTable
from tests.netns.conftest import Namespace
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

WIDE = "match: [{kind: veth, name: wide0}]\nrfs: {entries: 65536}\n"
EDGE = """\
match: [{kind: veth, name: lan0}]
channels: {combined: max}
rfs: {entries: auto}
"""


class HostLab(Lab):
    """A namespace in which programs see a host's table: a file that anybody may write."""

    def __enter__(self) -> HostLab:
        super().__enter__()
        self.table = self.directory / "core" / "rps_sock_flow_entries"
        self.table.parent.mkdir()
        self.table.write_text("256\n")
        return self

    def command(self, *words: str) -> list[str]:
        script = f'mount --bind {self.directory}/core /proc/sys/net/core && exec "$@"'
        return super().command(
            "sh", "-c", script if hasattr(self, "table") else 'exec "$@"', *("sh", *words)
        )

    def write_table(self, entries: int) -> None:
        """Write as to a sysctl, which is never seen empty."""
        with self.table.open("r+") as file:
            file.write(f"{entries:<8}\n")

    def wait_table(self, entries: int) -> None:
        self.wait(lambda: self.table.read_text().strip() == str(entries), f"a table of {entries}")

    def queues(self, ifname: str = "lan0") -> list[int]:
        shown = self.shell(f"cat /sys/class/net/{ifname}/queues/rx-*/rps_flow_cnt")
        return [int(line) for line in shown.split()]

    def host(self) -> dict[str, Any]:
        settings = self.status()["manager"]["settings"]
        return next((setting for setting in settings if setting["tunable"] == "rfs"), {})


@pytest.fixture
def lab() -> Iterator[HostLab]:
    with HostLab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        yield made


@pytest.fixture
def edge(lab: HostLab) -> HostLab:
    """The daemon with one card in force."""
    lab.profile("edge", EDGE)
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.wait_table(32768)
    return lab


def test_tables_of_queues_read_back_as_powers_of_two(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    nic = read_nic(kernel, netns.veth(queues=2), "v0")
    view = View(kernel, nic, KeptFiles(open_same(kernel, nic)), Once(kernel))
    with pytest.raises(UnsupportedError, match="first network namespace only"):
        rfs.limits(view)
    monkeypatch.setattr(rfs, "HOST_FILE", "/proc/sys/net/core/somaxconn")
    assert rfs.limits(view) == {}
    found = rfs.read(view)
    assert found == {"rx-0": rfs.OFF, "rx-1": rfs.OFF}
    for flows in (1, 5, 4096, 5000):
        table = FlowTable.holding(flows)
        rfs.write(view, found, {"rx-1": FlowTable(flows)})
        assert rfs.read(view) == {"rx-0": rfs.OFF, "rx-1": table}
    rfs.write(view, found, {"rx-1": rfs.OFF})
    assert rfs.read(view) == found


def test_without_the_hosts_table_nothing_is_half_applied() -> None:
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.profile("edge", EDGE + "rps: {cpus: 0}\n")
        lab.start()
        lab.wait_state("lan0", "partial")
        settings = {setting["tunable"]: setting for setting in lab.card("lan0")["settings"]}
        assert settings["rfs"]["state"] == "unsupported"
        assert "rps_sock_flow_entries" in settings["rfs"]["reason"]
        assert settings["rps"]["state"] == "in-sync"
        assert lab.attribute("lan0", "rx-0", "rps_flow_cnt") == "0"
        assert lab.ctl("plan", "--exit-code", check=False).returncode == 3


def test_both_kinds_of_table_come_and_go(lab: HostLab) -> None:
    lab.shell("echo 64 > /sys/class/net/lan0/queues/rx-3/rps_flow_cnt")
    lab.start()
    path = lab.profile("edge", EDGE)
    lab.wait_state("lan0", "in-sync")
    lab.wait_table(32768)
    assert lab.queues() == [8192] * 4
    assert lab.host()["state"] == "in-sync"
    assert lab.host()["found"] == "32768 flows"
    assert "Set host rfs: 256 flows -> 32768 flows" in lab.logged()
    path.unlink()
    lab.wait_state("lan0", "unmanaged")
    lab.wait_table(256)
    assert lab.queues() == [0, 0, 0, 64]
    lab.wait(lambda: lab.host() == {}, "nothing of the host is asked for any more")


def test_a_second_pass_writes_nothing(edge: HostLab) -> None:
    before = edge.status()["manager"]["writes"]
    edge.ctl("apply")
    edge.ctl("reload")
    assert edge.status()["manager"]["writes"] == before
    assert edge.ctl("plan", "--exit-code").returncode == 0


def test_foreign_writes_are_put_back(edge: HostLab) -> None:
    edge.write_table(8)
    edge.wait_table(32768)
    edge.wait(lambda: "Repaired host rfs: found 8 flows" in edge.logged(), "the log's line")
    edge.shell("echo 2 > /sys/class/net/lan0/queues/rx-2/rps_flow_cnt")
    edge.wait(lambda: edge.queues() == [8192] * 4, "the queue's table")
    edge.wait(lambda: "Repaired lan0 rfs rx-2" in edge.logged(), "its line")
    edge.shell("ethtool -L lan0 rx 1 tx 1")
    edge.wait(lambda: edge.queues() == [8192] * 4, "the tables of queues that came back")


def test_the_table_is_as_large_as_the_largest_and_stays_for_the_last(edge: HostLab) -> None:
    edge.add_pair("wide0", "peer1", queues=2)
    wide = edge.profile("wide", WIDE)
    edge.wait_table(65536)
    edge.wait_state("wide0", "in-sync")
    assert edge.queues("wide0") == [32768] * 2
    (edge.profiles / "edge.yaml").unlink()
    edge.wait_state("lan0", "unmanaged")
    assert edge.table.read_text() == "65536"
    edge.profile("edge", EDGE)
    edge.wait_state("lan0", "in-sync")
    wide.unlink()
    edge.wait_table(32768)
    edge.shell("ip link del lan0")
    edge.wait_table(256)


def test_kill_and_start_again_still_restores(edge: HostLab) -> None:
    edge.stop(signal.SIGKILL)
    edge.write_table(8)
    edge.start()
    edge.wait_table(32768)
    edge.stop(signal.SIGKILL)
    (edge.profiles / "edge.yaml").unlink()
    edge.start()
    edge.wait_table(256)
    assert edge.queues() == [0] * 4


def test_a_mistake_in_a_profile_takes_nothing_away(edge: HostLab) -> None:
    edge.stop()
    (edge.profiles / "edge.yaml").write_text(EDGE + "chanels: 3\n")
    edge.start()
    assert edge.status()["manager"]["profile_errors"]
    assert edge.table.read_text() == "32768"
    assert edge.ctl("plan", "--exit-code").returncode == 0
    (edge.profiles / "edge.yaml").unlink()
    edge.wait_table(256)


def test_the_plan_shows_the_hosts_table_first(edge: HostLab) -> None:
    edge.ctl("pause")
    edge.write_table(8)
    shown = json.loads(edge.ctl("plan", "--json").stdout)["changes"]
    assert [(c["ifname"], c["tunable"], c["before"], c["after"]) for c in shown] == [
        ("", "rfs", "8 flows", "32768 flows")
    ]
    assert "host" in edge.ctl("plan").stdout
    assert edge.host()["state"] == "drifted"
    assert int(edge.table.read_text()) == 8
    edge.ctl("resume")
    edge.wait_table(32768)


@pytest.mark.parametrize("confirmed", [True, False])
def test_the_hosts_table_waits_for_what_waits_to_be_confirmed(
    edge: HostLab, confirmed: bool
) -> None:
    edge.ctl("pause", "lan0")
    edge.profile("edge", EDGE.replace("auto", "65536") + "rps: {cpus: 0}\n")
    edge.ctl("reload")
    assert edge.host()["reason"] == "left alone while a card is paused"
    done = edge.ctl("apply", "--confirm", "60s", "--json", check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert edge.host()["wanted"] == "65536 flows"
    assert edge.host()["state"] == "drifted"
    assert "confirmed" in edge.host()["reason"]
    assert int(edge.table.read_text()) == 32768
    if confirmed:
        edge.ctl("confirm", answer["confirm"]["id"])
    else:
        edge.ctl("rollback")
        assert "changes of lan0 were rolled back" in edge.host()["reason"]
        edge.write_table(8)  # nor is it repaired
        assert edge.ctl("plan", "--exit-code", check=False).returncode == 3
        assert int(edge.table.read_text()) == 8
        edge.ctl("apply")
    edge.wait_table(65536)
    edge.wait(lambda: edge.host()["state"] == "in-sync", "the host in sync")
