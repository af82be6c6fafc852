"""Somebody writes what netuned keeps, as fast as they can: bounded, named, over when they stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netuned.errors import UnsupportedError
from netuned.kernel import writers
from netuned.reconcile.contention import LIMITS
from netuned.tunables.rfs import HOST_FILE
from tests.netns import scaled
from tests.netns.lab import Lab
from tests.netns.test_daemon import EDGE, QUEUES, writes
from tests.netns.test_rfs import EDGE as RFS
from tests.netns.test_rfs import HostLab

pytestmark = pytest.mark.netns

RX_0 = f"{QUEUES}/rx-0/rps_cpus"
TRACEFS = """\
mount -t tracefs tracefs /sys/kernel/tracing && cd /sys/kernel/tracing
mount --bind instances instances && mount -o remount,bind,ro /sys/kernel/tracing && cd -
"""
"""As the unit has it: read-only but for the instances."""

WRITE = f"echo 1 > {RX_0}"


class TracedLab(Lab):
    """The daemon with a short minute, and with the kernel's tracing where it is in a booted host.

    It has the rights of its unit: CAP_NET_ADMIN and uid 0, and of tracing the instances alone.
    """

    module = "tests.netns.scaled"
    backoff_s = 2.0
    tracing = True

    @property
    def environment(self) -> dict[str, str]:
        limits = {"backoff_s": self.backoff_s, "quiet_s": 2 * self.backoff_s}
        return {**super().environment, scaled.LIMITS: json.dumps(limits)}

    @property
    def links(self) -> Path:
        """What the daemon sees as /run/systemd/network, if it is there."""
        return self.directory / "network"

    def command(self, *words: str) -> list[str]:
        if self.module not in words:
            return super().command(*words)
        mount = TRACEFS if self.tracing else ""
        if self.links.is_dir():
            mount += "mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/network && "
            mount += f"mount --bind {self.links} /run/systemd/network; "
        restricted = ("setpriv", "--bounding-set=-all,+net_admin", "--no-new-privs", *words)
        return super().command("sh", "-c", f'{mount}exec "$@"', "sh", *restricted)

    def conflicts(self) -> list[str]:
        found: list[str] = self.status()["manager"]["conflicts"]
        return found

    def setting(self, tunable: str, ifname: str = "lan0") -> dict[str, str]:
        settings = {setting["tunable"]: setting for setting in self.card(ifname)["settings"]}
        found: dict[str, str] = settings[tunable]
        return found

    @contextmanager
    def fighting(self, script: str) -> Iterator[int]:
        """Somebody runs this line of shell over and over; gives the pid."""
        path = self.directory / "meddler.sh"
        path.write_text(f"while :; do {script}; done\n")
        process = subprocess.Popen(self.command("sh", str(path)), start_new_session=True)
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def lab() -> Iterator[TracedLab]:
    with TracedLab() as made:
        made.add_pair("lan0", "peer0", queues=4)
        made.profile("edge", EDGE)
        yield made


def test_a_setting_that_is_fought_over(lab: TracedLab) -> None:
    lab.start("--debug")
    lab.wait_state("lan0", "in-sync")
    before, start = writes(lab), time.monotonic()
    with lab.fighting(WRITE) as pid:
        lab.wait_state("lan0", "contended")
        lab.wait(lambda: f"meddler.sh (pid {pid})" in str(lab.conflicts()), "the writer's name")
        (conflict,) = lab.conflicts()
        assert conflict.startswith("lan0 rps rx-0: changed again and again by meddler.sh")
        assert "have the profile keep rps" in conflict
        assert lab.setting("rps")["state"] == "contended"
        assert "meddler.sh" in lab.setting("rps")["reason"]
        assert "meddler.sh" in lab.ctl("status", "lan0").stdout
        assert lab.ctl("status", "--exit-code", check=False).returncode == 3
        if time.monotonic() - start < lab.backoff_s:
            assert writes(lab) - before == LIMITS.repairs
        # others of the same card are put back at once, of the same tunable too
        lab.shell(f"echo 1 > {QUEUES}/rx-1/rps_cpus; tc qdisc replace dev lan0 root bfifo")
        lab.wait(lambda: lab.attribute("lan0", "rx-1", "rps_cpus") == "3", "rx-1", 1)
        lab.wait(lambda: "mq" in lab.shell("tc qdisc show dev lan0"), "the qdisc", 1)
        time.sleep(max(0.0, start + 2 * lab.backoff_s - time.monotonic()))
        assert 1 <= _repairs(lab) - LIMITS.repairs <= 3
    lab.wait_state("lan0", "in-sync")
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "3"
    assert lab.conflicts() == []
    lines = [line for line in lab.logged().splitlines() if "ontended" in line]
    assert [("Contended: " in line, "No longer" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert "meddler.sh" in lines[0]
    assert lab.logged().count("WARNING Repaired lan0 rps rx-0") == LIMITS.repairs
    # and is as any other
    lab.shell(WRITE)
    lab.wait(lambda: lab.attribute("lan0", "rx-0", "rps_cpus") == "3", "its repair", 1)


def _repairs(lab: TracedLab) -> int:
    return lab.logged().count("Repaired lan0 rps rx-0")


def test_who_asks_over_netlink(lab: TracedLab) -> None:
    lab.tracing = False
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with lab.fighting("tc qdisc replace dev lan0 root bfifo") as pid:
        name = f"started by meddler.sh (pid {pid})"
        lab.wait(lambda: name in str(lab.conflicts()), "the writer's name", 20)
        assert lab.conflicts()[0].startswith("lan0 qdisc root")
        assert ": changed again and again by tc (pid " in lab.conflicts()[0]
        assert lab.setting("rps")["state"] == "in-sync"
    lab.wait_state("lan0", "in-sync", 20)
    assert "mq" in lab.shell("tc qdisc show dev lan0")


def test_channels_hold_back_what_needs_them(lab: TracedLab) -> None:
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with lab.fighting("ethtool -L lan0 rx 2 tx 1"):
        lab.wait(lambda: lab.setting("channels")["state"] == "contended", "contention", 90)
        assert "ethtool" in lab.conflicts()[0]
        assert lab.card("lan0")["last_error"] == ""
    lab.wait_state("lan0", "in-sync", 20)
    assert lab.attribute("lan0", "rx-3", "rps_cpus") == "3"


def test_by_request_it_is_put_back_at_once(lab: TracedLab) -> None:
    lab.backoff_s = 60.0
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with lab.fighting(WRITE):
        lab.wait_state("lan0", "contended")
    assert lab.attribute("lan0", "rx-0", "rps_cpus") in "01"
    lab.ctl("apply")
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == "3"
    assert lab.card("lan0")["state"] == "in-sync"


class HostTableLab(HostLab):
    module = "tests.netns.scaled"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, scaled.LIMITS: '{"backoff_s": 2, "quiet_s": 4}'}


def test_the_hosts_table() -> None:
    with HostTableLab() as lab:
        lab.add_pair("lan0", "peer0", queues=4)
        lab.profile("edge", RFS)
        lab.start("--debug")
        lab.wait_state("lan0", "in-sync")
        lab.wait_table(32768)
        path = lab.directory / "meddler.sh"
        path.write_text(f"while :; do echo '8       ' 1<> {HOST_FILE}; done\n")
        meddler = subprocess.Popen(lab.command("sh", str(path)), start_new_session=True)
        try:
            lab.wait(lambda: lab.host()["state"] == "contended", "contention")
            (conflict,) = lab.status()["manager"]["conflicts"]
            assert conflict.startswith("host rfs: changed again and again by")
            assert lab.card("lan0")["state"] == "in-sync"
            assert lab.ctl("status", "--exit-code", check=False).returncode == 3
        finally:
            os.killpg(meddler.pid, signal.SIGKILL)
            meddler.wait()
        lab.wait_table(32768)
        lab.wait(lambda: lab.host()["state"] == "in-sync", "quiet")
        assert lab.logged().count("WARNING Repaired host rfs") == LIMITS.repairs
        assert lab.logged().count("Contended: host rfs") == 1
        assert lab.logged().count("No longer contended: host rfs") == 1


def test_known_neighbours_are_named_from_the_start(lab: TracedLab) -> None:
    lab.links.mkdir()
    link = lab.links / "10-lan.link"
    link.write_text("[Match]\nOriginalName=lan*\n[Link]\nCombinedChannels=2\n")
    lab.start()
    (conflict,) = lab.conflicts()
    assert conflict.startswith("udev sets CombinedChannels of lan0 by /run/systemd/network/10-lan")
    assert "Conflict: udev sets CombinedChannels of lan0" in lab.ctl("status").stdout
    assert f"In the way: {conflict}" in lab.logged()
    link.unlink()
    lab.ctl("reload")
    lab.wait(lambda: not lab.conflicts(), "its end")


def test_without_tracing_it_says_how_to_find_out(lab: TracedLab) -> None:
    lab.tracing = False
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with lab.fighting(WRITE):
        lab.wait(lambda: "Contended" in lab.logged(), "contention")
        (conflict,) = lab.conflicts()
        assert "by an unknown program" in conflict
        assert "fatrace" in conflict


def test_a_trace_sees_who_has_ended_and_leaves_nothing(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tracefs", "tracefs", str(tmp_path)], check=False).returncode:
        pytest.skip("needs a kernel with tracefs")
    try:
        trace = writers.OpenTrace(tmp_path)
        left = tmp_path / "instances" / f"{writers.INSTANCE}4194305"
        left.mkdir()
        target = tmp_path.parent / "queues" / "rx-0"
        target.mkdir(parents=True)
        try:
            trace.start(["queues/rx-0/rps_cpus"])
        except UnsupportedError as error:
            pytest.skip(str(error))
        assert not left.exists()
        (target / "rps_cpus").write_text("our own")
        assert trace.writer() is None
        subprocess.run(["sh", "-c", f"cat {target}/rps_cpus"], check=True)
        assert trace.writer() is None
        gone = subprocess.Popen(
            ["sh", "-c", "cd queues; echo 1 > rx-0/rps_cpus"], cwd=target.parents[1]
        )
        gone.wait()
        assert trace.writer() == writers.Writer(gone.pid, "sh", ended=True)
        trace.close()
        assert not list((tmp_path / "instances").glob("netuned-*"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
