"""The guest as an operator sees it: profiles in, ``netunedctl`` and the kernel's own files out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from netuned.bus import wire
from netuned.cpuset import CpuSet

from . import hardware
from .machine import Machine

PROFILES = "/etc/netuned/profiles.d"

LIST_OBJECTS = (
    f"busctl --json=short --auto-start=no call {wire.SERVICE} {wire.ROOT} "
    "org.freedesktop.DBus.ObjectManager GetManagedObjects"
)

FIRST, SECOND = hardware.IGB
NODE1 = {"4", "5", "6", "7"}

IGB = """\
description: Eight queues on the cards' own node
match: [{driver: igb}]
channels: {combined: max}
rss: {queues: all}
irq: {cpus: local & housekeeping, spread: one-per-queue}
rps: {cpus: none}
xps: {cpus: auto}
qdisc: {kind: fq, flow_limit: 1000}
host: {irqbalance: exclude}
"""


def cpus_of(cpulist: str) -> set[int]:
    """The CPUs of a cpulist."""
    return set(CpuSet.parse_list(cpulist))


@dataclass(frozen=True)
class Guest:
    """Looks with the kernel's files and the distribution's own tools, not with netuned."""

    machine: Machine

    def sh(self, command: str, timeout_s: float = 60) -> str:
        return self.machine.run(command, timeout_s).stdout.strip()

    # netuned

    def drop(self, name: str, text: str) -> None:
        """Put a profile into place in one step."""
        self.machine.put(f"{PROFILES}/{name}.yaml", text)

    def remove_profiles(self) -> None:
        self.sh(f"rm -f {PROFILES}/*.yaml")

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.sh("netunedctl status --json"))
        return answer

    def card(self, ifname: str) -> dict[str, Any]:
        return next((nic for nic in self.status()["nics"] if nic["name"] == ifname), {})

    def states(self) -> dict[str, str]:
        """Card -> state, asked by systemd's own tool: Python takes the guest seconds to start."""
        (objects,) = json.loads(self.sh(LIST_OBJECTS))["data"]
        nics = [kinds[wire.NIC] for kinds in objects.values() if wire.NIC in kinds]
        return {nic["Name"]["data"]: nic["State"]["data"] for nic in nics}

    def wait_state(self, ifname: str, state: str, timeout_s: float = 60) -> None:
        self.machine.wait_until(
            lambda: self.states().get(ifname) == state, timeout_s, f"{ifname} {state}"
        )

    def wait(self, what: str, command: str, timeout_s: float = 30) -> None:
        """Wait until a command succeeds."""
        self.machine.wait_until(command, timeout_s, what)

    def writes(self) -> int:
        count: int = self.status()["manager"]["writes"]
        return count

    def logged_since(self, cursor: str) -> str:
        """netuned's journal after a cursor."""
        return self.sh(f"journalctl -u netuned -o cat --after-cursor='{cursor}'")

    def cursor(self) -> str:
        # of the same unit: after any other entry's cursor, systemd 252 leaves out the unit's next
        shown = self.sh("journalctl -u netuned -n 1 --show-cursor -o cat")
        return shown.rpartition("-- cursor: ")[2].strip()

    # The kernel

    def interrupts(self, ifname: str) -> dict[str, int]:
        """Action name -> number, of the interrupts whose action names the card."""
        shown = self.sh(f"cd /sys/kernel/irq; grep -H {ifname} */actions || true")
        pairs = (line.split("/actions:") for line in shown.splitlines())
        return {name: int(number) for number, name in pairs}

    def affinity(self, irq: int) -> CpuSet:
        return CpuSet.parse_list(self.sh(f"cat /proc/irq/{irq}/smp_affinity_list"))

    def queue_cpus(self, ifname: str) -> list[str]:
        """The affinity of each queue's interrupt, by the card's own names, as cpulists."""
        script = (
            "cd /sys/kernel/irq; for f in "
            f"$(grep -lE '^{ifname}-(TxRx|rxtx)-[0-9]+$' */actions); do "
            'n=${f%/actions}; echo "$(cat $f) $(cat /proc/irq/$n/smp_affinity_list)"; done'
        )
        pairs = [line.split() for line in self.sh(script).splitlines()]
        return [cpus for _, cpus in sorted(pairs, key=lambda p: int(p[0].rpartition("-")[2]))]

    def masks(self, ifname: str, kind: str) -> list[str]:
        """rps_cpus (``rx``) or xps_cpus (``tx``) of every queue, as cpulists."""
        file = {"rx": "rps_cpus", "tx": "xps_cpus"}[kind]
        shown = self.sh(f"cd /sys/class/net/{ifname}/queues; grep -H . {kind}-*/{file}")
        pairs = (line.split(f"/{file}:") for line in shown.splitlines())
        by_queue = sorted((int(queue[3:]), mask) for queue, mask in pairs)
        return [str(CpuSet.parse_mask(mask)) for _, mask in by_queue]

    def table(self, ifname: str) -> list[int]:
        """The RSS indirection table, as ethtool prints it."""
        shown = self.sh(f"ethtool -x {ifname}").partition("RSS hash key")[0]
        lines = (line for line in shown.splitlines() if line.partition(":")[0].strip().isdigit())
        return [int(word) for line in lines for word in line.split(":")[1].split()]

    def combined(self, ifname: str) -> int:
        return int(self.sh(f"ethtool -l {ifname} | grep Combined | tail -1").split()[1])

    def qdiscs(self, ifname: str) -> list[str]:
        """Kinds, the root first, then by queue."""
        found = json.loads(self.sh(f"tc -j qdisc show dev {ifname}"))
        order = sorted(
            found,
            key=lambda q: (
                not q.get("root"),
                int(q.get("parent", ":0").rpartition(":")[2] or "0", 16),
            ),
        )
        return [qdisc["kind"] for qdisc in order]

    def state(self, ifname: str) -> dict[str, Any]:
        """All that netuned sets on a card with combined channels."""
        return {
            "channels": self.combined(ifname),
            "shares": sorted(Counter(self.table(ifname)).items()),
            "irq": self.queue_cpus(ifname),
            "rps": self.masks(ifname, "rx"),
            "xps": self.masks(ifname, "tx"),
            "qdisc": self.qdiscs(ifname),
        }
