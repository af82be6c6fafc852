"""Rights on every kernel: who is refused on D-Bus, and what the unit's sandbox refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.bus import wire

from .guest_host import Guest
from .machine import Machine

pytestmark = pytest.mark.every_kernel

STANDARD = "org.freedesktop.DBus."
PROBE = Path(__file__).with_name("sandbox_probe.py")
UNIT = "/run/systemd/system/netuned-probe.service"
OUTPUT = "/run/netuned-probe.json"

ARGUMENTS = {"s": "lo", "u": "60"}
"""What to call a method with, by the type of each argument."""

INSIDE = (
    "sed -e 's|^ExecStart=.*|ExecStart=/usr/lib/netuned/venv/bin/python /run/sandbox_probe.py|'"
    " -e 's/^Type=.*/Type=oneshot/' -e '/^\\(WatchdogSec\\|Restart\\|ExecReload\\)/d'"
    " -e '/^\\(RuntimeDirectory\\|Conflicts\\|Before\\|Wants\\|After\\)/d'"
    f" -e '/^\\[Service\\]/a StandardOutput=file:{OUTPUT}'"
    f" $(systemctl show -P FragmentPath netuned) > {UNIT}"
)


@pytest.fixture(scope="module")
def guest(machine: Machine) -> Guest:
    return Guest(machine)


@pytest.fixture(scope="module")
def tried(guest: Guest) -> Iterator[dict[str, str]]:
    """What a process in a unit like netuned's could do: name -> done, or the errno's name."""
    guest.machine.put("/run/sandbox_probe.py", PROBE.read_text())
    guest.sh(f"{INSIDE}; systemctl daemon-reload")
    try:
        guest.sh("systemctl start netuned-probe", timeout_s=120)
        yield json.loads(guest.sh(f"cat {OUTPUT}"))
    finally:
        guest.sh(f"rm -f {UNIT} {OUTPUT} /run/sandbox_probe.py; systemctl daemon-reload")


def test_each_method_that_changes_something_is_refused_to_others(guest: Guest) -> None:
    described = guest.sh(f"busctl --xml-interface introspect {wire.SERVICE} {wire.ROOT}")
    methods = {
        method.attrib["name"]: [
            arg.attrib["type"] for arg in method.iter("arg") if arg.get("direction") == "in"
        ]
        for interface in ET.fromstring(described).iter("interface")
        if not interface.attrib["name"].startswith(STANDARD)
        for method in interface.iter("method")
    }
    assert set(methods) == set(wire.ACTIONS)
    guest.sh("netunedctl status")
    before = guest.writes()
    for method, types in methods.items():
        words = f"{wire.SERVICE} {wire.ROOT} {wire.MANAGER} {method}"
        if types:
            words += f" {''.join(types)} {' '.join(ARGUMENTS[kind] for kind in types)}"
        command = f"setpriv --reuid=65534 --regid=65534 --clear-groups busctl call {words}"
        done = guest.machine.run(command, check=False)
        if wire.ACTIONS[method]:
            assert done.rc != 0, method
            assert "Access denied" in done.stderr, str(done)  # busctl's words for the error
        else:
            assert done.rc == 0, str(done)
    assert guest.writes() == before


@pytest.mark.parametrize(
    "what",
    [
        *("write /etc", "write /usr", "write /root", "write /var", "write /boot", "read /home"),
        *("write /proc/sys/kernel", "write /sys/kernel", "write /sys/module", "write kernel log"),
        *("AF_INET socket", "AF_INET6 socket", "AF_PACKET socket", "load a module", "ptrace"),
        *("user namespace", "network namespace", "mount", "reboot", "set the clock"),
        *("change the owner", "set-uid file", "real-time priority", "executable memory"),
        *("open a disk", "bpf", "run a program", "run what it wrote", "map what it wrote"),
        *("keyring", "lock memory", "set the user", "asynchronous I/O", "io_uring"),
        *("shared memory", "pipe", "many threads"),
        *("write /sys/devices/system", "write /sys/devices/virtual"),
        *("write /proc/sysrq-trigger", "write /proc/self", "read /proc/kcore"),
        *("write /proc/irq", "write a control group"),
        *("write a device's resource0", "write a device's config", "write a device's remove"),
        *("write a device's reset", "write a device's rescan", "write a device's driver_override"),
        *("write a device's enable", "write a device's sriov_numvfs"),
        *("write a device's numa_node", "write a device's power/control"),
        *("write any other of a device's files", "read a device's registers", "unbind a driver"),
        *("write /sys/bus/pci", "write /proc/bus/pci"),
    ],
)
def test_what_the_sandbox_refuses(tried: dict[str, str], what: str) -> None:
    refusals = {"EPERM", "EACCES", "EROFS", "EAFNOSUPPORT"}
    if what == "many threads":
        refusals = {"EAGAIN"}
    assert tried[what] in refusals | ({"ENOENT"} if what == "write kernel log" else set())


@pytest.mark.parametrize(
    "what",
    [
        *(
            "write /var/lib/netuned",
            "write /proc/sys/net",
            "write /proc/sys/vm",
            "write the number of huge pages",
            "write a queue's mask",
            "AF_UNIX socket",
        ),
        *("AF_NETLINK socket", "ethtool", "read another's /proc", "write an affinity", "run kill"),
    ],
)
def test_what_the_sandbox_allows(tried: dict[str, str], what: str) -> None:
    assert tried[what] == "done"


def confinement(guest: Guest) -> str:
    """What AppArmor says of the daemon."""
    return guest.sh("cat /proc/$(systemctl show -P MainPID netuned)/attr/current")


def test_without_its_profile_netuned_starts_all_the_same(guest: Guest) -> None:
    assert confinement(guest) == "netuned (enforce)"
    load = "apparmor_parser -{} /etc/apparmor.d/netuned; systemctl restart netuned"
    try:
        guest.sh(load.format("R"), timeout_s=120)
        assert confinement(guest) == "unconfined"
    finally:
        guest.sh(load.format("r"), timeout_s=120)
    assert confinement(guest) == "netuned (enforce)"


def test_memory_has_a_last_bound(guest: Guest) -> None:
    limits = guest.sh("systemctl show -p MemoryMax -p TasksMax netuned").split()
    assert set(limits) == {f"MemoryMax={1 << 30}", "TasksMax=64"}


def test_a_reload_is_heard(guest: Guest) -> None:
    """What it runs, kill, is run in the sandbox."""
    guest.sh("systemctl reload netuned")
