"""netuned on every kernel of the lab: what it sets, keeps and puts back, and how it finds out.

`image.py` says which kernels. What differs between them stands in the tables below; netuned itself
never asks for a version, it tries.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from . import hardware, image
from .guest_host import FIRST, IGB, NODE1, PROFILES, SECOND, Guest, cpus_of

pytestmark = pytest.mark.every_kernel

PYTHON = f"{image.VENV}/bin/python"
TEMPLATES = sorted(path.stem for path in Path(__file__).parents[2].glob("profiles/*.yaml"))


@pytest.fixture(scope="module")
def untouched(guest: Guest) -> dict[str, Any]:
    """What netuned found; interrupts aside, which irqbalance moves."""
    return _without_interrupts(guest.state(FIRST))


def test_a_fresh_install_runs_and_touches_nothing(guest: Guest, untouched: dict[str, Any]) -> None:
    """As if no other test had been before it: nothing written, and no queue has a home."""
    seats = "/run/netuned/placement.json"
    guest.sh(f"systemctl stop netuned; rm -f {seats}; systemctl start netuned", 60)
    guest.machine.wait_until(
        lambda: guest.status()["manager"]["state"] != "starting", 60, "the first look at each card"
    )
    assert guest.sh("systemctl is-active netuned") == "active"
    assert guest.sh("systemctl is-enabled netuned") == "enabled"
    assert guest.writes() == 0
    shown = json.loads(guest.sh("/usr/bin/netunedctl status --json"))["nics"]
    for nics in (shown, guest.status()["nics"]):
        found = {nic["name"]: nic["state"] for nic in nics}
        assert found == dict.fromkeys(hardware.CARDS, "unmanaged")
    templates = guest.sh("/usr/bin/netunedctl profiles")
    for name in TEMPLATES:
        assert name in templates


def test_the_unit_is_hardened(guest: Guest) -> None:
    verdict = guest.sh("systemd-analyze security --no-pager netuned | tail -1", timeout_s=120)
    match = re.search(r"netuned\.service: ([0-9.]+)", verdict)
    assert match, verdict
    assert float(match[1]) <= 2.0, verdict
    pid = guest.sh("systemctl show -P MainPID netuned")
    bounding = guest.sh(f"grep CapBnd /proc/{pid}/status").split()[1]
    assert int(bounding, 16) == 1 << 12  # CAP_NET_ADMIN
    assert guest.sh(f"grep NoNewPrivs /proc/{pid}/status").split()[1] == "1"
    # a /proc of its own would hide other programs' writes
    assert guest.sh(f"stat -c %d /proc/{pid}/root/proc") == guest.sh("stat -c %d /proc")


def test_igb_is_as_planned(igb: Guest) -> None:
    for ifname in hardware.IGB:
        state = igb.state(ifname)
        assert state["channels"] == 8
        assert state["shares"] == [(queue, 16) for queue in range(8)]
        assert set(state["irq"]) == NODE1
        assert all(state["irq"].count(cpu) == 2 for cpu in NODE1)
        assert state["rps"] == [""] * 8
        assert state["qdisc"] == ["mq"] + ["fq"] * 8
        senders = [int(cpu) for mask in state["xps"] for cpu in cpus_of(mask)]
        assert sorted(senders) == list(range(8))
    # CPUs 4 and 5 are siblings, and so are 6 and 7: one queue per core comes first
    first_queues = igb.queue_cpus(FIRST)[:2]
    assert {int(cpu) // 2 for cpu in first_queues} == {2, 3}
    assert igb.sh(f"tc -j qdisc show dev {FIRST} | grep -c flow_limit") == "1"
    # the CPU of a queue's interrupt sends on that queue or on another of the same CPU
    irq, xps = igb.queue_cpus(FIRST), igb.masks(FIRST, "tx")
    for cpu in sorted(NODE1):
        (queue,) = (n for n, mask in enumerate(xps) if int(cpu) in cpus_of(mask))
        assert irq[queue] == cpu


def test_a_second_pass_writes_nothing(igb: Guest) -> None:
    igb.machine.put("/root/count.py", COUNT_WRITES)
    before = igb.writes()
    applied = "'netunedctl apply && netunedctl apply'"
    counted = igb.sh(f"{PYTHON} /root/count.py {applied} {FIRST} {SECOND}", 120)
    assert counted == "0 file writes, 0 qdisc events"
    assert igb.writes() == before
    assert igb.sh("netunedctl plan --exit-code >/dev/null; echo $?") == "0"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("echo 1 > /proc/irq/$(cd /sys/kernel/irq; grep -l 'enp129s0-TxRx-3' */actions"
         " | cut -d/ -f1)/smp_affinity", "irq rxtx-3"),
        ("echo 0-3 > /proc/irq/$(cd /sys/kernel/irq; grep -l 'enp129s0-TxRx-2' */actions"
         " | cut -d/ -f1)/smp_affinity_list", "irq rxtx-2"),
        ("ethtool -X enp129s0 equal 2", "rss"),
        ("ethtool -X enp129s0 weight 1 1 1 5 0 0 0 0", "rss"),
        ("ethtool -X enp129s0 default; ethtool -L enp129s0 combined 2", "channels"),
        ("tc qdisc replace dev enp129s0 root pfifo", "qdisc root"),
        ("tc qdisc replace dev enp129s0 parent 4e54:4 fq flow_limit 7", "qdisc tx-3"),
        ("echo ff > /sys/class/net/enp129s0/queues/rx-5/rps_cpus", "rps rx-5"),
        ("echo ff > /sys/class/net/enp129s0/queues/tx-1/xps_cpus", "xps tx-1"),
    ],
)  # fmt: skip
def test_a_foreign_change_is_undone_and_named(
    igb: Guest, wanted: dict[str, object], command: str, named: str
) -> None:
    cursor = igb.cursor()
    igb.sh(command)
    igb.machine.wait_until(
        lambda: f"Repaired {FIRST} {named}" in igb.logged_since(cursor), 40, f"{named} repaired"
    )
    igb.wait_for(FIRST, wanted, 30)
    igb.wait_state(FIRST, "in-sync")


def test_a_link_flap_changes_nothing(igb: Guest, wanted: dict[str, object]) -> None:
    igb.sh(f"ip link set {FIRST} down; sleep 1; ip link set {FIRST} up")
    igb.wait_for(FIRST, wanted, 40)
    igb.wait_state(FIRST, "in-sync")


def test_a_cpu_goes_and_comes_back(igb: Guest, wanted: dict[str, object]) -> None:
    igb.sh("echo 0 > /sys/devices/system/cpu/cpu5/online")
    try:
        igb.machine.wait_until(
            lambda: set(igb.queue_cpus(FIRST)) == {"4", "6", "7"}, 40, "the queues to leave CPU 5"
        )
        assert all(5 not in cpus_of(mask) for mask in igb.masks(FIRST, "tx"))
    finally:
        igb.sh("echo 1 > /sys/devices/system/cpu/cpu5/online")
    igb.wait_for(FIRST, wanted, 40)


def test_a_driver_is_unbound_and_bound(igb: Guest, wanted: dict[str, object]) -> None:
    slot = igb.sh(f"basename $(readlink -f /sys/class/net/{FIRST}/device)")
    igb.sh(f"echo {slot} > /sys/bus/pci/drivers/igb/unbind")
    igb.machine.wait_until(lambda: not igb.card(FIRST), 30, "that the card left")
    igb.sh(f"echo {slot} > /sys/bus/pci/drivers/igb/bind")
    igb.wait("the card", f"[ -e /sys/class/net/{FIRST} ]")
    # it may have gone up before udev named it: its interrupts then say eth0 for as long as it is up
    igb.sh(f"ip link set {FIRST} down; ip link set {FIRST} up")
    igb.wait_for(FIRST, wanted, 60)
    igb.wait_state(FIRST, "in-sync")


def test_a_killed_daemon_starts_again_and_repairs(igb: Guest, wanted: dict[str, object]) -> None:
    igb.kill()
    igb.sh(f"ethtool -X {FIRST} equal 3; echo ff > /sys/class/net/{FIRST}/queues/rx-0/rps_cpus")
    igb.wait_restart()
    igb.wait_for(FIRST, wanted, 40)


@pytest.mark.parametrize("ifname", [hardware.VIRTIO, hardware.VMXNET3])
def test_the_same_profile_on_virtual_cards(igb: Guest, ifname: str) -> None:
    igb.drop("guest", IGB.replace("driver: igb", f"name: {ifname}"))
    try:
        igb.wait_state(ifname, "in-sync")
        settings = {s["tunable"]: s["state"] for s in igb.card(ifname)["settings"]}
        tunables = ("channels", "rss", "irq", "rps", "xps", "qdisc")
        assert settings == dict.fromkeys(tunables, "in-sync")
        queues = igb.card(ifname)["queues"]
        rx = [queue for queue in queues if queue["kind"] == "rx"]
        assert len(rx) == 8
        assert sorted(set(igb.table(ifname))) == list(range(len(igb.table(ifname)))[:8])
        # the card may go anywhere, and CPUs 4-7 have four queues of the igb cards each
        beside = sorted([str(cpu) for cpu in range(4)] * 2)
        # irqbalance places them until it has asked the policy script in its next round
        igb.machine.wait_until(
            lambda: sorted(str(igb.affinity(queue["irq"])) for queue in rx) == beside,
            40,
            "two queues on each CPU of the other node",
        )
        assert igb.qdiscs(ifname) == ["mq"] + ["fq"] * 8
    finally:
        igb.sh(f"rm {PROFILES}/guest.yaml")


def test_a_card_whose_channels_nobody_can_set(igb: Guest) -> None:
    """vmxnet3 shows channels and has no operation to set them: all eight queues have a place."""
    text = IGB.replace("driver: igb", f"name: {hardware.VMXNET3}").replace("max", "4")
    igb.wait_state(hardware.VMXNET3, "unmanaged")
    before = igb.sh(f"cat /sys/class/net/{hardware.VMXNET3}/queues/tx-*/xps_cpus")
    igb.drop("guest", text)
    try:
        igb.wait_state(hardware.VMXNET3, "partial")
        settings = {s["tunable"]: s for s in igb.card(hardware.VMXNET3)["settings"]}
        assert settings["channels"]["state"] == "unsupported"
        assert "fixed number of queues" in settings["channels"]["reason"]
        assert settings["irq"]["state"] == settings["rss"]["state"] == "in-sync"
        assert set(igb.table(hardware.VMXNET3)) == set(range(8))
        assert len(settings["irq"]["wanted_values"]) == 8
        assert "There is no queue" not in igb.sh(f"netunedctl explain {hardware.VMXNET3} 7")
        said = igb.sh("netunedctl plan --exit-code; echo $?")
        assert "Nothing to do" not in said
        assert said.endswith("3")
    finally:
        igb.sh(f"rm {PROFILES}/guest.yaml")
    igb.wait_state(hardware.VMXNET3, "unmanaged")
    assert igb.sh(f"cat /sys/class/net/{hardware.VMXNET3}/queues/tx-*/xps_cpus") == before


def test_a_card_with_one_queue_and_no_rss(igb: Guest) -> None:
    igb.drop("one", IGB.replace("driver: igb", "driver: e1000e"))
    try:
        igb.wait_state(hardware.E1000E, "partial")
        settings = {s["tunable"]: s["state"] for s in igb.card(hardware.E1000E)["settings"]}
        assert settings["rss"] == settings["channels"] == settings["xps"] == "unsupported"
        assert settings["irq"] == settings["qdisc"] == "in-sync"
        assert igb.qdiscs(hardware.E1000E) == ["fq"]
    finally:
        igb.sh(f"rm {PROFILES}/one.yaml")


VECTORS = {
    **{
        ifname: {f"rxtx-{queue}": f"{ifname}-TxRx-{queue}" for queue in range(8)}
        for ifname in hardware.IGB
    },
    hardware.VMXNET3: {f"rxtx-{queue}": f"{hardware.VMXNET3}-rxtx-{queue}" for queue in range(8)},
    hardware.E1000E: {f"{role}-0": f"{hardware.E1000E}-{role}-0" for role in ("rx", "tx")},
    hardware.VIRTIO: {f"rx-{queue}": f"virtio-input.{queue}" for queue in range(8)}
    | {f"tx-{queue}": f"virtio-output.{queue}" for queue in range(8)},
}
TOLD = {image.OLDEST: None, image.CURRENT: 0, image.NEWEST: 16}
"""Of how many queues of an igb card netdev-genl names the interrupt; None without netdev-genl."""


def test_every_queues_interrupt_is_found(igb: Guest) -> None:
    """By netdev-genl where it tells, by the names drivers give where it does not: to one end."""
    found = _asked(igb, READ_VECTORS)
    assert found["vectors"] == VECTORS
    assert found["told"] == dict.fromkeys(hardware.IGB, TOLD[igb.machine.system])


REFUSED = {
    image.OLDEST: ("writable", "EIO"),
    image.CURRENT: ("read-only", "EACCES"),
    image.NEWEST: ("read-only", "EACCES"),
}
"""A kernel-managed interrupt's file, and what a write to it gives with the daemon's rights."""


def test_a_kernel_managed_interrupt_is_a_state(igb: Guest) -> None:
    """The disk's interrupts are such; no card of the lab has any."""
    found = _asked(igb, WRITE_MANAGED)
    assert len(found) >= 2
    for seen in found.values():
        assert (seen["file"], seen["errno"]) == REFUSED[igb.machine.system]
        assert seen["known"] == (seen["file"] == "read-only")
        assert seen["netuned"] == "kernel-managed"
        assert seen["after"] == seen["before"]


def test_a_changed_rss_table_is_told_by_the_newest_and_polled_on_others(
    igb: Guest, wanted: dict[str, Any]
) -> None:
    told = _asked(igb, LISTEN)
    assert "channels" in told
    assert ("rss" in told) == (igb.machine.system == image.NEWEST)
    igb.wait_for(FIRST, wanted, 60)
    for queues in (2, 3, 4):
        cursor = igb.cursor()
        igb.sh(f"ethtool -X {FIRST} equal {queues}")
        repaired = f"journalctl -u netuned --after-cursor='{cursor}' | grep 'Repaired {FIRST} rss'"
        igb.wait("the table repaired long before a resync", repaired, 10)
    igb.wait_state(FIRST, "in-sync")


def test_removing_the_profile_puts_everything_back(igb: Guest, untouched: dict[str, Any]) -> None:
    """Last: it takes down what the module's fixture set up."""
    cursor = igb.cursor()
    igb.remove_profiles()
    igb.wait_state(FIRST, "unmanaged")
    assert _without_interrupts(igb.state(FIRST)) == untouched
    assert "4e54" not in igb.sh(f"tc qdisc show dev {FIRST}")
    # where interrupts were, which by now irqbalance may have moved on from
    assert f"Set {FIRST} irq rxtx" in igb.logged_since(cursor)
    igb.wait("irqbalance without our policy", "! pgrep -ax irqbalance | grep policyscript", 60)
    assert igb.sh("systemctl is-active irqbalance") == "active"


def _without_interrupts(state: dict[str, Any]) -> dict[str, Any]:
    return {tunable: found for tunable, found in state.items() if tunable != "irq"}


def _asked(guest: Guest, script: str) -> Any:
    """What a script prints that has the daemon's Python and the daemon's rights."""
    guest.machine.put("/root/asked.py", script)
    rights = "setpriv --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin --no-new-privs"
    return json.loads(guest.sh(f"{rights} {PYTHON} /root/asked.py {FIRST} {SECOND}", 120))


READ_VECTORS = """
import json, re, sys
from netuned.errors import UnsupportedError
from netuned.kernel import Kernel
from netuned.hardware.opening import read_ifindexes
from netuned.hardware.facts import read_nic
kernel = Kernel()
def name(irq):
    actions = kernel.files.read_text(f"/sys/kernel/irq/{irq}/actions")
    return re.sub(r"^virtio\\d+", "virtio", actions)
vectors, told = {}, {}
for ifindex, ifname in read_ifindexes(kernel).items():
    vectors[ifname] = {v.key: name(v.irq) for v in read_nic(kernel, ifindex, ifname).vectors}
    if ifname in sys.argv[1:]:
        try:
            told[ifname] = len(kernel.netdev.napi_interrupts(ifindex))
        except UnsupportedError:
            told[ifname] = None
print(json.dumps({"vectors": vectors, "told": told}))
"""

WRITE_MANAGED = """
import errno, json, os, re, stat, sys
from types import SimpleNamespace
from netuned.cpuset import CpuSet
from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import Kernel
from netuned.hardware.facts import _is_managed
from netuned.tunables import irq
from netuned.hardware.vectors import Vector
kernel, found = Kernel(), {}
for number in map(int, kernel.files.listdir("/sys/kernel/irq")):
    action = kernel.files.read_text(f"/sys/kernel/irq/{number}/actions", "")
    if not re.fullmatch(r"virtio\\d+-req\\.\\d+", action):
        continue
    path, refused, said = irq.path(number), "", "written"
    before = kernel.files.read_text(path)
    try:
        kernel.files.write(path, b"1")
    except KernelError as error:
        refused = errno.errorcode[error.errno]
    nic = SimpleNamespace(vectors=(Vector("rxtx", 0, number),))
    try:
        view = SimpleNamespace(kernel=kernel, files=kernel.files, nic=nic)
        irq.write(view, {}, {"rxtx-0": CpuSet.parse_list("0")})
    except UnsupportedError as error:
        said = error.why
    writable = stat.S_IMODE(kernel.files.mode(path)) & 0o222
    found[action] = {
        "file": "writable" if writable else "read-only", "errno": refused, "netuned": said,
        "known": _is_managed(kernel, number),
        "before": before, "after": kernel.files.read_text(path),
    }
print(json.dumps(found))
"""

LISTEN = """
import asyncio, json, subprocess, sys
from netuned.kernel.events import monitor_ethtool
first = sys.argv[1]
async def listen():
    told = []
    monitor_ethtool(lambda ifindex, what: told.append(what), lambda: None)
    for command in (["-X", first, "default"], ["-L", first, "combined", "7"]):
        await asyncio.to_thread(subprocess.run, ["ethtool", *command], check=True)
        await asyncio.sleep(1)
    print(json.dumps(told))
asyncio.run(listen())
"""

COUNT_WRITES = """
import glob, os, subprocess, sys, time
from netuned.kernel.inotify import IN_MODIFY, Inotify
watch, held = Inotify(), []
command, *names = sys.argv[1:]
paths = [p for n in names for p in glob.glob(f"/sys/class/net/{n}/queues/*")]
for actions in glob.glob("/sys/kernel/irq/*/actions"):
    if any(name in open(actions).read() for name in names):
        paths.append("/proc/irq/" + actions.split("/")[4])
for path in paths:
    held.append(os.open(path, os.O_RDONLY))
    watch.add(f"/proc/self/fd/{held[-1]}", IN_MODIFY)
monitor = subprocess.Popen(["tc", "monitor"], stdout=subprocess.PIPE)
time.sleep(2)
subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.DEVNULL)
time.sleep(2)
monitor.terminate()
print(len(watch.read()), "file writes,", len(monitor.communicate()[0].splitlines()), "qdisc events")
"""
