"""netuned beside systemd, D-Bus, polkit and irqbalance; test_kernels.py has the kernel's side."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import hardware
from .guest_host import FIRST, IGB, NODE1, PROFILES, SECOND, Guest

ROUND_S = 4
"""How often irqbalance looks: the lab's /etc/default/irqbalance, else every 10 s."""


def test_irqbalance_goes_on_with_the_rest(igb: Guest) -> None:
    assert igb.sh("systemctl is-active irqbalance") == "active"
    settled = '[ "$(netunedctl status --json | grep -c applying)" = 0 ]'
    igb.wait("irqbalance to confirm", settled, 90)
    ours = {irq for name in hardware.IGB for irq in igb.interrupts(name).values()}
    balanced = igb.machine.wait_until(lambda: _balanced(igb), 60, "irqbalance to answer")
    disk = int(igb.sh("grep ahci /proc/interrupts").split(":")[0])
    assert len(ours) == 18
    assert not ours & balanced
    assert disk in balanced
    assert len(igb.affinity(disk)) == 1  # irqbalance placed it: the kernel's default is all CPUs
    before = [igb.queue_cpus(name) for name in hardware.IGB]
    cursor = igb.cursor()
    time.sleep(2.5 * ROUND_S)
    assert [igb.queue_cpus(name) for name in hardware.IGB] == before
    assert "Repaired" not in igb.logged_since(cursor)


def test_only_queues_in_the_table_receive(igb: Guest) -> None:
    igb.drop("igb", IGB.replace("queues: all", 'queues: "0-3"'))
    igb.machine.wait_until(lambda: set(igb.table(FIRST)) == {0, 1, 2, 3}, 30, "the table")
    igb.wait_state(FIRST, "in-sync")
    try:
        before = _received(igb)
        igb.machine.put("/root/flows.py", SEND_FLOWS)
        igb.sh(f"ip link set {SECOND} up; python3 /root/flows.py {SECOND} {FIRST}", 120)
        igb.machine.wait_until(
            lambda: sum(_received(igb)) - sum(before) >= 64 * 8, 30, "the packets"
        )
        got = [after - was for after, was in zip(_received(igb), before, strict=True)]
        assert all(count > 0 for count in got[:4]), got
        assert got[4:] == [0, 0, 0, 0], got
    finally:
        igb.drop("igb", IGB)
        igb.machine.wait_until(lambda: len(set(igb.table(FIRST))) == 8, 30, "the table")
        igb.wait_state(FIRST, "in-sync")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("{kind: fq, maxrate: 1gbit, quantum: 3000, horizon: 5s}", "maxrate 1Gbit"),
        ("{kind: fq_codel, target: 10ms, interval: 90ms, limit: 2048, ecn: no}", "target 10ms"),
        ("{kind: cake, bandwidth: 500mbit, rtt: 20ms, diffserv_mode: besteffort}", "500Mbit"),
        ("{kind: pfifo_fast}", "pfifo_fast"),
        ("{kind: noqueue}", "noqueue"),
    ],
)
def test_every_kind_of_qdisc(igb: Guest, spec: str, shown: str) -> None:
    kind = re.search(r"kind: (\w+)", spec)
    assert kind
    whole = ["noqueue"] if kind[1] == "noqueue" else ["mq"] + [kind[1]] * 8
    igb.drop("igb", IGB.replace("{kind: fq, flow_limit: 1000}", spec))
    try:
        igb.machine.wait_until(lambda: igb.qdiscs(FIRST) == whole, 30, spec)
        shows = f"tc qdisc show dev {FIRST} | grep '{shown}'"
        igb.wait("the new profile, not only its kind", shows)
        igb.wait_state(FIRST, "in-sync")
        before = igb.writes()
        igb.sh("netunedctl apply")
        assert igb.writes() == before
    finally:
        igb.drop("igb", IGB)
        igb.machine.wait_until(lambda: igb.qdiscs(FIRST) == ["mq"] + ["fq"] * 8, 30, "fq")
        igb.wait_state(FIRST, "in-sync")


def test_an_irqbalance_restart_changes_nothing(igb: Guest, wanted: dict[str, object]) -> None:
    igb.sh("systemctl restart irqbalance")
    igb.machine.wait_until(lambda: _balanced(igb), 60, "irqbalance to answer")
    time.sleep(1.2 * ROUND_S)
    igb.wait_for(FIRST, wanted, 40)
    assert igb.sh("systemctl is-active irqbalance") == "active"


def test_a_trial_of_fewer_channels_is_rolled_back_after_a_kill(
    igb: Guest, wanted: dict[str, object]
) -> None:
    """igb rewrites its RSS table and its interrupts with the channels: that comes back, too."""
    igb.sh(f"netunedctl pause {FIRST}")
    igb.drop("igb", IGB.replace("combined: max", "combined: 3"))
    igb.sh(f"netunedctl apply --confirm 90s {FIRST}", 120)
    assert igb.combined(FIRST) == 3
    waiting = str(igb.manager()["pending_confirm"])
    igb.kill()
    igb.wait_restart()
    assert igb.manager()["pending_confirm"] == waiting
    igb.wait_for(FIRST, wanted, 150)
    igb.wait_state(FIRST, "drifted")
    igb.drop("igb", IGB)
    igb.wait_state(FIRST, "in-sync")
    assert igb.combined(FIRST) == 8  # their places depend on where they were last


def test_restoring_a_card_leaves_it_alone(igb: Guest, wanted: dict[str, object]) -> None:
    igb.sh(f"netunedctl restore {FIRST}", 90)
    try:
        assert igb.qdiscs(FIRST)[0] == "mq"
        assert igb.masks(FIRST, "tx") == [""] * 8
        igb.wait_state(FIRST, "drifted")
    finally:
        igb.sh(f"netunedctl apply {FIRST}", 90)
    igb.wait_state(FIRST, "in-sync")
    assert igb.state(FIRST) == wanted


@pytest.mark.alone
def test_sigterm_stops_within_two_seconds_of_the_daemons_time(igb: Guest) -> None:
    taken = igb.machine.run("time systemctl stop netuned", check=True).duration_s
    igb.sh("systemctl start netuned")
    assert taken < 2 + 3  # three for emulated systemctl itself
    igb.wait_state(FIRST, "in-sync")


def test_systemd_reloads_it_and_is_told_how_it_is(igb: Guest) -> None:
    before, pid = igb.writes(), igb.sh("systemctl show -P MainPID netuned")
    igb.sh("systemctl reload netuned")
    igb.wait("it to be ready again", "systemctl is-active netuned")
    assert igb.sh("systemctl show -P MainPID netuned") == pid
    assert igb.sh("systemctl show -P StatusText netuned") == "2 in-sync"
    assert igb.sh("systemctl show -P WatchdogUSec netuned") == "1min"
    assert igb.writes() == before


def test_the_next_start_has_the_profiles_without_what_compiles_them(igb: Guest) -> None:
    igb.wait("what was compiled to be kept", "test -s /var/lib/netuned/compiled.json")
    igb.sh("systemctl restart netuned")
    igb.wait_state(FIRST, "in-sync")
    maps = "/proc/$(systemctl show -P MainPID netuned)/maps"
    compilers = f"grep -cE 'pydantic_core|_yaml' {maps} || true"
    assert igb.sh(compilers) == "0"
    igb.sh("netunedctl reload")
    assert igb.sh(compilers) == "0"


def test_an_unprivileged_user_reads_and_may_not_write(igb: Guest) -> None:
    as_nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
    assert FIRST in igb.sh(f"{as_nobody} netunedctl status")
    trial = ("apply --confirm 60s", "confirm a1b2c3", "rollback", "restore")
    for method in ("reload", "apply", f"pause {FIRST}", f"resume {FIRST}", *trial):
        refused = igb.machine.run(f"{as_nobody} netunedctl {method}", check=False)
        assert refused.rc == 1, method
        assert "org.netuned1" in refused.stderr or "root" in refused.stderr


def test_what_only_looks_starts_no_stopped_daemon(igb: Guest, wanted: dict[str, object]) -> None:
    as_nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
    igb.sh("systemctl disable --now netuned")
    try:
        call = "busctl call org.netuned1 /org/netuned1 org.netuned1.Manager Plan"
        looks = ("netunedctl status", "netunedctl plan", "netunedctl profiles", call)
        commands = [command for words in looks for command in (words, f"{as_nobody} {words}")]
        with ThreadPoolExecutor() as side_by_side:  # each is a look at everything
            list(side_by_side.map(lambda words: igb.machine.run(words, 300, check=False), commands))
        assert igb.sh("systemctl is-active netuned || true") == "inactive"
        for words in (f"netunedctl status {FIRST}", f"{as_nobody} netunedctl status {FIRST}"):
            shown = igb.sh(words)
            assert shown.startswith("netuned is not running")
            assert f"{FIRST}: in-sync" in shown
        igb.sh(f"echo 0 >/sys/class/net/{FIRST}/queues/tx-0/xps_cpus")
        assert f"{FIRST} " in igb.sh("netunedctl plan")
        assert f"{FIRST}: drifted" in igb.sh(f"netunedctl status {FIRST}")
    finally:
        igb.sh("systemctl enable --now netuned", 60)
    igb.wait_for(FIRST, wanted, 60)


def test_a_broken_profile_changes_nothing(igb: Guest, wanted: dict[str, object]) -> None:
    igb.drop("igb", IGB.replace("kind: fq", "kind: fqq"))
    igb.machine.wait_until(lambda: igb.manager()["profile_errors"], 20, "the error")
    (error,) = igb.manager()["profile_errors"]
    assert error.startswith(f"{PROFILES}/igb.yaml:8:")
    assert "qdisc" in error
    assert igb.state(FIRST) == wanted
    igb.drop("igb", IGB)
    igb.machine.wait_until(lambda: not igb.manager()["profile_errors"], 20, "no error")


def test_absent_cards_equal_profiles_and_an_empty_directory(
    igb: Guest, wanted: dict[str, object]
) -> None:
    igb.drop("later", IGB.replace("driver: igb", "name: wan0"))
    igb.drop("twin", IGB)
    igb.machine.wait_until(lambda: len(igb.manager()["conflicts"]) == 2, 20, "conflicts")
    conflict = igb.manager()["conflicts"][0]
    assert "igb" in conflict
    assert "twin" in conflict
    assert igb.card(FIRST)["profile"] == "igb"
    assert "wan0" not in igb.sh("netunedctl status")
    igb.remove_profiles()
    igb.wait_state(FIRST, "unmanaged")
    assert igb.manager()["profile_errors"] == []
    assert "No profile matches" in igb.sh("netunedctl status")
    igb.drop("igb", IGB)
    igb.wait_for(FIRST, wanted, 30)
    igb.wait_state(FIRST, "in-sync")


def test_rfs_and_the_hosts_table(igb: Guest, wanted: dict[str, object]) -> None:
    table = "/proc/sys/net/core/rps_sock_flow_entries"
    cards = " ".join(f"/sys/class/net/{name}/queues/rx-*/rps_flow_cnt" for name in hardware.IGB)
    before = igb.sh(f"cat {table}")
    assert before != "32768"
    igb.drop("igb", IGB + "rfs: {entries: 20000}\n")
    try:
        igb.wait("the host's table", f"[ $(cat {table}) = 32768 ]")
        for ifname in hardware.IGB:
            igb.wait_state(ifname, "in-sync")
        assert igb.sh(f"cat {cards}").split() == ["4096"] * 16
        assert "Host: rfs in-sync: 32768 flows" in igb.sh("netunedctl status")
        cursor = igb.cursor()
        igb.sh(f"echo 64 > {table}; echo 64 > /sys/class/net/{FIRST}/queues/rx-5/rps_flow_cnt")
        igb.wait("both repaired", f"[ $(cat {table}) = 32768 ] && ! grep -qx 64 {cards}", 15)
        logged = igb.logged_since(cursor)
        assert "Repaired host rfs: found 64 flows, put back 32768 flows" in logged
        assert f"Repaired {FIRST} rfs rx-5" in logged
        igb.kill()
        igb.sh(f"echo 64 > {table}")
        igb.wait_restart()
        igb.wait("the host's table", f"[ $(cat {table}) = 32768 ]")
    finally:
        igb.drop("igb", IGB)
    igb.wait("the host's table as before", f"[ $(cat {table}) = {before} ]")
    igb.machine.wait_until(lambda: set(igb.sh(f"cat {cards}").split()) == {"0"}, 30, "no tables")
    igb.wait_for(FIRST, wanted, 30)


def test_cpus_that_systemd_keeps_from_it_serve_no_queue(
    igb: Guest, wanted: dict[str, object]
) -> None:
    igb.sh("systemctl set-property --runtime netuned.service AllowedCPUs=0-5")
    try:
        igb.machine.wait_until(  # no event tells: at the next resync
            lambda: set(igb.queue_cpus(FIRST)) == {"4", "5"}, 60, "the queues to leave CPUs 6-7"
        )
    finally:
        igb.sh("systemctl set-property --runtime netuned.service AllowedCPUs=")
    igb.wait_for(FIRST, wanted, 60)


def test_a_snapshot_plans_and_explains_as_the_host_does(igb: Guest) -> None:
    igb.drop("igb", IGB.replace("flow_limit: 1000", "flow_limit: 900") + "policy: {enforce: no}\n")
    try:
        igb.wait("something to plan", "netunedctl plan --exit-code >/dev/null; [ $? = 3 ]")
        igb.sh("netunedctl snapshot --force /root/host.tar", 300)
        for command in ("plan", "plan --json"):
            here = igb.sh(f"netunedctl {command}")
            assert "900" in here
            assert igb.sh(f"netunedctl {command} --snapshot /root/host.tar", 120) == here
        here = igb.sh(f"netunedctl explain {FIRST}", 120)
        assert "igb.yaml" in here
        assert igb.sh(f"netunedctl explain {FIRST} --snapshot /root/host.tar", 120) == here
        mac = igb.sh(f"cat /sys/class/net/{FIRST}/address")
        assert igb.sh(f"grep -ac {mac} /root/host.tar; true") == "0"
    finally:
        igb.drop("igb", IGB)
    igb.wait_state(FIRST, "in-sync")


def test_a_vlan_on_a_bond_tunes_both_cards_below(igb: Guest, wanted: dict[str, object]) -> None:
    igb.remove_profiles()
    igb.drop("vlan", IGB.replace("driver: igb", "kind: vlan"))
    try:
        igb.wait_state(FIRST, "unmanaged")
        igb.sh(
            f"ip link add bond9 type bond mode active-backup && ip link set {FIRST} down && "
            f"ip link set {SECOND} down && ip link set {FIRST} master bond9 && "
            f"ip link set {SECOND} master bond9 && ip link set bond9 up && "
            "ip link add link bond9 name bond9.5 type vlan id 5 && ip link set bond9.5 up"
        )
        for ifname in hardware.IGB:
            igb.wait_state(ifname, "in-sync")
            state = igb.state(ifname)
            assert state["channels"] == 8
            assert set(state["irq"]) == NODE1
            assert state["qdisc"] == ["mq"] + ["fq"] * 8
        assert igb.queue_cpus(FIRST) == igb.queue_cpus(SECOND)
        vlan = igb.card("bond9.5")
        assert (vlan["profile"], vlan["state"]) == ("vlan", "in-sync")
        assert vlan["through"] == [FIRST, SECOND]
        assert vlan["settings"] == []
        assert igb.card("bond9")["profile"] == ""
        shown = " ".join(igb.sh("netunedctl status bond9.5").split())
        assert f"It works through {FIRST}, {SECOND}; nothing is set on bond9.5 itself." in shown
        igb.sh(f"ip link set {SECOND} nomaster")
        igb.wait_state(SECOND, "unmanaged")
        assert igb.card(FIRST)["profile"] == "vlan"
        assert igb.card("bond9.5")["through"] == [FIRST]
    finally:
        igb.sh("ip link del bond9; true")
        for ifname in hardware.IGB:
            igb.sh(f"ip link set {ifname} up")
        igb.sh(f"rm -f {PROFILES}/vlan.yaml")
        igb.drop("igb", IGB)
    igb.wait_state(SECOND, "in-sync")
    igb.wait_for(FIRST, wanted, 60)


def test_the_bus_shows_itself(igb: Guest) -> None:
    shown = igb.sh("busctl introspect org.netuned1 /org/netuned1")
    for member in ("Reload", "Reconcile", "Plan", "ProfileErrors", "GetManagedObjects"):
        assert member in shown


def _balanced(guest: Guest) -> set[int]:
    """Ask irqbalance itself which interrupts it places; it answers between its rounds."""
    script = (
        "import socket, glob, re; s = socket.socket(socket.AF_UNIX); "
        "s.settimeout(15); s.connect(glob.glob('/run/irqbalance/irqbalance*.sock')[0]); "
        "s.send(b'stats'); print(*re.findall(r'IRQ (\\d+) LOAD', s.recv(65536).decode()))"
    )
    answer = guest.machine.run(f'python3 -c "{script}"', check=False)
    return {int(number) for number in answer.stdout.split()}


def _received(guest: Guest) -> list[int]:
    shown = guest.sh(f"ethtool -S {FIRST} | grep -E 'rx_queue_[0-9]+_packets'")
    pairs = (line.strip().split(": ") for line in shown.splitlines())
    return [int(count) for _, count in sorted(pairs, key=lambda pair: int(pair[0].split("_")[2]))]


SEND_FLOWS = """
import socket, struct, sys
sender, receiver = sys.argv[1:]
mac = lambda n: bytes.fromhex(open(f"/sys/class/net/{n}/address").read().strip().replace(":", ""))
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
def frame(flow):
    source, target = bytes((192, 0, 2, 1 + flow)), bytes((198, 51, 100, 1))
    tcp = struct.pack("!HHIIBBHHH", 10000 + 7 * flow, 80, 1, 0, 0x50, 2, 1024, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), flow, 0, 64, 6, 0) + source + target
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return mac(receiver) + mac(sender) + b"\\x08\\x00" + ip + tcp + bytes(20)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sender, 0))
for _ in range(10):
    for flow in range(64):
        out.send(frame(flow))
"""
