"""The lab is what the tests take it for: CPUs, cards, services, and the command channel itself."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jeepney import message_bus

from .guest_host import Guest
from .hardware import E1000E, IGB, QUEUES, TAP, VIRTIO, VMXNET3
from .host import LabError
from .image import CHECKOUT, LOCK, NEWEST, VENV
from .machine import CommandError, Machine

MULTI_QUEUE = (*IGB, VIRTIO, VMXNET3)


@pytest.mark.every_kernel
def test_cpus(machine: Machine) -> None:
    cpus = "/sys/devices/system/cpu"
    read = machine.run(
        f"cat {cpus}/online {cpus}/cpu4/topology/thread_siblings_list "
        f"{cpus}/cpu4/topology/package_cpus_list {cpus}/cpu4/cache/index3/shared_cpu_list "
        "/sys/devices/system/node/node{0,1}/cpulist"
    )
    l3 = "4-5" if machine.system == NEWEST else "4-7"
    assert read.stdout.split() == ["0-7", "4-5", "4-7", l3, "0-3", "4-7"]


@pytest.mark.every_kernel
@pytest.mark.parametrize(
    ("name", "driver", "node"),
    [
        (IGB[0], "igb", "1"),
        (IGB[1], "igb", "1"),
        (VIRTIO, "virtio_net", "-1"),
        (VMXNET3, "vmxnet3", "-1"),
        (E1000E, "e1000e", "-1"),
    ],
)
def test_card(machine: Machine, name: str, driver: str, node: str) -> None:
    read = machine.run(
        f"""cd -P /sys/class/net/{name}/device
        basename "$(readlink driver)"
        [ -e numa_node ] || cd -P ..  # virtio: the PCI function below it
        cat numa_node /sys/class/net/{name}/operstate"""
    )
    assert read.stdout.split() == [driver, node, "up"]


@pytest.mark.every_kernel
@pytest.mark.parametrize("name", MULTI_QUEUE)
def test_channels(machine: Machine, name: str) -> None:
    shown = machine.run(f"ethtool --show-channels {name}").stdout
    maximum, current = re.findall(r"^Combined:\s+(\d+)$", shown, re.MULTILINE)
    assert (int(maximum), int(current)) == (QUEUES, QUEUES)


@pytest.mark.every_kernel
@pytest.mark.parametrize("name", MULTI_QUEUE)
def test_rss(machine: Machine, name: str) -> None:
    assert set(Guest(machine).table(name)) == set(range(QUEUES))


@pytest.mark.every_kernel
def test_e1000e_has_no_rss(machine: Machine) -> None:
    assert machine.run(f"ethtool --show-rxfh-indir {E1000E}", check=False).rc != 0


@pytest.mark.every_kernel
@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        *((rf"{name}(-TxRx-\d)?", QUEUES + 1) for name in IGB),
        (r"virtio\d-(in|out)put\.\d", 2 * QUEUES),
        (rf"{VMXNET3}-(rxtx-\d|event-8)", QUEUES + 1),
        (rf"{E1000E}(-rx-0|-tx-0)?", 3),
    ],
)
def test_interrupts(machine: Machine, pattern: str, count: int) -> None:
    lines = machine.get("/proc/interrupts").decode().splitlines()
    names = [line.split()[-1] for line in lines]
    assert len([name for name in names if re.fullmatch(pattern, name)]) == count


@pytest.mark.every_kernel
def test_services(machine: Machine) -> None:
    assert machine.wait_for_boot() == "running"
    machine.run("systemctl is-active dbus irqbalance systemd-udevd systemd-networkd")
    polkit = "org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority"
    machine.run(f"busctl call {polkit} org.freedesktop.DBus.Peer Ping")


@pytest.mark.every_kernel
def test_venv(machine: Machine) -> None:
    machine.run(f"{VENV}/bin/python -c 'import dbus_fast, pydantic, pyroute2, systemd.journal'")


@pytest.mark.every_kernel
def test_what_netuned_runs_with_is_what_is_locked(machine: Machine) -> None:
    listed = machine.run(f"{VENV}/bin/pip list --local --format=freeze").stdout.lower()
    has = {line.replace("_", "-") for line in listed.split()}
    locked = re.findall(r"^([a-z0-9-]+==\S+)", (CHECKOUT / LOCK).read_text(), re.MULTILINE)
    assert locked
    assert set(locked) <= has


def test_igb_cable(machine: Machine) -> None:
    try:
        machine.run(
            f"""set -e
            ip netns add far
            ip link set {IGB[1]} netns far
            ip -n far address add 192.0.2.2/24 dev {IGB[1]}
            ip -n far link set {IGB[1]} up
            ip address add 192.0.2.1/24 dev {IGB[0]}"""
        )
        machine.wait_until("ping -c 1 -W 1 192.0.2.2", 20, "the other igb answers")
    finally:
        machine.run(f"ip netns delete far; ip address flush dev {IGB[0]}")
        machine.wait_until(f"ip link set {IGB[1]} up", 20, f"{IGB[1]} is back")


def test_simulated_card(machine: Machine, simulated: str) -> None:
    for setting in ("-G {} rx 4096 tx 333 rx-mini 7", "-C {} adaptive-rx on tx-frames 9"):
        machine.run(f"ethtool {setting.format(simulated)}")
    shown = machine.run(f"for of in l g c; do ethtool -$of {simulated}; done").stdout
    words = " ".join(shown.split())
    for found in ("Combined: 8", "RX: 4096", "RX Mini: 7", "TX: 333", "Adaptive RX: on TX: off"):
        assert found in words
    assert "tx-frames: 9" in words


def test_far_end_of_virtio(machine: Machine) -> None:
    assert "UP" in machine.outside("ip", "-br", "link", "show", "dev", TAP).split()


def test_link_flap(machine: Machine) -> None:
    machine.qmp("set_link", name="igb0", up=False)
    try:
        machine.wait_until(f"grep -q 0 /sys/class/net/{IGB[0]}/carrier", 20, "carrier lost")
    finally:
        machine.qmp("set_link", name="igb0", up=True)
    machine.wait_until(f"grep -q 1 /sys/class/net/{IGB[0]}/carrier", 20, "carrier back")


def test_files_are_kept_byte_for_byte(machine: Machine) -> None:
    data = bytes(range(256)) * 1000
    machine.put("/run/lab/data", data, mode=0o600)
    assert machine.get("/run/lab/data") == data
    assert machine.run("cat /run/lab/data; stat -c %a /run/lab/data >&2").stdout_bytes == data
    with pytest.raises(LabError, match="FileNotFoundError"):
        machine.get("/run/lab/none")


def test_command_that_fails(machine: Machine) -> None:
    with pytest.raises(CommandError, match=r"rc 3(.|\n)*said"):
        machine.run("echo said >&2; exit 3")
    assert machine.run("exit 3", check=False).rc == 3


def test_command_that_takes_too_long(machine: Machine) -> None:
    with pytest.raises(CommandError, match=r"killed after 1 s(.|\n)*begun"):
        machine.run("echo begun; sleep 60 & sleep 60", timeout_s=1)


def test_what_a_command_leaves_behind_holds_nothing_up(machine: Machine) -> None:
    left = machine.run("sleep 60 & echo $!").stdout.strip()
    machine.run(f"kill {left}")


def test_commands_run_side_by_side(machine: Machine) -> None:
    machine.run("rm -f /run/lab/fifo; mkdir -p /run/lab; mkfifo /run/lab/fifo")
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(machine.run, "cat /run/lab/fifo")
        machine.run("echo through >/run/lab/fifo")
        assert reader.result().stdout == "through\n"


def test_netunedctl_is_forked_and_is_the_same(machine: Machine) -> None:
    for words in ("--version", "status nonesuch", "bogus"):
        program, forked = (
            machine.run(f"cd /run; echo before; {path}netunedctl {words} | cat; "
                        "echo ${PIPESTATUS[@]}", check=False)
            for path in ("/usr/bin/", "")
        )  # fmt: skip
        assert (forked.stdout, forked.stderr) == (program.stdout, program.stderr)
    kind = machine.run("type -t netunedctl; type -t /usr/bin/netunedctl").stdout.split()
    assert kind == ["function", "file"]


def test_the_bus_is_called_and_says_what_is_wrong(machine: Machine) -> None:
    assert machine.call(message_bus.NameHasOwner("org.netuned1")) == (1,)
    with pytest.raises(CommandError, match="NameHasNoOwner"):
        machine.call(message_bus.GetNameOwner("org.nobody"))


def test_clock(machine: Machine) -> None:
    here, there = time.monotonic(), machine.monotonic_s()
    time.sleep(2)
    here, there = time.monotonic() - here, machine.monotonic_s() - there
    assert there == pytest.approx(here, abs=1)
