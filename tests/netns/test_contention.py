"""Somebody writes what netuned keeps, as fast as they can: bounded, named, over when they stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from netuned.errors import UnsupportedError
from netuned.kernel import writers
from netuned.reconcile.contention import LIMITS
from netuned.tunables.rfs import HOST_FILE
from tests.netns import scaled
from tests.netns.lab import Lab
from tests.netns.test_daemon import EDGE as DAEMON
from tests.netns.test_rfs import EDGE as RFS
from tests.netns.test_rfs import HostLab

pytestmark = pytest.mark.netns

CARD = "duel0"
"""A trace sees who opens the files of a card of that name in any namespace: no other test's."""

EDGE = DAEMON.replace("lan0", CARD)
QUEUES = f"/sys/class/net/{CARD}/queues"
RX_0 = f"{QUEUES}/rx-0/rps_cpus"
TRACEFS = """\
mount -t tracefs tracefs /sys/kernel/tracing && cd /sys/kernel/tracing
mount --bind instances instances && mount -o remount,bind,ro /sys/kernel/tracing && cd -
"""
"""As the unit has it: read-only but for the instances."""

WRITE = f"echo 1 > {RX_0}"
LINKS = "/run/systemd/network"
SHORT = {"backoff_s": 0.5, "quiet_s": 1.5}
"""In place of a minute and of two."""


class TracedLab(Lab):
    """The daemon with a short minute, and with the kernel's tracing where it is in a booted host.

    ``limits``: what differs from the daemon's own.

    It has the rights of its unit: CAP_NET_ADMIN and uid 0, and of tracing the instances alone.
    """

    module = "tests.netns.scaled"
    limits: Mapping[str, float] = SHORT
    tracing = True

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, scaled.LIMITS: json.dumps(self.limits)}

    @property
    def links(self) -> Path:
        """What the daemon sees as ``LINKS``, if it is there."""
        return self.directory / "network"

    def command(self, *words: str) -> list[str]:
        if self.module not in words:
            return super().command(*words)
        mount = TRACEFS if self.tracing else ""
        if self.links.is_dir():
            mount += f"mount -t tmpfs tmpfs /run/systemd && mkdir {LINKS} && "
            mount += f"mount --bind {self.links} {LINKS}; "
        restricted = ("setpriv", "--bounding-set=-all,+net_admin", "--no-new-privs", *words)
        return super().command("sh", "-c", f'{mount}exec "$@"', "sh", *restricted)

    def conflicts(self) -> list[str]:
        found: list[str] = self.status()["manager"]["conflicts"]
        return found

    def setting(self, tunable: str, ifname: str = CARD) -> dict[str, str]:
        settings = {setting["tunable"]: setting for setting in self.card(ifname)["settings"]}
        found: dict[str, str] = settings.get(tunable, {})
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
        made.add_pair(CARD, "peer0", queues=4)
        made.profile("edge", EDGE)
        yield made


def test_a_setting_that_is_fought_over(lab: TracedLab) -> None:
    lab.start("--debug")
    lab.wait_state(CARD, "in-sync")
    start = time.monotonic()
    with lab.fighting(WRITE) as pid:
        lab.wait_state(CARD, "contended")
        lab.wait(lambda: f"meddler.sh (pid {pid})" in str(lab.conflicts()), "the writer's name")
        (conflict,) = lab.conflicts()
        assert conflict.startswith(f"{CARD} rps rx-0: changed again and again by meddler.sh")
        assert "have the profile keep rps" in conflict
        assert lab.setting("rps")["state"] == "contended"
        assert "meddler.sh" in lab.setting("rps")["reason"]
        assert "meddler.sh" in lab.ctl("status", CARD).stdout
        assert lab.ctl("status", "--exit-code", check=False).returncode == 3
        lab.wait(lambda: _repairs(lab) >= LIMITS.repairs + 2, "two more repairs")
        more = _repairs(lab) - LIMITS.repairs
        assert more <= (time.monotonic() - start) / SHORT["backoff_s"]
    lab.wait_state(CARD, "in-sync")
    assert lab.attribute(CARD, "rx-0", "rps_cpus") == "3"
    assert lab.conflicts() == []
    lines = [line for line in lab.logged().splitlines() if "ontended" in line]
    assert [("Contended: " in line, "No longer" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert "meddler.sh" in lines[0]
    assert lab.logged().count(f"WARNING Repaired {CARD} rps rx-0") == LIMITS.repairs
    # and is as any other
    lab.shell(WRITE)
    lab.wait(lambda: lab.attribute(CARD, "rx-0", "rps_cpus") == "3", "its repair", 1)


def _repairs(lab: TracedLab) -> int:
    return lab.logged().count(f"Repaired {CARD} rps rx-0")


def test_who_asks_over_netlink(lab: TracedLab) -> None:
    lab.tracing = False
    lab.start()
    lab.wait_state(CARD, "in-sync")
    # it is there a while longer: of a process that has ended there is no name
    script = f"(echo qdisc replace dev {CARD} root bfifo; sleep 0.2) | tc -batch -"
    with lab.fighting(script) as pid:
        name = f"started by meddler.sh (pid {pid})"
        lab.wait(lambda: name in str(lab.conflicts()), "the writer's name", 20)
        assert lab.conflicts()[0].startswith(f"{CARD} qdisc root")
        assert ": changed again and again by tc (pid " in lab.conflicts()[0]
        assert lab.setting("rps")["state"] == "in-sync"
    lab.wait_state(CARD, "in-sync", 20)
    assert "mq" in lab.shell(f"tc qdisc show dev {CARD}")


def test_a_slow_rival_is_named_from_the_first_repair_on(lab: TracedLab) -> None:
    """Never often in any short time, and always at the same distance."""
    lab.tracing = False
    lab.limits = {"repairs": 3, "window_s": 0.1, "backoff_s": 60}
    lab.start()
    lab.wait_state(CARD, "in-sync")
    root = f"Repaired {CARD} qdisc root: found bfifo, put back mq"
    with lab.fighting(f"(echo qdisc replace dev {CARD} root bfifo; sleep 1) | tc -batch -"):
        lab.wait(lambda: root in lab.logged(), "the first repair")
        first = next(line for line in lab.logged().splitlines() if root in line)
        assert re.search(r"; tc \(pid \d+\) had set it$", first)
        lab.wait_state(CARD, "contended")
        assert lab.setting("qdisc")["state"] == "contended"
        assert "by tc (pid " in lab.conflicts()[0]
        repairs = lab.logged().count(root)
        assert repairs == 4, "one more than for one in a hurry"
        time.sleep(2.5)
        assert lab.logged().count(root) == repairs, "it is not made anew for ever"


def test_channels_hold_back_what_needs_them(lab: TracedLab) -> None:
    lab.start()
    lab.wait_state(CARD, "in-sync")
    with lab.fighting(f"ethtool -L {CARD} rx 2 tx 1"):
        lab.wait(lambda: lab.setting("channels").get("state") == "contended", "contention", 90)
        assert "ethtool" in lab.conflicts()[0]
        assert lab.card(CARD)["last_error"] == ""
    lab.wait_state(CARD, "in-sync", 20)
    assert lab.attribute(CARD, "rx-3", "rps_cpus") == "3"


def test_with_the_limits_as_they_are(lab: TracedLab) -> None:
    """Five repairs in ten seconds and no more in a minute; what nobody fights over is put back."""
    lab.limits = {}
    lab.start("--debug")
    lab.wait_state(CARD, "in-sync")
    with lab.fighting(WRITE):
        lab.wait_state(CARD, "contended")
        # others of the same card are put back at once, of the same tunable too
        lab.shell(f"echo 1 > {QUEUES}/rx-1/rps_cpus; tc qdisc replace dev {CARD} root bfifo")
        lab.wait(lambda: lab.attribute(CARD, "rx-1", "rps_cpus") == "3", "rx-1", 10)
        lab.wait(lambda: "mq" in lab.shell(f"tc qdisc show dev {CARD}"), "the qdisc", 10)
        time.sleep(1)
        assert _repairs(lab) == LIMITS.repairs
        assert lab.card(CARD)["state"] == "contended"
    assert lab.attribute(CARD, "rx-0", "rps_cpus") in "01"
    # by request at once
    lab.ctl("apply")
    assert lab.attribute(CARD, "rx-0", "rps_cpus") == "3"
    assert lab.card(CARD)["state"] == "in-sync"


class HostTableLab(HostLab):
    module = "tests.netns.scaled"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, scaled.LIMITS: json.dumps(SHORT)}


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
    link.write_text("[Match]\nOriginalName=duel*\n[Link]\nCombinedChannels=2\n")
    lab.start()
    lab.wait(lambda: bool(lab.conflicts()), "the first look at neighbours")
    (conflict,) = lab.conflicts()
    assert conflict.startswith(
        f"udev sets CombinedChannels of {CARD} by /run/systemd/network/10-lan"
    )
    assert f"Conflict: udev sets CombinedChannels of {CARD}" in lab.ctl("status").stdout
    assert f"In the way: {conflict}" in lab.logged()
    link.unlink()
    lab.ctl("reload")
    lab.wait(lambda: not lab.conflicts(), "its end")


def test_without_tracing_it_says_how_to_find_out(lab: TracedLab) -> None:
    lab.tracing = False
    lab.start()
    lab.wait_state(CARD, "in-sync")
    with lab.fighting(WRITE):
        lab.wait(lambda: len(lab.conflicts()) == 1, "contention")
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
        target = tmp_path.parent / CARD / "queues" / "rx-0"
        target.mkdir(parents=True)
        try:
            trace.start([f"{CARD}/queues/rx-0/rps_cpus"])
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
        assert not (tmp_path / "instances" / f"{writers.INSTANCE}{os.getpid()}").exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
