"""The doctor where only a whole machine will do: interrupts, the host's own sysctls, fq."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from .guest_host import FIRST, SECOND, Guest
from .hardware import CABLE, CARDS, E1000E, IGB_CABLE, TAP, VIRTIO, VMXNET3

MADE = {
    "isolated-cpus": "interrupts on CPU 7",
    "moved-interrupts": "on CPU 7",
    "softirq-saturated": "ksoftirqd/3 ms",
    "softnet-drops": "dropped on CPU 3",
    "backlog": "backlog of CPU 3",
    "time-squeeze": "squeezed on CPU 3",
    "conntrack-full": "nf_conntrack_count",
    "fq-flow-limit": "flows_plimit of root",
    "rfs-without-table": "rps_flow_cnt of rx-0",
    "qdisc-differs": "queues with",
}
"""Finding -> a part of the name of a counter that proves it."""

TOOLS = """set -e
flood() {  # by which CPU's thread, out of which card, to which, packets at once, each so many ns
    echo "add_device $2" >/proc/net/pktgen/kpktgend_$1
    for line in "count 0" "pkt_size 60" "burst $4" "delay $5" "dst 198.51.100.9" \\
        "src_min 198.18.0.1" "src_max 198.18.0.250" "dst_mac $(cat /sys/class/net/$3/address)"
    do echo "$line" >/proc/net/pktgen/$2; done
}
aim() {  # what a card sends, from so many addresses of such a network
    echo "src_max 198.18.$3.$2" >/proc/net/pktgen/$1
    echo "src_min 198.18.$3.1" >/proc/net/pktgen/$1
}
begin() { (echo start >/proc/net/pktgen/pgctrl) >/dev/null 2>&1 </dev/null & }
serve() {  # a card's queues on this CPU
    for irq in $(grep -lE "$1-(TxRx|rx)" /sys/kernel/irq/*/actions | cut -d/ -f5); do
        echo $2 >/proc/irq/$irq/smp_affinity_list
    done
}
sink() {  # what comes to a card ends so
    tc qdisc add dev $1 clsact
    tc filter add dev $1 ingress pref 65000 protocol ip matchall ${2:-action drop}
}
press() {  # so many more filters for a card's packets to pass, until this CPU does nothing else
    pid=$(pgrep -x ksoftirqd/$2)
    for turn in $(seq 20); do
        before=$(cut -d' ' -f1 /proc/$pid/schedstat)
        sleep 0.4
        after=$(cut -d' ' -f1 /proc/$pid/schedstat)
        if test $((after - before)) -gt 300000000; then
            test $((full += 1)) = 3 && return  # once it may have been for what was done before
            continue
        fi
        full=0
        for filter in $(seq ${3:-40}); do
            echo "filter add dev $1 ingress protocol ip u32 match ip src 203.0.113.1 action drop"
        done | tc -batch -  # each comes before those that are there
    done
}
"""
ACTING = "/run/lab/acting.py"
ACT = f"""
import contextlib, glob, itertools, socket, struct, time
full = contextlib.suppress(OSError)  # ENOBUFS says that a queue dropped it
def frame(port, target):
    udp = struct.pack("!4H", port, 9, 40, 0) + bytes(32)
    ip = struct.pack("!BBHHHBBH", 69, 0, 60, 0, 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2])
    return target + bytes(6) + b"\\x08\\x00" + ip + udp
mac = bytes.fromhex(open("/sys/class/net/{SECOND}/address").read().strip().replace(":", ""))
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("{FIRST}", 0))
paced = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
paced.setsockopt(socket.SOL_SOCKET, 47, 10_000)
irqs = [p.split("/")[4] for p in glob.glob("/sys/kernel/irq/*/actions")
        if "{SECOND}-TxRx" in open(p).read()]
for turn in itertools.count():
    for irq in irqs:
        open(f"/proc/irq/{{irq}}/smp_affinity_list", "w").write(str(6 + turn % 2))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        for port in range(16):
            with full:
                card.send(frame(1024 + port, mac))
            with full:
                paced.sendto(bytes(500), ("198.51.100.9", 9))
"""
CHANGED = (
    "net.core.default_qdisc net.core.netdev_max_backlog net.core.netdev_budget net.core.dev_weight "
    "net.netfilter.nf_conntrack_max"
)
SET = f"""{TOOLS}
systemctl stop irqbalance
modprobe -a pktgen act_ct
ip link add pair0 type veth peer name pair1
ip link set pair0 up
ip link set pair1 up
echo 8 >/sys/class/net/pair1/queues/rx-0/rps_cpus
ip address add 198.51.100.1/24 dev {FIRST}
ip neighbour replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev {FIRST}
tc qdisc replace dev {FIRST} root fq flow_limit 2
echo 4096 >/sys/class/net/{SECOND}/queues/rx-0/rps_flow_cnt
sysctl {CHANGED} >/run/lab/sysctls
sysctl -qw net.core.default_qdisc=pfifo_fast net.core.netdev_max_backlog=100
sysctl -qw net.core.netdev_budget=4 net.core.dev_weight=4 net.netfilter.nf_conntrack_max=64
mkdir -p /sys/fs/cgroup/apart
cd /sys/fs/cgroup
echo +cpuset >cgroup.subtree_control
echo 7 >apart/cpuset.cpus
echo isolated >apart/cpuset.cpus.partition
grep -qx isolated apart/cpuset.cpus.partition
python3 {ACTING} >/run/lab/acting.log 2>&1 </dev/null &
echo $! >/run/lab/acting.pid
sink pair1 "action ct commit pipe action drop"
flood 2 pair0 pair1 1 50000
begin
"""
PRESS = f"{TOOLS} press pair1 3 300"
BACK = f"""
kill $(cat /run/lab/acting.pid)
echo reset >/proc/net/pktgen/pgctrl
rmdir /sys/fs/cgroup/apart
sysctl -qp /run/lab/sysctls
echo 0 >/sys/class/net/{SECOND}/queues/rx-0/rps_flow_cnt
tc qdisc delete dev {FIRST} root
ip address delete 198.51.100.1/24 dev {FIRST}
ip link delete pair0
modprobe -r pktgen
modprobe -r act_ct
for f in /sys/kernel/irq/*/actions; do
  grep -q {SECOND}-TxRx $f && echo 0-7 >/proc/irq/$(basename $(dirname $f))/smp_affinity_list
done
systemctl start irqbalance
"""

FLOOD = f"""{TOOLS}
systemctl stop irqbalance
modprobe pktgen
mkdir -p /run/lab
sysctl -qw net.ipv4.ip_forward=1 net.core.busy_poll=50
ethtool -g {VMXNET3} | grep -w ^RX: | tail -n 1 | cut -f2- | tr -d '[:blank:]' >/run/lab/ring
ethtool -K {VMXNET3} lro on
ethtool -G {VMXNET3} rx 32
for card in {" ".join(CARDS)}; do ethtool -K $card tso off; done
ip address add 203.0.113.1/24 dev {VIRTIO}
ping -i 0.2 203.0.113.9 >/dev/null 2>&1 </dev/null &
echo $! >/run/lab/acting.pid
ip route add 198.51.100.0/24 dev {VMXNET3}
ip neighbour replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev {VMXNET3}
sink {SECOND}
serve {SECOND} 1
flood 3 {FIRST} {SECOND} 32 1000000
flood 2 {E1000E} {VMXNET3} 64 64000000
begin
"""
AIM = f"{TOOLS}\naim {FIRST} 3 $look; press {SECOND} 1"
BUSY = {
    "few-cpus": "polls on CPU 1",
    "remote-node": "polls on CPU 1",
    "shared-core": "interrupts of",
    "silent-queue": "interrupts of",
    "uneven-rss": "packets of rx-0",
    "xps-missing": "packets of tx-0",
    "ring-overflow": "overruns of rx-0",
    "lro-forwarding": "IpForwDatagrams",
    "gro-hw-forwarding": "IpForwDatagrams",
    "adaptive-latency": "rx_packets",
}
"""What is found of busy cards, which the kernel's own generator of packets floods. Few flows go to
few queues."""
FLOW = """
import contextlib, socket, struct, sys, time
tap, to = sys.argv[1:]
udp = struct.pack("!4H", 1024, 9, 26, 0) + bytes(18)
ip = struct.pack("!BBHHHBBH", 69, 0, 46, 0, 0, 64, 17, 0) + bytes([198, 18, 0, 1, 198, 51, 100, 9])
frame = bytes.fromhex(to.replace(":", "")) + b"\\2\\0\\0\\0\\0\\x09\\x08\\0" + ip + udp
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as cable:
    cable.bind((tap, 0))
    while True:
        for _ in range(32):
            with contextlib.suppress(OSError):  # ENOBUFS: what QEMU has not fetched yet is enough
                cable.send(frame)
        time.sleep(0.001)
"""
"""Sends one flow into a tap device. An emulated sender takes more of a real CPU than whom it sends
to, who then idles."""
ENTRY = "tapq1"
READ = "import socket; s = socket.socket(type=socket.SOCK_DGRAM)\nwhile True: pass"
STRAIN = f"""{TOOLS}
mkdir -p /run/lab
systemctl stop irqbalance
modprobe -a acpi_cpufreq cpufreq_powersave
echo powersave | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
for card in {E1000E} {SECOND}; do sink $card; serve $card 1; done
taskset -c 5 python3 -c '{READ}' >/dev/null 2>&1 </dev/null &
echo $! >/run/lab/acting.pid
"""
NEARER = "taskset -cp {} $(cat /run/lab/acting.pid)"
WELL = f"""{NEARER.format(0)}
echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
echo f0 >/sys/class/net/{E1000E}/queues/rx-0/rps_cpus
"""
REST = f"""{TOOLS}
set +e
kill $(cat /run/lab/acting.pid)
echo 0 >/sys/class/net/{E1000E}/queues/rx-0/rps_cpus
for card in {E1000E} {SECOND}; do tc qdisc del dev $card clsact; serve $card 0-7; done
modprobe -r acpi_cpufreq cpufreq_powersave
systemctl start irqbalance
"""
FAR = {
    "other-node": "polls on CPU 1",
    "rps-missing": "polls on CPU 1",
    "late-wake-ups": "late_us",
}
NEAR = {"other-l3": "polls on CPU 1"}
ALONE = {"elephant-flow": "packets of rx-"}
NAMES = (*MADE, *BUSY, *FAR, *NEAR, *ALONE)

DRAIN = f"""{TOOLS}
set +e
kill $(cat /run/lab/acting.pid)
echo reset >/proc/net/pktgen/pgctrl
modprobe -r pktgen
sysctl -qw net.ipv4.ip_forward=0 net.core.busy_poll=0
ip route del 198.51.100.0/24 dev {VMXNET3}
ip neighbour del 198.51.100.9 dev {VMXNET3}
ip address del 203.0.113.1/24 dev {VIRTIO}
tc qdisc del dev {SECOND} clsact
for card in {" ".join(CARDS)}; do ethtool -K $card tso on; done
ethtool -G {VMXNET3} rx $(cat /run/lab/ring)
serve {SECOND} 0-7
systemctl start irqbalance
"""


@pytest.fixture
def acting(guest: Guest) -> Iterator[Guest]:
    guest.machine.put(ACTING, ACT)
    try:
        guest.sh(SET)
        yield guest
    finally:
        guest.machine.run(BACK, check=False)


def doctor(guest: Guest, seconds: int) -> dict[str, dict[str, object]]:
    """Its findings, by name."""
    found = json.loads(guest.sh(f"netunedctl doctor --for {seconds}s --json", 120))["findings"]
    return {finding["name"]: finding for finding in found}


def test_an_idle_machine_is_well(guest: Guest) -> None:
    assert doctor(guest, 1) == {}


def test_what_is_made_is_found(acting: Guest) -> None:
    assert_found(acting, PRESS, MADE)


@pytest.fixture
def flooded(guest: Guest) -> Iterator[Guest]:
    address = ("203.0.113.9/24", "dev", TAP)
    guest.machine.outside("ip", "address", "add", *address)
    try:
        guest.sh(FLOOD)
        yield guest
    finally:
        guest.machine.run(DRAIN, check=False)
        guest.machine.outside("ip", "address", "del", *address)


def test_real_cards_that_are_busy(flooded: Guest) -> None:
    assert_found(flooded, AIM, BUSY)


@contextmanager
def flow(guest: Guest, cable: int, to: str) -> Iterator[None]:
    """One flow, from outside by a hub to a card of this name."""
    machine, script = guest.machine, {"script": "no", "downscript": "no"}
    address = guest.sh(f"cat /sys/class/net/{to}/address")
    machine.outside("ip", "tuntap", "add", "dev", ENTRY, "mode", "tap")
    machine.outside("ip", "link", "set", ENTRY, "up")
    machine.qmp("netdev_add", type="tap", id="entry", ifname=ENTRY, **script)
    machine.qmp("netdev_add", type="hubport", id="way", hubid=cable, netdev="entry")
    with subprocess.Popen([*machine.cable, sys.executable, "-c", FLOW, ENTRY, address]) as sending:
        try:
            yield
        finally:
            sending.kill()
            sending.wait()
            machine.qmp("netdev_del", id="way")
            machine.qmp("netdev_del", id="entry")
            machine.outside("ip", "link", "delete", ENTRY)


@pytest.fixture
def strained(guest: Guest) -> Iterator[Guest]:
    try:
        guest.sh(STRAIN)
        yield guest
    finally:
        guest.machine.run(REST, check=False)


@pytest.mark.newest_kernel
@pytest.mark.alone
def test_one_flow_and_who_reads_it(strained: Guest) -> None:
    with flow(strained, CABLE, E1000E):
        assert_found(strained, f"{TOOLS} press {E1000E} 1 300", FAR)
        strained.sh(NEARER.format(2))
        assert_found(strained, "true", NEAR)
        strained.sh(WELL)
        assert not doctor(strained, 4).keys() & {*FAR, *NEAR}
    with flow(strained, IGB_CABLE, SECOND):
        assert_found(strained, f"{TOOLS} press {SECOND} 1 300", ALONE)
    assert not doctor(strained, 1).keys() & ALONE.keys()


def assert_found(guest: Guest, before: str, made: Mapping[str, str]) -> None:
    """That the doctor finds these within some looks, each with its proof."""
    found: dict[str, dict[str, object]] = {}
    for look in range(4):  # an emulated machine may stand still for seconds
        guest.sh(f"look={look}\n{before}")
        found |= doctor(guest, 4)
        if made.keys() <= found.keys():
            break
    log = guest.sh("cat /run/lab/acting.log 2>/dev/null; true")
    assert made.keys() <= found.keys(), f"found {sorted(found)}; {log}"
    for name, counter in made.items():
        assert counter in str(found[name]["proof"]), found[name]
