"""The doctor on a running kernel: what costs something is made to happen, and found."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Lab
from tests.netns.test_contention import TracedLab
from tests.netns.test_experiment import SENDER
from tests.netns.test_partial import xdp_socket

pytestmark = pytest.mark.netns

QUEUES = max(len(os.sched_getaffinity(0)), 2)
PEER = "192.0.2.2 lladdr 02:00:00:00:00:02 dev lan0"
SLOW = (
    f"ip address add 192.0.2.1/24 dev lan0; ip neighbour add {PEER}; "
    "tc qdisc replace dev lan0 root handle 1: tbf rate 1mbit burst 10kb limit 100kb; "
    "tc qdisc add dev lan0 parent 1:1 handle 2: pfifo limit 5"
)
TAP = (
    "ip tuntap add dev tap0 mode tap; ip link set tap0 up; "
    "ethtool -s tap0 speed 100 duplex half autoneg off"
)
LAN, FROM = "/sys/class/net/lan0/queues", "/sys/class/net/peer0/queues"
EACH = f"n=1; for q in {LAN}/tx-*; do echo $n > $q/xps_cpus; n=$((n * 2)); done"

MADE = {
    # finding: what happens, how the host is set, and a counter of the proof
    "xps-unequal": ("flood", f"echo 3 > {LAN}/tx-0/xps_cpus", "tx_packets"),
    "rps-costs": ("flood", f"for q in {FROM}/rx-*; do echo 3 > $q/rps_cpus; done", "received_rps"),
    "tx-flapping": ("alternate", f"tc qdisc replace dev lan0 root mq; {EACH}", "bytes of tx-0"),
    "qdisc-drops": ("datagrams", SLOW, "drops of tx-0"),
    "udp-buffers": ("unread-datagrams", "true", "UdpRcvbufErrors"),
    "tcp-buffers": ("unread-stream", "sysctl -qw net.ipv4.tcp_rmem='4096 16384 65536'", "TcpExt"),
    "rfs-without-table": ("nothing", f"echo 4096 > {LAN}/rx-0/rps_flow_cnt", "rps_flow_cnt"),
    "rfs-without-queues": ("nothing", "true", "net.core.rps_sock_flow_entries"),
    "qdisc-differs": ("nothing", "tc qdisc replace dev lan0 root mq", "queues with"),
    "slow-link": ("nothing", TAP, "collisions"),
}
BY_PROFILE = {
    "profile-withheld": "lan0", "profile-unsupported": "peer0", "profile-drifted": "peer0",
}  # fmt: skip
NOT_HAD = {"profile-contended": "duel0", "profile-degraded": "peer0", "profile-waiting": "lan0"}
NAMES = (*MADE, *BY_PROFILE, *NOT_HAD, "repaired", "zero-copy", "gro-not-merging")
SEEN = {
    # the host's sysctls where a namespace shows none
    "rfs-without-table": {"rps_sock_flow_entries": "0"},
    "rfs-without-queues": {"rps_sock_flow_entries": "32768"},
    "qdisc-differs": {"default_qdisc": "fq_codel"},
}


class HostLab(Lab):
    """A namespace in which programs see the sysctls of a host in ``core``."""

    def see(self, **core: str) -> None:
        """Show these in /proc/sys/net/core, as the first namespace would."""
        directory = self.directory / "core"
        directory.mkdir()
        for name, text in core.items():
            (directory / name).write_text(f"{text}\n")

    def command(self, *words: str) -> list[str]:
        bind = f'mount --bind {self.directory}/core /proc/sys/net/core && exec "$@"'
        seen = (self.directory / "core").exists()
        return super().command("sh", "-c", bind if seen else 'exec "$@"', "sh", *words)

    def doctor(self, wanted: str, act: str) -> dict[str, Any]:
        words = (sys.executable, "-m", "tests.netns.doctoring", wanted, act)
        found: dict[str, Any] = json.loads(self.run(*words).stdout)
        return found


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_is_found(name: str) -> None:
    act, setting, proof = MADE[name]
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.shell(setting)
        if name in SEEN:
            lab.see(**SEEN[name])
        found = lab.doctor(name, act)
        finding = next((f for f in found["findings"] if f["name"] == name), None)
        assert finding is not None, [f["name"] for f in found["findings"]]
        assert any(counter.startswith(proof) for counter in finding["proof"])


ALONE = """
import contextlib, io, os, sys
from netuned.cli.main import run
words = ["doctor", "--for", "1s", "--json"]
with contextlib.redirect_stdout(io.StringIO()):  # all is imported before rights are dropped
    assert run(words) == 0
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
assert run(words) == 0
"""


def test_without_daemon_profile_and_rights_nothing_is_found_on_idle_cards() -> None:
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        found = json.loads(lab.run(sys.executable, "-c", ALONE).stdout)
    assert sorted(found["cards"]) == ["lan0", "peer0"]
    assert found["seconds"] >= 1
    assert [f for f in found["findings"] if f["card"]] == []
    unseen = {each["what"] for each in found["missing"]}
    assert "net.core.default_qdisc" in unseen, "a namespace has none"


def test_a_snapshot_holds_what_happened(tmp_path: Path) -> None:
    path = str(tmp_path / "host.tar")
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.shell(SLOW)
        words = lab.command(sys.executable, "-m", "tests.netns.doctoring", "never", "datagrams")
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as sending:
            lab.wait(lambda: "dropped 0" not in lab.shell("tc -s qdisc show dev lan0"), "drops")
            lab.ctl("snapshot", path, "--for", "1s", inside=True)
            sending.kill()
        shown = lab.ctl("doctor", "lan0", "--snapshot", path, inside=True).stdout
    assert "lan0: qdisc-drops" in shown
    assert "Proof: drops of tx-0" in shown


def test_an_experiment_is_offered_and_run(tmp_path: Path) -> None:
    """Asked for on a terminal; everywhere else it is shown alone, and all is as before."""
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.shell(f"echo 4096 > {LAN}/rx-0/rps_flow_cnt")
        lab.see(rps_sock_flow_entries="0")
        words = ("doctor", "lan0", "--try", "--for", "1s")
        short = f"--runs 2 --for 1s --settle 1s --warm-up 1s --profiles {lab.profiles}"
        with_ = (*words, "--with", short)
        file = tmp_path / "sender.py"
        file.write_text(SENDER)
        with subprocess.Popen(lab.command(sys.executable, str(file))) as sending:
            alone = json.loads(lab.ctl(*words, "--json", inside=True).stdout)
            lab.start()
            before = lab.shell(f"cat {LAN}/rx-*/rps_flow_cnt"), sorted(lab.profiles.iterdir())
            shown = lab.ctl(*with_, inside=True).stdout
            status, refused = lab.on_a_terminal("n", *with_)
            assert status == 0, refused
            status, seen = lab.on_a_terminal("y", *with_)
            after = lab.shell(f"cat {LAN}/rx-*/rps_flow_cnt"), sorted(lab.profiles.iterdir())
            sending.kill()
        pending = lab.status()["manager"]["pending_confirm"]
    (finding,) = (one for one in alone["findings"] if one["name"] == "rfs-without-table")
    assert finding["experiment"]["command"] == (
        "netunedctl experiment none --set rfs.entries=auto --card lan0 "
        "--metric cpu_us_per_packet --live"
    )
    assert "the daemon has to run" in alone["experiments_need"][0]
    assert f"--live {short}\n" in shown
    assert "Run " not in shown
    assert "[y/N] n" in refused
    assert "of 4: none" not in refused
    assert status == 0, seen
    assert "4 of 4: none: cpu_us_per_packet" in seen
    assert "fewer than 5 runs tell nothing" in " ".join(seen.split())
    assert (after, pending) == (before, "")


def test_what_the_daemon_withholds_and_puts_back_is_told() -> None:
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.profile(
            "edge",
            "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0-1}\nchannels: {combined: 1}\n"
            "policy: {disruptive: deny}\n",
        )
        lab.profile(
            "far",
            "match: [{kind: veth, name: peer0}]\nrps: {cpus: 0}\ncoalesce: {rx-usecs: 5}\n"
            "policy: {enforce: no}\n",
        )
        lab.start()
        lab.wait_state("lan0", "partial")
        lab.shell(f"echo 1 > {LAN}/rx-0/rps_cpus")
        lab.wait(lambda: lab.attribute("lan0", "rx-0", "rps_cpus").endswith("3"), "the repair")
        words = ("doctor", "--for", "1s", "--json")
        found = json.loads(lab.ctl(*words, inside=True).stdout)
    findings = {finding["name"]: finding for finding in found["findings"]}
    assert findings["repaired"]["proof"] == {"repairs": 1}
    assert "rps rx-0 was put back" in findings["repaired"]["seen"]
    of_profiles = {name: finding["card"] for name, finding in findings.items() if finding["card"]}
    assert of_profiles == {"repaired": "lan0", **BY_PROFILE}


def test_what_the_daemon_cannot_have_is_told() -> None:
    """A socket holds a queue, a file refuses what is written, and somebody writes it, too."""
    with TracedLab() as lab:
        lab.tracing, lab.limits = False, {}
        lab.add_pairs([("lan0", "peer0"), ("duel0", "duel1")], queues=8)
        lab.run("ethtool", "-L", "lan0", "rx", "4", "tx", "4")
        lab.start()
        assert lab.daemon
        refuses = f"{FROM}/rx-0/rps_cpus"
        inside = ("nsenter", "-t", str(lab.daemon.pid), "-m", "mount")
        (lab.directory / "stand-in").write_text("0\n")
        subprocess.run([*inside, "--bind", str(lab.directory / "stand-in"), refuses], check=True)
        subprocess.run([*inside, "-o", "remount,ro,bind", refuses], check=True)
        fight = "echo 1 > /sys/class/net/duel0/queues/rx-0/rps_cpus"
        with xdp_socket(lab), lab.fighting(fight):
            for name, setting in (
                ("lan0", "channels: {combined: 2}"),
                ("peer0", "rps: {cpus: 0-1}"),
                ("duel0", "rps: {cpus: 0-1}"),
            ):
                lab.profile(name, f"match: [{{kind: veth, name: {name}}}]\n{setting}\n")
            lab.wait_state("lan0", "partial")
            lab.wait_state("peer0", "degraded")
            lab.wait_state("duel0", "contended")
            found = json.loads(lab.ctl("doctor", "--for", "1s", "--json", inside=True).stdout)
    told = {f["name"]: f["card"] for f in found["findings"] if f["name"].startswith("profile-")}
    assert told == NOT_HAD


SINK = """
import socket
with socket.create_server(("192.0.2.1", 7)) as server:
    print("listening", flush=True)
    reader, held = server.accept()[0], bytearray(1 << 20)
    while reader.recv_into(held):
        pass
"""
SOURCE = """
import socket
with socket.create_connection(("192.0.2.1", 7)) as sender:
    while True:
        sender.sendall(bytes(1 << 20))
"""


def test_bulk_that_nobody_merges_is_found() -> None:
    """From another namespace: what a host sends itself goes over its loopback."""
    with HostLab() as lab, HostLab() as far:
        lab.add_pair("lan0", "peer0", queues=QUEUES)
        lab.shell(f"ip link set peer0 netns {far.namespace}; ethtool -K lan0 gro off")
        lab.shell("ip address add 192.0.2.1/24 dev lan0")
        far.shell("ip link set peer0 up; ip address add 192.0.2.2/24 dev peer0")
        far.shell("ethtool -K peer0 tso off gso off")
        with contextlib.ExitStack() as running:
            for at, text in ((lab, SINK), (far, SOURCE)):
                words = at.command(sys.executable, "-c", text)
                process = running.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE))
                running.callback(process.kill)
                assert process.stdout
                assert at is far or process.stdout.readline() == b"listening\n"
            found = lab.doctor("gro-not-merging", "wait")["findings"]
    (finding,) = (f for f in found if f["name"] == "gro-not-merging")
    assert finding["card"] == "lan0"
    assert finding["proof"]["TcpInSegs"] < 1.5 * finding["proof"]["IpInReceives"]


def test_a_socket_that_copies_is_found() -> None:
    with HostLab() as lab:
        lab.add_pair("lan0", "peer0", queues=8)
        lab.run("ethtool", "-L", "lan0", "rx", "4", "tx", "4")
        with xdp_socket(lab):
            found = lab.doctor("zero-copy", "nothing")["findings"]
    (finding,) = (f for f in found if f["name"] == "zero-copy")
    assert (
        "queue 3 is bound to AF_XDP and lacks for AF_XDP: AF_XDP without copies" in finding["seen"]
    )
