"""The lab is what the tests take it for: CPUs, cards, services, and the command channel itself."""

import json
import os
import threading

import pytest

from . import hardware
from .hardware import E1000E, IGB, VIRTIO, VMXNET3
from .host import LabError
from .machine import CommandError, Machine

NUMBERS = {name: int(name.removeprefix("enp").partition("s")[0]) for name in hardware.CARDS}


def interrupt_names(machine: Machine) -> set[str]:
    lines = machine.get("/proc/interrupts").decode().splitlines()
    return {line.split()[-1] for line in lines[1:]}


def test_cpus(machine: Machine) -> None:
    cpus = "/sys/devices/system/cpu"
    read = machine.run(
        f"cat {cpus}/online {cpus}/cpu4/topology/thread_siblings_list "
        f"{cpus}/cpu4/topology/package_cpus_list {cpus}/cpu4/cache/index3/shared_cpu_list "
        "/sys/devices/system/node/node0/cpulist /sys/devices/system/node/node1/cpulist"
    )
    assert read.stdout.split() == ["0-7", "4-5", "4-7", "4-7", "0-3", "4-7"]


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
    device = f"/sys/class/net/{name}/device"
    # virtio's node is that of the PCI function it sits on
    found = machine.run(
        f"basename $(readlink {device}/driver); cat $(readlink -f {device})/../*/numa_node "
        f"2>/dev/null | head -n 1; cat /sys/class/net/{name}/operstate"
    )
    assert found.stdout.split() == [driver, node, "up"]
