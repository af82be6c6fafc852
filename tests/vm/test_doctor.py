"""The doctor where only a whole machine will do: interrupts, the host's own sysctls, fq."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from .guest_host import FIRST, SECOND, Guest
from .hardware import E1000E, VMXNET3

MADE = {
    "isolated-cpus": "interrupts on CPU 7",
    "moved-interrupts": "on CPU 7",
    "softnet-drops": "dropped on CPU 3",
    "fq-flow-limit": "flows_plimit of root",
    "rfs-without-table": "rps_flow_cnt of rx-0",
    "qdisc-differs": "queues with",
}
"""Finding -> a part of the name of a counter that proves it."""

ACTING = "/run/lab/acting.py"
ACT = f"""
import contextlib, glob, itertools, socket, struct, time
full = contextlib.suppress(OSError)  # ENOBUFS says that a queue dropped it
def frame(port, target):
    udp = struct.pack("!4H", port, 9, 40, 0) + bytes(32)
    ip = struct.pack("!BBHHHBBH", 69, 0, 60, 0, 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2])
    return target + bytes(6) + b"\\x08\\x00" + ip + udp
def bound(name):
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((name, 0))
    return sender
mac = bytes.fromhex(open("/sys/class/net/{SECOND}/address").read().strip().replace(":", ""))
card, pair = bound("{FIRST}"), bound("pair0")
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
        for port in range(100):
            with full:
                pair.send(frame(1024 + port, b"\\xff" * 6))
"""
SET = f"""set -e
systemctl stop irqbalance
ip link add pair0 type veth peer name pair1
ip link set pair0 up
ip link set pair1 up
echo 8 >/sys/class/net/pair1/queues/rx-0/rps_cpus
ip address add 198.51.100.1/24 dev {FIRST}
ip neighbour replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev {FIRST}
tc qdisc replace dev {FIRST} root fq flow_limit 2
echo 4096 >/sys/class/net/{SECOND}/queues/rx-0/rps_flow_cnt
sysctl -n net.core.default_qdisc net.core.netdev_max_backlog >/run/lab/sysctls
sysctl -qw net.core.default_qdisc=pfifo_fast net.core.netdev_max_backlog=1
mkdir -p /sys/fs/cgroup/apart
cd /sys/fs/cgroup
echo +cpuset >cgroup.subtree_control
echo 7 >apart/cpuset.cpus
echo isolated >apart/cpuset.cpus.partition
grep -qx isolated apart/cpuset.cpus.partition
python3 {ACTING} >/run/lab/acting.log 2>&1 </dev/null &
echo $! >/run/lab/acting.pid
"""
BACK = f"""
kill $(cat /run/lab/acting.pid)
rmdir /sys/fs/cgroup/apart
{{ read qdisc; read backlog; }} </run/lab/sysctls
sysctl -qw net.core.default_qdisc=$qdisc net.core.netdev_max_backlog=$backlog
echo 0 >/sys/class/net/{SECOND}/queues/rx-0/rps_flow_cnt
tc qdisc delete dev {FIRST} root
ip address delete 198.51.100.1/24 dev {FIRST}
ip link delete pair0
for f in /sys/kernel/irq/*/actions; do
  grep -q {SECOND}-TxRx $f && echo 0-7 >/proc/irq/$(basename $(dirname $f))/smp_affinity_list
done
systemctl start irqbalance
"""

FLOODED = {
    "remote-node": "interrupts on CPU 1",
    "xps-missing": "packets of tx-0",
    "lro-forwarding": "IpForwDatagrams",
}
"""Of a busy card: what floods it is the kernel's own generator of packets."""
NAMES = (*MADE, *FLOODED)

TOOLS = """set -e
flood() {  # by which CPU's thread, out of which card, to which, packets in a millisecond
    echo "add_device $2" >/proc/net/pktgen/kpktgend_$1
    for line in "count 0" "pkt_size 60" "delay 1000000" "burst $4" "dst 198.51.100.9" \\
        "flag IPSRC_RND" "src_min 198.18.0.1" "src_max 198.18.0.250" \\
        "dst_mac $(cat /sys/class/net/$3/address)"
    do echo "$line" >/proc/net/pktgen/$2; done
}
serve() {  # a card's queues on these CPUs
    for irq in $(grep -l "$1-TxRx" /sys/kernel/irq/*/actions | cut -d/ -f5); do
        echo $2 >/proc/irq/$irq/smp_affinity_list
    done
}
"""
FLOOD = f"""{TOOLS}
systemctl stop irqbalance
modprobe pktgen
sysctl -qw net.ipv4.ip_forward=1
ethtool -K {VMXNET3} lro on
ip route add 198.51.100.0/24 dev {VMXNET3}
ip neighbour replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev {VMXNET3}
tc qdisc add dev {SECOND} clsact
tc filter add dev {SECOND} ingress matchall action drop
serve {SECOND} 1
flood 3 {FIRST} {SECOND} 32
flood 2 {E1000E} {VMXNET3} 1
(echo start >/proc/net/pktgen/pgctrl) >/dev/null 2>&1 </dev/null &
"""
DRAIN = f"""{TOOLS}
set +e
echo reset >/proc/net/pktgen/pgctrl
modprobe -r pktgen
sysctl -qw net.ipv4.ip_forward=0
ip route del 198.51.100.0/24 dev {VMXNET3}
ip neighbour del 198.51.100.9 dev {VMXNET3}
tc qdisc del dev {SECOND} clsact
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
    assert_found(acting, MADE)


@pytest.fixture
def flooded(guest: Guest) -> Iterator[Guest]:
    try:
        guest.sh(FLOOD)
        yield guest
    finally:
        guest.machine.run(DRAIN, check=False)


def test_a_real_card_that_is_busy(flooded: Guest) -> None:
    assert_found(flooded, FLOODED)


def assert_found(guest: Guest, made: Mapping[str, str]) -> None:
    """That the doctor finds these within some looks, each with its proof."""
    found: dict[str, dict[str, object]] = {}
    for _ in range(4):  # an emulated machine may stand still for seconds
        found |= doctor(guest, 4)
        if made.keys() <= found.keys():
            break
    log = guest.sh("cat /run/lab/acting.log 2>/dev/null; true")
    assert made.keys() <= found.keys(), f"found {sorted(found)}; {log}"
    for name, counter in made.items():
        assert counter in str(found[name]["proof"]), found[name]
