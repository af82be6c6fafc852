"""Hosts in miniature, which Ansible reaches by an ssh that is a script of these tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ansible.controller import Controller
from tests.netns.lab import Lab

SSH = """\
#!/bin/sh
# As ansible calls ssh: options, the host, a command. One that is cut off answers nobody.
while [ $# -gt 0 ]; do
    case $1 in -O) exit 0;; -o|-i|-p|-l) shift 2;; -*) shift;; *) break;; esac
done
here=$(dirname "$0")/$1
if [ -e "$here/cut" ]; then
    echo "ssh: connect to host $1 port 22: Connection timed out" >&2
    exit 255
fi
. "$here/environment"
exec nsenter --target "$pid" --mount --net sh -c "$2"
"""

PLAIN = "plain"
"""A host of this name is without pipelining, as is Ansible's default: modules have a terminal."""

ROOTS = """\
set -e
mount -t tmpfs tmpfs /run
for each in etc usr; do
    mkdir {memory}/$each {memory}/$each.work
    mount -t overlay overlay -o \
        lowerdir=/$each,upperdir={memory}/$each,workdir={memory}/$each.work /$each
done
mkdir -p /etc/netuned/profiles.d
mount --bind {profiles} /etc/netuned/profiles.d
echo ready
exec sleep infinity
"""
"""Of such a host's own are /run, /etc, /usr, and its profiles, which its daemon has elsewhere."""


class Host:
    """A lab in which commands find netuned where a host has it."""

    def __init__(self, lab: Lab, name: str, place: Path) -> None:
        self.lab, self.name = lab, name
        self.directory = place / name
        self.directory.mkdir()
        self.memory.mkdir()
        script = ROOTS.format(memory=self.memory, profiles=lab.profiles)
        self._holder = subprocess.Popen(
            lab.command("unshare", "--mount", "--propagation", "private", "sh", "-c", script),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        bus = lab.environment["DBUS_SYSTEM_BUS_ADDRESS"]
        (self.directory / "environment").write_text(
            f"pid={self._holder.pid}\nexport DBUS_SYSTEM_BUS_ADDRESS={bus}\n"
            f"export PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin\n"
        )

    @property
    def cut(self) -> Path:
        """While this file is there, the host is reached by nobody."""
        return self.directory / "cut"

    @property
    def memory(self) -> Path:
        """What was written there is below it, below `etc` and `usr`."""
        return self.lab.directory / "memory"

    def masks(self, ifname: str = "lan0") -> str:
        return self.lab.attribute(ifname, "rx-0", "rps_cpus")

    def pending(self) -> str:
        waits: str = self.lab.status()["manager"]["pending_confirm"]
        return waits

    def close(self) -> None:
        self._holder.terminate()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@contextmanager
def hosts(controller: Controller, *names: str) -> Iterator[dict[str, Host]]:
    """Hosts with a card `lan0` of two queues, and the daemon, in the controller's inventory."""
    ssh = controller.place / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    inventory = ["[all:vars]", f"ansible_ssh_executable={ssh}", "ansible_pipelining=true"]
    inventory += [
        "ansible_ssh_transfer_method=piped",
        "ansible_python_interpreter=/usr/bin/python3",
    ]
    lines = [f"{name} ansible_pipelining=false" if name == PLAIN else name for name in names]
    (controller.place / "inventory").write_text("\n".join(["[all]", *lines, *inventory, ""]))
    made: dict[str, Host] = {}
    labs: list[Lab] = []
    try:
        for name in names:
            lab = Lab().__enter__()
            labs.append(lab)
            lab.add_pair("lan0", "peer0", queues=2)
            made[name] = Host(lab, name, controller.place)
            lab.start()
        yield made
    finally:
        for host in made.values():
            host.close()
        for lab in labs:
            lab.__exit__(None, None, None)
