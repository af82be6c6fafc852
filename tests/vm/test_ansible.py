"""The collection on a booted guest over ssh: installs, applies, confirms, plans, and is cut off."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import packages
from tests.ansible.controller import VERSIONS, Controller

from .guest_host import FIRST, Guest
from .hardware import TAP, VIRTIO
from .image import OLDEST
from .machine import Machine
from .test_packages import without_netuned

HERE, THERE = "198.51.100.1", "198.51.100.2"
ROLE = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: netuned.netuned.netuned}
      vars:
        netuned_install: none
        netuned_confirm: 4min
        netuned_host_checks: ["test -d /sys/class/net/CARD"]
        netuned_profiles:
          - name: the first card
            content: {name: first, match: {name: CARD}, rps: {cpus: CPUS}}
"""
WITH_PACKAGE = """\
        netuned_package_file: FILE
        netuned_settings: {confirm_timeout: "off"}
"""
LOST = """\
- hosts: all
  gather_facts: false
  tasks:
    - netuned.netuned.profile:
        name: the first card
        content: {name: first, match: {name: CARD}, rps: {cpus: 0-2}}
        activate: false
    - netuned.netuned.apply:
        confirm: 60s
        checks: ["ip link set TAP down; (sleep 60; ip link set TAP up) >/dev/null 2>&1 &"]
"""


@pytest.fixture(scope="module")
def guest(machine: Machine) -> Guest:
    made = Guest(machine)
    made.remove_profiles()
    return made


@pytest.fixture(scope="module")
def controller(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One that reaches the guest over virtio-net's cable, by a key of its own."""
    machine = guest.machine
    oldest, current = VERSIONS
    place = tmp_path_factory.mktemp("ansible")
    made = Controller(oldest if machine.system == OLDEST else current, place)
    made.install()
    key = place / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    machine.put("/root/.ssh/authorized_keys", key.with_suffix(".pub").read_text(), mode=0o600)
    (place / "inventory").write_text(
        f"guest ansible_host={THERE} ansible_user=root ansible_ssh_private_key_file={key} "
        "ansible_python_interpreter=/usr/bin/python3 ansible_pipelining=true\n"
    )
    guest.sh(f"ip address add {THERE}/24 dev {VIRTIO}; systemctl start ssh", timeout_s=120)
    machine.outside("ip", "address", "add", f"{HERE}/24", "dev", TAP)
    try:
        yield made
    finally:
        guest.remove_profiles()
        machine.outside("ip", "address", "flush", "dev", TAP)
        machine.outside("ip", "link", "set", TAP, "up")
        guest.sh(f"ip address flush dev {VIRTIO}; systemctl stop ssh; rm -r /root/.ssh")
        guest.sh("rm -rf /run/netuned-ansible /root/.ansible")


def play(guest: Guest, controller: Controller, text: str, *words: str, check: bool = True) -> str:
    book = controller.place / "play.yml"
    book.write_text(text.replace("CARD", FIRST).replace("TAP", TAP))
    command: tuple[str | Path, ...] = ("ansible-playbook", "-i", "inventory", book, *words)
    return controller.run(*command, before=guest.machine.cable, check=check)


def changed(said: str) -> int:
    (count,) = re.findall(r"^guest .* changed=(\d+)", said, re.MULTILINE)
    return int(count)


@pytest.mark.oldest_release
def test_planned_applied_and_confirmed(guest: Guest, controller: Controller) -> None:
    text = ROLE.replace("CPUS", "0-1")
    before = guest.masks(FIRST, "rx")
    said = play(guest, controller, text, "--check", "--diff")
    assert f"-{FIRST} rps rx 0-7: none\n+{FIRST} rps rx 0-7: 0-1\n" in said
    assert guest.masks(FIRST, "rx") == before
    assert changed(play(guest, controller, text)) == 2
    assert set(guest.masks(FIRST, "rx")) == {"0-1"}
    assert guest.manager()["pending_confirm"] == ""
    assert changed(play(guest, controller, text)) == 0


def test_installed_by_package_applied_confirmed_and_planned(
    guest: Guest, controller: Controller
) -> None:
    """On one release: an emulated guest takes minutes for it, and `test_packages.py` has both."""
    (file,) = packages.built().glob("netuned_*.deb")
    with_package = WITH_PACKAGE.replace("FILE", str(file))
    role = ROLE.replace("        netuned_install: none\n", with_package)
    text, other = (role.replace("CPUS", cpus) for cpus in ("0-1", "0-2"))
    with without_netuned(guest):
        # the file and its package, a place and settings, of which the daemon is told, the profile,
        # and what that changes
        assert changed(play(guest, controller, text)) == 7
        assert guest.sh("dpkg-query -W -f '${Status}' netuned") == "install ok installed"
        assert guest.sh("systemctl is-enabled netuned") == "enabled"
        assert set(guest.masks(FIRST, "rx")) == {"0-1"}
        assert guest.manager()["pending_confirm"] == ""
        assert changed(play(guest, controller, text)) == 0
        said = play(guest, controller, other, "--check", "--diff")
        assert f"-{FIRST} rps rx 0-7: 0-1\n+{FIRST} rps rx 0-7: 0-2\n" in said
        assert set(guest.masks(FIRST, "rx")) == {"0-1"}
        guest.sh("rm -r /etc/netuned/netuned.yaml.d /var/cache/netuned_*.deb")


@pytest.mark.each_release
def test_a_guest_that_is_cut_off_goes_back(guest: Guest, controller: Controller) -> None:
    before = guest.masks(FIRST, "rx")
    said = play(guest, controller, LOST, check=False)
    assert "was not reached over a new connection" in said
    machine = guest.machine
    machine.wait_until(lambda: guest.masks(FIRST, "rx") == before, 120, "all has gone back")
    machine.wait_until(lambda: not guest.manager()["pending_confirm"], 60, "nothing waits")
